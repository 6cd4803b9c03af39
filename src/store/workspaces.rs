//! Workspaces of organizations.

use rusqlite::{Row, named_params};

use super::{Error, Reader, Tx};
use crate::domain::id::{OrgId, PrincipalId, WorkspaceId};
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str = "INSERT INTO workspaces (id, org_id, slug, name, created_at) VALUES (:id, :org, :slug, :name, :now)";
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT id, slug, name, created_at FROM workspaces WHERE org_id = :org AND deleted_at IS NULL ",
            $condition
        )
    };
}
pub(super) const LIST: &str = select!("ORDER BY slug LIMIT :limit");
pub(super) const FIND: &str = select!("AND (id = :name OR slug = :name)");
pub(super) const RENAME: &str = "UPDATE workspaces SET slug = :slug, name = :name WHERE id = :id AND org_id = :org AND deleted_at IS NULL";
// Its short name is free for another at once.
pub(super) const DELETE: &str =
    "UPDATE workspaces SET deleted_at = :now, slug = id WHERE id = :id AND org_id = :org AND deleted_at IS NULL";
pub(super) const DELETED: &str = "SELECT org_id, id FROM workspaces WHERE deleted_at IS NOT NULL ORDER BY id";

pub(super) const PLACE: &str = "SELECT o.name, w.name,
    (SELECT count(*) FROM (SELECT 1 FROM members m JOIN orgs x ON x.id = m.org_id WHERE m.principal_id = :principal AND x.deleted_at IS NULL LIMIT 2)),
    (SELECT count(*) FROM (SELECT 1 FROM workspaces x WHERE x.org_id = :org AND x.deleted_at IS NULL LIMIT 2))
    FROM orgs o JOIN workspaces w ON w.org_id = o.id WHERE o.id = :org AND w.id = :workspace";

#[cfg(test)]
pub(super) const SQL: [&str; 6] = [LIST, FIND, RENAME, DELETE, DELETED, PLACE];

/// More than any plan includes.
pub const LIST_MAX: u32 = 500;

/// A workspace that is not being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    pub id: WorkspaceId,
    /// Its short name, in addresses.
    pub slug: String,
    pub name: String,
    pub created_at: Timestamp,
}

fn workspace(row: &Row<'_>) -> rusqlite::Result<Workspace> {
    Ok(Workspace {
        id: row.get(0)?,
        slug: row.get(1)?,
        name: row.get(2)?,
        created_at: row.get(3)?,
    })
}

/// # Errors
/// [`Error::Exists`] where the organization has one of this short name.
pub fn insert(tx: &Tx<'_>, org: OrgId, id: WorkspaceId, slug: &str, name: &str, now: Timestamp) -> Result<(), Error> {
    tx.execute(
        INSERT,
        named_params! { ":id": id, ":org": org, ":slug": slug, ":name": name, ":now": now },
    )?;
    Ok(())
}

/// By short name, at most [`LIST_MAX`].
pub fn list(reader: &Reader<'_>, org: OrgId) -> Result<Vec<Workspace>, Error> {
    reader.list(LIST, named_params! { ":org": org, ":limit": LIST_MAX }, workspace)
}

/// The workspace with this id or short name.
pub fn find(reader: &Reader<'_>, org: OrgId, name: &str) -> Result<Option<Workspace>, Error> {
    reader.find(FIND, named_params! { ":org": org, ":name": name }, workspace)
}

/// # Errors
/// [`Error::NotFound`]; [`Error::Exists`] where another has the short name.
pub fn rename(tx: &Tx<'_>, org: OrgId, id: WorkspaceId, slug: &str, name: &str) -> Result<(), Error> {
    let changed = tx.execute(RENAME, named_params! { ":id": id, ":org": org, ":slug": slug, ":name": name })?;
    if changed == 1 { Ok(()) } else { Err(Error::NotFound) }
}

/// From now on nobody gets in, and what is in it is deleted; see [`super::purge`].
///
/// # Errors
/// [`Error::NotFound`].
pub fn delete(tx: &Tx<'_>, org: OrgId, id: WorkspaceId, now: Timestamp) -> Result<(), Error> {
    let deleted = tx.execute(DELETE, named_params! { ":id": id, ":org": org, ":now": now })?;
    if deleted == 1 { Ok(()) } else { Err(Error::NotFound) }
}

/// Where somebody is at work, by name, and whether they could be elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub org: String,
    pub workspace: String,
    pub has_other_orgs: bool,
    pub has_other_workspaces: bool,
}

/// # Errors
/// [`Error::NotFound`] where one of them is gone.
pub fn place(reader: &Reader<'_>, principal: PrincipalId, org: OrgId, workspace: WorkspaceId) -> Result<Place, Error> {
    let params = named_params! { ":principal": principal, ":org": org, ":workspace": workspace };
    reader.get(PLACE, params, |row| {
        Ok(Place {
            org: row.get(0)?,
            workspace: row.get(1)?,
            has_other_orgs: row.get::<_, i64>(2)? > 1,
            has_other_workspaces: row.get::<_, i64>(3)? > 1,
        })
    })
}

/// Those that are being deleted, of every organization.
pub fn deleted(reader: &Reader<'_>) -> Result<Vec<(OrgId, WorkspaceId)>, Error> {
    reader.list(DELETED, [], |row| Ok((row.get(0)?, row.get(1)?)))
}
