//! What tokens cost: tariffs with tiers, and which of several prices holds for a model at a time.

use serde::{Deserialize, Serialize};

use super::money::{Price, Usage};
use super::time::Timestamp;

/// Another price for calls with long input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Holds for the whole call where its input, cached or not, has more tokens than this.
    pub over_input_tokens: u64,
    #[serde(flatten)]
    pub price: Price,
}

/// The price of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tariff {
    #[serde(flatten)]
    pub price: Price,
    /// From few to many tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
}

impl Tariff {
    pub const FREE: Self = Self {
        price: Price {
            input_micros: 0,
            cache_read_micros: 0,
            cache_write_micros: 0,
            output_micros: 0,
        },
        tiers: Vec::new(),
    };

    /// What `usage` of one call costs, in micro-dollars.
    pub fn cost_micros(&self, usage: Usage) -> u64 {
        let tier = self.tiers.iter().rfind(|tier| usage.input_total() > tier.over_input_tokens);
        tier.map_or(self.price, |tier| tier.price).cost_micros(usage)
    }

    /// The most that a call with at most this usage can cost: whichever tier it falls into, and however much of the input goes to the cache.
    pub fn worst_case_micros(&self, most: Usage) -> u64 {
        let reached = self.tiers.iter().filter(|tier| most.input_total() > tier.over_input_tokens);
        std::iter::once(self.price)
            .chain(reached.map(|tier| tier.price))
            .map(|price| {
                let dearest = price.input_micros.max(price.cache_read_micros).max(price.cache_write_micros);
                let input = Price {
                    input_micros: dearest,
                    ..price
                };
                let all_input = Usage {
                    input_tokens: most.input_total(),
                    output_tokens: most.output_tokens,
                    ..Usage::default()
                };
                input.cost_micros(all_input)
            })
            .max()
            .unwrap_or_default()
    }

    pub fn is_free(&self) -> bool {
        self.price == Price::default() && self.tiers.iter().all(|tier| tier.price == Price::default())
    }
}

/// Who said what a model costs; a later one goes before an earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The list that ships with the program.
    Shipped,
    Station,
    Organization,
}

/// One line of a price list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub source: Source,
    /// A provider's preset or name; `*` for any.
    pub provider: String,
    /// A model's name, in which `*` stands for any characters.
    pub model: String,
    pub from: Timestamp,
    pub tariff: Tariff,
}

/// The line that holds for a model at a time: of those that fit, the best source, then the most exact name, then the newest.
pub fn holding<'a>(lines: impl Iterator<Item = &'a Listed>, preset: &str, name: &str, model: &str, at: Timestamp) -> Option<&'a Listed> {
    lines
        .filter(|line| line.from <= at && (line.provider == "*" || line.provider == preset || line.provider == name))
        .filter(|line| super::policy::is_like(&line.model, model))
        .max_by_key(|line| {
            let exact = line.model.len() - line.model.matches('*').count();
            let rank = if line.provider == name {
                2
            } else {
                u8::from(line.provider == preset)
            };
            (line.source, !line.model.contains('*'), exact, rank, line.from)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(source: Source, model: &str, from: i64, output_micros: u64) -> Listed {
        Listed {
            source,
            provider: "openai".to_owned(),
            model: model.to_owned(),
            from: Timestamp::from_ms(from),
            tariff: Tariff {
                price: Price {
                    output_micros,
                    ..Price::default()
                },
                tiers: vec![],
            },
        }
    }

    #[test]
    fn the_best_source_then_the_most_exact_name_then_the_newest_holds() {
        let lines = [
            line(Source::Shipped, "gpt-4o*", 0, 1),
            line(Source::Shipped, "gpt-4o-mini*", 0, 2),
            line(Source::Shipped, "gpt-4o-mini*", 10, 3),
            line(Source::Organization, "gpt-4o", 5, 4),
        ];
        let at = |model: &str, at: i64| {
            holding(lines.iter(), "openai", "ours", model, Timestamp::from_ms(at)).map(|line| line.tariff.price.output_micros)
        };
        assert_eq!(at("gpt-4o-2024", 20), Some(1));
        assert_eq!(at("gpt-4o-mini-2024", 5), Some(2));
        assert_eq!(at("gpt-4o-mini-2024", 20), Some(3));
        assert_eq!(at("gpt-4o", 4), Some(1));
        assert_eq!(at("gpt-4o", 5), Some(4));
        assert_eq!(at("other", 5), None);
        assert!(holding(lines.iter(), "mistral", "ours", "gpt-4o", Timestamp::from_ms(9)).is_none());
    }

    #[test]
    fn long_input_falls_into_its_tier_and_the_worst_case_covers_every_tier() {
        let price = |input_micros, cache_write_micros, output_micros| Price {
            input_micros,
            cache_write_micros,
            output_micros,
            ..Price::default()
        };
        let tariff = Tariff {
            price: price(3_000_000, 3_750_000, 15_000_000),
            tiers: vec![Tier {
                over_input_tokens: 200_000,
                price: price(6_000_000, 7_500_000, 22_500_000),
            }],
        };
        let usage = |input_tokens, output_tokens| Usage {
            input_tokens,
            output_tokens,
            ..Usage::default()
        };
        assert_eq!(tariff.cost_micros(usage(200_000, 1_000)), 615_000);
        assert_eq!(tariff.cost_micros(usage(200_001, 0)), 1_200_006);
        assert_eq!(tariff.worst_case_micros(usage(100, 10)), 525);
        assert_eq!(tariff.worst_case_micros(usage(300_000, 0)), 2_250_000);
        assert!(!tariff.is_free() && Tariff::FREE.is_free());
    }
}
