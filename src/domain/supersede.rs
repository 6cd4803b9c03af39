//! What of a segment's recorded calls still holds after retries, and what another retry would do a second time.
//!
//! A retry writes a marker with the failed call's number. From there on the calls after it no longer hold, nor do the failed and
//! unfinished parts of the call itself.

use std::collections::BTreeMap;

use super::call::EffectClass;
use super::failure::FailureCode;
use super::journal::{Phase, kind};
use super::tool::{self, Tool};

/// An entry of the guest's lane, as far as retries are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub seq: u64,
    pub call: u32,
    pub sub: u32,
    pub phase: Phase,
    pub kind: String,
    pub class: Option<EffectClass>,
    /// Of a result that is a failure.
    pub code: Option<FailureCode>,
}

/// A call, or one of several made at once, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub kind: String,
    pub class: Option<EffectClass>,
    /// The entry with its result; `None` while only the intent is there.
    pub end: Option<u64>,
    pub code: Option<FailureCode>,
}

/// The calls of a segment that hold, by number and place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce(BTreeMap<(u32, u32), Standing>);

/// Calls in our own database that may be made again without a difference to anyone.
const REPEATABLE: [&str; 12] = [
    "memory.get",
    "memory.list",
    "memory.search",
    "artifacts.get",
    "artifacts.list",
    "clock.sleep",
    "log",
    "step",
    "progress",
    "emit",
    "waits.close",
    "tools.describe",
];

impl InForce {
    /// Reads the entries of a segment in their order.
    pub fn of(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut calls: BTreeMap<(u32, u32), Standing> = BTreeMap::new();
        for step in steps {
            if step.kind == kind::RUN_RETRIED {
                calls.retain(|&(call, _), standing| {
                    call < step.call || (call == step.call && standing.end.is_some() && standing.code.is_none())
                });
                continue;
            }
            let standing = calls.entry((step.call, step.sub)).or_insert(Standing {
                kind: step.kind,
                class: step.class,
                end: None,
                code: None,
            });
            standing.class = step.class.or(standing.class);
            if step.phase != Phase::Start {
                standing.end = Some(step.seq);
                standing.code = step.code;
            }
        }
        Self(calls)
    }

    /// The last call that failed with this code, and its failed parts.
    pub fn failed(&self, code: FailureCode) -> Option<(u32, Vec<&Standing>)> {
        let (&(call, _), _) = self.0.iter().rev().find(|(_, standing)| standing.code == Some(code))?;
        let failed = self
            .0
            .range((call, 0)..=(call, u32::MAX))
            .map(|(_, standing)| standing)
            .filter(|standing| standing.code.is_some());
        Some((call, failed.collect()))
    }

    /// What was done after this call and would be done again by a retry from it.
    pub fn writes_after(&self, call: u32) -> Vec<&Standing> {
        let after = self.0.range((call.saturating_add(1), 0)..).map(|(_, standing)| standing);
        after.filter(|standing| standing.is_write()).collect()
    }
}

impl Standing {
    /// Whether it changed something, here or elsewhere. What has only begun may have.
    pub fn is_write(&self) -> bool {
        if self.code.is_some() {
            // A failed write elsewhere may have happened all the same; in our own database it did not.
            return self.class == Some(EffectClass::WriteOnce);
        }
        match self.class {
            Some(EffectClass::WriteOnce | EffectClass::WriteIdempotent) => true,
            // Of a tool's call the kind is the tool.
            Some(EffectClass::Local) => {
                !REPEATABLE.contains(&self.kind.as_str()) && !tool::find(&self.kind).is_some_and(Tool::is_repeatable)
            }
            Some(EffectClass::Pure | EffectClass::Read | EffectClass::PaidRead) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(seq: u64, call: u32, sub: u32, phase: Phase, class: EffectClass, code: Option<FailureCode>) -> Step {
        let kind = match class {
            EffectClass::Local => "memory.put",
            _ => "http.send",
        };
        Step {
            seq,
            call,
            sub,
            phase,
            kind: kind.to_owned(),
            class: Some(class),
            code,
        }
    }

    fn marker(seq: u64, call: u32) -> Step {
        Step {
            kind: kind::RUN_RETRIED.to_owned(),
            class: None,
            ..step(seq, call, 0, Phase::Point, EffectClass::Read, None)
        }
    }

    const UNAVAILABLE: Option<FailureCode> = Some(FailureCode::Unavailable);

    #[test]
    fn the_last_call_with_the_code_is_the_failed_one() {
        let steps = vec![
            step(1, 0, 0, Phase::End, EffectClass::Read, UNAVAILABLE),
            step(2, 1, 0, Phase::End, EffectClass::Read, None),
            step(3, 2, 0, Phase::End, EffectClass::Read, UNAVAILABLE),
        ];
        let in_force = InForce::of(steps);
        assert_eq!(in_force.failed(FailureCode::Unavailable).map(|(call, _)| call), Some(2));
        assert_eq!(in_force.failed(FailureCode::Timeout), None);
    }

    #[test]
    fn a_write_after_the_failed_call_is_told() {
        let failed = step(1, 0, 0, Phase::End, EffectClass::PaidRead, UNAVAILABLE);
        let read = step(2, 1, 0, Phase::End, EffectClass::Read, None);
        for class in [EffectClass::WriteOnce, EffectClass::WriteIdempotent, EffectClass::Local] {
            let in_force = InForce::of(vec![failed.clone(), read.clone(), step(3, 2, 0, Phase::Point, class, None)]);
            assert_eq!(in_force.writes_after(0).len(), 1, "{class}");
            assert_eq!(in_force.writes_after(2).len(), 0, "{class}");
        }
    }

    #[test]
    fn a_marker_keeps_what_succeeded_at_once_with_the_failure() {
        let steps = vec![
            step(1, 0, 0, Phase::End, EffectClass::WriteOnce, None),
            step(2, 1, 0, Phase::End, EffectClass::WriteOnce, None),
            step(3, 1, 1, Phase::End, EffectClass::Read, UNAVAILABLE),
            step(4, 2, 0, Phase::Start, EffectClass::Read, None),
            marker(5, 1),
        ];
        let in_force = InForce::of(steps);
        assert_eq!(in_force.0.keys().copied().collect::<Vec<_>>(), [(0, 0), (1, 0)]);
        assert_eq!(in_force.failed(FailureCode::Unavailable), None);
    }
}
