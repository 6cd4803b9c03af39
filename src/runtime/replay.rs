//! The recorded calls of a segment, by their ordinal, and the comparison with what the guest does now.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::domain::call::{CallResult, EffectClass};
use crate::domain::hex;
use crate::domain::journal::{Phase, kind};
use crate::domain::time::Timestamp;

use super::ports::{RecordedEntry, Resumed};

/// One recorded call or sub-call.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub kind: String,
    pub fingerprint: [u8; 16],
    pub fuel: u64,
    /// Of the newest entry: a local call that has begun and not ended waits for someone.
    pub class: Option<EffectClass>,
    /// The result and when it was written; `None` while only the intent is there.
    pub end: Option<(Timestamp, Option<String>)>,
    /// A retry has taken back what was recorded of it; it is compared with what the guest does, and made anew.
    pub superseded: bool,
}

impl Recorded {
    /// What an unfinished call means to whoever makes it again.
    pub(crate) fn resumed(&self) -> Resumed {
        match self.class {
            _ if self.superseded => Resumed::No,
            Some(EffectClass::Local) => Resumed::Waiting,
            _ => Resumed::OpenIntent,
        }
    }

    /// The recorded result.
    ///
    /// # Errors
    /// The journal holds something that is no result: its payload was erased.
    pub(crate) fn result(&self) -> Option<Result<CallResult, String>> {
        let (_, response) = self.end.as_ref()?;
        let text = response.as_deref().unwrap_or("null");
        Some(serde_json::from_str(text).map_err(|_| {
            format!(
                "the recorded result of {} is no longer readable, so the run cannot be replayed",
                self.kind
            )
        }))
    }
}

/// What the guest does now, to be compared.
#[derive(Debug)]
pub(crate) struct Made<'a> {
    pub kind: &'a str,
    /// Canonical JSON, of which the fingerprint is made.
    pub arguments: &'a str,
    pub fingerprint: [u8; 16],
    pub fuel: u64,
}

/// The first call at which a guest did something else than was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub call: u32,
    pub sub: Option<u32>,
    pub aspect: Aspect,
    pub recorded: String,
    pub now: String,
    /// Of the call that is made now, where one is: JSON.
    pub arguments: Option<String>,
}

/// In what a call differs from the recorded one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// How many were made at once.
    Count,
    Function,
    Arguments,
    Fuel,
    /// The segment ended without it.
    Missing,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "call {}: recorded {}, now {}", self.call, self.recorded, self.now)
    }
}

/// The recorded calls of one segment.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// By call, then by sub-call; a plain call has one. Those that were begun together stand in the journal in any order.
    calls: Vec<BTreeMap<u32, Recorded>>,
    /// The calls from which the segment was tried again.
    retries: Vec<u32>,
    compare_fuel: bool,
    difference: Option<Difference>,
}

impl Replay {
    /// Orders entries by call. A call recorded twice (its intent was repeated after a crash) counts once.
    pub(crate) fn new(entries: Vec<RecordedEntry>, compare_fuel: bool) -> Self {
        let mut calls: Vec<BTreeMap<u32, Recorded>> = Vec::new();
        let mut retries = Vec::new();
        for entry in entries {
            let index = entry.call as usize;
            if entry.kind == kind::RUN_RETRIED {
                supersede(&mut calls, index);
                retries.push(entry.call);
                continue;
            }
            if calls.len() <= index {
                calls.resize_with(index + 1, BTreeMap::new);
            }
            let Some(subs) = calls.get_mut(index) else { continue };
            let end = match entry.phase {
                Phase::Start => None,
                Phase::End | Phase::Point => Some((entry.at, entry.response)),
            };
            let recorded = Recorded {
                kind: entry.kind,
                fingerprint: entry.fingerprint,
                fuel: entry.fuel,
                class: entry.class,
                end,
                superseded: false,
            };
            match subs.entry(entry.sub.unwrap_or(0)) {
                Entry::Occupied(mut known) if recorded.end.is_some() => known.get_mut().end = recorded.end,
                Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    known.class = recorded.class;
                    known.superseded = false;
                }
                Entry::Vacant(place) => _ = place.insert(recorded),
            }
        }
        Self {
            calls,
            retries,
            compare_fuel,
            difference: None,
        }
    }

    /// How many times the call with this number was given up by a retry from a call before it: another action may have had the number, so
    /// that it is not known under the same key. The failed call itself keeps its key: it is the same action, and may have happened.
    pub(crate) fn generation(&self, ordinal: u32) -> u32 {
        u32::try_from(self.retries.iter().filter(|&&call| call < ordinal).count()).unwrap_or(u32::MAX)
    }

    /// Calls recorded.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.calls.len()).unwrap_or(u32::MAX)
    }

    /// The difference that [`Self::take`] found.
    pub(crate) const fn difference(&self) -> Option<&Difference> {
        self.difference.as_ref()
    }

    /// What is left where the guest returned after `made` calls.
    pub(crate) fn missing(&self, made: u32) -> Option<Difference> {
        let first = self.calls.get(made as usize)?.first_key_value();
        Some(Difference {
            call: made,
            sub: None,
            aspect: Aspect::Missing,
            recorded: first.map_or_else(String::new, |(_, recorded)| recorded.kind.clone()),
            now: "the end of the segment".to_owned(),
            arguments: None,
        })
    }

    /// The recorded call with this ordinal, after comparing it with what the guest does.
    ///
    /// # Errors
    /// A text that names both sides where they differ; see also [`Self::difference`].
    pub(crate) fn take(&mut self, ordinal: u32, made: &[Made<'_>]) -> Result<Option<Vec<Recorded>>, String> {
        let Some(recorded) = self.calls.get_mut(ordinal as usize) else {
            return Ok(None);
        };
        let recorded: Vec<Recorded> = std::mem::take(recorded).into_values().collect();
        if let Some(difference) = compare(ordinal, &recorded, made, self.compare_fuel) {
            let text = difference.to_string();
            self.difference = Some(difference);
            return Err(text);
        }
        Ok(Some(recorded))
    }
}

