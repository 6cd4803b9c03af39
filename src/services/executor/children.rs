//! Children: starting them and asking them, within a parent's transaction.

use serde_json::json;

use super::super::plans;
use super::caller::Caller;
use crate::domain::agent::AgentVersion;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::{MessageId, RunId};
use crate::domain::journal::{NewEntry, Payload, kind};
use crate::domain::limits::{CHILD_DEPTH_MAX, CHILDREN_MAX, MESSAGES_WAITING_MAX, SAME_AGENT_IN_CHAIN_MAX};
use crate::domain::run::Trigger;
use crate::domain::time::Timestamp;
use crate::domain::wait::{AskRequest, Quota};
use crate::store::messages::{self, NewMessage};
use crate::store::runs::{self, NewRun, Parent, Touched};
use crate::store::waits::Key;
use crate::store::{self, Tx, journal};

/// What is known of an agent that is to be started before the transaction begins.
#[derive(Clone)]
pub(super) struct Startable {
    pub id: RunId,
    pub version: AgentVersion,
    pub input: String,
}

/// Who asked for a segment, and what it may take.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Asked {
    pub run: RunId,
    pub key: Key,
    pub quota: Quota,
}

/// Queues a child in its parent's transaction.
pub(super) fn start(
    tx: &Tx<'_>,
    caller: &Caller,
    key: Key,
    child: Startable,
    now: Timestamp,
) -> Result<Result<RunId, Failure>, store::Error> {
    let limit = |text: String| Ok(Err(Failure::new(FailureCode::LimitExceeded, text)));
    let depth = caller.depth + 1;
    if depth > CHILD_DEPTH_MAX {
        return limit(format!(
            "{CHILD_DEPTH_MAX} runs stand above this one already; a child of its own would be one too deep"
        ));
    }
    let chain = runs::chain(tx, caller.org, caller.run)?;
    let same = chain.iter().filter(|above| above.agent_id == child.version.agent_id).count();
    if same >= SAME_AGENT_IN_CHAIN_MAX {
        let name = &child.version.manifest.name;
        return limit(format!(
            "“{name}” already stands {same} times among the runs above; agents that start each other end here"
        ));
    }
    if runs::children(tx, caller.org, caller.run, CHILDREN_MAX)? >= CHILDREN_MAX {
        return limit(format!("a run may start {CHILDREN_MAX} others"));
    }
    match plans::check_queue(tx, caller.org) {
        Ok(()) => {}
        // It may have room in a moment.
        Err(store::Error::Plan(text)) => return Ok(Err(Failure::retryable(FailureCode::Unavailable, text))),
        Err(error) => return Err(error),
    }
    match plans::check_bytes(tx, caller.org, child.input.len()) {
        Ok(()) => {}
        Err(store::Error::Plan(text)) => return limit(text),
        Err(error) => return Err(error),
    }
    let new = NewRun {
        id: child.id,
        environment: caller.environment.clone(),
        agent_id: child.version.agent_id,
        version_id: child.version.id,
        agent_name: child.version.manifest.name.clone(),
        agent_version: child.version.version.to_string(),
        trigger: Trigger::Parent,
        started_by: caller.started_by,
        started_by_name: caller.agent_name.clone(),
        input: child.input,
        priority: 0,
        retry: "{}".to_owned(),
        pinned: false,
        session: false,
        budget_micros: child.version.manifest.limits.cost_budget(),
        key: caller.key.clone(),
        parent: Some(Parent {
            run: caller.run,
            key,
            depth,
            ask_writes: caller.ask_writes,
            forked_from: caller.forked_from,
        }),
    };
    runs::insert(tx, caller.scope(), &new, now)?;
    runs::entangle(tx, caller.org, caller.run)?;
    Ok(Ok(child.id))
}

/// Whether the caller stands above this run, which is still there to be asked.
///
/// # Errors
/// The failure that the agent gets.
pub(super) fn check(tx: &Tx<'_>, caller: &Caller, child: RunId) -> Result<Result<(), Failure>, store::Error> {
    let not_found = || Ok(Err(Failure::new(FailureCode::NotFound, "this run has started no such run")));
    let chain = match runs::chain(tx, caller.org, child) {
        Ok(chain) => chain,
        Err(store::Error::NotFound) => return not_found(),
        Err(error) => return Err(error),
    };
    if !chain.iter().skip(1).any(|above| above.id == caller.run) {
        return not_found();
    }
    Ok(Ok(()))
}

/// Posts a question to a child.
pub(super) fn ask(
    tx: &Tx<'_>,
    caller: &Caller,
    key: Key,
    request: &AskRequest,
    now: Timestamp,
    touched: &mut Vec<Touched>,
) -> Result<Result<(), Failure>, store::Error> {
    if let Err(failure) = check(tx, caller, request.run)? {
        return Ok(Err(failure));
    }
    if runs::outcome(tx, caller.org, request.run)?.is_some() {
        return Ok(Err(Failure::new(FailureCode::Conflict, "the child has ended and answers no more")));
    }
    if messages::waiting_count(tx, caller.org, request.run, MESSAGES_WAITING_MAX)? >= MESSAGES_WAITING_MAX {
        let text = format!("{MESSAGES_WAITING_MAX} messages wait for the child already");
        return Ok(Err(Failure::retryable(FailureCode::LimitExceeded, text)));
    }
    let asked = Asked {
        run: caller.run,
        key,
        quota: request.quota,
    };
    let message = NewMessage {
        id: MessageId::new(now),
        sender: None,
        sender_name: caller.agent_name.clone(),
        text: request.message.clone(),
        ask: serde_json::to_string(&asked).ok(),
    };
    messages::insert(tx, caller.org, request.run, &message, now)?;
    let entry = NewEntry {
        request: Some(Payload::Json(json!({ "text": message.text }).to_string())),
        ..NewEntry::station(
            now,
            kind::MESSAGE_RECEIVED,
            json!({ "id": message.id, "sender": message.sender_name, "asked_by": caller.run, "quota": request.quota }),
        )
    };
    let seq = journal::append(tx, caller.org, request.run, None, &[entry])?.last_seq;
    let woken = messages::wake(tx, caller.org, request.run)?;
    touched.push(Touched {
        state: woken.then_some(crate::domain::run::RunState::Queued),
        ..Touched::entry(request.run, seq)
    });
    Ok(Ok(()))
}
