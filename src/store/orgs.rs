//! Organizations, their workspaces, and who is a member.

use rusqlite::named_params;

use super::{Error, Reader, Tx};
use crate::domain::id::{OrgId, PrincipalId, WorkspaceId};
use crate::domain::permission::Role;
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str = "INSERT INTO orgs (id, slug, name, created_at) VALUES (:id, :slug, :name, :now)";
pub(super) const INSERT_WORKSPACE: &str =
    "INSERT INTO workspaces (id, org_id, slug, name, created_at) VALUES (:id, :org, :slug, :name, :now)";
pub(super) const SLUGS: &str =
    "SELECT o.slug, w.slug FROM orgs o JOIN workspaces w ON w.org_id = o.id WHERE o.id = :org AND w.id = :workspace";
pub(super) const MEMBERSHIP: &str = "SELECT p.name, o.id, m.role,
    (SELECT w.id FROM workspaces w WHERE w.org_id = o.id ORDER BY w.created_at, w.id LIMIT 1)
    FROM members m JOIN principals p ON p.id = m.principal_id JOIN orgs o ON o.id = m.org_id
    WHERE m.principal_id = :principal AND p.disabled_at IS NULL AND (:slug IS NULL OR o.slug = :slug)
    ORDER BY m.created_at, o.id LIMIT 1";

pub fn insert(tx: &Tx<'_>, id: OrgId, slug: &str, name: &str, now: Timestamp) -> Result<(), Error> {
    tx.execute(INSERT, named_params! { ":id": id, ":slug": slug, ":name": name, ":now": now })?;
    Ok(())
}

pub fn insert_workspace(tx: &Tx<'_>, org: OrgId, id: WorkspaceId, slug: &str, name: &str, now: Timestamp) -> Result<(), Error> {
    tx.execute(
        INSERT_WORKSPACE,
        named_params! { ":id": id, ":org": org, ":slug": slug, ":name": name, ":now": now },
    )?;
    Ok(())
}

/// The short names of an organization and one of its workspaces.
pub fn slugs(reader: &Reader<'_>, org: OrgId, workspace: WorkspaceId) -> Result<(String, String), Error> {
    reader.get(SLUGS, named_params! { ":org": org, ":workspace": workspace }, |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// What a principal is in an organization, now.
#[derive(Clone, Debug)]
pub struct Member {
    pub name: String,
    pub org: OrgId,
    pub role: Role,
    /// The organization's first workspace.
    pub workspace: WorkspaceId,
}

/// The membership of a principal that is not disabled: in the organization with this short name, or in its first.
pub fn membership(reader: &Reader<'_>, principal: PrincipalId, slug: Option<&str>) -> Result<Option<Member>, Error> {
    reader.find(MEMBERSHIP, named_params! { ":principal": principal, ":slug": slug }, |row| {
        Ok(Member {
            name: row.get(0)?,
            org: row.get(1)?,
            role: row.get(2)?,
            workspace: row.get(3)?,
        })
    })
}
