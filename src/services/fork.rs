//! Forking a run from an entry: a new run that does again what the run did up to there, from the journal, and is live after it.

mod prefix;

use serde_json::{Value, json};

use super::access::require;
use super::agents::version_of_segment;
use super::{App, Error, FieldError, audit, plans, runs};
use crate::domain::call::{CallResult, Reply};
use crate::domain::id::RunId;
use crate::domain::journal::{Lane, NewEntry, Payload, is_erased, kind};
use crate::domain::limits::PAYLOAD_BYTES_MAX;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::store::forks::{self, Before, NewFork};
use crate::store::runs::Run;
use crate::store::segments::Past;
use crate::store::{self, Scope, journal, segments};

/// What to fork.
#[derive(Clone, Debug)]
pub struct Fork {
    pub run: RunId,
    /// The last entry that holds in the fork.
    pub seq: u64,
    /// JSON of what that entry's call answered instead.
    pub response: Option<String>,
    /// Whether the fork's writes need no person's leave.
    pub allow_writes: bool,
}

/// What a fork would begin with.
pub struct Prefix {
    pub run: Run,
    past: Past,
    entries: Vec<Before>,
    /// Why there can be no fork here.
    pub refused: Option<String>,
}

impl Prefix {
    fn last(&self) -> Option<&Before> {
        self.entries.last()
    }

    /// The function whose answer the entry holds, and the answer; JSON. Nothing where it holds none that can be edited.
    pub fn editable(&self) -> Option<(&str, &str)> {
        let last = self.last()?;
        let response = last.response.as_deref()?;
        let edited = prefix::may_be_edited(&last.kind);
        edited.then_some((last.kind.as_str(), response))
    }
}

/// Reads what a fork from an entry would begin with, and says where there can be none.
///
/// # Errors
/// `NotFound` for the run or the entry.
pub async fn prefix(app: &App, actor: &Actor, run: RunId, seq: u64) -> Result<Prefix, Error> {
    require(actor, Permission::RunsCancel, actor.org, "the run")?;
    let org = actor.org;
    let read = app.store.read(move |reader| {
        let entry = journal::get(reader, org, run, seq)?;
        let all = segments::list(reader, org, run)?;
        let begins = entry.lane == Lane::Guest || entry.kind == kind::SEGMENT_STARTED;
        let past = all.into_iter().find(|past| past.segment.segment == entry.segment);
        let row = store::runs::get(reader, org, run)?;
        let Some(past) = past.filter(|_| begins) else {
            return Ok(Err(row));
        };
        let entries = forks::prefix(reader, org, run, entry.segment, seq)?;
        Ok(Ok((row, past, entries)))
    });
    match read.await? {
        Ok((run, past, entries)) => {
            let refused = if past.abandoned {
                Some("the segment of this entry was given up with its quota, so nothing follows from it".to_owned())
            } else {
                prefix::refusal(&entries)
            };
            Ok(Prefix {
                run,
                past,
                entries,
                refused,
            })
        }
        Err(run) => Err(Error::Conflict(format!(
            "entry {seq} of {} is the station's own; fork from something that the agent did, or from the beginning of a segment",
            run.id
        ))),
    }
}

/// Queues a fork. When this returns, it is durable.
///
/// # Errors
/// `NotFound`; `Conflict` with the reason where there can be no fork from this entry; `Invalid` where the response is none of the call's;
/// `Forbidden` where the writes' leave is lifted by someone who may not give it; `PlanLimit` where the queue or the store is full.
pub async fn fork(app: &App, actor: &Actor, fork: Fork, origin: Origin) -> Result<Run, Error> {
    if fork.allow_writes {
        require(actor, Permission::ApprovalsDecide, actor.org, "the run")?;
    }
    let prefix = prefix(app, actor, fork.run, fork.seq).await?;
    if let Some(why) = prefix.refused {
        return Err(Error::Conflict(why));
    }
    let edited = match &fork.response {
        Some(text) => edit(&prefix, text)?,
        None => None,
    };
    let Some(version) = version_of_segment(app, &prefix.run, &prefix.past.segment).await? else {
        return Err(Error::Conflict(
            "the version of the agent that this entry was recorded with is no longer there".to_owned(),
        ));
    };
    let now = app.clock.now();
    let id = RunId::new(now);
    let segment = prefix.past.segment.segment;
    let new = NewFork {
        id,
        from: fork.run,
        segment,
        seq: fork.seq,
        environment: prefix.run.environment.fork(id),
        version_id: version.version.id,
        agent_version: version.version.version.to_string(),
        started_by: actor.principal,
        ask_writes: !fork.allow_writes,
        first: vec![
            forked(actor, &fork, &prefix, edited.as_ref(), now),
            NewEntry {
                segment,
                ..NewEntry::station(now, kind::SEGMENT_STARTED, json!({ "segment": segment }))
            },
        ],
        edited: edited.map(|edited| (edited.now, edited.meta)),
        copied: prefix.entries.iter().map(|entry| entry.seq).collect(),
    };
    let scope = Scope {
        org: actor.org,
        workspace: prefix.run.workspace,
    };
    let detail = json!({ "from": fork.run, "seq": fork.seq, "edited": new.edited.is_some(), "asks_before_writes": new.ask_writes });
    let record = audit::of(actor, "run.fork", &id.to_string(), origin).detail(detail);
    app.store
        .write(move |tx| {
            plans::check_queue(tx, scope.org)?;
            plans::check_bytes(tx, scope.org, 0)?;
            // Who was removed a moment ago starts nothing.
            if !store::runs::holds::may_have_runs(tx, scope.org, new.started_by)? {
                return Err(store::Error::NotFound);
            }
            forks::insert(tx, scope.org, &new, now)?;
            store::audit::record(tx, record, now)
        })
        .await?;
    app.dispatcher.queued();
    Ok(runs::read_whole(app, actor, id).await?.run)
}

