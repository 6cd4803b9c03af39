//! What follows from a run's end: its waits are forgotten, who waits for it is answered, its children are stopped.

use rusqlite::named_params;
use serde_json::json;

use super::super::hash::Hash;
use super::super::waits::{self, Kind};
use super::super::{Error, Reader, Tx, approvals, journal, ledger, messages, payloads};
use super::{CANCEL_LATER, CANCEL_NOW, STATE, one_row};
use crate::domain::call::{CallResult, Reply};
use crate::domain::failure::{EndReason, Failure, FailureCode};
use crate::domain::id::{OrgId, PrincipalId, RunId};
use crate::domain::journal::{NewEntry, kind};
use crate::domain::run::RunState;
use crate::domain::time::Timestamp;

const ENDED: &str = "SELECT state, reason, error, output_hash, parent_run_id, parent_segment, parent_call, parent_sub, agent_name
    FROM runs WHERE id = :run AND org_id = :org";
const CHILDREN: &str = "SELECT id FROM runs WHERE parent_run_id = :run AND org_id = :org AND state IN ('queued', 'running', 'waiting')";
// Sessions that only their parent talks with.
const IDLE_CHILDREN: &str =
    "SELECT id FROM runs WHERE parent_run_id = :run AND org_id = :org AND state = 'waiting' AND wake_on = 'message'";

#[cfg(test)]
pub(crate) const SQL: [&str; 3] = [ENDED, CHILDREN, IDLE_CHILDREN];

/// What a running run is to be told after the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    Nothing,
    /// To end as cancelled.
    Cancel,
    /// To give its segment up: the quota of the question is used up.
    Abandon,
}

/// A run that a transaction changed; to be announced after the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    pub run: RunId,
    /// Its newest entry.
    pub seq: u64,
    /// Its state, where it changed.
    pub state: Option<RunState>,
    pub tell: Tell,
}

impl Touched {
    pub const fn entry(run: RunId, seq: u64) -> Self {
        Self {
            run,
            seq,
            state: None,
            tell: Tell::Nothing,
        }
    }
}

/// How a run ended, as whoever waits for it hears it.
fn result(reader: &Reader<'_>, org: OrgId, state: RunState, error: Option<&str>, output: Option<Hash>) -> Result<CallResult, Error> {
    let message = error
        .and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok())
        .and_then(|error| error.get("message").and_then(|message| message.as_str()).map(str::to_owned));
    let failed = |code, why: &str| {
        CallResult::Failed(Failure::new(
            code,
            message.map_or_else(|| why.to_owned(), |text| format!("{why}: {text}")),
        ))
    };
    Ok(match (state, output) {
        (RunState::Succeeded, Some(hash)) => CallResult::Ok(Reply::ChildOutput(payloads::text(reader, org, &hash)?)),
        (RunState::Succeeded, None) => CallResult::Ok(Reply::ChildOutput("null".to_owned())),
        (RunState::Cancelled, _) => failed(FailureCode::Cancelled, "the child was cancelled"),
        _ => failed(FailureCode::AgentError, "the child failed"),
    })
}

