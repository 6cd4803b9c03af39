//! The queue: claiming runs under a lease, and finding those that were left behind.

use std::collections::BTreeMap;

use rusqlite::named_params;
use serde_json::json;

use super::super::hash::Hash;
use super::super::tx::Cells;
use super::super::{Error, Reader, Tx, journal, ledger};
use super::Touched;
use crate::domain::fair_share::{Waiting, share};
use crate::domain::id::{AgentId, NodeId, OrgId, PrincipalId, RunId, VersionId, WorkspaceId};
use crate::domain::journal::{NewEntry, kind};
use crate::domain::manifest::RuntimeKind;
use crate::domain::permission::{Permission, Role};
use crate::domain::plan::Plan;
use crate::domain::run::{Environment, WakeOn};
use crate::domain::time::Timestamp;

const WAKE: &str = "UPDATE runs SET state = 'queued' WHERE state = 'waiting' AND wake_at IS NOT NULL AND wake_at <= :now";
const NEXT_WAKE: &str = "SELECT wake_at FROM runs WHERE state = 'waiting' AND wake_at IS NOT NULL ORDER BY wake_at LIMIT 1";
// One step of the index for each organization with queued runs, however many it has.
const WAITING: &str = "WITH RECURSIVE waiting (org) AS (
        SELECT min(org_id) FROM runs WHERE state = 'queued' AND holds = 0
        UNION ALL
        SELECT (SELECT min(org_id) FROM runs WHERE state = 'queued' AND holds = 0 AND org_id > waiting.org) FROM waiting WHERE waiting.org IS NOT NULL)
    SELECT o.id, o.served, o.plan FROM waiting JOIN orgs o ON o.id = waiting.org WHERE o.deleted_at IS NULL";
// Left to itself SQLite reads the index of all runs, which grows with what has ended and what is parked.
const RUNNING: &str = "SELECT org_id, count(*) FROM runs INDEXED BY runs_leased WHERE state = 'running' GROUP BY org_id";
const COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM runs WHERE state = 'queued' AND holds = 0 AND org_id = :org LIMIT :limit)";
const SERVED: &str = "UPDATE orgs SET served = :served WHERE id = :org";
const QUEUED: &str =
    "SELECT r.id, r.org_id, r.workspace_id, r.environment, r.agent_id, r.version_id, r.started_by, v.runtime, v.code_digest, r.attempt,
    r.segment, r.fence + 1, r.cancel_requested, r.fuel, r.active_ms, r.calls, r.journal_bytes, r.input_hash, r.wake_on, r.wake_at, r.state_hash,
    r.pinned, r.turn_calls, r.turn_bytes, r.turn_ms, r.retry, r.tries, r.parent_run_id, r.depth, r.forked_from, r.ask_writes, r.session, r.agent_version, r.key_id,
    (SELECT m.role FROM members m JOIN principals p ON p.id = m.principal_id
        WHERE m.org_id = r.org_id AND m.principal_id = r.started_by AND p.disabled_at IS NULL)
    FROM runs r JOIN agent_versions v ON v.id = r.version_id
    WHERE r.state = 'queued' AND r.holds = 0 AND r.org_id = :org ORDER BY r.priority DESC, r.id LIMIT :limit";
const CLAIM: &str =
    "UPDATE runs SET state = 'running', fence = :fence, lease_node = :node, lease_until = :until, started_at = COALESCE(started_at, :now)
    WHERE id = :run AND state = 'queued' AND holds = 0";
const RENEW: &str = "UPDATE runs SET lease_until = :until WHERE id = :run AND state = 'running' AND fence = :fence AND lease_node = :node";
const RECOVER_EXPIRED: &str = "UPDATE runs SET state = 'queued', attempt = attempt + 1, lease_node = NULL, lease_until = NULL
    WHERE state = 'running' AND lease_until < :now RETURNING id, org_id, segment, attempt";
const RECOVER_FOREIGN: &str = "UPDATE runs SET state = 'queued', attempt = attempt + 1, lease_node = NULL, lease_until = NULL
    WHERE state = 'running' AND lease_until IS NOT NULL AND lease_node <> :node RETURNING id, org_id, segment, attempt";

#[cfg(test)]
pub(crate) const SQL: [&str; 11] = [
    WAKE,
    NEXT_WAKE,
    WAITING,
    RUNNING,
    COUNT,
    SERVED,
    QUEUED,
    CLAIM,
    RENEW,
    RECOVER_EXPIRED,
    RECOVER_FOREIGN,
];

