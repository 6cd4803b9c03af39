//! Organizations, and what a principal is in one.

use rusqlite::{Row, named_params};

use super::tx::Cells;
use super::{Error, Reader, Tx};
use crate::domain::id::{OrgId, PrincipalId, WorkspaceId};
use crate::domain::permission::Role;
use crate::domain::plan::Plan;
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str = "INSERT INTO orgs (id, slug, name, plan, created_at) VALUES (:id, :slug, :name, :plan, :now)";
pub(super) const SLUGS: &str =
    "SELECT o.slug, w.slug FROM orgs o JOIN workspaces w ON w.org_id = o.id WHERE o.id = :org AND w.id = :workspace";
// What a request names comes first, then what its session has chosen, then the oldest.
pub(super) const MEMBERSHIP: &str = "SELECT p.name, p.station_admin, o.id, o.plan, m.role,
    (SELECT w.id FROM workspaces w WHERE w.org_id = o.id AND w.deleted_at IS NULL AND (:workspace IS NULL OR w.slug = :workspace OR w.id = :workspace)
        ORDER BY (w.id = :chosen_workspace) DESC, w.created_at, w.id LIMIT 1),
    (SELECT count(*) FROM (SELECT 1 FROM workspaces w WHERE w.org_id = o.id AND w.deleted_at IS NULL LIMIT 2))
    FROM members m JOIN principals p ON p.id = m.principal_id JOIN orgs o ON o.id = m.org_id
    WHERE m.principal_id = :principal AND p.disabled_at IS NULL AND o.deleted_at IS NULL AND (:org IS NULL OR o.slug = :org OR o.id = :org)
    ORDER BY (o.id = :chosen_org) DESC, m.created_at, o.id LIMIT 1";
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT id, slug, name, plan, stored_bytes, deleted_at, purge_at, created_at FROM orgs ",
            $condition
        )
    };
}
pub(super) const GET: &str = select!("WHERE id = :org");
pub(super) const FIND: &str = select!("WHERE id = :name OR slug = :name");
pub(super) const LIST: &str = select!("WHERE slug > :after ORDER BY slug LIMIT :limit");
pub(super) const DELETED: &str = select!("WHERE purge_at IS NOT NULL ORDER BY purge_at");
pub(super) const OF_MEMBER: &str = "SELECT o.id, o.slug, o.name, o.plan, m.role FROM members m JOIN orgs o ON o.id = m.org_id
    WHERE m.principal_id = :principal AND o.deleted_at IS NULL AND (:only IS NULL OR o.id = :only) ORDER BY m.created_at, o.id LIMIT :limit";
pub(super) const RENAME: &str = "UPDATE orgs SET slug = :slug, name = :name WHERE id = :org";
pub(super) const SET_PLAN: &str = "UPDATE orgs SET plan = :plan WHERE id = :org";
pub(super) const DELETE: &str =
    "UPDATE orgs SET deleted_at = :now, purge_at = :purge_at, deleted_by = :by WHERE id = :org AND deleted_at IS NULL";
pub(super) const RESTORE: &str =
    "UPDATE orgs SET deleted_at = NULL, purge_at = NULL, deleted_by = NULL WHERE id = :org AND purge_at > :now";
// Of the station's admins there are few, but no index finds them: it is read through only where an organization is deleted.
const KEEPERS: &str = "SELECT EXISTS (SELECT 1 FROM principals p JOIN members m ON m.principal_id = p.id JOIN orgs o ON o.id = m.org_id
    WHERE p.station_admin = 1 AND p.disabled_at IS NULL AND o.deleted_at IS NULL AND o.id <> :org)";

#[cfg(test)]
pub(super) const SQL: [&str; 13] = [
    SLUGS,
    MEMBERSHIP,
    GET,
    FIND,
    LIST,
    DELETED,
    OF_MEMBER,
    RENAME,
    SET_PLAN,
    DELETE,
    RESTORE,
    ID_OF,
    OF_PRINCIPAL,
];

/// An organization as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Org {
    pub id: OrgId,
    /// Its short name, in addresses.
    pub slug: String,
    pub name: String,
    pub plan: Plan,
    /// Bytes of its payloads and blobs, before compression.
    pub stored_bytes: u64,
    /// When it was asked to be deleted.
    pub deleted_at: Option<Timestamp>,
    /// When everything in it is deleted.
    pub purge_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

fn org(row: &Row<'_>) -> rusqlite::Result<Org> {
    let mut cells = Cells::of(row);
    Ok(Org {
        id: cells.take()?,
        slug: cells.take()?,
        name: cells.take()?,
        plan: cells.take()?,
        stored_bytes: cells.take::<i64>()? as u64,
        deleted_at: cells.take()?,
        purge_at: cells.take()?,
        created_at: cells.take()?,
    })
}

/// An organization and what a principal is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfMember {
    pub id: OrgId,
    pub slug: String,
    pub name: String,
    pub plan: Plan,
    pub role: Role,
}

/// # Errors
/// [`Error::NotFound`].
pub fn get(reader: &Reader<'_>, id: OrgId) -> Result<Org, Error> {
    reader.get(GET, named_params! { ":org": id }, org)
}

/// The organization with this id or short name, one that is being deleted too.
pub fn find(reader: &Reader<'_>, name: &str) -> Result<Option<Org>, Error> {
    reader.find(FIND, named_params! { ":name": name }, org)
}

/// Every organization by short name, after the short name `after`.
pub fn list(reader: &Reader<'_>, after: &str, limit: u32) -> Result<Vec<Org>, Error> {
    reader.list(LIST, named_params! { ":after": after, ":limit": limit }, org)
}

