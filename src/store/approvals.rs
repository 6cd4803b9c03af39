//! Decisions asked of people, what each person said, and the leave that comes of it.

use rusqlite::{Row, named_params};

use super::tx::Cells;
use super::waits::Key;
use super::{Error, Reader, Scope, Tx};
use crate::domain::id::{ApprovalId, OrgId, PrincipalId, RunId, WorkspaceId};
use crate::domain::permission::Role;
use crate::domain::policy::Approvers;
use crate::domain::time::Timestamp;
use crate::domain::wait::{ApprovalKind, ApprovalState, OnTimeout, Verb};

macro_rules! columns {
    () => {
        "a.id, a.org_id, a.workspace_id, a.run_id, a.segment, a.call, a.sub, a.seq, a.kind, a.agent_name, a.action, a.arguments, a.reason, a.rule,
         a.verbs, a.quorum, a.min_role, a.self_approval, r.started_by, a.due_at, a.on_timeout, a.state, a.verb, a.decided_arguments, a.decided_reason, a.decided_by, p.name, a.decided_at,
         a.created_at"
    };
}
pub(super) const INSERT: &str = "INSERT INTO approvals (id, org_id, workspace_id, run_id, segment, call, sub, seq, kind, agent_name, action,
    arguments, reason, rule, verbs, quorum, min_role, self_approval, due_at, on_timeout, state, created_at)
    VALUES (:id, :org, :workspace, :run, :segment, :call, :sub, :seq, :kind, :agent_name, :action, :arguments, :reason, :rule, :verbs, :quorum,
    :min_role, :self_approval, :due, :on_timeout, 'pending', :now)";
pub(super) const GET: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM approvals a JOIN runs r ON r.id = a.run_id LEFT JOIN principals p ON p.id = a.decided_by WHERE a.id = :id AND a.org_id = :org"
);
pub(super) const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM approvals a JOIN runs r ON r.id = a.run_id LEFT JOIN principals p ON p.id = a.decided_by
    WHERE a.org_id = :org AND a.workspace_id = :workspace AND a.state = :state AND a.id < :before ORDER BY a.id DESC LIMIT :limit"
);
pub(super) const QUEUE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM approvals a JOIN runs r ON r.id = a.run_id LEFT JOIN principals p ON p.id = a.decided_by
    WHERE a.org_id = :org AND a.workspace_id = :workspace AND a.state = 'pending' AND a.id > :after ORDER BY a.id LIMIT :limit"
);
pub(super) const OF_RUN: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM approvals a JOIN runs r ON r.id = a.run_id LEFT JOIN principals p ON p.id = a.decided_by WHERE a.org_id = :org AND a.run_id = :run ORDER BY a.id LIMIT :limit"
);
pub(super) const PENDING: &str =
    "SELECT count(*) FROM (SELECT 1 FROM approvals WHERE org_id = :org AND workspace_id = :workspace AND state = 'pending' LIMIT :limit)";
pub(super) const VOTE: &str = "INSERT INTO approval_decisions (approval_id, principal_id, verb, arguments, reason, at)
    VALUES (:id, :principal, :verb, :arguments, :reason, :now) ON CONFLICT (approval_id, principal_id) DO UPDATE SET
    verb = excluded.verb, arguments = excluded.arguments, reason = excluded.reason, at = excluded.at";
pub(super) const VOTES: &str = "SELECT d.principal_id, p.name, m.role, d.verb, d.arguments, d.reason, d.at FROM approval_decisions d
    JOIN principals p ON p.id = d.principal_id LEFT JOIN members m ON m.org_id = :org AND m.principal_id = d.principal_id
    WHERE d.approval_id = :id ORDER BY d.at, d.principal_id";
pub(super) const DECIDE: &str =
    "UPDATE approvals SET state = :state, verb = :verb, decided_arguments = :arguments, decided_reason = :reason,
    decided_by = :principal, decided_at = :now WHERE id = :id AND org_id = :org AND state = 'pending'";
pub(super) const WITHDRAW: &str = "UPDATE approvals SET state = 'withdrawn', decided_at = :now
    WHERE org_id = :org AND run_id = :run AND state = 'pending' RETURNING id, segment";
pub(super) const GRANT: &str = "INSERT INTO grants (approval_id, org_id, run_id, fingerprint) VALUES (:approval, :org, :run, :fingerprint)";
pub(super) const GRANTS: &str = "SELECT g.approval_id, a.min_role, a.quorum, a.self_approval FROM grants g
    JOIN approvals a ON a.id = g.approval_id
    WHERE g.org_id = :org AND g.run_id = :run AND g.fingerprint = :fingerprint AND g.used_at IS NULL ORDER BY g.approval_id";
pub(super) const USE_GRANT: &str = "UPDATE grants SET used_at = :now WHERE approval_id = :id AND used_at IS NULL";

