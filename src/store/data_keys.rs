//! The keys that seal secrets, each sealed by the master key.

use rusqlite::{Row, named_params};

use super::{Error, Reader, Tx, secrets};
use crate::domain::id::{DataKeyId, OrgId};
use crate::domain::time::Timestamp;

const INSERT: &str = "INSERT INTO data_keys (id, org_id, wrapped, master, created_at) VALUES (:id, :org, :wrapped, :master, :now)";
const IN_USE: &str = "SELECT id, org_id, wrapped FROM data_keys WHERE org_id IS :org ORDER BY created_at DESC, id DESC LIMIT 1";
const FIND: &str = "SELECT id, org_id, wrapped FROM data_keys WHERE id = :id";
const UNDER: &str = "SELECT id, org_id, wrapped FROM data_keys WHERE master = :master ORDER BY id LIMIT :limit";
const COUNT_UNDER: &str = "SELECT count(*) FROM data_keys WHERE master = :master";
const REWRAP: &str = "UPDATE data_keys SET wrapped = :wrapped, master = :to WHERE id = :id AND master = :from";
const DELETE_OF: &str = "DELETE FROM data_keys WHERE org_id = :org";

#[cfg(test)]
pub(super) const SQL: &[&str] = &[IN_USE, FIND, UNDER, COUNT_UNDER, REWRAP, DELETE_OF];

/// A data key as stored.
#[derive(Clone)]
pub struct Wrapped {
    pub id: DataKeyId,
    /// None is the station's.
    pub org: Option<OrgId>,
    /// By `crypto::seal`.
    pub wrapped: Vec<u8>,
}

fn wrapped(row: &Row<'_>) -> rusqlite::Result<Wrapped> {
    Ok(Wrapped {
        id: row.get(0)?,
        org: row.get(1)?,
        wrapped: row.get(2)?,
    })
}

/// Keeps a new key, sealed by the master key of this fingerprint. From now on it is the one in use.
pub fn insert(tx: &Tx<'_>, key: &Wrapped, master: &str, now: Timestamp) -> Result<(), Error> {
    let params = named_params! { ":id": key.id, ":org": key.org, ":wrapped": key.wrapped, ":master": master, ":now": now };
    tx.execute(INSERT, params)?;
    Ok(())
}

/// The key that seals what an organization, or the station, stores now; none before the first.
pub fn in_use(reader: &Reader<'_>, org: Option<OrgId>) -> Result<Option<Wrapped>, Error> {
    reader.find(IN_USE, named_params! { ":org": org }, wrapped)
}

/// # Errors
/// [`Error::NotFound`]: it was destroyed with its organization.
pub fn get(reader: &Reader<'_>, id: DataKeyId) -> Result<Wrapped, Error> {
    reader.get(FIND, named_params! { ":id": id }, wrapped)
}

/// Some of the keys that this master key seals.
pub fn under(reader: &Reader<'_>, master: &str, limit: u32) -> Result<Vec<Wrapped>, Error> {
    reader.list(UNDER, named_params! { ":master": master, ":limit": limit }, wrapped)
}

/// How many keys this master key seals.
pub fn count_under(reader: &Reader<'_>, master: &str) -> Result<u64, Error> {
    reader.get(COUNT_UNDER, named_params! { ":master": master }, |row| {
        Ok(row.get::<_, i64>(0)? as u64)
    })
}

/// Puts a key under another master key; nothing happens where it no longer is under the first.
pub fn rewrap(tx: &Tx<'_>, key: &Wrapped, from: &str, to: &str) -> Result<(), Error> {
    tx.execute(
        REWRAP,
        named_params! { ":id": key.id, ":wrapped": key.wrapped, ":from": from, ":to": to },
    )?;
    Ok(())
}

/// Destroys an organization's keys: nothing that they sealed opens ever again, in no backup that lacks them.
pub fn delete_of(tx: &Tx<'_>, org: OrgId) -> Result<(), Error> {
    secrets::wiping(tx, || tx.execute(DELETE_OF, named_params! { ":org": org })).map(drop)
}
