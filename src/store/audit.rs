//! Who did what: append-only chains, one for each organization and one of the station, each row's hash over the one before it.
//!
//! The hash is keyed, and the key stands in the same file. So a chain shows what was changed or taken out by someone who does
//! not have the key, and by accident. Someone who has the whole file can make a new chain, or cut one's end: against that a
//! [`Checkpoint`] is kept elsewhere. What is about persons stands beside the rows, under salted digests, and can be blanked.

mod persons;
mod read;
mod record;
mod verify;

#[cfg(test)]
mod tests;

use rusqlite::{Row, named_params};
use serde::{Deserialize, Serialize};

pub use self::persons::{Blanked, Person, blank};
pub use self::read::{Filter, Found, Listed, Place, Search, about, list, search};
pub use self::record::{Record, Subject, record};
pub use self::verify::{Broken, Verdict, Walk, chains, head};
use super::hash::Hash;
use super::tx::Cells;
use crate::domain::failure::codes;
use crate::domain::hex;
use crate::domain::id::PrincipalId;
use crate::domain::time::Timestamp;

/// Every statement, for the check of their plans.
#[cfg(test)]
pub(super) const SQL: &[&str] = &[
    LAST,
    FROM,
    record::REPEAT,
    record::PERSON_OF,
    record::PERSON_BY_EMAIL,
    persons::FROM,
    persons::BLANK,
    persons::BLANK_BY_EMAIL,
    read::PLAIN,
    read::BY_ACTOR,
    read::BY_ACTION,
    read::ABOUT,
    verify::CHAINS,
];

macro_rules! columns {
    () => {
        "a.chain, a.seq, a.at, a.actor, a.credential, a.credential_id, a.action, a.target, a.outcome, a.count, a.request_id, a.detail, a.person, a.hash"
    };
}
use columns;

const LAST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM audit_log a WHERE a.chain = :chain ORDER BY a.seq DESC LIMIT 1"
);
const FROM: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM audit_log a WHERE a.chain = :chain AND a.seq >= :from ORDER BY a.seq LIMIT :limit"
);

codes! {
    /// How it went.
    Outcome {
        Ok = "ok",
        Denied = "denied",
        Failed = "failed",
    }
}

/// A row of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub chain: String,
    pub seq: u64,
    pub at: Timestamp,
    pub actor: Option<PrincipalId>,
    actor_text: Option<String>,
    pub credential: Option<String>,
    /// Which one: a key's public part, a session's id.
    pub credential_id: Option<String>,
    pub action: String,
    pub target: String,
    pub outcome: String,
    /// How often, within a minute.
    pub count: u64,
    pub request_id: Option<String>,
    /// A JSON object.
    pub detail: String,
    person: Option<Hash>,
    pub hash: Hash,
}

fn row(row: &Row<'_>) -> rusqlite::Result<Entry> {
    entry(&mut Cells::of(row))
}

/// A principal's id, and as it is written; what is none, because somebody changed it, is left to verifying to find.
fn principal(cells: &mut Cells<'_>) -> rusqlite::Result<(Option<PrincipalId>, Option<String>)> {
    let text: Option<String> = cells.take()?;
    Ok((text.as_deref().and_then(|text| text.parse().ok()), text))
}

/// A hash; one of another length is none that anything fits.
fn hash_of(cells: &mut Cells<'_>) -> rusqlite::Result<Option<Hash>> {
    let bytes: Option<Vec<u8>> = cells.take()?;
    Ok(bytes.map(|bytes| bytes.try_into().unwrap_or_default()))
}

fn entry(cells: &mut Cells<'_>) -> rusqlite::Result<Entry> {
    let (chain, seq, at) = (cells.take()?, cells.take::<i64>()? as u64, cells.take()?);
    let (actor, actor_text) = principal(cells)?;
    Ok(Entry {
        chain,
        seq,
        at,
        actor,
        actor_text,
        credential: cells.take()?,
        credential_id: cells.take()?,
        action: cells.take()?,
        target: cells.take()?,
        outcome: cells.take()?,
        count: cells.take::<i64>()? as u64,
        request_id: cells.take()?,
        detail: cells.take()?,
        person: hash_of(cells)?,
        hash: hash_of(cells)?.unwrap_or_default(),
    })
}

/// A row of a chain as it was at one time, to be kept outside the station: a chain that no longer has it was cut or rewritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// An organization's id, or `station`.
    pub chain: String,
    pub seq: u64,
    /// Repeats may have raised it since.
    pub count: u64,
    /// Hexadecimal.
    pub hash: String,
}

impl From<&Entry> for Checkpoint {
    fn from(entry: &Entry) -> Self {
        Self {
            chain: entry.chain.clone(),
            seq: entry.seq,
            count: entry.count,
            hash: hex::encode(&entry.hash),
        }
    }
}

fn rows_from(reader: &super::Reader<'_>, chain: &str, from: u64, limit: u32) -> Result<Vec<Entry>, super::Error> {
    reader.list(FROM, named_params! { ":chain": chain, ":from": from as i64, ":limit": limit }, row)
}
