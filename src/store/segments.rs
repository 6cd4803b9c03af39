//! Segments: what each began with and is pinned to.

use rusqlite::named_params;

use super::hash::Hash;
use super::tx::Cells;
use super::{Error, Reader, Tx};
use crate::domain::id::{OrgId, RunId};
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str = "INSERT INTO segments
    (run_id, org_id, segment, component_digest, script_digest, wit_version, engine, seed, event, state_hash, first_seq, started_at, ask)
    SELECT id, org_id, :segment, :component, :script, :wit, :engine, :seed, :event, :state, next_seq, :now, :ask FROM runs WHERE id = :run AND org_id = :org";
pub(super) const FIND: &str =
    "SELECT segment, component_digest, script_digest, wit_version, engine, seed, event, state_hash, started_at, ask
    FROM segments WHERE run_id = :run AND segment = :segment AND org_id = :org";
pub(super) const FINISH: &str =
    "UPDATE segments SET ended_at = :now, fuel = :fuel WHERE run_id = :run AND segment = :segment AND org_id = :org";

pub(super) const ASK: &str = "SELECT ask FROM segments WHERE run_id = :run AND segment = :segment AND org_id = :org AND ended_at IS NULL";
pub(super) const ABANDON: &str =
    "UPDATE segments SET abandoned = 1, ended_at = :now WHERE run_id = :run AND segment = :segment AND org_id = :org";

pub(super) const LIST: &str =
    "SELECT segment, component_digest, script_digest, wit_version, engine, seed, event, state_hash, started_at, ask, first_seq, fuel, abandoned
    FROM segments WHERE run_id = :run AND org_id = :org ORDER BY segment";

/// A segment that is to begin.
#[derive(Clone, Debug)]
pub struct NewSegment {
    pub segment: u32,
    /// What executes: the component, or the JavaScript runtime.
    pub component_digest: Hash,
    pub script_digest: Option<Hash>,
    pub wit_version: String,
    pub engine: String,
    pub seed: [u8; 32],
    /// JSON.
    pub event: Option<String>,
    pub state_hash: Option<Hash>,
    pub started_at: Timestamp,
    /// JSON: who asked for it, and the quota.
    pub ask: Option<String>,
}

/// A segment that has begun; it has nothing that a new one has not.
pub type Segment = NewSegment;

/// Begins a segment; its entries are those from now on.
pub fn insert(tx: &Tx<'_>, org: OrgId, run: RunId, new: &NewSegment) -> Result<Segment, Error> {
    let inserted = tx.execute(
        INSERT,
        named_params! {
            ":run": run, ":org": org, ":segment": new.segment, ":component": new.component_digest, ":script": new.script_digest,
            ":wit": new.wit_version, ":engine": new.engine, ":seed": new.seed, ":event": new.event, ":state": new.state_hash,
            ":now": new.started_at, ":ask": new.ask,
        },
    )?;
    if inserted == 1 { Ok(new.clone()) } else { Err(Error::NotFound) }
}

fn segment(cells: &mut Cells<'_>) -> rusqlite::Result<Segment> {
    Ok(Segment {
        segment: cells.take()?,
        component_digest: cells.take()?,
        script_digest: cells.take()?,
        wit_version: cells.take()?,
        engine: cells.take()?,
        seed: cells.take()?,
        event: cells.take()?,
        state_hash: cells.take()?,
        started_at: cells.take()?,
        ask: cells.take()?,
    })
}

pub fn find(reader: &Reader<'_>, org: OrgId, run: RunId, number: u32) -> Result<Option<Segment>, Error> {
    reader.find(FIND, named_params! { ":run": run, ":org": org, ":segment": number }, |row| {
        segment(&mut Cells::of(row))
    })
}

/// A segment with what became of it.
#[derive(Clone, Debug)]
pub struct Past {
    pub segment: Segment,
    /// Its first entry.
    pub first_seq: u64,
    /// What it used, where it has ended.
    pub fuel: Option<u64>,
    /// Given up with its quota: replay ignores it.
    pub abandoned: bool,
}

/// Every segment of a run, in order.
pub fn list(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<Vec<Past>, Error> {
    reader.list(LIST, named_params! { ":run": run, ":org": org }, |row| {
        let mut cells = Cells::of(row);
        Ok(Past {
            segment: segment(&mut cells)?,
            first_seq: cells.take::<i64>()? as u64,
            fuel: cells.take::<Option<i64>>()?.map(|fuel| fuel as u64),
            abandoned: cells.take()?,
        })
    })
}

pub fn finish(tx: &Tx<'_>, org: OrgId, run: RunId, segment: u32, fuel: u64, now: Timestamp) -> Result<(), Error> {
    tx.execute(
        FINISH,
        named_params! { ":run": run, ":org": org, ":segment": segment, ":fuel": fuel as i64, ":now": now },
    )?;
    Ok(())
}

/// Who asked for a segment that has not ended; JSON.
pub fn ask(reader: &Reader<'_>, org: OrgId, run: RunId, segment: u32) -> Result<Option<String>, Error> {
    let found = reader.find(ASK, named_params! { ":run": run, ":org": org, ":segment": segment }, |row| {
        row.get(0)
    })?;
    Ok(found.flatten())
}

/// Marks a segment as given up.
pub fn abandon(tx: &Tx<'_>, org: OrgId, run: RunId, segment: u32, now: Timestamp) -> Result<(), Error> {
    tx.execute(
        ABANDON,
        named_params! { ":run": run, ":org": org, ":segment": segment, ":now": now },
    )?;
    Ok(())
}
