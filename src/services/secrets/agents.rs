//! Secrets that agents name in requests: made, given new values, bound, destroyed. A value goes in and never comes out.

use serde_json::json;

use super::super::access::require;
use super::super::sealing::Keyring;
use super::super::{App, Error, FieldError, audit};
use super::seal;
use crate::config::pointed_to::PointedTo;
use crate::config::secret::Secret;
use crate::domain::id::{SecretId, WorkspaceId};
use crate::domain::limits::PAGE_MAX;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::domain::placeholder::is_secret_name;
use crate::domain::secret::{BINDINGS_MAX, Binding, Purpose, SECRET_BYTES_MAX, SECRET_BYTES_MIN, SECRET_VERSIONS_MAX, SECRETS_MAX};
use crate::domain::time::Timestamp;
use crate::store::audit as log;
use crate::store::secrets::{self as rows, Body, New, Source};
pub use crate::store::secrets::{Secret as Info, Source as ValueSource, Version};
use crate::store::{self, Tx};

const WHAT: &str = "the secret";
pub const NOTE_BYTES_MAX: usize = 300;

/// Whose secrets a person means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Org,
    /// The workspace that the actor is in; its own go before the organization's.
    Workspace,
}

impl Of {
    const fn workspace(self, actor: &Actor) -> Option<WorkspaceId> {
        match self {
            Self::Org => None,
            Self::Workspace => Some(actor.workspace),
        }
    }
}

/// Where a new value is.
pub enum Value {
    /// It is here, to be sealed.
    Given(Secret),
    /// In a variable of the station's; it is read when it is sent.
    Variable(String),
    /// In a file of `security.secrets_dir`; it is read when it is sent.
    File(String),
}

impl Value {
    const fn source(&self) -> Source {
        match self {
            Self::Given(_) => Source::Sealed,
            Self::Variable(_) => Source::Env,
            Self::File(_) => Source::File,
        }
    }

    /// What is wrong with it.
    fn check(&self, app: &App, actor: &Actor) -> Result<Option<String>, Error> {
        if !matches!(self, Self::Given(_)) {
            // What the station's machine has is not an organization's to give away.
            require(actor, Permission::StationManage, actor.org, WHAT)?;
        }
        Ok(match self {
            Self::Given(value) => {
                let bytes = value.expose().len();
                (!(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes)).then(|| {
                    format!(
                        "A value has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes: a shorter one could not be found in what comes back."
                    )
                })
            }
            Self::Variable(name) => PointedTo::check_variable(name).err(),
            Self::File(name) => app.config.pointed_to().check_file(name).err(),
        })
    }
}

/// A secret to be made.
pub struct NewSecret {
    pub name: String,
    pub note: String,
    pub bindings: Vec<Binding>,
    pub value: Value,
}

/// What is to be otherwise; the value is changed by [`rotate`].
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub note: Option<String>,
    pub bindings: Option<Vec<Binding>>,
}

fn check_note(note: &str, wrong: &mut Vec<FieldError>) {
    if note.len() > NOTE_BYTES_MAX || note.chars().any(char::is_control) {
        wrong.push(FieldError {
            pointer: "/note".to_owned(),
            message: format!("a note is one line of at most {NOTE_BYTES_MAX} bytes"),
        });
    }
}

fn check_bindings(bindings: &[Binding], wrong: &mut Vec<FieldError>) {
    if bindings.len() > BINDINGS_MAX {
        wrong.push(FieldError {
            pointer: "/bindings".to_owned(),
            message: format!("at most {BINDINGS_MAX}"),
        });
    }
    for (i, binding) in bindings.iter().enumerate() {
        wrong.extend(binding.problem().map(|(field, message)| FieldError {
            pointer: format!("/bindings/{i}/{field}"),
            message,
        }));
    }
}

fn none_or(wrong: Vec<FieldError>) -> Result<(), Error> {
    if wrong.is_empty() { Ok(()) } else { Err(Error::Invalid(wrong)) }
}

/// The key that seals, where there is something to seal.
fn keys(app: &App, value: &Value) -> Result<Option<std::sync::Arc<Keyring>>, Error> {
    match value {
        Value::Given(_) => Ok(Some(app.sealing.key()?)),
        Value::Variable(_) | Value::File(_) => Ok(None),
    }
}

fn add(
    tx: &Tx<'_>,
    actor: &Actor,
    keys: Option<&Keyring>,
    (id, number): (SecretId, u32),
    value: &Value,
    now: Timestamp,
) -> Result<(), store::Error> {
    let by = Some(actor.principal);
    let put = |body: &Body<'_>| rows::add_version(tx, id, number, body, by, now);
    match (value, keys) {
        (Value::Given(value), Some(keys)) => {
            let (key, sealed) = seal(tx, keys, Some(actor.org), (id, number), value, now)?;
            put(&Body::Sealed { key, sealed: &sealed })
        }
        (Value::Given(_), None) => Err(store::Error::Internal("no key was given to seal with".into())),
        (Value::Variable(name), _) => put(&Body::Env(name)),
        (Value::File(name), _) => put(&Body::File(name)),
    }
}

