//! A reply put together from its parts.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::domain::chat::{ChatReply, ChatRequest, FinishReason, ToolCall};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::money::Usage;
use crate::llm::remote;
use crate::llm::{Answer, Deltas, refusal, tokens};
use crate::net::sse::Event;

const TOOL_CALLS_MAX: usize = 128;

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    /// `delta` in a stream, `message` in a whole reply.
    #[serde(default, alias = "message")]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    /// Thoughts, as several servers name them.
    #[serde(default, alias = "reasoning_content")]
    reasoning: Option<serde_json::Value>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolDelta>>,
}

#[derive(Deserialize)]
struct ToolDelta {
    #[serde(default)]
    index: Option<usize>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<String>,
}

/// `prompt_tokens` holds what the cache answered; ours do not overlap.
#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    cache_write_tokens: Option<u64>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let details = wire.prompt_tokens_details;
        let read = details
            .as_ref()
            .and_then(|details| details.cached_tokens)
            .unwrap_or(0)
            .min(wire.prompt_tokens);
        let written = details
            .and_then(|details| details.cache_write_tokens)
            .unwrap_or(0)
            .min(wire.prompt_tokens - read);
        Self {
            input_tokens: wire.prompt_tokens - read - written,
            cache_read_tokens: read,
            cache_write_tokens: written,
            output_tokens: wire.completion_tokens,
        }
    }
}

/// What has arrived so far.
#[derive(Default)]
pub(in crate::llm) struct Assembly {
    model: Option<String>,
    content: String,
    /// Bytes of thoughts, which are paid for and not kept.
    thought_bytes: usize,
    tool_calls: BTreeMap<usize, ToolCall>,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    /// What came is why the model will not.
    refused: bool,
    over: bool,
}

impl remote::Assembly for Assembly {
    fn take(&mut self, host: &str, event: &Event, deltas: Deltas<'_>) -> Result<(), Failure> {
        if event.data == "[DONE]" {
            self.over = true;
            return Ok(());
        }
        self.take_chunk(host, &event.data, deltas)
    }

    fn take_whole(&mut self, host: &str, text: &str, deltas: Deltas<'_>) -> Result<(), Failure> {
        self.take_chunk(host, text, deltas)?;
        self.end(host)
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn is_heard(&self) -> bool {
        self.has_begun() || self.thought_bytes > 0
    }

    fn has_begun(&self) -> bool {
        !self.content.is_empty() || !self.tool_calls.is_empty()
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
        match self.usage {
            Some(usage) => (usage, false),
            None => {
                let mut usage = tokens::estimate_usage(request, &self.reply(""));
                usage.output_tokens += tokens::estimate(self.thought_bytes);
                (usage, true)
            }
        }
    }

    fn answer(&self, request: &ChatRequest, asked_model: &str) -> Answer {
        let mut reply = self.reply(asked_model);
        let (usage, estimated) = self.usage_so_far(request);
        reply.usage = usage;
        Answer { reply, estimated }
    }
}

impl Assembly {
    /// Takes one event's data.
    fn take_chunk(&mut self, host: &str, data: &str, deltas: Deltas<'_>) -> Result<(), Failure> {
        let chunk: Chunk = serde_json::from_str(data).map_err(|error| {
            Failure::new(
                FailureCode::ProviderError,
                format!("{host} sent a part of a reply that cannot be read: {error}"),
            )
        })?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(refusal::in_stream(host, &error));
        }
        self.model = self.model.take().or(chunk.model.filter(|model| !model.is_empty()));
        if let Some(usage) = chunk.usage {
            self.usage = Some(usage.into());
        }
        // One choice is asked for; a server that sends more is not listened to.
        let Some(choice) = chunk.choices.into_iter().next() else {
            return Ok(());
        };
        if let Some(delta) = choice.delta {
            if let Some(text) = delta.content.filter(|text| !text.is_empty()) {
                self.content.push_str(&text);
                deltas(&text);
            }
            if let Some(text) = delta.refusal.filter(|text| !text.is_empty()) {
                self.content.push_str(&text);
                deltas(&text);
                self.refused = true;
            }
            self.thought_bytes += match &delta.reasoning {
                Some(serde_json::Value::String(thought)) => thought.len(),
                _ => 0,
            };
            for call in delta.tool_calls.into_iter().flatten() {
                self.take_tool(host, call)?;
            }
        }
        if let Some(reason) = choice.finish_reason {
            self.finish = Some(match reason.as_str() {
                "stop" => FinishReason::Stop,
                "length" => FinishReason::Length,
                "tool_calls" | "function_call" => FinishReason::ToolCalls,
                "content_filter" => FinishReason::ContentFilter,
                _ => FinishReason::Other,
            });
        }
        Ok(())
    }

    /// Tool calls come in pieces: the name first, the arguments after it, each piece with its index or, with some
    /// servers, only the first piece with an id.
    fn take_tool(&mut self, host: &str, part: ToolDelta) -> Result<(), Failure> {
        let last = self.tool_calls.last_key_value().map(|(&index, _)| index);
        let index = part.index.unwrap_or_else(|| match (last, part.id.is_some()) {
            (Some(last), true) => last + 1,
            (Some(last), false) => last,
            (None, _) => 0,
        });
        let call = self.tool_calls.entry(index).or_insert_with(|| ToolCall {
            id: format!("call_{index}"),
            name: String::new(),
            arguments: String::new(),
        });
        if let Some(id) = part.id.filter(|id| !id.is_empty()) {
            call.id = id;
        }
        if let Some(function) = part.function {
            call.name.push_str(function.name.as_deref().unwrap_or_default());
            call.arguments.push_str(function.arguments.as_deref().unwrap_or_default());
        }
        if self.tool_calls.len() > TOOL_CALLS_MAX {
            return Err(Failure::new(
                FailureCode::ProviderError,
                format!("{host} sent more than {TOOL_CALLS_MAX} tool calls"),
            ));
        }
        Ok(())
    }

    fn reply(&self, asked_model: &str) -> ChatReply {
        let mut tool_calls: Vec<ToolCall> = self.tool_calls.values().cloned().collect();
        for call in tool_calls.iter_mut().filter(|call| call.arguments.trim().is_empty()) {
            "{}".clone_into(&mut call.arguments);
        }
        let finish = match self.finish {
            Some(FinishReason::Stop) if self.refused => FinishReason::ContentFilter,
            // Some servers say "stop" after tool calls.
            Some(FinishReason::Stop) if !tool_calls.is_empty() => FinishReason::ToolCalls,
            Some(finish) => finish,
            None => FinishReason::Other,
        };
        ChatReply {
            model: self.model.clone().unwrap_or_else(|| asked_model.to_owned()),
            content: self.content.clone(),
            tool_calls,
            finish,
            usage: Usage::default(),
            cost_micros: 0,
        }
    }
}
