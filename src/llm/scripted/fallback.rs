//! An answer where no rule fits: the sentences that say most, or a value made from them for a schema.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::last_user;
use crate::domain::chat::{ChatRequest, ChatRole};

/// Sentences of a summary.
const SENTENCES: usize = 3;
/// Characters of one sentence.
const SENTENCE_CHARS: usize = 240;
/// Characters of a text that names something.
const TITLE_CHARS: usize = 80;
/// Nesting of a schema, references followed.
const DEPTH_MAX: usize = 16;
/// Values made for one schema: references can ask for more than there are atoms.
const VALUES_MAX: u32 = 256;
/// Bytes of the question that are looked at.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Words too common to say what a text is about.
const COMMON: [&str; 32] = [
    "the", "and", "for", "that", "this", "with", "from", "are", "was", "were", "have", "has", "had", "not", "but", "you", "your", "our",
    "its", "they", "them", "will", "would", "can", "could", "should", "into", "about", "there", "their", "what", "which",
];

/// What to say to a request without a rule, or why nothing can be said.
pub(super) fn content(request: &ChatRequest) -> Result<String, String> {
    let text = match request.messages.last() {
        Some(last) if last.role == ChatRole::Tool => &last.content,
        _ => last_user(request),
    };
    let text = text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default();
    let Some(schema) = &request.response_schema else {
        let summary = summary(text);
        return Ok(if summary.is_empty() {
            "There is nothing to answer.".to_owned()
        } else {
            summary
        });
    };
    let schema: Value = serde_json::from_str(schema).map_err(|error| format!("the response schema cannot be read: {error}"))?;
    let validator = jsonschema::validator_for(&schema).map_err(|error| format!("the response schema cannot be used: {error}"))?;
    let made = Cell::new(0);
    let maker = Maker {
        root: &schema,
        text,
        made: &made,
    };
    let value = maker.value(&schema, "", 0);
    if made.get() <= VALUES_MAX && validator.is_valid(&value) {
        Ok(value.to_string())
    } else {
        Err("no rule fits, and the scripted model cannot make up a value for this schema; add a rule with json".to_owned())
    }
}

/// The sentences with the words that come most often, in their order.
fn summary(text: &str) -> String {
    let sentences = sentences(text);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for word in sentences.iter().flat_map(|sentence| words(sentence)) {
        *counts.entry(word).or_default() += 1;
    }
    let score = |sentence: &str| -> usize { words(sentence).iter().filter_map(|word| counts.get(word)).sum() };
    let mut best: Vec<(usize, &str)> = sentences.iter().copied().enumerate().collect();
    best.sort_by_key(|&(i, sentence)| (std::cmp::Reverse(score(sentence)), i));
    best.truncate(SENTENCES);
    best.sort_unstable();
    best.iter()
        .map(|(_, sentence)| clip(sentence, SENTENCE_CHARS))
        .collect::<Vec<_>>()
        .join(" ")
}

fn sentences(text: &str) -> Vec<&str> {
    text.lines()
        .flat_map(|line| line.split_inclusive(". ").flat_map(|part| part.split_inclusive("? ")))
        .map(str::trim)
        .filter(|sentence| sentence.chars().any(char::is_alphanumeric))
        .collect()
}

/// The telling words, each once, in lower case.
fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() > 2)
        .map(str::to_lowercase)
        .filter(|word| !COMMON.contains(&word.as_str()))
        .collect()
}

/// How many words of `name` are in the text, word beginnings counted too.
fn overlap(name: &str, text: &BTreeSet<String>) -> usize {
    let near = |word: &String| {
        text.iter()
            .any(|other| other == word || (word.len() > 3 && other.starts_with(word.as_str())))
    };
    words(name).iter().filter(|word| near(word)).count()
}

fn clip(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default().trim_end()),
        None => text.to_owned(),
    }
}

/// Makes the smallest value that fits a schema.
struct Maker<'a> {
    root: &'a Value,
    text: &'a str,
    made: &'a Cell<u32>,
}

