//! The functions a guest can import: one file for each WIT interface. Each turns WIT values into a domain call and back.

mod agents;
mod approvals;
mod artifacts;
mod calls;
mod clock;
mod http;
mod inbox;
mod memory;
mod models;
mod random;
mod timeline;
mod tools;
mod waits;

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance};

use super::bindings::wit;
use super::exchange::{Exchange, Interruption};
use super::limiter::Limiter;
use crate::domain::call::{Call, CallResult, Reply};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::RunId;

/// What a guest's store holds.
pub(crate) struct Guest {
    pub limiter: Limiter,
    pub exchange: Arc<Exchange>,
    /// The fuel that the segment began with.
    pub fuel: u64,
}

/// Every import an agent may have, by the name of its interface.
pub(crate) const INTERFACES: [&str; 13] = [
    "types",
    "models",
    "http",
    "memory",
    "artifacts",
    "timeline",
    "calls",
    "clock",
    "random",
    "approvals",
    "inbox",
    "agents",
    "waits",
];

/// The full name of an interface.
pub(crate) fn interface_name(interface: &str) -> String {
    format!("agentstation:agent/{interface}@{}", super::bindings::WIT_VERSION)
}

/// Links one interface.
type LinkPart = fn(&mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()>;

/// Links every interface.
pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let parts: [(&str, LinkPart); 13] = [
        ("models", models::link),
        ("http", http::link),
        ("memory", memory::link),
        ("artifacts", artifacts::link),
        ("timeline", timeline::link),
        ("calls", calls::link),
        ("clock", clock::link),
        ("random", random::link),
        ("approvals", approvals::link),
        ("inbox", inbox::link),
        ("agents", agents::link),
        ("waits", waits::link),
        ("tools", tools::link),
    ];
    for (name, part) in parts {
        part(&mut linker.instance(&interface_name(name))?)?;
    }
    Ok(())
}

/// Fuel used so far in this segment, and the way to the outside.
fn enter(store: &StoreContextMut<'_, Guest>) -> wasmtime::Result<(u64, Arc<Exchange>)> {
    let guest = store.data();
    Ok((guest.fuel.saturating_sub(store.get_fuel()?), Arc::clone(&guest.exchange)))
}

/// One call or its refusal.
type Prepared = Result<(Call, Option<Vec<u8>>), Failure>;

/// Makes one call.
async fn one(
    store: StoreContextMut<'_, Guest>,
    prepared: Prepared,
) -> wasmtime::Result<(Result<Reply, wit::types::Failure>, Arc<Exchange>)> {
    let (fuel, exchange) = enter(&store)?;
    let result = match prepared {
        Err(failure) => CallResult::Failed(failure),
        Ok(call) => {
            let mut results = exchange.calls(vec![call], false, fuel).await.map_err(trap)?;
            results.pop().unwrap_or_else(|| CallResult::Failed(mismatch()))
        }
    };
    Ok((reply_of(result), exchange))
}

fn reply_of(result: CallResult) -> Result<Reply, wit::types::Failure> {
    match result {
        CallResult::Ok(reply) => Ok(reply),
        CallResult::Failed(failure) => Err(failure_out(failure)),
    }
}

fn trap(interruption: Interruption) -> wasmtime::Error {
    wasmtime::Error::new(interruption)
}

fn failure_out(failure: Failure) -> wit::types::Failure {
    wit::types::Failure {
        code: failure.code.as_str().to_owned(),
        message: failure.message,
        retryable: failure.retryable,
    }
}

/// A recorded result of another shape than the call's: only a damaged journal gives this.
fn mismatch() -> Failure {
    Failure::new(FailureCode::Invalid, "the recorded answer is of another kind than the call")
}

/// Takes the reply's one variant, or the failure that says it is another.
macro_rules! expect_reply {
    ($result:expr, $variant:path) => {
        match $result {
            Ok($variant(value)) => Ok(value),
            Ok(_) => Err($crate::runtime::host::failure_out($crate::runtime::host::mismatch())),
            Err(failure) => Err(failure),
        }
    };
}
use expect_reply;

/// Takes the answer of a call that has nothing to say but that it is done.
fn done(result: Result<Reply, wit::types::Failure>) -> Result<(), wit::types::Failure> {
    match result {
        Ok(Reply::Done) => Ok(()),
        Ok(_) => Err(failure_out(mismatch())),
        Err(failure) => Err(failure),
    }
}

/// A run's id as an agent gives it.
fn run_id(text: &str) -> Result<RunId, Failure> {
    text.parse()
        .map_err(|_| Failure::new(FailureCode::Invalid, "that is no run's id; agents.start gives one"))
}

/// `extra` is for fields that later versions add; this version has none.
fn no_extra(extra: Option<&str>) -> Result<(), Failure> {
    let Some(text) = extra else { return Ok(()) };
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|_| Failure::new(FailureCode::Invalid, "extra must be a JSON object"))?;
    match object.keys().next() {
        None => Ok(()),
        Some(key) => Err(Failure::new(FailureCode::Invalid, format!("extra: this version knows no “{key}”"))),
    }
}

/// Refuses a text beyond its limit.
fn within(what: &str, bytes: usize, limit: usize) -> Result<(), Failure> {
    if bytes <= limit {
        Ok(())
    } else {
        Err(Failure::new(
            FailureCode::LimitExceeded,
            format!("{what} is {bytes} bytes, the limit is {limit}"),
        ))
    }
}

/// Cuts a text to a limit at a character.
fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.push('…');
    }
    text
}
