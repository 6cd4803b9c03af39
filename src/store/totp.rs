//! Codes of authenticator apps: sealed secrets, the last code taken, and recovery codes as hashes.

use rusqlite::named_params;

use super::hash::Hash;
use super::{Error, Reader, Tx};
use crate::domain::id::PrincipalId;
use crate::domain::time::Timestamp;

// A secret that works is not replaced by one that nobody has seen work.
const BEGIN: &str = "INSERT INTO totp (principal_id, secret, created_at) VALUES (:principal, :secret, :now)
    ON CONFLICT (principal_id) DO UPDATE SET secret = excluded.secret, created_at = excluded.created_at WHERE confirmed_at IS NULL";
const FIND: &str = "SELECT secret, confirmed_at FROM totp WHERE principal_id = :principal";
const CONFIRM: &str = "UPDATE totp SET confirmed_at = :now, last_step = :step WHERE principal_id = :principal AND confirmed_at IS NULL";
const TAKE_STEP: &str =
    "UPDATE totp SET last_step = :step WHERE principal_id = :principal AND confirmed_at IS NOT NULL AND last_step < :step";
const DELETE: &str = "DELETE FROM totp WHERE principal_id = :principal";
const INSERT_CODE: &str = "INSERT INTO recovery_codes (principal_id, code_hash) VALUES (:principal, :hash)";
const DELETE_CODES: &str = "DELETE FROM recovery_codes WHERE principal_id = :principal";
const TAKE_CODE: &str =
    "UPDATE recovery_codes SET used_at = :now WHERE principal_id = :principal AND code_hash = :hash AND used_at IS NULL";
const CODES_LEFT: &str = "SELECT count(*) FROM recovery_codes WHERE principal_id = :principal AND used_at IS NULL";

// Bytes 2 to 9 of what is sealed name the key. There are as many rows as people with an authenticator app.
const UNDER: &str =
    "SELECT principal_id, secret FROM totp WHERE principal_id > '' AND lower(hex(substr(secret, 2, 8))) = :master LIMIT :limit";
const COUNT_UNDER: &str = "SELECT count(*) FROM totp WHERE principal_id > '' AND lower(hex(substr(secret, 2, 8))) = :master";
const RESEAL: &str = "UPDATE totp SET secret = :secret WHERE principal_id = :principal";

#[cfg(test)]
pub(super) const SQL: &[&str] = &[
    UNDER,
    COUNT_UNDER,
    RESEAL,
    BEGIN,
    FIND,
    CONFIRM,
    TAKE_STEP,
    DELETE,
    INSERT_CODE,
    DELETE_CODES,
    TAKE_CODE,
    CODES_LEFT,
];

/// A principal's secret, sealed.
#[derive(Clone, Debug)]
pub struct Totp {
    pub secret: Vec<u8>,
    /// None until a first code has shown that the app has it.
    pub confirmed_at: Option<Timestamp>,
}

/// Keeps a secret that no code has confirmed yet. Nothing changes where a confirmed one is there.
pub fn begin(tx: &Tx<'_>, principal: PrincipalId, sealed: &[u8], now: Timestamp) -> Result<(), Error> {
    tx.execute(BEGIN, named_params! { ":principal": principal, ":secret": sealed, ":now": now })?;
    Ok(())
}

pub fn find(reader: &Reader<'_>, principal: PrincipalId) -> Result<Option<Totp>, Error> {
    reader.find(FIND, named_params! { ":principal": principal }, |row| {
        Ok(Totp {
            secret: row.get(0)?,
            confirmed_at: row.get(1)?,
        })
    })
}

/// From now on a sign-in needs a code; `step` is that of the first. False where nothing waited to be confirmed.
pub fn confirm(tx: &Tx<'_>, principal: PrincipalId, step: u64, now: Timestamp) -> Result<bool, Error> {
    let params = named_params! { ":principal": principal, ":step": step as i64, ":now": now };
    Ok(tx.execute(CONFIRM, params)? == 1)
}

/// Uses the code of a time step up; false where it, or a later one, was used before.
pub fn take_step(tx: &Tx<'_>, principal: PrincipalId, step: u64) -> Result<bool, Error> {
    Ok(tx.execute(TAKE_STEP, named_params! { ":principal": principal, ":step": step as i64 })? == 1)
}

/// Takes the second factor away, recovery codes included.
pub fn delete(tx: &Tx<'_>, principal: PrincipalId) -> Result<(), Error> {
    tx.execute(DELETE, named_params! { ":principal": principal })?;
    tx.execute(DELETE_CODES, named_params! { ":principal": principal })?;
    Ok(())
}

/// Puts these recovery codes in the place of all others.
pub fn set_codes(tx: &Tx<'_>, principal: PrincipalId, hashes: &[Hash]) -> Result<(), Error> {
    tx.execute(DELETE_CODES, named_params! { ":principal": principal })?;
    for hash in hashes {
        tx.execute(INSERT_CODE, named_params! { ":principal": principal, ":hash": hash })?;
    }
    Ok(())
}

/// Uses a recovery code up; false where it is none, or was used before.
pub fn take_code(tx: &Tx<'_>, principal: PrincipalId, hash: &Hash, now: Timestamp) -> Result<bool, Error> {
    Ok(tx.execute(TAKE_CODE, named_params! { ":principal": principal, ":hash": hash, ":now": now })? == 1)
}

/// Recovery codes that can still be used.
pub fn codes_left(reader: &Reader<'_>, principal: PrincipalId) -> Result<u32, Error> {
    reader.get(CODES_LEFT, named_params! { ":principal": principal }, |row| row.get(0))
}

/// Some of the secrets that this master key sealed.
pub fn under(reader: &Reader<'_>, master: &str, limit: u32) -> Result<Vec<(PrincipalId, Vec<u8>)>, Error> {
    let params = named_params! { ":master": master, ":limit": limit };
    reader.list(UNDER, params, |row| Ok((row.get(0)?, row.get(1)?)))
}

/// How many secrets this master key sealed.
pub fn count_under(reader: &Reader<'_>, master: &str) -> Result<u64, Error> {
    reader.get(COUNT_UNDER, named_params! { ":master": master }, |row| {
        Ok(row.get::<_, i64>(0)? as u64)
    })
}

/// Puts the same secret in its place, sealed by another key.
pub fn reseal(tx: &Tx<'_>, principal: PrincipalId, sealed: &[u8]) -> Result<(), Error> {
    tx.execute(RESEAL, named_params! { ":principal": principal, ":secret": sealed })?;
    Ok(())
}
