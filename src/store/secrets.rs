//! Secrets: what is known of them, their sealed versions, and which runs have sent which.

use rusqlite::types::FromSqlError;
use rusqlite::{Row, named_params};

use super::tx::Cells;
use super::{Error, Reader, Tx};
use crate::domain::id::{DataKeyId, OrgId, PrincipalId, RunId, SecretId, WorkspaceId};
use crate::domain::secret::{Binding, Purpose};
use crate::domain::time::Timestamp;

const INSERT: &str = "INSERT INTO secrets (id, org_id, workspace_id, name, purpose, note, bindings, created_by, created_at, updated_at)
    VALUES (:id, :org, :workspace, :name, :purpose, :note, :bindings, :by, :now, :now)";
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT s.id, s.org_id, s.workspace_id, s.name, s.note, s.bindings, s.current, s.version, s.created_by, p.name, s.created_at,
             s.updated_at, s.last_used_at, v.source, v.place,
             (SELECT count(*) FROM secret_versions c WHERE c.secret_id = s.id AND c.destroyed_at IS NULL)
             FROM secrets s LEFT JOIN principals p ON p.id = s.created_by
             LEFT JOIN secret_versions v ON v.secret_id = s.id AND v.number = s.current WHERE ",
            $condition
        )
    };
}
const FIND: &str = select!("s.id = :id AND s.org_id = :org AND s.purpose = 'agents'");
const NAMED: &str = select!(
    "COALESCE(s.org_id, '') = COALESCE(:org, '') AND COALESCE(s.workspace_id, '') = COALESCE(:workspace, '') AND s.purpose = :purpose
     AND s.name = :name"
);
const LIST: &str =
    select!("s.org_id = :org AND s.purpose = 'agents' AND s.workspace_id IS :workspace AND s.name > :after ORDER BY s.name LIMIT :limit");
const COUNT: &str = "SELECT count(*) FROM secrets WHERE org_id = :org AND purpose = 'agents'";
const CHANGE: &str = "UPDATE secrets SET note = :note, bindings = :bindings, version = version + 1, updated_at = :now WHERE id = :id";
const TURN: &str = "UPDATE secrets SET current = :current, version = version + 1, updated_at = :now WHERE id = :id";
const CHANGED: &str = "UPDATE secrets SET version = version + 1, updated_at = :now WHERE id = :id";
const TOUCH: &str = "UPDATE secrets SET last_used_at = :now WHERE id = :id AND (last_used_at IS NULL OR last_used_at < :stale)";
const DELETE: &str = "DELETE FROM secrets WHERE id = :id";
const DELETE_OF: &str = "DELETE FROM secrets WHERE org_id = :org AND id IN (SELECT id FROM secrets WHERE org_id = :org LIMIT :limit)";
const INSERT_VERSION: &str = "INSERT INTO secret_versions (secret_id, number, source, place, data_key_id, sealed, created_by, created_at)
    VALUES (:id, :number, :source, :place, :key, :sealed, :by, :now)";
const NEWEST: &str = "SELECT max(number) FROM secret_versions WHERE secret_id = :id";
const VERSION: &str = "SELECT s.org_id, s.name, v.source, v.place, v.data_key_id, v.sealed, v.destroyed_at
    FROM secret_versions v JOIN secrets s ON s.id = v.secret_id WHERE v.secret_id = :id AND v.number = :number";
const CURRENT: &str = "SELECT current FROM secrets WHERE id = :id";
const VERSIONS: &str = "SELECT v.number, v.source, v.place, v.created_by, p.name, v.created_at, v.destroyed_at FROM secret_versions v
    LEFT JOIN principals p ON p.id = v.created_by WHERE v.secret_id = :id ORDER BY v.number DESC LIMIT 500";
const DESTROY: &str = "UPDATE secret_versions SET sealed = NULL, data_key_id = NULL, destroyed_at = :now
    WHERE secret_id = :id AND number = :number AND destroyed_at IS NULL";
const DESTROY_OLD: &str = "UPDATE secret_versions SET sealed = NULL, data_key_id = NULL, destroyed_at = :now
    WHERE secret_id = :id AND number < :number AND destroyed_at IS NULL";
