//! Runs: rows, the queue in them, leases and fences.

pub mod holds;
mod queue;
mod read;

pub use queue::{Claimed, claim, next_wake, recover_expired, recover_foreign, renew};
pub use read::{Filter, Run, count_of_agent, get, list};
#[cfg(test)]
pub(super) use {holds::SQL as HOLDS_SQL, queue::SQL as QUEUE_SQL, read::SQL as READ_SQL};

use rusqlite::named_params;
use serde_json::json;

use super::{Error, Reader, Scope, Tx, journal, payloads};
use crate::domain::failure::EndReason;
use crate::domain::id::{AgentId, OrgId, PrincipalId, RunId, VersionId};
use crate::domain::journal::{NewEntry, kind};
use crate::domain::run::{Environment, RunState, Trigger};
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str = "INSERT INTO runs
    (id, org_id, workspace_id, environment, agent_id, version_id, agent_name, agent_version, state, trigger, started_by, priority, input_hash,
     created_at)
    VALUES (:id, :org, :workspace, :environment, :agent, :version, :agent_name, :agent_version, 'queued', :trigger, :started_by, :priority, :input,
     :now)";
pub(super) const QUEUED: &str =
    "SELECT count(*) FROM (SELECT 1 FROM runs WHERE org_id = :org AND workspace_id = :workspace AND state = 'queued' LIMIT :limit)";
pub(super) const STATE: &str = "SELECT state, segment, next_seq FROM runs WHERE id = :run AND org_id = :org";
pub(super) const CANCEL_NOW: &str =
    "UPDATE runs SET state = 'cancelled', reason = 'cancelled', cancel_requested = 1, holds = 0, wake_at = NULL, finished_at = :now
    WHERE id = :run AND org_id = :org AND state IN ('queued', 'waiting')";
// What is to stop is not held: it goes on to its end.
pub(super) const CANCEL_LATER: &str = "UPDATE runs SET cancel_requested = 1, holds = 0 WHERE id = :run AND org_id = :org AND state = 'running'";
pub(super) const FINISH: &str = "UPDATE runs SET state = :state, reason = :reason, error = :error, output_hash = :output, fuel = :fuel,
    active_ms = :active_ms, finished_at = :now, lease_node = NULL, lease_until = NULL, wake_at = NULL, holds = 0
    WHERE id = :run AND org_id = :org AND fence = :fence AND state = 'running'";
pub(super) const ADVANCE: &str = "UPDATE runs SET segment = :segment, fuel = :fuel, active_ms = :active_ms
    WHERE id = :run AND org_id = :org AND fence = :fence AND state = 'running'";
// A run that was to stop while it ran does not wait: it wakes at once, to be ended.
pub(super) const PARK: &str = "UPDATE runs SET state = 'waiting', wake_at = CASE cancel_requested WHEN 1 THEN 0 ELSE :wake_at END, lease_node = NULL, lease_until = NULL
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
    /// From [`crate::domain::run::PRIORITY_MIN`] to [`crate::domain::run::PRIORITY_MAX`]; the higher goes first.
    pub priority: i32,
    /// JSON.
    pub input: String,
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
            ":started_by": new.started_by, ":priority": new.priority, ":input": input, ":now": now,
        },
    )?;
    let meta = json!({ "agent": new.agent_name, "version": new.agent_version, "by": new.started_by_name, "trigger": new.trigger });
    let created = NewEntry {
        actor: Some(new.started_by),
        ..NewEntry::station(now, kind::RUN_CREATED, meta)
    };
    journal::append(tx, scope.org, new.id, None, &[created])?;
    Ok(())
}

/// How many runs wait in the queue, counted no further than `limit`.
pub fn queued(reader: &Reader<'_>, scope: Scope, limit: u32) -> Result<u32, Error> {
    reader.get(
        QUEUED,
        named_params! { ":org": scope.org, ":workspace": scope.workspace, ":limit": limit },
        |row| row.get(0),
    )
}

