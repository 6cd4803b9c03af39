//! Charts of what was spent, as numbers that a template draws: bars in steps of one hue, and a sum that climbs towards a limit.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::signed;
use crate::domain::spending::Range;
use crate::domain::time::Timestamp;
use crate::services::costs::{Limit, Part};
use crate::web::pages::filters::{dollars, with_commas};

pub const WIDTH: f64 = 760.0;
pub const HEIGHT: f64 = 220.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 22.0;
/// Series with a shade of their own; with those that are summed up, six.
const SHADES: usize = 5;
/// Words along the time axis.
const WORDS: usize = 8;
/// A limit so many times above the highest bar is told, not drawn: the bars would vanish.
const LIMIT_REACH: i64 = 5;

pub struct Chart {
    /// What it shows, for those who do not see it.
    pub label: String,
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub right: f64,
    pub ticks: Vec<Tick>,
    pub words: Vec<Word>,
    pub bars: Vec<Bar>,
    /// Of a sum that climbs: its path.
    pub path: Option<String>,
    pub limit: Option<Line>,
    /// A limit that is too high to be drawn.
    pub note: Option<String>,
    pub series: Vec<Series>,
    pub rows: Vec<Row>,
}

pub struct Tick {
    pub y: f64,
    pub text: String,
}

pub struct Word {
    pub x: f64,
    pub text: String,
}

pub struct Bar {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
    /// From 1.
    pub shade: usize,
    pub text: String,
}

pub struct Line {
    pub y: f64,
    pub text: String,
}

pub struct Series {
    pub shade: usize,
    pub name: String,
    pub amount: String,
}

/// A line of the table behind the chart.
pub struct Row {
    pub when: String,
    pub amounts: Vec<String>,
    pub total: String,
}

struct Scale {
    most: i64,
    ticks: Vec<Tick>,
}

fn y_of(amount: i64, most: i64) -> f64 {
    let share = amount.max(0) as f64 / most.max(1) as f64;
    round(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP))
}

fn round(n: f64) -> f64 {
    (n * 10.0).round() / 10.0
}

/// An axis that reaches at least `most`, in round steps.
fn scale(most: i64) -> Scale {
    let most = most.max(4);
    let mut step = 1_i64;
    // 1, 2, 5, 10, 20, …
    let mut factors = [2, 5, 2].iter().cycle();
    let mut base = 1_i64;
    while step.saturating_mul(4) < most {
        match factors.next() {
            Some(5) => step = base.saturating_mul(5),
            _ if step == base.saturating_mul(5) => {
                base = base.saturating_mul(10);
                step = base;
            }
            _ => step = base.saturating_mul(2),
        }
    }
    let count = (most + step - 1) / step;
    let most = step * count;
    let ticks = (0..=count)
        .map(|n| Tick {
            y: y_of(n * step, most),
            text: tick(n * step, step),
        })
        .collect();
    Scale { most, ticks }
}

/// An amount on an axis, with as many digits as its steps need, so that no two look alike.
fn tick(amount: i64, step: i64) -> String {
    let digits = match step {
        _ if amount == 0 => return dollars(0),
        10_000.. => return format!("${}", in_cents(amount)),
        1_000.. => 3,
        100.. => 4,
        10.. => 5,
        _ => 6,
    };
    let (whole, rest) = (amount / 1_000_000, format!("{:06}", amount % 1_000_000));
    format!("${whole}.{}", rest.get(..digits).unwrap_or(&rest))
}

/// Whole dollars without cents where there are none.
fn in_cents(amount: i64) -> String {
    let (whole, cents) = (amount / 1_000_000, amount % 1_000_000 / 10_000);
    let whole = with_commas(whole.unsigned_abs());
    if cents == 0 { whole } else { format!("{whole}.{cents:02}") }
}

fn when(at: Timestamp, zone: &TimeZone, hourly: bool) -> String {
    let format = if hourly { "%H:%M" } else { "%-d %b" };
    jiff::Timestamp::from_millisecond(at.as_ms()).map_or_else(
        |_| at.to_string(),
        |instant| instant.to_zoned(zone.clone()).strftime(format).to_string(),
    )
}

fn column(parts: usize) -> f64 {
    (WIDTH - LEFT - RIGHT) / parts.max(1) as f64
}

fn words(names: &[String]) -> Vec<Word> {
    let every = names.len().div_ceil(WORDS).max(1);
    let wide = column(names.len());
    let word = |(at, text): (usize, &String)| Word {
        x: round((at as f64 + 0.5).mul_add(wide, LEFT)),
        text: text.clone(),
    };
    names.iter().enumerate().step_by(every).map(word).collect()
}

