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
    compare_fuel: bool,
    difference: Option<Difference>,
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
        Self {
            calls,
            compare_fuel,
            difference: None,
        }
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
