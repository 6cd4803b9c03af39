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

/// Memory of a process that is in use now, program text included.
pub fn resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("its status");
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("its memory") * 1024
}
