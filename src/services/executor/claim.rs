//! Takes runs from the queue, each with what its current segment begins with.

use serde_json::json;

use super::super::app::App;
use super::super::dispatcher::LEASE;
use crate::domain::journal::{NewEntry, kind};
use crate::domain::manifest::RuntimeKind;
use crate::domain::time::Timestamp;
use crate::runtime::WIT_VERSION;
use crate::runtime::segment::Event;
use crate::store::runs::Claimed;
use crate::store::segments::{NewSegment, Segment};
use crate::store::{self, Tx, journal, payloads, runs, segments};

/// A run that this process holds, with everything its first segment needs.
pub struct Work {
    pub run: Claimed,
    pub segment: Segment,
    pub input: String,
    pub state: Option<Vec<u8>>,
    /// Whether an earlier start may have recorded calls of this segment.
    pub resumed: bool,
}

/// Claims runs and begins or finds their current segments, in one transaction.
pub fn claim(tx: &Tx<'_>, app: &App, limit: u32) -> Result<Vec<Work>, store::Error> {
    let now = app.clock.now();
    let claimed = runs::claim(tx, app.node, limit, now.plus(LEASE), now)?;
    claimed.into_iter().map(|run| begin_or_find(tx, app, run, now)).collect()
}

fn begin_or_find(tx: &Tx<'_>, app: &App, run: Claimed, now: Timestamp) -> Result<Work, store::Error> {
    let started = NewEntry {
        attempt: run.attempt,
        segment: run.segment,
        ..NewEntry::station(now, kind::RUN_STARTED, json!({ "fence": run.fence }))
    };
    let found = segments::find(tx, run.org, run.id, run.segment)?;
    let resumed = found.is_some();
    let segment = match found {
        Some(segment) => {
            journal::append(tx, run.org, run.id, Some(run.fence), &[started])?;
            segment
        }
        None => {
            let first = first_segment(app, &run, now)?;
            let begun = segment_started(&run, run.segment, now);
            journal::append(tx, run.org, run.id, Some(run.fence), &[started, begun])?;
            segments::insert(tx, run.org, run.id, &first)?
        }
    };
    let input = payloads::text(tx, run.org, &run.input_hash)?;
    let state = segment.state_hash.map(|hash| payloads::bytes(tx, run.org, &hash)).transpose()?;
    Ok(Work {
        run,
        segment,
        input,
        state,
        resumed,
    })
}

pub(super) fn segment_started(run: &Claimed, segment: u32, now: Timestamp) -> NewEntry {
    NewEntry {
        attempt: run.attempt,
        segment,
        ..NewEntry::station(now, kind::SEGMENT_STARTED, json!({ "segment": segment }))
    }
}

fn first_segment(app: &App, run: &Claimed, now: Timestamp) -> Result<NewSegment, store::Error> {
    new_segment(app, run, run.segment, now, None, None)
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
    })
}
