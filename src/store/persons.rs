//! Everything that is kept about a person, a part and a page at a time, and erasing it.

use rusqlite::named_params;

use super::{Error, Reader, Tx};
use crate::domain::id::PrincipalId;
use crate::domain::time::Timestamp;

pub(super) const PROFILE: &str = "SELECT p.id, json_object('id', p.id, 'name', p.name, 'email', u.email, 'created_at', p.created_at,
        'password_changed_at', u.password_changed_at, 'station_admin', p.station_admin = 1, 'disabled_at', p.disabled_at,
        'authenticator_since', (SELECT t.confirmed_at FROM totp t WHERE t.principal_id = p.id),
        'recovery_codes_left', (SELECT count(*) FROM recovery_codes r WHERE r.principal_id = p.id AND r.used_at IS NULL))
    FROM principals p LEFT JOIN users u ON u.principal_id = p.id WHERE p.id = :principal AND p.id > :after LIMIT :limit";
pub(super) const MEMBERSHIPS: &str =
    "SELECT m.org_id, json_object('organization', o.slug, 'name', o.name, 'role', m.role, 'since', m.created_at)
    FROM members m JOIN orgs o ON o.id = m.org_id WHERE m.principal_id = :principal AND m.org_id > :after ORDER BY m.org_id LIMIT :limit";
pub(super) const SESSIONS: &str = "SELECT id, json_object('id', id, 'created_at', created_at, 'seen_at', seen_at, 'expires_at', expires_at,
        'address', address, 'user_agent', user_agent, 'factor', factor, 'organization', org_id)
    FROM sessions WHERE principal_id = :principal AND id > :after ORDER BY id LIMIT :limit";
pub(super) const KEYS: &str =
    "SELECT id, json_object('id', id, 'organization', org_id, 'name', name, 'scopes', json(scopes), 'created_at', created_at,
        'expires_at', expires_at, 'last_used_at', last_used_at, 'revoked_at', revoked_at)
    FROM api_keys WHERE principal_id = :principal AND id > :after ORDER BY id LIMIT :limit";
pub(super) const PASSKEYS: &str = "SELECT id, json_object('id', id, 'name', name, 'created_at', created_at, 'last_used_at', last_used_at)
    FROM passkeys WHERE principal_id = :principal AND id > :after ORDER BY id LIMIT :limit";
pub(super) const INVITATIONS: &str =
    "SELECT i.id, json_object('id', i.id, 'organization', i.org_id, 'role', i.role, 'created_at', i.created_at,
        'accepted_at', i.accepted_at, 'revoked_at', i.revoked_at)
    FROM users u JOIN invitations i ON i.email = u.email WHERE u.principal_id = :principal AND i.id > :after ORDER BY i.id LIMIT :limit";
pub(super) const RUNS: &str = "SELECT id, json_object('id', id, 'organization', org_id, 'agent', agent_name, 'state', state)
    FROM runs WHERE started_by = :principal AND id > :after ORDER BY id LIMIT :limit";
pub(super) const DECISIONS: &str = "SELECT approval_id, json_object('approval', approval_id, 'verb', verb, 'reason', reason, 'at', at)
    FROM approval_decisions WHERE principal_id = :principal AND approval_id > :after ORDER BY approval_id LIMIT :limit";
pub(super) const MESSAGES: &str =
    "SELECT run_id || printf('/%015d', message), json_object('run', run_id, 'id', id, 'text', text, 'sent_at', sent_at)
    FROM messages WHERE sender = :principal AND run_id >= substr(:after, 1, instr(:after || '/', '/') - 1)
        AND run_id || printf('/%015d', message) > :after ORDER BY run_id, message LIMIT :limit";
pub(super) const VERSIONS: &str =
    "SELECT v.id, json_object('id', v.id, 'organization', v.org_id, 'agent', a.name, 'version', v.version, 'published_at', v.created_at)
    FROM agent_versions v JOIN agents a ON a.org_id = v.org_id AND a.id = v.agent_id
    WHERE v.created_by = :principal AND v.id > :after ORDER BY v.id LIMIT :limit";

pub(super) const IS_USER: &str = "SELECT EXISTS (SELECT 1 FROM users WHERE principal_id = :principal)";
pub(super) const OTHER_STATION_ADMIN: &str =
    "SELECT EXISTS (SELECT 1 FROM principals WHERE station_admin = 1 AND disabled_at IS NULL AND id <> :principal)";
