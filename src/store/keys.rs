//! API keys: only the hash of the secret is kept.

use rusqlite::types::FromSqlError;
use rusqlite::{Row, named_params};

use super::hash::Hash;
use super::tx::Cells;
use super::{Error, Reader, Tx};
use crate::domain::id::{OrgId, PrincipalId};
use crate::domain::permission::{Permission, PrincipalKind};
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str =
    "INSERT INTO api_keys (id, org_id, principal_id, name, secret_hash, scopes, created_by, created_at, expires_at)
    VALUES (:id, :org, :principal, :name, :hash, :scopes, :by, :now, :expires)";
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT k.id, k.org_id, k.principal_id, p.name, p.kind, k.name, k.secret_hash, k.scopes, k.created_by, b.name,
             k.created_by IS NULL OR NOT EXISTS (SELECT 1 FROM members m WHERE m.org_id = k.org_id AND m.principal_id = k.created_by),
             k.created_at, k.expires_at, k.last_used_at, k.revoked_at, k.replaced_by
             FROM api_keys k JOIN principals p ON p.id = k.principal_id LEFT JOIN principals b ON b.id = k.created_by WHERE ",
            $condition
        )
    };
}
pub(super) const FIND: &str = select!("k.id = :id");
pub(super) const LIST: &str =
    select!("k.org_id = :org AND k.principal_id = :principal AND k.revoked_at IS NULL ORDER BY k.created_at DESC, k.id DESC LIMIT 200");
pub(super) const LIST_ALL: &str = select!(
    "k.org_id = :org AND (k.created_at, k.id) < (:before_at, :before_id) AND k.revoked_at IS NULL
     ORDER BY k.created_at DESC, k.id DESC LIMIT :limit"
);
pub(super) const TOUCH: &str = "UPDATE api_keys SET last_used_at = :now WHERE id = :id";
pub(super) const REVOKE: &str = "UPDATE api_keys SET revoked_at = :now WHERE id = :id AND org_id = :org AND revoked_at IS NULL";
pub(super) const REVOKE_OF: &str =
    "UPDATE api_keys SET revoked_at = :now WHERE principal_id = :principal AND org_id = :org AND revoked_at IS NULL";
pub(super) const REPLACE: &str =
    "UPDATE api_keys SET replaced_by = :by, expires_at = CASE WHEN expires_at < :until THEN expires_at ELSE :until END
    WHERE id = :id AND org_id = :org";

#[cfg(test)]
pub(super) const SQL: [&str; 7] = [FIND, LIST, LIST_ALL, TOUCH, REVOKE, REVOKE_OF, REPLACE];

#[derive(Clone, Debug)]
pub struct NewKey {
    /// The public part.
    pub id: String,
    pub org: OrgId,
    pub principal: PrincipalId,
    pub name: String,
    pub secret_hash: Hash,
    /// `None` is all that the principal may do.
    pub scopes: Option<Vec<Permission>>,
    pub created_by: PrincipalId,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub struct Key {
    pub id: String,
    pub org: OrgId,
    pub principal: PrincipalId,
    pub principal_name: String,
    pub principal_kind: PrincipalKind,
    pub name: String,
    pub secret_hash: Hash,
    pub scopes: Option<Vec<Permission>>,
    pub created_by: Option<PrincipalId>,
    pub maker_name: Option<String>,
    /// Whether its maker is no member any more.
    pub maker_left: bool,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub replaced_by: Option<String>,
}

fn key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let mut cells = Cells::of(row);
    Ok(Key {
        id: cells.take()?,
        org: cells.take()?,
        principal: cells.take()?,
        principal_name: cells.take()?,
        principal_kind: cells.take()?,
        name: cells.take()?,
        secret_hash: cells.take()?,
        scopes: match cells.take::<Option<String>>()? {
            Some(text) => Some(serde_json::from_str(&text).map_err(FromSqlError::other)?),
            None => None,
        },
        created_by: cells.take()?,
        maker_name: cells.take()?,
        maker_left: cells.take()?,
        created_at: cells.take()?,
        expires_at: cells.take()?,
        last_used_at: cells.take()?,
        revoked_at: cells.take()?,
        replaced_by: cells.take()?,
    })
}

pub fn insert(tx: &Tx<'_>, new: &NewKey) -> Result<(), Error> {
    let scopes = new
        .scopes
        .as_ref()
        .map(serde_json::to_string)
        .transpose()
        .map_err(Error::internal)?;
    tx.execute(
        INSERT,
        named_params! {
            ":id": new.id, ":org": new.org, ":principal": new.principal, ":name": new.name, ":hash": new.secret_hash, ":scopes": scopes,
            ":by": new.created_by, ":now": new.created_at, ":expires": new.expires_at,
        },
    )?;
    Ok(())
}

/// The key with this public part, revoked and expired ones too.
pub fn find(reader: &Reader<'_>, id: &str) -> Result<Option<Key>, Error> {
    reader.find(FIND, named_params! { ":id": id }, key)
}

/// A principal's keys that are not revoked, the newest first.
pub fn list(reader: &Reader<'_>, org: OrgId, principal: PrincipalId) -> Result<Vec<Key>, Error> {
    reader.list(LIST, named_params! { ":org": org, ":principal": principal }, key)
}

/// Where a list of keys goes on: when the last one was made, and its public part.
pub type Position = (Timestamp, String);

/// An organization's keys that are not revoked, the newest first, before a position.
pub fn list_all(reader: &Reader<'_>, org: OrgId, before: Option<&Position>, limit: u32) -> Result<Vec<Key>, Error> {
    let (at, id) = before.map_or((i64::MAX, ""), |(at, id)| (at.as_ms(), id.as_str()));
    reader.list(
        LIST_ALL,
        named_params! { ":org": org, ":before_at": at, ":before_id": id, ":limit": limit },
        key,
    )
}

pub fn touch(tx: &Tx<'_>, id: &str, now: Timestamp) -> Result<(), Error> {
    tx.execute(TOUCH, named_params! { ":id": id, ":now": now })?;
    Ok(())
}

/// # Errors
/// [`Error::NotFound`] where the organization has no such key that is not revoked.
pub fn revoke(tx: &Tx<'_>, org: OrgId, id: &str, now: Timestamp) -> Result<(), Error> {
    let revoked = tx.execute(REVOKE, named_params! { ":id": id, ":org": org, ":now": now })?;
    if revoked == 1 { Ok(()) } else { Err(Error::NotFound) }
}

/// Revokes every key of a principal in an organization. Returns how many.
pub fn revoke_of(tx: &Tx<'_>, org: OrgId, principal: PrincipalId, now: Timestamp) -> Result<usize, Error> {
    tx.execute(REVOKE_OF, named_params! { ":org": org, ":principal": principal, ":now": now })
}

/// Notes that another key takes this one's place, which ends at `until` or before.
pub fn replace(tx: &Tx<'_>, org: OrgId, id: &str, by: &str, until: Timestamp) -> Result<(), Error> {
    tx.execute(REPLACE, named_params! { ":id": id, ":org": org, ":by": by, ":until": until })?;
    Ok(())
}
