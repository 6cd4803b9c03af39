//! Reads what was spent: quarter-hour sums for pages, lines of the ledger for exports, the dearest runs.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Row, named_params};

use super::tx::Cells;
use super::{Error, Reader};
use crate::domain::budget::{BudgetScope, Period};
use crate::domain::id::{AgentId, OrgId, PrincipalId, RunId, WorkspaceId};
use crate::domain::run::RunState;
use crate::domain::spending::Dimension;
use crate::domain::time::Timestamp;

macro_rules! fits {
    ($table:literal) => {
        concat!(
            " AND (:workspace = '' OR ",
            $table,
            "workspace_id = :workspace) AND (:agent = '' OR ",
            $table,
            "agent_id = :agent) AND (:principal = '' OR ",
            $table,
            "principal_id = :principal) AND (:key = '' OR ",
            $table,
            "key_id = :key) AND (:provider = '' OR ",
            $table,
            "provider_name = :provider) AND (:model = '' OR ",
            $table,
            "model = :model)"
        )
    };
}
pub(super) const CUBE: &str = concat!(
    "SELECT quarter, kind, agent_id, principal_id, key_id, provider_name, model, calls, estimated, cost_micros, input_tokens, cache_read_tokens,
     cache_write_tokens, output_tokens, quantity FROM spending WHERE org_id = :org AND quarter >= :from AND quarter < :to",
    fits!(""),
    " ORDER BY quarter"
);
pub(super) const SPENT: &str = concat!(
    "SELECT COALESCE(sum(cost_micros), 0) FROM spending WHERE org_id = :org AND quarter >= :from AND quarter < :to",
    fits!("")
);
pub(super) const EVER: &str = "SELECT EXISTS (SELECT 1 FROM spending WHERE org_id = :org)";
pub(super) const ENDED_RUNS: &str = "SELECT id, state, cost_micros FROM runs INDEXED BY runs_ended
    WHERE org_id = :org AND id >= :from AND id < :to AND state IN ('succeeded', 'failed', 'cancelled')
    AND (:workspace = '' OR workspace_id = :workspace) AND (:agent = '' OR agent_id = :agent)
    AND (:principal = '' OR started_by = :principal) AND (:key = '' OR key_id = :key)";
pub(super) const LIVE_RUNS: &str = "SELECT r.id, r.cost_micros FROM workspaces w JOIN runs r INDEXED BY runs_by_state
    ON r.org_id = w.org_id AND r.workspace_id = w.id AND r.state IN ('running', 'waiting', 'queued') AND r.id >= :from AND r.id < :to
    WHERE w.org_id = :org AND (:workspace = '' OR w.id = :workspace) AND (:agent = '' OR r.agent_id = :agent)
    AND (:principal = '' OR r.started_by = :principal) AND (:key = '' OR r.key_id = :key)
    ORDER BY r.cost_micros DESC LIMIT :limit";
pub(super) const RUN: &str = "SELECT id, workspace_id, agent_name, agent_version, state, holds, started_by, created_at, cost_micros,
    tree_spent_micros, input_tokens + output_tokens FROM runs WHERE org_id = :org AND id = :id";
pub(super) const LINES: &str = concat!(
    "SELECT id, created_at, settled_at, workspace_id, environment, run_id, agent_id, principal_id, key_id, segment, call, sub, try, kind, provider,
     provider_name, model, corrects, state, reserved_micros, cost_micros, estimated, input_tokens, cache_read_tokens, cache_write_tokens,
     output_tokens, quantity FROM ledger WHERE org_id = :org AND created_at >= :from AND created_at < :to AND (created_at, id) > (:after_at, :after_id)",
    fits!(""),
    " ORDER BY created_at, id LIMIT :limit"
);
pub(super) const AGENT_NAME: &str = "SELECT name FROM agents WHERE org_id = :org AND id = :id";
pub(super) const KEY_NAME: &str = "SELECT name FROM api_keys WHERE org_id = :org AND id = :id";
pub(super) const WORKSPACE_NAME: &str = "SELECT name FROM workspaces WHERE org_id = :org AND id = :id";

