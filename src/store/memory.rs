//! What agents remember, by agent and environment.
//!
//! A fork's environment is a view of the one beneath it: what is not there is read from beneath, and what is deleted there leaves a mark.

use rusqlite::{Row, named_params};

use super::{Error, Reader, Tx};
use crate::domain::call::{MemoryEntry, MemoryPage};
use crate::domain::id::{AgentId, OrgId};
use crate::domain::limits::MEMORY_KEYS_MAX;
use crate::domain::run::Environment;
use crate::domain::time::Timestamp;

pub(super) const GET: &str = "SELECT key, value, version, updated_at, deleted FROM memory
    WHERE org_id = :org AND agent_id = :agent AND environment = :environment AND key = :key";
pub(super) const PUT: &str = "INSERT INTO memory (org_id, agent_id, environment, key, value, version, deleted, updated_at)
    VALUES (:org, :agent, :environment, :key, :value, :version, :deleted, :now)
    ON CONFLICT (org_id, agent_id, environment, key) DO UPDATE SET value = excluded.value, version = excluded.version, deleted = excluded.deleted,
    updated_at = excluded.updated_at";
pub(super) const DELETE: &str =
    "DELETE FROM memory WHERE org_id = :org AND agent_id = :agent AND environment = :environment AND key = :key";
pub(super) const COUNT: &str =
    "SELECT count(*) FROM (SELECT 1 FROM memory WHERE org_id = :org AND agent_id = :agent AND environment = :environment LIMIT :limit)";
pub(super) const LIST: &str = "SELECT key, value, version, updated_at FROM memory
    WHERE org_id = :org AND agent_id = :agent AND environment = :environment AND key > :after AND key >= :prefix AND substr(key, 1, length(:prefix)) = :prefix
    AND deleted = 0 ORDER BY key LIMIT :limit";
pub(super) const SEARCH: &str = "SELECT key, value, version, updated_at FROM memory
    WHERE org_id = :org AND agent_id = :agent AND environment = :environment AND key > :after AND key >= :prefix AND substr(key, 1, length(:prefix)) = :prefix
    AND deleted = 0 AND (key LIKE :pattern ESCAPE '\\' OR value LIKE :pattern ESCAPE '\\') ORDER BY key LIMIT :limit";

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

/// What one environment has of a key.
enum Held {
    Nothing,
    Deleted,
    Value(MemoryEntry),
}

fn held(reader: &Reader<'_>, scope: Scope<'_>, environment: &Environment, key: &str) -> Result<Held, Error> {
    let params = named_params! { ":org": scope.org, ":agent": scope.agent, ":environment": environment, ":key": key };
    let found = reader.find(GET, params, |row| {
        Ok(if row.get(4)? { Held::Deleted } else { Held::Value(entry(row)?) })
    })?;
    Ok(found.unwrap_or(Held::Nothing))
}

pub fn get(reader: &Reader<'_>, scope: Scope<'_>, key: &str) -> Result<Option<MemoryEntry>, Error> {
    for layer in scope.environment.layers() {
        match held(reader, scope, &layer, key)? {
            Held::Nothing => {}
            Held::Deleted => return Ok(None),
            Held::Value(entry) => return Ok(Some(entry)),
        }
    }
    Ok(None)
}

/// Whether the key, found so, has the version that is wanted; 0 means that it must not be there.
fn check_version(key: &str, found: Option<&MemoryEntry>, wanted: Option<u64>) -> Result<(), Error> {
    let Some(wanted) = wanted else { return Ok(()) };
    let has = found.map_or(0, |entry| entry.version);
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
    let found = get(tx, scope, key)?;
    check_version(key, found.as_ref(), if_version)?;
    if found.is_none() {
        let params = named_params! {
            ":org": scope.org, ":agent": scope.agent, ":environment": scope.environment, ":limit": MEMORY_KEYS_MAX,
        };
        let count: u32 = tx.get(COUNT, params, |row| row.get(0))?;
        if count >= MEMORY_KEYS_MAX {
            return Err(Error::Limit(format!("an agent may remember {MEMORY_KEYS_MAX} keys; delete some")));
        }
    }
    let version = found.map_or(0, |entry| entry.version) + 1;
    write(tx, scope, key, value, version, false, now)?;
    Ok(version)
}

