//! The station's own tools: what a model is told of them, which arguments they take, and which call each stands for.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use super::call::{Body, Call, EffectClass, HttpHeader, HttpRequest};
use super::chat::ChatTool;
use super::failure::{Failure, FailureCode};
use super::limits::{MEMORY_KEY_BYTES_MAX, MEMORY_VALUE_BYTES_MAX};

/// Bytes of a text that a tool reads.
pub const TOOL_TEXT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a text that a tool gives back; what is longer is cut, and says so.
pub const TOOL_RESULT_BYTES_MAX: usize = 64 * 1024;
/// Matches, values or entries that a tool gives back.
pub const TOOL_ROWS_MAX: usize = 200;
/// Entries that a search of the memory gives back where nobody says how many.
const SEARCH_ROWS_DEFAULT: u32 = 20;
/// Wrong arguments that are named at once.
const WRONG_MAX: usize = 5;

/// What a tool touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touches {
    /// Nothing: its result follows from its arguments.
    Nothing,
    Http,
    Memory,
}

/// One of the station's tools.
#[derive(Debug)]
pub struct Tool {
    pub name: &'static str,
    /// What it does and when to use it, for a model.
    pub description: &'static str,
    /// JSON Schema of its arguments.
    pub parameters: &'static str,
    pub touches: Touches,
    /// What it does, for people who grant it.
    pub in_words: &'static str,
}

pub const HTTP_REQUEST: &str = "http_request";
pub const MEMORY_GET: &str = "memory_get";
pub const MEMORY_PUT: &str = "memory_put";
pub const MEMORY_SEARCH: &str = "memory_search";

/// Every tool, in the order in which they are described.
pub const TOOLS: [Tool; 9] = [
    Tool {
        name: HTTP_REQUEST,
        description: "Sends an HTTP request and returns status, headers and body. Only granted hosts, methods and paths can be reached. Set as_text to read \
                      a web page as plain text. A long body is cut, and the result then says truncated.",
        parameters: r#"{"type":"object","properties":{"method":{"type":"string","enum":["GET","HEAD","OPTIONS","POST","PUT","PATCH","DELETE"],"description":"GET where it is not given"},"url":{"type":"string","minLength":1,"maxLength":8192,"description":"The whole address, with https://"},"headers":{"type":"object","maxProperties":64,"additionalProperties":{"type":"string","maxLength":8192}},"body":{"type":"string","description":"The request's body, as it is sent"},"as_text":{"type":"boolean","description":"Gives the readable text of an HTML answer instead of its source"}},"required":["url"],"additionalProperties":false}"#,
        touches: Touches::Http,
        in_words: "send HTTP requests, to the hosts that are granted",
    },
    Tool {
        name: "json_query",
        description: "Finds values in a JSON document by a JSONPath (RFC 9535, without functions), for example $.items[?@.price < 10].name.",
        parameters: r#"{"type":"object","properties":{"json":{"description":"The document: JSON text, or the value itself"},"query":{"type":"string","minLength":1,"maxLength":1000,"description":"A JSONPath that begins with $"}},"required":["json","query"],"additionalProperties":false}"#,
        touches: Touches::Nothing,
        in_words: "find values in JSON",
    },
    Tool {
        name: "text_search",
        description: "Finds the lines of a text that contain a pattern, whatever its case, and returns them with their numbers. Set regex for a regular \
                      expression.",
        parameters: r#"{"type":"object","properties":{"text":{"type":"string"},"pattern":{"type":"string","minLength":1,"maxLength":500},"regex":{"type":"boolean","description":"Reads the pattern as a regular expression, by case"}},"required":["text","pattern"],"additionalProperties":false}"#,
        touches: Touches::Nothing,
        in_words: "find lines in a text",
    },
    Tool {
        name: "markdown_to_text",
        description: "Turns Markdown into plain text. Addresses of links are kept in parentheses.",
        parameters: r#"{"type":"object","properties":{"markdown":{"type":"string"}},"required":["markdown"],"additionalProperties":false}"#,
        touches: Touches::Nothing,
        in_words: "turn Markdown into text",
    },
    Tool {
        name: "html_to_text",
        description: "Turns an HTML page into its readable text, without scripts, styles and markup. Addresses of links are kept in parentheses.",
        parameters: r#"{"type":"object","properties":{"html":{"type":"string"}},"required":["html"],"additionalProperties":false}"#,
        touches: Touches::Nothing,
        in_words: "turn HTML into text",
    },
    Tool {
        name: "calculator",
        description: "Calculates exactly, with fractions and not with rounded numbers: + - * / % ^, parentheses, and the functions abs, floor, ceil, round(x, \
                      digits), min, max and sum. Use it for every calculation.",
        parameters: r#"{"type":"object","properties":{"expression":{"type":"string","minLength":1,"maxLength":1000,"description":"For example round(19.99 * 3 * 1.19, 2)"}},"required":["expression"],"additionalProperties":false}"#,
        touches: Touches::Nothing,
        in_words: "calculate",
    },
    Tool {
        name: MEMORY_GET,
        description: "Reads what is remembered under a key.",
        parameters: r#"{"type":"object","properties":{"key":{"type":"string","minLength":1,"maxLength":256}},"required":["key"],"additionalProperties":false}"#,
        touches: Touches::Memory,
        in_words: "read what it remembers",
    },
    Tool {
        name: MEMORY_PUT,
        description: "Remembers a text under a key, for this run and later ones. What was there before is replaced.",
        parameters: r#"{"type":"object","properties":{"key":{"type":"string","minLength":1,"maxLength":256},"value":{"type":"string"}},"required":["key","value"],"additionalProperties":false}"#,
        touches: Touches::Memory,
        in_words: "remember things between runs",
    },
    Tool {
        name: MEMORY_SEARCH,
        description: "Finds what is remembered, by words in keys and values.",
        parameters: r#"{"type":"object","properties":{"query":{"type":"string","minLength":1,"maxLength":256},"prefix":{"type":"string","maxLength":256,"description":"Only keys that begin so"},"limit":{"type":"integer","minimum":1,"maximum":50}},"required":["query"],"additionalProperties":false}"#,
        touches: Touches::Memory,
        in_words: "search what it remembers",
    },
];

