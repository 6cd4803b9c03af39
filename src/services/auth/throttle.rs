//! Slows down those who guess passwords: after a few failures an account's next try must wait, twice as long each time.
//!
//! Unknown accounts are counted like known ones, so that the answer does not tell them apart. Nobody is locked out for good.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::time::Timestamp;

/// Failures that cost nothing: people mistype.
const FREE_FAILURES: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_mins(15);
/// Failures are forgotten after this long without another.
const FORGET_AFTER: Duration = Duration::from_hours(1);
const ACCOUNTS_MAX: usize = 10_000;

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Timestamp,
}

impl Failures {
    fn wait(self) -> Duration {
        match self.count.checked_sub(FREE_FAILURES) {
            None | Some(0) => Duration::ZERO,
            Some(over) => FIRST_WAIT.saturating_mul(2_u32.saturating_pow(over - 1)).min(WAIT_MAX),
        }
    }
}

#[derive(Default)]
pub(super) struct Throttle {
    accounts: Mutex<HashMap<String, Failures>>,
}

impl Throttle {
    /// Whether this account may be tried now.
    ///
    /// # Errors
    /// How long to wait.
    pub fn check(&self, account: &str, now: Timestamp) -> Result<(), Duration> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(failures) = accounts.get(account) else { return Ok(()) };
        let left = failures.last.plus(failures.wait()).since(now);
        if left.is_zero() { Ok(()) } else { Err(left) }
    }

    pub fn failed(&self, account: &str, now: Timestamp) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= ACCOUNTS_MAX {
            accounts.retain(|_, failures| now.since(failures.last) < FORGET_AFTER);
        }
        if accounts.len() >= ACCOUNTS_MAX && !accounts.contains_key(account) {
            // Under such a flood the limit by address is what protects.
            return;
        }
        let failures = accounts.entry(account.to_owned()).or_insert(Failures { count: 0, last: now });
        if now.since(failures.last) >= FORGET_AFTER {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    pub fn succeeded(&self, account: &str) {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).remove(account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_after_the_first_few_doubles_the_wait() {
        let throttle = Throttle::default();
        let now = Timestamp::from_ms(1_000_000);
        let mut waits = Vec::new();
        for _ in 0..16 {
            throttle.failed("ana", now);
            waits.push(throttle.check("ana", now).err().unwrap_or_default().as_secs());
        }
        assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
        assert!(throttle.check("bob", now).is_ok());
        assert!(throttle.check("ana", now.plus(WAIT_MAX)).is_ok());
        throttle.succeeded("ana");
        assert!(throttle.check("ana", now).is_ok());
    }
}