fn write(tx: &Tx<'_>, scope: Scope<'_>, key: &str, value: &str, version: u64, deleted: bool, now: Timestamp) -> Result<(), Error> {
    let params = named_params! {
        ":org": scope.org, ":agent": scope.agent, ":environment": scope.environment, ":key": key, ":value": value,
        ":version": version as i64, ":deleted": deleted, ":now": now,
    };
    tx.execute(PUT, params)?;
    Ok(())
}

/// Forgets a key and says whether it was there.
pub fn delete(tx: &Tx<'_>, scope: Scope<'_>, key: &str, if_version: Option<u64>, now: Timestamp) -> Result<bool, Error> {
    let found = get(tx, scope, key)?;
    check_version(key, found.as_ref(), if_version)?;
    let Some(found) = found else { return Ok(false) };
    if scope.environment.layers().nth(1).is_some() {
        // What lies beneath must not come to light.
        write(tx, scope, key, "", found.version, true, now)?;
    } else {
        let params = named_params! { ":org": scope.org, ":agent": scope.agent, ":environment": scope.environment, ":key": key };
        tx.execute(DELETE, params)?;
    }
    Ok(true)
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

/// Of every layer the first `limit` entries after a key that no layer above it has anything of, in the order of their keys.
fn merged(
    reader: &Reader<'_>,
    scope: Scope<'_>,
    after: &str,
    limit: u32,
    page: impl Fn(&Environment, &str) -> Result<Vec<MemoryEntry>, Error>,
) -> Result<Vec<MemoryEntry>, Error> {
    let mut above: Vec<Environment> = Vec::new();
    let mut all = Vec::new();
    for layer in scope.environment.layers() {
        let (mut after, mut taken) = (after.to_owned(), 0);
        loop {
            let entries = page(&layer, &after)?;
            let more = entries.len() == limit as usize;
            if let Some(last) = entries.last() {
                after.clone_from(&last.key);
            }
            for entry in entries {
                if !is_covered(reader, scope, &above, &entry.key)? {
                    all.push(entry);
                    taken += 1;
                }
            }
            if !more || taken >= limit {
                break;
            }
        }
        above.push(layer);
    }
    all.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(all)
}

fn is_covered(reader: &Reader<'_>, scope: Scope<'_>, above: &[Environment], key: &str) -> Result<bool, Error> {
    for layer in above {
        if !matches!(held(reader, scope, layer, key)?, Held::Nothing) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub fn list(reader: &Reader<'_>, scope: Scope<'_>, prefix: &str, after: Option<&str>, limit: u32) -> Result<MemoryPage, Error> {
    let page = |layer: &Environment, after: &str| {
        let params = named_params! {
            ":org": scope.org, ":agent": scope.agent, ":environment": layer, ":prefix": prefix, ":after": after, ":limit": limit + 1,
        };
        reader.list(LIST, params, entry)
    };
    Ok(paged(merged(reader, scope, after.unwrap_or_default(), limit + 1, page)?, limit))
}

/// Entries whose key or value contains `query`, without regard to the case of ASCII letters.
pub fn search(reader: &Reader<'_>, scope: Scope<'_>, query: &str, prefix: &str, limit: u32) -> Result<MemoryPage, Error> {
    let escaped = query.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    let pattern = format!("%{escaped}%");
    let page = |layer: &Environment, after: &str| {
        let params = named_params! {
            ":org": scope.org, ":agent": scope.agent, ":environment": layer, ":prefix": prefix, ":pattern": pattern, ":after": after,
            ":limit": limit + 1,
        };
        reader.list(SEARCH, params, entry)
    };
    Ok(paged(merged(reader, scope, "", limit + 1, page)?, limit))
}

#[cfg(test)]
mod tests;