fn record(actor: &Actor, action: &'static str, info: &Info, origin: Origin) -> log::Record {
    audit::of(actor, action, &info.id.to_string(), origin)
}

fn detail(info: &Info) -> serde_json::Value {
    json!({
        "name": info.name, "workspace": info.workspace, "version": info.current, "source": info.source.as_str(), "bindings": info.bindings,
    })
}

/// A secret of the organization in this place.
fn find(tx: &store::Reader<'_>, actor: &Actor, of: Of, id: SecretId) -> Result<Info, store::Error> {
    let found = rows::get(tx, actor.org, id)?;
    if found.workspace == of.workspace(actor) {
        Ok(found)
    } else {
        Err(store::Error::NotFound)
    }
}

/// The same, where it is still as it was read.
fn find_as_read(tx: &Tx<'_>, actor: &Actor, of: Of, id: SecretId, expected: Option<u32>) -> Result<Info, store::Error> {
    let found = find(tx, actor, of, id)?;
    if expected.is_some_and(|expected| expected != found.version) {
        let text = format!(
            "the secret “{}” was changed since you read it; look at it, then make your change again",
            found.name
        );
        return Err(store::Error::Conflict(text));
    }
    Ok(found)
}

/// Secrets by name, after `after`.
///
/// # Errors
/// `Forbidden`.
pub async fn list(app: &App, actor: &Actor, of: Of, after: String, limit: u32) -> Result<Vec<Info>, Error> {
    require(actor, Permission::SecretsRead, actor.org, WHAT)?;
    let (org, workspace, limit) = (actor.org, of.workspace(actor), limit.clamp(1, PAGE_MAX + 1));
    Ok(app
        .store
        .read(move |reader| rows::list(reader, org, workspace, &after, limit))
        .await?)
}

/// A secret with its versions, the newest first.
///
/// # Errors
/// `NotFound`, `Forbidden`.
pub async fn get(app: &App, actor: &Actor, of: Of, id: SecretId) -> Result<(Info, Vec<Version>), Error> {
    require(actor, Permission::SecretsRead, actor.org, WHAT)?;
    let who = actor.clone();
    let found = app.store.read(move |reader| {
        let info = find(reader, &who, of, id)?;
        Ok((info, rows::versions(reader, id)?))
    });
    Ok(found.await?)
}

/// Makes a secret.
///
/// # Errors
/// `Invalid` with each place; `AlreadyExists`; `Forbidden`; `Sealed` where the station's key is not there.
pub async fn create(app: &App, actor: &Actor, of: Of, new: NewSecret, origin: Origin) -> Result<Info, Error> {
    require(actor, Permission::SecretsManage, actor.org, WHAT)?;
    let mut wrong = Vec::new();
    if !is_secret_name(&new.name) {
        wrong.push(FieldError {
            pointer: "/name".to_owned(),
            message: "1 to 64 letters, digits, “-”, “_” and “.”: agents write it as {{secret:NAME}}".to_owned(),
        });
    }
    check_note(&new.note, &mut wrong);
    check_bindings(&new.bindings, &mut wrong);
    wrong.extend(new.value.check(app, actor)?.map(|message| FieldError {
        pointer: "/value".to_owned(),
        message,
    }));
    none_or(wrong)?;
    let (keys, who, now) = (keys(app, &new.value)?, actor.clone(), app.clock.now());
    let made = app.store.write(move |tx| {
        let NewSecret {
            name,
            note,
            bindings,
            value,
        } = &new;
        let workspace = of.workspace(&who);
        if rows::named(tx, Some(who.org), workspace, Purpose::Agents, name)?.is_some() {
            let text = format!("there is a secret “{name}” here already: give it a new value instead");
            return Err(store::Error::Exists(text));
        }
        if rows::count(tx, who.org)? >= SECRETS_MAX {
            return Err(store::Error::Limit(format!("an organization has at most {SECRETS_MAX} secrets")));
        }
        let id = SecretId::new(now);
        let row = New {
            id,
            org: Some(who.org),
            workspace,
            name,
            purpose: Purpose::Agents,
            note,
            bindings,
            by: Some(who.principal),
        };
        rows::insert(tx, &row, now)?;
        add(tx, &who, keys.as_deref(), (id, 1), value, now)?;
        let info = rows::get(tx, who.org, id)?;
        log::record(tx, record(&who, "secret.create", &info, origin.clone()).detail(detail(&info)), now)?;
        Ok(info)
    });
    Ok(made.await?)
}

