//! API keys: only the hash of the secret is kept.

use rusqlite::types::FromSqlError;
use rusqlite::{Row, named_params};

use super::hash::Hash;
use super::tx::Cells;
use super::{Error, Reader, Tx};
use crate::domain::id::{OrgId, PrincipalId};
use crate::domain::permission::Permission;
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str = "INSERT INTO api_keys (id, org_id, principal_id, name, secret_hash, scopes, created_at, expires_at)
    VALUES (:id, :org, :principal, :name, :hash, :scopes, :now, :expires)";
macro_rules! columns {
    () => {
        "SELECT id, org_id, principal_id, name, secret_hash, scopes, created_at, expires_at, last_used_at, revoked_at FROM api_keys "
    };
}
pub(super) const FIND: &str = concat!(columns!(), "WHERE id = :id");
pub(super) const LIST: &str = concat!(
    columns!(),
    "WHERE org_id = :org AND principal_id = :principal AND revoked_at IS NULL ORDER BY created_at DESC LIMIT 200"
);
pub(super) const TOUCH: &str = "UPDATE api_keys SET last_used_at = :now WHERE id = :id";
pub(super) const REVOKE: &str = "UPDATE api_keys SET revoked_at = :now
    WHERE id = :id AND org_id = :org AND principal_id = :principal AND revoked_at IS NULL";

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
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub struct Key {
    pub id: String,
    pub org: OrgId,
    pub principal: PrincipalId,
    pub name: String,
    pub secret_hash: Hash,
    pub scopes: Option<Vec<Permission>>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

fn key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let mut cells = Cells::of(row);
    Ok(Key {
        id: cells.take()?,
        org: cells.take()?,
        principal: cells.take()?,
        name: cells.take()?,
        secret_hash: cells.take()?,
        scopes: match cells.take::<Option<String>>()? {
            Some(text) => Some(serde_json::from_str(&text).map_err(FromSqlError::other)?),
            None => None,
        },
        created_at: cells.take()?,
        expires_at: cells.take()?,
        last_used_at: cells.take()?,
        revoked_at: cells.take()?,
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
            ":now": new.created_at, ":expires": new.expires_at,
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

pub fn touch(tx: &Tx<'_>, id: &str, now: Timestamp) -> Result<(), Error> {
    tx.execute(TOUCH, named_params! { ":id": id, ":now": now })?;
    Ok(())
}

/// # Errors
/// [`Error::NotFound`] where the principal has no such key that holds.
pub fn revoke(tx: &Tx<'_>, org: OrgId, principal: PrincipalId, id: &str, now: Timestamp) -> Result<(), Error> {
    let revoked = tx.execute(
        REVOKE,
        named_params! { ":id": id, ":org": org, ":principal": principal, ":now": now },
    )?;
    if revoked == 1 { Ok(()) } else { Err(Error::NotFound) }
}
