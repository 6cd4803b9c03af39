//! Who did what: append-only chains, each row's hash over the one before it.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rusqlite::{Row, named_params};
use sha2::Sha256;

use super::hash::Hash;
use super::tx::Cells;
use super::{Error, Reader, Tx, station};
use crate::domain::failure::codes;
use crate::domain::id::PrincipalId;
use crate::domain::origin::Origin;
use crate::domain::permission::Credential;
use crate::domain::time::Timestamp;

macro_rules! columns {
    () => {
        "SELECT seq, at, actor, credential, action, target, outcome, count, request_id, detail, hash FROM audit_log WHERE chain = :chain "
    };
}
pub(super) const LAST: &str = concat!(columns!(), "ORDER BY seq DESC LIMIT 1");
pub(super) const BEFORE: &str = concat!(columns!(), "AND seq < :before ORDER BY seq DESC LIMIT :limit");
pub(super) const FROM: &str = concat!(columns!(), "AND seq >= :from ORDER BY seq LIMIT :limit");
pub(super) const INSERT: &str = "INSERT INTO audit_log
    (chain, seq, at, actor, credential, action, target, outcome, count, request_id, detail, hash)
    VALUES (:chain, :seq, :at, :actor, :credential, :action, :target, :outcome, :count, :request_id, :detail, :hash)";
pub(super) const REPEAT: &str = "UPDATE audit_log SET count = :count, hash = :hash WHERE chain = :chain AND seq = :seq";

/// The same thing done again within this time is one row with a count.
const REPEAT_WITHIN: Duration = Duration::from_mins(1);

codes! {
    Outcome {
        Ok = "ok",
        Denied = "denied",
        Failed = "failed",
    }
}

/// Something that was done, to be written in the transaction that does it.
#[derive(Clone, Debug)]
pub struct Record {
    chain: String,
    actor: Option<PrincipalId>,
    credential: Option<Credential>,
    action: &'static str,
    target: String,
    outcome: Outcome,
    credential_id: Option<String>,
    origin: Origin,
    detail: serde_json::Value,
}

impl Record {
    /// `chain` is an organization's id, or `station`.
    pub fn new(chain: &str, action: &'static str, target: &str) -> Self {
        Self {
            chain: chain.to_owned(),
            actor: None,
            credential: None,
            action,
            target: target.to_owned(),
            outcome: Outcome::Ok,
            credential_id: None,
            origin: Origin::default(),
            detail: serde_json::json!({}),
        }
    }

    #[must_use]
    pub fn by(self, actor: PrincipalId, credential: Credential) -> Self {
        Self {
            actor: Some(actor),
            credential: Some(credential),
            ..self
        }
    }

    #[must_use]
    pub fn outcome(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    /// What changed, a small JSON object without secrets.
    #[must_use]
    pub fn detail(self, detail: serde_json::Value) -> Self {
        Self { detail, ..self }
    }

    /// Which of the actor's credentials: a key's public part, a session's id.
    #[must_use]
    pub fn credential_id(self, credential_id: Option<String>) -> Self {
        Self { credential_id, ..self }
    }

    /// The request that it was part of.
    #[must_use]
    pub fn origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }
}

/// A row of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub seq: u64,
    pub at: Timestamp,
    pub actor: Option<PrincipalId>,
    pub credential: Option<String>,
    pub action: String,
    pub target: String,
    pub outcome: String,
    pub count: u64,
    pub request_id: Option<String>,
    pub detail: String,
    hash: Hash,
}

fn row(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let mut cells = Cells::of(row);
    Ok(Entry {
        seq: cells.take::<i64>()? as u64,
        at: cells.take()?,
        actor: cells.take()?,
        credential: cells.take()?,
        action: cells.take()?,
        target: cells.take()?,
        outcome: cells.take()?,
        count: cells.take::<i64>()? as u64,
        request_id: cells.take()?,
        detail: cells.take()?,
        hash: cells.take()?,
    })
}

/// HMAC-SHA256 over the hash before and the row's fields, as JSON.
fn hash(key: &[u8; 32], chain: &str, before: &Hash, row: &Entry) -> Result<Hash, Error> {
    let fields = serde_json::json!([
        chain,
        row.seq,
        row.at,
        row.actor,
        row.credential,
        row.action,
        row.target,
        row.outcome,
        row.count,
        row.request_id,
        row.detail
    ]);
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(Error::internal)?;
    mac.update(before);
    mac.update(fields.to_string().as_bytes());
    Ok(mac.finalize().into_bytes().into())
}

const NOTHING_BEFORE: Hash = [0; 32];

