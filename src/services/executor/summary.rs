//! What an entry's `meta` says of a call and its result, so that a list reads well without opening payloads.

use serde_json::{Value, json};

use crate::domain::call::{ArtifactInfo, Call, CallResult, MemoryEntry, Reply};
use crate::domain::money::Charge;
use crate::domain::policy::RuleName;
use crate::domain::wait::Wait;

/// Of an address, what stands in the summary.
const URL_BYTES_MAX: usize = 300;

/// Of a calculator's value.
const VALUE_BYTES_MAX: usize = 60;

fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

fn with_tool(name: &str, mut meta: Value) -> Value {
    if let Some(meta) = meta.as_object_mut() {
        meta.insert("tool".to_owned(), json!(name));
    }
    meta
}

/// What of a call a list shows while it has no result.
pub(super) fn summary_of(call: &Call) -> Value {
    match call {
        Call::ModelsChat(request) => {
            json!({ "model": request.model, "messages": request.messages.len(), "tools": request.tools.len(), "show": request.show })
        }
        Call::HttpSend(request) => json!({ "method": request.method, "url": cut(&request.url, URL_BYTES_MAX) }),
        Call::MemoryGet { key } | Call::MemoryPut { key, .. } => json!({ "key": key }),
        Call::MemorySearch { query, .. } => json!({ "key": query }),
        Call::ToolsCall { name, .. } => with_tool(name, call.stands_for().map_or_else(|| json!({}), |call| summary_of(&call))),
        _ => json!({}),
    }
}

/// Of an intent.
pub(super) fn of_intent(call: &Call, version: &str, rule: &RuleName) -> Value {
    let mut meta = summary_of(call);
    if let Some(object) = meta.as_object_mut() {
        object.insert("policy".to_owned(), json!(format!("{version}: {rule}")));
    }
    meta
}

/// What a model call used and cost, for the summary of its end.
pub(super) struct Spent {
    pub charge: Charge,
    pub first_token_ms: Option<u64>,
}

