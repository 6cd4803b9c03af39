//! The registry: agents and their immutable versions.

use rusqlite::{Row, named_params};

use super::hash::Hash;
use super::tx::Cells;
use super::{Error, Reader, Scope, Tx};
use crate::domain::agent::{Agent, AgentVersion};
use crate::domain::id::{AgentId, OrgId, PrincipalId, RunId, VersionId};
use crate::domain::manifest::{Capabilities, Manifest};
use crate::domain::run::RunState;
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str = "INSERT INTO agents
    (id, org_id, workspace_id, name, summary, category, runtime, latest_version, latest_version_id, created_at, updated_at)
    VALUES (:id, :org, :workspace, :name, :summary, :category, :runtime, :version, :version_id, :now, :now)
    ON CONFLICT (org_id, workspace_id, name) DO NOTHING";
pub(super) const UPDATE: &str = "UPDATE agents SET summary = :summary, category = :category, runtime = :runtime, latest_version = :version,
    latest_version_id = :version_id, updated_at = :now WHERE id = :id AND org_id = :org";
pub(super) const INSERT_VERSION: &str = "INSERT INTO agent_versions
    (id, org_id, agent_id, version, runtime, manifest, manifest_json, code_digest, code_bytes, input_schema, readme, sample_input, created_by, created_at)
    VALUES (:id, :org, :agent, :version, :runtime, :manifest, :manifest_json, :code_digest, :code_bytes, :input_schema, :readme, :sample_input, :created_by, :now)
    ON CONFLICT (org_id, agent_id, version) DO NOTHING";
macro_rules! agent_columns {
    () => {
        "a.id, a.name, a.summary, a.category, a.runtime, a.latest_version, a.latest_version_id, a.created_at, a.updated_at"
    };
}
macro_rules! version_columns {
    () => {
        "id, agent_id, version, manifest_json, manifest, code_digest, code_bytes, input_schema, readme, sample_input, created_by, created_at"
    };
}
pub(super) const FIND: &str = concat!(
    "SELECT ",
    agent_columns!(),
    " FROM agents a WHERE a.id = :id AND a.org_id = :org AND a.workspace_id = :workspace"
);
pub(super) const FIND_BY_NAME: &str = concat!(
    "SELECT ",
    agent_columns!(),
    " FROM agents a WHERE a.org_id = :org AND a.workspace_id = :workspace AND a.name = :name"
);
pub(super) const LIST: &str = concat!(
    "SELECT ",
    agent_columns!(),
    ", l.id, l.state, l.created_at FROM agents a
     LEFT JOIN runs l ON l.id = (SELECT r.id FROM runs r WHERE r.org_id = a.org_id AND r.agent_id = a.id ORDER BY r.id DESC LIMIT 1)
     WHERE a.org_id = :org AND a.workspace_id = :workspace AND a.name > :after
     AND (:pattern IS NULL OR a.name LIKE :pattern ESCAPE '\\' OR a.summary LIKE :pattern ESCAPE '\\' OR a.category LIKE :pattern ESCAPE '\\')
     ORDER BY a.name LIMIT :limit"
);
pub(super) const GET_VERSION: &str = concat!(
    "SELECT ",
    version_columns!(),
    " FROM agent_versions WHERE id = :id AND org_id = :org"
);
pub(super) const LATEST: &str = concat!(
    "SELECT ",
    version_columns!(),
    " FROM agent_versions WHERE id = (SELECT latest_version_id FROM agents WHERE id = :agent AND org_id = :org) AND org_id = :org"
);
pub(super) const FIND_VERSION: &str = concat!(
    "SELECT ",
    version_columns!(),
    " FROM agent_versions WHERE org_id = :org AND agent_id = :agent AND version = :version"
);
pub(super) const OF_CODE: &str = "SELECT id FROM agent_versions
    WHERE org_id = :org AND code_digest = :code AND agent_id = :agent AND created_at <= :at ORDER BY created_at DESC LIMIT 1";
pub(super) const VERSIONS: &str = concat!(
    "SELECT ",
    version_columns!(),
    " FROM agent_versions WHERE org_id = :org AND agent_id = :agent ORDER BY id DESC LIMIT :limit"
);
pub(super) const GRANTED: &str = "SELECT manifest_json FROM agent_versions WHERE id = :version AND org_id = :org";
pub(super) const RECENT: &str =
    "SELECT count(*), COALESCE(sum(state IN ('succeeded', 'failed')), 0), COALESCE(sum(state = 'succeeded'), 0),
    COALESCE(sum(cost_micros), 0) FROM (SELECT state, cost_micros FROM runs
    WHERE org_id = :org AND agent_id = :agent AND id >= :from ORDER BY id DESC LIMIT :limit)";

/// Of an agent's recent runs, only so many are counted.
pub const RECENT_RUNS_MAX: u32 = 10_000;
/// Versions listed at once.
const VERSIONS_MAX: u32 = 500;

