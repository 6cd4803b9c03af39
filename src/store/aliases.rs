//! The names by which agents of a workspace ask models.

use rusqlite::types::FromSqlError;
use rusqlite::{Row, named_params};

use super::tx::Cells;
use super::{Error, Reader, Scope, Tx};
use crate::domain::id::{OrgId, PrincipalId, WorkspaceId};
use crate::domain::provider::Link;
use crate::domain::time::Timestamp;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT a.workspace_id, a.name, a.chain, a.version, p.name, a.updated_at
             FROM model_aliases a LEFT JOIN principals p ON p.id = a.updated_by ",
            $rest
        )
    };
}
// As few as people set, and all are read once, at the start and after a change.
pub(super) const ALL: &str = select!("ORDER BY a.workspace_id, a.name");
pub(super) const LIST: &str = select!("WHERE a.org_id = :org AND a.workspace_id = :workspace ORDER BY a.name LIMIT :limit");
pub(super) const FIND: &str = select!("WHERE a.org_id = :org AND a.workspace_id = :workspace AND a.name = :name");
pub(super) const COUNT: &str = "SELECT count(*) FROM model_aliases WHERE org_id = :org AND workspace_id = :workspace";
pub(super) const OF_ORG: &str = select!("WHERE a.org_id = :org ORDER BY a.workspace_id, a.name");
pub(super) const PUT: &str = "INSERT INTO model_aliases (org_id, workspace_id, name, chain, updated_by, updated_at)
    VALUES (:org, :workspace, :name, :chain, :by, :now)
    ON CONFLICT (org_id, workspace_id, name)
    DO UPDATE SET chain = excluded.chain, version = version + 1, updated_by = excluded.updated_by, updated_at = excluded.updated_at";
pub(super) const REMOVE: &str = "DELETE FROM model_aliases WHERE org_id = :org AND workspace_id = :workspace AND name = :name";
// All are looked at, as few as people set, when an administrator of the station removes a provider.
pub(super) const NAMING_STATIONS: &str = "SELECT count(*) FROM model_aliases a
    WHERE EXISTS (SELECT 1 FROM json_each(a.chain) link WHERE link.value ->> 'provider' = :provider)
    AND NOT EXISTS (SELECT 1 FROM providers p WHERE p.org_id = a.org_id AND p.name = :provider)";

#[cfg(test)]
pub(super) const SQL: [&str; 6] = [LIST, FIND, COUNT, OF_ORG, PUT, REMOVE];

/// Aliases that a workspace can have.
pub const ALIASES_MAX: u32 = 100;

/// An alias as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    pub workspace: WorkspaceId,
    pub name: String,
    /// In the order in which they are asked.
    pub chain: Vec<Link>,
    pub version: u32,
    pub updated_by_name: Option<String>,
    pub updated_at: Timestamp,
}

fn alias(row: &Row<'_>) -> rusqlite::Result<Alias> {
    let mut cells = Cells::of(row);
    Ok(Alias {
        workspace: cells.take()?,
        name: cells.take()?,
        chain: serde_json::from_str(&cells.take::<String>()?).map_err(|error| FromSqlError::Other(Box::new(error)))?,
        version: cells.take()?,
        updated_by_name: cells.take()?,
        updated_at: cells.take()?,
    })
}

/// Everybody's.
pub fn all(reader: &Reader<'_>) -> Result<Vec<Alias>, Error> {
    reader.list(ALL, [], alias)
}

/// A workspace's, by name.
pub fn list(reader: &Reader<'_>, scope: Scope) -> Result<Vec<Alias>, Error> {
    let params = named_params! { ":org": scope.org, ":workspace": scope.workspace, ":limit": ALIASES_MAX };
    reader.list(LIST, params, alias)
}

pub fn find(reader: &Reader<'_>, scope: Scope, name: &str) -> Result<Option<Alias>, Error> {
    let params = named_params! { ":org": scope.org, ":workspace": scope.workspace, ":name": name };
    reader.find(FIND, params, alias)
}

pub fn count(reader: &Reader<'_>, scope: Scope) -> Result<u32, Error> {
    reader.get(COUNT, named_params! { ":org": scope.org, ":workspace": scope.workspace }, |row| {
        row.get(0)
    })
}

/// Names of an organization's aliases that have a provider of this name in their chains.
pub fn naming(reader: &Reader<'_>, org: OrgId, provider: &str) -> Result<Vec<String>, Error> {
    let all = reader.list(OF_ORG, named_params! { ":org": org }, alias)?;
    let naming = all
        .into_iter()
        .filter(|alias| alias.chain.iter().any(|link| link.provider == provider));
    Ok(naming.map(|alias| alias.name).collect())
}

/// How many aliases, of whatever organization, mean the station's provider of this name.
pub fn naming_stations(reader: &Reader<'_>, provider: &str) -> Result<u32, Error> {
    reader.get(NAMING_STATIONS, named_params! { ":provider": provider }, |row| row.get(0))
}

/// Sets a chain; the version goes up.
pub fn put(tx: &Tx<'_>, scope: Scope, name: &str, chain: &[Link], by: PrincipalId, now: Timestamp) -> Result<(), Error> {
    let chain = serde_json::to_string(chain).map_err(Error::internal)?;
    let params = named_params! {
        ":org": scope.org, ":workspace": scope.workspace, ":name": name, ":chain": chain, ":by": by, ":now": now,
    };
    tx.execute(PUT, params)?;
    Ok(())
}

/// # Errors
/// [`Error::NotFound`]
pub fn remove(tx: &Tx<'_>, scope: Scope, name: &str) -> Result<(), Error> {
    let rows = tx.execute(
        REMOVE,
        named_params! { ":org": scope.org, ":workspace": scope.workspace, ":name": name },
    )?;
    if rows == 1 { Ok(()) } else { Err(Error::NotFound) }
}
