//! Members: what principals are in an organization.

use rusqlite::{Row, named_params};

use super::tx::Cells;
use super::{Error, Reader, Tx};
use crate::domain::id::{OrgId, PrincipalId};
use crate::domain::permission::{PrincipalKind, Role};
use crate::domain::plan::Plan;
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str = "INSERT INTO members (org_id, principal_id, role, created_at) VALUES (:org, :principal, :role, :now)";
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT m.principal_id, p.kind, p.name, u.email, p.note, m.role, m.created_at, p.disabled_at
             FROM members m JOIN principals p ON p.id = m.principal_id LEFT JOIN users u ON u.principal_id = p.id WHERE m.org_id = :org AND ",
            $condition
        )
    };
}
pub(super) const FIND: &str = select!("m.principal_id = :principal");
pub(super) const LIST: &str = select!("m.principal_id > :after AND (:kind IS NULL OR p.kind = :kind) ORDER BY m.principal_id LIMIT :limit");
pub(super) const BY_EMAIL: &str =
    "SELECT m.principal_id FROM users u JOIN members m ON m.principal_id = u.principal_id WHERE u.email = :email AND m.org_id = :org";
pub(super) const SET_ROLE: &str = "UPDATE members SET role = :role WHERE org_id = :org AND principal_id = :principal";
pub(super) const DELETE: &str = "DELETE FROM members WHERE org_id = :org AND principal_id = :principal";
// Whoever cannot sign in answers for nothing.
pub(super) const OTHER_OWNER: &str = "SELECT EXISTS (SELECT 1 FROM members m JOIN principals p ON p.id = m.principal_id
    WHERE m.org_id = :org AND m.role = 'owner' AND m.principal_id <> :principal AND p.kind = 'user' AND p.disabled_at IS NULL)";
pub(super) const ROLE: &str = "SELECT m.role FROM members m JOIN principals p ON p.id = m.principal_id
    WHERE m.org_id = :org AND m.principal_id = :principal AND p.disabled_at IS NULL";
pub(super) const SEATS: &str = "SELECT o.plan, (SELECT count(*) FROM members m WHERE m.org_id = :org),
    (SELECT count(*) FROM invitations i WHERE i.org_id = :org AND i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > :now)
    FROM orgs o WHERE o.id = :org";
pub(super) const NAMES: &str =
    "SELECT p.id, p.name FROM members m JOIN principals p ON p.id = m.principal_id WHERE m.org_id = :org ORDER BY p.name LIMIT 1000";
pub(super) const FIRST_OWNER: &str =
    "SELECT m.principal_id FROM members m JOIN orgs o ON o.id = m.org_id JOIN principals p ON p.id = m.principal_id
    WHERE o.slug = :slug AND m.role = 'owner' AND p.disabled_at IS NULL ORDER BY m.created_at LIMIT 1";
pub(super) const INSERT_SERVICE: &str = "INSERT INTO principals (id, kind, name, note, created_by, created_at)
    VALUES (:id, 'service', :name, :note, :by, :now)";
pub(super) const RENAME_SERVICE: &str = "UPDATE principals SET name = :name, note = :note WHERE id = :id AND kind = 'service'";
pub(super) const DISABLE: &str = "UPDATE principals SET disabled_at = :now WHERE id = :id AND disabled_at IS NULL";
pub(super) const ENABLE: &str = "UPDATE principals SET disabled_at = NULL WHERE id = :id AND kind = 'user'";
pub(super) const ORGS_OF: &str = "SELECT m.org_id, m.role FROM members m WHERE m.principal_id = :principal ORDER BY m.org_id";

#[cfg(test)]
pub(super) const SQL: [&str; 14] = [
    FIND,
    LIST,
    BY_EMAIL,
    SET_ROLE,
    DELETE,
    OTHER_OWNER,
    ROLE,
    SEATS,
    NAMES,
    FIRST_OWNER,
    RENAME_SERVICE,
    DISABLE,
    ENABLE,
    ORGS_OF,
];

/// A principal in an organization.
#[derive(Clone, Debug)]
pub struct Listed {
    pub principal: PrincipalId,
    pub kind: PrincipalKind,
    pub name: String,
    /// Of a person.
    pub email: Option<String>,
    /// Of a service: what it is for.
    pub note: String,
    pub role: Role,
    pub since: Timestamp,
    pub disabled_at: Option<Timestamp>,
}

fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    let mut cells = Cells::of(row);
    Ok(Listed {
        principal: cells.take()?,
        kind: cells.take()?,
        name: cells.take()?,
        email: cells.take()?,
        note: cells.take()?,
        role: cells.take()?,
        since: cells.take()?,
        disabled_at: cells.take()?,
    })
}

