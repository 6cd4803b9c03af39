//! Runs as pages and API show them.

use rusqlite::{Row, named_params};

use super::super::hash::Hash;
use super::super::tx::Cells;
use super::super::{Error, Reader, Scope};
use crate::domain::failure::EndReason;
use crate::domain::id::{AgentId, OrgId, PrincipalId, RunId, VersionId, WorkspaceId};
use crate::domain::run::{Environment, Holds, RunState, Shown, Trigger, WakeOn};
use crate::domain::time::Timestamp;

macro_rules! columns {
    () => {
        "r.id, r.org_id, r.workspace_id, r.environment, r.agent_id, r.version_id, r.agent_name, r.agent_version, r.state, r.reason, r.error,
         r.trigger, r.started_by, p.name, r.input_hash, r.output_hash, r.next_seq, r.journal_bytes, r.calls, r.attempt, r.segment, r.wake_at,
         r.wake_on, r.cancel_requested, r.holds, r.priority, r.retry, r.pinned, r.session, r.tries, r.dead, r.parent_run_id, r.depth, r.forked_from, r.forked_seq, r.ask_writes,
         r.fuel, r.active_ms, r.input_tokens, r.output_tokens, r.cost_micros, r.created_at, r.started_at, r.finished_at,
         r.budget_micros, r.tree_spent_micros, r.tree_reserved_micros, r.key_id"
    };
}
macro_rules! list_sql {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM runs r JOIN principals p ON p.id = r.started_by WHERE r.org_id = :org AND ",
            $condition,
            " AND r.id < :before AND r.created_at >= :since AND r.created_at < :until ORDER BY r.id DESC LIMIT :limit"
        )
    };
}

const GET: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM runs r JOIN principals p ON p.id = r.started_by WHERE r.id = :run AND r.org_id = :org"
);
const LIST: &str = list_sql!("r.workspace_id = :workspace AND :state IS NULL AND :agent IS NULL");
const LIST_STATE: &str = list_sql!("r.workspace_id = :workspace AND r.state = :state AND r.holds = 0 AND :agent IS NULL");
const LIST_PAUSED: &str =
    list_sql!("r.workspace_id = :workspace AND r.holds <> 0 AND :state IS NULL AND (:agent IS NULL OR r.agent_id = :agent)");
const LIST_DEAD: &str =
    list_sql!("r.workspace_id = :workspace AND r.dead = 1 AND :state IS NULL AND (:agent IS NULL OR r.agent_id = :agent)");
const LIST_AGENT: &str =
    list_sql!("r.agent_id = :agent AND r.workspace_id = :workspace AND (:state IS NULL OR (r.state = :state AND r.holds = 0))");

const LIST_SESSIONS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM runs r JOIN principals p ON p.id = r.started_by
    WHERE r.org_id = :org AND r.workspace_id = :workspace AND r.session = 1 AND r.id < :before ORDER BY r.id DESC LIMIT :limit"
);

const COUNT_OF_AGENT: &str = "SELECT count(*) FROM (SELECT 1 FROM runs WHERE org_id = :org AND agent_id = :agent LIMIT :limit)";

#[cfg(test)]
pub(crate) const SQL: [&str; 8] = [
    GET,
    LIST,
    LIST_STATE,
    LIST_PAUSED,
    LIST_DEAD,
    LIST_AGENT,
    LIST_SESSIONS,
    COUNT_OF_AGENT,
];

/// A run with everything but its payloads.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: RunId,
    pub org: OrgId,
    pub workspace: WorkspaceId,
    pub environment: Environment,
    pub agent_id: AgentId,
    pub version_id: VersionId,
    pub agent_name: String,
    pub agent_version: String,
    pub state: RunState,
    pub reason: Option<EndReason>,
    /// JSON: message, code, file, line, column, stack.
    pub error: Option<String>,
    pub trigger: Trigger,
    pub started_by: PrincipalId,
    pub started_by_name: String,
    pub input_hash: Hash,
    pub output_hash: Option<Hash>,
    /// The newest entry's number.
    pub last_seq: u64,
    pub journal_bytes: u64,
    pub calls: u64,
    pub attempt: u32,
    pub segment: u32,
    pub wake_at: Option<Timestamp>,
    /// Between two segments: what the next begins with.
    pub wake_on: Option<WakeOn>,
    pub cancel_requested: bool,
    pub holds: Holds,
    /// Higher goes first.
    pub priority: i32,
    /// JSON of what its starter said otherwise of retries.
    pub retry: String,
    /// Whether its starter named the version.
    pub pinned: bool,
    /// Whether people talk with it.
    pub session: bool,
    /// Automatic tries made of the current segment.
    pub tries: u32,
    /// Failed, and nobody has dealt with it.
    pub dead: bool,
    pub parent: Option<RunId>,
    /// How many runs stand above it.
    pub depth: u32,
    pub forked_from: Option<RunId>,
    /// The entry it was forked from.
    pub forked_seq: Option<u64>,
    /// Of a fork: whether its writes ask a person first.
    pub ask_writes: bool,
    pub fuel: u64,
    pub active_ms: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_micros: u64,
    /// The most that it and the runs below it may cost.
    pub budget_micros: Option<u64>,
    /// What it and the runs below it have spent, and what they have reserved.
    pub tree_spent_micros: u64,
    pub tree_reserved_micros: u64,
    /// The API key that it was started with; empty where it was none.
    pub key: String,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

