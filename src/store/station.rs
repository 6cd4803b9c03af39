//! What the station knows of itself: keys of its own, made once.

use rusqlite::named_params;

use super::{Error, Reader, Tx};
use crate::domain::hex;

pub(super) const FIND: &str = "SELECT value FROM station WHERE key = :key";
pub(super) const INSERT: &str = "INSERT INTO station (key, value) VALUES (:key, :value)";

const UPDATE: &str = "UPDATE station SET value = :value WHERE key = :key";
const DELETE: &str = "DELETE FROM station WHERE key = :key";

/// The secret under a name, where there is one.
fn find(reader: &Reader<'_>, name: &str) -> Result<Option<[u8; 32]>, Error> {
    let known: Option<String> = reader.find(FIND, named_params! { ":key": name }, |row| row.get(0))?;
    known
        .map(|text| hex::decode(&text).ok_or_else(|| Error::Corrupt(format!("the station's {name} is no key"))))
        .transpose()
}

/// The secret under a name; `fresh` becomes it where there is none.
fn secret(tx: &Tx<'_>, name: &str, fresh: [u8; 32]) -> Result<[u8; 32], Error> {
    match find(tx, name)? {
        Some(known) => Ok(known),
        None => {
            tx.execute(INSERT, named_params! { ":key": name, ":value": hex::encode(&fresh) })?;
            Ok(fresh)
        }
    }
}

/// The key that form tokens are made with.
pub fn form_key(tx: &Tx<'_>, fresh: [u8; 32]) -> Result<[u8; 32], Error> {
    secret(tx, "form_key", fresh)
}

const AUDIT_KEY: &str = "audit_key";

/// The key that chains the audit log; none before the first row.
pub(super) fn find_audit_key(reader: &Reader<'_>) -> Result<Option<[u8; 32]>, Error> {
    find(reader, AUDIT_KEY)
}

/// The key that chains the audit log, made where there is none.
pub(super) fn audit_key(tx: &Tx<'_>) -> Result<[u8; 32], Error> {
    let mut fresh = [0; 32];
    getrandom::fill(&mut fresh).map_err(|error| Error::Internal(error.into()))?;
    secret(tx, AUDIT_KEY, fresh)
}

const MASTER_KEY: &str = "master_key";

/// The fingerprint of the key that seals secrets, once there has been one.
pub fn master_key(reader: &Reader<'_>) -> Result<Option<String>, Error> {
    reader.find(FIND, named_params! { ":key": MASTER_KEY }, |row| row.get(0))
}

/// Remembers the fingerprint of the first key.
pub fn set_master_key(tx: &Tx<'_>, fingerprint: &str) -> Result<(), Error> {
    tx.execute(INSERT, named_params! { ":key": MASTER_KEY, ":value": fingerprint })?;
    Ok(())
}

const NEXT_MASTER_KEY: &str = "master_key_next";

/// The fingerprint of the key that is to take the master key's place, while it is being replaced.
pub fn next_master_key(reader: &Reader<'_>) -> Result<Option<String>, Error> {
    reader.find(FIND, named_params! { ":key": NEXT_MASTER_KEY }, |row| row.get(0))
}

/// Begins to replace the master key.
pub fn set_next_master_key(tx: &Tx<'_>, fingerprint: &str) -> Result<(), Error> {
    tx.execute(INSERT, named_params! { ":key": NEXT_MASTER_KEY, ":value": fingerprint })?;
    Ok(())
}

/// Ends replacing the master key: this one is expected from now on.
pub fn turn_master_key(tx: &Tx<'_>, fingerprint: &str) -> Result<(), Error> {
    tx.execute(UPDATE, named_params! { ":key": MASTER_KEY, ":value": fingerprint })?;
    tx.execute(DELETE, named_params! { ":key": NEXT_MASTER_KEY })?;
    Ok(())
}