/// # Errors
/// [`Error::Exists`] where the principal is a member already.
pub fn insert(tx: &Tx<'_>, org: OrgId, principal: PrincipalId, role: Role, now: Timestamp) -> Result<(), Error> {
    tx.execute(
        INSERT,
        named_params! { ":org": org, ":principal": principal, ":role": role, ":now": now },
    )?;
    Ok(())
}

pub fn find(reader: &Reader<'_>, org: OrgId, principal: PrincipalId) -> Result<Option<Listed>, Error> {
    reader.find(FIND, named_params! { ":org": org, ":principal": principal }, listed)
}

/// Members in the order in which they came to the station, after the principal `after`.
pub fn list(
    reader: &Reader<'_>,
    org: OrgId,
    kind: Option<PrincipalKind>,
    after: Option<PrincipalId>,
    limit: u32,
) -> Result<Vec<Listed>, Error> {
    let after = after.map(|after| after.to_string()).unwrap_or_default();
    reader.list(
        LIST,
        named_params! { ":org": org, ":kind": kind, ":after": after, ":limit": limit },
        listed,
    )
}

/// Whether somebody with this address is a member.
pub fn has_email(reader: &Reader<'_>, org: OrgId, email: &str) -> Result<bool, Error> {
    let found = reader.find(BY_EMAIL, named_params! { ":org": org, ":email": email }, |_| Ok(()))?;
    Ok(found.is_some())
}

/// What somebody may still do now: the role of a member who is not disabled.
pub fn role(reader: &Reader<'_>, org: OrgId, principal: PrincipalId) -> Result<Option<Role>, Error> {
    reader.find(ROLE, named_params! { ":org": org, ":principal": principal }, |row| row.get(0))
}

pub fn set_role(tx: &Tx<'_>, org: OrgId, principal: PrincipalId, role: Role) -> Result<(), Error> {
    tx.execute(SET_ROLE, named_params! { ":org": org, ":principal": principal, ":role": role })?;
    Ok(())
}

pub fn delete(tx: &Tx<'_>, org: OrgId, principal: PrincipalId) -> Result<(), Error> {
    tx.execute(DELETE, named_params! { ":org": org, ":principal": principal })?;
    Ok(())
}

/// Whether a person other than this one owns the organization.
pub fn has_other_owner(reader: &Reader<'_>, org: OrgId, principal: PrincipalId) -> Result<bool, Error> {
    reader.get(OTHER_OWNER, named_params! { ":org": org, ":principal": principal }, |row| {
        row.get(0)
    })
}

/// The organization's plan, and how many members it has and is to have: open invitations count.
pub fn seats(reader: &Reader<'_>, org: OrgId, now: Timestamp) -> Result<(Plan, u32), Error> {
    reader.get(SEATS, named_params! { ":org": org, ":now": now }, |row| {
        Ok((row.get(0)?, row.get::<_, u32>(1)? + row.get::<_, u32>(2)?))
    })
}

/// The members of an organization by name.
pub fn names(reader: &Reader<'_>, org: OrgId) -> Result<Vec<(PrincipalId, String)>, Error> {
    reader.list(NAMES, named_params! { ":org": org }, |row| Ok((row.get(0)?, row.get(1)?)))
}

/// The earliest owner of the organization with this short name.
pub fn first_owner(reader: &Reader<'_>, slug: &str) -> Result<Option<PrincipalId>, Error> {
    reader.find(FIRST_OWNER, named_params! { ":slug": slug }, |row| row.get(0))
}

/// Makes a principal that does not sign in.
pub fn insert_service(tx: &Tx<'_>, id: PrincipalId, name: &str, note: &str, by: PrincipalId, now: Timestamp) -> Result<(), Error> {
    tx.execute(
        INSERT_SERVICE,
        named_params! { ":id": id, ":name": name, ":note": note, ":by": by, ":now": now },
    )?;
    Ok(())
}

pub fn rename_service(tx: &Tx<'_>, id: PrincipalId, name: &str, note: &str) -> Result<(), Error> {
    tx.execute(RENAME_SERVICE, named_params! { ":id": id, ":name": name, ":note": note })?;
    Ok(())
}

/// A principal is nothing any more, anywhere. Its row stays: what it did names it.
pub fn disable(tx: &Tx<'_>, id: PrincipalId, now: Timestamp) -> Result<(), Error> {
    tx.execute(DISABLE, named_params! { ":id": id, ":now": now })?;
    Ok(())
}

/// A person may sign in again, as what they were.
pub fn enable(tx: &Tx<'_>, id: PrincipalId) -> Result<(), Error> {
    tx.execute(ENABLE, named_params! { ":id": id })?;
    Ok(())
}

/// Where a principal is a member, and as what.
pub fn orgs_of(reader: &Reader<'_>, principal: PrincipalId) -> Result<Vec<(OrgId, Role)>, Error> {
    reader.list(ORGS_OF, named_params! { ":principal": principal }, |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}
