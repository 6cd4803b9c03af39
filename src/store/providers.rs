//! Servers of language models that an organization or, without one, the station has named.

use rusqlite::types::FromSqlError;
use rusqlite::{Row, named_params};

use super::tx::Cells;
use super::{Error, Reader, Tx};
use crate::domain::id::{OrgId, PrincipalId, ProviderId, SecretId};
use crate::domain::provider::{ProviderKind, ProviderLimits};
use crate::domain::time::Timestamp;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, org_id, name, kind, preset, base_url, key_secret_id, rules, free, enabled, limits, models, models_at, version,
             created_by, created_at, updated_at FROM providers ",
            $rest
        )
    };
}
// As few as people name, and all are read once, at the start and after a change.
pub(super) const ALL: &str = select!("ORDER BY id");
pub(super) const LIST: &str = select!("WHERE COALESCE(org_id, '') = :org ORDER BY name LIMIT :limit");
pub(super) const GET: &str = select!("WHERE id = :provider AND COALESCE(org_id, '') = :org");
pub(super) const COUNT: &str = "SELECT count(*) FROM providers WHERE COALESCE(org_id, '') = :org";
pub(super) const INSERT: &str =
    "INSERT INTO providers (id, org_id, name, kind, preset, base_url, key_secret_id, rules, free, enabled, limits,
    created_by, created_at, updated_at)
    VALUES (:id, :owner, :name, :kind, :preset, :base_url, :key, :rules, :free, :enabled, :limits, :by, :now, :now)";
pub(super) const CHANGE: &str =
    "UPDATE providers SET name = :name, base_url = :base_url, key_secret_id = :key, rules = :rules, free = :free,
    enabled = :enabled, limits = :limits, version = version + 1, updated_at = :now WHERE id = :id AND COALESCE(org_id, '') = :org";
pub(super) const SET_MODELS: &str =
    "UPDATE providers SET models = :models, models_at = :now WHERE id = :id AND COALESCE(org_id, '') = :org AND version = :version";
pub(super) const REMOVE: &str = "DELETE FROM providers WHERE id = :id AND COALESCE(org_id, '') = :org";

#[cfg(test)]
pub(super) const SQL: [&str; 7] = [LIST, GET, COUNT, INSERT, CHANGE, SET_MODELS, REMOVE];

/// Providers that an organization, or the station, can have.
pub const PROVIDERS_MAX: u32 = 100;

/// A provider as it is stored; its key is a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub id: ProviderId,
    /// None: the station's, for all organizations.
    pub org: Option<OrgId>,
    pub name: String,
    pub kind: ProviderKind,
    /// What it was made from; prices are looked up under it.
    pub preset: String,
    pub base_url: String,
    pub key: Option<SecretId>,
    pub rules: String,
    /// Whether a model without a price costs nothing.
    pub free: bool,
    pub enabled: bool,
    pub limits: ProviderLimits,
    /// The models that it said it has, when it was last asked.
    pub models: Vec<String>,
    pub models_at: Option<Timestamp>,
    pub version: u32,
    pub created_by: Option<PrincipalId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| FromSqlError::Other(Box::new(error)).into())
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let mut cells = Cells::of(row);
    Ok(Stored {
        id: cells.take()?,
        org: cells.take()?,
        name: cells.take()?,
        kind: cells.take()?,
        preset: cells.take()?,
        base_url: cells.take()?,
        key: cells.take()?,
        rules: cells.take()?,
        free: cells.take()?,
        enabled: cells.take()?,
        limits: json(&cells.take::<String>()?)?,
        models: json(&cells.take::<String>()?)?,
        models_at: cells.take()?,
        version: cells.take()?,
        created_by: cells.take()?,
        created_at: cells.take()?,
        updated_at: cells.take()?,
    })
}

fn column(org: Option<OrgId>) -> String {
    org.map(|id| id.to_string()).unwrap_or_default()
}

fn text(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(Error::internal)
}

/// Everybody's.
pub fn all(reader: &Reader<'_>) -> Result<Vec<Stored>, Error> {
    reader.list(ALL, [], stored)
}

/// An organization's own, or the station's, by name.
pub fn list(reader: &Reader<'_>, org: Option<OrgId>) -> Result<Vec<Stored>, Error> {
    reader.list(LIST, named_params! { ":org": column(org), ":limit": PROVIDERS_MAX }, stored)
}

/// # Errors
/// [`Error::NotFound`]
pub fn get(reader: &Reader<'_>, org: Option<OrgId>, provider: ProviderId) -> Result<Stored, Error> {
    reader.get(GET, named_params! { ":org": column(org), ":provider": provider }, stored)
}

pub fn count(reader: &Reader<'_>, org: Option<OrgId>) -> Result<u32, Error> {
    reader.get(COUNT, named_params! { ":org": column(org) }, |row| row.get(0))
}

/// # Errors
/// [`Error::Exists`] where there is one of this name.
pub fn insert(tx: &Tx<'_>, new: &Stored) -> Result<(), Error> {
    tx.execute(
        INSERT,
        named_params! {
            ":id": new.id, ":owner": new.org, ":name": new.name, ":kind": new.kind, ":preset": new.preset, ":base_url": new.base_url,
            ":key": new.key, ":rules": new.rules, ":free": new.free, ":enabled": new.enabled, ":limits": text(&new.limits)?,
            ":by": new.created_by, ":now": new.created_at,
        },
    )?;
    Ok(())
}

/// Stores what may change; the version goes up.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Exists`] where there is another of this name.
pub fn change(tx: &Tx<'_>, changed: &Stored, now: Timestamp) -> Result<(), Error> {
    let rows = tx.execute(
        CHANGE,
        named_params! {
            ":id": changed.id, ":org": column(changed.org), ":name": changed.name, ":base_url": changed.base_url, ":key": changed.key,
            ":rules": changed.rules, ":free": changed.free, ":enabled": changed.enabled, ":limits": text(&changed.limits)?, ":now": now,
        },
    )?;
    if rows == 1 { Ok(()) } else { Err(Error::NotFound) }
}

/// Keeps the models that a provider said it has, where it is still the one that was asked.
pub fn set_models(tx: &Tx<'_>, asked: &Stored, models: &[String], now: Timestamp) -> Result<(), Error> {
    tx.execute(
        SET_MODELS,
        named_params! {
            ":id": asked.id, ":org": column(asked.org), ":version": asked.version, ":models": text(&models)?, ":now": now,
        },
    )?;
    Ok(())
}

/// # Errors
/// [`Error::NotFound`]
pub fn remove(tx: &Tx<'_>, org: Option<OrgId>, provider: ProviderId) -> Result<(), Error> {
    let rows = tx.execute(REMOVE, named_params! { ":id": provider, ":org": column(org) })?;
    if rows == 1 { Ok(()) } else { Err(Error::NotFound) }
}
