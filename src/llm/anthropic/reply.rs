//! A reply put together from its events.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::wire::ReplyTool;
use crate::domain::chat::{ChatReply, ChatRequest, FinishReason, ToolCall};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::money::Usage;
use crate::llm::{Answer, Deltas, refusal, remote, tokens};
use crate::net::sse;

/// Blocks of one reply.
const BLOCKS_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Message,
    },
    ContentBlockStart {
        index: usize,
        content_block: Block,
    },
    ContentBlockDelta {
        index: usize,
        delta: Delta,
    },
    MessageDelta {
        #[serde(default)]
        delta: Ending,
        #[serde(default)]
        usage: Option<WireUsage>,
    },
    MessageStop,
    Error {
        error: Value,
    },
    /// `ping`, `content_block_stop`, and what is to come.
    #[serde(other)]
    Other,
}

/// At the start of a stream, or the whole reply.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    model: String,
    #[serde(default)]
    content: Vec<Block>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        #[serde(default)]
        text: String,
    },
    ToolUse {
        id: String,
        name: String,
        #[serde(default)]
        input: Value,
    },
    Thinking {
        #[serde(default)]
        thinking: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    /// Signatures and citations.
    #[serde(other)]
    Other,
}

#[derive(Default, Deserialize)]
struct Ending {
    #[serde(default)]
    stop_reason: Option<String>,
}

/// The counts do not overlap: what the cache gave or took stands beside `input_tokens`. Later events say only what has changed.
#[derive(Clone, Copy, Default, Deserialize)]
#[expect(clippy::struct_field_names, reason = "as they are on the wire")]
struct WireUsage {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
}

/// A tool call that is arriving.
struct Call {
    id: String,
    name: String,
    /// Where the arguments came at once.
    input: Value,
    /// Where they came in pieces.
    json: String,
}

impl Call {
    fn arguments(&self) -> String {
        if !self.json.trim().is_empty() {
            return self.json.clone();
        }
        match &self.input {
            Value::Null => "{}".to_owned(),
            input => input.to_string(),
        }
    }
}

/// What has arrived so far.
pub(in crate::llm) struct Assembly {
    reply_tool: Option<ReplyTool>,
    model: String,
    text: String,
    /// Bytes of thoughts, which are paid for and not kept.
    thought_bytes: usize,
    calls: BTreeMap<usize, Call>,
    blocks: usize,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    /// The count of the output is the last one.
    counted: bool,
    over: bool,
}

impl Assembly {
    pub(super) fn new(reply_tool: Option<ReplyTool>) -> Self {
        Self {
            reply_tool,
            model: String::new(),
            text: String::new(),
            thought_bytes: 0,
            calls: BTreeMap::new(),
            blocks: 0,
            finish: None,
            usage: None,
            counted: false,
            over: false,
        }
    }

    fn count(&mut self, wire: WireUsage) {
        let usage = self.usage.get_or_insert_default();
        let set = |count: &mut u64, said: Option<u64>| *count = said.unwrap_or(*count);
        set(&mut usage.input_tokens, wire.input_tokens);
        set(&mut usage.cache_read_tokens, wire.cache_read_input_tokens);
        set(&mut usage.cache_write_tokens, wire.cache_creation_input_tokens);
        set(&mut usage.output_tokens, wire.output_tokens);
    }

    fn stop(&mut self, reason: Option<&str>) {
        let Some(reason) = reason else { return };
        self.finish = Some(match reason {
            "end_turn" | "stop_sequence" => FinishReason::Stop,
            "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
            "tool_use" => FinishReason::ToolCalls,
            "refusal" => FinishReason::ContentFilter,
            _ => FinishReason::Other,
        });
    }

    fn say(&mut self, text: &str, deltas: Deltas<'_>) {
        if !text.is_empty() {
            self.text.push_str(text);
            deltas(text);
        }
    }

    fn begin(&mut self, host: &str, index: usize, block: Block, deltas: Deltas<'_>) -> Result<(), Failure> {
        self.blocks += 1;
        if self.blocks > BLOCKS_MAX {
            return Err(Failure::new(
                FailureCode::ProviderError,
                format!("{host} sent more than {BLOCKS_MAX} blocks"),
            ));
        }
        match block {
            Block::Text { text } => self.say(&text, deltas),
            Block::Thinking { thinking } => self.thought_bytes += thinking.len(),
            Block::ToolUse { id, name, input } => {
                let json = String::new();
                self.calls.insert(index, Call { id, name, input, json });
            }
            Block::Other => {}
        }
        Ok(())
    }

