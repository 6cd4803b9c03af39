//! Calls to the station: gathered until no JavaScript can go on without an answer, then made at once.
//!
//! A lone call is the plain import; several are one `calls.all`, so `Promise.all` is parallel and still deterministic:
//! promises settle in the order in which the calls were made.

use std::cell::RefCell;

use rquickjs::{Ctx, Function, Persistent, Result, Value};

use crate::abi::Failure;
use crate::abi::agentstation::agent::calls::{self, Call, Reply};
use crate::abi::agentstation::agent::{agents, approvals, artifacts, clock, http, inbox, memory, models, tools, waits};
use crate::replies::write_reply;
use crate::requests::read_call;

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
        Call::ClockSleep(ms) => Reply::ClockSleep(clock::sleep(*ms)),
        Call::ApprovalsRequest(request) => Reply::ApprovalsRequest(approvals::request(request)),
        Call::InboxReply(text) => Reply::InboxReply(inbox::reply(text)),
        Call::InboxReceive(timeout_ms) => Reply::InboxReceive(inbox::receive(*timeout_ms)),
        Call::AgentsStart(request) => Reply::AgentsStart(agents::start(request)),
        Call::AgentsAsk(request) => Reply::AgentsAsk(agents::ask(request)),
        Call::WaitsOpen(wait) => Reply::WaitsOpen(waits::open(wait)),
        Call::WaitsAny(request) => Reply::WaitsAny(waits::any(request)),
        Call::WaitsClose(handle) => Reply::WaitsClose(waits::close(*handle)),
        Call::ToolsDescribe => Reply::ToolsDescribe(tools::describe()),
        Call::ToolsCall(request) => Reply::ToolsCall(tools::call(request)),
    }
}
