//! What runs wait for. Each row is opened by a run's call and completed by someone else, in the order of their commits.

use rusqlite::{Row, named_params};

use super::tx::Cells;
use super::{Error, Reader, Tx};
use crate::domain::call::CallResult;
use crate::domain::id::{OrgId, RunId};
use crate::domain::time::Timestamp;

macro_rules! columns {
    () => {
        "segment, call, sub, kind, target, due_at, signal, outcome"
    };
}
macro_rules! key {
    () => {
        " WHERE run_id = :run AND segment = :segment AND call = :call AND sub = :sub AND org_id = :org"
    };
}
pub(super) const OPEN: &str = "INSERT INTO waits (run_id, org_id, segment, call, sub, kind, target, due_at)
    VALUES (:run, :org, :segment, :call, :sub, :kind, :target, :due)";
pub(super) const FIND: &str = concat!("SELECT ", columns!(), " FROM waits", key!());
pub(super) const CLOSE: &str = concat!("DELETE FROM waits", key!());
pub(super) const COUNT: &str = "SELECT count(*) FROM waits WHERE run_id = :run AND segment = :segment AND org_id = :org";
pub(super) const OPEN_OF_RUN: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM waits WHERE run_id = :run AND org_id = :org AND signal IS NULL ORDER BY segment, call, sub"
);
pub(super) const AWAITED_OF_RUN: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM waits WHERE run_id = :run AND org_id = :org AND signal IS NULL AND awaited = 1 ORDER BY segment, call, sub"
);
pub(super) const CLEAR: &str = "DELETE FROM waits WHERE run_id = :run AND org_id = :org";
pub(super) const NOT_AWAITED: &str = "UPDATE waits SET awaited = 0 WHERE run_id = :run AND org_id = :org AND awaited = 1";
pub(super) const AWAITED: &str = concat!("UPDATE waits SET awaited = 1", key!());
pub(super) const NEXT_SIGNAL: &str =
    "UPDATE runs SET next_signal = next_signal + 1 WHERE id = :run AND org_id = :org RETURNING next_signal - 1";
pub(super) const COMPLETE: &str = concat!(
    "UPDATE waits SET signal = :signal, outcome = :outcome",
    key!(),
    " AND signal IS NULL RETURNING awaited"
);
// Only a run that is parked within a segment is woken by a wait; between segments it waits for other things.
pub(super) const WAKE: &str =
    "UPDATE runs SET state = 'queued' WHERE id = :run AND org_id = :org AND state = 'waiting' AND wake_on IS NULL";
pub(super) const FOR_MESSAGE: &str = "SELECT segment, call, sub FROM waits
    WHERE run_id = :run AND org_id = :org AND kind = 'message' AND signal IS NULL ORDER BY segment, call, sub LIMIT 1";
pub(super) const ON_TARGET: &str =
    "SELECT run_id, org_id, segment, call, sub, kind, target FROM waits WHERE target = :target AND signal IS NULL";
pub(super) const DUE: &str = "SELECT run_id, org_id, segment, call, sub, kind, target FROM waits WHERE signal IS NULL AND due_at IS NOT NULL AND due_at <= :now ORDER BY due_at LIMIT :limit";
pub(super) const NEXT_DUE: &str = "SELECT due_at FROM waits WHERE signal IS NULL AND due_at IS NOT NULL ORDER BY due_at LIMIT 1";

/// Which call of a run waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Key {
    pub segment: u32,
    pub call: u32,
    /// 0 for a call that was made alone.
    pub sub: u32,
}

crate::domain::failure::codes! {
    /// What completes a wait.
    Kind {
        Timer = "timer",
        Approval = "approval",
        Message = "message",
        Child = "child",
        /// A child's answer.
        Ask = "ask",
    }
}

impl rusqlite::types::FromSql for Kind {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        Self::parse(value.as_str()?).ok_or(rusqlite::types::FromSqlError::InvalidType)
    }
}

/// A wait that is to be opened.
#[derive(Clone, Debug)]
pub struct NewWait {
    pub key: Key,
    pub kind: Kind,
    /// The approval, or the child.
    pub target: Option<String>,
    pub due_at: Option<Timestamp>,
}

/// A wait as it is.
#[derive(Clone, Debug)]
pub struct Wait {
    pub key: Key,
    pub kind: Kind,
    pub target: Option<String>,
    pub due_at: Option<Timestamp>,
    /// When it was completed, in the order of the run's signals.
    pub signal: Option<u64>,
    /// JSON of [`CallResult`], once completed.
    pub outcome: Option<String>,
}

/// A wait of some run that someone may complete.
#[derive(Clone, Debug)]
pub struct Pending {
    pub run: RunId,
    pub org: OrgId,
    pub key: Key,
    pub kind: Kind,
    pub target: Option<String>,
}

fn wait(row: &Row<'_>) -> rusqlite::Result<Wait> {
    let mut cells = Cells::of(row);
    Ok(Wait {
        key: Key {
            segment: cells.take()?,
            call: cells.take()?,
            sub: cells.take()?,
        },
        kind: cells.take()?,
        target: cells.take()?,
        due_at: cells.take()?,
        signal: cells.take::<Option<i64>>()?.map(|signal| signal as u64),
        outcome: cells.take()?,
    })
}

