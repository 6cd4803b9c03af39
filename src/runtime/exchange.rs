//! What one segment says to the outside and hears from it: replayed from the journal as far as that goes, live after it.

mod timeline;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::domain::call::{Call, CallResult, EffectClass, fingerprint};
use crate::domain::failure::{EndReason, Failure, FailureCode};
use crate::domain::journal::{Lane, NewEntry, Payload, Phase, kind};
use crate::domain::limits::{AgentLimits, PAYLOAD_BYTES_MAX};
use crate::domain::money::Charged;
use crate::domain::time::Timestamp;

pub(crate) use timeline::TimelineCall;

use super::ports::{Begun, Intended, PendingCall, Performed, Port, PortError, Resumed, Stop, StopReason, Woken};
use super::replay::{Difference, Made, Recorded, Replay};

/// Timeline entries that wait for the next durable write; more are put in line at once.
const BUFFERED_ENTRIES_MAX: usize = 64;

/// Of a limit, where a warning is written.
const LIMIT_NEAR_PERCENT: u64 = 80;

/// Why a segment stops in a host call. It traps the guest and is read again by whoever drives it.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Interruption {
    #[error("stopped")]
    Stopped(StopReason),
    #[error("{0}")]
    Nondeterminism(String),
    #[error("{0}")]
    Limit(String),
    #[error(transparent)]
    Port(#[from] PortError),
}

/// What a run has used before this segment's live part.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    pub calls: u64,
    pub journal_bytes: u64,
}

/// Where in its run a segment is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub attempt: u32,
    pub segment: u32,
}

/// What a segment begins with, as far as its calls are concerned.
#[derive(Default)]
pub(crate) struct Beginning {
    pub replay: Replay,
    pub used: Used,
    pub seed: [u8; 32],
    pub started_at: Timestamp,
}

struct Inner {
    replay: Replay,
    buffer: Vec<NewEntry>,
    next_call: u32,
    /// Open steps, by number.
    steps: Vec<u32>,
    /// When the last entry was delivered to the guest.
    delivered_at: Timestamp,
    used: Used,
    seed: [u8; 32],
    drawn: u64,
    /// Time in which the guest waited for others.
    waited: Duration,
    waiting_since: Option<Instant>,
}

pub(crate) struct Exchange {
    port: Arc<dyn Port>,
    place: Place,
    limits: AgentLimits,
    pub(crate) stop: Stop,
    in_call: AtomicBool,
    inner: Mutex<Inner>,
}

