//! Runs: rows, the queue in them, leases and fences.

mod end;
mod family;
pub mod holds;
mod queue;
mod read;
pub mod retry;

pub use end::{Tell, Touched, cancel, forget_waits, outcome, settle};
pub use family::{Above, Child, agent_name, chain, children, list_children};
pub use queue::{Claimed, claim, next_wake, recover_expired, recover_foreign, renew};
pub use read::{Filter, Run, count_of_agent, get, list, list_sessions};
#[cfg(test)]
pub(super) use {
    end::SQL as END_SQL, family::SQL as FAMILY_SQL, holds::SQL as HOLDS_SQL, queue::SQL as QUEUE_SQL, read::SQL as READ_SQL,
    retry::SQL as RETRY_SQL,
};

use rusqlite::named_params;
use serde_json::json;

use super::hash::Hash;
use super::waits::{self, Key};
use super::{Error, Reader, Scope, Tx, journal, ledger, payloads};
use crate::domain::failure::EndReason;
use crate::domain::id::{AgentId, OrgId, PrincipalId, RunId, VersionId};
use crate::domain::journal::{NewEntry, kind};
use crate::domain::run::{Environment, RunState, Trigger, WakeOn};
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str = "INSERT INTO runs
    (id, org_id, workspace_id, environment, agent_id, version_id, agent_name, agent_version, state, trigger, started_by, input_hash, created_at,
     priority, retry, pinned, session, parent_run_id, parent_segment, parent_call, parent_sub, depth, entangled, ask_writes, forked_from,
     budget_micros, key_id)
    VALUES (:id, :org, :workspace, :environment, :agent, :version, :agent_name, :agent_version, 'queued', :trigger, :started_by, :input, :now,
     :priority, :retry, :pinned, :session, :parent, :parent_segment, :parent_call, :parent_sub, :depth, :parent IS NOT NULL, :ask_writes, :forked_from,
     :budget, :key)";
pub(super) const STATE: &str = "SELECT state, segment, next_seq FROM runs WHERE id = :run AND org_id = :org";
pub(super) const CANCEL_NOW: &str =
    "UPDATE runs SET state = 'cancelled', reason = 'cancelled', cancel_requested = 1, holds = 0, wake_at = NULL, wake_on = NULL, error = :error, finished_at = :now
    WHERE id = :run AND org_id = :org AND state IN ('queued', 'waiting')";
// What is to stop is not held: it goes on to its end.
pub(super) const CANCEL_LATER: &str =
    "UPDATE runs SET cancel_requested = 1, holds = 0 WHERE id = :run AND org_id = :org AND state = 'running'";
pub(super) const FINISH: &str = "UPDATE runs SET state = :state, reason = :reason, error = :error, output_hash = :output, fuel = :fuel,
    active_ms = :active_ms, finished_at = :now, lease_node = NULL, lease_until = NULL, wake_at = NULL, wake_on = NULL, holds = 0,
    dead = (:state = 'failed')
    WHERE id = :run AND org_id = :org AND fence = :fence AND state = 'running' RETURNING entangled";
pub(super) const ADVANCE: &str =
    "UPDATE runs SET tries = CASE segment WHEN :segment THEN tries ELSE 0 END, segment = :segment, fuel = :fuel, active_ms = :active_ms
    WHERE id = :run AND org_id = :org AND fence = :fence AND state = 'running'";
// A run that was to stop while it ran does not wait: it wakes at once, to be ended.
pub(super) const PARK_INSIDE: &str = "UPDATE runs SET state = 'waiting', active_ms = :active_ms, lease_node = NULL, lease_until = NULL,
    wake_at = CASE cancel_requested WHEN 1 THEN 0 END, wake_on = NULL
    WHERE id = :run AND org_id = :org AND fence = :fence AND state = 'running'";
