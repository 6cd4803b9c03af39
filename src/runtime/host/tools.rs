//! `tools`: the station's own tools, as far as the manifest grants them.

use wasmtime::component::LinkerInstance;

use super::super::bindings::wit::tools::{Tool, ToolRequest};
use super::super::bindings::wit::types::Failure as WitFailure;
use super::{Guest, Prepared, expect_reply, no_extra, one, within};
use crate::domain::call::{Call, Reply};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::limits::{ARGUMENTS_BYTES_MAX, NAME_BYTES_MAX};

#[expect(clippy::unnecessary_wraps, reason = "calls are prepared alike")]
pub(super) fn describe() -> Prepared {
    Ok((Call::ToolsDescribe {}, None))
}

pub(super) fn call(request: ToolRequest) -> Prepared {
    no_extra(request.extra.as_deref())?;
    within("the tool’s name", request.name.len(), NAME_BYTES_MAX)?;
    within("the arguments", request.arguments.len(), ARGUMENTS_BYTES_MAX)?;
    let arguments: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&request.arguments)
        .map_err(|_| Failure::new(FailureCode::Invalid, "a tool’s arguments must be a JSON object"))?;
    Ok((
        Call::ToolsCall {
            name: request.name,
            arguments: arguments.into(),
        },
        None,
    ))
}

pub(super) fn described(result: Result<Reply, WitFailure>) -> Result<Vec<Tool>, WitFailure> {
    let tools = expect_reply!(result, Reply::Tools)?;
    Ok(tools
        .into_iter()
        .map(|tool| Tool {
            name: tool.name,
            description: tool.description,
            parameters: tool.parameters,
            extra: None,
        })
        .collect())
}

pub(super) fn called(result: Result<Reply, WitFailure>) -> Result<String, WitFailure> {
    expect_reply!(result, Reply::ToolResult)
}

pub(super) fn link(linker: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async("describe", |store, (): ()| {
        Box::new(async move { Ok((described(one(store, describe()).await?.0),)) })
    })?;
    linker.func_wrap_async("call", |store, (request,): (ToolRequest,)| {
        Box::new(async move { Ok((called(one(store, call(request)).await?.0),)) })
    })
}