pub(super) const IS_STATION_ADMIN: &str = "SELECT station_admin = 1 FROM principals WHERE id = :principal";
pub(super) const FORGET_PRINCIPAL: &str = "UPDATE principals SET name = :name, note = '', station_admin = 0,
    disabled_at = coalesce(disabled_at, :now) WHERE id = :principal AND kind = 'user'";
pub(super) const FORGET_SENDER: &str = "UPDATE messages SET sender_name = :name WHERE sender = :principal";
pub(super) const FORGET_INVITATIONS: &str = "DELETE FROM invitations WHERE email = :email";
/// What is deleted of a person.
pub(super) const FORGET: [&str; 7] = [
    "DELETE FROM sessions WHERE principal_id = :principal",
    "DELETE FROM api_keys WHERE principal_id = :principal",
    "DELETE FROM passkeys WHERE principal_id = :principal",
    "DELETE FROM totp WHERE principal_id = :principal",
    "DELETE FROM recovery_codes WHERE principal_id = :principal",
    "DELETE FROM one_time_links WHERE principal_id = :principal",
    "DELETE FROM users WHERE principal_id = :principal",
];

/// The parts of what is kept, by name.
pub(super) const PARTS: [(&str, &str); 10] = [
    ("profile", PROFILE),
    ("memberships", MEMBERSHIPS),
    ("sessions", SESSIONS),
    ("api_keys", KEYS),
    ("passkeys", PASSKEYS),
    ("invitations", INVITATIONS),
    ("versions_published", VERSIONS),
    ("runs_started", RUNS),
    ("approvals_decided", DECISIONS),
    ("messages_sent", MESSAGES),
];

#[cfg(test)]
pub(super) const SQL: [&str; 6] = [
    IS_USER,
    OTHER_STATION_ADMIN,
    IS_STATION_ADMIN,
    FORGET_PRINCIPAL,
    FORGET_SENDER,
    FORGET_INVITATIONS,
];

/// The names of the parts, in their order.
pub fn parts() -> impl Iterator<Item = &'static str> {
    PARTS.iter().map(|(name, _)| *name)
}

/// One thing that is kept: JSON, and where to go on after it.
#[derive(Debug)]
pub struct Kept {
    pub cursor: String,
    pub json: String,
}

/// A page of a part, after a cursor.
///
/// # Errors
/// [`Error::NotFound`] for a part that there is not.
pub fn page(reader: &Reader<'_>, part: &str, principal: PrincipalId, after: &str, limit: u32) -> Result<Vec<Kept>, Error> {
    let (_, sql) = PARTS.iter().find(|(name, _)| *name == part).ok_or(Error::NotFound)?;
    reader.list(
        sql,
        named_params! { ":principal": principal, ":after": after, ":limit": limit },
        |row| {
            Ok(Kept {
                cursor: row.get(0)?,
                json: row.get(1)?,
            })
        },
    )
}

/// Whether this is a person who is not erased.
pub fn is_user(reader: &Reader<'_>, principal: PrincipalId) -> Result<bool, Error> {
    reader.get(IS_USER, named_params! { ":principal": principal }, |row| row.get(0))
}

/// Whether nobody else looks after the station.
pub fn is_last_station_admin(reader: &Reader<'_>, principal: PrincipalId) -> Result<bool, Error> {
    let is_admin: bool = reader.get(IS_STATION_ADMIN, named_params! { ":principal": principal }, |row| row.get(0))?;
    let other: bool = reader.get(OTHER_STATION_ADMIN, named_params! { ":principal": principal }, |row| row.get(0))?;
    Ok(is_admin && !other)
}

/// Deletes a person's account and everything that proves who they are, and puts `name` where theirs stood. The principal stays: runs and
/// the audit log name it.
pub fn erase(tx: &Tx<'_>, principal: PrincipalId, email: &str, name: &str, now: Timestamp) -> Result<(), Error> {
    for sql in FORGET {
        tx.execute(sql, named_params! { ":principal": principal })?;
    }
    tx.execute(FORGET_INVITATIONS, named_params! { ":email": email })?;
    tx.execute(FORGET_SENDER, named_params! { ":name": name, ":principal": principal })?;
    tx.execute(
        FORGET_PRINCIPAL,
        named_params! { ":name": name, ":now": now, ":principal": principal },
    )?;
    Ok(())
}