pub(super) const ZONE: &str = "SELECT time_zone FROM budgets WHERE org_id = :org AND scope = 'org' ORDER BY target, id LIMIT 1";
pub(super) const LIMITS: &str = "SELECT name, limit_micros + CASE WHEN raise_until > :now THEN raise_micros ELSE 0 END, period, time_zone
    FROM budgets WHERE org_id = :org AND scope = :scope AND target = :target ORDER BY limit_micros LIMIT 20";

#[cfg(test)]
pub(super) const SQL: [&str; 12] = [
    ZONE,
    LIMITS,
    CUBE,
    SPENT,
    EVER,
    ENDED_RUNS,
    LIVE_RUNS,
    RUN,
    LINES,
    AGENT_NAME,
    KEY_NAME,
    WORKSPACE_NAME,
];

/// What to look at; empty texts fit everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// None: of the whole organization.
    pub workspace: Option<WorkspaceId>,
    /// Ids.
    pub agent: String,
    pub principal: String,
    pub key: String,
    /// A provider's name, and its name of a model.
    pub provider: String,
    pub model: String,
}

impl Filter {
    fn workspace(&self) -> String {
        self.workspace.map(|id| id.to_string()).unwrap_or_default()
    }
}

/// Sums of lines of the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Calls of models; of what is no model, lines.
    pub calls: u64,
    /// Of these, with a guessed usage.
    pub estimated: u64,
    /// Below zero only where corrections took more away than was spent.
    pub cost_micros: i64,
    pub input_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    pub output_tokens: u64,
    pub quantity: u64,
}

impl Sums {
    /// Adds other lines' sums.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.estimated += other.estimated;
        self.cost_micros += other.cost_micros;
        self.input_tokens += other.input_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
        self.output_tokens += other.output_tokens;
        self.quantity += other.quantity;
    }
}

/// What one agent, model, principal or key spent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub sums: Sums,
    /// Of the dimension that the chart shows: what was spent in each part of the range.
    pub parts: Vec<i64>,
}

/// Groups by id; a model's is its provider's name, a line break and its own name.
pub type Groups = HashMap<Vec<u8>, Group>;

/// What was spent in a range, from every side.
#[derive(Clone, Debug, Default)]
pub struct Cube {
    /// Of all kinds; `calls` counts those of models, `quantity` means nothing here.
    pub total: Sums,
    /// What was spent in each part of the range.
    pub parts: Vec<i64>,
    pub agents: Groups,
    pub models: Groups,
    pub principals: Groups,
    pub keys: Groups,
    /// By what it was, other than models: `http`, `tool`, `fuel`, `storage`, `session`.
    pub kinds: Groups,
}

impl Cube {
    pub const fn groups(&self, dimension: Dimension) -> &Groups {
        match dimension {
            Dimension::Agent => &self.agents,
            Dimension::Model => &self.models,
            Dimension::Principal => &self.principals,
            Dimension::Key => &self.keys,
        }
    }

    /// Adds what was found in another part of the same range.
    pub fn join(&mut self, other: Self) {
        self.total.add(&other.total);
        add_parts(&mut self.parts, &other.parts);
        let pairs = [
            (&mut self.agents, other.agents),
            (&mut self.models, other.models),
            (&mut self.principals, other.principals),
            (&mut self.keys, other.keys),
            (&mut self.kinds, other.kinds),
        ];
        for (mine, theirs) in pairs {
            for (key, group) in theirs {
                let place = mine.entry(key).or_default();
                place.sums.add(&group.sums);
                add_parts(&mut place.parts, &group.parts);
            }
        }
    }
}

fn add_parts(mine: &mut Vec<i64>, theirs: &[i64]) {
    if mine.len() < theirs.len() {
        mine.resize(theirs.len(), 0);
    }
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine += theirs;
    }
}

/// Where a scan begins and ends, and the range that its rows are sorted into.
#[derive(Clone, Debug)]
pub struct Scan {
    pub org: OrgId,
    pub filter: Filter,
    pub from: Timestamp,
    pub to: Timestamp,
    /// Of the whole range.
    pub bounds: Arc<[Timestamp]>,
    /// The dimension whose groups are also sorted into the range's parts.
    pub charted: Dimension,
}