/// A response in place of the recorded one.
struct Edited {
    was: String,
    now: CallResult,
    meta: Value,
}

/// The edited response, where it is another than the recorded one.
fn edit(prefix: &Prefix, text: &str) -> Result<Option<Edited>, Error> {
    let invalid = |message: String| {
        Error::Invalid(vec![FieldError {
            pointer: "/response".to_owned(),
            message,
        }])
    };
    let Some((function, was)) = prefix.editable() else {
        return Err(invalid("this entry holds no answer that can be edited".to_owned()));
    };
    if text.len() > PAYLOAD_BYTES_MAX {
        return Err(invalid(format!(
            "the answer is {} bytes, the limit is {PAYLOAD_BYTES_MAX}",
            text.len()
        )));
    }
    let now: CallResult = serde_json::from_str(text)
        .map_err(|error| invalid(format!("this is no answer of {function}, such as the recorded one: {error}")))?;
    if let CallResult::Ok(reply) = &now {
        if !reply.fits(function) {
            return Err(invalid(format!(
                "this is another call's answer; {function} answers as the recorded one does"
            )));
        }
        if let Reply::Http(response) = reply
            && response.body.to_bytes().is_none()
        {
            return Err(invalid("the base64 of the body is damaged".to_owned()));
        }
    }
    if serde_json::from_str::<CallResult>(was).is_ok_and(|was| was == now) {
        return Ok(None);
    }
    Ok(Some(Edited {
        was: was.to_owned(),
        meta: prefix::edited_meta(prefix.last(), &now),
        now,
    }))
}

/// The first entry of a fork.
fn forked(actor: &Actor, fork: &Fork, prefix: &Prefix, edited: Option<&Edited>, now: crate::domain::time::Timestamp) -> NewEntry {
    let first_at = prefix.past.segment.started_at;
    let last_at = prefix.entries.iter().map(|entry| entry.at).max().unwrap_or(first_at);
    let meta = json!({
        "from": fork.run,
        "seq": fork.seq,
        "by": actor.name,
        "edited": edited.is_some(),
        "call": prefix.last().map(|last| last.kind.clone()),
        "asks_before_writes": !fork.allow_writes,
        "copied": prefix.entries.len(),
        "first_at": first_at.as_ms(),
        "last_at": last_at.as_ms(),
    });
    NewEntry {
        actor: Some(actor.principal),
        segment: prefix.past.segment.segment,
        request: edited.map(|edited| Payload::Json(edited.was.clone())),
        response: edited.map(|edited| Payload::Json(edited.now.to_json())),
        ..NewEntry::station(now, kind::RUN_FORKED, meta)
    }
}

/// Where a run comes from, for its page.
pub struct ForkedFrom {
    pub run: RunId,
    pub seq: u64,
    /// What the entry answered, and what it answers in the fork; JSON.
    pub edited: Option<(String, String)>,
}

/// Where a fork comes from.
///
/// # Errors
/// `NotFound`.
pub async fn origin(app: &App, actor: &Actor, run: &Run) -> Result<Option<ForkedFrom>, Error> {
    let (Some(from), Some(seq)) = (run.forked_from, run.forked_seq) else {
        return Ok(None);
    };
    let first = runs::event(app, actor, run.id, 1).await?;
    let both = first.request.zip(first.response);
    let told = both.map(|(was, now)| (was.get().to_owned(), now.get().to_owned()));
    Ok(Some(ForkedFrom {
        run: from,
        seq,
        edited: told.filter(|(was, now)| !is_erased(was) && !is_erased(now)),
    }))
}
