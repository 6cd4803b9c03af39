//! Time: the only place that reads the wall clock, and its simulated twin.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// The beginning of a day in UTC, written as `2026-11-21`.
    pub fn of_day(text: &str) -> Option<Self> {
        let day: jiff::civil::Date = text.parse().ok()?;
        let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(Self(midnight.timestamp().as_millisecond()))
    }

    /// Later by `duration`, at the latest the end of time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Earlier by `duration`.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is, zero where it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// RFC 3339 in UTC with milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// A clock that many hold.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that moves when it is told to.
#[derive(Debug)]
pub struct SimClock(AtomicI64);

impl SimClock {
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now.0)))
    }

    pub fn advance(&self, by: Duration) {
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// The machine's clock, put back by some time that it catches up with when it is told to.
#[derive(Debug)]
pub struct PutBack(AtomicI64);

impl PutBack {
    pub fn by(by: Duration) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(i64::try_from(by.as_millis()).unwrap_or(0))))
    }

    /// Goes forward by this, at most to the machine's own time.
    pub fn catch_up(&self, by: Duration) {
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let left = |behind: i64| Some(behind.saturating_sub(ms).max(0));
        _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left);
    }
}

impl Clock for PutBack {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0.saturating_sub(self.0.load(Ordering::SeqCst)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_put_back_catches_up_and_no_further() {
        let hour = Duration::from_hours(1);
        let clock = PutBack::by(hour * 2);
        let behind = || SystemClock.now().since(clock.now()).as_secs().div_ceil(60);
        assert_eq!(behind(), 120);
        clock.catch_up(hour);
        assert_eq!(behind(), 60);
        clock.catch_up(hour * 9);
        assert_eq!(behind(), 0);
    }

    #[test]
    fn a_simulated_clock_moves_only_when_told() {
        let clock = SimClock::at(Timestamp::from_ms(10));
        assert_eq!(clock.now(), Timestamp::from_ms(10));
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now().since(Timestamp::from_ms(10)), Duration::from_secs(1));
    }

    #[test]
    fn a_timestamp_reads_as_rfc_3339() {
        assert_eq!(Timestamp::from_ms(1_763_700_000_120).to_string(), "2025-11-21T04:40:00.120Z");
    }
}
