//! Stops asking what keeps failing: where half of the calls of half a minute failed, none is made for half a minute, and then one to try.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::time::{SharedClock, Timestamp};

/// How far back calls count.
const WINDOW: Duration = Duration::from_secs(30);
/// Fewer calls say nothing.
const CALLS_MIN: usize = 20;
/// How long nothing is asked.
const OPEN_FOR: Duration = Duration::from_secs(30);
/// Calls remembered for each; with more in the window, the newest count.
const CALLS_KEPT: usize = 512;
/// Ones that were quiet are forgotten when there are more.
const BREAKERS_KEPT: usize = 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    /// Nothing is asked before this time.
    Open(Timestamp),
    /// One call is under way to find out.
    Probing,
}

/// The state of one that is asked. It reads no clock: the time is given.
#[derive(Clone, Debug)]
pub struct Breaker {
    state: State,
    /// When calls ended, and whether they failed.
    ended: VecDeque<(Timestamp, bool)>,
}

/// What an end of a call changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    None,
    /// So many of so many had failed.
    Opened {
        failed: usize,
        calls: usize,
    },
    Closed,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: State::Closed,
            ended: VecDeque::new(),
        }
    }
}

impl Breaker {
    /// Whether a call may be made now.
    ///
    /// # Errors
    /// How long none may.
    pub fn admit(&mut self, now: Timestamp) -> Result<(), Duration> {
        match self.state {
            State::Closed => Ok(()),
            State::Open(until) if now < until => Err(until.since(now)),
            State::Open(_) => {
                self.state = State::Probing;
                Ok(())
            }
            // The one call that finds out answers for all.
            State::Probing => Err(OPEN_FOR),
        }
    }

    /// A call that was admitted has ended.
    pub fn ended(&mut self, now: Timestamp, failed: bool) -> Change {
        match (self.state, failed) {
            (State::Probing, false) => {
                *self = Self::default();
                return Change::Closed;
            }
            (State::Probing, true) => {
                self.state = State::Open(now.plus(OPEN_FOR));
                return Change::None;
            }
            // Calls that were under way when it opened say nothing new.
            (State::Open(_), _) => return Change::None,
            (State::Closed, _) => {}
        }
        self.forget(now);
        if self.ended.len() >= CALLS_KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back((now, failed));
        let (calls, failures) = (self.ended.len(), self.ended.iter().filter(|(_, failed)| *failed).count());
        if calls >= CALLS_MIN && failures * 2 >= calls {
            self.state = State::Open(now.plus(OPEN_FOR));
            self.ended.clear();
            return Change::Opened { failed: failures, calls };
        }
        Change::None
    }

    /// A call that was admitted said nothing of the other side: it was never sent.
    pub fn unsent(&mut self, now: Timestamp) {
        if self.state == State::Probing {
            self.state = State::Open(now);
        }
    }

    fn forget(&mut self, now: Timestamp) {
        let from = now.minus(WINDOW);
        while self.ended.front().is_some_and(|(at, _)| *at <= from) {
            self.ended.pop_front();
        }
    }

    /// How long nothing is asked; `None` where calls are made.
    pub fn open(&self, now: Timestamp) -> Option<Duration> {
        match self.state {
            State::Closed => None,
            State::Open(until) => Some(until.since(now)),
            State::Probing => Some(Duration::ZERO),
        }
    }

    fn is_idle(&self, now: Timestamp) -> bool {
        self.state == State::Closed && self.ended.back().is_none_or(|(at, _)| *at <= now.minus(WINDOW))
    }
}

/// The breakers of everything that is asked, by what names it.
#[derive(Clone)]
pub struct Breakers<K> {
    clock: SharedClock,
    all: Arc<Mutex<HashMap<K, Breaker>>>,
}

