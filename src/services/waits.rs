//! Completing what runs wait for: time, answers of children, and questions that are given up.

use std::time::Duration;

use serde_json::json;

use super::App;
use super::executor::Asked;
use crate::domain::call::{CallResult, Reply};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::{ApprovalId, OrgId, RunId};
use crate::domain::journal::{NewEntry, kind};
use crate::domain::run::RunState;
use crate::domain::time::Timestamp;
use crate::domain::wait::{ApprovalState, Decision, OnTimeout, Verb};
use crate::store::approvals::{self, Approval};
use crate::store::runs::{self, Tell, Touched};
use crate::store::waits::{self, Completed, Key, Kind, Pending, Wait};
use crate::store::{self, Tx, journal, ledger, messages, segments};

/// Waits whose time is up that are dealt with in one transaction.
pub const DUE_MAX: u32 = 256;

/// Tells those who watch, and those who execute, what a transaction did. To be called after its commit.
pub fn announce(app: &App, touched: &[Touched]) {
    for each in touched {
        app.feed.announce(each.run, each.seq, each.state);
        match each.tell {
            Tell::Nothing => {}
            Tell::Cancel => app.dispatcher.cancel(each.run),
            Tell::Abandon => app.dispatcher.abandon(each.run),
        }
        // An instance that waits is of no use to a run that has ended or whose segment was given up.
        if each.state.is_some_and(|state| state.is_terminal() || state == RunState::Waiting) {
            app.dispatcher.warm.drop_run(each.run);
        }
    }
    if touched.iter().any(|each| each.state == Some(RunState::Queued)) {
        app.dispatcher.queued();
    }
}

/// Completes a wait and notes whether its run goes on.
pub fn complete(
    tx: &Tx<'_>,
    org: OrgId,
    run: RunId,
    key: Key,
    outcome: &CallResult,
    touched: &mut Vec<Touched>,
) -> Result<bool, store::Error> {
    let completed = waits::complete(tx, org, run, key, outcome)?;
    if completed == Completed::Woke {
        touched.push(Touched {
            state: Some(RunState::Queued),
            ..Touched::entry(run, 0)
        });
    }
    Ok(completed != Completed::No)
}

/// Completes the waits whose time is up. Returns whether there may be more.
pub fn fire_due(tx: &Tx<'_>, now: Timestamp, touched: &mut Vec<Touched>) -> Result<bool, store::Error> {
    let due = waits::due(tx, now, DUE_MAX)?;
    for wait in &due {
        fire(tx, wait, now, touched)?;
    }
    Ok(due.len() == DUE_MAX as usize)
}

fn fire(tx: &Tx<'_>, wait: &Pending, now: Timestamp, touched: &mut Vec<Touched>) -> Result<(), store::Error> {
    let (org, run, key) = (wait.org, wait.run, wait.key);
    let outcome = match wait.kind {
        Kind::Timer | Kind::Child => CallResult::Ok(Reply::Done),
        Kind::Message => CallResult::Ok(Reply::Message(None)),
        Kind::Ask => CallResult::Failed(Failure::new(
            FailureCode::QuotaExhausted,
            "the child did not answer within the quota of time",
        )),
        Kind::Approval => return expire(tx, wait, now, touched),
    };
    complete(tx, org, run, key, &outcome, touched)?;
    if wait.kind == Kind::Ask
        && let Some(child) = wait.target.as_deref().and_then(|target| target.parse().ok())
    {
        give_up_question(tx, org, run, key, child, now, touched)?;
    }
    Ok(())
}

fn expire(tx: &Tx<'_>, wait: &Pending, now: Timestamp, touched: &mut Vec<Touched>) -> Result<(), store::Error> {
    let Some(id) = wait.target.as_deref().and_then(|target| target.parse::<ApprovalId>().ok()) else {
        return waits::close(tx, wait.org, wait.run, wait.key);
    };
    let approval = approvals::get(tx, wait.org, id)?;
    approvals::close(tx, wait.org, id, ApprovalState::Expired, None, now)?;
    let entry = NewEntry {
        segment: approval.key.segment,
        call: Some(approval.key.call),
        sub: Some(approval.key.sub),
        ..NewEntry::station(
            now,
            kind::APPROVAL_EXPIRED,
            json!({ "approval": id, "action": approval.action, "then": approval.on_timeout }),
        )
    };
    let seq = journal::append(tx, wait.org, wait.run, None, &[entry])?.last_seq;
    touched.push(Touched::entry(wait.run, seq));
    match approval.on_timeout {
        OnTimeout::Deny => complete(tx, wait.org, wait.run, wait.key, &nobody_decided(&approval), touched).map(drop),
        OnTimeout::Cancel => {
            waits::close(tx, wait.org, wait.run, wait.key)?;
            let why = format!("nobody decided about “{}” in time", approval.action);
            runs::cancel(tx, wait.org, wait.run, None, &why, now, touched).map(drop)
        }
    }
}

