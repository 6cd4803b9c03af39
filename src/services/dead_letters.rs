//! Failed runs that nobody has dealt with: looked through, tried again, started over, or put away.

use serde_json::json;

use super::access::require;
use super::agents::AgentRef;
use super::runs::{self as service, StartRun};
use super::{App, Error, retry};
use crate::domain::failure::FailureCode;
use crate::domain::id::{OrgId, RunId};
use crate::domain::limits::PAGE_MAX;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::domain::run::{RunState, Trigger};
use crate::store::runs::{Filter, Run};
use crate::store::{Scope, audit, journal, runs};

const WHAT: &str = "the run";
/// Where counting them for the rail ends.
pub const COUNT_MAX: u32 = 100;
/// Entries of writes looked through before a run is started over.
const WRITES_MAX: u32 = 1_000;
/// Runs in one bulk request.
pub const BULK_MAX: usize = 100;

/// The dead letters from the newest on, before the run `before`.
///
/// # Errors
/// The actor may not read runs.
pub async fn list(app: &App, actor: &Actor, before: Option<RunId>, limit: u32) -> Result<Vec<Run>, Error> {
    let filter = Filter {
        dead: true,
        ..Filter::default()
    };
    service::list(app, actor, filter, before, limit.min(PAGE_MAX)).await
}

/// How many there are, counted no further than [`COUNT_MAX`].
///
/// # Errors
/// The actor may not read runs.
pub async fn count(app: &App, actor: &Actor) -> Result<u32, Error> {
    require(actor, Permission::RunsRead, actor.org, WHAT)?;
    let scope = Scope {
        org: actor.org,
        workspace: actor.workspace,
    };
    Ok(app.store.read(move |reader| runs::retry::dead(reader, scope, COUNT_MAX)).await?)
}

/// Queues a failed run again: it replays up to the call that failed, makes that call anew, and goes on.
///
/// # Errors
/// `NotFound`; `Conflict` where it has not failed, where the same would only happen again, or where something was done after the call.
pub async fn retry(app: &App, actor: &Actor, id: RunId, origin: Origin) -> Result<Run, Error> {
    require(actor, Permission::RunsCancel, actor.org, WHAT)?;
    let (org, principal, name, now) = (actor.org, actor.principal, actor.name.clone(), app.clock.now());
    let record = super::audit::of(actor, "run.retry", &id.to_string(), origin);
    let seq = app
        .store
        .write(move |tx| {
            let conflict = |why: String| Err(crate::store::Error::Conflict(why));
            let run = runs::get(tx, org, id)?;
            if run.state != RunState::Failed {
                return conflict(format!("Only a run that has failed can be tried again; this one is {}.", run.shown()));
            }
            let code = code_of(&run);
            if let Some(why) = retry::futile(run.reason, code) {
                return conflict(why);
            }
            let failed = match code {
                Some(code) => retry::failed_call(tx, org, id, run.segment, code)?,
                None => None,
            };
            let Some(failed) = failed else {
                return conflict("No call of its last segment failed like that, so the agent would only give up again. Start it over.".to_owned());
            };
            if !failed.writes_after.is_empty() {
                let writes = retry::named(&failed.writes_after);
                return conflict(format!(
                    "{writes} came after the call that failed, and would be done a second time. Start the run over if that is what you want."
                ));
            }
            let meta = json!({ "by": name, "reason": failed.failure.code });
            let marker = crate::domain::journal::NewEntry {
                actor: Some(principal),
                ..retry::marker(now, run.attempt, run.segment, failed.call, meta)
            };
            let appended = journal::append(tx, org, id, None, &[marker])?;
            runs::retry::revive(tx, org, id)?;
            audit::record(tx, record, now)?;
            Ok(appended.last_seq)
        })
        .await?;
    app.feed.announce(id, seq, Some(RunState::Queued));
    app.dispatcher.queued();
    service::read(app, org, id).await
}

/// Takes a run off the list; it stays as it is, failed.
///
/// # Errors
/// `NotFound`; `Conflict` where it is not on the list.
pub async fn discard(app: &App, actor: &Actor, id: RunId, origin: Origin) -> Result<Run, Error> {
    require(actor, Permission::RunsCancel, actor.org, WHAT)?;
    let (org, now) = (actor.org, app.clock.now());
    let record = super::audit::of(actor, "run.discard", &id.to_string(), origin);
    app.store
        .write(move |tx| {
            let run = runs::get(tx, org, id)?;
            if !runs::retry::discard(tx, org, id)? {
                return Err(crate::store::Error::Conflict(format!(
                    "It is no dead letter: it is {}{}.",
                    run.shown(),
                    if run.state == RunState::Failed { " and was dealt with" } else { "" }
                )));
            }
            audit::record(tx, record, now)
        })
        .await?;
    service::read(app, org, id).await
}