/// Writes a record. A repeat of the chain's last row within a minute raises its count.
pub fn record(tx: &Tx<'_>, record: Record, now: Timestamp) -> Result<(), Error> {
    let key = station::audit_key(tx)?;
    let chain = record.chain;
    let last = tx.find(LAST, named_params! { ":chain": chain }, row)?;
    let mut new = Entry {
        seq: last.as_ref().map_or(1, |last| last.seq + 1),
        at: now,
        actor: record.actor,
        credential: record.credential.map(|credential| credential.as_str().to_owned()),
        action: record.action.to_owned(),
        target: record.target,
        outcome: record.outcome.as_str().to_owned(),
        count: 1,
        request_id: record.origin.request_id,
        detail: record.detail.to_string(),
        hash: NOTHING_BEFORE,
    };
    if let Some(mut last) = last.clone().filter(|last| is_repeat(last, &new)) {
        let before = rows_from(tx, &chain, last.seq.saturating_sub(1), 1)?
            .into_iter()
            .find(|row| row.seq < last.seq);
        last.count += 1;
        let hash = hash(&key, &chain, &before.map_or(NOTHING_BEFORE, |row| row.hash), &last)?;
        tx.execute(
            REPEAT,
            named_params! { ":count": last.count as i64, ":hash": hash, ":chain": chain, ":seq": last.seq as i64 },
        )?;
        return Ok(());
    }
    new.hash = hash(&key, &chain, &last.map_or(NOTHING_BEFORE, |last| last.hash), &new)?;
    tx.execute(
        INSERT,
        named_params! {
            ":chain": chain, ":seq": new.seq as i64, ":at": new.at, ":actor": new.actor, ":credential": new.credential, ":action": new.action,
            ":target": new.target, ":outcome": new.outcome, ":count": new.count as i64, ":request_id": new.request_id, ":detail": new.detail,
            ":hash": new.hash,
        },
    )?;
    Ok(())
}

fn is_repeat(last: &Entry, new: &Entry) -> bool {
    let same = last.action == new.action && last.actor == new.actor && last.target == new.target && last.outcome == new.outcome;
    same && new.at.since(last.at) < REPEAT_WITHIN
}

fn rows_from(reader: &Reader<'_>, chain: &str, from: u64, limit: u32) -> Result<Vec<Entry>, Error> {
    reader.list(FROM, named_params! { ":chain": chain, ":from": from as i64, ":limit": limit }, row)
}

/// Rows of a chain before `before`, the newest first.
pub fn list(reader: &Reader<'_>, chain: &str, before: Option<u64>, limit: u32) -> Result<Vec<Entry>, Error> {
    let before = before.map_or(i64::MAX, |seq| seq as i64);
    reader.list(BEFORE, named_params! { ":chain": chain, ":before": before, ":limit": limit }, row)
}

/// What a walk along a chain found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// All rows fit.
    Intact { rows: u64 },
    /// This row, or one before it, was changed, or rows are missing before it.
    BrokenAt { seq: u64 },
}

const VERIFY_PAGE: u32 = 1_000;

/// Walks a chain from its first row.
pub fn verify(tx: &Tx<'_>, chain: &str) -> Result<Verified, Error> {
    let key = station::audit_key(tx)?;
    let (mut before, mut next) = (NOTHING_BEFORE, 1);
    loop {
        let page = rows_from(tx, chain, next, VERIFY_PAGE)?;
        if page.is_empty() {
            return Ok(Verified::Intact { rows: next - 1 });
        }
        for row in page {
            if row.seq != next || hash(&key, chain, &before, &row)? != row.hash {
                return Ok(Verified::BrokenAt { seq: row.seq });
            }
            before = row.hash;
            next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fixture;
    use super::*;

    async fn write(store: &super::super::Store, action: &'static str, at: i64) {
        let entry = Record::new("station", action, "x");
        store.write(move |tx| record(tx, entry, Timestamp::from_ms(at))).await.unwrap();
    }

    #[tokio::test]
    async fn repeats_within_a_minute_are_one_row_and_the_chain_holds() {
        let store = fixture().store;
        for (action, at) in [("a", 0), ("a", 1_000), ("b", 2_000), ("a", 3_000), ("a", 70_000)] {
            write(&store, action, at).await;
        }
        let rows = store.read(|reader| list(reader, "station", None, 10)).await.unwrap();
        let counts: Vec<_> = rows.iter().rev().map(|row| (row.action.as_str(), row.count)).collect();
        assert_eq!(counts, [("a", 2), ("b", 1), ("a", 1), ("a", 1)]);
        assert_eq!(store.write(|tx| verify(tx, "station")).await.unwrap(), Verified::Intact { rows: 4 });
    }

    #[tokio::test]
    async fn a_changed_row_and_a_deleted_row_are_noticed() {
        let store = fixture().store;
        for (action, at) in [("a", 0), ("b", 1), ("c", 2)] {
            write(&store, action, at).await;
        }
        let deleted = store.write(|tx| tx.execute("DELETE FROM audit_log WHERE seq = 2", [])).await;
        assert!(deleted.is_err(), "rows cannot be deleted");
        store
            .write(|tx| tx.execute("UPDATE audit_log SET target = 'y' WHERE seq = 2", []))
            .await
            .unwrap();
        assert_eq!(
            store.write(|tx| verify(tx, "station")).await.unwrap(),
            Verified::BrokenAt { seq: 2 }
        );
    }
}
