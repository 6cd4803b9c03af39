//! Who stands above a run, and what it has started.

use rusqlite::named_params;

use super::super::{Error, Reader};
use crate::domain::id::{AgentId, OrgId, RunId, VersionId};
use crate::domain::run::RunState;
use crate::domain::time::Timestamp;

const CHAIN: &str = "WITH RECURSIVE chain (id, parent, agent, version, steps) AS (
        SELECT id, parent_run_id, agent_id, version_id, 0 FROM runs WHERE id = :run AND org_id = :org
        UNION ALL
        SELECT r.id, r.parent_run_id, r.agent_id, r.version_id, chain.steps + 1 FROM chain JOIN runs r ON r.id = chain.parent
        WHERE r.org_id = :org AND chain.steps < 32)
    SELECT id, agent, version FROM chain ORDER BY steps";
const CHILDREN: &str = "SELECT count(*) FROM (SELECT 1 FROM runs WHERE parent_run_id = :run AND org_id = :org LIMIT :limit)";
const LIST: &str = "SELECT id, agent_name, state, parent_segment, parent_call, parent_sub, created_at, finished_at FROM runs
    WHERE parent_run_id = :run AND org_id = :org ORDER BY id LIMIT :limit";
const AGENT_NAME: &str = "SELECT agent_name FROM runs WHERE id = :run AND org_id = :org";

#[cfg(test)]
pub(crate) const SQL: [&str; 4] = [CHAIN, CHILDREN, LIST, AGENT_NAME];

/// A run of a chain of parents.
#[derive(Clone, Copy, Debug)]
pub struct Above {
    pub id: RunId,
    pub agent_id: AgentId,
    pub version_id: VersionId,
}

/// The run itself, its parent, its parent's parent and so on.
///
/// # Errors
/// [`Error::NotFound`].
pub fn chain(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<Vec<Above>, Error> {
    let chain = reader.list(CHAIN, named_params! { ":run": run, ":org": org }, |row| {
        Ok(Above {
            id: row.get(0)?,
            agent_id: row.get(1)?,
            version_id: row.get(2)?,
        })
    })?;
    if chain.is_empty() { Err(Error::NotFound) } else { Ok(chain) }
}

/// The name of a run's agent.
pub fn agent_name(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<Option<String>, Error> {
    reader.find(AGENT_NAME, named_params! { ":run": run, ":org": org }, |row| row.get(0))
}

/// How many runs this one has started, counted no further than `limit`.
pub fn children(reader: &Reader<'_>, org: OrgId, run: RunId, limit: u32) -> Result<u32, Error> {
    reader.get(CHILDREN, named_params! { ":run": run, ":org": org, ":limit": limit }, |row| {
        row.get(0)
    })
}

/// A run that another started.
#[derive(Clone, Debug)]
pub struct Child {
    pub id: RunId,
    pub agent_name: String,
    pub state: RunState,
    /// The parent's call that started it.
    pub segment: Option<u32>,
    pub call: Option<u32>,
    pub sub: Option<u32>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// The first `limit` runs that this one has started.
pub fn list_children(reader: &Reader<'_>, org: OrgId, run: RunId, limit: u32) -> Result<Vec<Child>, Error> {
    reader.list(LIST, named_params! { ":run": run, ":org": org, ":limit": limit }, |row| {
        Ok(Child {
            id: row.get(0)?,
            agent_name: row.get(1)?,
            state: row.get(2)?,
            segment: row.get(3)?,
            call: row.get(4)?,
            sub: row.get(5)?,
            created_at: row.get(6)?,
            finished_at: row.get(7)?,
        })
    })
}
