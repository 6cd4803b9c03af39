//! `agents`: children of this run.

use wasmtime::component::LinkerInstance;

use super::super::bindings::wit::agents::{Answer, AskRequest, StartRequest};
use super::super::bindings::wit::types::Failure as WitFailure;
use super::{Guest, Prepared, expect_reply, no_extra, one, run_id, within};
use crate::domain::call::{Call, Reply};
use crate::domain::failure::Failure;
use crate::domain::limits::{INPUT_BYTES_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, WAIT_MS_MAX};
use crate::domain::wait;

pub(super) fn start(request: StartRequest) -> Prepared {
    no_extra(request.extra.as_deref())?;
    within("the agent's name", request.agent.len(), NAME_BYTES_MAX)?;
    within("the input", request.input.len(), INPUT_BYTES_MAX)?;
    Ok((
        Call::AgentsStart {
            agent: request.agent,
            input: request.input,
        },
        None,
    ))
}

/// A question as it was asked, checked.
pub(super) fn asked(request: AskRequest) -> Result<wait::AskRequest, Failure> {
    no_extra(request.extra.as_deref())?;
    no_extra(request.quota.extra.as_deref())?;
    within("the message", request.message.len(), MESSAGE_BYTES_MAX)?;
    Ok(wait::AskRequest {
        run: run_id(&request.run)?,
        message: request.message,
        quota: wait::Quota {
            fuel: request.quota.fuel,
            time_ms: request.quota.time_ms.map(|ms| ms.min(WAIT_MS_MAX)),
            cost_micros: request.quota.cost_micros,
        },
    })
}

pub(super) fn ask(request: AskRequest) -> Prepared {
    Ok((Call::AgentsAsk(asked(request)?), None))
}

pub(super) fn answer_out(answer: wait::Answer) -> Answer {
    Answer {
        text: answer.text,
        output: answer.output,
        extra: None,
    }
}

pub(super) fn started(result: Result<Reply, WitFailure>) -> Result<String, WitFailure> {
    expect_reply!(result, Reply::Child).map(|run| run.to_string())
}

pub(super) fn answered(result: Result<Reply, WitFailure>) -> Result<Answer, WitFailure> {
    expect_reply!(result, Reply::Answer).map(answer_out)
}

pub(super) fn link(linker: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async("start", |store, (request,): (StartRequest,)| {
        Box::new(async move { Ok((started(one(store, start(request)).await?.0),)) })
    })?;
    linker.func_wrap_async("ask", |store, (request,): (AskRequest,)| {
        Box::new(async move { Ok((answered(one(store, ask(request)).await?.0),)) })
    })
}