fn nobody_decided(approval: &Approval) -> CallResult {
    CallResult::Ok(Reply::Decision(Decision {
        verb: Verb::Deny,
        arguments: serde_json::from_str(&approval.arguments).unwrap_or_default(),
        reason: "nobody decided in time".to_owned(),
        by: String::new(),
    }))
}

/// Gives up what a run no longer waits for: a decision is withdrawn, a question is not answered any more.
pub fn give_up(tx: &Tx<'_>, org: OrgId, run: RunId, wait: &Wait, now: Timestamp, touched: &mut Vec<Touched>) -> Result<(), store::Error> {
    if wait.signal.is_some() {
        return Ok(());
    }
    match (wait.kind, wait.target.as_deref()) {
        (Kind::Approval, Some(target)) => {
            if let Ok(id) = target.parse() {
                approvals::close(tx, org, id, ApprovalState::Withdrawn, None, now)?;
            }
            Ok(())
        }
        (Kind::Ask, Some(target)) => match target.parse() {
            Ok(child) => give_up_question(tx, org, run, wait.key, child, now, touched),
            Err(_) => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Takes a question back: one that nobody has read is not read, a segment that answers it is abandoned.
fn give_up_question(
    tx: &Tx<'_>,
    org: OrgId,
    asker: RunId,
    key: Key,
    child: RunId,
    now: Timestamp,
    touched: &mut Vec<Touched>,
) -> Result<(), store::Error> {
    let ours = |text: &str| serde_json::from_str::<Asked>(text).is_ok_and(|asked| asked.run == asker && asked.key == key);
    for asked in messages::asked(tx, org, child)? {
        if asked.ask.as_deref().is_some_and(ours) {
            return messages::take(tx, org, child, asked.number);
        }
    }
    let (state, segment) = runs::state(tx, org, child)?;
    if !segments::ask(tx, org, child, segment)?.as_deref().is_some_and(ours) {
        return Ok(());
    }
    match state {
        RunState::Running => touched.push(Touched {
            tell: Tell::Abandon,
            ..Touched::entry(child, 0)
        }),
        RunState::Queued | RunState::Waiting => {
            let seq = abandon(tx, org, child, segment, None, "its quota of time is used up", now)?;
            touched.push(Touched {
                state: Some(RunState::Waiting),
                ..Touched::entry(child, seq)
            });
        }
        _ => {}
    }
    Ok(())
}

/// Gives a segment up: what it did stays on the timeline and is ignored by replay; the next message begins from the state before it.
/// With a fence, only for the start that holds the run. Returns the newest entry.
pub fn abandon(
    tx: &Tx<'_>,
    org: OrgId,
    run: RunId,
    segment: u32,
    fence: Option<u64>,
    why: &str,
    now: Timestamp,
) -> Result<u64, store::Error> {
    let entry = NewEntry {
        segment,
        ..NewEntry::station(now, kind::SEGMENT_ABANDONED, json!({ "segment": segment, "message": why }))
    };
    let seq = journal::append(tx, org, run, fence, &[entry])?.last_seq;
    runs::forget_waits(tx, org, run, now)?;
    segments::abandon(tx, org, run, segment, now)?;
    ledger::settle_left(tx, org, run, now)?;
    let more = messages::waiting_count(tx, org, run, 1)? > 0;
    runs::back_to_message(tx, org, run, segment, more)?;
    Ok(seq)
}

/// Until when nothing is due.
pub fn next_due(tx: &Tx<'_>, now: Timestamp) -> Result<Option<Duration>, store::Error> {
    let wait = waits::next_due(tx)?;
    let wake = runs::next_wake(tx)?;
    Ok(wait.into_iter().chain(wake).min().map(|at| at.since(now)))
}