/// A run that this start holds.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub id: RunId,
    pub org: OrgId,
    pub workspace: WorkspaceId,
    pub environment: Environment,
    pub agent_id: AgentId,
    pub version_id: VersionId,
    pub started_by: PrincipalId,
    pub runtime: RuntimeKind,
    pub code_digest: Hash,
    pub attempt: u32,
    pub segment: u32,
    pub fence: u64,
    pub cancel_requested: bool,
    pub fuel: u64,
    pub active_ms: u64,
    pub calls: u64,
    pub journal_bytes: u64,
    pub input_hash: Hash,
    /// What the next segment begins with, where it has not begun.
    pub wake_on: Option<WakeOn>,
    pub wake_at: Option<Timestamp>,
    /// State for that segment.
    pub state_hash: Option<Hash>,
    /// Whether its version was named when it was started.
    pub pinned: bool,
    /// Where `calls`, `journal_bytes` and `active_ms` stood when the current turn began.
    pub turn_calls: u64,
    pub turn_bytes: u64,
    pub turn_ms: u64,
    /// JSON of its retry policy.
    pub retry: String,
    /// Automatic tries made of the current segment.
    pub tries: u32,
    pub parent: Option<RunId>,
    pub depth: u32,
    pub forked_from: Option<RunId>,
    /// Of a fork: its writes ask a person first.
    pub ask_writes: bool,
    pub session: bool,
    pub agent_version: String,
    /// The API key that it was started with; empty where it was none.
    pub key: String,
}

/// Takes up to `limit` runs from the queue, those whose time has come included. Each next slot goes to the organization with the fewest
/// runs executing, and there to the run of the highest priority, the oldest of those.
/// Runs whose starter may not have them any more are held instead, and `touched` by it.
pub fn claim(
    tx: &Tx<'_>,
    node: NodeId,
    limit: u32,
    until: Timestamp,
    now: Timestamp,
    touched: &mut Vec<Touched>,
) -> Result<Vec<Claimed>, Error> {
    tx.execute(WAKE, named_params! { ":now": now })?;
    let mut claimed = Vec::new();
    for (org, share) in shares(tx, limit)? {
        claimed.extend(startable(tx, org, share, now, touched)?);
    }
    for run in &claimed {
        let taken = tx.execute(
            CLAIM,
            named_params! { ":run": run.id, ":fence": run.fence as i64, ":node": node, ":until": until, ":now": now },
        )?;
        super::one_row(taken)?;
    }
    Ok(claimed)
}

