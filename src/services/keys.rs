//! API keys: made, listed, rotated, revoked.
//!
//! At each use a key is limited to its scopes within what its principal may do then. What a key may do its maker may do when it is made; a
//! service's key goes on when its maker leaves, and lists say so. Somebody else's personal key can be revoked, and never be had.

use std::time::Duration;

use serde_json::json;

use super::access::require;
use super::{App, Error, audit, service_principals};
use crate::crypto::api_key::{ApiKey, KeyKind};
use crate::domain::id::PrincipalId;
use crate::domain::limits::{NAME_BYTES_MAX, PAGE_MAX};
use crate::domain::origin::Origin;
use crate::domain::permission::{Access, Actor, Credential, Permission, PrincipalKind, Resource, authorize, may_give};
use crate::domain::time::Timestamp;
pub use crate::store::keys::{Key as KeyInfo, Position};
use crate::store::{self, Reader, Tx, keys, members};

/// How long a key lasts where nothing else is said.
pub const LASTS_DEFAULT: Duration = Duration::from_hours(90 * 24);
const LASTS_MAX: Duration = Duration::from_hours(3 * 366 * 24);
/// Keys of one principal.
const KEYS_MAX: usize = 100;
/// How long a rotated key goes on beside the one that takes its place, where nothing else is said.
pub const OVERLAP_DEFAULT: Duration = Duration::from_hours(24);
const OVERLAP_MAX: Duration = Duration::from_hours(30 * 24);
const WHAT: &str = "the key";

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub name: String,
    /// `None` for all that its principal may do.
    pub scopes: Option<Vec<Permission>>,
    pub lasts: Duration,
}

/// A key that was made just now.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its text, which is never shown again.
    pub text: String,
    pub info: KeyInfo,
}

/// Makes a key for the actor and returns its text, which is never shown again.
///
/// # Errors
/// `Forbidden`; `Invalid` with the fields that do not fit.
pub async fn create(app: &App, actor: &Actor, new: NewKey, origin: Origin) -> Result<String, Error> {
    Ok(create_own(app, actor, new, origin).await?.text)
}

/// Makes a key for the actor.
///
/// # Errors
/// `Forbidden`; `Invalid` with the fields that do not fit.
pub async fn create_own(app: &App, actor: &Actor, new: NewKey, origin: Origin) -> Result<Made, Error> {
    // On the machine's own shell the operator gives anybody a key; it can do no more than they may.
    if actor.credential != Credential::Local {
        require(actor, Permission::KeysOwn, actor.org, WHAT)?;
    }
    let new = checked(actor, new)?;
    make(app, actor, (actor.principal, KeyKind::Personal), new, origin).await
}

/// Makes a key for a service of the organization.
///
/// # Errors
/// `NotFound`; `NotAllowed` where the service may do more than the actor; `Invalid` with the fields that do not fit.
pub async fn create_for_service(app: &App, actor: &Actor, service: PrincipalId, new: NewKey, origin: Origin) -> Result<Made, Error> {
    require(actor, Permission::KeysManage, actor.org, WHAT)?;
    let service = service_principals::get(app, actor, service).await?;
    let new = checked(actor, new)?;
    if new.scopes.is_none() && !may_give(actor, service.role) {
        return Err(Error::Refused("The service may do more than you may.".to_owned()));
    }
    make(app, actor, (service.principal, KeyKind::Service), new, origin).await
}

/// A new key whose fields fit, and which may do no more than its maker.
fn checked(actor: &Actor, new: NewKey) -> Result<NewKey, Error> {
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
    if let Some(more) = beyond(actor, new.scopes.as_deref()) {
        return Err(Error::field(
            "/scopes",
            format!("You may not give {more}, because you may not do it yourself."),
        ));
    }
    Ok(NewKey {
        name,
        // What makes a key with a scoped key must stay within it.
        scopes: new.scopes.or_else(|| actor.scopes.clone()),
        lasts: new.lasts,
    })
}

