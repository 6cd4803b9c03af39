//! Organizations, their workspaces, and who is a member.

use rusqlite::named_params;

use super::tx::Cells;
use super::{Error, Reader, Tx};
use crate::domain::id::{OrgId, PrincipalId, WorkspaceId};
use crate::domain::permission::Role;
use crate::domain::plan::Plan;
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str = "INSERT INTO orgs (id, slug, name, plan, created_at) VALUES (:id, :slug, :name, :plan, :now)";
pub(super) const INSERT_WORKSPACE: &str =
    "INSERT INTO workspaces (id, org_id, slug, name, created_at) VALUES (:id, :org, :slug, :name, :now)";
pub(super) const SLUGS: &str =
    "SELECT o.slug, w.slug FROM orgs o JOIN workspaces w ON w.org_id = o.id WHERE o.id = :org AND w.id = :workspace";
// What a request names comes first, then what its session has chosen, then the oldest.
pub(super) const MEMBERSHIP: &str = "SELECT p.name, p.station_admin, o.id, o.plan, m.role,
    (SELECT w.id FROM workspaces w WHERE w.org_id = o.id AND (:workspace IS NULL OR w.slug = :workspace OR w.id = :workspace)
        ORDER BY (w.id = :chosen_workspace) DESC, w.created_at, w.id LIMIT 1),
    (SELECT count(*) FROM (SELECT 1 FROM workspaces w WHERE w.org_id = o.id LIMIT 2))
    FROM members m JOIN principals p ON p.id = m.principal_id JOIN orgs o ON o.id = m.org_id
    WHERE m.principal_id = :principal AND p.disabled_at IS NULL AND o.deleted_at IS NULL AND (:org IS NULL OR o.slug = :org OR o.id = :org)
    ORDER BY (o.id = :chosen_org) DESC, m.created_at, o.id LIMIT 1";

pub(super) const ID_OF: &str = "SELECT id FROM orgs WHERE slug = :name OR id = :name";
pub(super) const OF_PRINCIPAL: &str = "SELECT org_id FROM members WHERE principal_id = :principal ORDER BY org_id LIMIT 100";

pub fn insert(tx: &Tx<'_>, id: OrgId, slug: &str, name: &str, plan: Plan, now: Timestamp) -> Result<(), Error> {
    tx.execute(
        INSERT,
        named_params! { ":id": id, ":slug": slug, ":name": name, ":plan": plan, ":now": now },
    )?;
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