impl Maker<'_> {
    fn value(&self, schema: &Value, name: &str, depth: usize) -> Value {
        self.made.set(self.made.get().saturating_add(1));
        if depth > DEPTH_MAX || self.made.get() > VALUES_MAX {
            return Value::Null;
        }
        if let Some(fixed) = schema.get("const") {
            return fixed.clone();
        }
        if let Some(Value::Array(choices)) = schema.get("enum") {
            return self.choice(choices);
        }
        if let Some(target) = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|target| target.strip_prefix('#'))
        {
            return self
                .root
                .pointer(target)
                .map_or(Value::Null, |target| self.value(target, name, depth + 1));
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            if let Some(first) = schema.get(key).and_then(Value::as_array).and_then(|options| options.first()) {
                return self.value(first, name, depth + 1);
            }
        }
        let kind = match schema.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(Value::Array(kinds)) => kinds
                .iter()
                .filter_map(Value::as_str)
                .find(|&kind| kind != "null")
                .unwrap_or("null"),
            _ if schema.get("properties").is_some() => "object",
            _ if schema.get("items").is_some() => "array",
            _ => "string",
        };
        match kind {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, name, depth),
            "string" => self.string(schema, name).into(),
            "integer" | "number" => self.number(schema, kind == "integer"),
            "boolean" => (overlap(name, &words(self.text)) > 0).into(),
            _ => Value::Null,
        }
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let properties = schema.get("properties").and_then(Value::as_object);
        let field = |(name, schema): (&String, &Value)| (name.clone(), self.value(schema, name, depth + 1));
        Value::Object(properties.map_or_else(Map::new, |properties| properties.iter().map(field).collect()))
    }

    /// As many items as it must have, one at least where it may.
    fn array(&self, schema: &Value, name: &str, depth: usize) -> Value {
        let size = |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
        let count = size("minItems")
            .unwrap_or(0)
            .max(1)
            .min(size("maxItems").unwrap_or(usize::MAX))
            .min(64);
        let item = schema.get("items").unwrap_or(&Value::Bool(true));
        let sentences = sentences(self.text);
        (0..count)
            .map(|i| {
                let text = sentences.get(i).copied().unwrap_or(self.text);
                Maker { text, ..*self }.value(item, name, depth + 1)
            })
            .collect()
    }

    /// The value whose words are most in the text; the first of equals.
    fn choice(&self, choices: &[Value]) -> Value {
        let text = words(self.text);
        let score = |choice: &Value| choice.as_str().map_or(0, |name| overlap(&name.replace('_', " "), &text));
        let best = choices.iter().rev().max_by_key(|choice| score(choice));
        best.cloned().unwrap_or(Value::Null)
    }

    fn string(&self, schema: &Value, name: &str) -> String {
        let size = |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
        let most = size("maxLength").unwrap_or(usize::MAX);
        let title = ["title", "subject", "name", "headline", "label"]
            .iter()
            .any(|part| name.to_lowercase().contains(part));
        let mut text = if title {
            clip(
                sentences(self.text).first().copied().unwrap_or_default(),
                TITLE_CHARS.min(most.saturating_sub(1)),
            )
        } else {
            summary(self.text)
        };
        if text.chars().count() > most {
            text = text.chars().take(most).collect();
        }
        while text.chars().count() < size("minLength").unwrap_or(0).min(4096) {
            text.push('.');
        }
        text
    }

    /// The first number of the text that fits, else the smallest that does.
    fn number(&self, schema: &Value, whole: bool) -> Value {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let least = bound("minimum")
            .or(bound("exclusiveMinimum").map(|below| below + 1.0))
            .unwrap_or(f64::MIN);
        let most = bound("maximum")
            .or(bound("exclusiveMaximum").map(|above| above - 1.0))
            .unwrap_or(f64::MAX);
        let numbers = self
            .text
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .filter_map(|number| number.trim_matches('.').parse::<f64>().ok());
        let fits = |&number: &f64| number >= least && number <= most && (!whole || number.fract() == 0.0);
        let chosen = numbers.into_iter().find(fits).unwrap_or(0.0_f64.clamp(least, most));
        #[expect(clippy::cast_possible_truncation, reason = "a float casts to the nearest whole number that fits")]
        if whole { Value::from(chosen as i64) } else { Value::from(chosen) }
    }
}