/// Of these scopes, the first that the actor does not have.
fn beyond(actor: &Actor, scopes: Option<&[Permission]>) -> Option<Permission> {
    let own = Resource { org: actor.org };
    let mut scopes = scopes.into_iter().flatten().copied();
    scopes.find(|scope| authorize(actor, *scope, own) != Access::Allow)
}

async fn make(app: &App, actor: &Actor, (principal, kind): (PrincipalId, KeyKind), new: NewKey, origin: Origin) -> Result<Made, Error> {
    let key = ApiKey::new(kind)?;
    let now = app.clock.now();
    let row = row(actor, principal, &key, new, now);
    let detail = json!({ "of": principal, "name": row.name, "scopes": row.scopes });
    let record = audit::of(actor, "key.create", &key.id, origin).detail(detail);
    let made = app.store.write(move |tx| {
        insert(tx, &row)?;
        store::audit::record(tx, record, now)?;
        keys::find(tx, &row.id)
    });
    Ok(Made {
        text: key.reveal(),
        info: made.await?.ok_or(Error::NotFound(WHAT))?,
    })
}

fn row(actor: &Actor, principal: PrincipalId, key: &ApiKey, new: NewKey, now: Timestamp) -> keys::NewKey {
    keys::NewKey {
        id: key.id.clone(),
        org: actor.org,
        principal,
        name: new.name,
        secret_hash: key.secret_hash(),
        scopes: new.scopes,
        created_by: actor.principal,
        created_at: now,
        expires_at: Some(now.plus(new.lasts)),
    }
}

fn insert(tx: &Tx<'_>, row: &keys::NewKey) -> Result<(), store::Error> {
    // Who was removed a moment ago has none.
    if members::role(tx, row.org, row.principal)?.is_none() {
        return Err(store::Error::NotFound);
    }
    if keys::list(tx, row.org, row.principal)?.len() >= KEYS_MAX {
        return Err(store::Error::Limit(format!(
            "one may have at most {KEYS_MAX} keys; revoke one first"
        )));
    }
    keys::insert(tx, row)
}

/// The actor's own keys that are not revoked, the newest first.
///
/// # Errors
/// The store does not answer.
pub async fn list(app: &App, actor: &Actor) -> Result<Vec<KeyInfo>, Error> {
    let (org, principal) = (actor.org, actor.principal);
    Ok(app.store.read(move |reader| keys::list(reader, org, principal)).await?)
}

/// Every key of the organization that is not revoked, the newest first, before a position.
///
/// # Errors
/// `Forbidden`.
pub async fn list_all(app: &App, actor: &Actor, before: Option<Position>, limit: u32) -> Result<Vec<KeyInfo>, Error> {
    require(actor, Permission::KeysManage, actor.org, WHAT)?;
    let (org, limit) = (actor.org, limit.clamp(1, PAGE_MAX + 1));
    Ok(app
        .store
        .read(move |reader| keys::list_all(reader, org, before.as_ref(), limit))
        .await?)
}

/// Whose keys somebody acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Only one's own.
    Own,
    /// The whole organization's.
    All,
}

impl Whose {
    fn require(self, actor: &Actor) -> Result<(), Error> {
        match self {
            Self::Own => require(actor, Permission::KeysOwn, actor.org, WHAT),
            Self::All => require(actor, Permission::KeysManage, actor.org, WHAT),
        }
    }

    /// The key, where it is one of these and not revoked.
    fn find(self, reader: &Reader<'_>, actor: &Actor, id: &str) -> Result<keys::Key, store::Error> {
        let found = keys::find(reader, id)?.filter(|key| key.org == actor.org && key.revoked_at.is_none());
        found
            .filter(|key| self == Self::All || key.principal == actor.principal)
            .ok_or(store::Error::NotFound)
    }
}