impl<K: Clone + Eq + Hash + std::fmt::Display> Breakers<K> {
    pub fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            all: Arc::default(),
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<K, Breaker>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leave for one call, which is to be told how it ended.
    ///
    /// # Errors
    /// How long none is given.
    pub fn admit(&self, key: K) -> Result<Admitted<'_, K>, Duration> {
        let now = self.clock.now();
        let mut all = self.all();
        if all.len() >= BREAKERS_KEPT {
            all.retain(|_, breaker| !breaker.is_idle(now));
        }
        all.entry(key.clone()).or_default().admit(now)?;
        Ok(Admitted {
            breakers: self,
            key,
            told: false,
        })
    }

    /// What is not asked for now, and for how long.
    pub fn open(&self) -> Vec<(K, Duration)> {
        let now = self.clock.now();
        let all = self.all();
        let open = all.iter().filter_map(|(key, breaker)| Some((key.clone(), breaker.open(now)?)));
        open.collect()
    }

    fn ended(&self, key: &K, failed: bool) {
        let now = self.clock.now();
        let mut all = self.all();
        let Some(breaker) = all.get_mut(key) else { return };
        match breaker.ended(now, failed) {
            Change::Opened { failed, calls } => {
                tracing::warn!(to = %key, failed, calls, "too many calls failed; none is made for {} s", OPEN_FOR.as_secs());
            }
            Change::Closed => tracing::info!(to = %key, "calls succeed again"),
            Change::None => {}
        }
    }
}

/// Leave for one call. One that is dropped without a word was given up without an answer, which is a failure.
pub struct Admitted<'b, K: Clone + Eq + Hash + std::fmt::Display> {
    breakers: &'b Breakers<K>,
    key: K,
    told: bool,
}

impl<K: Clone + Eq + Hash + std::fmt::Display> Admitted<'_, K> {
    /// The call has ended.
    pub fn ended(mut self, failed: bool) {
        self.told = true;
        self.breakers.ended(&self.key, failed);
    }

    /// The call was not sent.
    pub fn unsent(mut self) {
        self.told = true;
        let now = self.breakers.clock.now();
        if let Some(breaker) = self.breakers.all().get_mut(&self.key) {
            breaker.unsent(now);
        }
    }
}

impl<K: Clone + Eq + Hash + std::fmt::Display> Drop for Admitted<'_, K> {
    fn drop(&mut self) {
        if !self.told {
            self.breakers.ended(&self.key, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::SimClock;

    const START: Timestamp = Timestamp::from_ms(1_763_700_000_000);

    fn after(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for i in 0..20 {
            breaker.admit(START).unwrap();
            breaker.ended(START, i % 2 == 0);
        }
        breaker
    }

    #[test]
    fn half_of_twenty_failed_calls_open_it_for_half_a_minute() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(after(1)), Err(Duration::from_secs(29)));
        assert_eq!(breaker.admit(after(30)), Ok(()));
        // One tries, the others wait for it.
        assert!(breaker.admit(after(30)).is_err());
        assert_eq!(breaker.ended(after(31), false), Change::Closed);
        assert_eq!(breaker.admit(after(31)), Ok(()));
    }

    #[test]
    fn a_failed_probe_keeps_it_open() {
        let mut breaker = opened();
        breaker.admit(after(30)).unwrap();
        breaker.ended(after(32), true);
        assert_eq!(breaker.admit(after(33)), Err(Duration::from_secs(29)));
        assert_eq!(breaker.admit(after(62)), Ok(()));
    }

    #[test]
    fn few_calls_old_calls_and_mostly_good_calls_say_nothing() {
        let mut few = Breaker::default();
        for _ in 0..19 {
            assert_eq!(few.ended(START, true), Change::None);
        }
        // The nineteen are too old by now.
        assert_eq!(few.ended(after(31), true), Change::None);
        let mut good = Breaker::default();
        for i in 0..300 {
            assert_eq!(good.ended(START, i % 5 == 0), Change::None);
        }
    }

    #[test]
    fn a_call_that_is_given_up_counts_as_failed() {
        let breakers: Breakers<String> = Breakers::new(SimClock::at(START));
        for _ in 0..20 {
            drop(breakers.admit("host".to_owned()).unwrap());
        }
        assert!(breakers.admit("host".to_owned()).is_err());
        assert!(breakers.admit("other".to_owned()).is_ok());
        assert_eq!(breakers.open().len(), 1);
    }
}
