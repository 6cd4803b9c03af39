//! The price list that ships with the program.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::domain::money::Price;
use crate::domain::price::{Listed, Source, Tariff, Tier};
use crate::domain::time::Timestamp;

const TEXT: &str = include_str!("../../llm/prices.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    as_of: String,
    model: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    provider: String,
    models: Vec<String>,
    input: u64,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    output: u64,
    #[serde(default)]
    tier: Vec<Longer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Longer {
    over_input_tokens: u64,
    input: u64,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    output: u64,
}

/// The list, and the day whose prices it has.
pub struct Shipped {
    /// As `2025-11-01`.
    pub as_of: String,
    pub lines: Vec<Listed>,
}

static SHIPPED: LazyLock<Shipped> = LazyLock::new(|| {
    parse(TEXT).unwrap_or_else(|_| Shipped {
        as_of: String::new(),
        lines: Vec::new(),
    })
});

/// The list that ships with the program.
pub fn list() -> &'static Shipped {
    &SHIPPED
}

const fn price(input: u64, cache_read: Option<u64>, cache_write: Option<u64>, output: u64) -> Price {
    Price {
        input_micros: input,
        cache_read_micros: match cache_read {
            Some(micros) => micros,
            None => input,
        },
        cache_write_micros: match cache_write {
            Some(micros) => micros,
            None => input,
        },
        output_micros: output,
    }
}

fn parse(text: &str) -> Result<Shipped, toml::de::Error> {
    let file: File = toml::from_str(text)?;
    let lines = file.model.iter().flat_map(|entry| {
        let tariff = Tariff {
            price: price(entry.input, entry.cache_read, entry.cache_write, entry.output),
            tiers: entry
                .tier
                .iter()
                .map(|tier| Tier {
                    over_input_tokens: tier.over_input_tokens,
                    price: price(tier.input, tier.cache_read, tier.cache_write, tier.output),
                })
                .collect(),
        };
        entry.models.iter().map(move |model| Listed {
            source: Source::Shipped,
            provider: entry.provider.clone(),
            model: model.clone(),
            from: Timestamp::from_ms(0),
            tariff: tariff.clone(),
        })
    });
    Ok(Shipped {
        lines: lines.collect(),
        as_of: file.as_of.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::money::Usage;
    use crate::domain::price::holding;

    #[test]
    fn the_shipped_list_can_be_read_and_says_each_thing_once() {
        let shipped = parse(TEXT).unwrap();
        assert!(shipped.as_of.parse::<jiff::civil::Date>().is_ok(), "{}", shipped.as_of);
        let names: BTreeSet<(&str, &str)> = shipped
            .lines
            .iter()
            .map(|line| (line.provider.as_str(), line.model.as_str()))
            .collect();
        assert_eq!(names.len(), shipped.lines.len());
        for line in &shipped.lines {
            let Price {
                input_micros,
                cache_read_micros,
                output_micros,
                ..
            } = line.tariff.price;
            assert!(
                input_micros >= 1_000 && output_micros >= input_micros && cache_read_micros <= input_micros,
                "{line:?}"
            );
            assert!(line.tariff.tiers.is_sorted_by_key(|tier| tier.over_input_tokens), "{line:?}");
            assert!(
                super::super::problems(&line.provider, &line.model, &line.tariff).is_empty(),
                "{line:?}"
            );
        }
    }

    #[test]
    fn a_dated_name_costs_what_its_model_costs_and_a_relative_does_not() {
        let cost = |preset: &str, model: &str, usage: Usage| {
            let line = holding(list().lines.iter(), preset, "ours", model, Timestamp::from_ms(1))?;
            Some(line.tariff.cost_micros(usage))
        };
        let million_out = Usage {
            output_tokens: 1_000_000,
            ..Usage::default()
        };
        assert_eq!(cost("openai", "gpt-4o-mini-2024-07-18", million_out), Some(600_000));
        assert_eq!(cost("openai", "gpt-5-2025-08-07", million_out), Some(10_000_000));
        assert_eq!(cost("openai", "gpt-5-mini", million_out), Some(2_000_000));
        assert_eq!(cost("openai", "gpt-9", million_out), None);
        assert_eq!(cost("mistral", "gpt-5", million_out), None);
        let written = Usage {
            cache_write_tokens: 1_000_000,
            ..Usage::default()
        };
        assert_eq!(cost("anthropic", "claude-sonnet-4-5-20250929", written), Some(7_500_000));
        assert_eq!(cost("anthropic", "claude-haiku-4-5", written), Some(1_250_000));
    }
}
