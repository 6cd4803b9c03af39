//! Servers of language models: their kinds and presets, their limits, and the chains of models behind a name.

use serde::{Deserialize, Serialize};

use super::failure::codes;

codes! {
    /// Which dialect a provider speaks.
    ProviderKind {
        /// OpenAI's chat completions, which most servers speak.
        Openai = "openai",
        /// Anthropic's messages.
        Anthropic = "anthropic",
        /// Answers by rules; asks nobody.
        Scripted = "scripted",
    }
}

/// A kind of provider as people choose it, with what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// As stored, and as price lists name it.
    pub code: &'static str,
    pub name: &'static str,
    pub kind: ProviderKind,
    /// Where its API begins; empty where only the operator knows.
    pub base_url: &'static str,
    pub wants_key: bool,
    /// Whether it runs on one's own machines, so that a model without a price costs nothing.
    pub free: bool,
}

const fn preset(code: &'static str, name: &'static str, base_url: &'static str, wants_key: bool) -> Preset {
    Preset {
        code,
        name,
        kind: ProviderKind::Openai,
        base_url,
        wants_key,
        free: !wants_key,
    }
}

/// What people choose from. The last two stand for any other server.
pub const PRESETS: [Preset; 11] = [
    preset("openai", "OpenAI", "https://api.openai.com/v1", true),
    Preset {
        kind: ProviderKind::Anthropic,
        ..preset("anthropic", "Anthropic", "https://api.anthropic.com", true)
    },
    preset("openrouter", "OpenRouter", "https://openrouter.ai/api/v1", true),
    preset("groq", "Groq", "https://api.groq.com/openai/v1", true),
    preset("mistral", "Mistral", "https://api.mistral.ai/v1", true),
    preset("ollama", "Ollama", "http://127.0.0.1:11434/v1", false),
    preset("vllm", "vLLM", "http://127.0.0.1:8000/v1", false),
    preset("llama.cpp", "llama.cpp", "http://127.0.0.1:8080/v1", false),
    preset("lm-studio", "LM Studio", "http://127.0.0.1:1234/v1", false),
    Preset {
        free: false,
        ..preset("other", "Another server that speaks OpenAI’s dialect", "", false)
    },
    Preset {
        kind: ProviderKind::Scripted,
        ..preset("scripted", "Scripted answers", "", false)
    },
];

impl Preset {
    pub fn of(code: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.code == code)
    }
}

/// How long a provider is waited for, and how much it is asked at one time. What is not said has a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderLimits {
    /// Until a connection is there.
    pub connect_ms: u64,
    /// Until the first part of an answer.
    pub first_token_ms: u64,
    /// Between two parts.
    pub idle_ms: u64,
    /// The whole call, tries and waiting in line included.
    pub call_ms: u64,
    /// Calls at one time; the others wait in line.
    pub concurrency: u32,
    /// Tokens in a minute, input and output; 0 is no limit.
    pub tokens_per_minute: u32,
    /// The most that one reply may have.
    pub max_output_tokens: u32,
}

impl Default for ProviderLimits {
    fn default() -> Self {
        Self {
            connect_ms: 5_000,
            first_token_ms: 90_000,
            idle_ms: 90_000,
            call_ms: 300_000,
            concurrency: 16,
            tokens_per_minute: 0,
            max_output_tokens: 32_768,
        }
    }
}

/// One model of one provider, in a chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// A provider's name: the organization’s own, else the station’s.
    pub provider: String,
    /// The provider’s name of the model.
    pub model: String,
}

/// Links that one alias may have.
pub const CHAIN_MAX: usize = 8;
/// The aliases that every workspace is shown, set or not.
pub const USUAL_ALIASES: [&str; 3] = ["default", "fast", "smart"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_have_codes_of_their_own_and_addresses_that_can_be_read() {
        for preset in &PRESETS {
            assert_eq!(Preset::of(preset.code), Some(preset));
            assert!(
                preset.base_url.is_empty() || url::Url::parse(preset.base_url).is_ok(),
                "{}",
                preset.code
            );
        }
    }
}