/// A decision that is to be asked for.
#[derive(Clone, Debug)]
pub struct NewApproval {
    pub id: ApprovalId,
    pub run: RunId,
    /// The call that waits for it.
    pub key: Key,
    /// The entry that asks.
    pub seq: u64,
    pub kind: ApprovalKind,
    pub agent_name: String,
    pub action: String,
    /// JSON.
    pub arguments: String,
    pub reason: String,
    /// The policy's rule; empty where the agent asks.
    pub rule: String,
    pub verbs: Vec<Verb>,
    pub approvers: Approvers,
    pub due_at: Option<Timestamp>,
    pub on_timeout: OnTimeout,
}

/// A decision, asked for or made.
#[derive(Clone, Debug)]
pub struct Approval {
    pub id: ApprovalId,
    pub org: OrgId,
    pub workspace: WorkspaceId,
    pub run: RunId,
    pub key: Key,
    pub seq: u64,
    pub kind: ApprovalKind,
    pub agent_name: String,
    pub action: String,
    /// JSON.
    pub arguments: String,
    pub reason: String,
    pub rule: String,
    pub verbs: Vec<Verb>,
    pub approvers: Approvers,
    /// Who started the run.
    pub started_by: PrincipalId,
    pub due_at: Option<Timestamp>,
    pub on_timeout: OnTimeout,
    pub state: ApprovalState,
    pub verb: Option<Verb>,
    /// JSON, where they were edited or a person entered the answer.
    pub decided_arguments: Option<String>,
    pub decided_reason: Option<String>,
    pub decided_by: Option<PrincipalId>,
    pub decided_by_name: Option<String>,
    pub decided_at: Option<Timestamp>,
    pub created_at: Timestamp,
    /// What each person has said, in order; only where several must agree.
    pub votes: Vec<Vote>,
}

/// What one of several people has said.
#[derive(Clone, Debug)]
pub struct Vote {
    pub by: PrincipalId,
    pub name: String,
    /// Now; none where the person is no member any more.
    pub role: Option<Role>,
    pub said: Said,
    pub at: Timestamp,
}

/// What a person said.
#[derive(Clone, Debug)]
pub struct Said {
    pub verb: Verb,
    /// JSON.
    pub arguments: Option<String>,
    pub reason: String,
}

fn approval(row: &Row<'_>) -> rusqlite::Result<Approval> {
    let mut cells = Cells::of(row);
    Ok(Approval {
        id: cells.take()?,
        org: cells.take()?,
        workspace: cells.take()?,
        run: cells.take()?,
        key: Key {
            segment: cells.take()?,
            call: cells.take()?,
            sub: cells.take()?,
        },
        seq: cells.take::<i64>()? as u64,
        kind: cells.take()?,
        agent_name: cells.take()?,
        action: cells.take()?,
        arguments: cells.take()?,
        reason: cells.take()?,
        rule: cells.take()?,
        verbs: serde_json::from_str(&cells.take::<String>()?).unwrap_or_default(),
        approvers: Approvers {
            count: cells.take()?,
            min_role: cells.take()?,
            self_approval: cells.take()?,
        },
        started_by: cells.take()?,
        due_at: cells.take()?,
        on_timeout: cells.take()?,
        state: cells.take()?,
        verb: cells.take()?,
        decided_arguments: cells.take()?,
        decided_reason: cells.take()?,
        decided_by: cells.take()?,
        decided_by_name: cells.take()?,
        decided_at: cells.take()?,
        created_at: cells.take()?,
        votes: Vec::new(),
    })
}

/// Adds what people have said where several must agree.
fn with_votes(reader: &Reader<'_>, mut approval: Approval) -> Result<Approval, Error> {
    if approval.approvers.count > 1 {
        approval.votes = votes(reader, approval.org, approval.id)?;
    }
    Ok(approval)
}

fn all_with_votes(reader: &Reader<'_>, found: Vec<Approval>) -> Result<Vec<Approval>, Error> {
    found.into_iter().map(|approval| with_votes(reader, approval)).collect()
}

/// What people have said, in order.
fn votes(reader: &Reader<'_>, org: OrgId, id: ApprovalId) -> Result<Vec<Vote>, Error> {
    reader.list(VOTES, named_params! { ":org": org, ":id": id }, |row| {
        let mut cells = Cells::of(row);
        Ok(Vote {
            by: cells.take()?,
            name: cells.take()?,
            role: cells.take()?,
            said: Said {
                verb: cells.take()?,
                arguments: cells.take()?,
                reason: cells.take()?,
            },
            at: cells.take()?,
        })
    })
}

/// Asks for a decision.
pub fn insert(tx: &Tx<'_>, scope: Scope, new: &NewApproval, now: Timestamp) -> Result<(), Error> {
    let verbs = serde_json::to_string(&new.verbs).unwrap_or_default();
    tx.execute(
        INSERT,
        named_params! {
            ":id": new.id, ":org": scope.org, ":workspace": scope.workspace, ":run": new.run, ":segment": new.key.segment, ":call": new.key.call,
            ":sub": new.key.sub, ":seq": new.seq as i64, ":kind": new.kind, ":agent_name": new.agent_name, ":action": new.action,
            ":arguments": new.arguments, ":reason": new.reason, ":rule": new.rule, ":verbs": verbs, ":quorum": new.approvers.count,
            ":min_role": new.approvers.min_role, ":self_approval": new.approvers.self_approval, ":due": new.due_at, ":on_timeout": new.on_timeout, ":now": now,
        },
    )?;
    Ok(())
}