fn compare(call: u32, recorded: &[Recorded], made: &[Made<'_>], compare_fuel: bool) -> Option<Difference> {
    if recorded.len() != made.len() {
        return Some(Difference {
            call,
            sub: None,
            aspect: Aspect::Count,
            recorded: format!("{} at once", recorded.len()),
            now: made.len().to_string(),
            arguments: made.first().map(|now| now.arguments.to_owned()),
        });
    }
    for (sub, (then, now)) in (0..).zip(recorded.iter().zip(made)) {
        let difference = |aspect, recorded, now_text| Difference {
            call,
            sub: (made.len() > 1).then_some(sub),
            aspect,
            recorded,
            now: now_text,
            arguments: Some(now.arguments.to_owned()),
        };
        if then.kind != now.kind {
            return Some(difference(Aspect::Function, then.kind.clone(), now.kind.to_owned()));
        }
        if then.fingerprint != now.fingerprint {
            return Some(difference(
                Aspect::Arguments,
                format!("{} with arguments {}", then.kind, hex::encode(&then.fingerprint)),
                hex::encode(&now.fingerprint),
            ));
        }
        if compare_fuel && then.fuel != now.fuel {
            return Some(difference(
                Aspect::Fuel,
                format!("{} after {} fuel", then.kind, then.fuel),
                format!("after {}", now.fuel),
            ));
        }
    }
    None
}

/// Takes back the calls after `call`, and of the call itself what failed or has no result.
fn supersede(calls: &mut Vec<BTreeMap<u32, Recorded>>, call: usize) {
    calls.truncate(call.saturating_add(1));
    for recorded in calls.get_mut(call).into_iter().flat_map(BTreeMap::values_mut) {
        if !matches!(recorded.result(), Some(Ok(CallResult::Ok(_)))) {
            recorded.end = None;
            recorded.superseded = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::call::Reply;
    use crate::domain::failure::{Failure, FailureCode};

    fn entry(call: u32, sub: Option<u32>, phase: Phase, result: Option<CallResult>) -> RecordedEntry {
        RecordedEntry {
            at: Timestamp::from_ms(1),
            call,
            sub,
            phase,
            kind: "http.send".to_owned(),
            fingerprint: [u8::try_from(sub.unwrap_or(0)).unwrap(); 16],
            fuel: 5,
            class: None,
            response: result.map(|result| result.to_json()),
        }
    }

    fn marker(call: u32) -> RecordedEntry {
        RecordedEntry {
            kind: kind::RUN_RETRIED.to_owned(),
            ..entry(call, None, Phase::Point, None)
        }
    }

    fn ok() -> CallResult {
        CallResult::Ok(Reply::MemoryVersion(1))
    }

    fn failed() -> CallResult {
        CallResult::Failed(Failure::retryable(FailureCode::Unavailable, "x"))
    }

    fn made(sub: u8) -> Made<'static> {
        Made {
            kind: "http.send",
            arguments: "{}",
            fingerprint: [sub; 16],
            fuel: 5,
        }
    }

    #[test]
    fn a_retry_keeps_what_came_before_and_what_succeeded_beside_the_failure() {
        let mut replay = Replay::new(
            vec![
                entry(0, None, Phase::Point, Some(ok())),
                entry(1, Some(0), Phase::Start, None),
                entry(1, Some(1), Phase::Start, None),
                entry(1, Some(0), Phase::End, Some(ok())),
                entry(1, Some(1), Phase::End, Some(failed())),
                entry(2, None, Phase::Point, Some(ok())),
                marker(1),
            ],
            true,
        );
        assert!(replay.take(0, &[made(0)]).unwrap().unwrap()[0].end.is_some());
        let both = replay.take(1, &[made(0), made(1)]).unwrap().unwrap();
        assert!(both[0].end.is_some() && !both[0].superseded);
        assert!(both[1].end.is_none() && both[1].superseded);
        assert!(replay.take(2, &[made(0)]).unwrap().is_none());
    }

    #[test]
    fn a_retried_call_that_the_station_lost_is_an_open_intent() {
        let mut replay = Replay::new(
            vec![
                entry(0, None, Phase::Start, None),
                entry(0, None, Phase::End, Some(failed())),
                marker(0),
                entry(0, None, Phase::Start, None),
            ],
            true,
        );
        let recorded = replay.take(0, &[made(0)]).unwrap().unwrap();
        assert!(recorded[0].end.is_none() && !recorded[0].superseded);
    }

    #[test]
    fn the_failed_call_keeps_its_key_and_those_after_it_get_new_ones() {
        let replay = Replay::new(
            vec![entry(0, None, Phase::Point, Some(ok())), marker(1), marker(1), marker(2)],
            true,
        );
        assert_eq!([0, 1, 2, 3].map(|call| replay.generation(call)), [0, 0, 2, 3]);
    }
}
