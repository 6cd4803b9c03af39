//! What was begun and waits for a browser's answer: in memory, for a few minutes, and never more than so many.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::crypto::token;
use crate::domain::time::Timestamp;
use crate::services::Error;

/// How long something waits.
pub(in crate::services) const LASTS: Duration = Duration::from_mins(5);
/// Beyond it the oldest gives way.
const WAITING_MAX: usize = 10_000;

struct Waiting<T> {
    until: Timestamp,
    value: T,
}

/// Things that wait, each found by a token that only its browser has.
pub(in crate::services) struct Pending<T> {
    waiting: Mutex<HashMap<token::TokenHash, Waiting<T>>>,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default() }
    }
}

impl<T: Clone> Pending<T> {
    /// Keeps `value` and returns the token that finds it.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn put(&self, value: T, now: Timestamp) -> Result<String, Error> {
        let token = token::new()?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING_MAX {
            waiting.retain(|_, one| one.until > now);
        }
        if waiting.len() >= WAITING_MAX
            && let Some(oldest) = waiting.iter().min_by_key(|(_, one)| one.until).map(|(hash, _)| *hash)
        {
            waiting.remove(&oldest);
        }
        let until = now.plus(LASTS);
        waiting.insert(token::hash(&token), Waiting { until, value });
        Ok(token)
    }

    /// What waits under a token.
    pub fn get(&self, token: &str, now: Timestamp) -> Option<T> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let one = waiting.get(&token::hash(token)).filter(|one| one.until > now)?;
        Some(one.value.clone())
    }

    /// Takes what waits under a token: it is answered once.
    pub fn take(&self, token: &str, now: Timestamp) -> Option<T> {
        let taken = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&token::hash(token))?;
        (taken.until > now).then_some(taken.value)
    }

    /// Changes what waits under a token, without more time for it. It goes where `change` says so.
    pub fn change(&self, token: &str, change: impl FnOnce(&mut T) -> Keep) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = token::hash(token);
        if let Some(one) = waiting.get_mut(&hash)
            && change(&mut one.value) == Keep::No
        {
            waiting.remove(&hash);
        }
    }
}

/// Whether something waits on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::services) enum Keep {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_000_000);

    #[test]
    fn it_is_taken_once_and_in_time() {
        let pending = Pending::default();
        let (one, two) = (pending.put(1, NOW).unwrap(), pending.put(2, NOW).unwrap());
        assert_eq!(pending.get(&one, NOW), Some(1));
        assert_eq!(pending.take(&one, NOW), Some(1));
        assert_eq!(pending.take(&one, NOW), None);
        assert_eq!(pending.take(&two, NOW.plus(LASTS)), None);
        assert_eq!(pending.get("nothing", NOW), None);
    }

    #[test]
    fn a_flood_pushes_out_the_oldest_only() {
        let pending = Pending::default();
        let oldest = pending.put(0, NOW).unwrap();
        let last = (1..=WAITING_MAX)
            .map(|n| pending.put(n, NOW.plus(Duration::from_millis(1))).unwrap())
            .last();
        assert_eq!(pending.get(&oldest, NOW), None);
        assert_eq!(pending.get(&last.unwrap(), NOW), Some(WAITING_MAX));
    }

    #[test]
    fn what_is_changed_waits_on_or_goes() {
        let pending = Pending::default();
        let token = pending.put(2, NOW).unwrap();
        let count_down = |left: &mut i32| {
            *left -= 1;
            if *left == 0 { Keep::No } else { Keep::Yes }
        };
        pending.change(&token, count_down);
        assert_eq!(pending.get(&token, NOW), Some(1));
        pending.change(&token, count_down);
        assert_eq!(pending.get(&token, NOW), None);
    }
}
