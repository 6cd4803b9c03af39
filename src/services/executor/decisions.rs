//! Asking people: by the policy's rule, because an agent wants to know, or because nobody knows whether a write happened.

use serde_json::{Value, json};

use super::super::tools;
use super::caller::Caller;
use crate::domain::call::{Call, CallResult, HttpResponse, Reply, fingerprint};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::ApprovalId;
use crate::domain::limits::APPROVAL_MS_DEFAULT;
use crate::domain::policy::{Approvers, RuleName};
use crate::domain::time::Timestamp;
use crate::domain::wait::{ApprovalKind, ApprovalRequest, Decision, OnTimeout, Verb};
use crate::runtime::ports::PendingCall;
use crate::store::approvals::NewApproval;
use crate::store::waits::Key;

/// In how many milliseconds, as a time.
pub(super) fn after(now: Timestamp, ms: u64) -> Timestamp {
    now.plus(std::time::Duration::from_millis(ms))
}

fn new(caller: &Caller, key: Key, now: Timestamp) -> NewApproval {
    NewApproval {
        id: ApprovalId::new(now),
        run: caller.run,
        key,
        seq: 0,
        kind: ApprovalKind::Action,
        agent_name: caller.agent_name.clone(),
        action: String::new(),
        arguments: String::new(),
        reason: String::new(),
        rule: String::new(),
        verbs: Vec::new(),
        approvers: Approvers::default(),
        due_at: None,
        on_timeout: OnTimeout::Cancel,
    }
}

/// Because of a rule of the policy.
pub(super) fn by_rule(caller: &Caller, key: Key, call: &Call, (rule, approvers): (RuleName, Approvers), now: Timestamp) -> NewApproval {
    let verbs = if may_be_edited(call.function()) {
        vec![Verb::Approve, Verb::Edit, Verb::Deny]
    } else {
        vec![Verb::Approve, Verb::Deny]
    };
    NewApproval {
        action: call.function().to_owned(),
        arguments: call.to_json(),
        rule: rule.into_owned(),
        approvers,
        verbs,
        due_at: Some(after(now, APPROVAL_MS_DEFAULT)),
        ..new(caller, key, now)
    }
}

/// Whether people may give leave for other arguments than were asked for, and beforehand.
fn may_be_edited(function: &str) -> bool {
    matches!(function, "http.send" | "models.chat" | "tools.call")
}

/// Because the station stopped while a write that cannot be repeated was under way. Who may give leave for the write may say what came of it.
pub(super) fn unknown_outcome(caller: &Caller, key: Key, pending: &PendingCall, approvers: Approvers, now: Timestamp) -> NewApproval {
    let behind = pending.call.stands_for();
    let what = match behind.as_ref().unwrap_or(&pending.call) {
        Call::HttpSend(request) => format!("{} {}", request.method, request.url),
        call => call.function().to_owned(),
    };
    NewApproval {
        kind: ApprovalKind::UnknownOutcome,
        approvers: Approvers { count: 1, ..approvers },
        action: pending.call.function().to_owned(),
        arguments: pending.call.to_json(),
        reason: format!(
            "The station stopped after it had begun to send `{what}` and before it had an answer. The request may have arrived and done its \
             work, or it may never have left. Look at the other side, then say which: it happened (enter what it answered), it did not \
             (it is sent again), or let the call fail."
        ),
        verbs: vec![Verb::Happened, Verb::SendAgain, Verb::Fail],
        on_timeout: OnTimeout::Deny,
        ..new(caller, key, now)
    }
}

/// Because the agent asks. An action that names a function must have that function's arguments.
pub(super) fn requested(caller: &Caller, key: Key, request: &ApprovalRequest, now: Timestamp) -> Result<NewApproval, Failure> {
    let (kind, arguments) = if may_be_edited(&request.action) {
        let call = Call::of_action(&request.action, &request.arguments).map_err(|why| Failure::new(FailureCode::Invalid, why))?;
        (ApprovalKind::Action, call.to_json())
    } else {
        (ApprovalKind::Question, request.arguments.to_string())
    };
    Ok(NewApproval {
        kind,
        action: request.action.clone(),
        arguments,
        reason: request.reason.clone(),
        verbs: request.verbs.clone(),
        due_at: Some(after(now, request.timeout_ms.unwrap_or(APPROVAL_MS_DEFAULT))),
        on_timeout: request.on_timeout,
        ..new(caller, key, now)
    })
}

/// The fingerprint of the call that these arguments make, and the call.
pub fn granted_call(function: &str, arguments: &Value) -> Result<(Call, [u8; 16]), String> {
    let call = Call::of_action(function, arguments)?;
    let print = fingerprint(function, &call.to_json());
    Ok((call, print))
}

/// What a decision means for the call that waited for it.
pub(super) enum Verdict {
    /// It is made, as it is or as edited.
    Go(Call),
    /// It is answered without being made.
    Answer(CallResult),
}

/// Reads a decision on a call that has an effect outside.
pub(super) fn verdict(call: &Call, decision: Decision) -> Verdict {
    let said = if decision.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", decision.reason)
    };
    let by = if decision.by.is_empty() {
        "Nobody decided in time".to_owned()
    } else {
        format!("{} denied this", decision.by)
    };
    let failed = |code, text: String| Verdict::Answer(CallResult::Failed(Failure::new(code, text)));
    match decision.verb {
        // What people approved may be what others had edited before them.
        Verb::Approve => Verdict::Go(granted_call(call.function(), &decision.arguments).map_or_else(|_| call.clone(), |(call, _)| call)),
        Verb::SendAgain => Verdict::Go(call.clone()),
        Verb::Edit => match granted_call(call.function(), &decision.arguments) {
            Ok((edited, _)) => Verdict::Go(edited),
            Err(why) => failed(FailureCode::Invalid, why),
        },
        Verb::Deny => failed(FailureCode::Denied, format!("{by}{said}")),
        Verb::Fail => failed(
            FailureCode::Unavailable,
            format!("the station stopped while this was under way, and it is not known whether it happened{said}"),
        ),
        Verb::Happened => match serde_json::from_value::<HttpResponse>(decision.arguments) {
            Ok(response) => {
                let happened = CallResult::Ok(Reply::Http(response));
                Verdict::Answer(match call {
                    Call::ToolsCall { arguments, .. } => tools::result_of(arguments, happened),
                    _ => happened,
                })
            }
            Err(error) => failed(FailureCode::Invalid, format!("what was entered is no response: {error}")),
        },
    }
}

/// What the summary of a call that waits for a decision says.
pub(super) fn summary(approval: &NewApproval) -> Value {
    json!({
        "waits": "approval", "approval": approval.id, "action": approval.action, "rule": approval.rule, "people": approval.approvers.count,
        "until": approval.due_at.map(Timestamp::as_ms),
    })
}