    fn take_event(&mut self, host: &str, event: Event, deltas: Deltas<'_>) -> Result<(), Failure> {
        match event {
            Event::MessageStart { message } => {
                self.model = message.model;
                if let Some(usage) = message.usage {
                    self.count(usage);
                }
            }
            Event::ContentBlockStart { index, content_block } => self.begin(host, index, content_block, deltas)?,
            Event::ContentBlockDelta { index, delta } => match delta {
                Delta::Text { text } => self.say(&text, deltas),
                Delta::Thinking { thinking } => self.thought_bytes += thinking.len(),
                Delta::InputJson { partial_json } => {
                    if let Some(call) = self.calls.get_mut(&index) {
                        call.json.push_str(&partial_json);
                    }
                }
                Delta::Other => {}
            },
            Event::MessageDelta { delta, usage } => {
                self.stop(delta.stop_reason.as_deref());
                if let Some(usage) = usage {
                    self.counted |= usage.output_tokens.is_some();
                    self.count(usage);
                }
            }
            Event::MessageStop => self.over = true,
            Event::Error { error } => return Err(refusal::in_stream(host, &error)),
            Event::Other => {}
        }
        Ok(())
    }

    /// The calls that are the agent's, and the reply that came as one.
    fn split(&self) -> (Vec<ToolCall>, Option<String>) {
        let mut calls = Vec::new();
        let mut reply = None;
        for call in self.calls.values() {
            match self.reply_tool.as_ref().filter(|tool| tool.name == call.name) {
                Some(tool) => reply = Some(unwrapped(call.arguments(), tool.field)),
                None => calls.push(ToolCall {
                    id: call.id.clone(),
                    name: call.name.clone(),
                    arguments: call.arguments(),
                }),
            }
        }
        (calls, reply)
    }

    fn reply(&self, asked_model: &str) -> ChatReply {
        let (tool_calls, reply) = self.split();
        let finish = match self.finish {
            // The reply itself was a call.
            Some(FinishReason::ToolCalls) if tool_calls.is_empty() => FinishReason::Stop,
            Some(finish) => finish,
            None => FinishReason::Other,
        };
        ChatReply {
            model: if self.model.is_empty() {
                asked_model.to_owned()
            } else {
                self.model.clone()
            },
            content: reply.filter(|_| tool_calls.is_empty()).unwrap_or_else(|| self.text.clone()),
            tool_calls,
            finish,
            usage: Usage::default(),
            cost_micros: 0,
        }
    }
}

/// The reply within its arguments.
fn unwrapped(arguments: String, field: Option<&str>) -> String {
    let Some(field) = field else { return arguments };
    let value: Option<Value> = serde_json::from_str(&arguments).ok();
    value
        .and_then(|mut value| value.get_mut(field).map(Value::take))
        .map_or(arguments, |value| value.to_string())
}

impl remote::Assembly for Assembly {
    fn take(&mut self, host: &str, event: &sse::Event, deltas: Deltas<'_>) -> Result<(), Failure> {
        let event = serde_json::from_str(&event.data).map_err(|error| unreadable(host, &error))?;
        self.take_event(host, event, deltas)
    }

    fn take_whole(&mut self, host: &str, text: &str, deltas: Deltas<'_>) -> Result<(), Failure> {
        let value: Value = serde_json::from_str(text).map_err(|error| unreadable(host, &error))?;
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            return Err(refusal::in_stream(host, error));
        }
        let message: Message = serde_json::from_value(value).map_err(|error| unreadable(host, &error))?;
        self.model = message.model;
        for (index, block) in message.content.into_iter().enumerate() {
            self.begin(host, index, block, deltas)?;
        }
        self.stop(message.stop_reason.as_deref());
        if let Some(usage) = message.usage {
            self.counted = true;
            self.count(usage);
        }
        self.end(host)
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn is_heard(&self) -> bool {
        self.blocks > 0
    }

    fn has_begun(&self) -> bool {
        !self.text.is_empty() || !self.calls.is_empty()
    }

    fn end(&self, host: &str) -> Result<(), Failure> {
        match self.finish {
            Some(_) => Ok(()),
            None => Err(Failure::retryable(
                FailureCode::Unavailable,
                format!("the reply of {host} broke off"),
            )),
        }
    }

    fn usage_so_far(&self, request: &ChatRequest) -> (Usage, bool) {
        let mut guess = tokens::estimate_sent(request);
        let calls: usize = self.calls.values().map(|call| call.name.len() + call.json.len()).sum();
        guess.output_tokens = tokens::estimate(self.text.len() + self.thought_bytes + calls);
        match self.usage {
            Some(usage) if self.counted => (usage, false),
            // The input was counted at the start, the output not yet.
            Some(usage) => {
                let output_tokens = usage.output_tokens.max(guess.output_tokens);
                (Usage { output_tokens, ..usage }, true)
            }
            None => (guess, true),
        }
    }

    fn answer(&self, request: &ChatRequest, asked_model: &str) -> Answer {
        let mut reply = self.reply(asked_model);
        let (usage, estimated) = self.usage_so_far(request);
        reply.usage = usage;
        Answer { reply, estimated }
    }
}

fn unreadable(host: &str, error: &serde_json::Error) -> Failure {
    Failure::new(
        FailureCode::ProviderError,
        format!("{host} sent a part of a reply that cannot be read: {error}"),
    )
}