/// Those that are being deleted, the one whose time is over first.
pub fn deleted(reader: &Reader<'_>) -> Result<Vec<Org>, Error> {
    reader.list(DELETED, [], org)
}

/// The organizations that a principal is a member of, the first that it joined first; only one of them where `only` names it.
pub fn of_member(reader: &Reader<'_>, principal: PrincipalId, only: Option<OrgId>, limit: u32) -> Result<Vec<OfMember>, Error> {
    reader.list(
        OF_MEMBER,
        named_params! { ":principal": principal, ":only": only, ":limit": limit },
        |row| {
            Ok(OfMember {
                id: row.get(0)?,
                slug: row.get(1)?,
                name: row.get(2)?,
                plan: row.get(3)?,
                role: row.get(4)?,
            })
        },
    )
}

/// # Errors
/// [`Error::Exists`] where the short name is another's.
pub fn rename(tx: &Tx<'_>, org: OrgId, slug: &str, name: &str) -> Result<(), Error> {
    tx.execute(RENAME, named_params! { ":org": org, ":slug": slug, ":name": name })?;
    Ok(())
}

pub fn set_plan(tx: &Tx<'_>, org: OrgId, plan: Plan) -> Result<(), Error> {
    tx.execute(SET_PLAN, named_params! { ":org": org, ":plan": plan })?;
    Ok(())
}

/// From now on nobody gets in; at `purge_at` everything in it is deleted.
///
/// # Errors
/// [`Error::NotFound`] where it is being deleted already.
pub fn delete(tx: &Tx<'_>, org: OrgId, by: PrincipalId, now: Timestamp, purge_at: Timestamp) -> Result<(), Error> {
    let deleted = tx.execute(DELETE, named_params! { ":org": org, ":by": by, ":now": now, ":purge_at": purge_at })?;
    if deleted == 1 { Ok(()) } else { Err(Error::NotFound) }
}

/// Takes a deletion back. Returns whether there was one whose time was not over.
pub fn restore(tx: &Tx<'_>, org: OrgId, now: Timestamp) -> Result<bool, Error> {
    Ok(tx.execute(RESTORE, named_params! { ":org": org, ":now": now })? == 1)
}

/// Whether somebody who looks after the station is a member of another organization than this.
pub fn is_kept_elsewhere(reader: &Reader<'_>, org: OrgId) -> Result<bool, Error> {
    reader.get(KEEPERS, named_params! { ":org": org }, |row| row.get(0))
}

pub(super) const ID_OF: &str = "SELECT id FROM orgs WHERE slug = :name OR id = :name";
pub(super) const OF_PRINCIPAL: &str = "SELECT org_id FROM members WHERE principal_id = :principal ORDER BY org_id LIMIT 100";

pub fn insert(tx: &Tx<'_>, id: OrgId, slug: &str, name: &str, plan: Plan, now: Timestamp) -> Result<(), Error> {
    tx.execute(
        INSERT,
        named_params! { ":id": id, ":slug": slug, ":name": name, ":plan": plan, ":now": now },
    )?;
    Ok(())
}

/// The short names of an organization and one of its workspaces.
pub fn slugs(reader: &Reader<'_>, org: OrgId, workspace: WorkspaceId) -> Result<(String, String), Error> {
    reader.get(SLUGS, named_params! { ":org": org, ":workspace": workspace }, |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// Which organization and workspace a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tenant {
    /// By id or short name, where the request names one.
    pub org: Option<String>,
    pub workspace: Option<String>,
    /// What its session has chosen: counts where nothing is named.
    pub chosen_org: Option<OrgId>,
    pub chosen_workspace: Option<WorkspaceId>,
}

impl Tenant {
    /// The organization with this id or short name.
    pub fn org(org: impl Into<String>) -> Self {
        Self {
            org: Some(org.into()),
            ..Self::default()
        }
    }
}

/// What a principal is in an organization, now.
#[derive(Clone, Debug)]
pub struct Member {
    pub name: String,
    pub station_admin: bool,
    pub org: OrgId,
    pub plan: Plan,
    pub role: Role,
    /// `None` where the organization has none of the name that was asked for.
    pub workspace: Option<WorkspaceId>,
    /// Whether the organization has no other workspace.
    pub is_only_workspace: bool,
}

/// The membership that a request is about, of a principal that is not disabled, in an organization that is not being deleted.
pub fn membership(reader: &Reader<'_>, principal: PrincipalId, tenant: &Tenant) -> Result<Option<Member>, Error> {
    let params = named_params! {
        ":principal": principal, ":org": tenant.org, ":workspace": tenant.workspace, ":chosen_org": tenant.chosen_org,
        ":chosen_workspace": tenant.chosen_workspace,
    };
    reader.find(MEMBERSHIP, params, |row| {
        let mut cells = Cells::of(row);
        Ok(Member {
            name: cells.take()?,
            station_admin: cells.take()?,
            org: cells.take()?,
            plan: cells.take()?,
            role: cells.take()?,
            workspace: cells.take()?,
            is_only_workspace: cells.take::<i64>()? < 2,
        })
    })
}

/// The organization with this short name or id.
pub fn id_of(reader: &Reader<'_>, name: &str) -> Result<Option<OrgId>, Error> {
    reader.find(ID_OF, named_params! { ":name": name }, |row| row.get(0))
}

/// The organizations that a principal is a member of.
pub fn of_principal(reader: &Reader<'_>, principal: PrincipalId) -> Result<Vec<OrgId>, Error> {
    reader.list(OF_PRINCIPAL, named_params! { ":principal": principal }, |row| row.get(0))
}
