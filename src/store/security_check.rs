//! What the check of the station's security asks of the database: accounts and keys that are easier to misuse than they need be.

use rusqlite::named_params;

use super::{Error, Reader};
use crate::domain::time::Timestamp;

/// Names given as examples; more say nothing new.
const EXAMPLES_MAX: u32 = 10;

pub(super) const IN_CHARGE_WITHOUT_SECOND_FACTOR: &str =
    "SELECT DISTINCT u.email FROM members m INDEXED BY members_in_charge JOIN users u ON u.principal_id = m.principal_id
    JOIN principals p ON p.id = m.principal_id JOIN orgs o ON o.id = m.org_id
    WHERE m.role IN ('owner', 'admin') AND p.disabled_at IS NULL AND o.deleted_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM totp t WHERE t.principal_id = p.id AND t.confirmed_at IS NOT NULL)
    AND NOT EXISTS (SELECT 1 FROM passkeys k WHERE k.principal_id = p.id) LIMIT :limit";
pub(super) const NEVER_SIGNED_IN: &str =
    "SELECT u.email FROM users u INDEXED BY users_never_signed_in JOIN principals p ON p.id = u.principal_id
    WHERE u.signed_in_at IS NULL AND p.disabled_at IS NULL AND p.created_at < :before LIMIT :limit";
pub(super) const KEYS_WITHOUT_EXPIRY: &str =
    "SELECT name FROM api_keys INDEXED BY api_keys_open WHERE revoked_at IS NULL AND expires_at IS NULL LIMIT :limit";
pub(super) const KEYS_UNUSED: &str = "SELECT name FROM api_keys INDEXED BY api_keys_open
    WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now) AND COALESCE(last_used_at, created_at) < :before LIMIT :limit";
#[cfg(test)]
pub(super) const SQL: [&str; 4] = [IN_CHARGE_WITHOUT_SECOND_FACTOR, NEVER_SIGNED_IN, KEYS_WITHOUT_EXPIRY, KEYS_UNUSED];

/// Accounts and keys by what is wrong with them; of each at most [`EXAMPLES_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weak {
    /// E-mail addresses of owners and admins who sign in with a password alone.
    pub in_charge_without_second_factor: Vec<String>,
    /// E-mail addresses of people who were given an account and have not come.
    pub never_signed_in: Vec<String>,
    /// Names of keys that hold for ever.
    pub keys_without_expiry: Vec<String>,
    /// Names of keys that nobody uses.
    pub keys_unused: Vec<String>,
}

/// Looks for accounts not used, and keys not used, since `before`.
pub fn weak(reader: &Reader<'_>, now: Timestamp, before: Timestamp) -> Result<Weak, Error> {
    let first = |row: &rusqlite::Row<'_>| row.get(0);
    let limit = named_params! { ":limit": EXAMPLES_MAX };
    Ok(Weak {
        in_charge_without_second_factor: reader.list(IN_CHARGE_WITHOUT_SECOND_FACTOR, limit, first)?,
        never_signed_in: reader.list(NEVER_SIGNED_IN, named_params! { ":before": before, ":limit": EXAMPLES_MAX }, first)?,
        keys_without_expiry: reader.list(KEYS_WITHOUT_EXPIRY, limit, first)?,
        keys_unused: reader.list(
            KEYS_UNUSED,
            named_params! { ":now": now, ":before": before, ":limit": EXAMPLES_MAX },
            first,
        )?,
    })
}

/// Of the SQLite that is compiled in.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}
