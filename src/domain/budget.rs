//! Budgets: what they cover, their windows by the clock of a zone, and what is left of them.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{ToSpan as _, Unit};
use serde::{Deserialize, Serialize};

use super::failure::codes;
use super::time::Timestamp;

codes! {
    /// What a budget covers.
    BudgetScope {
        Org = "org",
        Workspace = "workspace",
        Agent = "agent",
        /// Whoever starts runs.
        Principal = "principal",
        /// Runs that were started with an API key.
        Key = "key",
    }
}

codes! {
    /// How often a budget begins anew.
    Period {
        Day = "day",
        /// From Monday.
        Week = "week",
        Month = "month",
        /// Never.
        Once = "once",
    }
}

codes! {
    /// What becomes of a run whose next call does not fit.
    OnExhausted {
        /// It waits until there is money again.
        Hold = "hold",
        /// Its call fails with `budget_exhausted`.
        Fail = "fail",
    }
}

codes! {
    /// What a line of the ledger is for.
    LineKind {
        Model = "model",
        Http = "http",
        Tool = "tool",
        /// Of a segment, in wasmtime's units.
        Fuel = "fuel",
        /// Bytes put into memory or an artifact.
        Storage = "storage",
        /// A conversation that was opened.
        Session = "session",
        /// What a new price adds to another line, or takes from it.
        Correction = "correction",
    }
}

/// Percentages of a budget that are told once in a window.
pub const ALERTS_PERCENT: [u32; 4] = [80, 90, 95, 100];

/// From when to when money is counted together. `ends` is the next window's beginning; none where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub starts: Timestamp,
    pub ends: Option<Timestamp>,
}

/// The zone of a name such as `Europe/Berlin`.
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

impl Period {
    /// The window that a time falls into, by the clock of a zone. Days begin at their first moment there is, be that midnight or, where the
    /// clock jumps over it, later; so a day may have 23 or 25 hours.
    pub fn window(self, zone: &TimeZone, at: Timestamp) -> Window {
        let whole = Window {
            starts: Timestamp::from_ms(0),
            ends: None,
        };
        let Ok(instant) = jiff::Timestamp::from_millisecond(at.as_ms()) else {
            return whole;
        };
        let today = instant.to_zoned(zone.clone()).date();
        let (first, next) = match self {
            Self::Once => return whole,
            Self::Day => (Some(today), today.tomorrow().ok()),
            Self::Week => {
                let first = today.checked_sub(i64::from(today.weekday().to_monday_zero_offset()).days()).ok();
                (first, first.and_then(|first| first.checked_add(1.week()).ok()))
            }
            Self::Month => {
                let first = today.first_of_month();
                (Some(first), first.checked_add(1.month()).ok())
            }
        };
        match first.and_then(|first| begins(first, zone)) {
            Some(starts) => Window {
                starts,
                ends: next.and_then(|next| begins(next, zone)),
            },
            None => whole,
        }
    }
}

fn begins(day: Date, zone: &TimeZone) -> Option<Timestamp> {
    let start = day.to_zoned(zone.clone()).ok()?.start_of_day().ok()?;
    Some(Timestamp::from_ms(
        start.timestamp().round(Unit::Millisecond).ok()?.as_millisecond(),
    ))
}

/// How a budget stands in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub limit_micros: u64,
    pub spent_micros: u64,
    pub reserved_micros: u64,
}

/// Whether a call fits into a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    Fits,
    /// Only what others have reserved is in the way, and that may come back.
    InLine,
    /// Even with nothing reserved there is too little left.
    Exhausted,
}

impl Standing {
    pub const fn fits(self, wanted_micros: u64) -> Fit {
        let spent = self.spent_micros.saturating_add(wanted_micros);
        if spent.saturating_add(self.reserved_micros) <= self.limit_micros {
            Fit::Fits
        } else if spent <= self.limit_micros {
            Fit::InLine
        } else {
            Fit::Exhausted
        }
    }

    /// Of the limit, what is spent, in percent, rounded down.
    pub fn percent(self) -> u32 {
        if self.limit_micros == 0 {
            return 100;
        }
        let percent = u128::from(self.spent_micros) * 100 / u128::from(self.limit_micros);
        u32::try_from(percent).unwrap_or(u32::MAX)
    }

    pub const fn left_micros(self) -> u64 {
        self.limit_micros
            .saturating_sub(self.spent_micros)
            .saturating_sub(self.reserved_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_ms(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn window(period: Period, name: &str, now: &str) -> (String, String) {
        let window = period.window(&zone(name).unwrap(), at(now));
        (window.starts.to_string(), window.ends.unwrap().to_string())
    }

    #[test]
    fn windows_begin_by_the_clock_of_their_zone() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        // Berlin puts its clock forward on 29 March 2026 and back on 25 October 2026.
        assert_eq!(
            window(Period::Day, "Europe/Berlin", "2026-03-29T12:00:00Z"),
            pair("2026-03-28T23:00:00.000Z", "2026-03-29T22:00:00.000Z")
        );
        assert_eq!(
            window(Period::Day, "Europe/Berlin", "2026-10-25T12:00:00Z"),
            pair("2026-10-24T22:00:00.000Z", "2026-10-25T23:00:00.000Z")
        );
        assert_eq!(
            window(Period::Week, "UTC", "2026-11-22T23:59:59Z"),
            pair("2026-11-16T00:00:00.000Z", "2026-11-23T00:00:00.000Z")
        );
        assert_eq!(
            window(Period::Month, "Asia/Kathmandu", "2026-02-28T18:15:00Z"),
            pair("2026-02-28T18:15:00.000Z", "2026-03-31T18:15:00.000Z")
        );
        // In Beirut the clock jumps over midnight.
        assert_eq!(
            window(Period::Day, "Asia/Beirut", "2026-03-29T12:00:00Z"),
            pair("2026-03-28T22:00:00.000Z", "2026-03-29T21:00:00.000Z")
        );
        assert_eq!(Period::Once.window(&TimeZone::UTC, at("2026-11-21T00:00:00Z")).ends, None);
        assert!(zone("Mars/Olympus").is_none());
    }

    #[test]
    fn what_is_reserved_makes_a_call_wait_and_what_is_spent_refuses_it() {
        let standing = Standing {
            limit_micros: 100,
            spent_micros: 60,
            reserved_micros: 30,
        };
        assert_eq!(standing.fits(10), Fit::Fits);
        assert_eq!(standing.fits(11), Fit::InLine);
        assert_eq!(standing.fits(40), Fit::InLine);
        assert_eq!(standing.fits(41), Fit::Exhausted);
        assert_eq!((standing.percent(), standing.left_micros()), (60, 10));
    }
}
