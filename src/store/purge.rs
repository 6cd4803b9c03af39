//! Deleting everything that an organization or a workspace has, a bounded number of rows in each transaction: what is killed in the middle
//! goes on at the next step. The audit log keeps its rows.

use rusqlite::{ToSql, named_params};

use super::{Error, Tx, data_keys, secrets};
use crate::domain::id::{AgentId, OrgId, RunId, WorkspaceId};
use crate::domain::time::Timestamp;

/// Rows deleted in one transaction, but for what one run has beyond its journal.
const ROWS_MAX: u32 = 500;
/// Payloads and blobs deleted in one transaction: each may be megabytes.
const BODIES_MAX: u32 = 16;

const LIVE: &str = "SELECT r.id FROM workspaces w JOIN runs r ON r.org_id = w.org_id AND r.workspace_id = w.id
    AND r.state IN ('queued', 'running', 'waiting') WHERE w.org_id = :org AND (:workspace IS NULL OR w.id = :workspace) AND r.cancel_requested = 0
    LIMIT :limit";
const RUN: &str =
    "SELECT id FROM runs WHERE org_id = :org AND workspace_id = :workspace AND state IN ('succeeded', 'failed', 'cancelled') LIMIT 1";
const ANY_RUN: &str = "SELECT EXISTS (SELECT 1 FROM runs WHERE org_id = :org AND workspace_id = :workspace)";
const JOURNAL: &str = "DELETE FROM journal WHERE run_id = :id AND seq IN (SELECT seq FROM journal WHERE run_id = :id LIMIT :limit)";
const SEGMENTS: &str =
    "DELETE FROM segments WHERE run_id = :id AND segment IN (SELECT segment FROM segments WHERE run_id = :id LIMIT :limit)";
const MESSAGES: &str =
    "DELETE FROM messages WHERE run_id = :id AND message IN (SELECT message FROM messages WHERE run_id = :id LIMIT :limit)";
const DELETE_RUN: &str = "DELETE FROM runs WHERE id = :id";
const AGENT: &str = "SELECT id FROM agents WHERE org_id = :org AND workspace_id = :workspace LIMIT 1";
const MEMORY: &str = "DELETE FROM memory WHERE org_id = :org AND agent_id = :id AND (environment, key) IN
    (SELECT environment, key FROM memory WHERE org_id = :org AND agent_id = :id LIMIT :limit)";
const VERSIONS: &str = "DELETE FROM agent_versions WHERE org_id = :org AND agent_id = :id AND id IN
    (SELECT id FROM agent_versions WHERE org_id = :org AND agent_id = :id LIMIT :limit)";
const DELETE_AGENT: &str = "DELETE FROM agents WHERE id = :id AND org_id = :org";
const POLICIES: &str = "DELETE FROM policies WHERE org_id = :org AND workspace_id = :workspace";
const DELETE_WORKSPACE: &str = "DELETE FROM workspaces WHERE id = :workspace AND org_id = :org";
const WORKSPACE: &str = "SELECT id FROM workspaces WHERE org_id = :org LIMIT 1";
const LEDGER: &str = "DELETE FROM ledger WHERE org_id = :org AND id IN (SELECT id FROM ledger WHERE org_id = :org LIMIT :limit)";
const REQUESTS: &str = "DELETE FROM idempotency_keys WHERE org_id = :org AND (route, key) IN
    (SELECT route, key FROM idempotency_keys WHERE org_id = :org LIMIT :limit)";
const PAYLOADS: &str = "DELETE FROM payloads WHERE org_id = :org AND hash IN (SELECT hash FROM payloads WHERE org_id = :org LIMIT :limit)";
const BLOBS: &str = "DELETE FROM blobs WHERE org_id = :org AND digest IN (SELECT digest FROM blobs WHERE org_id = :org LIMIT :limit)";
// Programs that were this organization's only, those that were removed too as long as there is a key of theirs.
const SERVICES: &str = "DELETE FROM principals WHERE kind = 'service' AND id IN
        (SELECT principal_id FROM members WHERE org_id = :org UNION SELECT principal_id FROM api_keys WHERE org_id = :org)
    AND NOT EXISTS (SELECT 1 FROM members m WHERE m.principal_id = principals.id AND m.org_id <> :org)
    AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.started_by = principals.id)
    AND NOT EXISTS (SELECT 1 FROM agent_versions v WHERE v.created_by = principals.id)";
const IS_DUE: &str = "SELECT EXISTS (SELECT 1 FROM orgs WHERE id = :org AND purge_at <= :now)";
const IS_DELETED: &str = "SELECT EXISTS (SELECT 1 FROM workspaces WHERE id = :workspace AND org_id = :org AND deleted_at IS NOT NULL)";
const DELETE_ORG: &str = "DELETE FROM orgs WHERE id = :org AND purge_at <= :now";