/// What was spent in each part of a range, those who spent most apart.
pub fn bars(range: &Range, zone: &TimeZone, totals: &[i64], of: &[Part], by: &str, limit: Option<&Limit>) -> Chart {
    let names: Vec<String> = (range.bounds.iter().take(range.parts()))
        .map(|at| when(*at, zone, range.hourly))
        .collect();
    let highest = totals.iter().copied().max().unwrap_or_default();
    let limit_micros = limit.map(|limit| i64::try_from(limit.limit_micros).unwrap_or(i64::MAX));
    let drawn = limit_micros.filter(|limit| *limit <= highest.saturating_mul(LIMIT_REACH));
    let scale = scale(highest.max(drawn.unwrap_or_default()));
    let shown: Vec<&Part> = of.iter().filter(|part| part.sums.cost_micros != 0).take(SHADES).collect();
    let at = |parts: &[i64], n: usize| parts.get(n).copied().unwrap_or_default();
    let rest = |n: usize| at(totals, n) - shown.iter().map(|part| at(&part.parts, n)).sum::<i64>();
    let rest_total: i64 = (0..totals.len()).map(rest).sum();
    let has_rest = (0..totals.len()).any(|n| rest(n) != 0);
    let wide = column(names.len());
    let gap = if wide > 8.0 { wide * 0.2 } else { 1.0 };
    let mut bars = Vec::new();
    let mut rows = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let mut below = 0;
        let mut amounts: Vec<(usize, &str, i64)> = shown
            .iter()
            .enumerate()
            .map(|(shade, part)| (shade + 1, part.name.as_str(), at(&part.parts, n)))
            .collect();
        if has_rest {
            amounts.push((SHADES + 1, "everything else", rest(n)));
        }
        for (shade, who, amount) in &amounts {
            if *amount <= 0 {
                continue;
            }
            let (low, high) = (y_of(below, scale.most), y_of(below + amount, scale.most));
            below += amount;
            bars.push(Bar {
                x: round((n as f64).mul_add(wide, LEFT) + gap / 2.0),
                y: high,
                width: round(wide - gap).max(1.0),
                height: round(low - high).max(0.5),
                shade: *shade,
                text: format!("{name}, {who}: {}", signed(*amount)),
            });
        }
        rows.push(Row {
            when: name.clone(),
            amounts: amounts.iter().map(|(_, _, amount)| signed(*amount)).collect(),
            total: signed(at(totals, n)),
        });
    }
    let mut series: Vec<Series> = shown
        .iter()
        .enumerate()
        .map(|(n, part)| Series {
            shade: n + 1,
            name: part.name.clone(),
            amount: signed(part.sums.cost_micros),
        })
        .collect();
    if has_rest {
        series.push(Series {
            shade: SHADES + 1,
            name: "everything else".to_owned(),
            amount: signed(rest_total),
        });
    }
    let unit = if range.hourly { "hour" } else { "day" };
    let words_of = |limit: &Limit| format!("{} a day: {}", dollars(limit.limit_micros), limit.name);
    Chart {
        label: format!(
            "What was spent each {unit} by {by}: {} in all, at most {} in one {unit}",
            signed(totals.iter().sum()),
            signed(highest)
        ),
        limit: limit.zip(drawn).map(|(limit, micros)| Line {
            y: y_of(micros, scale.most),
            text: words_of(limit),
        }),
        note: limit
            .filter(|_| drawn.is_none())
            .map(|limit| format!("The limit of {} is far above these bars.", words_of(limit))),
        words: words(&names),
        bars,
        path: None,
        series,
        rows,
        ..frame(scale.ticks)
    }
}