pub(super) const BEGAN: &str =
    "UPDATE runs SET wake_on = NULL, wake_at = NULL, state_hash = NULL, tries = 0, session = :session, turn_calls = :turn_calls,
    turn_bytes = :turn_bytes, turn_ms = :turn_ms, version_id = :version, agent_version = :agent_version
    WHERE id = :run AND org_id = :org AND fence = :fence AND state = 'running'";
pub(super) const WOKEN: &str =
    "UPDATE runs SET wake_on = NULL, wake_at = NULL WHERE id = :run AND org_id = :org AND fence = :fence AND state = 'running'";
pub(super) const BACK_TO_MESSAGE: &str =
    "UPDATE runs SET state = :state, segment = :segment + 1, wake_on = 'message', wake_at = NULL, tries = 0,
    lease_node = NULL, lease_until = NULL, state_hash = (SELECT s.state_hash FROM segments s WHERE s.run_id = :run AND s.segment = :segment)
    WHERE id = :run AND org_id = :org AND segment = :segment AND state IN ('queued', 'running', 'waiting')";
pub(super) const MARK_SESSION: &str = "UPDATE runs SET session = 1 WHERE id = :run AND org_id = :org AND session = 0";
pub(super) const ENTANGLE: &str = "UPDATE runs SET entangled = 1 WHERE id = :run AND org_id = :org AND entangled = 0";
pub(super) const PARK: &str =
    "UPDATE runs SET state = 'waiting', wake_at = CASE cancel_requested WHEN 1 THEN 0 ELSE :wake_at END, wake_on = :wake_on,
    state_hash = :state_hash, lease_node = NULL, lease_until = NULL
    WHERE id = :run AND org_id = :org AND fence = :fence AND state = 'running'";
pub(super) const REQUEUE: &str = "UPDATE runs SET state = 'queued', attempt = attempt + 1, lease_node = NULL, lease_until = NULL
    WHERE id = :run AND org_id = :org AND fence = :fence AND state = 'running'";

/// A run that is to be queued.
#[derive(Clone, Debug)]
pub struct NewRun {
    pub id: RunId,
    pub environment: Environment,
    pub agent_id: AgentId,
    pub version_id: VersionId,
    pub agent_name: String,
    pub agent_version: String,
    pub trigger: Trigger,
    pub started_by: PrincipalId,
    /// For the timeline.
    pub started_by_name: String,
    /// JSON.
    pub input: String,
    /// From [`crate::domain::run::PRIORITY_MIN`] to [`crate::domain::run::PRIORITY_MAX`]; the higher goes first.
    pub priority: i32,
    /// JSON of the retry policy; `{}` for the agent's own.
    pub retry: String,
    /// Whether the version was named: later segments keep to it.
    pub pinned: bool,
    /// Whether people talk with it from the start.
    pub session: bool,
    /// The most that it and the runs below it may cost.
    pub budget_micros: Option<u64>,
    /// The API key that it was started with; empty where it was none.
    pub key: String,
    pub parent: Option<Parent>,
}

/// Who started a child, by which call.
#[derive(Clone, Copy, Debug)]
pub struct Parent {
    pub run: RunId,
    pub key: Key,
    /// The child's own depth.
    pub depth: u32,
    /// Inherited: writes of a fork and of its children ask a person first.
    pub ask_writes: bool,
    /// Inherited, as memory of a fork is.
    pub forked_from: Option<RunId>,
}

/// What a run has used over all its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    pub fuel: u64,
    /// While it was executing.
    pub active_ms: u64,
}

/// How a run ends.
#[derive(Clone, Debug)]
pub struct Finish {
    pub state: RunState,
    pub reason: Option<EndReason>,
    /// JSON.
    pub error: Option<String>,
    /// JSON.
    pub output: Option<String>,
    pub totals: Totals,
}

