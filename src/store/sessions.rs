//! Browsers' sign-ins, found by the hash of their token.

use rusqlite::named_params;

use super::hash::Hash;
use super::{Error, Reader, Tx};
use crate::domain::failure::codes;
use crate::domain::id::{OrgId, PrincipalId, SessionId, WorkspaceId};
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str = "INSERT INTO sessions (id, token_hash, principal_id, created_at, seen_at, expires_at, user_agent, address, factor,
    proved_at, org_id, workspace_id) VALUES (:id, :hash, :principal, :now, :now, :expires, :user_agent, :address, :factor, :now, :org, :workspace)";
pub(super) const SIGNED_IN: &str = "UPDATE users SET signed_in_at = :now WHERE principal_id = :principal";
pub(super) const FIND: &str = "SELECT s.id, s.principal_id, p.name, s.seen_at, s.expires_at, s.proved_at, s.org_id, s.workspace_id
    FROM sessions s JOIN principals p ON p.id = s.principal_id WHERE s.token_hash = :hash AND p.disabled_at IS NULL";
pub(super) const TOUCH: &str = "UPDATE sessions SET seen_at = :now WHERE id = :id";
pub(super) const CHOOSE: &str = "UPDATE sessions SET org_id = :org, workspace_id = :workspace WHERE id = :id";
pub(super) const DELETE: &str = "DELETE FROM sessions WHERE id = :id";
pub(super) const DELETE_OTHERS: &str = "DELETE FROM sessions WHERE principal_id = :principal AND id <> :id";
pub(super) const DELETE_OF: &str = "DELETE FROM sessions WHERE principal_id = :principal";
pub(super) const DELETE_ONE: &str = "DELETE FROM sessions WHERE id = :id AND principal_id = :principal";
pub(super) const LIST: &str = "SELECT id, created_at, seen_at, expires_at, user_agent, address, factor FROM sessions
    WHERE principal_id = :principal AND expires_at > :now AND seen_at > :idle ORDER BY seen_at DESC, id DESC LIMIT 200";
pub(super) const RENEW: &str = "UPDATE sessions SET token_hash = :hash, proved_at = :now WHERE id = :id";
pub(super) const PROVE: &str = "UPDATE sessions SET proved_at = :now WHERE id = :id";
pub(super) const FACTOR: &str = "SELECT factor FROM sessions WHERE id = :id";
pub(super) const PRUNE_OLD: &str = "DELETE FROM sessions WHERE expires_at < :now";
pub(super) const PRUNE_IDLE: &str = "DELETE FROM sessions WHERE seen_at < :idle";

#[derive(Clone, Debug)]
pub struct NewSession {
    pub id: SessionId,
    pub token_hash: Hash,
    pub principal: PrincipalId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub user_agent: String,
    pub address: String,
    pub factor: Factor,
    /// Where it begins; the first of its person's where nothing is said.
    pub org: Option<OrgId>,
    pub workspace: Option<WorkspaceId>,
}

codes! {
    /// How a session was begun.
    Factor {
        Password = "password",
        /// A password and a code of an app.
        Totp = "totp",
        /// A password and a recovery code.
        Recovery = "recovery",
        Passkey = "passkey",
        /// A one-time link.
        Link = "link",
    }
}

#[derive(Clone, Debug)]
pub struct Session {
    pub id: SessionId,
    pub principal: PrincipalId,
    pub name: String,
    pub seen_at: Timestamp,
    pub expires_at: Timestamp,
    /// When its person last proved who they are.
    pub proved_at: Timestamp,
    pub org: Option<OrgId>,
    pub workspace: Option<WorkspaceId>,
}

pub fn insert(tx: &Tx<'_>, new: &NewSession) -> Result<(), Error> {
    tx.execute(
        INSERT,
        named_params! {
            ":id": new.id, ":hash": new.token_hash, ":principal": new.principal, ":now": new.created_at, ":expires": new.expires_at,
            ":user_agent": new.user_agent, ":address": new.address, ":factor": new.factor.as_str(), ":org": new.org,
            ":workspace": new.workspace,
        },
    )?;
    tx.execute(SIGNED_IN, named_params! { ":principal": new.principal, ":now": new.created_at })?;
    Ok(())
}

