//! The journal: entries are appended under the run's fence and never changed.

mod steps;

#[cfg(test)]
pub(super) use steps::SQL as STEPS_SQL;
pub use steps::{Write, steps, writes};

use rusqlite::{Row, named_params};

use super::hash::Hash;
use super::tx::Cells;
use super::{Error, Reader, Tx, payloads};
use crate::domain::call::EffectClass;
use crate::domain::id::{OrgId, RunId};
use crate::domain::journal::{Entry, NewEntry, Payload, PayloadRef, kind};
use crate::domain::limits::{META_BYTES_MAX, PAYLOAD_INLINE_BYTES_MAX};
use crate::domain::run::Holds;
use crate::domain::time::Timestamp;

pub(super) const ALLOCATE: &str =
    "UPDATE runs SET next_seq = next_seq + :entries, journal_bytes = journal_bytes + :bytes, calls = calls + :calls
    WHERE id = :run AND org_id = :org AND (:fence IS NULL OR fence = :fence)
    RETURNING next_seq, journal_bytes, calls, holds";
pub(super) const INSERT: &str = "INSERT INTO journal
    (run_id, seq, at, lane, attempt, segment, call, sub, phase, kind, class, fingerprint, fuel, step, actor, audience, meta,
     request, request_ref, request_bytes, response, response_ref, response_bytes)
    VALUES (:run, :seq, :at, :lane, :attempt, :segment, :call, :sub, :phase, :kind, :class, :fingerprint, :fuel, :step, :actor, :audience, :meta,
     :request, :request_ref, :request_bytes, :response, :response_ref, :response_bytes)";
macro_rules! columns {
    () => {
        "j.seq, j.at, j.lane, j.attempt, j.segment, j.call, j.sub, j.phase, j.kind, j.class, j.fingerprint, j.fuel, j.step, j.actor,
         j.audience, j.meta, j.request, j.request_ref, j.request_bytes, j.response, j.response_ref, j.response_bytes"
    };
}
pub(super) const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM runs r JOIN journal j ON j.run_id = r.id WHERE r.id = :run AND r.org_id = :org AND j.seq > :after ORDER BY j.seq LIMIT :limit"
);
pub(super) const GET: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM runs r JOIN journal j ON j.run_id = r.id WHERE r.id = :run AND r.org_id = :org AND j.seq = :seq"
);
pub(super) const RECORDED: &str =
    "SELECT j.at, j.call, j.sub, j.phase, j.kind, j.class, j.fingerprint, j.fuel, j.response, j.response_ref, j.response_bytes
    FROM segments s JOIN journal j ON j.run_id = s.run_id AND j.seq >= s.first_seq
    WHERE s.run_id = :run AND s.segment = :segment AND s.org_id = :org AND j.segment = :segment AND j.lane = 'guest'
    ORDER BY j.seq";

pub(super) const MADE: &str = "SELECT j.seq, j.call, j.sub, j.kind, j.fingerprint, j.request, j.request_ref, j.request_bytes
    FROM segments s JOIN journal j ON j.run_id = s.run_id AND j.seq >= s.first_seq
    WHERE s.run_id = :run AND s.segment = :segment AND s.org_id = :org AND j.segment = :segment AND j.lane = 'guest' AND j.phase <> 'end'
    ORDER BY j.seq";
pub(super) const REPLIES: &str = "SELECT j.request, j.request_ref, j.request_bytes
    FROM segments s JOIN journal j ON j.run_id = s.run_id AND j.seq >= s.first_seq
    WHERE s.run_id = :run AND s.segment = :segment AND s.org_id = :org AND j.segment = :segment AND j.lane = 'guest' AND j.kind = 'inbox.reply'
    ORDER BY j.seq";

/// Where a run's journal is after an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first_seq: u64,
    pub last_seq: u64,
    /// Of the whole run.
    pub journal_bytes: u64,
    pub calls: u64,
    pub holds: Holds,
}

