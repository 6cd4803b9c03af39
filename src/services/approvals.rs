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
use crate::domain::policy::of_approvers;
use crate::domain::time::Timestamp;
use crate::domain::wait::{ApprovalKind, ApprovalState, Decision, Verb};
use crate::store::approvals::{self, Approval, Said, Vote};
use crate::store::runs::{self, Touched};
use crate::store::waits::Kind;
use crate::store::{self, Scope, Tx, audit, journal, waits as rows};

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

/// Why this actor may not decide it; `None` where they may.
pub fn bar(approval: &Approval, actor: &Actor) -> Option<String> {
    let asked = approval.approvers;
    if !actor.role.is_at_least(asked.min_role) {
        return Some(format!(
            "the policy asks {} here, and your role is {}",
            of_approvers(asked),
            actor.role
        ));
    }
    if !asked.self_approval && approval.started_by == actor.principal {
        return Some("you started this run, and the policy wants others to decide what it asks".to_owned());
    }
    None
}

/// What those stand behind who have given leave and still may: the arguments, and how many of them there are for these.
fn supporters<'a>(approval: &'a Approval, arguments: &Value) -> Vec<&'a Vote> {
    let is_for = |vote: &&Vote| {
        let edited: Option<Value> = vote.said.arguments.as_deref().and_then(|text| serde_json::from_str(text).ok());
        matches!(vote.said.verb, Verb::Approve | Verb::Edit)
            && vote.role.is_some_and(|role| role.is_at_least(approval.approvers.min_role))
            && is_same(approval, &edited.unwrap_or_else(|| original(approval)), arguments)
    };
    approval.votes.iter().filter(is_for).collect()
}

fn original(approval: &Approval) -> Value {
    serde_json::from_str(&approval.arguments).unwrap_or_default()
}

/// Whether two arguments make the same call.
fn is_same(approval: &Approval, one: &Value, other: &Value) -> bool {
    let print = |arguments| granted_call(&approval.action, arguments).map(|(_, print)| print);
    one == other || matches!((print(one), print(other)), (Ok(one), Ok(other)) if one == other)
}

/// How many people have given leave for what was asked or for one edit of it, whichever has more of them.
pub fn agreed(approval: &Approval) -> usize {
    let edits = approval
        .votes
        .iter()
        .filter_map(|vote| serde_json::from_str(vote.said.arguments.as_deref()?).ok());
    edits
        .chain([original(approval)])
        .map(|arguments: Value| supporters(approval, &arguments).len())
        .max()
        .unwrap_or(0)
}

/// Decides, or says what one thinks where several must agree: leave is given once enough people stand behind the very same arguments, and
/// anyone may deny at once. The first decision holds.
///
/// # Errors
/// `NotFound`; `Refused` where the policy asks others; `Invalid` for a verb that is not offered or arguments that do not fit; `Conflict`, with
/// who decided, where it is decided already, or where this person has said the same before.
pub async fn decide(app: &App, actor: &Actor, id: ApprovalId, decide: Decide, origin: Origin) -> Result<Approval, Error> {
    require(actor, Permission::ApprovalsDecide, actor.org, WHAT)?;
    let approval = get(app, actor, id).await?;
    if let Some(why) = bar(&approval, actor) {
        let record = super::audit::of(actor, "approval.decide", &id.to_string(), origin)
            .outcome(audit::Outcome::Denied)
            .detail(json!({ "verb": decide.verb, "run": approval.run, "action": approval.action, "rule": approval.rule }));
        let now = app.clock.now();
        app.store.write(move |tx| audit::record(tx, record.clone(), now)).await?;
        return Err(Error::Refused(format!("You may not do this: {why}.")));
    }
    check(&approval, &decide)?;
    // Leave for what was asked is for nothing else.
    let decide = Decide {
        arguments: decide.arguments.filter(|_| matches!(decide.verb, Verb::Edit | Verb::Happened)),
        ..decide
    };
    let (actor, now) = (actor.clone(), app.clock.now());
    let by = actor.clone();
    let touched = app.store.write(move |tx| say(tx, &by, id, &decide, &origin, now)).await?;
    waits::announce(app, &touched);
    get(app, &actor, id).await
}