fn text<'r>(row: &'r Row<'_>, at: usize) -> rusqlite::Result<&'r [u8]> {
    match row.get_ref(at)? {
        ValueRef::Text(bytes) => Ok(bytes),
        _ => Ok(b""),
    }
}

fn put(groups: &mut Groups, key: &[u8], sums: &Sums, part: Option<(usize, usize)>) {
    if !groups.contains_key(key) {
        groups.insert(key.to_vec(), Group::default());
    }
    let Some(group) = groups.get_mut(key) else { return };
    group.sums.add(sums);
    if let Some((part, parts)) = part {
        if group.parts.is_empty() {
            group.parts.resize(parts, 0);
        }
        if let Some(place) = group.parts.get_mut(part) {
            *place += sums.cost_micros;
        }
    }
}

/// Sums what was spent, in one pass over the quarter-hour sums.
pub fn cube(reader: &Reader<'_>, scan: &Scan) -> Result<Cube, Error> {
    let parts = scan.bounds.len().saturating_sub(1);
    let mut cube = Cube {
        parts: vec![0; parts],
        ..Cube::default()
    };
    let filter = &scan.filter;
    let mut statement = reader.prepare(CUBE)?;
    let mut rows = statement.query(named_params! {
        ":org": scan.org, ":from": scan.from, ":to": scan.to, ":workspace": filter.workspace(), ":agent": filter.agent,
        ":principal": filter.principal, ":key": filter.key, ":provider": filter.provider, ":model": filter.model,
    })?;
    let mut part = 0;
    let mut name = Vec::new();
    while let Some(row) = rows.next()? {
        let at: Timestamp = row.get(0)?;
        while scan.bounds.get(part + 1).is_some_and(|end| at >= *end) {
            part += 1;
        }
        let kind = text(row, 1)?;
        let mut sums = Sums {
            calls: row.get(7)?,
            estimated: row.get(8)?,
            cost_micros: row.get(9)?,
            input_tokens: row.get(10)?,
            cache_read_tokens: row.get(11)?,
            cache_write_tokens: row.get(12)?,
            output_tokens: row.get(13)?,
            quantity: row.get(14)?,
        };
        let of_model = kind == b"model" || kind == b"correction";
        if !of_model {
            put(&mut cube.kinds, kind, &sums, None);
        }
        if kind != b"model" {
            // Only calls of models are counted together.
            sums.calls = 0;
        }
        if !of_model && sums.cost_micros == 0 {
            continue;
        }
        cube.total.add(&sums);
        if let Some(place) = cube.parts.get_mut(part) {
            *place += sums.cost_micros;
        }
        let charted = |dimension| (scan.charted == dimension).then_some((part, parts));
        put(&mut cube.agents, text(row, 2)?, &sums, charted(Dimension::Agent));
        put(&mut cube.principals, text(row, 3)?, &sums, charted(Dimension::Principal));
        put(&mut cube.keys, text(row, 4)?, &sums, charted(Dimension::Key));
        name.clear();
        name.extend_from_slice(text(row, 5)?);
        name.push(b'\n');
        name.extend_from_slice(text(row, 6)?);
        put(&mut cube.models, &name, &sums, charted(Dimension::Model));
    }
    Ok(cube)
}

/// What was spent in a time, in micro-dollars.
pub fn spent(reader: &Reader<'_>, org: OrgId, filter: &Filter, from: Timestamp, to: Timestamp) -> Result<i64, Error> {
    reader.get(
        SPENT,
        named_params! {
            ":org": org, ":from": from, ":to": to, ":workspace": filter.workspace(), ":agent": filter.agent, ":principal": filter.principal,
            ":key": filter.key, ":provider": filter.provider, ":model": filter.model,
        },
        |row| row.get(0),
    )
}

/// Whether anything was ever used.
pub fn ever(reader: &Reader<'_>, org: OrgId) -> Result<bool, Error> {
    reader.get(EVER, named_params! { ":org": org }, |row| row.get(0))
}

