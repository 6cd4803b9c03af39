//! Takes runs from the queue, each with what its current segment begins with.

use serde_json::json;

use super::super::app::App;
use super::super::dispatcher::LEASE;
use crate::domain::journal::{NewEntry, kind};
use crate::domain::manifest::RuntimeKind;
use crate::domain::run::WakeOn;
use crate::domain::time::Timestamp;
use crate::runtime::WIT_VERSION;
use crate::runtime::segment::Event;
use crate::store::runs::{Claimed, Parked, Touched};
use crate::store::segments::{NewSegment, Segment};
use crate::store::{self, Tx, agents, journal, messages, payloads, runs, segments};

/// A run that this process holds, with everything its first segment needs.
pub struct Work {
    pub run: Claimed,
    pub segment: Segment,
    pub input: String,
    pub state: Option<Vec<u8>>,
    /// Whether an earlier start may have recorded calls of this segment.
    pub resumed: bool,
}

/// Claims runs and begins or finds their current segments, in one transaction. What is to be announced after it comes into `touched`.
pub fn claim(tx: &Tx<'_>, app: &App, limit: u32, touched: &mut Vec<Touched>) -> Result<Vec<Work>, store::Error> {
    let now = app.clock.now();
    let claimed = runs::claim(tx, app.node, limit, now.plus(LEASE), now, touched)?;
    let works = claimed.into_iter().map(|run| begin_or_find(tx, app, run, now));
    works.filter_map(Result::transpose).collect()
}

fn begin_or_find(tx: &Tx<'_>, app: &App, mut run: Claimed, now: Timestamp) -> Result<Option<Work>, store::Error> {
    let found = segments::find(tx, run.org, run.id, run.segment)?;
    let resumed = found.is_some();
    let segment = match found {
        Some(segment) => {
            if run.wake_on.is_some() {
                runs::woken(tx, &run)?;
            }
            let started = started(&run, now);
            journal::append(tx, run.org, run.id, Some(run.fence), &[started])?;
            segment
        }
        None => {
            let Some(wakes) = wake(tx, &mut run, now)? else {
                return Ok(None);
            };
            let (event, ask) = wakes;
            let mut new = new_segment(app, &run, run.segment, now, event.as_ref(), run.state_hash)?;
            new.ask = ask;
            let entries = [started(&run, now), segment_started(&run, run.segment, now)];
            journal::append(tx, run.org, run.id, Some(run.fence), &entries)?;
            segments::insert(tx, run.org, run.id, &new)?
        }
    };
    let input = payloads::text(tx, run.org, &run.input_hash)?;
    let state = segment.state_hash.map(|hash| payloads::bytes(tx, run.org, &hash)).transpose()?;
    Ok(Some(Work {
        run,
        segment,
        input,
        state,
        resumed,
    }))
}

fn started(run: &Claimed, now: Timestamp) -> NewEntry {
    NewEntry {
        attempt: run.attempt,
        segment: run.segment,
        ..NewEntry::station(now, kind::RUN_STARTED, json!({ "fence": run.fence }))
    }
}

/// What wakes a segment, and who asked for it, JSON.
type Waker = (Option<Event>, Option<String>);

/// What wakes the segment that is to begin: nothing for the first, time, or a message with who asks. A newer version of the agent is taken
/// here, between two segments. `None` where the message is gone: the run goes back to wait for another.
fn wake(tx: &Tx<'_>, run: &mut Claimed, now: Timestamp) -> Result<Option<Waker>, store::Error> {
    let woken = match run.wake_on {
        None => return Ok(Some((None, None))),
        Some(WakeOn::Message) => match messages::next(tx, run.org, run.id, true)? {
            Some(waiting) => {
                messages::take(tx, run.org, run.id, waiting.number)?;
                // A new turn: limits hold from one message to the next.
                (run.turn_calls, run.turn_bytes, run.turn_ms) = (run.calls, run.journal_bytes, run.active_ms);
                (Some(Event::Message(waiting.message)), waiting.ask)
            }
            None if run.cancel_requested => (None, None),
            None => {
                let parked = Parked {
                    wake_on: WakeOn::Message,
                    wake_at: None,
                    state_hash: run.state_hash,
                };
                runs::park(tx, run.org, run.id, run.fence, parked)?;
                return Ok(None);
            }
        },
        Some(WakeOn::Timer | WakeOn::Retry) => {
            let due = run.wake_at.unwrap_or(now);
            let due_ms = u64::try_from(due.as_ms()).unwrap_or(0);
            (Some(Event::Timer { due_ms }), None)
        }
    };
    if !run.pinned {
        take_newer_version(tx, run)?;
    }
    runs::began(tx, run)?;
    Ok(Some(woken))
}

/// Goes over to the agent's newest version, where that reads the state of this one.
fn take_newer_version(tx: &Tx<'_>, run: &mut Claimed) -> Result<(), store::Error> {
    let Some(latest) = agents::latest(tx, run.org, run.agent_id)? else {
        return Ok(());
    };
    if latest.id == run.version_id {
        return Ok(());
    }
    let current = agents::get_version(tx, run.org, run.version_id)?;
    let same_state = latest.manifest.state_format == current.manifest.state_format && latest.manifest.runtime == current.manifest.runtime;
    if same_state {
        run.version_id = latest.id;
        run.runtime = latest.manifest.runtime;
        run.code_digest = latest.code_digest;
        run.agent_version = latest.version.to_string();
    }
    Ok(())
}

pub(super) fn segment_started(run: &Claimed, segment: u32, now: Timestamp) -> NewEntry {
    NewEntry {
        attempt: run.attempt,
        segment,
        ..NewEntry::station(now, kind::SEGMENT_STARTED, json!({ "segment": segment }))
    }
}

pub(super) fn new_segment(
    app: &App,
    run: &Claimed,
    segment: u32,
    now: Timestamp,
    event: Option<&Event>,
    state_hash: Option<[u8; 32]>,
) -> Result<NewSegment, store::Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| store::Error::Internal(error.into()))?;
    let (component_digest, script_digest) = match run.runtime {
        RuntimeKind::Javascript => (app.javascript_digest, Some(run.code_digest)),
        RuntimeKind::Component => (run.code_digest, None),
    };
    Ok(NewSegment {
        segment,
        component_digest,
        script_digest,
        wit_version: WIT_VERSION.to_owned(),
        engine: app.engine_fingerprint.clone(),
        seed,
        event: event.and_then(|event| serde_json::to_string(event).ok()),
        state_hash,
        started_at: now,
        ask: None,
    })
}
