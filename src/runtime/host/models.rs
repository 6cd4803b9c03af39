//! `models`: language models by their name in the manifest.

use wasmtime::component::LinkerInstance;

use super::super::bindings::wit::models as wit;
use super::super::bindings::wit::types::Failure as WitFailure;
use super::{Guest, Prepared, expect_reply, no_extra, one};
use crate::domain::call::{Call, Reply};
use crate::domain::chat::{ChatMessage, ChatReply, ChatRequest, ChatRole, ChatTool, FinishReason, Show, ToolCall};
use crate::domain::failure::{Failure, FailureCode};

const MESSAGES_MAX: usize = 2_000;
const TOOLS_MAX: usize = 128;

fn is_json_object(text: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
}

pub(super) fn chat(request: wit::ChatRequest) -> Prepared {
    let invalid = |text: String| Failure::new(FailureCode::Invalid, text);
    no_extra(request.extra.as_deref())?;
    if request.messages.is_empty() {
        return Err(invalid("messages is empty".to_owned()));
    }
    if request.messages.len() > MESSAGES_MAX || request.tools.len() > TOOLS_MAX {
        return Err(Failure::new(
            FailureCode::LimitExceeded,
            format!("at most {MESSAGES_MAX} messages and {TOOLS_MAX} tools"),
        ));
    }
    if let Some(schema) = &request.response_schema
        && !is_json_object(schema)
    {
        return Err(invalid("response-schema is no JSON object".to_owned()));
    }
    let mut messages = Vec::with_capacity(request.messages.len());
    for message in request.messages {
        no_extra(message.extra.as_deref())?;
        messages.push(message_in(message));
    }
    let mut tools = Vec::with_capacity(request.tools.len());
    for tool in request.tools {
        no_extra(tool.extra.as_deref())?;
        if !is_json_object(&tool.parameters) {
            return Err(invalid(format!("the parameters of the tool {} are no JSON object", tool.name)));
        }
        tools.push(ChatTool {
            name: tool.name,
            description: tool.description,
            parameters: tool.parameters,
        });
    }
    let show = match request.show {
        wit::Show::None => Show::None,
        wit::Show::Timeline => Show::Timeline,
        wit::Show::Reply => Show::Reply,
    };
    let call = ChatRequest {
        model: request.model,
        messages,
        tools,
        tool_choice: request.tool_choice,
        response_schema: request.response_schema,
        max_output_tokens: request.max_output_tokens,
        temperature: request.temperature.filter(|value| value.is_finite()),
        stop: request.stop,
        show,
    };
    Ok((Call::ModelsChat(call), None))
}

fn message_in(message: wit::Message) -> ChatMessage {
    let role = match message.role {
        wit::Role::System => ChatRole::System,
        wit::Role::User => ChatRole::User,
        wit::Role::Assistant => ChatRole::Assistant,
        wit::Role::Tool => ChatRole::Tool,
    };
    let tool_calls = message
        .tool_calls
        .into_iter()
        .map(|call| ToolCall {
            id: call.id,
            name: call.name,
            arguments: call.arguments,
        })
        .collect();
    ChatMessage {
        role,
        content: message.content,
        tool_calls,
        tool_call_id: message.tool_call_id,
    }
}

fn reply_out(reply: ChatReply) -> wit::ChatReply {
    let finish = match reply.finish {
        FinishReason::Stop => wit::FinishReason::Stop,
        FinishReason::Length => wit::FinishReason::Length,
        FinishReason::ToolCalls => wit::FinishReason::ToolCalls,
        FinishReason::ContentFilter => wit::FinishReason::ContentFilter,
        FinishReason::Other => wit::FinishReason::Other,
    };
    wit::ChatReply {
        model: reply.model,
        content: reply.content,
        tool_calls: reply
            .tool_calls
            .into_iter()
            .map(|call| wit::ToolCall {
                id: call.id,
                name: call.name,
                arguments: call.arguments,
            })
            .collect(),
        finish,
        usage: wit::Usage {
            input_tokens: reply.usage.input_tokens,
            cache_read_tokens: reply.usage.cache_read_tokens,
            cache_write_tokens: reply.usage.cache_write_tokens,
            output_tokens: reply.usage.output_tokens,
            cost_micros: reply.cost_micros,
        },
        extra: None,
    }
}

pub(super) fn chatted(result: Result<Reply, WitFailure>) -> Result<wit::ChatReply, WitFailure> {
    expect_reply!(result, Reply::Chat).map(reply_out)
}

pub(super) fn link(linker: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async("chat", |store, (request,): (wit::ChatRequest,)| {
        Box::new(async move { Ok((chatted(one(store, chat(request)).await?.0),)) })
    })
}
