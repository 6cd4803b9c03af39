//! What agents remember, by agent and environment.

use rusqlite::{Row, named_params};

use super::{Error, Reader, Tx};
use crate::domain::call::{MemoryEntry, MemoryPage};
use crate::domain::id::{AgentId, OrgId};
use crate::domain::limits::MEMORY_KEYS_MAX;
use crate::domain::run::Environment;
use crate::domain::time::Timestamp;

pub(super) const GET: &str = "SELECT key, value, version, updated_at FROM memory WHERE org_id = :org AND agent_id = :agent AND environment = :environment AND key = :key";
pub(super) const PUT: &str = "INSERT INTO memory (org_id, agent_id, environment, key, value, version, updated_at)
    VALUES (:org, :agent, :environment, :key, :value, 1, :now)
    ON CONFLICT (org_id, agent_id, environment, key) DO UPDATE SET value = excluded.value, version = version + 1, updated_at = excluded.updated_at
    RETURNING version";
pub(super) const DELETE: &str =
    "DELETE FROM memory WHERE org_id = :org AND agent_id = :agent AND environment = :environment AND key = :key";
pub(super) const COUNT: &str =
    "SELECT count(*) FROM (SELECT 1 FROM memory WHERE org_id = :org AND agent_id = :agent AND environment = :environment LIMIT :limit)";
pub(super) const LIST: &str = "SELECT key, value, version, updated_at FROM memory
    WHERE org_id = :org AND agent_id = :agent AND environment = :environment AND key > :after AND key >= :prefix AND substr(key, 1, length(:prefix)) = :prefix
    ORDER BY key LIMIT :limit";
pub(super) const SEARCH: &str = "SELECT key, value, version, updated_at FROM memory
    WHERE org_id = :org AND agent_id = :agent AND environment = :environment AND key >= :prefix AND substr(key, 1, length(:prefix)) = :prefix
    AND (key LIKE :pattern ESCAPE '\\' OR value LIKE :pattern ESCAPE '\\') ORDER BY key LIMIT :limit";

/// Whose memory.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub org: OrgId,
    pub agent: AgentId,
    pub environment: &'a Environment,
}

fn entry(row: &Row<'_>) -> rusqlite::Result<MemoryEntry> {
    Ok(MemoryEntry {
        key: row.get(0)?,
        value: row.get(1)?,
        version: row.get::<_, i64>(2)? as u64,
        updated_ms: row.get::<_, i64>(3)? as u64,
    })
}

pub fn get(reader: &Reader<'_>, scope: Scope<'_>, key: &str) -> Result<Option<MemoryEntry>, Error> {
    let params = named_params! { ":org": scope.org, ":agent": scope.agent, ":environment": scope.environment, ":key": key };
    reader.find(GET, params, entry)
}

/// Whether the key has the version that is wanted; 0 means that it must not be there.
fn check_version(reader: &Reader<'_>, scope: Scope<'_>, key: &str, wanted: Option<u64>) -> Result<(), Error> {
    let Some(wanted) = wanted else { return Ok(()) };
    let has = get(reader, scope, key)?.map_or(0, |entry| entry.version);
    if has == wanted {
        Ok(())
    } else {
        Err(Error::Conflict(format!("“{key}” has version {has}, not {wanted}")))
    }
}

/// Remembers a value and returns its version.
///
/// # Errors
/// [`Error::Conflict`] where the version is another, [`Error::Limit`] where there are too many keys.
pub fn put(tx: &Tx<'_>, scope: Scope<'_>, key: &str, value: &str, if_version: Option<u64>, now: Timestamp) -> Result<u64, Error> {
    check_version(tx, scope, key, if_version)?;
    let params = named_params! { ":org": scope.org, ":agent": scope.agent, ":environment": scope.environment, ":key": key, ":value": value, ":now": now };
    let version: i64 = tx.get(PUT, params, |row| row.get(0))?;
    if version == 1 {
        let limit = i64::from(MEMORY_KEYS_MAX) + 1;
        let params = named_params! { ":org": scope.org, ":agent": scope.agent, ":environment": scope.environment, ":limit": limit };
        let count: i64 = tx.get(COUNT, params, |row| row.get(0))?;
        if count == limit {
            delete(tx, scope, key, None)?;
            return Err(Error::Limit(format!("an agent may remember {MEMORY_KEYS_MAX} keys; delete some")));
        }
    }
    Ok(version as u64)
}

/// Forgets a key and says whether it was there.
pub fn delete(tx: &Tx<'_>, scope: Scope<'_>, key: &str, if_version: Option<u64>) -> Result<bool, Error> {
    check_version(tx, scope, key, if_version)?;
    let params = named_params! { ":org": scope.org, ":agent": scope.agent, ":environment": scope.environment, ":key": key };
    Ok(tx.execute(DELETE, params)? == 1)
}

fn paged(mut entries: Vec<MemoryEntry>, limit: u32) -> MemoryPage {
    let more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    let next = if more {
        entries.last().map(|entry| entry.key.clone())
    } else {
        None
    };
    MemoryPage { entries, next }
}

pub fn list(reader: &Reader<'_>, scope: Scope<'_>, prefix: &str, after: Option<&str>, limit: u32) -> Result<MemoryPage, Error> {
    let params = named_params! {
        ":org": scope.org, ":agent": scope.agent, ":environment": scope.environment, ":prefix": prefix, ":after": after.unwrap_or_default(),
        ":limit": limit + 1,
    };
    Ok(paged(reader.list(LIST, params, entry)?, limit))
}

/// Entries whose key or value contains `query`, without regard to the case of ASCII letters.
pub fn search(reader: &Reader<'_>, scope: Scope<'_>, query: &str, prefix: &str, limit: u32) -> Result<MemoryPage, Error> {
    let escaped = query.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    let params = named_params! {
        ":org": scope.org, ":agent": scope.agent, ":environment": scope.environment, ":prefix": prefix, ":pattern": format!("%{escaped}%"),
        ":limit": limit + 1,
    };
    Ok(paged(reader.list(SEARCH, params, entry)?, limit))
}