impl Run {
    /// Its state as it is shown.
    pub const fn shown(&self) -> Shown {
        Shown::of(self.state, self.holds)
    }
}

fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let mut cells = Cells::of(row);
    Ok(Run {
        id: cells.take()?,
        org: cells.take()?,
        workspace: cells.take()?,
        environment: cells.take()?,
        agent_id: cells.take()?,
        version_id: cells.take()?,
        agent_name: cells.take()?,
        agent_version: cells.take()?,
        state: cells.take()?,
        reason: cells.take()?,
        error: cells.take()?,
        trigger: cells.take()?,
        started_by: cells.take()?,
        started_by_name: cells.take()?,
        input_hash: cells.take()?,
        output_hash: cells.take()?,
        last_seq: cells.take::<i64>()? as u64 - 1,
        journal_bytes: cells.take::<i64>()? as u64,
        calls: cells.take::<i64>()? as u64,
        attempt: cells.take()?,
        segment: cells.take()?,
        wake_at: cells.take()?,
        wake_on: cells.take()?,
        cancel_requested: cells.take()?,
        holds: cells.take()?,
        priority: cells.take()?,
        retry: cells.take()?,
        pinned: cells.take()?,
        session: cells.take()?,
        tries: cells.take()?,
        dead: cells.take()?,
        parent: cells.take()?,
        depth: cells.take()?,
        forked_from: cells.take()?,
        forked_seq: cells.take::<Option<i64>>()?.map(|seq| seq as u64),
        ask_writes: cells.take()?,
        fuel: cells.take::<i64>()? as u64,
        active_ms: cells.take::<i64>()? as u64,
        input_tokens: cells.take::<i64>()? as u64,
        output_tokens: cells.take::<i64>()? as u64,
        cost_micros: cells.take::<i64>()?.max(0) as u64,
        created_at: cells.take()?,
        started_at: cells.take()?,
        finished_at: cells.take()?,
        budget_micros: cells.take::<Option<i64>>()?.map(|micros| micros as u64),
        tree_spent_micros: cells.take::<i64>()?.max(0) as u64,
        tree_reserved_micros: cells.take::<i64>()?.max(0) as u64,
        key: cells.take()?,
    })
}

/// One run of an organization.
pub fn get(reader: &Reader<'_>, org: OrgId, id: RunId) -> Result<Run, Error> {
    reader.get(GET, named_params! { ":run": id, ":org": org }, run)
}

/// Which runs to list; everything that is `None` is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub state: Option<Shown>,
    pub agent: Option<AgentId>,
    /// Only those that failed and that nobody has dealt with.
    pub dead: bool,
    /// Made at this time or later.
    pub since: Option<Timestamp>,
    /// Made before this time.
    pub until: Option<Timestamp>,
}

/// Sorts after every run's id.
const AFTER_ALL: &str = "run_~";

/// Runs from the newest on, before the run `before`.
pub fn list(reader: &Reader<'_>, scope: Scope, filter: &Filter, before: Option<RunId>, limit: u32) -> Result<Vec<Run>, Error> {
    let sql = match (filter.agent, filter.state) {
        _ if filter.dead => LIST_DEAD,
        (_, Some(Shown::Paused)) => LIST_PAUSED,
        (Some(_), _) => LIST_AGENT,
        (None, Some(_)) => LIST_STATE,
        (None, None) => LIST,
    };
    let before = before.map_or_else(|| AFTER_ALL.to_owned(), |id| id.to_string());
    let params = named_params! {
        ":org": scope.org, ":workspace": scope.workspace, ":state": filter.state.filter(|_| !filter.dead).and_then(Shown::state), ":agent": filter.agent, ":before": before,
        ":since": filter.since.unwrap_or_default(), ":until": filter.until.unwrap_or(Timestamp::from_ms(i64::MAX)), ":limit": limit,
    };
    reader.list(sql, params, run)
}

/// Runs of an agent, counted no further than `limit`.
pub fn count_of_agent(reader: &Reader<'_>, org: OrgId, agent: AgentId, limit: u32) -> Result<u64, Error> {
    reader.get(
        COUNT_OF_AGENT,
        named_params! { ":org": org, ":agent": agent, ":limit": limit },
        |row| row.get::<_, i64>(0).map(|count| count as u64),
    )
}

/// Runs that people talk with, from the newest on, before `before`.
pub fn list_sessions(reader: &Reader<'_>, scope: Scope, before: Option<RunId>, limit: u32) -> Result<Vec<Run>, Error> {
    let before = before.map_or_else(|| "~".to_owned(), |id| id.to_string());
    reader.list(
        LIST_SESSIONS,
        named_params! { ":org": scope.org, ":workspace": scope.workspace, ":before": before, ":limit": limit },
        run,
    )
}