fn say(tx: &Tx<'_>, actor: &Actor, id: ApprovalId, decide: &Decide, origin: &Origin, now: Timestamp) -> Result<Vec<Touched>, store::Error> {
    let approval = approvals::get(tx, actor.org, id)?;
    if approval.state != ApprovalState::Pending {
        return Err(store::Error::Conflict(already(&approval)));
    }
    let said = Said {
        verb: decide.verb,
        arguments: decide.arguments.as_ref().map(Value::to_string),
        reason: decide.reason.clone(),
    };
    let before = approval.votes.iter().find(|vote| vote.by == actor.principal);
    if before.is_some_and(|vote| vote.said.verb == said.verb && vote.said.arguments == said.arguments) {
        let more = usize::try_from(approval.approvers.count)
            .unwrap_or(usize::MAX)
            .saturating_sub(agreed(&approval));
        return Err(store::Error::Conflict(format!(
            "you have given your leave already; {more} more of {} must agree",
            of_approvers(approval.approvers)
        )));
    }
    approvals::vote(tx, id, actor.principal, &said, now)?;
    let approval = approvals::get(tx, actor.org, id)?;
    let arguments = decide.arguments.clone().unwrap_or_else(|| original(&approval));
    let gives_leave = matches!(decide.verb, Verb::Approve | Verb::Edit);
    let for_it = supporters(&approval, &arguments);
    let (have, need) = (for_it.len(), approval.approvers.count as usize);
    let mut touched = Vec::new();
    if gives_leave && need > 1 && have < need {
        note(
            tx,
            actor,
            &approval,
            decide,
            kind::APPROVAL_VOTED,
            json!({ "agreed": have, "needed": need }),
            now,
            &mut touched,
        )?;
    } else {
        // Those who stand behind it, in the order in which they said so.
        let names = match for_it.iter().map(|vote| vote.name.as_str()).collect::<Vec<_>>().as_slice() {
            [] | [_] => actor.name.clone(),
            _ if !gives_leave => actor.name.clone(),
            [first @ .., last] => format!("{} and {last}", first.join(", ")),
        };
        approvals::close(tx, actor.org, id, ApprovalState::Decided, Some((&said, actor.principal)), now)?;
        if approval.kind == ApprovalKind::Action
            && gives_leave
            && let Ok((_, print)) = granted_call(&approval.action, &arguments)
        {
            approvals::grant(tx, actor.org, approval.run, id, print)?;
        }
        let more = json!({ "agreed": have, "needed": need, "people": names });
        note(tx, actor, &approval, decide, kind::APPROVAL_DECIDED, more, now, &mut touched)?;
        let outcome = CallResult::Ok(Reply::Decision(Decision {
            verb: decide.verb,
            arguments,
            reason: decide.reason.clone(),
            by: names,
        }));
        for wait in rows::on_target(tx, &id.to_string())? {
            if wait.kind == Kind::Approval {
                waits::complete(tx, wait.org, wait.run, wait.key, &outcome, &mut touched)?;
            }
        }
    }
    let record = super::audit::of(actor, "approval.decide", &id.to_string(), origin.clone()).detail(json!({
        "verb": decide.verb, "run": approval.run, "action": approval.action, "rule": approval.rule, "agreed": have, "needed": need,
    }));
    audit::record(tx, record, now)?;
    Ok(touched)
}

/// The entry of what one person said.
#[expect(clippy::too_many_arguments, reason = "all of it stands in the entry")]
fn note(
    tx: &Tx<'_>,
    actor: &Actor,
    approval: &Approval,
    decide: &Decide,
    kind: &'static str,
    more: Value,
    now: Timestamp,
    touched: &mut Vec<Touched>,
) -> Result<(), store::Error> {
    let mut meta = json!({
        "approval": approval.id, "action": approval.action, "verb": decide.verb, "by": actor.name,
        "reason": decide.reason.chars().take(300).collect::<String>(), "waited_ms": now.as_ms() - approval.created_at.as_ms(),
    });
    if approval.approvers.count > 1
        && let (Some(meta), Value::Object(more)) = (meta.as_object_mut(), more)
    {
        meta.extend(more);
    }
    let entry = NewEntry {
        actor: Some(actor.principal),
        segment: approval.key.segment,
        call: Some(approval.key.call),
        sub: Some(approval.key.sub),
        ..NewEntry::station(now, kind, meta)
    };
    let seq = journal::append(tx, actor.org, approval.run, None, &[entry])?.last_seq;
    touched.push(Touched::entry(approval.run, seq));
    Ok(())
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