static SCHEMAS: LazyLock<BTreeMap<&'static str, jsonschema::Validator>> = LazyLock::new(|| {
    let compiled = TOOLS.iter().filter_map(|tool| {
        let schema = serde_json::from_str(tool.parameters).ok()?;
        Some((tool.name, jsonschema::validator_for(&schema).ok()?))
    });
    compiled.collect()
});

/// The tool with this name.
pub fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

impl Tool {
    pub fn described(&self) -> ChatTool {
        ChatTool {
            name: self.name.to_owned(),
            description: self.description.to_owned(),
            parameters: self.parameters.to_owned(),
        }
    }

    /// Whether doing it again changes nothing here or elsewhere, whatever its arguments.
    pub fn is_repeatable(&self) -> bool {
        self.touches != Touches::Http && self.name != MEMORY_PUT
    }
}

/// Whether a tool that has this name takes these arguments.
///
/// # Errors
/// There is no such tool, or each argument that does not fit, by its place.
pub fn check(name: &str, arguments: &Value) -> Result<(), Failure> {
    let Some(schema) = SCHEMAS.get(name) else {
        let known: Vec<&str> = TOOLS.iter().map(|tool| tool.name).collect();
        let text = format!("the station has no tool “{name}”; it has {}", known.join(", "));
        return Err(Failure::new(FailureCode::NotFound, text));
    };
    let wrong: Vec<String> = schema
        .iter_errors(arguments)
        .take(WRONG_MAX)
        .map(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "the arguments".to_owned() } else { place };
            format!("{place}: {error}")
        })
        .collect();
    if !wrong.is_empty() {
        let text = format!("{name} does not take these arguments: {}", wrong.join("; "));
        return Err(Failure::new(FailureCode::Invalid, text));
    }
    // The schema counts characters, the store bytes.
    let limits = [
        ("key", MEMORY_KEY_BYTES_MAX),
        ("prefix", MEMORY_KEY_BYTES_MAX),
        ("value", MEMORY_VALUE_BYTES_MAX),
        ("text", TOOL_TEXT_BYTES_MAX),
        ("markdown", TOOL_TEXT_BYTES_MAX),
        ("html", TOOL_TEXT_BYTES_MAX),
    ];
    for (field, most) in limits {
        let bytes = arguments.get(field).and_then(Value::as_str).map_or(0, str::len);
        if bytes > most {
            let text = format!("/{field}: it has {bytes} bytes, {name} takes {most}");
            return Err(Failure::new(FailureCode::LimitExceeded, text));
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct HttpArguments {
    method: Option<String>,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
}

#[derive(Deserialize)]
struct MemoryArguments {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    query: String,
    #[serde(default)]
    prefix: String,
    limit: Option<u32>,
}

/// The call that a tool makes with these arguments; `None` where it makes none, or the arguments are not its.
pub fn stands_for(name: &str, arguments: &Value) -> Option<Call> {
    let tool = find(name)?;
    match tool.touches {
        Touches::Nothing => None,
        Touches::Http => {
            let given = HttpArguments::deserialize(arguments).ok()?;
            let header = |(name, value)| HttpHeader { name, value };
            Some(Call::HttpSend(HttpRequest {
                method: given.method.unwrap_or_else(|| "GET".to_owned()).to_ascii_uppercase(),
                url: given.url,
                headers: given.headers.into_iter().map(header).collect(),
                body: given.body.map(Body::Text),
                timeout_ms: None,
            }))
        }
        Touches::Memory => {
            let given = MemoryArguments::deserialize(arguments).ok()?;
            Some(match name {
                MEMORY_PUT => Call::MemoryPut {
                    key: given.key,
                    value: given.value,
                    if_version: None,
                },
                MEMORY_SEARCH => Call::MemorySearch {
                    query: given.query,
                    prefix: given.prefix,
                    limit: given.limit.unwrap_or(SEARCH_ROWS_DEFAULT),
                },
                _ => Call::MemoryGet { key: given.key },
            })
        }
    }
}

impl Call {
    /// Of a tool's call: the call that it stands for, where there is one.
    pub fn stands_for(&self) -> Option<Self> {
        match self {
            Self::ToolsCall { name, arguments } => stands_for(name, arguments),
            _ => None,
        }
    }

    /// Why a tool's call cannot be made with its arguments, whoever would let it.
    ///
    /// # Errors
    /// As [`check`].
    pub fn check_tool(&self) -> Result<(), Failure> {
        match self {
            Self::ToolsCall { name, arguments } => check(name, arguments),
            _ => Ok(()),
        }
    }

    /// Whether its effect is in our own database, or there is none.
    pub fn is_inside(&self) -> bool {
        self.class() == EffectClass::Local
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_tool_has_a_schema_that_checks() {
        assert_eq!(SCHEMAS.len(), TOOLS.len());
        for tool in &TOOLS {
            assert!(check(tool.name, &json!([])).is_err(), "{}", tool.name);
            let refused = check(tool.name, &json!({ "surprise": 1 })).unwrap_err();
            assert_eq!(refused.code, FailureCode::Invalid, "{}", tool.name);
        }
    }

    #[test]
    fn what_is_wrong_with_arguments_is_named_by_its_place() {
        let said = |name: &str, arguments: Value| check(name, &arguments).unwrap_err();
        assert!(said(HTTP_REQUEST, json!({ "url": 3 })).message.contains("/url"));
        assert!(
            said(HTTP_REQUEST, json!({ "url": "https://a.example", "method": "BREW" }))
                .message
                .contains("/method")
        );
        assert!(
            said(HTTP_REQUEST, json!({ "url": "https://a.example", "headers": { "x": 1 } }))
                .message
                .contains("/headers/x")
        );
        assert!(said("calculator", json!({})).message.contains("expression"));
        assert_eq!(said("rm", json!({})).code, FailureCode::NotFound);
        let long = "é".repeat(MEMORY_KEY_BYTES_MAX);
        assert_eq!(said(MEMORY_GET, json!({ "key": long })).code, FailureCode::LimitExceeded);
        let long = "a".repeat(TOOL_TEXT_BYTES_MAX + 1);
        assert_eq!(said("html_to_text", json!({ "html": long })).code, FailureCode::LimitExceeded);
    }

    #[test]
    fn a_tool_that_reaches_out_stands_for_the_call_that_does() {
        let post = json!({ "method": "POST", "url": "https://a.example/x", "headers": { "x-a": "1" }, "body": "{}" });
        let call = Call::ToolsCall {
            name: HTTP_REQUEST.to_owned(),
            arguments: post,
        };
        let Some(Call::HttpSend(request)) = call.stands_for() else {
            panic!("it is a request")
        };
        assert_eq!((request.method.as_str(), request.headers.len()), ("POST", 1));
        assert_eq!(call.class(), EffectClass::WriteOnce);
        let get = Call::ToolsCall {
            name: HTTP_REQUEST.to_owned(),
            arguments: json!({ "url": "https://a.example/x" }),
        };
        assert_eq!(get.class(), EffectClass::Read);
        let put = Call::ToolsCall {
            name: MEMORY_PUT.to_owned(),
            arguments: json!({ "key": "a", "value": "b" }),
        };
        assert!(matches!(put.stands_for(), Some(Call::MemoryPut { .. })) && put.is_inside());
        let sum = Call::ToolsCall {
            name: "calculator".to_owned(),
            arguments: json!({ "expression": "1+1" }),
        };
        assert!(sum.stands_for().is_none() && sum.is_inside());
    }
}