/// The result of a child that has ended; `None` while it has not.
pub fn outcome(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<Option<CallResult>, Error> {
    let (state, error, output) = reader.get(ENDED, named_params! { ":run": run, ":org": org }, |row| {
        Ok((
            row.get::<_, RunState>(0)?,
            row.get::<_, Option<String>>(2)?,
            row.get::<_, Option<Hash>>(3)?,
        ))
    })?;
    if state.is_terminal() {
        result(reader, org, state, error.as_deref(), output).map(Some)
    } else {
        Ok(None)
    }
}

/// Settles everything that hangs on a run that has just ended.
pub fn settle(tx: &Tx<'_>, org: OrgId, run: RunId, now: Timestamp, touched: &mut Vec<Touched>) -> Result<(), Error> {
    let ended = tx.get(ENDED, named_params! { ":run": run, ":org": org }, |row| {
        Ok((
            row.get::<_, RunState>(0)?,
            row.get::<_, Option<EndReason>>(1)?,
            row.get::<_, Option<String>>(2)?,
            row.get::<_, Option<Hash>>(3)?,
            row.get::<_, Option<RunId>>(4)?,
            (
                row.get::<_, Option<u32>>(5)?,
                row.get::<_, Option<u32>>(6)?,
                row.get::<_, Option<u32>>(7)?,
            ),
            row.get::<_, String>(8)?,
        ))
    })?;
    let (state, reason, error, output, parent, (segment, call, sub), agent) = ended;
    forget_waits(tx, org, run, now)?;
    let target = run.to_string();
    let waiting = waits::on_target(tx, &target)?;
    if !waiting.is_empty() {
        let outcome = result(tx, org, state, error.as_deref(), output)?;
        for wait in waiting {
            let gone = CallResult::Failed(Failure::new(FailureCode::Conflict, "the child has ended and answers no more"));
            waits::complete(tx, org, wait.run, wait.key, if wait.kind == Kind::Child { &outcome } else { &gone })?;
        }
    }
    for asked in messages::asked(tx, org, run)? {
        messages::take(tx, org, run, asked.number)?;
    }
    if let Some(parent) = parent {
        let (above, _): (RunState, u32) = tx.get(STATE, named_params! { ":run": parent, ":org": org }, |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        if !above.is_terminal() {
            let entry = NewEntry {
                segment: segment.unwrap_or(0),
                call,
                sub,
                ..NewEntry::station(
                    now,
                    kind::CHILD_FINISHED,
                    json!({ "run": run, "agent": agent, "state": state, "reason": reason }),
                )
            };
            let seq = journal::append(tx, org, parent, None, &[entry])?.last_seq;
            touched.push(Touched {
                state: Some(above).filter(|state| *state == RunState::Queued),
                ..Touched::entry(parent, seq)
            });
        }
    }
    let sql = match state {
        RunState::Cancelled => CHILDREN,
        RunState::Succeeded => IDLE_CHILDREN,
        _ => return Ok(()),
    };
    for child in tx.list(sql, named_params! { ":run": run, ":org": org }, |row| row.get::<_, RunId>(0))? {
        cancel(tx, org, child, None, "the run that started it has ended", now, touched)?;
    }
    Ok(())
}

/// Forgets what a run waited for, and takes back the decisions it asked for.
pub fn forget_waits(tx: &Tx<'_>, org: OrgId, run: RunId, now: Timestamp) -> Result<(), Error> {
    waits::clear(tx, org, run)?;
    let withdrawn = approvals::withdraw(tx, org, run, now)?;
    let entries: Vec<NewEntry> = withdrawn
        .into_iter()
        .map(|(id, segment)| NewEntry {
            segment,
            ..NewEntry::station(now, kind::APPROVAL_WITHDRAWN, json!({ "approval": id }))
        })
        .collect();
    if !entries.is_empty() {
        journal::append(tx, org, run, None, &entries)?;
    }
    Ok(())
}

/// Cancels a run that is not executing, or notes that it is to stop; what has ended is left alone. Returns its state after.
///
/// # Errors
/// [`Error::NotFound`].
pub fn cancel(
    tx: &Tx<'_>,
    org: OrgId,
    run: RunId,
    actor: Option<PrincipalId>,
    why: &str,
    now: Timestamp,
    touched: &mut Vec<Touched>,
) -> Result<RunState, Error> {
    let (state, segment): (RunState, u32) = tx.get(STATE, named_params! { ":run": run, ":org": org }, |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    let asked = NewEntry {
        segment,
        actor,
        ..NewEntry::station(now, kind::RUN_CANCEL_REQUESTED, json!({ "message": why }))
    };
    match state {
        RunState::Queued | RunState::Waiting => {
            let error = json!({ "message": why }).to_string();
            one_row(tx.execute(
                CANCEL_NOW,
                named_params! { ":run": run, ":org": org, ":now": now, ":error": (!why.is_empty()).then_some(error) },
            )?)?;
            let message = if why.is_empty() { EndReason::Cancelled.explain() } else { why };
            let meta = json!({ "state": RunState::Cancelled, "reason": EndReason::Cancelled, "message": message });
            let finished = NewEntry {
                segment,
                ..NewEntry::station(now, kind::RUN_FINISHED, meta)
            };
            let seq = journal::append(tx, org, run, None, &[asked, finished])?.last_seq;
            touched.push(Touched {
                state: Some(RunState::Cancelled),
                ..Touched::entry(run, seq)
            });
            ledger::settle_left(tx, org, run, now)?;
            settle(tx, org, run, now, touched)?;
            Ok(RunState::Cancelled)
        }
        RunState::Running => {
            one_row(tx.execute(CANCEL_LATER, named_params! { ":run": run, ":org": org })?)?;
            let seq = journal::append(tx, org, run, None, &[asked])?.last_seq;
            touched.push(Touched {
                state: Some(RunState::Running),
                tell: Tell::Cancel,
                ..Touched::entry(run, seq)
            });
            Ok(RunState::Running)
        }
        ended => Ok(ended),
    }
}
