//! One-time links: the first set-up, a sign-in without a password, a new password.

use rusqlite::named_params;

use super::hash::Hash;
use super::{Error, Reader, Tx};
use crate::domain::id::PrincipalId;
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str = "INSERT INTO one_time_links (token_hash, purpose, principal_id, created_at, expires_at)
    VALUES (:hash, :purpose, :principal, :now, :expires)";
pub(super) const CONSUME: &str = "UPDATE one_time_links SET used_at = :now
    WHERE token_hash = :hash AND purpose = :purpose AND used_at IS NULL AND expires_at > :now RETURNING principal_id";
pub(super) const HOLDS: &str = "SELECT EXISTS
    (SELECT 1 FROM one_time_links WHERE token_hash = :hash AND purpose = :purpose AND used_at IS NULL AND expires_at > :now)";
pub(super) const DELETE_ALL: &str = "DELETE FROM one_time_links WHERE purpose = :purpose";
pub(super) const FIND: &str =
    "SELECT principal_id FROM one_time_links WHERE token_hash = :hash AND purpose = :purpose AND used_at IS NULL AND expires_at > :now";
pub(super) const MADE_SINCE: &str = "SELECT EXISTS
    (SELECT 1 FROM one_time_links WHERE principal_id = :principal AND purpose = :purpose AND created_at > :since)";
pub(super) const DELETE_OF: &str = "DELETE FROM one_time_links WHERE principal_id = :principal AND purpose = :purpose";
pub(super) const PRUNE: &str = "DELETE FROM one_time_links WHERE expires_at < :now";

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Setup,
    SignIn,
    /// A new password.
    Reset,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::SignIn => "sign_in",
            Self::Reset => "reset",
        }
    }
}

/// A link that was used just now.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    pub principal: Option<PrincipalId>,
}

pub fn insert(
    tx: &Tx<'_>,
    token_hash: &Hash,
    purpose: Purpose,
    principal: Option<PrincipalId>,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), Error> {
    tx.execute(
        INSERT,
        named_params! { ":hash": token_hash, ":purpose": purpose.as_str(), ":principal": principal, ":now": now, ":expires": expires_at },
    )?;
    Ok(())
}

/// Uses a link up; none where it is unknown, used or too old.
pub fn consume(tx: &Tx<'_>, token_hash: &Hash, purpose: Purpose, now: Timestamp) -> Result<Option<Used>, Error> {
    tx.find(
        CONSUME,
        named_params! { ":hash": token_hash, ":purpose": purpose.as_str(), ":now": now },
        |row| Ok(Used { principal: row.get(0)? }),
    )
}

/// Whether a link can still be used.
pub fn holds(reader: &Reader<'_>, token_hash: &Hash, purpose: Purpose, now: Timestamp) -> Result<bool, Error> {
    reader.get(
        HOLDS,
        named_params! { ":hash": token_hash, ":purpose": purpose.as_str(), ":now": now },
        |row| row.get(0),
    )
}

pub fn delete_all(tx: &Tx<'_>, purpose: Purpose) -> Result<(), Error> {
    tx.execute(DELETE_ALL, named_params! { ":purpose": purpose.as_str() })?;
    Ok(())
}

/// Whose a link is that can still be used.
pub fn find(reader: &Reader<'_>, token_hash: &Hash, purpose: Purpose, now: Timestamp) -> Result<Option<PrincipalId>, Error> {
    let params = named_params! { ":hash": token_hash, ":purpose": purpose.as_str(), ":now": now };
    Ok(reader.find(FIND, params, |row| row.get(0))?.flatten())
}

/// Whether a link was made for somebody after `since`.
pub fn made_since(reader: &Reader<'_>, principal: PrincipalId, purpose: Purpose, since: Timestamp) -> Result<bool, Error> {
    let params = named_params! { ":principal": principal, ":purpose": purpose.as_str(), ":since": since };
    reader.get(MADE_SINCE, params, |row| row.get(0))
}

/// Takes somebody's links away.
pub fn delete_of(tx: &Tx<'_>, principal: PrincipalId, purpose: Purpose) -> Result<(), Error> {
    tx.execute(DELETE_OF, named_params! { ":principal": principal, ":purpose": purpose.as_str() })?;
    Ok(())
}

/// Deletes those past their end.
pub fn prune(tx: &Tx<'_>, now: Timestamp) -> Result<(), Error> {
    tx.execute(PRUNE, named_params! { ":now": now })?;
    Ok(())
}
