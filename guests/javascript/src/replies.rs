//! Replies of the station, as prelude.js takes them.

use rquickjs::{Array, Ctx, IntoJs, Null, Object, Result, TypedArray, Undefined, Value};

use crate::abi::Failure;
use crate::abi::agentstation::agent::calls::Reply;
use crate::abi::agentstation::agent::{agents, approvals, artifacts, http, inbox, memory, models, tools, waits};

/// A reply, or the failure that the call rejects with.
type Settled<'js> = std::result::Result<Value<'js>, Failure>;

/// A failure is the inner error, trouble in JavaScript (memory) the outer one.
pub fn write_reply<'js>(ctx: &Ctx<'js>, reply: Reply) -> Result<Settled<'js>> {
    fn settle<'js, T>(reply: std::result::Result<T, Failure>, write: impl FnOnce(T) -> Result<Value<'js>>) -> Result<Settled<'js>> {
        match reply {
            Ok(value) => write(value).map(Ok),
            Err(failure) => Ok(Err(failure)),
        }
    }
    match reply {
        Reply::ModelsChat(reply) => settle(reply, |chat| write_chat(ctx, chat)),
        Reply::HttpSend(reply) => settle(reply, |response| write_response(ctx, response)),
        Reply::MemoryGet(reply) => settle(reply, |entry| write_option(ctx, entry, write_entry)),
        Reply::MemoryPut(reply) => settle(reply, |version| float(version).into_js(ctx)),
        Reply::MemoryDelete(reply) => settle(reply, |existed| existed.into_js(ctx)),
        Reply::MemoryList(reply) | Reply::MemorySearch(reply) => settle(reply, |page| write_page(ctx, page)),
        Reply::ArtifactsPut(reply) => settle(reply, |info| write_info(ctx, info)),
        Reply::ArtifactsGet(reply) => settle(reply, |artifact| write_option(ctx, artifact, write_artifact)),
        Reply::ArtifactsList(reply) => settle(reply, |infos| write_list(ctx, infos, write_info)),
        Reply::ClockSleep(reply) | Reply::InboxReply(reply) | Reply::WaitsClose(reply) => settle(reply, |()| Undefined.into_js(ctx)),
        Reply::ApprovalsRequest(reply) => settle(reply, |decision| write_decision(ctx, decision)),
        Reply::InboxReceive(reply) => settle(reply, |message| write_option(ctx, message, write_message)),
        Reply::AgentsStart(reply) => settle(reply, |run| run.into_js(ctx)),
        Reply::AgentsAsk(reply) => settle(reply, |answer| write_answer(ctx, answer)),
        Reply::WaitsOpen(reply) => settle(reply, |handle| handle.into_js(ctx)),
        Reply::ToolsDescribe(reply) => settle(reply, |tools| write_list(ctx, tools, write_tool)),
        Reply::ToolsCall(reply) => settle(reply, |result| result.into_js(ctx)),
        Reply::WaitsAny(reply) => settle(reply, |ready| write_option(ctx, ready, write_ready)),
    }
}

fn write_chat<'js>(ctx: &Ctx<'js>, reply: models::ChatReply) -> Result<Value<'js>> {
    let usage = Object::new(ctx.clone())?;
    usage.set("inputTokens", float(reply.usage.input_tokens))?;
    usage.set("cacheReadTokens", float(reply.usage.cache_read_tokens))?;
    usage.set("cacheWriteTokens", float(reply.usage.cache_write_tokens))?;
    usage.set("outputTokens", float(reply.usage.output_tokens))?;

    usage.set("costMicros", float(reply.usage.cost_micros))?;

    let to = Object::new(ctx.clone())?;
    to.set("model", reply.model)?;
    to.set("content", reply.content)?;
    to.set(
        "toolCalls",
        write_list(ctx, reply.tool_calls, |ctx, call| {
            let to = Object::new(ctx.clone())?;
            to.set("id", call.id)?;
            to.set("name", call.name)?;
            to.set("arguments", call.arguments)?;
            Ok(to.into_value())
        })?,
    )?;
    to.set(
        "finish",
        match reply.finish {
            models::FinishReason::Stop => "stop",
            models::FinishReason::Length => "length",
            models::FinishReason::ToolCalls => "tool-calls",
            models::FinishReason::ContentFilter => "content-filter",
            models::FinishReason::Other => "other",
        },
    )?;
    to.set("usage", usage)?;
    write_extra(ctx, &to, reply.extra)?;
    Ok(to.into_value())
}

fn write_response<'js>(ctx: &Ctx<'js>, response: http::Response) -> Result<Value<'js>> {
    let to = Object::new(ctx.clone())?;
    to.set("status", response.status)?;
    to.set(
        "headers",
        write_list(ctx, response.headers, |ctx, header| vec![header.name, header.value].into_js(ctx))?,
    )?;
    to.set("url", response.url)?;
    to.set("body", TypedArray::<u8>::new(ctx.clone(), response.body)?)?;
    write_extra(ctx, &to, response.extra)?;
    Ok(to.into_value())
}

fn write_entry<'js>(ctx: &Ctx<'js>, entry: memory::Entry) -> Result<Value<'js>> {
    let to = Object::new(ctx.clone())?;
    to.set("key", entry.key)?;
    to.set("value", entry.value)?;
    to.set("version", float(entry.version))?;
    to.set("updatedMs", float(entry.updated_ms))?;
    write_extra(ctx, &to, entry.extra)?;
    Ok(to.into_value())
}

