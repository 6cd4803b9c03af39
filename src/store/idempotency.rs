//! Requests that came with an Idempotency-Key, and how they were answered.

use rusqlite::named_params;

use super::hash::Hash;
use super::{Error, Reader, Tx};
use crate::domain::id::OrgId;
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str = "INSERT INTO idempotency_keys (org_id, route, key, request_hash, created_at)
    VALUES (:org, :route, :key, :hash, :now) ON CONFLICT (org_id, route, key) DO NOTHING";
pub(super) const FIND: &str =
    "SELECT request_hash, status, body, created_at FROM idempotency_keys WHERE org_id = :org AND route = :route AND key = :key";
pub(super) const FINISH: &str =
    "UPDATE idempotency_keys SET status = :status, body = :body WHERE org_id = :org AND route = :route AND key = :key";
pub(super) const RELEASE: &str = "DELETE FROM idempotency_keys WHERE org_id = :org AND route = :route AND key = :key AND status IS NULL";
pub(super) const PRUNE: &str = "DELETE FROM idempotency_keys WHERE created_at < :before";

/// What a request with a key meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is the first.
    New,
    /// The first, which came at this time, has not ended.
    InProgress { since: Timestamp },
    /// The first was another request.
    Mismatch,
    /// The first was answered so.
    Done { status: u16, body: Vec<u8> },
}

pub fn begin(tx: &Tx<'_>, org: OrgId, route: &str, key: &str, request_hash: &Hash, now: Timestamp) -> Result<Begun, Error> {
    let inserted = tx.execute(
        INSERT,
        named_params! { ":org": org, ":route": route, ":key": key, ":hash": request_hash, ":now": now },
    )?;
    if inserted == 1 {
        return Ok(Begun::New);
    }
    find(tx, org, route, key, request_hash)?.ok_or(Error::NotFound)
}

/// What a request with a key would meet, if it is not the first.
pub fn find(reader: &Reader<'_>, org: OrgId, route: &str, key: &str, request_hash: &Hash) -> Result<Option<Begun>, Error> {
    reader.find(FIND, named_params! { ":org": org, ":route": route, ":key": key }, |row| {
        let hash: Hash = row.get(0)?;
        let (status, body): (Option<u16>, Option<Vec<u8>>) = (row.get(1)?, row.get(2)?);
        let since: Timestamp = row.get(3)?;
        Ok(match status {
            _ if hash != *request_hash => Begun::Mismatch,
            None => Begun::InProgress { since },
            Some(status) => Begun::Done {
                status,
                body: body.unwrap_or_default(),
            },
        })
    })
}

/// Keeps the answer for whoever asks again.
pub fn finish(tx: &Tx<'_>, org: OrgId, route: &str, key: &str, status: u16, body: &[u8]) -> Result<(), Error> {
    tx.execute(
        FINISH,
        named_params! { ":org": org, ":route": route, ":key": key, ":status": status, ":body": body },
    )?;
    Ok(())
}

/// Lets a key go whose request failed before it did anything.
pub fn release(tx: &Tx<'_>, org: OrgId, route: &str, key: &str) -> Result<(), Error> {
    tx.execute(RELEASE, named_params! { ":org": org, ":route": route, ":key": key })?;
    Ok(())
}

/// Forgets keys from before a time.
pub fn prune(tx: &Tx<'_>, before: Timestamp) -> Result<(), Error> {
    tx.execute(PRUNE, named_params! { ":before": before })?;
    Ok(())
}