fn code_of(run: &Run) -> Option<FailureCode> {
    let error: serde_json::Value = serde_json::from_str(run.error.as_deref()?).ok()?;
    FailureCode::parse(error.get("code")?.as_str()?)
}

/// What a run has changed beyond itself, each as a line: what starting it over would do again.
///
/// # Errors
/// `NotFound`.
pub async fn writes(app: &App, actor: &Actor, id: RunId) -> Result<Vec<String>, Error> {
    service::get(app, actor, id).await?;
    writes_of(app, actor.org, id).await
}

async fn writes_of(app: &App, org: OrgId, id: RunId) -> Result<Vec<String>, Error> {
    let writes = app.store.read(move |reader| journal::writes(reader, org, id, WRITES_MAX)).await?;
    let line = |write: journal::Write| match write.kind.as_str() {
        "http.send" => write.what,
        kind => format!("{kind} {}", write.what).trim_end().to_owned(),
    };
    Ok(writes.into_iter().map(line).collect())
}

/// Starts a new run with the input of one that has ended, on the agent's newest version unless the old one's was named. The old one is
/// dealt with.
///
/// # Errors
/// `NotFound`; `Conflict` where it has not ended; `WouldRepeat` with what would be done again, unless `repeat_writes`; as [`service::start`].
pub async fn start_over(app: &App, actor: &Actor, id: RunId, repeat_writes: bool, trigger: Trigger, origin: Origin) -> Result<Run, Error> {
    require(actor, Permission::RunsStart, actor.org, WHAT)?;
    // Who may start a run may see how it ended.
    let whole = service::read_whole(app, actor, id).await?;
    if !whole.run.state.is_terminal() {
        return Err(Error::Conflict("It has not ended. Cancel it first, or let it go on.".to_owned()));
    }
    let writes = writes_of(app, actor.org, id).await?;
    if !writes.is_empty() && !repeat_writes {
        return Err(Error::WouldRepeat(writes));
    }
    let old = whole.run;
    let start = StartRun {
        agent: AgentRef::Id(old.agent_id),
        version: if old.pinned { old.agent_version.parse().ok() } else { None },
        input: whole.input,
        trigger,
        priority: old.priority,
        retry: serde_json::from_str(&old.retry).unwrap_or_default(),
        message: None,
        budget_micros: old.budget_micros,
    };
    // Where the old one is, whatever workspace the actor is at work in.
    let there = Actor {
        workspace: old.workspace,
        ..actor.clone()
    };
    let new = service::start(app, &there, start).await?;
    let (org, now) = (actor.org, app.clock.now());
    let detail = json!({ "run": new });
    let record = super::audit::of(actor, "run.start-over", &id.to_string(), origin).detail(detail);
    app.store
        .write(move |tx| {
            runs::retry::discard(tx, org, id)?;
            audit::record(tx, record, now)
        })
        .await?;
    service::read(app, org, new).await
}

/// What became of one run of a bulk request.
pub struct Outcome {
    pub run: RunId,
    pub result: Result<Run, Error>,
}

/// Which bulk request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bulk {
    Requeue,
    Discard,
}

/// Does the same to several runs, each by itself.
///
/// # Errors
/// `Invalid` where there are too many.
pub async fn bulk(app: &App, actor: &Actor, what: Bulk, ids: &[RunId], origin: Origin) -> Result<Vec<Outcome>, Error> {
    require(actor, Permission::RunsCancel, actor.org, WHAT)?;
    if ids.len() > BULK_MAX {
        return Err(Error::field("/runs", format!("at most {BULK_MAX} runs at once")));
    }
    let mut outcomes = Vec::with_capacity(ids.len());
    for &run in ids {
        let result = match what {
            Bulk::Requeue => retry(app, actor, run, origin.clone()).await,
            Bulk::Discard => discard(app, actor, run, origin.clone()).await,
        };
        outcomes.push(Outcome { run, result });
    }
    Ok(outcomes)
}