fn write_page<'js>(ctx: &Ctx<'js>, page: memory::Page) -> Result<Value<'js>> {
    let to = Object::new(ctx.clone())?;
    to.set("entries", write_list(ctx, page.entries, write_entry)?)?;
    to.set("next", page.next)?;
    write_extra(ctx, &to, page.extra)?;
    Ok(to.into_value())
}

fn write_info<'js>(ctx: &Ctx<'js>, info: artifacts::Info) -> Result<Value<'js>> {
    let to = Object::new(ctx.clone())?;
    to.set("name", info.name)?;
    to.set("contentType", info.content_type)?;
    to.set("bytes", float(info.bytes))?;
    to.set("digest", info.digest)?;
    write_extra(ctx, &to, info.extra)?;
    Ok(to.into_value())
}

fn write_artifact<'js>(ctx: &Ctx<'js>, artifact: artifacts::Artifact) -> Result<Value<'js>> {
    let value = write_info(ctx, artifact.info)?;
    if let Some(to) = value.as_object() {
        to.set("body", TypedArray::<u8>::new(ctx.clone(), artifact.body)?)?;
    }
    Ok(value)
}

fn write_decision<'js>(ctx: &Ctx<'js>, decision: approvals::Decision) -> Result<Value<'js>> {
    let to = Object::new(ctx.clone())?;
    to.set(
        "verb",
        match decision.verb {
            approvals::Verb::Approve => "approve",
            approvals::Verb::Edit => "edit",
            approvals::Verb::Deny => "deny",
        },
    )?;
    to.set("arguments", decision.arguments)?;
    to.set("reason", decision.reason)?;
    to.set("by", decision.by)?;
    write_extra(ctx, &to, decision.extra)?;
    Ok(to.into_value())
}

fn write_message<'js>(ctx: &Ctx<'js>, message: inbox::Message) -> Result<Value<'js>> {
    let to = Object::new(ctx.clone())?;
    to.set("id", message.id)?;
    to.set("text", message.text)?;
    to.set("sender", message.sender)?;
    to.set("sentMs", float(message.sent_ms))?;
    write_extra(ctx, &to, message.extra)?;
    Ok(to.into_value())
}

fn write_answer<'js>(ctx: &Ctx<'js>, answer: agents::Answer) -> Result<Value<'js>> {
    let to = Object::new(ctx.clone())?;
    to.set("text", answer.text)?;
    to.set("output", answer.output)?;
    write_extra(ctx, &to, answer.extra)?;
    Ok(to.into_value())
}

fn write_tool<'js>(ctx: &Ctx<'js>, tool: tools::Tool) -> Result<Value<'js>> {
    let to = Object::new(ctx.clone())?;
    to.set("name", tool.name)?;
    to.set("description", tool.description)?;
    to.set("parameters", ctx.json_parse(tool.parameters)?)?;
    write_extra(ctx, &to, tool.extra)?;
    Ok(to.into_value())
}

/// `{ handle, kind, value }`, or `{ handle, failure }` where what was waited for failed.
fn write_ready<'js>(ctx: &Ctx<'js>, ready: waits::Ready) -> Result<Value<'js>> {
    let to = Object::new(ctx.clone())?;
    to.set("handle", ready.handle)?;
    let (kind, value) = match ready.outcome {
        Ok(waits::Outcome::Timer) => ("timer", Undefined.into_js(ctx)?),
        Ok(waits::Outcome::Approval(decision)) => ("approval", write_decision(ctx, decision)?),
        Ok(waits::Outcome::Message(message)) => ("message", write_message(ctx, message)?),
        Ok(waits::Outcome::Child(output)) => ("child", output.into_js(ctx)?),
        Ok(waits::Outcome::Ask(answer)) => ("ask", write_answer(ctx, answer)?),
        Err(Failure { code, message, retryable }) => {
            let failure = Object::new(ctx.clone())?;
            failure.set("code", code)?;
            failure.set("message", message)?;
            failure.set("retryable", retryable)?;
            to.set("failure", failure)?;
            return Ok(to.into_value());
        }
    };
    to.set("kind", kind)?;
    to.set("value", value)?;
    write_extra(ctx, &to, ready.extra)?;
    Ok(to.into_value())
}

fn write_option<'js, T>(ctx: &Ctx<'js>, item: Option<T>, write: impl Fn(&Ctx<'js>, T) -> Result<Value<'js>>) -> Result<Value<'js>> {
    item.map_or_else(|| Undefined.into_js(ctx), |item| write(ctx, item))
}

fn write_list<'js, T>(ctx: &Ctx<'js>, items: Vec<T>, write: impl Fn(&Ctx<'js>, T) -> Result<Value<'js>>) -> Result<Value<'js>> {
    let to = Array::new(ctx.clone())?;
    for (at, item) in items.into_iter().enumerate() {
        to.set(at, write(ctx, item)?)?;
    }
    Ok(to.into_value())
}

/// Sets `extra` where there is one, parsed.
fn write_extra<'js>(ctx: &Ctx<'js>, to: &Object<'js>, extra: Option<String>) -> Result<()> {
    match extra {
        Some(extra) => to.set("extra", ctx.json_parse(extra).or_else(|_| Null.into_js(ctx))?),
        None => Ok(()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and times stay below 2^53")]
const fn float(number: u64) -> f64 {
    number as f64
}