fn one_row(changed: usize) -> Result<(), Error> {
    if changed == 1 { Ok(()) } else { Err(Error::Fenced) }
}

/// The run's state after a cancellation was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CancelAsked {
    /// `cancelled`, or `running` where the run is to be stopped at its next call.
    pub state: RunState,
    pub last_seq: u64,
}

/// Cancels a run that is not executing, or notes that it is to stop.
///
/// # Errors
/// [`Error::Conflict`] where it has ended.
pub fn request_cancel(tx: &Tx<'_>, org: OrgId, run: RunId, actor: PrincipalId, now: Timestamp) -> Result<CancelAsked, Error> {
    let (state, segment): (RunState, u32) = tx.get(STATE, named_params! { ":run": run, ":org": org }, |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    let asked = NewEntry {
        actor: Some(actor),
        segment,
        ..NewEntry::station(now, kind::RUN_CANCEL_REQUESTED, json!({}))
    };
    match state {
        RunState::Queued | RunState::Waiting => {
            one_row(tx.execute(CANCEL_NOW, named_params! { ":run": run, ":org": org, ":now": now })?)?;
            let meta = json!({ "state": RunState::Cancelled, "reason": EndReason::Cancelled, "message": EndReason::Cancelled.explain() });
            let finished = NewEntry {
                segment,
                ..NewEntry::station(now, kind::RUN_FINISHED, meta)
            };
            let appended = journal::append(tx, org, run, None, &[asked, finished])?;
            Ok(CancelAsked {
                state: RunState::Cancelled,
                last_seq: appended.last_seq,
            })
        }
        RunState::Running => {
            one_row(tx.execute(CANCEL_LATER, named_params! { ":run": run, ":org": org })?)?;
            let appended = journal::append(tx, org, run, None, &[asked])?;
            Ok(CancelAsked {
                state: RunState::Running,
                last_seq: appended.last_seq,
            })
        }
        RunState::Succeeded | RunState::Failed | RunState::Cancelled => {
            Err(Error::Conflict(format!("the run has already {}", ended(state))))
        }
    }
}

pub(super) const fn ended(state: RunState) -> &'static str {
    match state {
        RunState::Succeeded => "succeeded",
        RunState::Cancelled => "been cancelled",
        _ => "failed",
    }
}

/// Ends a run.
///
/// # Errors
/// [`Error::Fenced`] where another start holds it.
pub fn finish(tx: &Tx<'_>, org: OrgId, run: RunId, fence: u64, end: &Finish, now: Timestamp) -> Result<(), Error> {
    if !RunState::Running.may_become(end.state) || !end.state.is_terminal() {
        return Err(Error::Conflict(format!("a run does not end as {}", end.state)));
    }
    let output = end.output.as_deref().map(|text| payloads::put_json(tx, org, text)).transpose()?;
    one_row(tx.execute(
        FINISH,
        named_params! {
            ":state": end.state, ":reason": end.reason, ":error": end.error, ":output": output, ":fuel": end.totals.fuel as i64,
            ":active_ms": end.totals.active_ms as i64, ":now": now, ":run": run, ":org": org, ":fence": fence as i64,
        },
    )?)
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

/// Gives up the slot until `wake_at`.
pub fn park(tx: &Tx<'_>, org: OrgId, run: RunId, fence: u64, wake_at: Option<Timestamp>) -> Result<(), Error> {
    one_row(tx.execute(
        PARK,
        named_params! { ":wake_at": wake_at, ":run": run, ":org": org, ":fence": fence as i64 },
    )?)
}

/// Gives the run back to the queue; the next start replays what this one did.
pub fn requeue(tx: &Tx<'_>, org: OrgId, run: RunId, fence: u64) -> Result<(), Error> {
    one_row(tx.execute(REQUEUE, named_params! { ":run": run, ":org": org, ":fence": fence as i64 })?)
}

#[cfg(test)]
mod tests;
