//! Requests to the station, read from the values that prelude.js has checked.

use rquickjs::{Array, Ctx, Error, FromJs, Object, Result, TypedArray, Value};

use crate::abi::agentstation::agent::calls::Call;
use crate::abi::agentstation::agent::{agents, approvals, artifacts, http, memory, models, tools, waits};
use crate::host::read_bytes;

pub fn read_call<'js>(ctx: &Ctx<'js>, kind: &str, request: Value<'js>) -> Result<Call> {
    Ok(match kind {
        "memory-get" => Call::MemoryGet(String::from_js(ctx, request)?),
        "artifacts-get" => Call::ArtifactsGet(String::from_js(ctx, request)?),
        "artifacts-list" => Call::ArtifactsList,
        "clock-sleep" => Call::ClockSleep(whole_of(f64::from_js(ctx, request)?)),
        "inbox-reply" => Call::InboxReply(String::from_js(ctx, request)?),
        "inbox-receive" => Call::InboxReceive(Option::<f64>::from_js(ctx, request)?.map(whole_of)),
        "waits-close" => Call::WaitsClose(handle_of(f64::from_js(ctx, request)?)),
        "tools-describe" => Call::ToolsDescribe,
        structured => {
            let from = Object::from_js(ctx, request)?;
            match structured {
                "models-chat" => Call::ModelsChat(read_chat(&from)?),
                "http-send" => Call::HttpSend(read_request(&from)?),
                "memory-put" => Call::MemoryPut(memory::PutRequest {
                    key: from.get("key")?,
                    value: from.get("value")?,
                    if_version: whole(&from, "ifVersion")?,
                    extra: from.get("extra")?,
                }),
                "memory-delete" => Call::MemoryDelete(memory::DeleteRequest {
                    key: from.get("key")?,
                    if_version: whole(&from, "ifVersion")?,
                    extra: from.get("extra")?,
                }),
                "memory-list" => Call::MemoryList(memory::ListRequest {
                    prefix: from.get("prefix")?,
                    after: from.get("after")?,
                    limit: whole32(&from, "limit")?.unwrap_or_default(),
                    extra: from.get("extra")?,
                }),
                "memory-search" => Call::MemorySearch(memory::SearchRequest {
                    query: from.get("query")?,
                    prefix: from.get("prefix")?,
                    limit: whole32(&from, "limit")?.unwrap_or_default(),
                    extra: from.get("extra")?,
                }),
                "artifacts-put" => Call::ArtifactsPut(artifacts::PutRequest {
                    name: from.get("name")?,
                    content_type: from.get("contentType")?,
                    body: bytes(&from, "body")?.unwrap_or_default(),
                    extra: from.get("extra")?,
                }),
                "approvals-request" => Call::ApprovalsRequest(read_approval(&from)?),
                "agents-start" => Call::AgentsStart(agents::StartRequest {
                    agent: from.get("agent")?,
                    input: from.get("input")?,
                    extra: None,
                }),
                "agents-ask" => Call::AgentsAsk(read_ask(&from)?),
                "tools-call" => Call::ToolsCall(tools::ToolRequest {
                    name: from.get("name")?,
                    arguments: from.get("arguments")?,
                    extra: from.get("extra")?,
                }),
                "waits-open" => Call::WaitsOpen(read_wait(&from)?),
                "waits-any" => Call::WaitsAny(waits::AnyRequest {
                    handles: from.get::<_, Vec<f64>>("handles")?.into_iter().map(handle_of).collect(),
                    timeout_ms: whole(&from, "timeoutMs")?,
                    extra: None,
                }),
                _ => return Err(Error::new_from_js("string", "call")),
            }
        }
    })
}

fn read_chat(from: &Object<'_>) -> Result<models::ChatRequest> {
    Ok(models::ChatRequest {
        model: from.get("model")?,
        messages: list(from, "messages", read_message)?,
        tools: list(from, "tools", |tool| {
            Ok(models::Tool {
                name: tool.get("name")?,
                description: tool.get("description")?,
                parameters: tool.get("parameters")?,
                extra: tool.get("extra")?,
            })
        })?,
        tool_choice: from.get("toolChoice")?,
        response_schema: from.get("responseSchema")?,
        max_output_tokens: whole32(from, "maxOutputTokens")?,
        temperature: from.get("temperature")?,
        stop: from.get("stop")?,
        show: match from.get::<_, String>("show")?.as_str() {
            "none" => models::Show::None,
            "reply" => models::Show::Reply,
            _ => models::Show::Timeline,
        },
        extra: from.get("extra")?,
    })
}

