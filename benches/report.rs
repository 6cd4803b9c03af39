//! How figures are taken and printed.

use std::time::Duration;

/// The value below which `part` of the sorted samples lie.
pub fn percentile(samples: &mut [Duration], part: f64) -> Duration {
    samples.sort_unstable();
    let index = ((samples.len() as f64 - 1.0) * part).round() as usize;
    samples.get(index).copied().unwrap_or_default()
}

/// One line of a table.
pub fn line(what: &str, figure: impl std::fmt::Display, unit: &str) {
    println!("{what:<58} {figure:>12} {unit}");
}

/// Milliseconds with two decimals.
pub fn ms(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1e3)
}