/// Queues a run with its input and its first entry.
pub fn insert(tx: &Tx<'_>, scope: Scope, new: &NewRun, now: Timestamp) -> Result<(), Error> {
    let input = payloads::put_json(tx, scope.org, &new.input)?;
    tx.execute(
        INSERT,
        named_params! {
            ":id": new.id, ":org": scope.org, ":workspace": scope.workspace, ":environment": new.environment, ":agent": new.agent_id,
            ":version": new.version_id, ":agent_name": new.agent_name, ":agent_version": new.agent_version, ":trigger": new.trigger,
            ":started_by": new.started_by, ":input": input, ":now": now, ":priority": new.priority, ":retry": new.retry, ":pinned": new.pinned,
            ":session": new.session, ":parent": new.parent.map(|parent| parent.run), ":parent_segment": new.parent.map(|parent| parent.key.segment),
            ":parent_call": new.parent.map(|parent| parent.key.call), ":parent_sub": new.parent.map(|parent| parent.key.sub),
            ":depth": new.parent.map_or(0, |parent| parent.depth), ":ask_writes": new.parent.is_some_and(|parent| parent.ask_writes),
            ":forked_from": new.parent.and_then(|parent| parent.forked_from),
            ":budget": new.budget_micros.map(|micros| micros as i64), ":key": new.key,
        },
    )?;
    let mut meta = json!({ "agent": new.agent_name, "version": new.agent_version, "by": new.started_by_name, "trigger": new.trigger });
    if let (Some(parent), Some(meta)) = (new.parent, meta.as_object_mut()) {
        meta.insert("parent".to_owned(), json!(parent.run));
    }
    let created = NewEntry {
        actor: Some(new.started_by),
        ..NewEntry::station(now, kind::RUN_CREATED, meta)
    };
    journal::append(tx, scope.org, new.id, None, &[created])?;
    Ok(())
}

fn one_row(changed: usize) -> Result<(), Error> {
    if changed == 1 { Ok(()) } else { Err(Error::Fenced) }
}

/// Cancels a run that is not executing, or notes that it is to stop. Returns its state after.
///
/// # Errors
/// [`Error::Conflict`] where it has ended.
pub fn request_cancel(
    tx: &Tx<'_>,
    org: OrgId,
    run: RunId,
    actor: PrincipalId,
    now: Timestamp,
    touched: &mut Vec<Touched>,
) -> Result<RunState, Error> {
    let state = cancel(tx, org, run, Some(actor), "", now, touched)?;
    if touched.is_empty() {
        return Err(Error::Conflict(format!("the run has already {}", ended(state))));
    }
    Ok(state)
}

const fn ended(state: RunState) -> &'static str {
    match state {
        RunState::Succeeded => "succeeded",
        RunState::Cancelled => "been cancelled",
        _ => "failed",
    }
}

/// Ends a run, and settles what hangs on its end.
///
/// # Errors
/// [`Error::Fenced`] where another start holds it.
pub fn finish(
    tx: &Tx<'_>,
    org: OrgId,
    run: RunId,
    fence: u64,
    end: &Finish,
    now: Timestamp,
    touched: &mut Vec<Touched>,
) -> Result<(), Error> {
    if !RunState::Running.may_become(end.state) || !end.state.is_terminal() {
        return Err(Error::Conflict(format!("a run does not end as {}", end.state)));
    }
    let output = end.output.as_deref().map(|text| payloads::put_json(tx, org, text)).transpose()?;
    let entangled: Option<bool> = tx.find(
        FINISH,
        named_params! {
            ":state": end.state, ":reason": end.reason, ":error": end.error, ":output": output, ":fuel": end.totals.fuel as i64,
            ":active_ms": end.totals.active_ms as i64, ":now": now, ":run": run, ":org": org, ":fence": fence as i64,
        },
        |row| row.get(0),
    )?;
    let entangled = entangled.ok_or(Error::Fenced)?;
    ledger::settle_left(tx, org, run, now)?;
    if entangled {
        settle(tx, org, run, now, touched)
    } else {
        // Of its own time only, which concerns nobody else.
        waits::clear(tx, org, run)
    }
}