pub fn find(reader: &Reader<'_>, token_hash: &Hash) -> Result<Option<Session>, Error> {
    reader.find(FIND, named_params! { ":hash": token_hash }, |row| {
        Ok(Session {
            id: row.get(0)?,
            principal: row.get(1)?,
            name: row.get(2)?,
            seen_at: row.get(3)?,
            expires_at: row.get(4)?,
            proved_at: row.get(5)?,
            org: row.get(6)?,
            workspace: row.get(7)?,
        })
    })
}

pub fn touch(tx: &Tx<'_>, id: SessionId, now: Timestamp) -> Result<(), Error> {
    tx.execute(TOUCH, named_params! { ":id": id, ":now": now })?;
    Ok(())
}

/// Has it go on in this organization and workspace.
pub fn choose(tx: &Tx<'_>, id: SessionId, org: OrgId, workspace: WorkspaceId) -> Result<(), Error> {
    tx.execute(CHOOSE, named_params! { ":id": id, ":org": org, ":workspace": workspace })?;
    Ok(())
}

pub fn delete(tx: &Tx<'_>, id: SessionId) -> Result<(), Error> {
    tx.execute(DELETE, named_params! { ":id": id })?;
    Ok(())
}

/// Ends a principal's sessions but this one.
pub fn delete_others(tx: &Tx<'_>, principal: PrincipalId, but: SessionId) -> Result<(), Error> {
    tx.execute(DELETE_OTHERS, named_params! { ":principal": principal, ":id": but })?;
    Ok(())
}

/// Ends all of a principal's sessions.
pub fn delete_of(tx: &Tx<'_>, principal: PrincipalId) -> Result<(), Error> {
    tx.execute(DELETE_OF, named_params! { ":principal": principal })?;
    Ok(())
}

/// Ends one session of a principal; false where it has no such one.
pub fn delete_one(tx: &Tx<'_>, principal: PrincipalId, id: SessionId) -> Result<bool, Error> {
    Ok(tx.execute(DELETE_ONE, named_params! { ":id": id, ":principal": principal })? == 1)
}

/// A session as its person sees it among the others.
#[derive(Clone, Debug)]
pub struct Listed {
    pub id: SessionId,
    pub created_at: Timestamp,
    pub seen_at: Timestamp,
    pub expires_at: Timestamp,
    pub user_agent: String,
    pub address: String,
    pub factor: Factor,
}

/// What is stored is one of ours; what is not counts as the weakest.
fn factor(text: &str) -> Factor {
    Factor::parse(text).unwrap_or(Factor::Link)
}

/// A principal's sessions that hold at `now` and were used after `idle`, the last used first.
pub fn list(reader: &Reader<'_>, principal: PrincipalId, now: Timestamp, idle: Timestamp) -> Result<Vec<Listed>, Error> {
    reader.list(LIST, named_params! { ":principal": principal, ":now": now, ":idle": idle }, |row| {
        Ok(Listed {
            id: row.get(0)?,
            created_at: row.get(1)?,
            seen_at: row.get(2)?,
            expires_at: row.get(3)?,
            user_agent: row.get(4)?,
            address: row.get(5)?,
            factor: factor(&row.get::<_, String>(6)?),
        })
    })
}

/// How a session was begun; none where it is gone.
pub fn factor_of(reader: &Reader<'_>, id: SessionId) -> Result<Option<Factor>, Error> {
    reader.find(FACTOR, named_params! { ":id": id }, |row| Ok(factor(&row.get::<_, String>(0)?)))
}

/// Gives a session another token: the old one is worth nothing any more. Its person has just proved who they are.
pub fn renew(tx: &Tx<'_>, id: SessionId, token_hash: &Hash, now: Timestamp) -> Result<(), Error> {
    tx.execute(RENEW, named_params! { ":id": id, ":hash": token_hash, ":now": now })?;
    Ok(())
}

/// Its person has just proved again who they are.
pub fn prove(tx: &Tx<'_>, id: SessionId, now: Timestamp) -> Result<(), Error> {
    tx.execute(PROVE, named_params! { ":id": id, ":now": now })?;
    Ok(())
}

/// Deletes those past their end, and those not used after `idle`.
pub fn prune(tx: &Tx<'_>, now: Timestamp, idle: Timestamp) -> Result<(), Error> {
    tx.execute(PRUNE_OLD, named_params! { ":now": now })?;
    tx.execute(PRUNE_IDLE, named_params! { ":idle": idle })?;
    Ok(())
}
