//! `approvals`: decisions of people.

use wasmtime::component::LinkerInstance;

use super::super::bindings::wit::approvals::{ApprovalRequest, Decision, OnTimeout, Verb};
use super::super::bindings::wit::types::Failure as WitFailure;
use super::{Guest, Prepared, expect_reply, no_extra, one, within};
use crate::domain::call::{Call, Reply};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::limits::{ACTION_BYTES_MAX, ARGUMENTS_BYTES_MAX, REASON_BYTES_MAX, WAIT_MS_MAX};
use crate::domain::wait;

/// An approval as it was asked for, checked.
pub(super) fn asked(request: ApprovalRequest) -> Result<wait::ApprovalRequest, Failure> {
    let invalid = |text: String| Failure::new(FailureCode::Invalid, text);
    no_extra(request.extra.as_deref())?;
    within("the action", request.action.len(), ACTION_BYTES_MAX)?;
    within("the reason", request.reason.len(), REASON_BYTES_MAX)?;
    within("the arguments", request.arguments.len(), ARGUMENTS_BYTES_MAX)?;
    if request.action.trim().is_empty() {
        return Err(invalid("the action is empty; say what is to happen".to_owned()));
    }
    let arguments = serde_json::from_str(&request.arguments).map_err(|error| invalid(format!("the arguments are no JSON: {error}")))?;
    let mut verbs: Vec<wait::Verb> = request.verbs.into_iter().map(verb_in).collect();
    verbs.sort_unstable();
    verbs.dedup();
    if verbs.is_empty() {
        verbs = vec![wait::Verb::Approve, wait::Verb::Deny];
    }
    if !verbs.contains(&wait::Verb::Deny) {
        verbs.push(wait::Verb::Deny);
    }
    Ok(wait::ApprovalRequest {
        action: request.action,
        arguments,
        reason: request.reason,
        verbs,
        timeout_ms: request.timeout_ms.map(|ms| ms.min(WAIT_MS_MAX)),
        on_timeout: match request.on_timeout {
            OnTimeout::Cancel => wait::OnTimeout::Cancel,
            OnTimeout::Deny => wait::OnTimeout::Deny,
        },
    })
}

const fn verb_in(verb: Verb) -> wait::Verb {
    match verb {
        Verb::Approve => wait::Verb::Approve,
        Verb::Edit => wait::Verb::Edit,
        Verb::Deny => wait::Verb::Deny,
    }
}

pub(super) fn request(request: ApprovalRequest) -> Prepared {
    Ok((Call::ApprovalsRequest(asked(request)?), None))
}

pub(super) fn decision_out(decision: wait::Decision) -> Decision {
    Decision {
        verb: match decision.verb {
            wait::Verb::Approve | wait::Verb::Happened | wait::Verb::SendAgain => Verb::Approve,
            wait::Verb::Edit => Verb::Edit,
            wait::Verb::Deny | wait::Verb::Fail => Verb::Deny,
        },
        arguments: decision.arguments.to_string(),
        reason: decision.reason,
        by: decision.by,
        extra: None,
    }
}

pub(super) fn decided(result: Result<Reply, WitFailure>) -> Result<Decision, WitFailure> {
    expect_reply!(result, Reply::Decision).map(decision_out)
}

pub(super) fn link(linker: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async("request", |store, (asked,): (ApprovalRequest,)| {
        Box::new(async move { Ok((decided(one(store, request(asked)).await?.0),)) })
    })
}