#[cfg(test)]
pub(super) const SQL: [&str; 22] = [
    LIVE,
    RUN,
    ANY_RUN,
    JOURNAL,
    SEGMENTS,
    MESSAGES,
    DELETE_RUN,
    AGENT,
    MEMORY,
    VERSIONS,
    DELETE_AGENT,
    POLICIES,
    DELETE_WORKSPACE,
    WORKSPACE,
    LEDGER,
    REQUESTS,
    PAYLOADS,
    BLOBS,
    SERVICES,
    IS_DUE,
    IS_DELETED,
    DELETE_ORG,
];

/// What one transaction came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more.
    Some,
    /// Runs still execute; what they have cannot be deleted yet.
    Waits,
    /// Nothing is left.
    Done,
    /// It was gone before, or is not to be deleted.
    Nothing,
}

/// Runs of an organization, or of one of its workspaces, that have not ended and were not asked to; at most `limit`.
pub fn live(tx: &Tx<'_>, org: OrgId, workspace: Option<WorkspaceId>, limit: u32) -> Result<Vec<RunId>, Error> {
    let params = named_params! { ":org": org, ":workspace": workspace, ":limit": limit };
    tx.list(LIVE, params, |row| row.get(0))
}

/// Deletes some of what a deleted workspace has; with the last of it the workspace.
pub fn workspace(tx: &Tx<'_>, org: OrgId, workspace: WorkspaceId) -> Result<Step, Error> {
    if tx.get(IS_DELETED, named_params! { ":org": org, ":workspace": workspace }, |row| row.get(0))? {
        everything_in(tx, org, workspace)
    } else {
        Ok(Step::Nothing)
    }
}

fn everything_in(tx: &Tx<'_>, org: OrgId, workspace: WorkspaceId) -> Result<Step, Error> {
    let both = named_params! { ":org": org, ":workspace": workspace };
    let mut room = ROWS_MAX;
    while room > 0 {
        let Some(run) = tx.find(RUN, both, |row| row.get::<_, RunId>(0))? else {
            break;
        };
        for sql in [JOURNAL, SEGMENTS, MESSAGES] {
            let deleted = tx.execute(sql, named_params! { ":id": run, ":limit": room })?;
            room = room.saturating_sub(u32::try_from(deleted).unwrap_or(room));
            if room == 0 {
                return Ok(Step::Some);
            }
        }
        tx.execute(DELETE_RUN, named_params! { ":id": run })?;
        room -= 1;
    }
    if room < ROWS_MAX {
        return Ok(Step::Some);
    }
    if tx.get(ANY_RUN, both, |row| row.get(0))? {
        return Ok(Step::Waits);
    }
    if let Some(agent) = tx.find(AGENT, both, |row| row.get::<_, AgentId>(0))? {
        for sql in [MEMORY, VERSIONS] {
            if tx.execute(sql, named_params! { ":org": org, ":id": agent, ":limit": ROWS_MAX })? > 0 {
                return Ok(Step::Some);
            }
        }
        tx.execute(DELETE_AGENT, named_params! { ":org": org, ":id": agent })?;
        return Ok(Step::Some);
    }
    tx.execute(POLICIES, both)?;
    tx.execute(DELETE_WORKSPACE, both)?;
    Ok(Step::Done)
}

/// Deletes some of what an organization has whose time is over; with the last of it the organization.
pub fn org(tx: &Tx<'_>, org: OrgId, now: Timestamp) -> Result<Step, Error> {
    if !tx.get(IS_DUE, named_params! { ":org": org, ":now": now }, |row| row.get::<_, bool>(0))? {
        return Ok(Step::Nothing);
    }
    // First what is sealed and the keys to it: nothing of it opens ever again, whatever else is still there.
    if secrets::delete_of(tx, org, ROWS_MAX)? > 0 {
        return Ok(Step::Some);
    }
    data_keys::delete_of(tx, org)?;
    if let Some(found) = tx.find(WORKSPACE, named_params! { ":org": org }, |row| row.get::<_, WorkspaceId>(0))? {
        return Ok(match everything_in(tx, org, found)? {
            Step::Done => Step::Some,
            step => step,
        });
    }
    for (sql, limit) in [
        (LEDGER, ROWS_MAX),
        (REQUESTS, ROWS_MAX),
        (PAYLOADS, BODIES_MAX),
        (BLOBS, BODIES_MAX),
    ] {
        let params: &[(&str, &dyn ToSql)] = named_params! { ":org": org, ":limit": limit };
        if tx.execute(sql, params)? > 0 {
            return Ok(Step::Some);
        }
    }
    tx.execute(SERVICES, named_params! { ":org": org })?;
    tx.execute(DELETE_ORG, named_params! { ":org": org, ":now": now })?;
    Ok(Step::Done)
}
