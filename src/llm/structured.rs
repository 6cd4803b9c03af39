//! Replies that are to fit a schema: looked at, and asked for once more where they do not.

use serde_json::Value;

use crate::domain::chat::{ChatMessage, ChatReply, ChatRequest, ChatRole, FinishReason};
use crate::domain::failure::{Failure, FailureCode};

/// More tokens than the words that ask for another reply.
pub(super) const REPAIR_TOKENS: u64 = 1_024;
/// Bytes of what is wrong that the model is told.
const WRONG_BYTES_MAX: usize = 600;

/// A schema that replies are held against.
pub(super) struct Schema(jsonschema::Validator);

/// What is wrong with a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Where, as a JSON pointer, and what; another try may do better.
    Misfit { path: String, what: String },
    /// Another try would not.
    Final(String),
}

impl Schema {
    /// # Errors
    /// `Invalid` where it is no schema.
    pub fn of(request: &ChatRequest) -> Result<Option<Self>, Failure> {
        let Some(text) = &request.response_schema else { return Ok(None) };
        let wrong = |why: String| Failure::new(FailureCode::Invalid, format!("the response schema cannot be used: {why}"));
        let value: Value = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let validator = jsonschema::validator_for(&value).map_err(|error| wrong(error.to_string()))?;
        Ok(Some(Self(validator)))
    }

    /// Looks at a reply and leaves nothing but its JSON. A call of tools is no reply yet.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, reply: &mut ChatReply) -> Result<(), Wrong> {
        if !reply.tool_calls.is_empty() {
            return Ok(());
        }
        if reply.finish == FinishReason::ContentFilter {
            return Err(Wrong::Final("the model refused to reply".to_owned()));
        }
        let text = bare(&reply.content);
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(_) if reply.finish == FinishReason::Length => {
                let text = "the reply was cut off at its greatest length: allow more with maxOutputTokens, or ask for less";
                return Err(Wrong::Final(text.to_owned()));
            }
            Err(error) => {
                return Err(Wrong::Misfit {
                    path: String::new(),
                    what: format!("it is no JSON: {error}"),
                });
            }
        };
        if let Some(error) = self.0.iter_errors(&value).next() {
            return Err(Wrong::Misfit {
                path: error.instance_path().to_string(),
                what: short(error.to_string()),
            });
        }
        reply.content = text.to_owned();
        Ok(())
    }
}

impl Wrong {
    /// The failure of a call whose reply stayed wrong.
    pub fn failure(self, tries: u32) -> Failure {
        let text = match self {
            Self::Misfit { path, what } => {
                let place = if path.is_empty() {
                    "as a whole".to_owned()
                } else {
                    format!("at {path}")
                };
                let times = if tries > 1 { ", and neither did the one before it" } else { "" };
                format!("the model’s reply does not fit the schema {place}{times}: {what}")
            }
            Self::Final(text) => text,
        };
        Failure::new(FailureCode::ProviderError, text)
    }
}

/// The request for another reply, with the wrong one and what is wrong with it.
pub(super) fn repair(request: &ChatRequest, reply: &ChatReply, path: &str, what: &str) -> ChatRequest {
    let message = |role, content: String| ChatMessage {
        role,
        content,
        tool_calls: Vec::new(),
        tool_call_id: None,
    };
    let place = if path.is_empty() { String::new() } else { format!(" at {path}") };
    let mut again = request.clone();
    if !reply.content.trim().is_empty() {
        again.messages.push(message(ChatRole::Assistant, reply.content.clone()));
    }
    let words = format!("That reply does not fit the schema{place}: {what}\nReply again with the whole JSON, corrected, and nothing else.");
    again.messages.push(message(ChatRole::User, words));
    again
}

/// The JSON within the fence that some models put around it.
fn bare(text: &str) -> &str {
    let text = text.trim();
    let Some(inner) = text.strip_prefix("```").and_then(|text| text.strip_suffix("```")) else {
        return text;
    };
    inner.strip_prefix("json").unwrap_or(inner).trim()
}

fn short(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(WRONG_BYTES_MAX));
    text
}