fn pending(row: &Row<'_>) -> rusqlite::Result<Pending> {
    let mut cells = Cells::of(row);
    Ok(Pending {
        run: cells.take()?,
        org: cells.take()?,
        key: Key {
            segment: cells.take()?,
            call: cells.take()?,
            sub: cells.take()?,
        },
        kind: cells.take()?,
        target: cells.take()?,
    })
}

/// Begins to wait.
pub fn open(tx: &Tx<'_>, org: OrgId, run: RunId, new: &NewWait) -> Result<(), Error> {
    tx.execute(
        OPEN,
        named_params! {
            ":run": run, ":org": org, ":segment": new.key.segment, ":call": new.key.call, ":sub": new.key.sub, ":kind": new.kind.as_str(),
            ":target": new.target, ":due": new.due_at,
        },
    )?;
    Ok(())
}

pub fn find(reader: &Reader<'_>, org: OrgId, run: RunId, key: Key) -> Result<Option<Wait>, Error> {
    reader.find(
        FIND,
        named_params! { ":run": run, ":org": org, ":segment": key.segment, ":call": key.call, ":sub": key.sub },
        wait,
    )
}

/// Waits that the run has open or has not read, of one segment.
pub fn count(reader: &Reader<'_>, org: OrgId, run: RunId, segment: u32) -> Result<u32, Error> {
    reader.get(COUNT, named_params! { ":run": run, ":org": org, ":segment": segment }, |row| {
        row.get(0)
    })
}

/// What the run still waits for.
pub fn open_of_run(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<Vec<Wait>, Error> {
    reader.list(OPEN_OF_RUN, named_params! { ":run": run, ":org": org }, wait)
}

/// What the run is parked on.
pub fn awaited_of_run(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<Vec<Wait>, Error> {
    reader.list(AWAITED_OF_RUN, named_params! { ":run": run, ":org": org }, wait)
}

/// No longer waits: it was answered and read, or given up.
pub fn close(tx: &Tx<'_>, org: OrgId, run: RunId, key: Key) -> Result<(), Error> {
    tx.execute(
        CLOSE,
        named_params! { ":run": run, ":org": org, ":segment": key.segment, ":call": key.call, ":sub": key.sub },
    )?;
    Ok(())
}

/// Forgets everything the run waited for: its segment is over.
pub fn clear(tx: &Tx<'_>, org: OrgId, run: RunId) -> Result<(), Error> {
    tx.execute(CLEAR, named_params! { ":run": run, ":org": org })?;
    Ok(())
}

/// Says on which of its waits the run is parked: these wake it.
pub fn await_only(tx: &Tx<'_>, org: OrgId, run: RunId, keys: &[Key]) -> Result<(), Error> {
    tx.execute(NOT_AWAITED, named_params! { ":run": run, ":org": org })?;
    for key in keys {
        tx.execute(
            AWAITED,
            named_params! { ":run": run, ":org": org, ":segment": key.segment, ":call": key.call, ":sub": key.sub },
        )?;
    }
    Ok(())
}

/// What completing a wait did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completed {
    /// It was completed before, or is not there.
    No,
    Yes,
    /// The run was parked on it and is queued.
    Woke,
}

/// Completes a wait; a run that is parked on it is queued.
pub fn complete(tx: &Tx<'_>, org: OrgId, run: RunId, key: Key, outcome: &CallResult) -> Result<Completed, Error> {
    let Some(signal) = tx.find(NEXT_SIGNAL, named_params! { ":run": run, ":org": org }, |row| row.get::<_, i64>(0))? else {
        return Ok(Completed::No);
    };
    let awaited: Option<bool> = tx.find(
        COMPLETE,
        named_params! {
            ":run": run, ":org": org, ":segment": key.segment, ":call": key.call, ":sub": key.sub, ":signal": signal, ":outcome": outcome.to_json(),
        },
        |row| row.get(0),
    )?;
    match awaited {
        None => Ok(Completed::No),
        Some(true) if tx.execute(WAKE, named_params! { ":run": run, ":org": org })? == 1 => Ok(Completed::Woke),
        Some(_) => Ok(Completed::Yes),
    }
}

/// The first call of the run that waits for a message.
pub fn for_message(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<Option<Key>, Error> {
    reader.find(FOR_MESSAGE, named_params! { ":run": run, ":org": org }, |row| {
        Ok(Key {
            segment: row.get(0)?,
            call: row.get(1)?,
            sub: row.get(2)?,
        })
    })
}

/// Who waits for this approval, or this child.
pub fn on_target(reader: &Reader<'_>, target: &str) -> Result<Vec<Pending>, Error> {
    reader.list(ON_TARGET, named_params! { ":target": target }, pending)
}

/// Waits whose time is up.
pub fn due(reader: &Reader<'_>, now: Timestamp, limit: u32) -> Result<Vec<Pending>, Error> {
    reader.list(DUE, named_params! { ":now": now, ":limit": limit }, pending)
}

/// When the next wait's time is up.
pub fn next_due(reader: &Reader<'_>) -> Result<Option<Timestamp>, Error> {
    reader.find(NEXT_DUE, [], |row| row.get(0))
}
