//! The file of rules: `[[rule]]` with what it matches and what it answers. The first match wins.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use super::{RulesError, last_user};
use crate::domain::chat::{ChatRequest, ChatRole, ToolCall};
use crate::domain::failure::{Failure, FailureCode};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Spanned<Written>>,
}

/// A rule as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// The provider's name of the model, exactly.
    model: Option<String>,
    /// A pattern in any system message.
    system: Option<String>,
    /// A pattern in the last user message.
    user: Option<String>,
    /// The tool whose result is the last message.
    after_tool: Option<String>,
    /// Text; `${name}` is what the patterns captured under that name.
    reply: Option<String>,
    /// JSON text; what is inserted is escaped for the inside of a JSON string.
    json: Option<String>,
    #[serde(default)]
    tool_calls: Vec<WrittenCall>,
    /// Words in a second; 0 is at once.
    #[serde(default)]
    tokens_per_second: f64,
    fail: Option<Fail>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCall {
    name: String,
    /// A table, or JSON text; `${name}` works in its strings.
    #[serde(default)]
    arguments: Option<Value>,
}

/// Fails instead of answering, the first times the rule matches.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fail {
    code: FailureCode,
    #[serde(default)]
    message: String,
    #[serde(default = "Fail::once")]
    times: u32,
}

impl Fail {
    const fn once() -> u32 {
        1
    }
}

#[derive(Debug)]
enum Content {
    Nothing,
    Text(String),
    Json(String),
}

/// A checked rule.
#[derive(Debug)]
pub(super) struct Rule {
    model: Option<String>,
    system: Option<Regex>,
    user: Option<Regex>,
    after_tool: Option<String>,
    content: Content,
    /// Name and arguments of each call.
    tool_calls: Vec<(String, Value)>,
    pause: Option<Duration>,
    fail: Option<Fail>,
    failed: AtomicU32,
}

/// What a rule answers this time.
pub(super) struct Reply {
    pub content: String,
    pub tool_calls: Vec<ToolCall>,
}

pub(super) type Captures = BTreeMap<String, String>;

pub(super) fn parse(text: &str) -> Result<Vec<Rule>, RulesError> {
    let line_of = |offset: usize| text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1);
    let file: File = toml::from_str(text).map_err(|error| RulesError {
        line: error.span().map_or(1, |span| line_of(span.start)),
        message: error.message().to_owned(),
    })?;
    file.rule
        .into_iter()
        .map(|written| {
            let line = line_of(written.span().start);
            Rule::check(written.into_inner()).map_err(|message| RulesError { line, message })
        })
        .collect()
}

impl Rule {
    fn check(written: Written) -> Result<Self, String> {
        let pattern = |name: &str, text: Option<&String>| match text {
            Some(text) => Regex::new(text).map(Some).map_err(|error| format!("{name} is no pattern: {error}")),
            None => Ok(None),
        };
        let content = match (written.reply, written.json) {
            (Some(_), Some(_)) => return Err("give reply or json, not both".to_owned()),
            (Some(text), None) => Content::Text(text),
            (None, Some(json)) => Content::Json(json),
            (None, None) => Content::Nothing,
        };
        if matches!(content, Content::Nothing) && written.tool_calls.is_empty() && written.fail.is_none() {
            return Err("a rule needs reply, json, tool_calls or fail".to_owned());
        }
        if !(0.0..=1e6).contains(&written.tokens_per_second) {
            return Err("tokens_per_second must be 0 or more".to_owned());
        }
        let rule = Self {
            system: pattern("system", written.system.as_ref())?,
            user: pattern("user", written.user.as_ref())?,
            model: written.model,
            after_tool: written.after_tool,
            content,
            tool_calls: written.tool_calls.into_iter().map(arguments).collect::<Result<_, _>>()?,
            pause: (written.tokens_per_second > 0.0).then(|| Duration::from_secs_f64(1.0 / written.tokens_per_second)),
            fail: written.fail,
            failed: AtomicU32::new(0),
        };
        // Tried once with a value that is valid both inside and outside of quotes.
        let names = rule.patterns().flat_map(Regex::capture_names).flatten();
        let sample = names.map(|name| (name.to_owned(), "0".to_owned())).collect();
        rule.reply(&sample, 0)?;
        Ok(rule)
    }

    fn patterns(&self) -> impl Iterator<Item = &Regex> {
        self.system.iter().chain(&self.user)
    }