/// A version that is to be stored; its code is a blob already.
#[derive(Clone, Debug)]
pub struct NewVersion {
    pub id: VersionId,
    pub manifest: Manifest,
    pub manifest_text: String,
    pub code_digest: Hash,
    pub code_bytes: u64,
    pub input_schema: Option<String>,
    pub readme: Option<String>,
    pub sample_input: Option<String>,
    pub created_by: PrincipalId,
}

fn agent(cells: &mut Cells<'_>) -> rusqlite::Result<Agent> {
    Ok(Agent {
        id: cells.take()?,
        name: cells.take()?,
        summary: cells.take()?,
        category: cells.take()?,
        runtime: cells.take()?,
        latest_version: number(cells.take()?)?,
        latest_version_id: cells.take()?,
        created_at: cells.take()?,
        updated_at: cells.take()?,
    })
}

fn number(text: String) -> rusqlite::Result<semver::Version> {
    semver::Version::parse(&text).map_err(|error| rusqlite::types::FromSqlError::other(error).into())
}

fn version(row: &Row<'_>) -> rusqlite::Result<AgentVersion> {
    let mut cells = Cells::of(row);
    Ok(AgentVersion {
        id: cells.take()?,
        agent_id: cells.take()?,
        version: number(cells.take()?)?,
        manifest: serde_json::from_str(&cells.take::<String>()?).map_err(rusqlite::types::FromSqlError::other)?,
        manifest_text: cells.take()?,
        code_digest: cells.take()?,
        code_bytes: cells.take::<i64>()? as u64,
        input_schema: cells.take()?,
        readme: cells.take()?,
        sample_input: cells.take()?,
        created_by: cells.take()?,
        created_at: cells.take()?,
    })
}

/// Stores an agent with its first version.
///
/// # Errors
/// [`Error::Exists`] where the name is taken.
pub fn insert(tx: &Tx<'_>, scope: Scope, id: AgentId, new: &NewVersion, now: Timestamp) -> Result<(Agent, AgentVersion), Error> {
    let manifest = &new.manifest;
    let inserted = tx.execute(
        INSERT,
        named_params! {
            ":id": id, ":org": scope.org, ":workspace": scope.workspace, ":name": manifest.name, ":summary": manifest.summary,
            ":category": manifest.category, ":runtime": manifest.runtime, ":version": manifest.version.to_string(), ":version_id": new.id, ":now": now,
        },
    )?;
    if inserted == 0 {
        let name = &manifest.name;
        return Err(Error::Exists(format!(
            "there is an agent called “{name}” already; upload a new version of it, or change the name"
        )));
    }
    store_version(tx, scope, id, new, now)
}

/// Stores a new version, which becomes the latest where its number is the highest.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Exists`] where the number is taken, [`Error::Conflict`] where the manifest names another agent.
pub fn insert_version(tx: &Tx<'_>, scope: Scope, id: AgentId, new: &NewVersion, now: Timestamp) -> Result<(Agent, AgentVersion), Error> {
    let known = find(tx, scope, id)?.ok_or(Error::NotFound)?;
    let manifest = &new.manifest;
    if known.name != manifest.name {
        return Err(Error::Conflict(format!(
            "this agent is called “{}”, the manifest says “{}”",
            known.name, manifest.name
        )));
    }
    let stored = store_version(tx, scope, id, new, now)?;
    if manifest.version > known.latest_version {
        tx.execute(
            UPDATE,
            named_params! {
                ":summary": manifest.summary, ":category": manifest.category, ":runtime": manifest.runtime,
                ":version": manifest.version.to_string(), ":version_id": new.id, ":now": now, ":id": id, ":org": scope.org,
            },
        )?;
    }
    Ok((find(tx, scope, id)?.ok_or(Error::NotFound)?, stored.1))
}

fn store_version(tx: &Tx<'_>, scope: Scope, id: AgentId, new: &NewVersion, now: Timestamp) -> Result<(Agent, AgentVersion), Error> {
    let manifest = &new.manifest;
    let inserted = tx.execute(
        INSERT_VERSION,
        named_params! {
            ":id": new.id, ":org": scope.org, ":agent": id, ":version": manifest.version.to_string(), ":runtime": manifest.runtime,
            ":manifest": new.manifest_text, ":manifest_json": serde_json::to_string(manifest).map_err(Error::internal)?,
            ":code_digest": new.code_digest, ":code_bytes": new.code_bytes as i64, ":input_schema": new.input_schema, ":readme": new.readme,
            ":sample_input": new.sample_input, ":created_by": new.created_by, ":now": now,
        },
    )?;
    if inserted == 0 {
        return Err(Error::Exists(format!(
            "{} {} is there already, and versions never change; raise the version in the manifest",
            manifest.name, manifest.version
        )));
    }
    let agent = find(tx, scope, id)?.ok_or(Error::NotFound)?;
    Ok((agent, get_version(tx, scope.org, new.id)?))
}