/// Revokes a key, from the next request on and on open connections.
///
/// # Errors
/// `NotFound`.
pub async fn revoke(app: &App, actor: &Actor, whose: Whose, id: String, origin: Origin) -> Result<(), Error> {
    whose.require(actor)?;
    let (asking, now) = (actor.clone(), app.clock.now());
    app.store
        .write(move |tx| {
            let key = whose.find(tx, &asking, &id)?;
            keys::revoke(tx, asking.org, &id, now)?;
            let record = audit::of(&asking, "key.revoke", &id, origin).detail(json!({ "of": key.principal }));
            store::audit::record(tx, record, now)
        })
        .await?;
    app.auth.forget();
    Ok(())
}

/// Makes a key that takes another's place; the other ends after `overlap`, at once where that is zero.
///
/// # Errors
/// `NotFound`; `NotAllowed` for somebody else's personal key, and for one that may do more than the actor; `Conflict` where it was rotated
/// or has expired; `Invalid` for a too long overlap.
pub async fn rotate(app: &App, actor: &Actor, whose: Whose, id: String, overlap: Duration, origin: Origin) -> Result<Made, Error> {
    whose.require(actor)?;
    if overlap > OVERLAP_MAX {
        return Err(Error::field("/overlap_hours", "Both keys hold together for at most 720 hours."));
    }
    let (asking, now) = (actor.clone(), app.clock.now());
    let (personal, service) = (ApiKey::new(KeyKind::Personal)?, ApiKey::new(KeyKind::Service)?);
    let rotated = app.store.write(move |tx| {
        let old = whose.find(tx, &asking, &id)?;
        if let Err(refused) = may_rotate(tx, &asking, &old, now)? {
            return Ok(Err(refused));
        }
        let key = match old.principal_kind {
            PrincipalKind::User => personal,
            PrincipalKind::Service => service,
        };
        let lasts = old.expires_at.map_or(LASTS_DEFAULT, |at| at.since(old.created_at)).min(LASTS_MAX);
        let new = NewKey {
            name: old.name,
            scopes: old.scopes,
            lasts,
        };
        let row = row(&asking, old.principal, &key, new, now);
        insert(tx, &row)?;
        keys::replace(tx, asking.org, &id, &key.id, now.plus(overlap))?;
        let detail = json!({ "of": old.principal, "by": key.id, "overlap_hours": overlap.as_secs() / 3600 });
        let record = audit::of(&asking, "key.rotate", &id, origin).detail(detail);
        store::audit::record(tx, record, now)?;
        let info = keys::find(tx, &key.id)?;
        Ok(info.ok_or(Error::NotFound(WHAT)).map(|info| Made { text: key.reveal(), info }))
    });
    let made = rotated.await??;
    app.auth.forget();
    Ok(made)
}

fn may_rotate(reader: &Reader<'_>, actor: &Actor, old: &keys::Key, now: Timestamp) -> Result<Result<(), Error>, store::Error> {
    if old.replaced_by.is_some() || old.expires_at.is_some_and(|at| at <= now) {
        let text = "the key was rotated before, or has expired; make a new one";
        return Ok(Err(Error::Conflict(text.to_owned())));
    }
    let is_own = old.principal == actor.principal;
    // Whoever has the new key acts as its principal.
    if !is_own && old.principal_kind == PrincipalKind::User {
        let text = "This is somebody’s own key: only they can rotate it. You can revoke it.";
        return Ok(Err(Error::Refused(text.to_owned())));
    }
    let within = match &old.scopes {
        Some(scopes) => beyond(actor, Some(scopes)).is_none(),
        None if is_own => actor.scopes.is_none(),
        None => members::role(reader, actor.org, old.principal)?.is_some_and(|role| may_give(actor, role)),
    };
    if !within {
        let text = "The key may do more than you may now, so you cannot have another like it. Make a new one.";
        return Ok(Err(Error::Refused(text.to_owned())));
    }
    Ok(Ok(()))
}
