//! Calls to the station: gathered until no JavaScript can go on without an answer, then made at once.
//!
//! A lone call is the plain import; several are one `calls.all`, so `Promise.all` is parallel and still deterministic:
//! promises settle in the order in which the calls were made.

use std::cell::RefCell;

use rquickjs::{Array, Ctx, Error, FromJs, Function, IntoJs, Null, Object, Persistent, Result, TypedArray, Undefined, Value};

use crate::abi::Failure;
use crate::abi::agentstation::agent::calls::{self, Call, Reply};
use crate::abi::agentstation::agent::{artifacts, http, memory, models};
use crate::host::read_bytes;

/// Most calls that one `calls.all` takes.
const CALLS_AT_ONCE_MAX: usize = 64;

struct Pending {
    call: Call,
    resolve: Persistent<Function<'static>>,
    /// Takes code, message and whether to try again.
    reject: Persistent<Function<'static>>,
}

thread_local! {
    static PENDING: RefCell<Vec<Pending>> = const { RefCell::new(Vec::new()) };
}

/// `host.call` of prelude.js. A request of the wrong shape throws here, before anything is made.
pub fn enqueue<'js>(ctx: Ctx<'js>, kind: String, request: Value<'js>, resolve: Function<'js>, reject: Function<'js>) -> Result<()> {
    let call = read_call(&ctx, &kind, request)?;
    let resolve = Persistent::save(&ctx, resolve);
    let reject = Persistent::save(&ctx, reject);
    PENDING.with_borrow_mut(|pending| pending.push(Pending { call, resolve, reject }));
    Ok(())
}

/// Runs jobs and makes calls until there are neither.
pub fn drain(ctx: &Ctx<'_>) -> Result<()> {
    loop {
        while ctx.execute_pending_job() {}
        let mut pending = PENDING.take();
        if pending.is_empty() {
            return Ok(());
        }
        while !pending.is_empty() {
            let rest = pending.split_off(pending.len().min(CALLS_AT_ONCE_MAX));
            make(ctx, pending)?;
            pending = rest;
        }
    }
}

fn make(ctx: &Ctx<'_>, pending: Vec<Pending>) -> Result<()> {
    let (calls, settlers): (Vec<_>, Vec<_>) = pending.into_iter().map(|each| (each.call, (each.resolve, each.reject))).unzip();
    let replies = match calls.as_slice() {
        [call] => vec![make_one(call)],
        several => calls::all(several),
    };
    drop(calls);
    for (reply, (resolve, reject)) in replies.into_iter().zip(settlers) {
        match write_reply(ctx, reply)? {
            Ok(value) => resolve.restore(ctx)?.call::<_, ()>((value,))?,
            Err(Failure { code, message, retryable }) => reject.restore(ctx)?.call::<_, ()>((code, message, retryable))?,
        }
    }
    Ok(())
}

fn make_one(call: &Call) -> Reply {
    match call {
        Call::ModelsChat(request) => Reply::ModelsChat(models::chat(request)),
        Call::HttpSend(request) => Reply::HttpSend(http::send(request)),
        Call::MemoryGet(key) => Reply::MemoryGet(memory::get(key)),
        Call::MemoryPut(request) => Reply::MemoryPut(memory::put(request)),
        Call::MemoryDelete(request) => Reply::MemoryDelete(memory::delete(request)),
        Call::MemoryList(request) => Reply::MemoryList(memory::list(request)),
        Call::MemorySearch(request) => Reply::MemorySearch(memory::search(request)),
        Call::ArtifactsPut(request) => Reply::ArtifactsPut(artifacts::put(request)),
        Call::ArtifactsGet(name) => Reply::ArtifactsGet(artifacts::get(name)),
        Call::ArtifactsList => Reply::ArtifactsList(artifacts::list()),
    }
}

// ---- requests, in the shapes that prelude.js has checked ----------------------------------------------------------

fn read_call<'js>(ctx: &Ctx<'js>, kind: &str, request: Value<'js>) -> Result<Call> {
    Ok(match kind {
        "memory-get" => Call::MemoryGet(String::from_js(ctx, request)?),
        "artifacts-get" => Call::ArtifactsGet(String::from_js(ctx, request)?),
        "artifacts-list" => Call::ArtifactsList,
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
fn whole(from: &Object<'_>, key: &str) -> Result<Option<u64>> {
    Ok(from.get::<_, Option<f64>>(key)?.map(|number| number as u64))
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

// ---- replies, as prelude.js takes them ----------------------------------------------------------------------------

fn write_reply<'js>(ctx: &Ctx<'js>, reply: Reply) -> Result<std::result::Result<Value<'js>, Failure>> {
    /// A failure is the inner error, trouble in JavaScript (memory) the outer one.
    fn settle<'js, T>(
        reply: std::result::Result<T, Failure>,
        write: impl FnOnce(T) -> Result<Value<'js>>,
    ) -> Result<std::result::Result<Value<'js>, Failure>> {
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
    }
}

fn write_chat<'js>(ctx: &Ctx<'js>, reply: models::ChatReply) -> Result<Value<'js>> {
    let usage = Object::new(ctx.clone())?;
    usage.set("inputTokens", float(reply.usage.input_tokens))?;
    usage.set("cacheReadTokens", float(reply.usage.cache_read_tokens))?;
    usage.set("cacheWriteTokens", float(reply.usage.cache_write_tokens))?;
    usage.set("outputTokens", float(reply.usage.output_tokens))?;

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
