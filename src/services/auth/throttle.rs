//! Slows down those who guess: after a few failures the next try must wait, twice as long each time.
//!
//! Failures are counted for an account and the place they come from, so that whoever guesses makes only themself wait. Guesses from
//! many places together make the account wait as well, but not in a browser in which its owner has signed in before: nobody can
//! keep the owner out. Unknown accounts are counted like known ones, so that the answer does not tell them apart.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::time::Timestamp;

/// Failures at one place that cost nothing: people mistype.
const FREE_AT_PLACE: u32 = 3;
/// Failures of one account at all places together that cost nothing.
const FREE_OF_ACCOUNT: u32 = 30;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_mins(15);
/// Failures are forgotten after this long without another.
const FORGET_AFTER: Duration = Duration::from_hours(1);
const COUNTS_MAX: usize = 50_000;
/// Whoever has one IPv6 address has a whole network of them.
const NETWORK_BYTES: usize = 8;

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Timestamp,
}

impl Failures {
    fn wait(self, free: u32) -> Duration {
        match self.count.checked_sub(free) {
            None | Some(0) => Duration::ZERO,
            Some(over) => FIRST_WAIT.saturating_mul(2_u32.saturating_pow(over - 1)).min(WAIT_MAX),
        }
    }
}

/// Where somebody tries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::services) enum Place {
    /// A browser in which the account's owner has signed in before, by its mark.
    Known(String),
    Address(Option<IpAddr>),
    /// A session that holds.
    Session(String),
}

impl Place {
    /// One address, or the network that one line has.
    fn text(&self) -> String {
        match self {
            Self::Known(id) => format!("browser {id}"),
            Self::Session(id) => format!("session {id}"),
            Self::Address(Some(IpAddr::V6(ip))) if ip.to_ipv4_mapped().is_none() => {
                format!("network {:02x?}", ip.octets().get(..NETWORK_BYTES).unwrap_or_default())
            }
            Self::Address(ip) => format!("address {ip:?}"),
        }
    }
}

/// A try to get in.
#[derive(Clone, Debug)]
pub(in crate::services) struct Try {
    at_place: String,
    /// None where the place is the owner's own.
    of_account: Option<String>,
}

impl Try {
    /// `account` says what is guessed of whom.
    pub fn new(account: &str, place: &Place) -> Self {
        let foreign = matches!(place, Place::Address(_));
        Self {
            at_place: format!("{account}\n{}", place.text()),
            of_account: foreign.then(|| account.to_owned()),
        }
    }

    fn counts(&self) -> impl Iterator<Item = (&String, u32)> {
        let account = self.of_account.as_ref().map(|account| (account, FREE_OF_ACCOUNT));
        std::iter::once((&self.at_place, FREE_AT_PLACE)).chain(account)
    }
}

#[derive(Default)]
pub(super) struct Throttle {
    counts: Mutex<HashMap<String, Failures>>,
}

impl Throttle {
    /// Whether this may be tried now.
    ///
    /// # Errors
    /// How long to wait.
    pub fn check(&self, what: &Try, now: Timestamp) -> Result<(), Duration> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let left = what.counts().filter_map(|(name, free)| {
            let failures = counts.get(name)?;
            Some(failures.last.plus(failures.wait(free)).since(now))
        });
        match left.max() {
            Some(left) if !left.is_zero() => Err(left),
            _ => Ok(()),
        }
    }

    pub fn failed(&self, what: &Try, now: Timestamp) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= COUNTS_MAX {
            counts.retain(|_, failures| now.since(failures.last) < FORGET_AFTER);
        }
        for (name, _) in what.counts() {
            if counts.len() >= COUNTS_MAX && !counts.contains_key(name) {
                // Under such a flood the limit by address is what protects.
                continue;
            }
            let failures = counts.entry(name.clone()).or_insert(Failures { count: 0, last: now });
            if now.since(failures.last) >= FORGET_AFTER {
                failures.count = 0;
            }
            failures.count = failures.count.saturating_add(1);
            failures.last = now;
        }
    }

    /// What failed elsewhere still counts: only this place is forgiven.
    pub fn succeeded(&self, what: &Try) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(&what.at_place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_000_000);

    fn from(ip: &str) -> Try {
        Try::new("ana", &Place::Address(Some(ip.parse().unwrap())))
    }

    #[test]
    fn each_failure_after_the_first_few_doubles_the_wait() {
        let throttle = Throttle::default();
        let here = from("10.0.0.1");
        let mut waits = Vec::new();
        for _ in 0..16 {
            throttle.failed(&here, NOW);
            waits.push(throttle.check(&here, NOW).err().unwrap_or_default().as_secs());
        }
        assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
        assert!(throttle.check(&here, NOW.plus(WAIT_MAX)).is_ok());
        throttle.succeeded(&here);
        assert!(throttle.check(&here, NOW).is_ok());
    }

    #[test]
    fn whoever_guesses_makes_only_themself_wait() {
        let throttle = Throttle::default();
        for _ in 0..10 {
            throttle.failed(&from("10.0.0.1"), NOW);
        }
        assert!(throttle.check(&from("10.0.0.1"), NOW).is_err());
        assert!(throttle.check(&from("10.0.0.2"), NOW).is_ok());
    }

    #[test]
    fn guesses_from_everywhere_make_strangers_wait_but_not_the_owners_own_browser() {
        let throttle = Throttle::default();
        for host in 0..100 {
            throttle.failed(&from(&format!("10.0.1.{host}")), NOW);
        }
        assert_eq!(throttle.check(&from("10.9.9.9"), NOW), Err(WAIT_MAX));
        let own = Try::new("ana", &Place::Known("m".to_owned()));
        assert!(throttle.check(&own, NOW).is_ok());
        // The owner's own success does not make room for the others.
        throttle.succeeded(&own);
        assert!(throttle.check(&from("10.9.9.9"), NOW).is_err());
        // Nor is it a way around its own waits.
        for _ in 0..5 {
            throttle.failed(&own, NOW);
        }
        assert!(throttle.check(&own, NOW).is_err());
    }

    #[test]
    fn a_network_of_ipv6_addresses_is_one_place() {
        let throttle = Throttle::default();
        for host in 0..5 {
            throttle.failed(&from(&format!("2001:db8::{host}")), NOW);
        }
        assert!(throttle.check(&from("2001:db8::ffff"), NOW).is_err());
        assert!(throttle.check(&from("2001:db8:1::1"), NOW).is_ok());
    }
}
