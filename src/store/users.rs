//! People: principals that sign in with an e-mail address and a password.

use rusqlite::{Row, named_params};

use super::{Error, Reader, Tx};
use crate::domain::id::{OrgId, PrincipalId};
use crate::domain::permission::Role;
use crate::domain::time::Timestamp;

pub(super) const INSERT_PRINCIPAL: &str = "INSERT INTO principals (id, kind, name, created_at) VALUES (:id, 'user', :name, :now)";
pub(super) const INSERT_USER: &str = "INSERT INTO users (principal_id, email, password_hash, password_changed_at)
    VALUES (:id, :email, :hash, :now) ON CONFLICT (email) DO NOTHING";
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT u.principal_id, u.email, p.name, u.password_hash, p.disabled_at FROM users u JOIN principals p ON p.id = u.principal_id WHERE ",
            $condition
        )
    };
}
pub(super) const FIND_BY_EMAIL: &str = select!("u.email = :email");
pub(super) const FIND: &str = select!("u.principal_id = :id");
pub(super) const ANY: &str = "SELECT EXISTS (SELECT 1 FROM users)";
pub(super) const SET_PASSWORD: &str = "UPDATE users SET password_hash = :hash, password_changed_at = :now WHERE principal_id = :id";
pub(super) const SET_NAME: &str = "UPDATE principals SET name = :name WHERE id = :id";
pub(super) const SET_EMAIL: &str = "UPDATE OR IGNORE users SET email = :email WHERE principal_id = :id";
pub(super) const STANDINGS: &str = "SELECT m.org_id, m.role, mine.role FROM members m
    LEFT JOIN members mine ON mine.org_id = m.org_id AND mine.principal_id = :actor WHERE m.principal_id = :id";
pub(super) const IS_STATION_ADMIN: &str = "SELECT station_admin FROM principals WHERE id = :id AND disabled_at IS NULL";
pub(super) const SET_STATION_ADMIN: &str = "UPDATE principals SET station_admin = :admin WHERE id = :id";

/// A user that is to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewUser<'a> {
    /// Lower case, trimmed.
    pub email: &'a str,
    pub name: &'a str,
    /// PHC string.
    pub password_hash: &'a str,
}

/// A user with what signing in needs.
#[derive(Clone, Debug)]
pub struct User {
    pub principal: PrincipalId,
    pub email: String,
    pub name: String,
    pub password_hash: String,
    pub disabled_at: Option<Timestamp>,
}

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        principal: row.get(0)?,
        email: row.get(1)?,
        name: row.get(2)?,
        password_hash: row.get(3)?,
        disabled_at: row.get(4)?,
    })
}

/// # Errors
/// [`Error::Exists`] where the address is taken.
pub fn insert(tx: &Tx<'_>, id: PrincipalId, new: &NewUser<'_>, now: Timestamp) -> Result<(), Error> {
    tx.execute(INSERT_PRINCIPAL, named_params! { ":id": id, ":name": new.name, ":now": now })?;
    let inserted = tx.execute(
        INSERT_USER,
        named_params! { ":id": id, ":email": new.email, ":hash": new.password_hash, ":now": now },
    )?;
    if inserted == 1 {
        Ok(())
    } else {
        Err(Error::Exists(format!("there is a user with the address {} already", new.email)))
    }
}

pub fn find_by_email(reader: &Reader<'_>, email: &str) -> Result<Option<User>, Error> {
    reader.find(FIND_BY_EMAIL, named_params! { ":email": email }, user)
}

pub fn find(reader: &Reader<'_>, id: PrincipalId) -> Result<Option<User>, Error> {
    reader.find(FIND, named_params! { ":id": id }, user)
}

/// Whether there is any user: a station without one is not set up.
pub fn any(reader: &Reader<'_>) -> Result<bool, Error> {
    reader.get(ANY, [], |row| row.get(0))
}

/// Whether a principal looks after the station itself.
pub fn set_station_admin(tx: &Tx<'_>, id: PrincipalId, station_admin: bool) -> Result<(), Error> {
    tx.execute(SET_STATION_ADMIN, named_params! { ":id": id, ":admin": station_admin })?;
    Ok(())
}

pub fn set_password(tx: &Tx<'_>, id: PrincipalId, hash: &str, now: Timestamp) -> Result<(), Error> {
    tx.execute(SET_PASSWORD, named_params! { ":id": id, ":hash": hash, ":now": now })?;
    Ok(())
}

pub fn set_name(tx: &Tx<'_>, id: PrincipalId, name: &str) -> Result<(), Error> {
    tx.execute(SET_NAME, named_params! { ":id": id, ":name": name })?;
    Ok(())
}

/// # Errors
/// [`Error::Exists`] where the address is somebody else's.
pub fn set_email(tx: &Tx<'_>, id: PrincipalId, email: &str) -> Result<(), Error> {
    if tx.execute(SET_EMAIL, named_params! { ":id": id, ":email": email })? == 1 {
        Ok(())
    } else {
        Err(Error::Exists(format!("there is a user with the address {email} already")))
    }
}

/// What somebody is in one of their organizations, and what another is there.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub org: OrgId,
    pub role: Role,
    /// Of the one who asks; none where they are no member.
    pub asker: Option<Role>,
}

/// Every organization of a principal, with what `asker` is there.
pub fn standings(reader: &Reader<'_>, id: PrincipalId, asker: PrincipalId) -> Result<Vec<Standing>, Error> {
    reader.list(STANDINGS, named_params! { ":id": id, ":actor": asker }, |row| {
        Ok(Standing {
            org: row.get(0)?,
            role: row.get(1)?,
            asker: row.get(2)?,
        })
    })
}

/// Whether a principal looks after the station; false where there is none.
pub fn is_station_admin(reader: &Reader<'_>, id: PrincipalId) -> Result<bool, Error> {
    Ok(reader
        .find(IS_STATION_ADMIN, named_params! { ":id": id }, |row| row.get(0))?
        .unwrap_or(false))
}