/// What was spent from the beginning of a range on, up to now, against the limit of a budget whose window it is.
pub fn climb(range: &Range, zone: &TimeZone, totals: &[i64], limit: &Limit, now: Timestamp) -> Chart {
    let names: Vec<String> = (range.bounds.iter().take(range.parts()))
        .map(|at| when(*at, zone, range.hourly))
        .collect();
    let limit_micros = i64::try_from(limit.limit_micros).unwrap_or(i64::MAX);
    let spent: i64 = totals.iter().sum();
    let scale = scale(limit_micros.max(spent));
    let wide = column(names.len());
    let base = HEIGHT - BOTTOM;
    let (mut sum, mut rows) = (0, Vec::new());
    let mut path = format!("M{LEFT} {base}");
    for (n, (name, amount)) in names.iter().zip(totals).enumerate() {
        if range.bounds.get(n).is_some_and(|begins| *begins > now) {
            break;
        }
        sum += amount;
        let end = round((n as f64 + 1.0).mul_add(wide, LEFT));
        _ = write!(path, "V{}H{end}", y_of(sum, scale.most));
        rows.push(Row {
            when: name.clone(),
            amounts: vec![signed(*amount)],
            total: signed(sum),
        });
    }
    let text = format!("{}: {}", limit.name, dollars(limit.limit_micros));
    Chart {
        label: format!("{} spent of {}", signed(spent), text),
        limit: Some(Line {
            y: y_of(limit_micros, scale.most),
            text,
        }),
        note: None,
        words: words(&names),
        bars: Vec::new(),
        path: Some(path),
        series: Vec::new(),
        rows,
        ..frame(scale.ticks)
    }
}

fn frame(ticks: Vec<Tick>) -> Chart {
    Chart {
        label: String::new(),
        width: WIDTH,
        height: HEIGHT,
        left: LEFT,
        right: WIDTH - RIGHT,
        ticks,
        words: Vec::new(),
        bars: Vec::new(),
        path: None,
        limit: None,
        note: None,
        series: Vec::new(),
        rows: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::budget::Period;
    use crate::domain::spending::Span;
    use crate::services::costs::Sums;

    fn part(name: &str, parts: Vec<i64>) -> Part {
        Part {
            key: name.to_owned(),
            name: name.to_owned(),
            sums: Sums {
                cost_micros: parts.iter().sum(),
                ..Sums::default()
            },
            parts,
        }
    }

    #[test]
    fn axes_end_at_round_sums_that_cover_everything() {
        for most in [0, 3, 17, 99, 1_000, 4_321_000, 99_999_999_999] {
            let scale = scale(most);
            assert!(
                scale.most >= most && scale.ticks.len() <= 6,
                "{most}: {} {}",
                scale.most,
                scale.ticks.len()
            );
            assert!(scale.most <= most.max(4) * 2, "{most}: {}", scale.most);
        }
    }

    #[test]
    fn a_bar_is_made_of_at_most_six_shades_that_add_up() {
        let now = Timestamp::from_ms(1_763_700_000_000);
        let range = Span::Week.range(&TimeZone::UTC, now).unwrap();
        let of: Vec<Part> = (1..=9)
            .map(|n| part(&format!("agent {n}"), vec![0, 0, 0, n * 1_000, 0, 0, 5]))
            .collect();
        let totals = [0, 0, 0, 45_000, 0, 0, 45];
        let limit = Limit {
            name: "team".to_owned(),
            limit_micros: 50_000,
            period: Period::Day,
            zone: "UTC".to_owned(),
        };
        let chart = bars(&range, &TimeZone::UTC, &totals, &of, "agent", Some(&limit));
        assert_eq!(chart.series.len(), 6);
        assert_eq!(
            chart.series.last().unwrap().amount,
            signed(45_045 - of.iter().take(5).map(|part| part.sums.cost_micros).sum::<i64>())
        );
        let tall: f64 = chart
            .bars
            .iter()
            .filter(|bar| (bar.x - chart.bars[0].x).abs() < 1.0)
            .map(|bar| bar.height)
            .sum();
        let line = chart.limit.unwrap().y;
        assert!((HEIGHT - BOTTOM - line - tall * 50.0 / 45.0).abs() < 1.5, "{tall} under {line}");
        assert_eq!(chart.rows.len(), 7);
        let high = Limit {
            limit_micros: 10_000_000,
            ..limit
        };
        let chart = bars(&range, &TimeZone::UTC, &totals, &of, "agent", Some(&high));
        assert!(chart.limit.is_none() && chart.note.unwrap().contains("$10.00 a day: team"));
    }

    #[test]
    fn the_sum_climbs_no_further_than_now() {
        let now = Timestamp::from_ms(1_763_700_000_000);
        let range = Span::Month.range(&TimeZone::UTC, now).unwrap();
        let limit = Limit {
            name: "month".to_owned(),
            limit_micros: 100,
            period: Period::Month,
            zone: "UTC".to_owned(),
        };
        let chart = climb(&range, &TimeZone::UTC, &[1; 30], &limit, now);
        assert_eq!((chart.rows.len(), chart.rows.last().unwrap().total.as_str()), (21, "$0.000021"));
    }
}
