//! The states of a run and the one table of what may follow what.

use serde::{Deserialize, Serialize};

use super::failure::codes;

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

    /// The one table of transitions.
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Queued, Self::Running | Self::Cancelled)
                | (
                    Self::Running,
                    Self::Queued | Self::Waiting | Self::Succeeded | Self::Failed | Self::Cancelled
                )
                | (Self::Waiting, Self::Queued | Self::Running | Self::Failed | Self::Cancelled)
        )
    }
}

codes! {
    /// What made a run start.
    Trigger {
        Manual = "manual",
        Api = "api",
        Cli = "cli",
        Demo = "demo",
    }
}

/// Where a run's side of the world lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Environment(String);

impl Environment {
    pub fn as_str(&self) -> &str {
        &self.0
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
    fn nothing_follows_a_terminal_state() {
        for &from in RunState::ALL {
            for &to in RunState::ALL {
                if from.is_terminal() {
                    assert!(!from.may_become(to), "{from} -> {to}");
                }
            }
        }
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
