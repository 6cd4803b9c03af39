//! Passkeys: public keys with their counters, by the id that the browser knows them by.

use rusqlite::{Row, named_params};

use super::{Error, Reader, Tx};
use crate::domain::id::{PasskeyId, PrincipalId};
use crate::domain::time::Timestamp;

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT k.id, k.principal_id, k.name, k.credential, k.created_at, k.last_used_at FROM passkeys k
             JOIN principals p ON p.id = k.principal_id WHERE p.disabled_at IS NULL AND ",
            $condition
        )
    };
}
const INSERT: &str = "INSERT INTO passkeys (id, principal_id, name, credential_id, credential, created_at)
    VALUES (:id, :principal, :name, :credential_id, :credential, :now) ON CONFLICT (credential_id) DO NOTHING";
const FIND: &str = select!("k.credential_id = :credential_id");
const LIST: &str = select!("k.principal_id = :principal ORDER BY k.created_at, k.id LIMIT 100");
const COUNT: &str = "SELECT count(*) FROM passkeys WHERE principal_id = :principal";
// What was read is what is replaced: of two uses with the same counter one fails.
const USE: &str = "UPDATE passkeys SET credential = :new, last_used_at = :now WHERE id = :id AND credential = :old";
const RENAME: &str = "UPDATE passkeys SET name = :name WHERE id = :id AND principal_id = :principal";
const DELETE: &str = "DELETE FROM passkeys WHERE id = :id AND principal_id = :principal";

#[cfg(test)]
pub(super) const SQL: &[&str] = &[INSERT, FIND, LIST, COUNT, USE, RENAME, DELETE];

#[derive(Clone, Debug)]
pub struct Passkey {
    pub id: PasskeyId,
    pub principal: PrincipalId,
    pub name: String,
    /// JSON of the library that checks it.
    pub credential: String,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
}

fn passkey(row: &Row<'_>) -> rusqlite::Result<Passkey> {
    Ok(Passkey {
        id: row.get(0)?,
        principal: row.get(1)?,
        name: row.get(2)?,
        credential: row.get(3)?,
        created_at: row.get(4)?,
        last_used_at: row.get(5)?,
    })
}

/// # Errors
/// [`Error::Exists`] where somebody has registered the same one.
pub fn insert(tx: &Tx<'_>, new: &Passkey, credential_id: &[u8]) -> Result<(), Error> {
    let inserted = tx.execute(
        INSERT,
        named_params! {
            ":id": new.id, ":principal": new.principal, ":name": new.name, ":credential_id": credential_id,
            ":credential": new.credential, ":now": new.created_at,
        },
    )?;
    if inserted == 1 {
        Ok(())
    } else {
        Err(Error::Exists("this passkey is registered already".to_owned()))
    }
}

/// The passkey with the id that its authenticator gave it.
pub fn find(reader: &Reader<'_>, credential_id: &[u8]) -> Result<Option<Passkey>, Error> {
    reader.find(FIND, named_params! { ":credential_id": credential_id }, passkey)
}

/// A principal's passkeys, the oldest first.
pub fn list(reader: &Reader<'_>, principal: PrincipalId) -> Result<Vec<Passkey>, Error> {
    reader.list(LIST, named_params! { ":principal": principal }, passkey)
}

pub fn count(reader: &Reader<'_>, principal: PrincipalId) -> Result<u32, Error> {
    reader.get(COUNT, named_params! { ":principal": principal }, |row| row.get(0))
}

/// Writes down that a passkey was used, with its new counter; false where it was used otherwise since it was read.
pub fn used(tx: &Tx<'_>, read: &Passkey, credential: &str, now: Timestamp) -> Result<bool, Error> {
    let params = named_params! { ":id": read.id, ":old": read.credential, ":new": credential, ":now": now };
    Ok(tx.execute(USE, params)? == 1)
}

/// False where the principal has no such passkey.
pub fn rename(tx: &Tx<'_>, principal: PrincipalId, id: PasskeyId, name: &str) -> Result<bool, Error> {
    Ok(tx.execute(RENAME, named_params! { ":id": id, ":principal": principal, ":name": name })? == 1)
}

/// False where the principal has no such passkey.
pub fn delete(tx: &Tx<'_>, principal: PrincipalId, id: PasskeyId) -> Result<bool, Error> {
    Ok(tx.execute(DELETE, named_params! { ":id": id, ":principal": principal })? == 1)
}
