//! `calls`: several calls of any kinds at once.

use wasmtime::component::LinkerInstance;

use super::super::bindings::wit::calls::{Call as WitCall, Reply as WitReply};
use super::super::bindings::wit::types::Failure as WitFailure;
use super::super::exchange::Exchange;
use super::{
    Guest, Prepared, agents, approvals, artifacts, clock, done, enter, expect_reply, failure_out, http, inbox, memory, mismatch, models,
    reply_of, tools, trap, waits,
};
use crate::domain::call::Reply;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::limits::CALLS_AT_ONCE_MAX;

/// Which variant of the reply answers a call.
#[derive(Clone, Copy)]
enum Shape {
    Chat,
    Http,
    Get,
    Put,
    Delete,
    List,
    Search,
    ArtifactPut,
    ArtifactGet,
    ArtifactList,
    Sleep,
    Approval,
    InboxReply,
    InboxReceive,
    AgentStart,
    AgentAsk,
    WaitOpen,
    WaitAny,
    WaitClose,
    ToolsDescribe,
    ToolCall,
}

fn prepare(call: WitCall) -> (Shape, Prepared) {
    match call {
        WitCall::ModelsChat(request) => (Shape::Chat, models::chat(request)),
        WitCall::HttpSend(request) => (Shape::Http, http::send(request)),
        WitCall::MemoryGet(key) => (Shape::Get, memory::get(key)),
        WitCall::MemoryPut(request) => (Shape::Put, memory::put(request)),
        WitCall::MemoryDelete(request) => (Shape::Delete, memory::delete(request)),
        WitCall::MemoryList(request) => (Shape::List, memory::list(request)),
        WitCall::MemorySearch(request) => (Shape::Search, memory::search(request)),
        WitCall::ArtifactsPut(request) => (Shape::ArtifactPut, artifacts::put(request)),
        WitCall::ArtifactsGet(name) => (Shape::ArtifactGet, artifacts::get(name)),
        WitCall::ArtifactsList => (Shape::ArtifactList, artifacts::list()),
        WitCall::ClockSleep(ms) => (Shape::Sleep, clock::sleep(ms)),
        WitCall::ApprovalsRequest(request) => (Shape::Approval, approvals::request(request)),
        WitCall::InboxReply(text) => (Shape::InboxReply, inbox::reply(text)),
        WitCall::InboxReceive(timeout_ms) => (Shape::InboxReceive, inbox::receive(timeout_ms)),
        WitCall::AgentsStart(request) => (Shape::AgentStart, agents::start(request)),
        WitCall::AgentsAsk(request) => (Shape::AgentAsk, agents::ask(request)),
        WitCall::WaitsOpen(wait) => (Shape::WaitOpen, waits::open(wait)),
        WitCall::WaitsAny(request) => (Shape::WaitAny, waits::any(request)),
        WitCall::WaitsClose(handle) => (Shape::WaitClose, waits::close(handle)),
        WitCall::ToolsDescribe => (Shape::ToolsDescribe, tools::describe()),
        WitCall::ToolsCall(request) => (Shape::ToolCall, tools::call(request)),
    }
}

async fn shape(shape: Shape, result: Result<Reply, WitFailure>, exchange: &Exchange) -> wasmtime::Result<WitReply> {
    Ok(match shape {
        Shape::Chat => WitReply::ModelsChat(models::chatted(result)),
        Shape::Http => WitReply::HttpSend(http::sent(result)),
        Shape::Get => WitReply::MemoryGet(memory::got(result)),
        Shape::Put => WitReply::MemoryPut(expect_reply!(result, Reply::MemoryVersion)),
        Shape::Delete => WitReply::MemoryDelete(expect_reply!(result, Reply::MemoryDeleted)),
        Shape::List => WitReply::MemoryList(memory::listed(result)),
        Shape::Search => WitReply::MemorySearch(memory::listed(result)),
        Shape::ArtifactPut => WitReply::ArtifactsPut(artifacts::was_put(result)),
        Shape::ArtifactGet => WitReply::ArtifactsGet(artifacts::found(result, exchange).await?),
        Shape::ArtifactList => WitReply::ArtifactsList(artifacts::listed(result)),
        Shape::Sleep => WitReply::ClockSleep(done(result)),
        Shape::Approval => WitReply::ApprovalsRequest(approvals::decided(result)),
        Shape::InboxReply => WitReply::InboxReply(done(result)),
        Shape::InboxReceive => WitReply::InboxReceive(inbox::received(result)),
        Shape::AgentStart => WitReply::AgentsStart(agents::started(result)),
        Shape::AgentAsk => WitReply::AgentsAsk(agents::answered(result)),
        Shape::WaitOpen => WitReply::WaitsOpen(waits::opened(result)),
        Shape::WaitAny => WitReply::WaitsAny(waits::first(result)),
        Shape::WaitClose => WitReply::WaitsClose(done(result)),
        Shape::ToolsDescribe => WitReply::ToolsDescribe(tools::described(result)),
        Shape::ToolCall => WitReply::ToolsCall(tools::called(result)),
    })
}

pub(super) fn link(linker: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async("all", |store, (calls,): (Vec<WitCall>,)| {
        Box::new(async move {
            let (fuel, exchange) = enter(&store)?;
            let too_many = calls.len() > CALLS_AT_ONCE_MAX;
            let prepared: Vec<(Shape, Prepared)> = calls.into_iter().map(prepare).collect();
            // Malformed calls are answered without being made; they are the same on replay.
            let mut shapes = Vec::with_capacity(prepared.len());
            let mut made = Vec::new();
            for (kind, call) in prepared {
                match call {
                    Ok(call) if !too_many => {
                        made.push(call);
                        shapes.push((kind, None));
                    }
                    Ok(_) => {
                        let text = format!("more than {CALLS_AT_ONCE_MAX} calls at once; make them in parts");
                        shapes.push((kind, Some(Failure::new(FailureCode::LimitExceeded, text))));
                    }
                    Err(failure) => shapes.push((kind, Some(failure))),
                }
            }
            let results = if made.is_empty() {
                Vec::new()
            } else {
                exchange.calls(made, true, fuel).await.map_err(trap)?
            };
            let mut results = results.into_iter();
            let mut replies = Vec::with_capacity(shapes.len());
            for (kind, refused) in shapes {
                let result = match refused {
                    Some(failure) => Err(failure_out(failure)),
                    None => results.next().map_or_else(|| Err(failure_out(mismatch())), reply_of),
                };
                replies.push(shape(kind, result, &exchange).await?);
            }
            Ok((replies,))
        })
    })
}