/// Of a result.
pub(super) fn of_result(call: &Call, result: &CallResult, spent: Option<&Spent>) -> Value {
    let mut meta = match (call, result) {
        (Call::MemoryGet { key }, CallResult::Ok(Reply::MemoryEntry(found))) => {
            json!({ "key": key, "found": found.is_some(), "bytes": found.as_ref().map_or(0, |entry: &MemoryEntry| entry.value.len()) })
        }
        (Call::MemoryPut { key, value, .. }, CallResult::Ok(Reply::MemoryVersion(version))) => {
            json!({ "key": key, "bytes": value.len(), "version": version })
        }
        (Call::MemoryDelete { key, .. }, CallResult::Ok(Reply::MemoryDeleted(found))) => json!({ "key": key, "found": found }),
        (Call::MemoryList { prefix, .. }, CallResult::Ok(Reply::MemoryPage(page))) => json!({ "key": prefix, "count": page.entries.len() }),
        (Call::MemorySearch { query, .. }, CallResult::Ok(Reply::MemoryPage(page))) => json!({ "key": query, "count": page.entries.len() }),
        (Call::ArtifactsPut(info), _) => of_artifact(info),
        (Call::ArtifactsGet { name }, CallResult::Ok(Reply::ArtifactFound(found))) => {
            found.as_ref().map_or_else(|| json!({ "name": name, "found": false }), of_artifact)
        }
        (Call::ArtifactsList {}, CallResult::Ok(Reply::Artifacts(infos))) => json!({ "count": infos.len() }),
        (Call::HttpSend(_), CallResult::Ok(Reply::Http(response))) => {
            json!({ "status": response.status, "bytes": response.body.to_bytes().map_or(0, |bytes| bytes.len()) })
        }
        (Call::ModelsChat(_), CallResult::Ok(Reply::Chat(reply))) => {
            json!({ "model": reply.model, "finish": reply.finish, "tool_calls": reply.tool_calls.len() })
        }
        (Call::ToolsDescribe {}, CallResult::Ok(Reply::Tools(tools))) => json!({ "count": tools.len() }),
        (Call::ToolsCall { name, .. }, CallResult::Ok(Reply::ToolResult(answer))) => of_tool(name, call, answer),
        (Call::ToolsCall { .. }, _) => summary_of(call),
        (Call::ClockSleep { ms }, _) => json!({ "ms": ms }),
        (Call::ApprovalsRequest(request), CallResult::Ok(Reply::Decision(decision))) => {
            json!({ "action": request.action, "verb": decision.verb, "by": decision.by })
        }
        (Call::ApprovalsRequest(request), CallResult::Failed(_)) => json!({ "action": request.action }),
        (Call::InboxReply { text }, _) => json!({ "bytes": text.len() }),
        (Call::InboxReceive { .. }, CallResult::Ok(Reply::Message(message))) => {
            json!({ "found": message.is_some(), "sender": message.as_ref().map(|message| &message.sender) })
        }
        (Call::AgentsStart { agent, .. }, CallResult::Ok(Reply::Child(run))) => json!({ "agent": agent, "run": run }),
        (Call::AgentsStart { agent, .. }, CallResult::Failed(_)) => json!({ "agent": agent }),
        (Call::AgentsAsk(request), _) => json!({ "run": request.run }),
        (Call::WaitsOpen(wait), CallResult::Ok(Reply::Handle(handle))) => of_wait(wait, *handle),
        (Call::WaitsAny { handles, .. }, CallResult::Ok(Reply::Ready(ready))) => {
            json!({ "handles": handles.len(), "handle": ready.as_ref().map(|ready| ready.handle), "found": ready.is_some() })
        }
        (Call::WaitsClose { handle }, _) => json!({ "handle": handle }),
        (Call::MemoryGet { key } | Call::MemoryPut { key, .. } | Call::MemoryDelete { key, .. }, CallResult::Failed(_)) => {
            json!({ "key": key })
        }
        _ => json!({}),
    };
    if let Some(object) = meta.as_object_mut() {
        if let CallResult::Failed(failure) = result {
            object.insert("code".to_owned(), json!(failure.code));
            object.insert("message".to_owned(), json!(cut(&failure.message, URL_BYTES_MAX)));
        }
        if let Some(spent) = spent {
            object.insert("input_tokens".to_owned(), json!(spent.charge.usage.input_tokens));
            object.insert("cache_read_tokens".to_owned(), json!(spent.charge.usage.cache_read_tokens));
            object.insert("cache_write_tokens".to_owned(), json!(spent.charge.usage.cache_write_tokens));
            object.insert("output_tokens".to_owned(), json!(spent.charge.usage.output_tokens));
            object.insert("cost_micros".to_owned(), json!(spent.charge.cost_micros));
            object.insert("estimated".to_owned(), json!(spent.charge.estimated));
            object.insert("first_token_ms".to_owned(), json!(spent.first_token_ms));
        }
    }
    meta
}

/// Of a tool's answer: what it stands for, and what stands out of the answer.
fn of_tool(name: &str, call: &Call, answer: &str) -> Value {
    let mut meta = call.stands_for().map_or_else(|| json!({}), |call| summary_of(&call));
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    if let Some(meta) = meta.as_object_mut() {
        for shown in ["status", "count", "found", "version", "truncated"] {
            if let Some(value) = answer.get(shown) {
                meta.insert(shown.to_owned(), value.clone());
            }
        }
        let text = ["body", "text", "value"].into_iter().find_map(|field| answer.get(field)?.as_str());
        if let Some(text) = text {
            meta.insert("bytes".to_owned(), json!(text.len()));
        }
        if name == "calculator" {
            let value = answer.get("value").and_then(Value::as_str).unwrap_or_default();
            meta.insert("value".to_owned(), json!(cut(value, VALUE_BYTES_MAX)));
        }
    }
    with_tool(name, meta)
}

fn of_wait(wait: &Wait, handle: u32) -> Value {
    match wait {
        Wait::Timer { ms } => json!({ "handle": handle, "waits": "timer", "ms": ms }),
        Wait::Approval(request) => json!({ "handle": handle, "waits": "approval", "action": request.action }),
        Wait::Message => json!({ "handle": handle, "waits": "message" }),
        Wait::Child { run } => json!({ "handle": handle, "waits": "child", "run": run }),
        Wait::Ask(request) => json!({ "handle": handle, "waits": "ask", "run": request.run }),
    }
}

fn of_artifact(info: &ArtifactInfo) -> Value {
    json!({ "name": info.name, "content_type": info.content_type, "bytes": info.bytes, "digest": info.digest, "found": true })
}
