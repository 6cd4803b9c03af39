//! What an organization may have, by its plan.

use super::failure::codes;

codes! {
    /// The plan of an organization. What is not known counts as free.
    Plan {
        Free = "free",
        Pro = "pro",
        Enterprise = "enterprise",
    }
}

/// What an organization on a plan may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanLimits {
    /// People and services, open invitations included.
    pub members: u32,
    pub workspaces: u32,
    pub agents: u32,
    /// Runs that execute at one time; the station's own slots hold besides.
    pub running: u32,
    /// Runs that wait for a slot.
    pub queued: u32,
    /// Bytes of payloads, artifacts and components.
    pub stored_bytes: u64,
    /// By how much its rates of requests are multiplied.
    pub rate_factor: u32,
}

impl Plan {
    /// The plan of a stored name.
    pub fn of(text: &str) -> Self {
        Self::parse(text).unwrap_or(Self::Free)
    }

    pub const fn limits(self) -> PlanLimits {
        match self {
            Self::Free => PlanLimits {
                members: 5,
                workspaces: 2,
                agents: 25,
                running: 4,
                queued: 500,
                stored_bytes: 1 << 30,
                rate_factor: 1,
            },
            Self::Pro => PlanLimits {
                members: 50,
                workspaces: 20,
                agents: 500,
                running: 16,
                queued: 5_000,
                stored_bytes: 50 << 30,
                rate_factor: 4,
            },
            Self::Enterprise => PlanLimits {
                members: 5_000,
                workspaces: 500,
                agents: 10_000,
                running: 1_000,
                queued: super::limits::QUEUED_RUNS_MAX,
                stored_bytes: 10 << 40,
                rate_factor: 10,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_is_not_known_is_free() {
        assert_eq!(Plan::of("platinum"), Plan::Free);
        assert_eq!(Plan::of(""), Plan::Free);
        assert_eq!(Plan::of("pro"), Plan::Pro);
    }

    #[test]
    fn a_larger_plan_has_no_less_of_anything() {
        for pair in Plan::ALL.windows(2) {
            let [a, b] = [pair[0].limits(), pair[1].limits()];
            assert!(a.members <= b.members && a.workspaces <= b.workspaces && a.agents <= b.agents);
            assert!(a.running <= b.running && a.queued <= b.queued && a.stored_bytes <= b.stored_bytes && a.rate_factor <= b.rate_factor);
        }
    }
}
