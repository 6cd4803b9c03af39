//! What waits for a person's decision, and deciding it.

use serde_json::{Value, json};

use super::access::require;
use super::executor::granted_call;
use super::{App, Error, waits};
use crate::domain::call::{CallResult, HttpResponse, Reply};
use crate::domain::id::{ApprovalId, RunId};
use crate::domain::journal::{NewEntry, kind};
use crate::domain::limits::{ARGUMENTS_BYTES_MAX, PAGE_MAX, REASON_BYTES_MAX};
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::domain::wait::{ApprovalKind, ApprovalState, Decision, Verb};
use crate::store::approvals::{self, Approval, Said};
use crate::store::runs::{self, Touched};
use crate::store::waits::Kind;
use crate::store::{self, Scope, audit, journal, waits as rows};

const WHAT: &str = "the approval";
/// Where counting what waits for a decision ends.
const COUNT_MAX: u32 = 1_000;

const fn scope(actor: &Actor) -> Scope {
    Scope {
        org: actor.org,
        workspace: actor.workspace,
    }
}

/// Approvals in a state, from the newest on, before `before`.
///
/// # Errors
/// The actor may not read approvals.
pub async fn list(app: &App, actor: &Actor, state: ApprovalState, before: Option<ApprovalId>, limit: u32) -> Result<Vec<Approval>, Error> {
    require(actor, Permission::ApprovalsRead, actor.org, WHAT)?;
    let scope = scope(actor);
    let limit = limit.clamp(1, PAGE_MAX);
    Ok(app
        .store
        .read(move |reader| approvals::list(reader, scope, state, before, limit))
        .await?)
}

/// Approvals that are waited for, from the oldest on, after `after`.
///
/// # Errors
/// The actor may not read approvals.
pub async fn queue(app: &App, actor: &Actor, after: Option<ApprovalId>, limit: u32) -> Result<Vec<Approval>, Error> {
    require(actor, Permission::ApprovalsRead, actor.org, WHAT)?;
    let (scope, limit) = (scope(actor), limit.clamp(1, PAGE_MAX));
    Ok(app.store.read(move |reader| approvals::queue(reader, scope, after, limit)).await?)
}

/// How many approvals are pending, counted no further than [`COUNT_MAX`].
///
/// # Errors
/// The actor may not read approvals.
pub async fn pending(app: &App, actor: &Actor) -> Result<u32, Error> {
    require(actor, Permission::ApprovalsRead, actor.org, WHAT)?;
    let scope = scope(actor);
    Ok(app.store.read(move |reader| approvals::pending(reader, scope, COUNT_MAX)).await?)
}

/// # Errors
/// `NotFound`.
pub async fn get(app: &App, actor: &Actor, id: ApprovalId) -> Result<Approval, Error> {
    require(actor, Permission::ApprovalsRead, actor.org, WHAT)?;
    let org = actor.org;
    Ok(app.store.read(move |reader| approvals::get(reader, org, id)).await?)
}

/// What a run asked for, in order.
///
/// # Errors
/// `NotFound`.
pub async fn of_run(app: &App, actor: &Actor, run: RunId) -> Result<Vec<Approval>, Error> {
    require(actor, Permission::ApprovalsRead, actor.org, WHAT)?;
    let org = actor.org;
    let read = app.store.read(move |reader| {
        runs::state(reader, org, run)?;
        approvals::of_run(reader, org, run, PAGE_MAX)
    });
    Ok(read.await?)
}

/// What a person decides.
#[derive(Clone, Debug)]
pub struct Decide {
    pub verb: Verb,
    /// The edited arguments, or the answer of a write that happened.
    pub arguments: Option<Value>,
    pub reason: String,
}

