//! Ranges of time that costs are looked at over, by the clock of a zone, and what they are sorted by.

use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::failure::codes;
use super::time::Timestamp;

codes! {
    /// Over which time.
    Span {
        Today = "day",
        Week = "7d",
        Days30 = "30d",
        Days90 = "90d",
        /// From its first day on.
        Month = "month",
        LastMonth = "last-month",
    }
}

codes! {
    /// What costs are sorted by.
    Dimension {
        Agent = "agent",
        Model = "model",
        Principal = "principal",
        Key = "key",
    }
}

/// A time cut into hours or days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Where each part begins, and, last, where the range ends.
    pub bounds: Vec<Timestamp>,
    /// Whether the parts are hours rather than days.
    pub hourly: bool,
    /// The range of the same kind before it, which ends where this begins.
    pub before: Timestamp,
}

impl Range {
    pub fn starts(&self) -> Timestamp {
        self.bounds.first().copied().unwrap_or(Timestamp::from_ms(0))
    }

    pub fn ends(&self) -> Timestamp {
        self.bounds.last().copied().unwrap_or(Timestamp::from_ms(0))
    }

    /// How many parts it has.
    pub fn parts(&self) -> usize {
        self.bounds.len().saturating_sub(1)
    }
}

fn begins(day: Date, zone: &TimeZone) -> Option<Timestamp> {
    let start = day.to_zoned(zone.clone()).ok()?.start_of_day().ok()?;
    Some(Timestamp::from_ms(start.timestamp().as_millisecond()))
}

impl Span {
    /// The range at a time. A day that the clock is changed on has 23 or 25 hours. None only outside the years that calendars know.
    pub fn range(self, zone: &TimeZone, now: Timestamp) -> Option<Range> {
        let today = jiff::Timestamp::from_millisecond(now.as_ms()).ok()?.to_zoned(zone.clone()).date();
        let tomorrow = today.tomorrow().ok()?;
        let back = |days: i64| today.checked_sub(days.days()).ok();
        let month = today.first_of_month();
        let (first, end, before) = match self {
            Self::Today => (today, tomorrow, back(1)?),
            Self::Week => (back(6)?, tomorrow, back(13)?),
            Self::Days30 => (back(29)?, tomorrow, back(59)?),
            Self::Days90 => (back(89)?, tomorrow, back(179)?),
            Self::Month => (month, month.checked_add(1.month()).ok()?, month.checked_sub(1.month()).ok()?),
            Self::LastMonth => (month.checked_sub(1.month()).ok()?, month, month.checked_sub(2.months()).ok()?),
        };
        let end_at = begins(end, zone)?;
        let mut bounds = Vec::new();
        if self == Self::Today {
            const HOUR_MS: i64 = 3_600_000;
            let mut at = begins(first, zone)?.as_ms();
            while at < end_at.as_ms() {
                bounds.push(Timestamp::from_ms(at));
                at += HOUR_MS;
            }
        } else {
            let mut day = first;
            while day < end {
                bounds.push(begins(day, zone)?);
                day = day.tomorrow().ok()?;
            }
        }
        bounds.push(end_at);
        Some(Range {
            bounds,
            hourly: self == Self::Today,
            before: begins(before, zone)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::budget::zone;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_ms(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn range(span: Span, name: &str, now: &str) -> Range {
        span.range(&zone(name).unwrap(), at(now)).unwrap()
    }

    #[test]
    fn days_begin_by_the_clock_of_the_zone() {
        let day = range(Span::Today, "Europe/Berlin", "2026-03-29T12:00:00Z");
        assert_eq!((day.parts(), day.hourly), (23, true));
        assert_eq!(day.starts(), at("2026-03-28T23:00:00Z"));
        assert_eq!(day.before, at("2026-03-27T23:00:00Z"));
        assert_eq!(range(Span::Today, "Europe/Berlin", "2026-10-25T12:00:00Z").parts(), 25);
        let week = range(Span::Week, "Asia/Kathmandu", "2026-11-21T18:20:00Z");
        assert_eq!((week.parts(), week.hourly), (7, false));
        assert_eq!(week.ends(), at("2026-11-22T18:15:00Z"));
        let month = range(Span::Month, "UTC", "2026-02-10T00:00:00Z");
        assert_eq!((month.parts(), month.before), (28, at("2026-01-01T00:00:00Z")));
        let last = range(Span::LastMonth, "UTC", "2026-01-10T00:00:00Z");
        assert_eq!(
            (last.starts(), last.ends()),
            (at("2025-12-01T00:00:00Z"), at("2026-01-01T00:00:00Z"))
        );
        assert_eq!(range(Span::Days90, "UTC", "2026-11-21T00:00:00Z").parts(), 90);
    }

    #[test]
    fn every_bound_is_a_quarter_of_an_hour() {
        for name in [
            "Asia/Kathmandu",
            "Australia/Lord_Howe",
            "Asia/Beirut",
            "America/St_Johns",
            "Pacific/Chatham",
        ] {
            for span in Span::ALL {
                let range = range(*span, name, "2026-04-05T16:00:00Z");
                assert!(range.bounds.iter().all(|at| at.as_ms() % 900_000 == 0), "{name} {span}");
                assert!(range.bounds.is_sorted() && range.before < range.starts());
            }
        }
    }
}
