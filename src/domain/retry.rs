//! When a failed segment is tried again by itself, and after how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failure::{Failure, FailureCode};

/// What passes by itself: trouble outside the station. Nothing else is ever tried again without a person.
pub const OUTSIDE: [FailureCode; 4] = [
    FailureCode::Unavailable,
    FailureCode::RateLimited,
    FailureCode::Timeout,
    FailureCode::ProviderError,
];

const ATTEMPTS_MAX: u32 = 100;
const BASE_MS_MAX: u64 = 3_600_000;
const CAP_MS_MAX: u64 = 86_400_000;

/// How often and how patiently a segment is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, the first included.
    pub attempts: u32,
    /// The longest first delay, in milliseconds; each next may be twice as long.
    pub base_ms: u64,
    /// The longest delay, in milliseconds.
    pub cap_ms: u64,
    /// The failures that are tried again, of [`OUTSIDE`].
    pub on: Vec<FailureCode>,
}

impl Default for RetryPolicy {
    /// With these an outage of an hour is survived: the delays add up to some 70 minutes.
    fn default() -> Self {
        Self {
            attempts: 24,
            base_ms: 1_000,
            cap_ms: 600_000,
            on: OUTSIDE.to_vec(),
        }
    }
}

impl RetryPolicy {
    /// This policy with what `change` says in its place.
    #[must_use]
    pub fn with(self, change: &RetryChange) -> Self {
        Self {
            attempts: change.attempts.unwrap_or(self.attempts),
            base_ms: change.base_ms.unwrap_or(self.base_ms),
            cap_ms: change.cap_ms.unwrap_or(self.cap_ms),
            on: change.on.clone().unwrap_or(self.on),
        }
    }

    /// How long to wait before the next try after `tries` automatic ones, or `None` where there is to be none. Full jitter: any time up to
    /// `base · 2ⁿ`, at most the cap, by `random`; but not before the other side wants to hear of us again.
    pub fn delay(&self, tries: u32, failure: &Failure, random: u64) -> Option<Duration> {
        let passes = failure.retryable && self.on.contains(&failure.code) && OUTSIDE.contains(&failure.code);
        if !passes || tries.saturating_add(1) >= self.attempts {
            return None;
        }
        let most = self
            .base_ms
            .saturating_mul(1_u64.checked_shl(tries).unwrap_or(u64::MAX))
            .min(self.cap_ms);
        let jitter = random % most.saturating_add(1);
        Some(Duration::from_millis(jitter.max(failure.retry_after_ms.unwrap_or(0))))
    }
}

/// What a manifest or whoever starts a run says otherwise; `None` is silent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryChange {
    /// Tries in all, the first included: 1 is none again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    #[serde(default, rename = "base-ms", alias = "base_ms", skip_serializing_if = "Option::is_none")]
    pub base_ms: Option<u64>,
    #[serde(default, rename = "cap-ms", alias = "cap_ms", skip_serializing_if = "Option::is_none")]
    pub cap_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<FailureCode>>,
}

impl RetryChange {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is wrong with it: the key, and why.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        if self.attempts.is_some_and(|attempts| !(1..=ATTEMPTS_MAX).contains(&attempts)) {
            return Some(("attempts", format!("retry.attempts must be between 1 and {ATTEMPTS_MAX}")));
        }
        if self.base_ms.is_some_and(|base| !(1..=BASE_MS_MAX).contains(&base)) {
            return Some(("base-ms", format!("retry.base-ms must be between 1 and {BASE_MS_MAX}")));
        }
        if self.cap_ms.is_some_and(|cap| !(1..=CAP_MS_MAX).contains(&cap)) {
            return Some(("cap-ms", format!("retry.cap-ms must be between 1 and {CAP_MS_MAX}")));
        }
        let wrong = self.on.iter().flatten().find(|code| !OUTSIDE.contains(code))?;
        let known = OUTSIDE.map(FailureCode::as_str).join(", ");
        Some(("on", format!("retry.on may name {known}; {wrong} would only happen again")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unreachable() -> Failure {
        Failure::retryable(FailureCode::Unavailable, "x")
    }

    #[test]
    fn an_outage_of_an_hour_is_survived() {
        let policy = RetryPolicy::default();
        // Half of the most is what jitter comes to on average.
        let total: Duration = (0..).map_while(|tries| policy.delay(tries, &unreachable(), u64::MAX / 2)).sum();
        let most: u64 = (0..23).map(|n| (1_000_u64 << n).min(600_000)).sum();
        assert!(most / 2 > 3_600_000, "{most}");
        assert!(total > Duration::ZERO);
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        let policy = RetryPolicy::default();
        assert!(policy.delay(0, &unreachable(), 7).is_some());
        assert_eq!(policy.delay(0, &Failure::new(FailureCode::ProviderError, "bad key"), 7), None);
        assert_eq!(policy.delay(0, &Failure::retryable(FailureCode::Conflict, "x"), 7), None);
        assert_eq!(policy.delay(23, &unreachable(), 7), None);
        let once = policy.with(&RetryChange {
            attempts: Some(1),
            ..RetryChange::default()
        });
        assert_eq!(once.delay(0, &unreachable(), 7), None);
    }

    #[test]
    fn who_says_when_to_come_back_is_obeyed() {
        let failure = Failure::refused_for(FailureCode::RateLimited, Duration::from_secs(30), "slow down");
        assert!(
            RetryPolicy::default()
                .delay(0, &failure, 3)
                .is_some_and(|delay| delay >= Duration::from_secs(30))
        );
    }

    #[test]
    fn a_change_is_read_from_manifests_and_from_requests() {
        let manifest: RetryChange = toml::from_str("attempts = 3\nbase-ms = 5\non = [\"timeout\"]").unwrap();
        let request: RetryChange = serde_json::from_str(r#"{"attempts":3,"base_ms":5,"on":["timeout"]}"#).unwrap();
        assert_eq!(manifest, request);
        assert_eq!(manifest.problem(), None);
        let wrong: RetryChange = serde_json::from_str(r#"{"on":["denied"]}"#).unwrap();
        assert_eq!(wrong.problem().map(|(key, _)| key), Some("on"));
        assert!(serde_json::from_str::<RetryChange>(r#"{"tries":3}"#).is_err());
    }

    proptest! {
        #[test]
        fn delays_stay_below_the_cap_and_below_what_the_exponent_allows(tries in 0_u32..200, random: u64, base in 1_u64..5_000, cap in 1_u64..600_000) {
            let policy = RetryPolicy { attempts: u32::MAX, base_ms: base, cap_ms: cap, ..RetryPolicy::default() };
            let delay = policy.delay(tries, &unreachable(), random).unwrap();
            let most = (u128::from(base) << tries.min(60)).min(u128::from(cap));
            prop_assert!(delay.as_millis() <= most);
        }
    }
}