/// A run that cost much.
#[derive(Clone, Debug)]
pub struct DearRun {
    pub id: RunId,
    pub workspace: WorkspaceId,
    pub agent: String,
    pub version: String,
    pub state: RunState,
    pub held: bool,
    pub started_by: PrincipalId,
    pub created_at: Timestamp,
    /// Its own.
    pub cost_micros: u64,
    /// With the runs below it.
    pub tree_micros: u64,
    pub tokens: u64,
}

/// The runs that were made in a time.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    pub succeeded: u64,
    /// What those that succeeded cost.
    pub succeeded_micros: u64,
    pub dearest: Vec<DearRun>,
}

fn dear_run(row: &Row<'_>) -> rusqlite::Result<DearRun> {
    let mut cells = Cells::of(row);
    Ok(DearRun {
        id: cells.take()?,
        workspace: cells.take()?,
        agent: cells.take()?,
        version: cells.take()?,
        state: cells.take()?,
        held: cells.take::<i64>()? != 0,
        started_by: cells.take()?,
        created_at: cells.take()?,
        cost_micros: cells.take()?,
        tree_micros: cells.take()?,
        tokens: cells.take()?,
    })
}

/// How many runs of a time succeeded, and those that cost most, be they over or not.
pub fn runs(reader: &Reader<'_>, org: OrgId, filter: &Filter, from: Timestamp, to: Timestamp, limit: usize) -> Result<Runs, Error> {
    let (from, to) = (RunId::earliest(from), RunId::earliest(to));
    let mut found = Runs::default();
    // Cost and id, the dearest last.
    let mut dearest: Vec<(u64, String)> = Vec::new();
    let mut keep = |cost: u64, id: &str| {
        let full = dearest.len() >= limit;
        if cost == 0 || (full && dearest.first().is_some_and(|(least, _)| *least >= cost)) {
            return;
        }
        if full {
            dearest.remove(0);
        }
        let at = dearest.partition_point(|(known, _)| *known < cost);
        dearest.insert(at, (cost, id.to_owned()));
    };
    let mut statement = reader.prepare(ENDED_RUNS)?;
    let mut rows = statement.query(named_params! {
        ":org": org, ":from": from, ":to": to, ":workspace": filter.workspace(), ":agent": filter.agent, ":principal": filter.principal,
        ":key": filter.key,
    })?;
    while let Some(row) = rows.next()? {
        let cost: u64 = row.get(2)?;
        if text(row, 1)? == b"succeeded" {
            found.succeeded += 1;
            found.succeeded_micros += cost;
        }
        let id = row.get_ref(0)?.as_str().unwrap_or_default();
        keep(cost, id);
    }
    let live = reader.list(
        LIVE_RUNS,
        named_params! {
            ":org": org, ":from": from, ":to": to, ":workspace": filter.workspace(), ":agent": filter.agent, ":principal": filter.principal,
            ":key": filter.key, ":limit": u32::try_from(limit).unwrap_or(u32::MAX),
        },
        |row| Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?)),
    )?;
    for (id, cost) in live {
        keep(cost, &id);
    }
    for (_, id) in dearest.iter().rev() {
        found
            .dearest
            .extend(reader.find(RUN, named_params! { ":org": org, ":id": id }, dear_run)?);
    }
    Ok(found)
}

/// A line of the ledger.
#[derive(Clone, Debug)]
pub struct Line {
    pub id: String,
    /// When it counts.
    pub at: Timestamp,
    pub settled_at: Option<Timestamp>,
    pub workspace: String,
    pub environment: String,
    pub run: String,
    pub agent: String,
    pub principal: String,
    pub key: String,
    pub segment: u32,
    pub call: u32,
    pub sub: u32,
    pub tries: u32,
    pub kind: String,
    pub provider: String,
    pub provider_name: String,
    pub model: String,
    pub corrects: Option<String>,
    pub state: String,
    pub reserved_micros: u64,
    pub cost_micros: i64,
    pub estimated: bool,
    pub input_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    pub output_tokens: u64,
    pub quantity: u64,
}

