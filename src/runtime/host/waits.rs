//! `waits`: waiting for the first of several things.

use wasmtime::component::LinkerInstance;

use super::super::bindings::wit::types::Failure as WitFailure;
use super::super::bindings::wit::waits::{AnyRequest, Outcome, Ready, Wait};
use super::{Guest, Prepared, agents, approvals, done, expect_reply, failure_out, inbox, mismatch, no_extra, one, run_id};
use crate::domain::call::{Call, CallResult, Reply};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::limits::{CALLS_AT_ONCE_MAX, WAIT_MS_MAX};
use crate::domain::wait;

pub(super) fn open(wait: Wait) -> Prepared {
    let wait = match wait {
        Wait::Timer(ms) => wait::Wait::Timer { ms: ms.min(WAIT_MS_MAX) },
        Wait::Approval(request) => wait::Wait::Approval(approvals::asked(request)?),
        Wait::Message => wait::Wait::Message,
        Wait::Child(run) => wait::Wait::Child { run: run_id(&run)? },
        Wait::Ask(request) => wait::Wait::Ask(agents::asked(request)?),
    };
    Ok((Call::WaitsOpen(wait), None))
}

pub(super) fn any(request: AnyRequest) -> Prepared {
    no_extra(request.extra.as_deref())?;
    if request.handles.len() > CALLS_AT_ONCE_MAX {
        let text = format!("{} handles at once; the limit is {CALLS_AT_ONCE_MAX}", request.handles.len());
        return Err(Failure::new(FailureCode::LimitExceeded, text));
    }
    if request.handles.is_empty() && request.timeout_ms.is_none() {
        return Err(Failure::new(
            FailureCode::Invalid,
            "waiting for no handle and no time-out would never end",
        ));
    }
    Ok((
        Call::WaitsAny {
            handles: request.handles,
            timeout_ms: request.timeout_ms.map(|ms| ms.min(WAIT_MS_MAX)),
        },
        None,
    ))
}

#[expect(clippy::unnecessary_wraps, reason = "calls are prepared alike")]
pub(super) fn close(handle: u32) -> Prepared {
    Ok((Call::WaitsClose { handle }, None))
}

fn outcome_out(result: CallResult) -> Result<Outcome, WitFailure> {
    match result {
        CallResult::Failed(failure) => Err(failure_out(failure)),
        CallResult::Ok(Reply::Done) => Ok(Outcome::Timer),
        CallResult::Ok(Reply::Decision(decision)) => Ok(Outcome::Approval(approvals::decision_out(decision))),
        CallResult::Ok(Reply::Message(Some(message))) => Ok(Outcome::Message(inbox::message_out(message))),
        CallResult::Ok(Reply::ChildOutput(output)) => Ok(Outcome::Child(output)),
        CallResult::Ok(Reply::Answer(answer)) => Ok(Outcome::Ask(agents::answer_out(answer))),
        CallResult::Ok(_) => Err(failure_out(mismatch())),
    }
}

pub(super) fn opened(result: Result<Reply, WitFailure>) -> Result<u32, WitFailure> {
    expect_reply!(result, Reply::Handle)
}

pub(super) fn first(result: Result<Reply, WitFailure>) -> Result<Option<Ready>, WitFailure> {
    expect_reply!(result, Reply::Ready).map(|ready| {
        ready.map(|ready| Ready {
            handle: ready.handle,
            outcome: outcome_out(*ready.outcome),
            extra: None,
        })
    })
}

pub(super) fn link(linker: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async("open", |store, (wait,): (Wait,)| {
        Box::new(async move { Ok((opened(one(store, open(wait)).await?.0),)) })
    })?;
    linker.func_wrap_async("any", |store, (request,): (AnyRequest,)| {
        Box::new(async move { Ok((first(one(store, any(request)).await?.0),)) })
    })?;
    linker.func_wrap_async("close", |store, (handle,): (u32,)| {
        Box::new(async move { Ok((done(one(store, close(handle)).await?.0),)) })
    })
}