/// # Errors
/// [`Error::NotFound`].
pub fn get(reader: &Reader<'_>, org: OrgId, id: ApprovalId) -> Result<Approval, Error> {
    let found = reader.get(GET, named_params! { ":id": id, ":org": org }, approval)?;
    with_votes(reader, found)
}

/// Decisions in a state, from the newest on, before `before`.
pub fn list(
    reader: &Reader<'_>,
    scope: Scope,
    state: ApprovalState,
    before: Option<ApprovalId>,
    limit: u32,
) -> Result<Vec<Approval>, Error> {
    let before = before.map_or_else(|| "~".to_owned(), |id| id.to_string());
    let found = reader.list(
        LIST,
        named_params! { ":org": scope.org, ":workspace": scope.workspace, ":state": state, ":before": before, ":limit": limit },
        approval,
    )?;
    all_with_votes(reader, found)
}

/// Decisions that are waited for, from the oldest on, after `after`.
pub fn queue(reader: &Reader<'_>, scope: Scope, after: Option<ApprovalId>, limit: u32) -> Result<Vec<Approval>, Error> {
    let after = after.map_or_else(String::new, |id| id.to_string());
    let found = reader.list(
        QUEUE,
        named_params! { ":org": scope.org, ":workspace": scope.workspace, ":after": after, ":limit": limit },
        approval,
    )?;
    all_with_votes(reader, found)
}

/// Decisions that a run asked for, in order.
pub fn of_run(reader: &Reader<'_>, org: OrgId, run: RunId, limit: u32) -> Result<Vec<Approval>, Error> {
    let found = reader.list(OF_RUN, named_params! { ":org": org, ":run": run, ":limit": limit }, approval)?;
    all_with_votes(reader, found)
}

/// How many decisions are waited for, counted no further than `limit`.
pub fn pending(reader: &Reader<'_>, scope: Scope, limit: u32) -> Result<u32, Error> {
    reader.get(
        PENDING,
        named_params! { ":org": scope.org, ":workspace": scope.workspace, ":limit": limit },
        |row| row.get(0),
    )
}

/// Keeps what a person says; what the same person said before no longer counts.
pub fn vote(tx: &Tx<'_>, id: ApprovalId, principal: PrincipalId, said: &Said, now: Timestamp) -> Result<(), Error> {
    tx.execute(
        VOTE,
        named_params! { ":id": id, ":principal": principal, ":verb": said.verb, ":arguments": said.arguments, ":reason": said.reason, ":now": now },
    )?;
    Ok(())
}

/// Decides, or lets it expire where nobody did. Returns whether it was still pending.
pub fn close(
    tx: &Tx<'_>,
    org: OrgId,
    id: ApprovalId,
    state: ApprovalState,
    said: Option<(&Said, PrincipalId)>,
    now: Timestamp,
) -> Result<bool, Error> {
    let (said, principal) = said.unzip();
    let changed = tx.execute(
        DECIDE,
        named_params! {
            ":id": id, ":org": org, ":state": state, ":verb": said.map(|said| said.verb), ":arguments": said.and_then(|said| said.arguments.clone()),
            ":reason": said.map(|said| said.reason.clone()), ":principal": principal, ":now": now,
        },
    )?;
    Ok(changed == 1)
}

/// Takes back what a run asked for and nobody has decided.
pub fn withdraw(tx: &Tx<'_>, org: OrgId, run: RunId, now: Timestamp) -> Result<Vec<(ApprovalId, u32)>, Error> {
    tx.list(WITHDRAW, named_params! { ":org": org, ":run": run, ":now": now }, |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// Gives leave for one exact call of a run.
pub fn grant(tx: &Tx<'_>, org: OrgId, run: RunId, approval: ApprovalId, fingerprint: [u8; 16]) -> Result<(), Error> {
    tx.execute(
        GRANT,
        named_params! { ":approval": approval, ":org": org, ":run": run, ":fingerprint": fingerprint },
    )?;
    Ok(())
}

/// Uses up the leave for this call, where there is one that is enough where `approvers` are to be asked.
pub fn use_grant(
    tx: &Tx<'_>,
    org: OrgId,
    run: RunId,
    fingerprint: [u8; 16],
    approvers: Approvers,
    now: Timestamp,
) -> Result<Option<ApprovalId>, Error> {
    let grants: Vec<(ApprovalId, Approvers)> = tx.list(
        GRANTS,
        named_params! { ":org": org, ":run": run, ":fingerprint": fingerprint },
        |row| {
            let given = Approvers {
                min_role: row.get(1)?,
                count: row.get(2)?,
                self_approval: row.get(3)?,
            };
            Ok((row.get(0)?, given))
        },
    )?;
    let Some((id, _)) = grants.into_iter().find(|(_, given)| given.cover(approvers)) else {
        return Ok(None);
    };
    tx.execute(USE_GRANT, named_params! { ":id": id, ":now": now })?;
    Ok(Some(id))
}
