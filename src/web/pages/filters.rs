//! How templates show numbers, money, sizes and the addresses of files.

#![expect(
    clippy::inline_always,
    clippy::trivially_copy_pass_by_ref,
    clippy::unnecessary_wraps,
    clippy::unused_self,
    reason = "the macro that makes filters decides their shape"
)]

use std::fmt::Display;

use askama::filters::Safe;
use askama::{Result, Values};

use crate::web::assets;
use crate::web::markdown::to_html;

/// The address of a static file, with its hash.
#[askama::filter_fn]
pub fn asset(path: impl Display, _: &dyn Values) -> Result<String> {
    Ok(assets::address(&path.to_string()))
}

/// Markdown of users and agents as HTML that can do no harm.
#[askama::filter_fn]
pub fn markdown(text: impl Display, _: &dyn Values) -> Result<Safe<String>> {
    Ok(Safe(to_html(&text.to_string())))
}

/// `12,345`
#[askama::filter_fn]
pub fn count(n: &u64, _: &dyn Values) -> Result<String> {
    Ok(with_commas(*n))
}

/// `9,999`, `12.3 k`, `3.4 M`, `2.1 G`: for figures of which only the size matters.
#[askama::filter_fn]
pub fn compact(n: &u64, _: &dyn Values) -> Result<String> {
    Ok(in_thousands(*n))
}

/// `840 ms`, `1.9 s`, `3 m 12 s`, `2 h 05 m`
#[askama::filter_fn]
pub fn duration_ms(ms: &u64, _: &dyn Values) -> Result<String> {
    Ok(duration(*ms))
}

/// Micro-dollars as `$0.0003` or `$12.34`.
#[askama::filter_fn]
pub fn money(micros: &u64, _: &dyn Values) -> Result<String> {
    Ok(dollars(*micros))
}

/// `512 B`, `1.2 KB`, `16.0 MB`
#[askama::filter_fn]
pub fn bytes(n: &u64, _: &dyn Values) -> Result<String> {
    Ok(size(*n))
}

pub(super) fn with_commas(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn in_thousands(n: u64) -> String {
    let n_float = n as f64;
    match n {
        0..10_000 => with_commas(n),
        10_000..1_000_000 => format!("{:.1} k", n_float / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M", n_float / 1e6),
        _ => format!("{:.1} G", n_float / 1e9),
    }
}

pub(super) fn size(n: u64) -> String {
    const KB: u64 = 1 << 10;
    const MB: u64 = 1 << 20;
    const GB: u64 = 1 << 30;
    const TB: u64 = 1 << 40;
    match n {
        0..KB => format!("{n} B"),
        KB..MB => format!("{:.1} KB", n as f64 / KB as f64),
        MB..GB => format!("{:.1} MB", n as f64 / MB as f64),
        GB..TB => format!("{:.1} GB", n as f64 / GB as f64),
        _ => format!("{:.1} TB", n as f64 / TB as f64),
    }
}

pub(super) fn duration(ms: u64) -> String {
    let seconds = ms.saturating_add(500) / 1000;
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..59_950 => format!("{:.1} s", ms as f64 / 1e3),
        _ if seconds < 3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3600, seconds / 60 % 60),
    }
}

pub(super) fn dollars(micros: u64) -> String {
    let dollars = micros as f64 / 1e6;
    match micros {
        0 => "$0".to_owned(),
        1..100 => format!("${dollars:.6}"),
        100..10_000 => format!("${dollars:.4}"),
        _ => format!("${dollars:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        for (ms, text) in [
            (0, "0 ms"),
            (840, "840 ms"),
            (1_925, "1.9 s"),
            (12_345, "12.3 s"),
            (59_980, "1 m 00 s"),
            (192_000, "3 m 12 s"),
            (7_500_000, "2 h 05 m"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn small_money_keeps_the_digits_that_matter() {
        for (micros, text) in [
            (0, "$0"),
            (21, "$0.000021"),
            (221, "$0.0002"),
            (3_100, "$0.0031"),
            (12_000, "$0.01"),
            (500_000, "$0.50"),
            (12_345_678, "$12.35"),
            (1_234_000_000, "$1234.00"),
        ] {
            assert_eq!(dollars(micros), text);
        }
    }

    #[test]
    fn large_numbers_are_grouped_or_shortened() {
        assert_eq!(with_commas(1_234_567), "1,234,567");
        assert_eq!(with_commas(12), "12");
        assert_eq!(in_thousands(950), "950");
        assert_eq!(in_thousands(12_340), "12.3 k");
        assert_eq!(in_thousands(2_000_000_000), "2.0 G");
        assert_eq!(size(1_300), "1.3 KB");
        assert_eq!(size(16 << 20), "16.0 MB");
        assert_eq!(size(50 << 30), "50.0 GB");
        assert_eq!(size(10 << 40), "10.0 TB");
        assert_eq!(size(512), "512 B");
    }
}