/// Appends entries in order. With a fence, only for the start that holds it.
///
/// # Errors
/// [`Error::Fenced`] where another start has taken over, or the run is not there.
pub fn append(tx: &Tx<'_>, org: OrgId, run: RunId, fence: Option<u64>, entries: &[NewEntry]) -> Result<Appended, Error> {
    let run_text = run.to_string();
    let bytes: u64 = entries.iter().map(NewEntry::journal_bytes).sum();
    // An intent and its result are one call.
    let calls = entries.iter().filter(|entry| entry.call.is_some() && !is_result(entry)).count();
    let params = named_params! {
        ":entries": entries.len() as i64, ":bytes": bytes as i64, ":calls": calls as i64, ":run": run_text, ":org": org,
        ":fence": fence.map(|fence| fence as i64),
    };
    let allocated = tx.find(ALLOCATE, params, |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get(3)?))
    })?;
    let (next, journal_bytes, calls, holds) = allocated.ok_or(Error::Fenced)?;
    let first = next - entries.len() as i64;
    for (seq, entry) in (first..).zip(entries) {
        insert(tx, org, &run_text, seq, entry)?;
    }
    Ok(Appended {
        first_seq: first as u64,
        last_seq: (next - 1) as u64,
        journal_bytes: journal_bytes as u64,
        calls: calls as u64,
        holds,
    })
}

fn is_result(entry: &NewEntry) -> bool {
    // A retry's marker is nobody's call.
    (entry.phase == crate::domain::journal::Phase::End && entry.kind != "step") || entry.kind == kind::RUN_RETRIED
}

/// In the row where it is small, else beside it.
pub(super) fn place(tx: &Tx<'_>, org: OrgId, payload: Option<&Payload>) -> Result<(Option<String>, Option<Hash>, i64), Error> {
    let Some(payload) = payload else { return Ok((None, None, 0)) };
    let bytes = payload.len() as i64;
    match payload {
        Payload::Json(text) if text.len() <= PAYLOAD_INLINE_BYTES_MAX => Ok((Some(text.clone()), None, bytes)),
        _ => Ok((None, Some(payloads::put(tx, org, payload)?), bytes)),
    }
}

/// A summary within its limit; one that is longer loses its long texts.
pub(super) fn meta(value: &serde_json::Value) -> String {
    let text = value.to_string();
    if text.len() <= META_BYTES_MAX {
        return text;
    }
    let mut object = value.as_object().cloned().unwrap_or_default();
    let mut limit = META_BYTES_MAX / 4;
    while limit > 8 {
        for field in object.values_mut() {
            if let serde_json::Value::String(text) = field
                && text.len() > limit
            {
                text.truncate(text.floor_char_boundary(limit));
                text.push('…');
            }
        }
        let text = serde_json::Value::Object(object.clone()).to_string();
        if text.len() <= META_BYTES_MAX {
            return text;
        }
        limit /= 2;
    }
    "{}".to_owned()
}

fn insert(tx: &Tx<'_>, org: OrgId, run: &str, seq: i64, entry: &NewEntry) -> Result<(), Error> {
    let (request, request_ref, request_bytes) = place(tx, org, entry.request.as_ref())?;
    let (response, response_ref, response_bytes) = place(tx, org, entry.response.as_ref())?;
    tx.execute(
        INSERT,
        named_params! {
            ":run": run, ":seq": seq, ":at": entry.at, ":lane": entry.lane, ":attempt": entry.attempt, ":segment": entry.segment,
            ":call": entry.call, ":sub": entry.sub, ":phase": entry.phase, ":kind": entry.kind, ":class": entry.class,
            ":fingerprint": entry.fingerprint, ":fuel": entry.fuel.map(|fuel| fuel as i64), ":step": entry.step, ":actor": entry.actor,
            ":audience": entry.audience, ":meta": meta(&entry.meta), ":request": request, ":request_ref": request_ref,
            ":request_bytes": request_bytes, ":response": response, ":response_ref": response_ref, ":response_bytes": response_bytes,
        },
    )?;
    Ok(())
}

