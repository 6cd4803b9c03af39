//! Model providers: of an organization, or of the station for all. Their keys are secrets that are written and never shown.

mod checks;
mod testing;

use serde_json::json;

pub use self::checks::{BASE_URL_BYTES_MAX, KEY_BYTES_MAX, LIMITS, RULES_BYTES_MAX, Range};
use self::checks::{checked, checked_key};
pub use self::testing::{Advice, Tested, test};
use super::access::require;
use super::audit::STATION;
use super::sealing::Keyring;
use super::{App, Error, audit, secrets};
use crate::config::secret::Secret;
use crate::domain::id::{OrgId, ProviderId, SecretId};
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::domain::provider::{Preset, ProviderLimits};
use crate::domain::secret::Purpose;
use crate::domain::time::Timestamp;
pub use crate::store::providers::{PROVIDERS_MAX, Stored};
use crate::store::{self, Tx, aliases, providers as rows};

const WHAT: &str = "the provider";

/// Whose providers, or whose prices of their models, a person means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Org,
    Station,
}

impl Of {
    pub(super) fn owner(self, actor: &Actor, what: &'static str, to_change: bool) -> Result<Option<OrgId>, Error> {
        match self {
            Self::Org => {
                let permission = if to_change {
                    Permission::ModelsManage
                } else {
                    Permission::ModelsRead
                };
                require(actor, permission, actor.org, what)?;
                Ok(Some(actor.org))
            }
            Self::Station => {
                require(actor, Permission::StationManage, actor.org, what)?;
                Ok(None)
            }
        }
    }
}

/// A provider to be added.
#[derive(Clone, Debug, Default)]
pub struct NewProvider {
    pub name: String,
    /// A code of [`crate::domain::provider::PRESETS`].
    pub preset: String,
    /// The preset's where it is empty.
    pub base_url: String,
    pub key: Option<Secret>,
    /// Of a scripted one.
    pub rules: String,
    /// The preset's where it is not said.
    pub free: Option<bool>,
    pub limits: ProviderLimits,
}

/// What is to be different; what is not named stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub base_url: Option<String>,
    pub key: Option<NewKey>,
    pub rules: Option<String>,
    pub free: Option<bool>,
    pub enabled: Option<bool>,
    pub limits: Option<ProviderLimits>,
}

/// What becomes of a key.
#[derive(Clone, Debug)]
pub enum NewKey {
    Set(Secret),
    Remove,
}

/// An organization's own, or the station's, by name.
///
/// # Errors
/// `Forbidden`.
pub async fn list(app: &App, actor: &Actor, of: Of) -> Result<Vec<Stored>, Error> {
    let owner = of.owner(actor, WHAT, false)?;
    Ok(app.store.read(move |reader| rows::list(reader, owner)).await?)
}

/// Those that the actor's agents can use: the organization's, and the station's whose names it has not taken.
///
/// # Errors
/// `Forbidden`.
pub async fn usable(app: &App, actor: &Actor) -> Result<Vec<Stored>, Error> {
    require(actor, Permission::ModelsRead, actor.org, WHAT)?;
    let org = actor.org;
    let read = app
        .store
        .read(move |reader| Ok((rows::list(reader, Some(org))?, rows::list(reader, None)?)));
    let (mut own, station) = read.await?;
    for provider in station {
        if own.iter().all(|known| known.name != provider.name) {
            own.push(provider);
        }
    }
    Ok(own)
}

/// One provider.
///
/// # Errors
/// `Forbidden`, `NotFound`.
pub async fn get(app: &App, actor: &Actor, of: Of, provider: ProviderId) -> Result<Stored, Error> {
    let owner = of.owner(actor, WHAT, false)?;
    let read = app.store.read(move |reader| rows::get(reader, owner, provider));
    read.await.map_err(named)
}

fn named(error: store::Error) -> Error {
    match error {
        store::Error::NotFound => Error::NotFound(WHAT),
        store::Error::Exists(_) => Error::AlreadyExists("There is a provider of this name; choose another.".to_owned()),
        other => other.into(),
    }
}