const NOTE_USE: &str = "INSERT INTO run_secrets (run_id, org_id, secret_id, number) VALUES (:run, :org, :id, :number)
    ON CONFLICT (run_id, secret_id, number) DO NOTHING";
const USED_BY: &str = "SELECT secret_id, number FROM run_secrets WHERE org_id = :org AND run_id = :run";
const OTHERS_OF_USED: &str = "SELECT DISTINCT v.secret_id, v.number FROM run_secrets r JOIN secret_versions v ON v.secret_id = r.secret_id
    WHERE r.org_id = :org AND r.run_id = :run AND v.destroyed_at IS NULL";
const WIPE: &str = "PRAGMA secure_delete = 1";
const STOP_WIPING: &str = "PRAGMA secure_delete = 0";

#[cfg(test)]
pub(super) const SQL: &[&str] = &[
    FIND,
    NAMED,
    LIST,
    COUNT,
    CHANGE,
    TURN,
    CHANGED,
    TOUCH,
    DELETE,
    DELETE_OF,
    NEWEST,
    VERSION,
    CURRENT,
    VERSIONS,
    DESTROY,
    DESTROY_OLD,
    USED_BY,
    OTHERS_OF_USED,
];

/// Where the value of a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Sealed,
    /// In an environment variable of the station.
    Env,
    /// In a file of the station's machine.
    File,
}

impl Source {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Env => "env",
            Self::File => "file",
        }
    }

    fn parse(text: &str) -> rusqlite::Result<Self> {
        [Self::Sealed, Self::Env, Self::File]
            .into_iter()
            .find(|source| source.as_str() == text)
            .ok_or_else(|| FromSqlError::InvalidType.into())
    }
}

/// A secret that is to be made, without its value.
pub struct New<'a> {
    pub id: SecretId,
    /// None is the station's.
    pub org: Option<OrgId>,
    /// None is the whole organization's.
    pub workspace: Option<WorkspaceId>,
    pub name: &'a str,
    pub purpose: Purpose,
    pub note: &'a str,
    pub bindings: &'a [Binding],
    pub by: Option<PrincipalId>,
}