/// Changes what is said of a secret and who may use it; not its value. With `expected`, only where that is the row's version.
///
/// # Errors
/// `Invalid` with each place; `NotFound`; `Conflict`; `Forbidden`: what is in a variable or a file is a station admin's to bind.
pub async fn change(
    app: &App,
    actor: &Actor,
    of: Of,
    id: SecretId,
    change: Change,
    expected: Option<u32>,
    origin: Origin,
) -> Result<Info, Error> {
    require(actor, Permission::SecretsManage, actor.org, WHAT)?;
    let mut wrong = Vec::new();
    check_note(change.note.as_deref().unwrap_or_default(), &mut wrong);
    check_bindings(change.bindings.as_deref().unwrap_or_default(), &mut wrong);
    none_or(wrong)?;
    if change.bindings.is_some() {
        let (info, versions) = get(app, actor, of, id).await?;
        let is_outside = |version: &Version| version.destroyed_at.is_none() && version.source != Source::Sealed;
        if versions.iter().any(is_outside) && change.bindings.as_ref() != Some(&info.bindings) {
            require(actor, Permission::StationManage, actor.org, WHAT)?;
        }
    }
    let (who, now) = (actor.clone(), app.clock.now());
    let changed = app.store.write(move |tx| {
        let before = find_as_read(tx, &who, of, id, expected)?;
        let note = change.note.as_ref().unwrap_or(&before.note);
        let bindings = change.bindings.as_ref().unwrap_or(&before.bindings);
        rows::change(tx, id, note, bindings, now)?;
        let info = rows::get(tx, who.org, id)?;
        log::record(tx, record(&who, "secret.bind", &info, origin.clone()).detail(detail(&info)), now)?;
        Ok(info)
    });
    Ok(changed.await?)
}

/// Gives a secret a new value. Running runs take it at their next call; earlier versions stay until they are destroyed.
///
/// # Errors
/// `Invalid`; `NotFound`; `Conflict`; `Forbidden`; `Sealed` where the station's key is not there.
pub async fn rotate(
    app: &App,
    actor: &Actor,
    of: Of,
    id: SecretId,
    value: Value,
    expected: Option<u32>,
    origin: Origin,
) -> Result<Info, Error> {
    require(actor, Permission::SecretsManage, actor.org, WHAT)?;
    if let Some(message) = value.check(app, actor)? {
        return Err(Error::field("/value", message));
    }
    let (keys, who, now) = (keys(app, &value)?, actor.clone(), app.clock.now());
    let rotated = app.store.write(move |tx| {
        let before = find_as_read(tx, &who, of, id, expected)?;
        if before.versions as usize >= SECRET_VERSIONS_MAX {
            let text = format!("a secret keeps at most {SECRET_VERSIONS_MAX} versions: destroy old ones first");
            return Err(store::Error::Limit(text));
        }
        let number = rows::next_number(tx, id)?;
        add(tx, &who, keys.as_deref(), (id, number), &value, now)?;
        rows::turn_to(tx, id, number, now)?;
        let info = rows::get(tx, who.org, id)?;
        let detail = json!({ "name": info.name, "from": before.current, "to": number, "source": value.source().as_str() });
        log::record(tx, record(&who, "secret.rotate", &info, origin.clone()).detail(detail), now)?;
        Ok(info)
    });
    Ok(rotated.await?)
}

/// Destroys the value of an earlier version. What runs have sent of it is no longer looked for after a restart.
///
/// # Errors
/// `NotFound` where there is none, or it is destroyed; `Conflict` for the version that is sent.
pub async fn destroy(app: &App, actor: &Actor, of: Of, id: SecretId, number: u32, origin: Origin) -> Result<Info, Error> {
    require(actor, Permission::SecretsManage, actor.org, WHAT)?;
    let (who, now) = (actor.clone(), app.clock.now());
    let destroyed = app.store.write(move |tx| {
        let info = find(tx, &who, of, id)?;
        if info.current == number {
            let text = format!("version {number} is the one that is sent: give the secret a new value first, or remove it");
            return Err(store::Error::Conflict(text));
        }
        rows::destroy(tx, id, number, now)?;
        let detail = json!({ "name": info.name, "version": number });
        log::record(tx, record(&who, "secret.destroy", &info, origin.clone()).detail(detail), now)?;
        rows::get(tx, who.org, id)
    });
    Ok(destroyed.await?)
}

/// Removes a secret with all its versions.
///
/// # Errors
/// `NotFound`; `Conflict` where it was changed since it was read.
pub async fn delete(app: &App, actor: &Actor, of: Of, id: SecretId, expected: Option<u32>, origin: Origin) -> Result<(), Error> {
    require(actor, Permission::SecretsManage, actor.org, WHAT)?;
    let (who, now) = (actor.clone(), app.clock.now());
    let removed = app.store.write(move |tx| {
        let info = find_as_read(tx, &who, of, id, expected)?;
        log::record(tx, record(&who, "secret.remove", &info, origin.clone()).detail(detail(&info)), now)?;
        rows::delete(tx, id)
    });
    Ok(removed.await?)
}