impl Exchange {
    pub(crate) fn new(port: Arc<dyn Port>, place: Place, limits: AgentLimits, stop: Stop, begin: Beginning) -> Self {
        let inner = Inner {
            replay: begin.replay,
            buffer: Vec::new(),
            next_call: 0,
            steps: Vec::new(),
            delivered_at: begin.started_at,
            used: begin.used,
            seed: begin.seed,
            drawn: 0,
            waited: Duration::ZERO,
            waiting_since: None,
        };
        Self {
            port,
            place,
            limits,
            stop,
            in_call: AtomicBool::new(false),
            inner: Mutex::new(inner),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the guest is waiting for a host call, as against computing.
    pub(crate) fn in_call(&self) -> bool {
        self.in_call.load(Ordering::Relaxed)
    }

    /// When the last entry was delivered to the guest.
    pub(crate) fn now(&self) -> Timestamp {
        self.inner().delivered_at
    }

    /// The next number of the segment's seed: the first half of SHA-256 over seed and counter, cut to 64 bits.
    pub(crate) fn random(&self) -> u64 {
        let mut inner = self.inner();
        let mut hash = Sha256::new();
        hash.update(inner.seed);
        hash.update(inner.drawn.to_le_bytes());
        inner.drawn += 1;
        hash.finalize()
            .iter()
            .take(8)
            .fold(0, |value, &byte| (value << 8) | u64::from(byte))
    }

    /// Entries that wait to be written, taken out in order.
    pub(crate) fn take_buffer(&self) -> Vec<NewEntry> {
        std::mem::take(&mut self.inner().buffer)
    }

    /// Where the guest did something else than was recorded, what it left out included.
    pub(crate) fn difference(&self) -> Option<Difference> {
        let inner = self.inner();
        inner.replay.difference().cloned().or_else(|| inner.replay.missing(inner.next_call))
    }

    /// Whether the guest returned before it made every recorded call.
    pub(crate) fn unread(&self) -> Option<String> {
        let inner = self.inner();
        let (made, recorded) = (inner.next_call, inner.replay.len());
        (made < recorded).then(|| format!("the segment ended after {made} calls, {recorded} were recorded"))
    }

    fn entry(&self, inner: &Inner, ordinal: u32, sub: Option<u32>, kind: &str, fuel: u64, fingerprint: [u8; 16]) -> NewEntry {
        NewEntry {
            at: self.port.now(),
            lane: Lane::Guest,
            attempt: self.place.attempt,
            segment: self.place.segment,
            call: Some(ordinal),
            sub,
            phase: Phase::Point,
            kind: kind.to_owned(),
            class: None,
            fingerprint: Some(fingerprint),
            fuel: Some(fuel),
            step: inner.steps.last().copied(),
            actor: None,
            audience: 0,
            meta: json!({}),
            request: None,
            response: None,
        }
    }

    /// Counts `calls` live calls of `bytes` against the run's limits.
    fn count(&self, inner: &mut Inner, calls: u64, bytes: u64) -> Result<(), Interruption> {
        let before = inner.used;
        inner.used.calls += calls;
        inner.used.journal_bytes += bytes;
        let limits = [
            ("calls", before.calls, inner.used.calls, self.limits.calls),
            (
                "journal_bytes",
                before.journal_bytes,
                inner.used.journal_bytes,
                self.limits.journal_bytes,
            ),
        ];
        for (limit, before, used, most) in limits {
            let near = most / 100 * LIMIT_NEAR_PERCENT;
            if before < near && near <= used {
                let entry = NewEntry {
                    attempt: self.place.attempt,
                    segment: self.place.segment,
                    ..NewEntry::station(
                        self.port.now(),
                        kind::LIMIT_NEAR,
                        json!({ "limit": limit, "used": used, "max": most }),
                    )
                };
                inner.buffer.push(entry);
            }
        }
        if inner.used.calls > self.limits.calls {
            return Err(Interruption::Limit(format!(
                "it made more than limits.calls = {} calls",
                self.limits.calls
            )));
        }
        if inner.used.journal_bytes > self.limits.journal_bytes {
            return Err(Interruption::Limit(format!(
                "it recorded more than limits.journal_bytes = {} bytes",
                self.limits.journal_bytes
            )));
        }
        Ok(())
    }

    fn check_stop(&self) -> Result<(), Interruption> {
        self.stop.reason().map_or(Ok(()), |reason| Err(Interruption::Stopped(reason)))
    }

    async fn during_call<T>(&self, future: impl Future<Output = T>) -> T {
        self.in_call.store(true, Ordering::Relaxed);
        let result = future.await;
        self.in_call.store(false, Ordering::Relaxed);
        result
    }

    /// One call, or several at once. `several` keeps a list of one apart from a plain call.
    pub(crate) async fn calls(
        &self,
        calls: Vec<(Call, Option<Vec<u8>>)>,
        several: bool,
        fuel: u64,
    ) -> Result<Vec<CallResult>, Interruption> {
        self.check_stop()?;
        let arguments: Vec<String> = calls.iter().map(|(call, _)| call.to_json()).collect();
        let prints: Vec<[u8; 16]> = calls
            .iter()
            .zip(&arguments)
            .map(|((call, _), json)| fingerprint(call.function(), json))
            .collect();
        let (ordinal, recorded) = {
            let mut inner = self.inner();
            let ordinal = inner.next_call;
            inner.next_call += 1;
            let made: Vec<Made<'_>> = calls
                .iter()
                .zip(&arguments)
                .zip(&prints)
                .map(|(((call, _), arguments), &print)| Made {
                    kind: call.function(),
                    arguments,
                    fingerprint: print,
                    fuel,
                })
                .collect();
            (ordinal, inner.replay.take(ordinal, &made).map_err(Interruption::Nondeterminism)?)
        };
        let mut results: Vec<Option<CallResult>> = vec![None; calls.len()];
        if let Some(recorded) = &recorded {
            for (slot, recorded) in results.iter_mut().zip(recorded) {
                *slot = recorded.result().transpose().map_err(Interruption::Nondeterminism)?;
            }
            self.deliver(recorded.iter().filter_map(|recorded| recorded.end.as_ref()).map(|(at, _)| *at));
        }
        if results.iter().any(Option::is_none) {
            let resumed: Vec<Resumed> = recorded.iter().flatten().map(Recorded::resumed).collect();
            let live = calls
                .into_iter()
                .zip(arguments)
                .zip(prints)
                .enumerate()
                .filter(|(i, _)| results.get(*i).is_some_and(Option::is_none));
            let mut pending = Vec::new();
            {
                let mut inner = self.inner();
                for (i, (((call, body), json), print)) in live {
                    let sub = several.then(|| u32::try_from(i).unwrap_or(u32::MAX));
                    let mut entry = self.entry(&inner, ordinal, sub, call.function(), fuel, print);
                    entry.request = Some(request_payload(&call, json));
                    self.count(&mut inner, 1, entry.journal_bytes())?;
                    let generation = inner.replay.generation(ordinal);
                    let resumed = resumed.get(i).copied().unwrap_or(Resumed::No);
                    pending.push((
                        i,
                        PendingCall {
                            call,
                            body,
                            entry,
                            generation,
                            resumed,
                        },
                    ));
                }
            }
            let answered = self.during_call(self.live(pending)).await?;
            let mut bytes = 0;
            for (i, result) in answered {
                bytes += result.to_json().len() as u64;
                if let Some(slot) = results.get_mut(i) {
                    *slot = Some(result);
                }
            }
            self.count(&mut self.inner(), 0, bytes)?;
        }
        Ok(results.into_iter().flatten().collect())
    }

    fn deliver(&self, times: impl Iterator<Item = Timestamp>) {
        let mut inner = self.inner();
        inner.delivered_at = times.fold(inner.delivered_at, Ord::max);
    }

    /// Makes calls: refusals, local effects, intents and what is waited for in one transaction; then the outside effects at once, each with
    /// its result written as it comes; then, where some still wait for someone else, waits.
    async fn live(&self, pending: Vec<(usize, PendingCall)>) -> Result<Vec<(usize, CallResult)>, Interruption> {
        let mut answered = Vec::new();
        let (mut calls, mut places) = (Vec::new(), Vec::new());
        // Entries before this call, and those of calls that are refused.
        let mut before = self.take_buffer();
        for (i, mut pending) in pending {
            match too_large(&pending) {
                Some(failure) => {
                    let result = CallResult::Failed(failure);
                    self.deliver(std::iter::once(pending.entry.at));
                    pending.entry.phase = Phase::Point;
                    pending.entry.class = Some(EffectClass::Local);
                    pending.entry.meta = json!({ "code": failure_code(&result), "rule": "limit" });
                    pending.entry.response = Some(Payload::Json(result.to_json()));
                    before.push(pending.entry);
                    answered.push((i, result));
                }
                None => {
                    places.push(i);
                    calls.push(pending);
                }
            }
        }
        let begun = self.port.begin(before, calls).await?;
        let mut going: Vec<(usize, Begun)> = places.into_iter().zip(begun).collect();
        let mut waiting = Vec::new();
        loop {
            let mut effects = Vec::new();
            let (mut places, mut in_line) = (Vec::new(), Vec::new());
            for (i, begun) in going {
                match begun {
                    Begun::Answered(result, at) => {
                        self.deliver(std::iter::once(at));
                        answered.push((i, result));
                    }
                    Begun::Intended(intended) => effects.push(async move { self.effect(intended).await.map(|result| (i, result)) }),
                    Begun::Waiting(pending) => waiting.push((i, pending)),
                    Begun::InLine(pending) => {
                        places.push(i);
                        in_line.push(pending);
                    }
                }
            }
            // What its own calls have reserved comes back with them.
            let is_idle = effects.is_empty();
            for result in join_all(effects).await {
                answered.push(result?);
            }
            self.check_stop()?;
            if !in_line.is_empty() {
                if is_idle {
                    self.port.in_line().await;
                    self.check_stop()?;
                }
                going = places.into_iter().zip(self.port.begin(Vec::new(), in_line).await?).collect();
                continue;
            }
            if waiting.is_empty() {
                return Ok(answered);
            }
            let woken = self.wait(std::mem::take(&mut waiting)).await?;
            going = woken.went_on;
            waiting = woken.still;
        }
    }

    /// Waits without the time counting as the run's.
    async fn wait(&self, waiting: Vec<(usize, PendingCall)>) -> Result<Woken, PortError> {
        let began = Instant::now();
        self.inner().waiting_since = Some(began);
        let woken = self.port.wait(waiting).await;
        let mut inner = self.inner();
        inner.waiting_since = None;
        inner.waited += began.elapsed();
        woken
    }

    /// How long the guest has waited for others in this execution.
    pub(crate) fn waited(&self) -> Duration {
        let inner = self.inner();
        inner.waited + inner.waiting_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    async fn effect(&self, intended: Intended) -> Result<CallResult, Interruption> {
        let limit = Duration::from_millis(self.limits.call_ms);
        let performed = tokio::select! {
            biased;
            performed = self.port.perform(&intended) => performed,
            () = self.stop.interrupted() => {
                if self.stop.reason() == Some(StopReason::Shutdown) {
                    // The intent stays open; the next start settles it by its class.
                    return Err(Interruption::Stopped(StopReason::Shutdown));
                }
                given_up(Failure::new(FailureCode::Cancelled, "the run was stopped while this call was under way"))
            }
            () = tokio::time::sleep(limit) => {
                given_up(Failure::retryable(FailureCode::Timeout, format!("no answer within limits.call_ms = {} ms", self.limits.call_ms)))
            }
        };
        let at = self.port.now();
        let result = self.port.finish(intended, performed, at).await?;
        self.deliver(std::iter::once(at));
        Ok(result)
    }

    pub(crate) async fn artifact_bytes(&self, digest: &str) -> Result<Vec<u8>, Interruption> {
        Ok(self.during_call(self.port.artifact_bytes(digest)).await?)
    }

    pub(crate) async fn flush(&self) -> Result<(), PortError> {
        let entries = self.take_buffer();
        if entries.is_empty() {
            Ok(())
        } else {
            self.port.enqueue(entries).await
        }
    }
}

/// An effect that was begun and not waited for: what it used is unknown.
fn given_up(failure: Failure) -> Performed {
    Performed {
        result: CallResult::Failed(failure),
        charged: Charged::Unknown,
        first_token_ms: None,
    }
}

/// Why a call is not even asked for.
fn too_large(pending: &PendingCall) -> Option<Failure> {
    let bytes = pending.entry.request.as_ref().map_or(0, Payload::len);
    (bytes > PAYLOAD_BYTES_MAX).then(|| {
        let text = format!("the arguments are {bytes} bytes, the limit is {PAYLOAD_BYTES_MAX}");
        Failure::new(FailureCode::LimitExceeded, text)
    })
}

fn failure_code(result: &CallResult) -> Option<FailureCode> {
    match result {
        CallResult::Ok(_) => None,
        CallResult::Failed(failure) => Some(failure.code),
    }
}

fn request_payload(call: &Call, json: String) -> Payload {
    let Call::ModelsChat(request) = call else {
        return Payload::Json(json);
    };
    let head = crate::domain::chat::ChatRequest {
        messages: Vec::new(),
        ..request.clone()
    };
    let mut value = serde_json::to_value(head).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.remove("messages");
    }
    let messages = request
        .messages
        .iter()
        .filter_map(|message| serde_json::to_string(message).ok())
        .collect();
    Payload::Chat {
        head: value.to_string(),
        messages,
    }
}

/// How a run ends on an interruption, and in which words.
pub(crate) fn end_of(interruption: &Interruption) -> Result<(EndReason, String), Stopped> {
    match interruption {
        Interruption::Stopped(StopReason::End(reason)) => Ok((*reason, reason.explain().to_owned())),
        Interruption::Stopped(StopReason::Shutdown | StopReason::Hold) | Interruption::Port(PortError::Held) => Err(Stopped::Requeue),
        Interruption::Stopped(StopReason::Abandon) => Err(Stopped::Abandon("its quota of time is used up".to_owned())),
        Interruption::Nondeterminism(text) => Ok((EndReason::Nondeterminism, text.clone())),
        Interruption::Limit(text) => Ok((EndReason::JournalLimit, text.clone())),
        Interruption::Port(error) => Err(Stopped::Port(error.clone())),
    }
}

/// A segment that did not end: it goes on from its journal another time.
#[derive(Clone, Debug)]
pub(crate) enum Stopped {
    /// The station stops, or the run is held.
    Requeue,
    /// Given up, and never gone on with: the quota of the question it answers is used up.
    Abandon(String),
    Port(PortError),
}
