//! The states of a run and the one table of what may follow what.

use serde::{Deserialize, Serialize};

use super::failure::codes;
use super::id::RunId;

codes! {
    /// Where a run is in its life.
    RunState {
        Queued = "queued",
        Running = "running",
        /// Nothing to execute until someone else completes what it waits for.
        Waiting = "waiting",
        Succeeded = "succeeded",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}

impl RunState {
    /// Whether nothing can follow.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The one table of transitions. What has failed goes on only when a person has it retried.
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Queued, Self::Running | Self::Cancelled)
                | (Self::Failed, Self::Queued)
                | (
                    Self::Running,
                    Self::Queued | Self::Waiting | Self::Succeeded | Self::Failed | Self::Cancelled
                )
                | (Self::Waiting, Self::Queued | Self::Running | Self::Failed | Self::Cancelled)
        )
    }
}

codes! {
    /// A run's state as people and programs are shown it: a run that is held is paused, wherever in its life it is.
    Shown {
        Queued = "queued",
        Running = "running",
        Waiting = "waiting",
        Paused = "paused",
        Succeeded = "succeeded",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}

impl Shown {
    pub const fn of(state: RunState, holds: Holds) -> Self {
        match state {
            RunState::Succeeded => Self::Succeeded,
            RunState::Failed => Self::Failed,
            RunState::Cancelled => Self::Cancelled,
            _ if !holds.is_empty() => Self::Paused,
            RunState::Queued => Self::Queued,
            RunState::Running => Self::Running,
            RunState::Waiting => Self::Waiting,
        }
    }

    /// The stored state behind it; `None` for a run that is held, which may be in any that goes on.
    pub const fn state(self) -> Option<RunState> {
        match self {
            Self::Queued => Some(RunState::Queued),
            Self::Running => Some(RunState::Running),
            Self::Waiting => Some(RunState::Waiting),
            Self::Paused => None,
            Self::Succeeded => Some(RunState::Succeeded),
            Self::Failed => Some(RunState::Failed),
            Self::Cancelled => Some(RunState::Cancelled),
        }
    }
}

/// Which run of an organization's queue goes first: the higher, then the older.
pub const PRIORITY_MIN: i32 = -10;
pub const PRIORITY_MAX: i32 = 10;

codes! {
    /// What a run that is between two executions goes on with.
    WakeOn {
        /// The next segment begins at its time.
        Timer = "timer",
        /// The next segment begins with a message.
        Message = "message",
        /// The current segment is tried again.
        Retry = "retry",
    }
}

codes! {
    /// A reason not to dispatch a run, whatever its state.
    Hold {
        /// A person or the API paused it.
        Pause = "pause",
        Budget = "budget",
        PrincipalRemoved = "principal_removed",
        Review = "review",
    }
}

impl Hold {
    /// Its bit in a stored set.
    pub const fn bit(self) -> u32 {
        match self {
            Self::Pause => 1,
            Self::Budget => 2,
            Self::PrincipalRemoved => 4,
            Self::Review => 8,
        }
    }
}

/// The holds of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds(u32);

impl Holds {
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub const fn bits(self) -> u32 {
        self.0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn contains(self, hold: Hold) -> bool {
        self.0 & hold.bit() != 0
    }

    #[must_use]
    pub const fn with(self, hold: Hold) -> Self {
        Self(self.0 | hold.bit())
    }

    #[must_use]
    pub const fn without(self, hold: Hold) -> Self {
        Self(self.0 & !hold.bit())
    }

    pub fn iter(self) -> impl Iterator<Item = Hold> {
        Hold::ALL.iter().copied().filter(move |hold| self.contains(*hold))
    }
}

codes! {
    /// What made a run start.
    Trigger {
        Manual = "manual",
        Api = "api",
        Cli = "cli",
        Demo = "demo",
        /// Another run started it.
        Parent = "parent",
        Fork = "fork",
    }
}

/// Stands in the name of a fork's environment between the one beneath it and the fork's id.
const FORK: &str = "/fork:";

/// Where a run's side of the world lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Environment(String);

impl Environment {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The environment of a fork: reads fall through to this one, writes stay in it.
    #[must_use]
    pub fn fork(&self, run: RunId) -> Self {
        Self(format!("{}{FORK}{run}", self.0))
    }

    /// This environment and those beneath it, of which it is a view, from the top down.
    pub fn layers(&self) -> impl Iterator<Item = Self> {
        let mut rest = Some(self.0.as_str());
        std::iter::from_fn(move || {
            let layer = rest?;
            rest = layer.rsplit_once(FORK).map(|(beneath, _)| beneath);
            Some(Self(layer.to_owned()))
        })
    }

    /// An environment as the database has it.
    pub fn from_stored(name: String) -> Self {
        Self(name)
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self("production".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_a_terminal_state_but_a_retry() {
        for &from in RunState::ALL {
            for &to in RunState::ALL {
                if from.is_terminal() {
                    let retried = from == RunState::Failed && to == RunState::Queued;
                    assert_eq!(from.may_become(to), retried, "{from} -> {to}");
                }
            }
        }
    }

    #[test]
    fn a_fork_of_a_fork_lies_on_both() {
        let run = RunId::new(crate::domain::time::Timestamp::from_ms(1));
        let whole = Environment::default();
        let (one, two) = (whole.fork(run), whole.fork(run).fork(run));
        assert_eq!(whole.layers().count(), 1);
        assert_eq!(two.layers().collect::<Vec<_>>(), [two.clone(), one, whole]);
    }

    #[test]
    fn a_held_run_is_shown_as_paused_until_it_has_ended() {
        let held = Holds::default().with(Hold::Pause);
        for &state in RunState::ALL {
            assert_eq!(Shown::of(state, Holds::default()).state(), Some(state));
            let shown = Shown::of(state, held);
            assert_eq!(shown == Shown::Paused, !state.is_terminal(), "{state}");
        }
        assert!(held.without(Hold::Pause).is_empty());
    }

    #[test]
    fn every_state_is_reached_from_queued() {
        let mut reached = vec![RunState::Queued];
        let mut i = 0;
        while i < reached.len() {
            for &next in RunState::ALL {
                if reached[i].may_become(next) && !reached.contains(&next) {
                    reached.push(next);
                }
            }
            i += 1;
        }
        assert_eq!(reached.len(), RunState::ALL.len());
    }
}