pub(super) fn payload_ref(inline: Option<String>, hash: Option<Hash>, bytes: i64) -> PayloadRef {
    match (inline, hash) {
        (Some(text), _) => PayloadRef::Inline(text),
        (None, Some(hash)) => PayloadRef::Stored { hash, bytes: bytes as u64 },
        (None, None) => PayloadRef::None,
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let mut cells = Cells::of(row);
    Ok(Entry {
        seq: cells.take::<i64>()? as u64,
        at: cells.take()?,
        lane: cells.take()?,
        attempt: cells.take()?,
        segment: cells.take()?,
        call: cells.take()?,
        sub: cells.take()?,
        phase: cells.take()?,
        kind: cells.take()?,
        class: cells.take()?,
        fingerprint: cells.take()?,
        fuel: cells.take::<Option<i64>>()?.map(|fuel| fuel as u64),
        step: cells.take()?,
        actor: cells.take()?,
        audience: cells.take()?,
        meta: cells.take()?,
        request: payload_ref(cells.take()?, cells.take()?, cells.take()?),
        response: payload_ref(cells.take()?, cells.take()?, cells.take()?),
    })
}

/// Entries after `after`, in order.
pub fn page(reader: &Reader<'_>, org: OrgId, run: RunId, after: u64, limit: u32) -> Result<Vec<Entry>, Error> {
    reader.list(
        PAGE,
        named_params! { ":run": run, ":org": org, ":after": after as i64, ":limit": limit },
        entry,
    )
}

/// One entry.
pub fn get(reader: &Reader<'_>, org: OrgId, run: RunId, seq: u64) -> Result<Entry, Error> {
    reader.get(GET, named_params! { ":run": run, ":org": org, ":seq": seq as i64 }, entry)
}

/// The text of a payload, from the row or from beside it.
pub fn payload_text(reader: &Reader<'_>, org: OrgId, payload: &PayloadRef) -> Result<Option<String>, Error> {
    match payload {
        PayloadRef::None => Ok(None),
        PayloadRef::Inline(text) => Ok(Some(text.clone())),
        PayloadRef::Stored { hash, .. } => payloads::text(reader, org, hash).map(Some),
    }
}

/// A guest's entry, as replay needs it.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub at: Timestamp,
    pub call: u32,
    pub sub: Option<u32>,
    pub phase: crate::domain::journal::Phase,
    pub kind: String,
    pub class: Option<EffectClass>,
    pub fingerprint: [u8; 16],
    pub fuel: u64,
    /// JSON.
    pub response: Option<String>,
}

/// What the guest's lane holds of a segment, in order, with whole responses.
pub fn recorded(reader: &Reader<'_>, org: OrgId, run: RunId, segment: u32) -> Result<Vec<Recorded>, Error> {
    let rows = reader.list(RECORDED, named_params! { ":run": run, ":org": org, ":segment": segment }, |row| {
        let mut cells = Cells::of(row);
        let recorded = Recorded {
            at: cells.take()?,
            call: cells.take()?,
            sub: cells.take()?,
            phase: cells.take()?,
            kind: cells.take()?,
            class: cells.take()?,
            fingerprint: cells.take()?,
            fuel: cells.take::<i64>()? as u64,
            response: None,
        };
        Ok((recorded, payload_ref(cells.take()?, cells.take()?, cells.take()?)))
    })?;
    rows.into_iter()
        .map(|(recorded, response)| {
            Ok(Recorded {
                response: payload_text(reader, org, &response)?,
                ..recorded
            })
        })
        .collect()
}

/// A call as it was made, with its arguments.
#[derive(Clone, Debug)]
pub struct Made {
    pub seq: u64,
    pub call: Option<u32>,
    pub sub: Option<u32>,
    pub kind: String,
    pub fingerprint: Option<[u8; 16]>,
    /// JSON.
    pub request: Option<String>,
}

/// The calls of a segment as they were made, in order, with whole requests.
pub fn made(reader: &Reader<'_>, org: OrgId, run: RunId, segment: u32) -> Result<Vec<Made>, Error> {
    let rows = reader.list(MADE, named_params! { ":run": run, ":org": org, ":segment": segment }, |row| {
        let mut cells = Cells::of(row);
        let made = Made {
            seq: cells.take::<i64>()? as u64,
            call: cells.take()?,
            sub: cells.take()?,
            kind: cells.take()?,
            fingerprint: cells.take()?,
            request: None,
        };
        Ok((made, payload_ref(cells.take()?, cells.take()?, cells.take()?)))
    })?;
    rows.into_iter()
        .map(|(made, request)| {
            Ok(Made {
                request: payload_text(reader, org, &request)?,
                ..made
            })
        })
        .collect()
}

/// What a segment has said to those who read along, in order.
pub fn replies(reader: &Reader<'_>, org: OrgId, run: RunId, segment: u32) -> Result<Vec<String>, Error> {
    #[derive(serde::Deserialize)]
    struct Said {
        text: String,
    }
    let requests = reader.list(REPLIES, named_params! { ":run": run, ":org": org, ":segment": segment }, |row| {
        Ok(payload_ref(row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    let mut replies = Vec::with_capacity(requests.len());
    for request in requests {
        let text = payload_text(reader, org, &request)?.unwrap_or_default();
        replies.extend(serde_json::from_str::<Said>(&text).map(|said| said.text));
    }
    Ok(replies)
}