/// What a version has.
pub enum Body<'a> {
    Sealed { key: DataKeyId, sealed: &'a [u8] },
    Env(&'a str),
    File(&'a str),
}

/// What is known of a secret; its value is not among it.
#[derive(Clone, Debug)]
pub struct Secret {
    pub id: SecretId,
    pub org: Option<OrgId>,
    pub workspace: Option<WorkspaceId>,
    pub name: String,
    pub note: String,
    pub bindings: Vec<Binding>,
    /// The version that is sent.
    pub current: u32,
    /// Of the row.
    pub version: u32,
    pub created_by: Option<PrincipalId>,
    pub created_by_name: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
    /// Of the version that is sent.
    pub source: Source,
    pub place: String,
    /// Versions that are not destroyed.
    pub versions: u32,
}

fn secret(row: &Row<'_>) -> rusqlite::Result<Secret> {
    let mut cells = Cells::of(row);
    Ok(Secret {
        id: cells.take()?,
        org: cells.take()?,
        workspace: cells.take()?,
        name: cells.take()?,
        note: cells.take()?,
        bindings: serde_json::from_str(&cells.take::<String>()?).map_err(FromSqlError::other)?,
        current: cells.take()?,
        version: cells.take()?,
        created_by: cells.take()?,
        created_by_name: cells.take()?,
        created_at: cells.take()?,
        updated_at: cells.take()?,
        last_used_at: cells.take()?,
        source: Source::parse(&cells.take::<String>()?)?,
        place: cells.take()?,
        versions: cells.take()?,
    })
}

/// One version of a secret, without its value.
#[derive(Clone, Debug)]
pub struct Version {
    pub number: u32,
    pub source: Source,
    pub place: String,
    pub created_by: Option<PrincipalId>,
    pub created_by_name: Option<String>,
    pub created_at: Timestamp,
    pub destroyed_at: Option<Timestamp>,
}

/// A version with what its value is read from.
#[derive(Clone)]
pub struct Stored {
    pub org: Option<OrgId>,
    pub name: String,
    pub source: Source,
    pub place: String,
    pub key: Option<DataKeyId>,
    pub sealed: Option<Vec<u8>>,
    pub destroyed: bool,
}

/// Makes a secret, whose first version is to be added.
///
/// # Errors
/// [`Error::Exists`] where there is one of this name in the same place.
pub fn insert(tx: &Tx<'_>, new: &New<'_>, now: Timestamp) -> Result<(), Error> {
    let bindings = serde_json::to_string(new.bindings).map_err(Error::internal)?;
    tx.execute(
        INSERT,
        named_params! {
            ":id": new.id, ":org": new.org, ":workspace": new.workspace, ":name": new.name, ":purpose": new.purpose.as_str(),
            ":note": new.note, ":bindings": bindings, ":by": new.by, ":now": now,
        },
    )?;
    Ok(())
}

/// # Errors
/// [`Error::NotFound`] where the organization has no such secret for agents.
pub fn get(reader: &Reader<'_>, org: OrgId, id: SecretId) -> Result<Secret, Error> {
    reader.get(FIND, named_params! { ":id": id, ":org": org }, secret)
}

/// The secret of this name in exactly this place.
pub fn named(
    reader: &Reader<'_>,
    org: Option<OrgId>,
    workspace: Option<WorkspaceId>,
    purpose: Purpose,
    name: &str,
) -> Result<Option<Secret>, Error> {
    let params = named_params! { ":org": org, ":workspace": workspace, ":purpose": purpose.as_str(), ":name": name };
    reader.find(NAMED, params, secret)
}

/// Secrets for agents of an organization, or of one of its workspaces, by name from after `after` on.
pub fn list(reader: &Reader<'_>, org: OrgId, workspace: Option<WorkspaceId>, after: &str, limit: u32) -> Result<Vec<Secret>, Error> {
    let params = named_params! { ":org": org, ":workspace": workspace, ":after": after, ":limit": limit };
    reader.list(LIST, params, secret)
}

/// Secrets for agents that an organization has, those of its workspaces too.
pub fn count(reader: &Reader<'_>, org: OrgId) -> Result<u32, Error> {
    reader.get(COUNT, named_params! { ":org": org }, |row| row.get(0))
}

/// Writes note and bindings.
pub fn change(tx: &Tx<'_>, id: SecretId, note: &str, bindings: &[Binding], now: Timestamp) -> Result<(), Error> {
    let bindings = serde_json::to_string(bindings).map_err(Error::internal)?;
    tx.execute(
        CHANGE,
        named_params! { ":id": id, ":note": note, ":bindings": bindings, ":now": now },
    )?;
    Ok(())
}

/// Adds a version under a number that [`next_number`] gave. It is not sent before [`turn_to`].
pub fn add_version(tx: &Tx<'_>, id: SecretId, number: u32, body: &Body<'_>, by: Option<PrincipalId>, now: Timestamp) -> Result<(), Error> {
    let (source, place, key, sealed) = match *body {
        Body::Sealed { key, sealed } => (Source::Sealed, "", Some(key), Some(sealed)),
        Body::Env(name) => (Source::Env, name, None, None),
        Body::File(path) => (Source::File, path, None, None),
    };
    tx.execute(
        INSERT_VERSION,
        named_params! {
            ":id": id, ":number": number, ":source": source.as_str(), ":place": place, ":key": key, ":sealed": sealed, ":by": by, ":now": now,
        },
    )?;
    Ok(())
}

/// The number of the next version.
pub fn next_number(reader: &Reader<'_>, id: SecretId) -> Result<u32, Error> {
    let newest: Option<u32> = reader.get(NEWEST, named_params! { ":id": id }, |row| row.get(0))?;
    Ok(newest.unwrap_or(0) + 1)
}

/// From now on this version is sent.
pub fn turn_to(tx: &Tx<'_>, id: SecretId, number: u32, now: Timestamp) -> Result<(), Error> {
    tx.execute(TURN, named_params! { ":id": id, ":current": number, ":now": now })?;
    Ok(())
}

/// The version that is sent now.
///
/// # Errors
/// [`Error::NotFound`].
pub fn current(reader: &Reader<'_>, id: SecretId) -> Result<u32, Error> {
    reader.get(CURRENT, named_params! { ":id": id }, |row| row.get(0))
}

/// # Errors
/// [`Error::NotFound`].
pub fn version(reader: &Reader<'_>, id: SecretId, number: u32) -> Result<Stored, Error> {
    reader.get(VERSION, named_params! { ":id": id, ":number": number }, |row| {
        Ok(Stored {
            org: row.get(0)?,
            name: row.get(1)?,
            source: Source::parse(&row.get::<_, String>(2)?)?,
            place: row.get(3)?,
            key: row.get(4)?,
            sealed: row.get(5)?,
            destroyed: row.get::<_, Option<Timestamp>>(6)?.is_some(),
        })
    })
}

/// A secret's newest versions first.
pub fn versions(reader: &Reader<'_>, id: SecretId) -> Result<Vec<Version>, Error> {
    reader.list(VERSIONS, named_params! { ":id": id }, |row| {
        Ok(Version {
            number: row.get(0)?,
            source: Source::parse(&row.get::<_, String>(1)?)?,
            place: row.get(2)?,
            created_by: row.get(3)?,
            created_by_name: row.get(4)?,
            created_at: row.get(5)?,
            destroyed_at: row.get(6)?,
        })
    })
}

/// Deleted bytes are overwritten in what `work` does: sealed values are not left in free pages.
pub(super) fn wiping<T>(tx: &Tx<'_>, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let set = |sql| tx.get(sql, [], |row| row.get::<_, i64>(0));
    set(WIPE)?;
    let done = work();
    set(STOP_WIPING)?;
    done
}

/// Destroys the value of a version.
///
/// # Errors
/// [`Error::NotFound`] where there is no such version, or it is destroyed already.
pub fn destroy(tx: &Tx<'_>, id: SecretId, number: u32, now: Timestamp) -> Result<(), Error> {
    let params = named_params! { ":id": id, ":number": number, ":now": now };
    if wiping(tx, || tx.execute(DESTROY, params))? == 0 {
        return Err(Error::NotFound);
    }
    tx.execute(CHANGED, named_params! { ":id": id, ":now": now })?;
    Ok(())
}

/// Destroys the values of all versions before this one.
pub fn destroy_before(tx: &Tx<'_>, id: SecretId, number: u32, now: Timestamp) -> Result<(), Error> {
    let params = named_params! { ":id": id, ":number": number, ":now": now };
    wiping(tx, || tx.execute(DESTROY_OLD, params)).map(drop)
}

/// Deletes a secret with all its versions; nothing where it is not there.
pub fn delete(tx: &Tx<'_>, id: SecretId) -> Result<(), Error> {
    wiping(tx, || tx.execute(DELETE, named_params! { ":id": id })).map(drop)
}

/// Deletes some of an organization's secrets; returns how many.
pub fn delete_of(tx: &Tx<'_>, org: OrgId, limit: u32) -> Result<usize, Error> {
    wiping(tx, || tx.execute(DELETE_OF, named_params! { ":org": org, ":limit": limit }))
}

/// Notes when a secret was last sent, where the note is older than `stale`.
pub fn touch(tx: &Tx<'_>, id: SecretId, stale: Timestamp, now: Timestamp) -> Result<(), Error> {
    tx.execute(TOUCH, named_params! { ":id": id, ":stale": stale, ":now": now })?;
    Ok(())
}

/// Notes that a run sends this version.
pub fn note_use(tx: &Tx<'_>, org: OrgId, run: RunId, id: SecretId, number: u32) -> Result<(), Error> {
    tx.execute(NOTE_USE, named_params! { ":org": org, ":run": run, ":id": id, ":number": number })?;
    Ok(())
}

/// What a run has sent.
pub fn used_by(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<Vec<(SecretId, u32)>, Error> {
    reader.list(USED_BY, named_params! { ":org": org, ":run": run }, |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// Every version that still has a value, of each secret that a run has sent a version of.
pub fn searched_for(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<Vec<(SecretId, u32)>, Error> {
    let params = named_params! { ":org": org, ":run": run };
    reader.list(OTHERS_OF_USED, params, |row| Ok((row.get(0)?, row.get(1)?)))
}