fn line(row: &Row<'_>) -> rusqlite::Result<Line> {
    let mut cells = Cells::of(row);
    Ok(Line {
        id: cells.take()?,
        at: cells.take()?,
        settled_at: cells.take()?,
        workspace: cells.take()?,
        environment: cells.take()?,
        run: cells.take()?,
        agent: cells.take()?,
        principal: cells.take()?,
        key: cells.take()?,
        segment: cells.take()?,
        call: cells.take()?,
        sub: cells.take()?,
        tries: cells.take()?,
        kind: cells.take()?,
        provider: cells.take()?,
        provider_name: cells.take()?,
        model: cells.take()?,
        corrects: cells.take()?,
        state: cells.take()?,
        reserved_micros: cells.take()?,
        cost_micros: cells.take()?,
        estimated: cells.take()?,
        input_tokens: cells.take()?,
        cache_read_tokens: cells.take()?,
        cache_write_tokens: cells.take()?,
        output_tokens: cells.take()?,
        quantity: cells.take()?,
    })
}

/// The ledger's lines of a time, from the oldest on, after a line.
pub fn lines(
    reader: &Reader<'_>,
    org: OrgId,
    filter: &Filter,
    (from, to): (Timestamp, Timestamp),
    after: Option<&(Timestamp, String)>,
    limit: u32,
) -> Result<Vec<Line>, Error> {
    let (after_at, after_id) = after.map_or((i64::MIN, ""), |(at, id)| (at.as_ms(), id.as_str()));
    reader.list(
        LINES,
        named_params! {
            ":org": org, ":from": from, ":to": to, ":after_at": after_at, ":after_id": after_id, ":workspace": filter.workspace(),
            ":agent": filter.agent, ":principal": filter.principal, ":key": filter.key, ":provider": filter.provider, ":model": filter.model,
            ":limit": limit,
        },
        line,
    )
}

/// The name of an agent of the organization.
pub fn agent_name(reader: &Reader<'_>, org: OrgId, id: AgentId) -> Result<Option<String>, Error> {
    reader.find(AGENT_NAME, named_params! { ":org": org, ":id": id }, |row| row.get(0))
}

/// The name of an API key of the organization, revoked or not.
pub fn key_name(reader: &Reader<'_>, org: OrgId, id: &str) -> Result<Option<String>, Error> {
    reader.find(KEY_NAME, named_params! { ":org": org, ":id": id }, |row| row.get(0))
}

/// The name of a workspace of the organization.
pub fn workspace_name(reader: &Reader<'_>, org: OrgId, id: WorkspaceId) -> Result<Option<String>, Error> {
    reader.find(WORKSPACE_NAME, named_params! { ":org": org, ":id": id }, |row| row.get(0))
}

/// The zone by whose clock the organization's own budget begins; none where it has no budget.
pub fn zone(reader: &Reader<'_>, org: OrgId) -> Result<Option<String>, Error> {
    reader.find(ZONE, named_params! { ":org": org }, |row| row.get(0))
}

/// A limit that holds for what is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub name: String,
    pub limit_micros: u64,
    pub period: Period,
    pub zone: String,
}

/// The limits of the budgets that cover exactly this, the lowest first.
pub fn limits(reader: &Reader<'_>, org: OrgId, scope: BudgetScope, target: &str, now: Timestamp) -> Result<Vec<Limit>, Error> {
    let limits = reader.list(
        LIMITS,
        named_params! { ":org": org, ":scope": scope.as_str(), ":target": target, ":now": now },
        |row| {
            let period: String = row.get(2)?;
            Ok((row.get(0)?, row.get(1)?, period, row.get(3)?))
        },
    )?;
    let limit = |(name, limit_micros, period, zone): (String, u64, String, String)| {
        let period = Period::parse(&period).ok_or_else(|| Error::Corrupt(format!("a budget has the period {period:?}")))?;
        Ok(Limit {
            name,
            limit_micros,
            period,
            zone,
        })
    };
    limits.into_iter().map(limit).collect()
}
