//! What was said in a run, read from its journal: messages that came in and replies that went out.

use rusqlite::{Row, named_params};

use super::journal::payload_text;
use super::tx::Cells;
use super::{Error, Reader};
use crate::domain::id::{OrgId, RunId};
use crate::domain::journal::PayloadRef;
use crate::domain::time::Timestamp;

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT j.seq, j.at, j.segment, j.kind, j.meta, j.request, j.request_ref, j.request_bytes
            FROM runs r JOIN journal j ON j.run_id = r.id
            WHERE r.id = :run AND r.org_id = :org AND j.kind IN ('message.received', 'inbox.reply') AND ",
            $condition,
            " LIMIT :limit"
        )
    };
}
pub(super) const AFTER: &str = select!("j.seq > :seq ORDER BY j.seq");
pub(super) const BEFORE: &str = select!("j.seq < :seq ORDER BY j.seq DESC");

/// A message or a reply, with its whole text.
#[derive(Clone, Debug)]
pub struct Utterance {
    pub seq: u64,
    pub at: Timestamp,
    pub segment: u32,
    pub kind: String,
    /// A JSON object, as text.
    pub meta: String,
    /// JSON with the text; `None` where it was erased.
    pub request: Option<String>,
}

fn utterance(row: &Row<'_>) -> rusqlite::Result<(Utterance, PayloadRef)> {
    let mut cells = Cells::of(row);
    let utterance = Utterance {
        seq: cells.take::<i64>()? as u64,
        at: cells.take()?,
        segment: cells.take()?,
        kind: cells.take()?,
        meta: cells.take()?,
        request: None,
    };
    let request = match (cells.take::<Option<String>>()?, cells.take()?, cells.take::<i64>()?) {
        (Some(text), _, _) => PayloadRef::Inline(text),
        (None, Some(hash), bytes) => PayloadRef::Stored { hash, bytes: bytes as u64 },
        (None, None, _) => PayloadRef::None,
    };
    Ok((utterance, request))
}

fn read(reader: &Reader<'_>, sql: &'static str, org: OrgId, run: RunId, seq: u64, limit: u32) -> Result<Vec<Utterance>, Error> {
    let seq = i64::try_from(seq).unwrap_or(i64::MAX);
    let found = reader.list(
        sql,
        named_params! { ":run": run, ":org": org, ":seq": seq, ":limit": limit },
        utterance,
    )?;
    let whole = found.into_iter().map(|(utterance, request)| {
        let request = payload_text(reader, org, &request)?;
        Ok(Utterance { request, ..utterance })
    });
    whole.collect()
}

/// What was said after the entry `after`, in order.
pub fn after(reader: &Reader<'_>, org: OrgId, run: RunId, after: u64, limit: u32) -> Result<Vec<Utterance>, Error> {
    read(reader, AFTER, org, run, after, limit)
}

/// What was last said before the entry `before`, in order.
pub fn before(reader: &Reader<'_>, org: OrgId, run: RunId, before: u64, limit: u32) -> Result<Vec<Utterance>, Error> {
    let mut found = read(reader, BEFORE, org, run, before, limit)?;
    found.reverse();
    Ok(found)
}
