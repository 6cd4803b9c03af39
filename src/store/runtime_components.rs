//! Runtime components of the station itself, kept so that segments begun with an older one can finish.

use rusqlite::named_params;

use super::hash::Hash;
use super::{Error, Reader, Tx};
use crate::domain::time::Timestamp;

pub(super) const EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM runtime_components WHERE digest = :digest)";
pub(super) const INSERT: &str =
    "INSERT OR IGNORE INTO runtime_components (digest, name, body, created_at) VALUES (:digest, :name, :body, :now)";
pub(super) const FIND: &str = "SELECT body FROM runtime_components WHERE digest = :digest";

pub fn exists(reader: &Reader<'_>, digest: &Hash) -> Result<bool, Error> {
    reader.get(EXISTS, named_params! { ":digest": digest }, |row| row.get(0))
}

pub fn insert(tx: &Tx<'_>, digest: &Hash, name: &str, body: &[u8], now: Timestamp) -> Result<(), Error> {
    tx.execute(
        INSERT,
        named_params! { ":digest": digest, ":name": name, ":body": body, ":now": now },
    )?;
    Ok(())
}

pub fn body(reader: &Reader<'_>, digest: &Hash) -> Result<Vec<u8>, Error> {
    reader.get(FIND, named_params! { ":digest": digest }, |row| row.get(0))
}