/// Adds a provider.
///
/// # Errors
/// `Forbidden`; `Invalid` with the fields; `AlreadyExists`; `TooLarge` where there are too many; `Sealed` where a key cannot be kept.
pub async fn create(app: &App, actor: &Actor, of: Of, new: NewProvider, origin: Origin) -> Result<Stored, Error> {
    let owner = of.owner(actor, WHAT, true)?;
    let Some(preset) = Preset::of(&new.preset) else {
        return Err(Error::field("/preset", "choose one of the presets"));
    };
    let now = app.clock.now();
    let base_url = new.base_url.trim();
    let row = Stored {
        id: ProviderId::new(now),
        org: owner,
        name: new.name.trim().to_owned(),
        kind: preset.kind,
        preset: preset.code.to_owned(),
        base_url: if base_url.is_empty() { preset.base_url } else { base_url }.to_owned(),
        key: None,
        rules: new.rules,
        free: new.free.unwrap_or(preset.free),
        enabled: true,
        limits: new.limits,
        models: Vec::new(),
        models_at: None,
        version: 1,
        created_by: Some(actor.principal),
        created_at: now,
        updated_at: now,
    };
    let row = checked(app, row, preset).await?;
    let key = new.key.map(|key| checked_key(&key, preset)).transpose()?.flatten();
    let keys = keys_for(app, key.as_ref())?;
    let actor = actor.clone();
    let stored = app.store.write(move |tx| {
        if rows::count(tx, owner)? >= PROVIDERS_MAX {
            return Err(store::Error::Limit(format!(
                "there can be at most {PROVIDERS_MAX} providers; remove one that is not used"
            )));
        }
        let mut row = row.clone();
        row.key = put_key(tx, keys.as_deref(), key.as_ref(), &row, &actor, now)?;
        rows::insert(tx, &row)?;
        let detail = json!({ "name": row.name, "preset": row.preset, "base_url": row.base_url, "key": row.key.is_some() });
        store::audit::record(tx, record(&actor, &row, "provider.create", &origin).detail(detail), now)?;
        rows::get(tx, owner, row.id)
    });
    let stored = stored.await.map_err(named)?;
    app.registry.reload(&app.store, &app.client).await?;
    Ok(stored)
}

fn keys_for(app: &App, key: Option<&Secret>) -> Result<Option<std::sync::Arc<Keyring>>, Error> {
    key.map(|_| app.sealing.key()).transpose()
}

fn put_key(
    tx: &Tx<'_>,
    keys: Option<&Keyring>,
    key: Option<&Secret>,
    row: &Stored,
    actor: &Actor,
    now: Timestamp,
) -> Result<Option<SecretId>, store::Error> {
    let (Some(keys), Some(key)) = (keys, key) else { return Ok(None) };
    let owned = secrets::Owned {
        org: row.org,
        purpose: Purpose::Provider,
        name: &row.id.to_string(),
        by: Some(actor.principal),
    };
    secrets::put_owned(tx, keys, owned, key, now).map(Some)
}

fn record(actor: &Actor, row: &Stored, action: &'static str, origin: &Origin) -> store::audit::Record {
    let record = audit::of(actor, action, &row.id.to_string(), origin.clone());
    if row.org.is_none() { record.in_chain(STATION) } else { record }
}

