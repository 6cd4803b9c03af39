//! `/costs`: what was spent, by whom and on what.

mod chart;
mod show;

pub use show::{ZONES, export, show};

/// Micro-dollars that may be below zero, as people read them.
pub fn signed(micros: i64) -> String {
    let amount = super::filters::dollars(micros.unsigned_abs());
    if micros < 0 { format!("−{amount}") } else { amount }
}

/// Micro-dollars in all their digits, at least cents: `$0.15`, `$3.00`, `$0.075`.
pub fn in_dollars(micros: u64) -> String {
    let (whole, rest) = (micros / 1_000_000, micros % 1_000_000);
    let digits = format!("{rest:06}");
    let digits = digits.trim_end_matches('0');
    format!("${whole}.{digits:0<2}")
}

/// The micro-dollars of a text such as `12`, `$0.075` or `1,000.50`; none where it is no such text, or says less than a micro-dollar.
pub fn micros_of(text: &str) -> Option<u64> {
    let text = text.trim().trim_start_matches('$').replace(',', "");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && rest.is_empty()) || !are_digits(whole) || !are_digits(rest) || rest.trim_end_matches('0').len() > 6 {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let rest: u64 = format!("{:0<6}", rest.trim_end_matches('0')).parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_read_to_the_micro_dollar_and_written_back() {
        for (text, micros, written) in [
            ("12", 12_000_000, "$12.00"),
            ("$0.075", 75_000, "$0.075"),
            ("1,000.50", 1_000_500_000, "$1000.50"),
            (".5", 500_000, "$0.50"),
            ("0.000001", 1, "$0.000001"),
            ("0", 0, "$0.00"),
        ] {
            assert_eq!(micros_of(text), Some(micros), "{text}");
            assert_eq!(in_dollars(micros), written);
        }
        for text in ["", ".", "-1", "1.0000001", "abc", "1e3", "99999999999999999"] {
            assert_eq!(micros_of(text), None, "{text}");
        }
    }
}