fn read_message(from: &Object<'_>) -> Result<models::Message> {
    Ok(models::Message {
        role: match from.get::<_, String>("role")?.as_str() {
            "system" => models::Role::System,
            "assistant" => models::Role::Assistant,
            "tool" => models::Role::Tool,
            _ => models::Role::User,
        },
        content: from.get("content")?,
        tool_calls: list(from, "toolCalls", |call| {
            Ok(models::ToolCall {
                id: call.get("id")?,
                name: call.get("name")?,
                arguments: call.get("arguments")?,
            })
        })?,
        tool_call_id: from.get("toolCallId")?,
        extra: from.get("extra")?,
    })
}

fn read_request(from: &Object<'_>) -> Result<http::Request> {
    let headers: Vec<(String, String)> = from
        .get::<_, Vec<Vec<String>>>("headers")?
        .into_iter()
        .filter_map(|pair| <[String; 2]>::try_from(pair).ok().map(Into::into))
        .collect();
    Ok(http::Request {
        method: from.get("method")?,
        url: from.get("url")?,
        headers: headers.into_iter().map(|(name, value)| http::Header { name, value }).collect(),
        body: bytes(from, "body")?,
        timeout_ms: whole32(from, "timeoutMs")?,
        extra: from.get("extra")?,
    })
}

fn read_approval(from: &Object<'_>) -> Result<approvals::ApprovalRequest> {
    let verbs: Vec<String> = from.get("verbs")?;
    let verb = |name: String| match name.as_str() {
        "edit" => approvals::Verb::Edit,
        "deny" => approvals::Verb::Deny,
        _ => approvals::Verb::Approve,
    };
    Ok(approvals::ApprovalRequest {
        action: from.get("action")?,
        arguments: from.get("arguments")?,
        reason: from.get("reason")?,
        verbs: verbs.into_iter().map(verb).collect(),
        timeout_ms: whole(from, "timeoutMs")?,
        on_timeout: match from.get::<_, String>("onTimeout")?.as_str() {
            "deny" => approvals::OnTimeout::Deny,
            _ => approvals::OnTimeout::Cancel,
        },
        extra: from.get("extra")?,
    })
}

fn read_ask(from: &Object<'_>) -> Result<agents::AskRequest> {
    Ok(agents::AskRequest {
        run: from.get("run")?,
        message: from.get("message")?,
        quota: agents::Quota {
            fuel: whole(from, "fuel")?,
            time_ms: whole(from, "timeMs")?,
            cost_micros: whole(from, "costMicros")?,
            extra: None,
        },
        extra: None,
    })
}

/// `{ kind, on }`, where `on` is what that kind of wait is about.
fn read_wait(from: &Object<'_>) -> Result<waits::Wait> {
    Ok(match from.get::<_, String>("kind")?.as_str() {
        "timer" => waits::Wait::Timer(whole(from, "on")?.unwrap_or_default()),
        "approval" => waits::Wait::Approval(read_approval(&from.get("on")?)?),
        "message" => waits::Wait::Message,
        "child" => waits::Wait::Child(from.get("on")?),
        "ask" => waits::Wait::Ask(read_ask(&from.get("on")?)?),
        _ => return Err(Error::new_from_js("string", "wait")),
    })
}

fn list<'js, T>(from: &Object<'js>, key: &str, read: impl Fn(&Object<'js>) -> Result<T>) -> Result<Vec<T>> {
    from.get::<_, Array<'js>>(key)?
        .iter::<Object<'js>>()
        .map(|item| read(&item?))
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "prelude.js lets whole numbers below 2^53 through"
)]
const fn whole_of(number: f64) -> u64 {
    number as u64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "prelude.js lets whole numbers below 2^32 through"
)]
const fn handle_of(number: f64) -> waits::Handle {
    number as waits::Handle
}

fn whole(from: &Object<'_>, key: &str) -> Result<Option<u64>> {
    Ok(from.get::<_, Option<f64>>(key)?.map(whole_of))
}

fn whole32(from: &Object<'_>, key: &str) -> Result<Option<u32>> {
    Ok(whole(from, key)?.map(|number| u32::try_from(number).unwrap_or(u32::MAX)))
}

fn bytes<'js>(from: &Object<'js>, key: &str) -> Result<Option<Vec<u8>>> {
    let value: Value<'js> = from.get(key)?;
    if value.is_undefined() {
        return Ok(None);
    }
    if value.is_string() {
        return Ok(Some(value.get::<String>()?.into_bytes()));
    }
    Ok(Some(read_bytes(&value.get::<TypedArray<'js, u8>>()?)))
}
