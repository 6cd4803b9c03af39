//! Calls on the timeline: buffered, and written with the next durable write or a moment later.

use serde_json::json;

use super::{BUFFERED_ENTRIES_MAX, Exchange, Interruption};
use crate::domain::call::{EffectClass, fingerprint};
use crate::domain::journal::{Audience, Payload, Phase};
use crate::domain::limits::STEP_DEPTH_MAX;
use crate::runtime::replay::Made;

/// One timeline call, as the guest makes it.
pub(crate) struct TimelineCall {
    pub kind: &'static str,
    pub phase: Phase,
    /// Canonical JSON, of which the fingerprint is made.
    pub arguments: String,
    pub meta: serde_json::Value,
    /// The data of an `emit`.
    pub request: Option<Payload>,
    pub audience: Audience,
}

impl Exchange {
    /// A call on the timeline: recorded with the next durable write. Returns its ordinal.
    pub(crate) async fn timeline(&self, call: TimelineCall, fuel: u64) -> Result<u32, Interruption> {
        self.check_stop()?;
        let print = fingerprint(call.kind, &call.arguments);
        let full = {
            let mut inner = self.inner();
            let ordinal = inner.next_call;
            inner.next_call += 1;
            let made = [Made {
                kind: call.kind,
                arguments: &call.arguments,
                fingerprint: print,
                fuel,
            }];
            let recorded = inner.replay.take(ordinal, &made).map_err(Interruption::Nondeterminism)?;
            if let Some(at) = recorded
                .as_deref()
                .and_then(|calls| calls.first())
                .and_then(|recorded| recorded.end.as_ref())
            {
                inner.delivered_at = at.0;
            }
            if recorded.is_some() {
                return Ok(ordinal);
            }
            let mut entry = self.entry(&inner, ordinal, None, call.kind, fuel, print);
            entry.phase = call.phase;
            entry.class = Some(EffectClass::Local);
            entry.meta = call.meta;
            entry.request = call.request;
            entry.audience = call.audience;
            self.count(&mut inner, 1, entry.journal_bytes())?;
            // A step's start has no end of its own, so that replay knows no time for it: it must not move the clock.
            if entry.phase != Phase::Start {
                inner.delivered_at = entry.at;
            }
            inner.buffer.push(entry);
            if inner.buffer.len() < BUFFERED_ENTRIES_MAX {
                return Ok(ordinal);
            }
            (ordinal, std::mem::take(&mut inner.buffer))
        };
        let (ordinal, entries) = full;
        self.during_call(self.port.enqueue(entries)).await?;
        Ok(ordinal)
    }

    /// Opens a step; its number is the ordinal of the call that opens it.
    pub(crate) async fn step_start(&self, name: &str, fuel: u64) -> Result<u32, Interruption> {
        let (number, parent) = {
            let inner = self.inner();
            if inner.steps.len() >= STEP_DEPTH_MAX {
                return Err(Interruption::Limit(format!(
                    "it opened more than {STEP_DEPTH_MAX} steps within each other"
                )));
            }
            (inner.next_call, inner.steps.last().copied())
        };
        // The entry carries the new step's own number.
        self.inner().steps.push(number);
        let call = TimelineCall {
            kind: "step",
            phase: Phase::Start,
            arguments: json!({ "name": name }).to_string(),
            meta: json!({ "name": name, "parent": parent }),
            request: None,
            audience: 0,
        };
        self.timeline(call, fuel).await
    }

    /// Closes a step, and those opened within it that are still open. A number that is not open does nothing but say so.
    pub(crate) async fn step_end(&self, number: u32, failed: bool, fuel: u64) -> Result<(), Interruption> {
        let call = TimelineCall {
            kind: "step",
            phase: Phase::End,
            arguments: json!({ "step": number, "failed": failed }).to_string(),
            meta: json!({ "step": number, "failed": failed }),
            request: None,
            audience: 0,
        };
        self.timeline(call, fuel).await?;
        self.inner().steps.retain(|&open| open != number);
        Ok(())
    }
}