/// What is wrong with a decision, before anything is written.
fn check(approval: &Approval, decide: &Decide) -> Result<(), Error> {
    if !approval.verbs.contains(&decide.verb) {
        let offered: Vec<_> = approval.verbs.iter().map(|verb| verb.as_str()).collect();
        return Err(Error::field("/decision", format!("this approval takes {}", offered.join(", "))));
    }
    if decide.reason.len() > REASON_BYTES_MAX {
        return Err(Error::field("/reason", format!("it has more than {REASON_BYTES_MAX} bytes")));
    }
    let arguments = decide.arguments.as_ref();
    if arguments.is_some_and(|arguments| arguments.to_string().len() > ARGUMENTS_BYTES_MAX) {
        return Err(Error::field(
            "/arguments",
            format!("they have more than {ARGUMENTS_BYTES_MAX} bytes"),
        ));
    }
    match (decide.verb, arguments) {
        (Verb::Edit, None) => Err(Error::field("/arguments", "give the edited arguments")),
        (Verb::Edit, Some(edited)) if approval.kind == ApprovalKind::Action => granted_call(&approval.action, edited)
            .map(drop)
            .map_err(|why| Error::field("/arguments", why)),
        (Verb::Happened, None) => Err(Error::field(
            "/arguments",
            "enter what the other side answered: status, headers, body, url",
        )),
        (Verb::Happened, Some(answer)) => serde_json::from_value::<HttpResponse>(answer.clone())
            .map(drop)
            .map_err(|error| Error::field("/arguments", format!("this is no response: {error}"))),
        _ => Ok(()),
    }
}

/// Decides. The first decision holds.
///
/// # Errors
/// `NotFound`; `Invalid` for a verb that is not offered or arguments that do not fit; `Conflict`, with who decided, where it is decided already.
pub async fn decide(app: &App, actor: &Actor, id: ApprovalId, decide: Decide, origin: Origin) -> Result<Approval, Error> {
    require(actor, Permission::ApprovalsDecide, actor.org, WHAT)?;
    let approval = get(app, actor, id).await?;
    check(&approval, &decide)?;
    let (org, principal, name, now) = (actor.org, actor.principal, actor.name.clone(), app.clock.now());
    let record = super::audit::of(actor, "approval.decide", &id.to_string(), origin);
    let decided = app
        .store
        .write(move |tx| {
            let approval = approvals::get(tx, org, id)?;
            if approval.state != ApprovalState::Pending {
                return Err(store::Error::Conflict(already(&approval)));
            }
            let said = Said {
                verb: decide.verb,
                arguments: decide.arguments.as_ref().map(Value::to_string),
                reason: decide.reason.clone(),
            };
            approvals::vote(tx, id, principal, &said, now)?;
            approvals::close(tx, org, id, ApprovalState::Decided, Some((&said, principal)), now)?;
            let original: Value = serde_json::from_str(&approval.arguments).unwrap_or_default();
            let arguments = decide.arguments.clone().unwrap_or(original);
            if approval.kind == ApprovalKind::Action
                && matches!(decide.verb, Verb::Approve | Verb::Edit)
                && let Ok((_, print)) = granted_call(&approval.action, &arguments)
            {
                approvals::grant(tx, org, approval.run, id, print)?;
            }
            let mut touched = Vec::new();
            let meta = json!({
                "approval": id, "action": approval.action, "verb": decide.verb, "by": name, "reason": decide.reason.chars().take(300).collect::<String>(),
                "waited_ms": now.as_ms() - approval.created_at.as_ms(),
            });
            let entry = NewEntry {
                actor: Some(principal),
                segment: approval.key.segment,
                call: Some(approval.key.call),
                sub: Some(approval.key.sub),
                ..NewEntry::station(now, kind::APPROVAL_DECIDED, meta)
            };
            let seq = journal::append(tx, org, approval.run, None, &[entry])?.last_seq;
            touched.push(Touched::entry(approval.run, seq));
            let outcome = CallResult::Ok(Reply::Decision(Decision {
                verb: decide.verb,
                arguments,
                reason: decide.reason.clone(),
                by: name.clone(),
            }));
            for wait in rows::on_target(tx, &id.to_string())? {
                if wait.kind == Kind::Approval {
                    waits::complete(tx, wait.org, wait.run, wait.key, &outcome, &mut touched)?;
                }
            }
            let detail = json!({ "verb": decide.verb, "run": approval.run, "action": approval.action });
            audit::record(tx, record.detail(detail), now)?;
            Ok(touched)
        })
        .await?;
    waits::announce(app, &decided);
    get(app, actor, id).await
}

/// Who decided, for whoever comes second.
fn already(approval: &Approval) -> String {
    let by = approval.decided_by_name.as_deref().unwrap_or("someone");
    match (approval.state, approval.verb) {
        (ApprovalState::Expired, _) => "nobody decided in time, so it has expired".to_owned(),
        (ApprovalState::Withdrawn, _) => "the run no longer asks for it".to_owned(),
        (_, Some(verb)) => format!("{by} has decided already: {verb}"),
        (_, None) => format!("{by} has decided already"),
    }
}
