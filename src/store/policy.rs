//! Policies of organizations and workspaces: every version that was stored. The newest holds.

use rusqlite::{Row, named_params};

use super::tx::Cells;
use super::{Error, Reader, Tx};
use crate::domain::id::{OrgId, PrincipalId, WorkspaceId};
use crate::domain::permission::Role;
use crate::domain::policy::Rules;
use crate::domain::time::Timestamp;

macro_rules! select {
    () => {
        "SELECT v.version, v.rules, v.note, v.created_by, p.name, v.created_at FROM policies v LEFT JOIN principals p ON p.id = v.created_by
        WHERE v.org_id = :org AND v.workspace_id = :workspace "
    };
}
pub(super) const HEAD: &str =
    "SELECT version, created_at FROM policies WHERE org_id = :org AND workspace_id = :workspace ORDER BY version DESC LIMIT 1";
pub(super) const NEWEST: &str = concat!(select!(), "ORDER BY v.version DESC LIMIT 1");
pub(super) const GET: &str = concat!(select!(), "AND v.version = :version");
pub(super) const BEFORE: &str = concat!(select!(), "AND v.version < :before ORDER BY v.version DESC LIMIT :limit");
pub(super) const ROLES: &str = "SELECT role FROM members WHERE org_id = :org";
pub(super) const INSERT: &str = "INSERT INTO policies (org_id, workspace_id, version, rules, note, created_by, created_at)
    VALUES (:org, :workspace, :version, :rules, :note, :by, :now)";

/// Whose policy: an organization's, or one of its workspaces'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Whose {
    pub org: OrgId,
    pub workspace: Option<WorkspaceId>,
}

impl Whose {
    fn column(self) -> String {
        self.workspace.map(|id| id.to_string()).unwrap_or_default()
    }
}

/// One version of a policy.
#[derive(Clone, Debug)]
pub struct Stored {
    pub version: u32,
    pub rules: Rules,
    pub note: String,
    pub created_by: Option<PrincipalId>,
    pub created_by_name: Option<String>,
    pub created_at: Timestamp,
}

/// The number of the newest version, and when it was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub version: u32,
    pub created_at: Timestamp,
}

/// A version to be stored.
#[derive(Clone, Debug)]
pub struct NewVersion {
    pub version: u32,
    pub rules: Rules,
    pub note: String,
    pub by: PrincipalId,
}

struct Raw {
    stored: Stored,
    rules: String,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let mut cells = Cells::of(row);
    let (version, rules) = (cells.take()?, cells.take()?);
    Ok(Raw {
        stored: Stored {
            version,
            rules: Rules::default(),
            note: cells.take()?,
            created_by: cells.take()?,
            created_by_name: cells.take()?,
            created_at: cells.take()?,
        },
        rules,
    })
}

impl Raw {
    /// A policy that cannot be read denies by failing: nothing goes on without it.
    fn read(self) -> Result<Stored, Error> {
        let rules = serde_json::from_str(&self.rules)
            .map_err(|error| Error::Corrupt(format!("policy version {}: {error}", self.stored.version)))?;
        Ok(Stored { rules, ..self.stored })
    }
}

/// Which version holds; none where none was ever stored.
pub fn head(reader: &Reader<'_>, whose: Whose) -> Result<Option<Head>, Error> {
    reader.find(HEAD, named_params! { ":org": whose.org, ":workspace": whose.column() }, |row| {
        Ok(Head {
            version: row.get(0)?,
            created_at: row.get(1)?,
        })
    })
}

/// The version that holds.
pub fn newest(reader: &Reader<'_>, whose: Whose) -> Result<Option<Stored>, Error> {
    let found = reader.find(NEWEST, named_params! { ":org": whose.org, ":workspace": whose.column() }, raw)?;
    found.map(Raw::read).transpose()
}

/// # Errors
/// [`Error::NotFound`].
pub fn get(reader: &Reader<'_>, whose: Whose, version: u32) -> Result<Stored, Error> {
    reader
        .get(
            GET,
            named_params! { ":org": whose.org, ":workspace": whose.column(), ":version": version },
            raw,
        )?
        .read()
}

/// Versions from the newest on, before `before`.
pub fn versions(reader: &Reader<'_>, whose: Whose, before: Option<u32>, limit: u32) -> Result<Vec<Stored>, Error> {
    let before = before.unwrap_or(u32::MAX);
    let found = reader.list(
        BEFORE,
        named_params! { ":org": whose.org, ":workspace": whose.column(), ":before": before, ":limit": limit },
        raw,
    )?;
    found.into_iter().map(Raw::read).collect()
}

/// The roles of an organization's members, each as often as there are members of it.
pub fn roles(reader: &Reader<'_>, org: OrgId) -> Result<Vec<Role>, Error> {
    reader.list(ROLES, named_params! { ":org": org }, |row| row.get(0))
}

pub fn insert(tx: &Tx<'_>, whose: Whose, new: &NewVersion, now: Timestamp) -> Result<(), Error> {
    let rules = serde_json::to_string(&new.rules).map_err(Error::internal)?;
    tx.execute(
        INSERT,
        named_params! {
            ":org": whose.org, ":workspace": whose.column(), ":version": new.version, ":rules": rules, ":note": new.note, ":by": new.by, ":now": now,
        },
    )?;
    Ok(())
}
