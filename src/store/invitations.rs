//! Invitations: links with which a person joins an organization. Only the hash of the token is kept.

use rusqlite::{Row, named_params};

use super::hash::Hash;
use super::tx::Cells;
use super::{Error, Reader, Tx};
use crate::domain::id::{InvitationId, OrgId, PrincipalId};
use crate::domain::permission::Role;
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str = "INSERT INTO invitations (id, org_id, email, role, token_hash, invited_by, created_at, expires_at)
    VALUES (:id, :org, :email, :role, :hash, :by, :now, :expires)";
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT i.id, i.org_id, o.name, i.email, i.role, i.invited_by, p.name, i.created_at, i.expires_at
             FROM invitations i JOIN orgs o ON o.id = i.org_id LEFT JOIN principals p ON p.id = i.invited_by
             WHERE i.accepted_at IS NULL AND i.revoked_at IS NULL AND ",
            $condition
        )
    };
}
pub(super) const HELD: &str = select!("i.token_hash = :hash AND i.expires_at > :now AND o.deleted_at IS NULL");
pub(super) const FIND: &str = select!("i.id = :id AND i.org_id = :org");
pub(super) const LIST: &str = select!("i.org_id = :org AND i.id > :after ORDER BY i.id LIMIT :limit");
pub(super) const OPEN_FOR: &str = select!("i.org_id = :org AND i.email = :email");
pub(super) const RENEW: &str = "UPDATE invitations SET token_hash = :hash, expires_at = :expires, invited_by = :by
    WHERE id = :id AND org_id = :org AND accepted_at IS NULL AND revoked_at IS NULL";
pub(super) const REVOKE: &str =
    "UPDATE invitations SET revoked_at = :now WHERE id = :id AND org_id = :org AND accepted_at IS NULL AND revoked_at IS NULL";
pub(super) const REVOKE_OF: &str =
    "UPDATE invitations SET revoked_at = :now WHERE invited_by = :by AND org_id = :org AND accepted_at IS NULL AND revoked_at IS NULL";
pub(super) const ACCEPT: &str = "UPDATE invitations SET accepted_at = :now
    WHERE id = :id AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > :now";

#[cfg(test)]
pub(super) const SQL: [&str; 8] = [HELD, FIND, LIST, OPEN_FOR, RENEW, REVOKE, REVOKE_OF, ACCEPT];

/// An invitation that is to be stored.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    pub id: InvitationId,
    pub org: OrgId,
    /// Lower case, trimmed.
    pub email: String,
    pub role: Role,
    pub token_hash: Hash,
    pub by: PrincipalId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// An invitation that nobody has accepted or revoked. It may have expired.
#[derive(Clone, Debug)]
pub struct Invitation {
    pub id: InvitationId,
    pub org: OrgId,
    pub org_name: String,
    pub email: String,
    pub role: Role,
    pub by: Option<PrincipalId>,
    pub by_name: Option<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

fn invitation(row: &Row<'_>) -> rusqlite::Result<Invitation> {
    let mut cells = Cells::of(row);
    Ok(Invitation {
        id: cells.take()?,
        org: cells.take()?,
        org_name: cells.take()?,
        email: cells.take()?,
        role: cells.take()?,
        by: cells.take()?,
        by_name: cells.take()?,
        created_at: cells.take()?,
        expires_at: cells.take()?,
    })
}

/// # Errors
/// [`Error::Exists`] where one is open for the address.
pub fn insert(tx: &Tx<'_>, new: &NewInvitation) -> Result<(), Error> {
    tx.execute(
        INSERT,
        named_params! {
            ":id": new.id, ":org": new.org, ":email": new.email, ":role": new.role, ":hash": new.token_hash, ":by": new.by,
            ":now": new.created_at, ":expires": new.expires_at,
        },
    )?;
    Ok(())
}

/// The invitation of a token, while it holds.
pub fn held(reader: &Reader<'_>, token_hash: &Hash, now: Timestamp) -> Result<Option<Invitation>, Error> {
    reader.find(HELD, named_params! { ":hash": token_hash, ":now": now }, invitation)
}

pub fn find(reader: &Reader<'_>, org: OrgId, id: InvitationId) -> Result<Option<Invitation>, Error> {
    reader.find(FIND, named_params! { ":id": id, ":org": org }, invitation)
}

/// What nobody has accepted or revoked, expired ones too, after the invitation `after`.
pub fn list(reader: &Reader<'_>, org: OrgId, after: Option<InvitationId>, limit: u32) -> Result<Vec<Invitation>, Error> {
    let after = after.map(|after| after.to_string()).unwrap_or_default();
    reader.list(LIST, named_params! { ":org": org, ":after": after, ":limit": limit }, invitation)
}

/// The one that is open for an address, expired or not.
pub fn open_for(reader: &Reader<'_>, org: OrgId, email: &str) -> Result<Option<Invitation>, Error> {
    reader.find(OPEN_FOR, named_params! { ":org": org, ":email": email }, invitation)
}

/// Gives an invitation a new token and time; the token before is dead.
///
/// # Errors
/// [`Error::NotFound`] where it is not open.
pub fn renew(tx: &Tx<'_>, org: OrgId, id: InvitationId, token_hash: &Hash, by: PrincipalId, expires_at: Timestamp) -> Result<(), Error> {
    let renewed = tx.execute(
        RENEW,
        named_params! { ":id": id, ":org": org, ":hash": token_hash, ":by": by, ":expires": expires_at },
    )?;
    if renewed == 1 { Ok(()) } else { Err(Error::NotFound) }
}

/// # Errors
/// [`Error::NotFound`] where it is not open.
pub fn revoke(tx: &Tx<'_>, org: OrgId, id: InvitationId, now: Timestamp) -> Result<(), Error> {
    let revoked = tx.execute(REVOKE, named_params! { ":id": id, ":org": org, ":now": now })?;
    if revoked == 1 { Ok(()) } else { Err(Error::NotFound) }
}

/// Revokes what somebody has invited to and nobody has accepted. Returns how many.
pub fn revoke_of(tx: &Tx<'_>, org: OrgId, by: PrincipalId, now: Timestamp) -> Result<usize, Error> {
    tx.execute(REVOKE_OF, named_params! { ":org": org, ":by": by, ":now": now })
}

/// Uses an invitation up.
///
/// # Errors
/// [`Error::NotFound`] where it does not hold.
pub fn accept(tx: &Tx<'_>, id: InvitationId, now: Timestamp) -> Result<(), Error> {
    let accepted = tx.execute(ACCEPT, named_params! { ":id": id, ":now": now })?;
    if accepted == 1 { Ok(()) } else { Err(Error::NotFound) }
}
