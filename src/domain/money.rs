//! Tokens and money: four disjoint counts, integer micro-dollars.

use serde::{Deserialize, Serialize};

/// Tokens of one or more model calls; the four counts do not overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Input that no cache answered.
    pub input_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    /// Output, reasoning included.
    pub output_tokens: u64,
}

impl Usage {
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            cache_read_tokens: self.cache_read_tokens.saturating_add(other.cache_read_tokens),
            cache_write_tokens: self.cache_write_tokens.saturating_add(other.cache_write_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
        }
    }

    /// Everything that went in.
    pub const fn input_total(self) -> u64 {
        self.input_tokens
            .saturating_add(self.cache_read_tokens)
            .saturating_add(self.cache_write_tokens)
    }

    pub const fn total(self) -> u64 {
        self.input_total().saturating_add(self.output_tokens)
    }
}

/// Micro-dollars for a million tokens of each kind, so that one token costs `price / 1_000_000` micro-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Price {
    pub input_micros: u64,
    pub cache_read_micros: u64,
    pub cache_write_micros: u64,
    pub output_micros: u64,
}

impl Price {
    /// What `usage` costs in micro-dollars, rounded up so that no call is free by rounding.
    pub fn cost_micros(self, usage: Usage) -> u64 {
        let part = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let sum = part(usage.input_tokens, self.input_micros)
            + part(usage.cache_read_tokens, self.cache_read_micros)
            + part(usage.cache_write_tokens, self.cache_write_micros)
            + part(usage.output_tokens, self.output_micros);
        u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

/// An amount as a person writes it, such as `2.50` or `$2.5`, in micro-dollars; `None` where it is no amount of at most six places.
pub fn micros_of_dollars(typed: &str) -> Option<u64> {
    let text = typed.trim();
    let text = text.strip_prefix('$').unwrap_or(text).trim_start();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + part.len() == 0 || part.len() > 6 || !are_digits(whole) || !are_digits(part) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(part)
}

/// What one call used and cost, and who was paid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// As prices know it: a provider's preset such as `openai`.
    pub provider: String,
    /// The provider's own name, as an admin gave it.
    pub provider_name: String,
    /// The provider's name of the model; of an HTTP request the host, of a tool its name.
    pub model: String,
    pub usage: Usage,
    pub cost_micros: u64,
    /// Whether `usage` is a guess because the answer broke off or nobody counted.
    pub estimated: bool,
}

impl Charge {
    /// Several together, under the name of the last, who answered.
    pub fn sum(charges: &[Self]) -> Self {
        let mut sum = charges.last().cloned().unwrap_or_default();
        for before in charges.iter().rev().skip(1) {
            sum.usage = sum.usage.plus(before.usage);
            sum.cost_micros = sum.cost_micros.saturating_add(before.cost_micros);
            sum.estimated |= before.estimated;
        }
        sum
    }

    /// Lowers guesses until all come to no more than this: nobody guesses that a call cost more than it could. What was counted stays.
    pub fn guess_within(charges: &mut [Self], most_micros: u64) {
        let sum = charges.iter().fold(0_u64, |sum, charge| sum.saturating_add(charge.cost_micros));
        let mut over = sum.saturating_sub(most_micros);
        for charge in charges.iter_mut().rev().filter(|charge| charge.estimated) {
            let less = over.min(charge.cost_micros);
            charge.cost_micros -= less;
            over -= less;
        }
    }
}

/// What is known of a call's cost when it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charged {
    /// It cost nothing, or was never sent.
    Nothing,
    /// One charge for each model that was paid, in the order in which they were asked; at least one.
    Known(Vec<Charge>),
    /// It was given up under way: it counts as all that was reserved for it.
    Unknown,
}

/// `$1.25`, with as many places as there are.
pub fn dollars(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let kept = text.trim_end_matches('0');
    let places = kept.len().max(text.len() - 4);
    format!("${}", text.get(..places).unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_as_people_write_them() {
        assert_eq!(micros_of_dollars("2.50"), Some(2_500_000));
        assert_eq!(micros_of_dollars(" $ 0.000001"), Some(1));
        assert_eq!(micros_of_dollars(".5"), Some(500_000));
        assert_eq!(micros_of_dollars("12"), Some(12_000_000));
        for wrong in ["", "$", ".", "-1", "1,50", "1.0000001", "1e3", "99999999999999999999"] {
            assert_eq!(micros_of_dollars(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn cost_adds_the_four_kinds_and_rounds_up() {
        let price = Price {
            input_micros: 150_000,
            output_micros: 600_000,
            ..Price::default()
        };
        let usage = Usage {
            input_tokens: 812,
            output_tokens: 164,
            ..Usage::default()
        };
        // 812 * 0.15 + 164 * 0.6 = 220.2 micro-dollars
        assert_eq!(price.cost_micros(usage), 221);
        assert_eq!(Price::default().cost_micros(usage), 0);
    }

    #[test]
    fn guesses_stay_within_what_could_be_spent_and_counts_do_not_change() {
        let charge = |cost_micros, estimated| Charge {
            cost_micros,
            estimated,
            ..Charge::default()
        };
        let within = |most: u64, before: [(u64, bool); 2]| {
            let mut charges = before.map(|(cost, estimated)| charge(cost, estimated));
            Charge::guess_within(&mut charges, most);
            charges.map(|charge| charge.cost_micros)
        };
        assert_eq!(within(100, [(60, true), (40, true)]), [60, 40]);
        assert_eq!(within(100, [(60, true), (50, true)]), [60, 40]);
        assert_eq!(within(50, [(60, true), (50, false)]), [0, 50]);
        assert_eq!(within(100, [(60, false), (50, false)]), [60, 50]);
        let sum = Charge::sum(&[charge(60, true), charge(50, false)]);
        assert_eq!((sum.cost_micros, sum.estimated), (110, true));
    }

    #[test]
    fn money_is_written_with_at_least_two_places() {
        assert_eq!(dollars(1_000_000), "$1.00");
        assert_eq!(dollars(100_000), "$0.10");
        assert_eq!(dollars(1_234_560), "$1.23456");
        assert_eq!(dollars(1), "$0.000001");
        assert_eq!(dollars(0), "$0.00");
    }
}
