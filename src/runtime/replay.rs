//! The recorded calls of a segment, by their ordinal, and the comparison with what the guest does now.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::domain::call::{CallResult, EffectClass};
use crate::domain::hex;
use crate::domain::journal::Phase;
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
}

impl Recorded {
    /// What an unfinished call means to whoever makes it again.
    pub(crate) fn resumed(&self) -> Resumed {
        match self.class {
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
    pub fingerprint: [u8; 16],
    pub fuel: u64,
}

/// The recorded calls of one segment.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// By call, then by sub-call; a plain call has one. Those that were begun together stand in the journal in any order.
    calls: Vec<BTreeMap<u32, Recorded>>,
    compare_fuel: bool,
}

impl Replay {
    /// Orders entries by call. A call recorded twice (its intent was repeated after a crash) counts once.
    pub(crate) fn new(entries: Vec<RecordedEntry>, compare_fuel: bool) -> Self {
        let mut calls: Vec<BTreeMap<u32, Recorded>> = Vec::new();
        for entry in entries {
            let index = entry.call as usize;
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
            };
            match subs.entry(entry.sub.unwrap_or(0)) {
                Entry::Occupied(mut known) if recorded.end.is_some() => known.get_mut().end = recorded.end,
                Entry::Occupied(mut known) => known.get_mut().class = recorded.class,
                Entry::Vacant(place) => _ = place.insert(recorded),
            }
        }
        Self { calls, compare_fuel }
    }

    /// Calls recorded.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.calls.len()).unwrap_or(u32::MAX)
    }

    /// The recorded call with this ordinal, after comparing it with what the guest does.
    ///
    /// # Errors
    /// A text that names both sides where they differ.
    pub(crate) fn take(&mut self, ordinal: u32, made: &[Made<'_>]) -> Result<Option<Vec<Recorded>>, String> {
        let Some(recorded) = self.calls.get_mut(ordinal as usize) else {
            return Ok(None);
        };
        let recorded: Vec<Recorded> = std::mem::take(recorded).into_values().collect();
        if recorded.len() != made.len() {
            return Err(format!("call {ordinal}: recorded {} at once, now {}", recorded.len(), made.len()));
        }
        for (then, now) in recorded.iter().zip(made) {
            if then.kind != now.kind {
                return Err(format!("call {ordinal}: recorded {}, now {}", then.kind, now.kind));
            }
            if then.fingerprint != now.fingerprint {
                return Err(format!(
                    "call {ordinal}: {} recorded with arguments {}, now {}",
                    then.kind,
                    hex::encode(&then.fingerprint),
                    hex::encode(&now.fingerprint)
                ));
            }
            if self.compare_fuel && then.fuel != now.fuel {
                return Err(format!(
                    "call {ordinal}: {} recorded after {} fuel, now after {}",
                    then.kind, then.fuel, now.fuel
                ));
            }
        }
        Ok(Some(recorded))
    }
}