pub fn find(reader: &Reader<'_>, scope: Scope, id: AgentId) -> Result<Option<Agent>, Error> {
    reader.find(
        FIND,
        named_params! { ":id": id, ":org": scope.org, ":workspace": scope.workspace },
        |row| agent(&mut Cells::of(row)),
    )
}

pub fn find_by_name(reader: &Reader<'_>, scope: Scope, name: &str) -> Result<Option<Agent>, Error> {
    reader.find(
        FIND_BY_NAME,
        named_params! { ":org": scope.org, ":workspace": scope.workspace, ":name": name },
        |row| agent(&mut Cells::of(row)),
    )
}

/// An agent in a list, with its newest run.
#[derive(Clone, Debug)]
pub struct Listed {
    pub agent: Agent,
    pub last_run: Option<LastRun>,
}

#[derive(Clone, Copy, Debug)]
pub struct LastRun {
    pub id: RunId,
    pub state: RunState,
    pub created_at: Timestamp,
}

/// Agents by name, after the name `after`; with `search`, those whose name, summary or category contains it.
pub fn list(reader: &Reader<'_>, scope: Scope, search: Option<&str>, after: Option<&str>, limit: u32) -> Result<Vec<Listed>, Error> {
    let pattern = search
        .filter(|text| !text.trim().is_empty())
        .map(|text| format!("%{}%", text.trim().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")));
    let params = named_params! {
        ":org": scope.org, ":workspace": scope.workspace, ":after": after.unwrap_or_default(), ":pattern": pattern, ":limit": limit,
    };
    reader.list(LIST, params, |row| {
        let mut cells = Cells::of(row);
        let agent = agent(&mut cells)?;
        let last_run = match (
            cells.take::<Option<RunId>>()?,
            cells.take::<Option<RunState>>()?,
            cells.take::<Option<Timestamp>>()?,
        ) {
            (Some(id), Some(state), Some(created_at)) => Some(LastRun { id, state, created_at }),
            _ => None,
        };
        Ok(Listed { agent, last_run })
    })
}

/// What a list says of an agent beside its name: what its newest version may touch, and how its recent runs went.
#[derive(Clone, Debug)]
pub struct Card {
    pub capabilities: Capabilities,
    /// At most [`RECENT_RUNS_MAX`].
    pub runs: u64,
    /// Of these, those that succeeded or failed.
    pub ended: u64,
    pub succeeded: u64,
    pub cost_micros: u64,
}

/// The card of an agent, with its runs since a time.
pub fn card(reader: &Reader<'_>, scope: Scope, agent: &Agent, since: Timestamp) -> Result<Card, Error> {
    let granted = named_params! { ":version": agent.latest_version_id, ":org": scope.org };
    let manifest: Manifest = reader.get(GRANTED, granted, |row| {
        serde_json::from_str(&row.get::<_, String>(0)?).map_err(|error| rusqlite::types::FromSqlError::other(error).into())
    })?;
    let params = named_params! { ":org": scope.org, ":agent": agent.id, ":from": RunId::earliest(since), ":limit": RECENT_RUNS_MAX };
    reader.get(RECENT, params, |row| {
        let number = |i: usize| row.get::<_, i64>(i).map(|value| value as u64);
        Ok(Card {
            capabilities: manifest.capabilities,
            runs: number(0)?,
            ended: number(1)?,
            succeeded: number(2)?,
            cost_micros: number(3)?,
        })
    })
}

pub fn get_version(reader: &Reader<'_>, org: OrgId, id: VersionId) -> Result<AgentVersion, Error> {
    reader.get(GET_VERSION, named_params! { ":id": id, ":org": org }, version)
}

/// The agent's newest version.
pub fn latest(reader: &Reader<'_>, org: OrgId, agent: AgentId) -> Result<Option<AgentVersion>, Error> {
    reader.find(LATEST, named_params! { ":agent": agent, ":org": org }, version)
}

pub fn find_version(reader: &Reader<'_>, scope: Scope, agent: AgentId, number: &semver::Version) -> Result<Option<AgentVersion>, Error> {
    let params = named_params! { ":org": scope.org, ":agent": agent, ":version": number.to_string() };
    reader.find(FIND_VERSION, params, version)
}

/// The newest version of an agent that had this code at a time.
pub fn version_of_code(reader: &Reader<'_>, org: OrgId, agent: AgentId, code: &Hash, at: Timestamp) -> Result<Option<VersionId>, Error> {
    let params = named_params! { ":org": org, ":agent": agent, ":code": code, ":at": at };
    reader.find(OF_CODE, params, |row| row.get(0))
}

/// Versions of an agent, the newest first.
pub fn versions(reader: &Reader<'_>, scope: Scope, agent: AgentId) -> Result<Vec<AgentVersion>, Error> {
    find(reader, scope, agent)?.ok_or(Error::NotFound)?;
    reader.list(
        VERSIONS,
        named_params! { ":org": scope.org, ":agent": agent, ":limit": VERSIONS_MAX },
        version,
    )
}
