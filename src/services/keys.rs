//! API keys: made, listed, revoked. A key can never do more than its maker may, now or later.

use std::time::Duration;

use super::access::require;
use super::audit;
use super::{App, Error};
use crate::crypto::api_key::{ApiKey, KeyKind};
use crate::domain::limits::NAME_BYTES_MAX;
use crate::domain::origin::Origin;
use crate::domain::permission::{Access, Actor, Credential, Permission, Resource, authorize};
use crate::domain::time::Timestamp;
use crate::store::{self, keys};

/// How long a key lasts where nothing else is said.
pub const LASTS_DEFAULT: Duration = Duration::from_hours(90 * 24);
const LASTS_MAX: Duration = Duration::from_hours(3 * 366 * 24);
/// Keys of one principal.
const KEYS_MAX: usize = 100;

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub name: String,
    /// `None` for all that its maker may do.
    pub scopes: Option<Vec<Permission>>,
    pub lasts: Duration,
}

/// A key as lists show it.
#[derive(Clone, Debug)]
pub struct KeyInfo {
    pub id: String,
    pub name: String,
    pub scopes: Option<Vec<Permission>>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
}

/// Makes a key for the actor and returns its text, which is never shown again.
///
/// # Errors
/// `Forbidden`; `Invalid` with the fields that do not fit.
pub async fn create(app: &App, actor: &Actor, new: NewKey, origin: Origin) -> Result<String, Error> {
    // On the machine's own shell the operator gives anybody a key; it can do no more than they may.
    if actor.credential != Credential::Local {
        require(actor, Permission::KeysOwn, actor.org, "the key")?;
    }
    let name = new.name.trim().to_owned();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Error::field(
            "/name",
            format!("Give the key a name of at most {NAME_BYTES_MAX} bytes."),
        ));
    }
    if new.lasts.is_zero() || new.lasts > LASTS_MAX {
        return Err(Error::field("/days", "A key lasts at least a day and at most three years."));
    }
    let own = Resource { org: actor.org };
    if let Some(more) = new
        .scopes
        .iter()
        .flatten()
        .find(|scope| authorize(actor, **scope, own) != Access::Allow)
    {
        return Err(Error::field(
            "/scopes",
            format!("You may not give {more}, because you may not do it yourself."),
        ));
    }
    // What makes a key with a scoped key must stay within it.
    let scopes = new.scopes.or_else(|| actor.scopes.clone());
    let key = ApiKey::new(KeyKind::Personal)?;
    let text = key.reveal();
    let now = app.clock.now();
    let row = keys::NewKey {
        id: key.id.clone(),
        org: actor.org,
        principal: actor.principal,
        name,
        secret_hash: key.secret_hash(),
        scopes,
        created_at: now,
        expires_at: Some(now.plus(new.lasts)),
    };
    let record = audit::of(actor, "key.create", &key.id, origin);
    let (org, principal) = (actor.org, actor.principal);
    app.store
        .write(move |tx| {
            if keys::list(tx, org, principal)?.len() >= KEYS_MAX {
                return Err(store::Error::Limit(format!(
                    "one may have at most {KEYS_MAX} keys; revoke one first"
                )));
            }
            keys::insert(tx, &row)?;
            store::audit::record(tx, record, now)
        })
        .await?;
    Ok(text)
}

/// The actor's own keys that hold, the newest first.
///
/// # Errors
/// The store does not answer.
pub async fn list(app: &App, actor: &Actor) -> Result<Vec<KeyInfo>, Error> {
    let (org, principal) = (actor.org, actor.principal);
    let rows = app.store.read(move |reader| keys::list(reader, org, principal)).await?;
    let info = |row: keys::Key| KeyInfo {
        id: row.id,
        name: row.name,
        scopes: row.scopes,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
    };
    Ok(rows.into_iter().map(info).collect())
}

/// Revokes one of the actor's own keys, from the next request on.
///
/// # Errors
/// `NotFound`.
pub async fn revoke(app: &App, actor: &Actor, id: String, origin: Origin) -> Result<(), Error> {
    let (org, principal, now) = (actor.org, actor.principal, app.clock.now());
    let record = audit::of(actor, "key.revoke", &id, origin);
    app.store
        .write(move |tx| {
            keys::revoke(tx, org, principal, &id, now)?;
            store::audit::record(tx, record, now)
        })
        .await?;
    app.auth.forget();
    Ok(())
}