/// Changes a provider. With `expected`, only where that is its version. A key is not sent to another server than it was given for: where
/// the address moves, the key is given again.
///
/// # Errors
/// `Forbidden`, `NotFound`; `Invalid` with the fields; `Conflict` where it was changed in between; `Sealed`.
pub async fn change(
    app: &App,
    actor: &Actor,
    of: Of,
    provider: ProviderId,
    change: Change,
    expected: Option<u32>,
    origin: Origin,
) -> Result<Stored, Error> {
    let owner = of.owner(actor, WHAT, true)?;
    let before = app
        .store
        .read(move |reader| rows::get(reader, owner, provider))
        .await
        .map_err(named)?;
    let preset = Preset::of(&before.preset).ok_or_else(|| Error::Internal(format!("there is no preset {}", before.preset)))?;
    let stale = |version: u32| {
        Error::Conflict(format!(
            "the provider was changed in between: its version is {version} now; read it again"
        ))
    };
    if expected.is_some_and(|expected| expected != before.version) {
        return Err(stale(before.version));
    }
    let mut row = before.clone();
    if let Some(base_url) = change.base_url {
        base_url.trim().clone_into(&mut row.base_url);
    }
    row.rules = change.rules.unwrap_or(row.rules);
    row.free = change.free.unwrap_or(row.free);
    row.enabled = change.enabled.unwrap_or(row.enabled);
    row.limits = change.limits.unwrap_or(row.limits);
    let row = checked(app, row, preset).await?;
    let (key, removes) = match change.key {
        Some(NewKey::Set(key)) => (checked_key(&key, preset)?, false),
        Some(NewKey::Remove) => (None, true),
        None => (None, false),
    };
    if before.key.is_some() && key.is_none() && !removes && place(&row.base_url) != place(&before.base_url) {
        let text = "Give the key again: it is not sent to another server than it was given for.";
        return Err(Error::field("/key", text));
    }
    let keys = keys_for(app, key.as_ref())?;
    let (actor, now) = (actor.clone(), app.clock.now());
    let stored = app.store.write(move |tx| {
        let current = rows::get(tx, owner, provider)?;
        if current.version != before.version {
            let text = format!(
                "the provider was changed in between: its version is {} now; read it again",
                current.version
            );
            return Err(store::Error::Conflict(text));
        }
        let mut row = row.clone();
        match put_key(tx, keys.as_deref(), key.as_ref(), &row, &actor, now)? {
            Some(id) => row.key = Some(id),
            None if removes => row.key = None,
            None => {}
        }
        rows::change(tx, &row, now)?;
        if let Some(old) = before.key.filter(|_| removes) {
            secrets::remove(tx, old)?;
        }
        let key = if removes {
            "removed"
        } else if key.is_some() {
            "replaced"
        } else {
            "kept"
        };
        let detail = json!({
            "name": row.name, "key": key,
            "before": { "base_url": before.base_url, "enabled": before.enabled, "free": before.free, "limits": before.limits },
            "after": { "base_url": row.base_url, "enabled": row.enabled, "free": row.free, "limits": row.limits },
        });
        store::audit::record(tx, record(&actor, &row, "provider.change", &origin).detail(detail), now)?;
        rows::get(tx, owner, provider)
    });
    let stored = stored.await.map_err(named)?;
    app.registry.reload(&app.store, &app.client).await?;
    Ok(stored)
}

/// Where a key goes: scheme, host and port.
fn place(base_url: &str) -> Option<url::Origin> {
    url::Url::parse(base_url).ok().map(|url| url.origin())
}

/// Which aliases name a provider, as the beginning of a sentence; none where none does.
fn named_by(tx: &Tx<'_>, owner: Option<OrgId>, name: &str) -> Result<Option<String>, store::Error> {
    Ok(match owner {
        Some(org) => aliases::naming(tx, org, name)?
            .first()
            .map(|alias| format!("the alias “{alias}” names")),
        // Whose they are is not for the station's administrators to read.
        None => match aliases::naming_stations(tx, name)? {
            0 => None,
            1 => Some("an alias of an organization names".to_owned()),
            count => Some(format!("{count} aliases of organizations name")),
        },
    })
}

/// Removes a provider and its key.
///
/// # Errors
/// `Forbidden`, `NotFound`; `Conflict` where aliases of the organization name it, or it was changed in between.
pub async fn remove(app: &App, actor: &Actor, of: Of, provider: ProviderId, expected: Option<u32>, origin: Origin) -> Result<(), Error> {
    let owner = of.owner(actor, WHAT, true)?;
    let (actor, now) = (actor.clone(), app.clock.now());
    let removed = app.store.write(move |tx| {
        let row = rows::get(tx, owner, provider)?;
        if expected.is_some_and(|expected| expected != row.version) {
            let text = format!(
                "the provider was changed in between: its version is {} now; read it again",
                row.version
            );
            return Err(store::Error::Conflict(text));
        }
        if let Some(who) = named_by(tx, owner, &row.name)? {
            let text = format!("{who} this provider; change that first, or switch the provider off");
            return Err(store::Error::Conflict(text));
        }
        rows::remove(tx, owner, provider)?;
        if let Some(key) = row.key {
            secrets::remove(tx, key)?;
        }
        let detail = json!({ "name": row.name, "preset": row.preset, "base_url": row.base_url });
        store::audit::record(tx, record(&actor, &row, "provider.remove", &origin).detail(detail), now)
    });
    removed.await.map_err(named)?;
    app.registry.reload(&app.store, &app.client).await
}