/// Which organizations get how many of the free slots. None has more runs executing than its plan includes.
fn shares(tx: &Tx<'_>, limit: u32) -> Result<Vec<(OrgId, u32)>, Error> {
    let orgs: Vec<(OrgId, i64, Plan)> = tx.list(WAITING, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if orgs.is_empty() {
        return Ok(Vec::new());
    }
    let running: BTreeMap<OrgId, u32> = tx.list(RUNNING, [], |row| Ok((row.get(0)?, row.get(1)?)))?.into_iter().collect();
    let mut waiting: Vec<(OrgId, u32, Waiting)> = orgs
        .into_iter()
        .map(|(org, served, plan)| {
            let running = running.get(&org).copied().unwrap_or(0);
            let room = plan.limits().running.saturating_sub(running).min(limit);
            let waiting = Waiting {
                running,
                queued: 0,
                served: served as u64,
            };
            (org, room, waiting)
        })
        .filter(|(_, room, _)| *room > 0)
        .collect();
    // Nobody to share with.
    if let [(org, room, _)] = waiting.as_slice() {
        return Ok(vec![(*org, *room)]);
    }
    let turn = waiting.iter().map(|(_, _, waiting)| waiting.served).max().unwrap_or(0) + 1;
    // Each of the first `limit` takes a slot before anyone after them does.
    waiting.sort_by_key(|(org, _, waiting)| (waiting.running, waiting.served, *org));
    waiting.truncate(limit as usize);
    for (org, room, waiting) in &mut waiting {
        waiting.queued = tx.get(COUNT, named_params! { ":org": *org, ":limit": *room }, |row| row.get(0))?;
    }
    let shares = share(limit, &waiting.iter().map(|(_, _, waiting)| *waiting).collect::<Vec<_>>());
    let shares: Vec<(OrgId, u32)> = waiting
        .iter()
        .map(|(org, _, _)| *org)
        .zip(shares)
        .filter(|(_, share)| *share > 0)
        .collect();
    for (org, _) in &shares {
        tx.execute(SERVED, named_params! { ":org": org, ":served": turn as i64 })?;
    }
    Ok(shares)
}

/// The first of an organization's queue whose starters may have runs. The others are held, and do not stand before anyone.
fn startable(tx: &Tx<'_>, org: OrgId, limit: u32, now: Timestamp, touched: &mut Vec<Touched>) -> Result<Vec<Claimed>, Error> {
    loop {
        let (orphans, claimed): (Vec<Head>, Vec<Head>) = heads(tx, org, limit)?.into_iter().partition(Head::is_orphan);
        if orphans.is_empty() {
            return Ok(claimed.into_iter().map(|head| head.run).collect());
        }
        for orphan in orphans {
            let held = super::holds::leave(tx, org, orphan.run.id, None, now)?;
            touched.extend(held.seq.map(|seq| Touched::entry(orphan.run.id, seq)));
        }
    }
}

/// A run of the queue, and what its starter is now.
struct Head {
    run: Claimed,
    role: Option<Role>,
}

impl Head {
    /// Whether its starter may not have runs any more. What is to end only is taken all the same.
    fn is_orphan(&self) -> bool {
        !self.run.cancel_requested && !self.role.is_some_and(|role| role.gives(Permission::RunsStart))
    }
}

/// The first of an organization's queue.
fn heads(tx: &Tx<'_>, org: OrgId, limit: u32) -> Result<Vec<Head>, Error> {
    tx.list(QUEUED, named_params! { ":org": org, ":limit": limit }, |row| {
        let mut cells = Cells::of(row);
        let run = Claimed {
            id: cells.take()?,
            org: cells.take()?,
            workspace: cells.take()?,
            environment: cells.take()?,
            agent_id: cells.take()?,
            version_id: cells.take()?,
            started_by: cells.take()?,
            runtime: cells.take()?,
            code_digest: cells.take()?,
            attempt: cells.take()?,
            segment: cells.take()?,
            fence: cells.take::<i64>()? as u64,
            cancel_requested: cells.take()?,
            fuel: cells.take::<i64>()? as u64,
            active_ms: cells.take::<i64>()? as u64,
            calls: cells.take::<i64>()? as u64,
            journal_bytes: cells.take::<i64>()? as u64,
            input_hash: cells.take()?,
            wake_on: cells.take()?,
            wake_at: cells.take()?,
            state_hash: cells.take()?,
            pinned: cells.take()?,
            turn_calls: cells.take::<i64>()? as u64,
            turn_bytes: cells.take::<i64>()? as u64,
            turn_ms: cells.take::<i64>()? as u64,
            retry: cells.take()?,
            tries: cells.take()?,
            parent: cells.take()?,
            depth: cells.take()?,
            forked_from: cells.take()?,
            ask_writes: cells.take()?,
            session: cells.take()?,
            agent_version: cells.take()?,
            key: cells.take()?,
        };
        let role = cells.take()?;
        Ok(Head { run, role })
    })
}

/// When the next waiting run is due.
pub fn next_wake(reader: &Reader<'_>) -> Result<Option<Timestamp>, Error> {
    reader.find(NEXT_WAKE, [], |row| row.get(0))
}

/// Holds runs for longer. What another start has taken over is left alone.
pub fn renew(tx: &Tx<'_>, node: NodeId, held: &[(RunId, u64)], until: Timestamp) -> Result<(), Error> {
    for (run, fence) in held {
        tx.execute(
            RENEW,
            named_params! { ":run": run, ":fence": *fence as i64, ":node": node, ":until": until },
        )?;
    }
    Ok(())
}

/// Queues runs whose holder has not renewed; returns them with their newest entry.
pub fn recover_expired(tx: &Tx<'_>, now: Timestamp) -> Result<Vec<(RunId, u64)>, Error> {
    let left = tx.list(RECOVER_EXPIRED, named_params! { ":now": now }, left_behind)?;
    note(tx, left, now)
}

/// Queues runs that another process than `node` held. Only where no other process can be alive.
pub fn recover_foreign(tx: &Tx<'_>, node: NodeId, now: Timestamp) -> Result<Vec<(RunId, u64)>, Error> {
    let left = tx.list(RECOVER_FOREIGN, named_params! { ":node": node }, left_behind)?;
    note(tx, left, now)
}

type LeftBehind = (RunId, OrgId, u32, u32);

fn left_behind(row: &rusqlite::Row<'_>) -> rusqlite::Result<LeftBehind> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn note(tx: &Tx<'_>, left: Vec<LeftBehind>, now: Timestamp) -> Result<Vec<(RunId, u64)>, Error> {
    let mut recovered = Vec::with_capacity(left.len());
    for (run, org, segment, attempt) in left {
        let entry = NewEntry {
            attempt,
            segment,
            ..NewEntry::station(now, kind::RUN_RECOVERED, json!({ "attempt": attempt }))
        };
        // Whoever made those calls is gone, and others may be in line for what they reserved.
        ledger::settle_left(tx, org, run, now)?;
        recovered.push((run, journal::append(tx, org, run, None, &[entry])?.last_seq));
    }
    Ok(recovered)
}
