//! What a provider may be.

use url::Url;

use super::super::models::reach;
use super::super::{App, Error, FieldError};
use super::Stored;
use crate::config::secret::Secret;
use crate::domain::limits::NAME_BYTES_MAX;
use crate::domain::manifest::is_name;
use crate::domain::provider::{Preset, ProviderKind, ProviderLimits};
use crate::llm::Scripted;

pub const BASE_URL_BYTES_MAX: usize = 500;
/// Of a provider's key.
pub const KEY_BYTES_MAX: usize = 4_096;
/// Of a scripted provider's rules.
pub const RULES_BYTES_MAX: usize = 64 * 1024;

/// What one of a provider's limits may be.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The field of [`ProviderLimits`].
    pub field: &'static str,
    pub words: &'static str,
    pub min: u64,
    pub max: u64,
    pub of: fn(&ProviderLimits) -> u64,
}

/// Every limit, in the order of the form.
pub const LIMITS: [Range; 7] = [
    range("connect_ms", "Milliseconds until a connection is there", 100, 60_000, |limits| {
        limits.connect_ms
    }),
    range("first_token_ms", "Milliseconds until the first words", 100, 1_800_000, |limits| {
        limits.first_token_ms
    }),
    range("idle_ms", "Milliseconds between two parts of a reply", 100, 1_800_000, |limits| {
        limits.idle_ms
    }),
    range("call_ms", "Milliseconds for a whole call", 100, 3_600_000, |limits| limits.call_ms),
    range("concurrency", "Calls at one time", 1, 1_000, |limits| u64::from(limits.concurrency)),
    range(
        "tokens_per_minute",
        "Tokens in a minute, 0 for no limit",
        0,
        1_000_000_000,
        |limits| u64::from(limits.tokens_per_minute),
    ),
    range("max_output_tokens", "Tokens of one reply", 1, 1_000_000, |limits| {
        u64::from(limits.max_output_tokens)
    }),
];

const fn range(field: &'static str, words: &'static str, min: u64, max: u64, of: fn(&ProviderLimits) -> u64) -> Range {
    Range {
        field,
        words,
        min,
        max,
        of,
    }
}

/// Looks at everything but the key.
///
/// # Errors
/// `Invalid` with each field that is wrong.
pub(super) async fn checked(app: &App, mut row: Stored, preset: &Preset) -> Result<Stored, Error> {
    let mut wrong = Vec::new();
    let mut say = |pointer: String, message: String| wrong.push(FieldError { pointer, message });
    if !is_name(&row.name) {
        let text = format!("A name is made of a–z, 0–9 and “-”, begins with a letter, and has at most {NAME_BYTES_MAX} characters.");
        say("/name".to_owned(), text);
    }
    for range in LIMITS {
        let value = (range.of)(&row.limits);
        if !(range.min..=range.max).contains(&value) {
            say(
                format!("/limits/{}", range.field),
                format!("{}: from {} to {}.", range.words, range.min, range.max),
            );
        }
    }
    if row.free && preset.wants_key {
        let text = format!("{} wants money; set prices for models that the list does not have.", preset.name);
        say("/free".to_owned(), text);
    }
    if row.kind == ProviderKind::Scripted {
        if !row.base_url.is_empty() {
            say("/base_url".to_owned(), "A scripted provider asks no server.".to_owned());
        }
        if row.rules.len() > RULES_BYTES_MAX {
            say("/rules".to_owned(), format!("Rules have at most {RULES_BYTES_MAX} bytes."));
        } else if let Err(error) = Scripted::parse(&row.rules) {
            say("/rules".to_owned(), error.to_string());
        }
    } else {
        if !row.rules.trim().is_empty() {
            say("/rules".to_owned(), "Only a scripted provider has rules.".to_owned());
        }
        row.rules.clear();
        match base_url(&row.base_url) {
            Ok(url) => {
                row.base_url = url;
                if let Err(why) = reach(app, &row).await {
                    say("/base_url".to_owned(), why);
                }
            }
            Err(why) => say("/base_url".to_owned(), why),
        }
    }
    if wrong.is_empty() { Ok(row) } else { Err(Error::Invalid(wrong)) }
}

/// Where an API begins, in its one form.
fn base_url(text: &str) -> Result<String, String> {
    let example = "write where the API begins, such as https://api.example.com/v1";
    if text.is_empty() {
        return Err(format!("This server has no usual address: {example}."));
    }
    if text.len() > BASE_URL_BYTES_MAX {
        return Err(format!("An address has at most {BASE_URL_BYTES_MAX} bytes."));
    }
    let url = Url::parse(text).map_err(|_| format!("This cannot be read: {example}."))?;
    if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
        return Err(format!("This is no web address: {example}."));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("Leave out user names, passwords, “?” and “#”: the key has a field of its own.".to_owned());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The key without what was copied with it; none where nothing is left.
///
/// # Errors
/// `Invalid` where it is none.
pub(super) fn checked_key(key: &Secret, preset: &Preset) -> Result<Option<Secret>, Error> {
    let text = key.expose().trim();
    if text.is_empty() {
        return Ok(None);
    }
    if preset.kind == ProviderKind::Scripted {
        return Err(Error::field("/key", "A scripted provider has no key."));
    }
    if text.len() > KEY_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = format!("A key has at most {KEY_BYTES_MAX} letters, digits and signs, and no spaces.");
        return Err(Error::field("/key", text));
    }
    Ok(Some(Secret::new(text)))
}