    /// What the patterns captured, where everything the rule asks for is there.
    pub fn captures(&self, request: &ChatRequest, model: &str) -> Option<Captures> {
        if self.model.as_deref().is_some_and(|wanted| wanted != model) {
            return None;
        }
        if self
            .after_tool
            .as_deref()
            .is_some_and(|wanted| answered_tool(request) != Some(wanted))
        {
            return None;
        }
        let mut captures = Captures::new();
        if let Some(pattern) = &self.system {
            let mut systems = request.messages.iter().filter(|message| message.role == ChatRole::System);
            captures.extend(systems.find_map(|message| captured(pattern, &message.content))?);
        }
        if let Some(pattern) = &self.user {
            captures.extend(captured(pattern, last_user(request))?);
        }
        Some(captures)
    }

    /// The failure that the rule still owes.
    pub fn next_failure(&self) -> Option<Failure> {
        let fail = self.fail.as_ref()?;
        let before = self.failed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |failed| {
            (failed < fail.times).then_some(failed + 1)
        });
        before.ok()?;
        let message = if fail.message.is_empty() { "a rule says so" } else { &fail.message };
        Some(match fail.code {
            FailureCode::RateLimited | FailureCode::Unavailable | FailureCode::Timeout => Failure::retryable(fail.code, message),
            _ => Failure::new(fail.code, message),
        })
    }

    /// The time between two words.
    pub fn pause(&self) -> Option<Duration> {
        self.pause
    }

    /// The answer with the captures put in; `turn` makes the ids of tool calls differ from turn to turn.
    pub fn reply(&self, captures: &Captures, turn: usize) -> Result<Reply, String> {
        let content = match &self.content {
            Content::Nothing => String::new(),
            Content::Text(text) => insert(text, captures, ToOwned::to_owned)?,
            Content::Json(json) => {
                let json = insert(json, captures, |value| Value::from(value).to_string().trim_matches('"').to_owned())?;
                serde_json::from_str::<Value>(&json).map_err(|error| format!("json is not valid: {error}"))?;
                json
            }
        };
        let call = |(i, (name, arguments)): (usize, &(String, Value))| {
            Ok(ToolCall {
                id: format!("call_{turn}_{i}"),
                name: name.clone(),
                arguments: insert_all(arguments, captures)?.to_string(),
            })
        };
        Ok(Reply {
            content,
            tool_calls: self.tool_calls.iter().enumerate().map(call).collect::<Result<_, String>>()?,
        })
    }
}

fn arguments(call: WrittenCall) -> Result<(String, Value), String> {
    let arguments = match call.arguments {
        None => Value::Object(serde_json::Map::new()),
        Some(Value::String(text)) => {
            serde_json::from_str(&text).map_err(|error| format!("the arguments of {} are not valid JSON: {error}", call.name))?
        }
        Some(table) => table,
    };
    if !arguments.is_object() {
        return Err(format!("the arguments of {} must be a table or a JSON object", call.name));
    }
    Ok((call.name, arguments))
}

/// The name of the tool whose result is the last message.
fn answered_tool(request: &ChatRequest) -> Option<&str> {
    let last = request.messages.last().filter(|message| message.role == ChatRole::Tool)?;
    let id = last.tool_call_id.as_deref()?;
    let mut calls = request.messages.iter().rev().flat_map(|message| &message.tool_calls);
    calls.find(|call| call.id == id).map(|call| call.name.as_str())
}

fn captured(pattern: &Regex, text: &str) -> Option<Captures> {
    let found = pattern.captures(text)?;
    let value = |name: &str| (name.to_owned(), found.name(name).map_or("", |part| part.as_str()).to_owned());
    Some(pattern.capture_names().flatten().map(value).collect())
}

/// `text` with each `${name}` replaced.
fn insert(text: &str, captures: &Captures, escape: impl Fn(&str) -> String) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or("a ${ has no } after it")?;
        let value = captures
            .get(name)
            .ok_or_else(|| format!("no pattern of the rule captures {name}; write (?P<{name}>…)"))?;
        out.push_str(before);
        out.push_str(&escape(value));
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn insert_all(value: &Value, captures: &Captures) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => insert(text, captures, ToOwned::to_owned)?.into(),
        Value::Array(items) => items.iter().map(|item| insert_all(item, captures)).collect::<Result<_, _>>()?,
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, field)| Ok((name.clone(), insert_all(field, captures)?)))
                .collect::<Result<_, String>>()?,
        ),
        other => other.clone(),
    })
}