/// Puts the next segment in force.
pub fn advance(tx: &Tx<'_>, org: OrgId, run: RunId, fence: u64, segment: u32, totals: Totals) -> Result<(), Error> {
    one_row(tx.execute(
        ADVANCE,
        named_params! {
            ":segment": segment, ":fuel": totals.fuel as i64, ":active_ms": totals.active_ms as i64, ":run": run, ":org": org,
            ":fence": fence as i64,
        },
    )?)
}

/// What a run that is parked between two executions goes on with.
#[derive(Clone, Copy, Debug)]
pub struct Parked {
    pub wake_on: WakeOn,
    pub wake_at: Option<Timestamp>,
    /// State for the segment that is yet to begin.
    pub state_hash: Option<Hash>,
}

/// Gives up the slot between two executions.
pub fn park(tx: &Tx<'_>, org: OrgId, run: RunId, fence: u64, parked: Parked) -> Result<(), Error> {
    one_row(tx.execute(
        PARK,
        named_params! {
            ":wake_at": parked.wake_at, ":wake_on": parked.wake_on, ":state_hash": parked.state_hash, ":run": run, ":org": org,
            ":fence": fence as i64,
        },
    )?)
}

/// Gives up the slot within a segment, until one of the run's awaited waits is completed.
pub fn park_inside(tx: &Tx<'_>, org: OrgId, run: RunId, fence: u64, active_ms: u64) -> Result<(), Error> {
    one_row(tx.execute(
        PARK_INSIDE,
        named_params! { ":active_ms": active_ms as i64, ":run": run, ":org": org, ":fence": fence as i64 },
    )?)
}

/// A run's state and current segment.
///
/// # Errors
/// [`Error::NotFound`].
pub fn state(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<(RunState, u32), Error> {
    reader.get(STATE, named_params! { ":run": run, ":org": org }, |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// Has a run begin its next segment from the state before `segment`, with the next message.
pub fn back_to_message(tx: &Tx<'_>, org: OrgId, run: RunId, segment: u32, more: bool) -> Result<(), Error> {
    let state = if more { RunState::Queued } else { RunState::Waiting };
    one_row(tx.execute(
        BACK_TO_MESSAGE,
        named_params! { ":state": state, ":segment": segment, ":run": run, ":org": org },
    )?)
}

/// Notes that people talk with a run. Returns whether that is new.
pub fn mark_session(tx: &Tx<'_>, org: OrgId, run: RunId) -> Result<bool, Error> {
    Ok(tx.execute(MARK_SESSION, named_params! { ":run": run, ":org": org })? == 1)
}

/// Notes that a run's end concerns others.
pub fn entangle(tx: &Tx<'_>, org: OrgId, run: RunId) -> Result<(), Error> {
    tx.execute(ENTANGLE, named_params! { ":run": run, ":org": org })?;
    Ok(())
}

/// Notes that the segment for which `run` was parked has begun, on the version and from the turn that it now has.
pub fn began(tx: &Tx<'_>, run: &Claimed) -> Result<(), Error> {
    one_row(tx.execute(
        BEGAN,
        named_params! {
            ":session": run.session, ":turn_calls": run.turn_calls as i64, ":turn_bytes": run.turn_bytes as i64, ":turn_ms": run.turn_ms as i64,
            ":version": run.version_id, ":agent_version": run.agent_version, ":run": run.id, ":org": run.org, ":fence": run.fence as i64,
        },
    )?)
}

/// Notes that a run that was to go on with its current segment does.
pub fn woken(tx: &Tx<'_>, run: &Claimed) -> Result<(), Error> {
    one_row(tx.execute(WOKEN, named_params! { ":run": run.id, ":org": run.org, ":fence": run.fence as i64 })?)
}

/// Gives the run back to the queue; the next start replays what this one did.
pub fn requeue(tx: &Tx<'_>, org: OrgId, run: RunId, fence: u64) -> Result<(), Error> {
    one_row(tx.execute(REQUEUE, named_params! { ":run": run, ":org": org, ":fence": fence as i64 })?)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
