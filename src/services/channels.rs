//! Where alerts go beside the station: mail addresses, chat channels, programs. What an organization is told goes out through each of them.

mod sending;

use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

pub use self::sending::run;
use super::access::require;
use super::{App, Error, audit, secrets};
use crate::config::secret::Secret;
use crate::crypto::webhook;
use crate::domain::id::{ChannelId, OrgId};
use crate::domain::notification::ChannelKind;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::domain::secret::Purpose;
use crate::store::audit::Outcome;
pub use crate::store::channels::Channel;
use crate::store::channels::{self as rows, Change, NewChannel};
use crate::store::{self, audit as log};

const WHAT: &str = "the channel";
pub const NAME_CHARS_MAX: usize = 64;
pub const ADDRESS_BYTES_MAX: usize = 2_000;
const MAIL_BYTES_MAX: usize = 254;

/// A channel to be made.
#[derive(Clone, Debug)]
pub struct New {
    pub name: String,
    pub kind: ChannelKind,
    /// A mail address, or the address that is posted to.
    pub address: Secret,
}

/// What is to be other than it is.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub name: Option<String>,
    pub address: Option<Secret>,
    pub enabled: Option<bool>,
}

/// A channel, and where it was made just now, the key that its messages are signed with.
#[derive(Clone, Debug)]
pub struct Made {
    pub channel: Channel,
    pub signing_key: Option<Secret>,
}

/// What is secret of a webhook.
#[derive(Serialize, Deserialize)]
struct Sealed {
    url: String,
    /// Of a plain webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl Sealed {
    fn write(&self) -> Result<Secret, Error> {
        let text = serde_json::to_string(self).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Secret::new(text))
    }

    async fn of(app: &App, channel: &Channel) -> Result<Self, Error> {
        let Some(id) = channel.secret else {
            return Err(Error::Conflict("its address is gone: give it one".to_owned()));
        };
        let text = secrets::open(app, id).await?;
        serde_json::from_str(text.expose()).map_err(|_| Error::Internal("a channel's address cannot be read".to_owned()))
    }
}

fn may(actor: &Actor) -> Result<(), Error> {
    require(actor, Permission::BudgetsManage, actor.org, WHAT)
}

/// All of the organization's, by name.
///
/// # Errors
/// `Forbidden`.
pub async fn list(app: &App, actor: &Actor) -> Result<Vec<Channel>, Error> {
    may(actor)?;
    let org = actor.org;
    Ok(app.store.read(move |reader| rows::list(reader, org)).await?)
}

/// # Errors
/// `Forbidden`, `NotFound`.
pub async fn get(app: &App, actor: &Actor, id: ChannelId) -> Result<Channel, Error> {
    may(actor)?;
    let org = actor.org;
    Ok(app.store.read(move |reader| rows::get(reader, org, id)).await?)
}

fn checked_name(name: &str) -> Result<String, Error> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(Error::field(
            "/name",
            format!("a name is one line of 1 to {NAME_CHARS_MAX} characters"),
        ));
    }
    Ok(name.to_owned())
}

/// What of an address people may see: of mail all of it, of the others the host.
fn checked_address(app: &App, kind: ChannelKind, address: &str) -> Result<String, Error> {
    let wrong = |what: &str| Err(Error::field("/address", what.to_owned()));
    let address = address.trim();
    if kind == ChannelKind::Mail {
        let parts = address.split_once('@');
        let fits = parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
        if !fits || address.len() > MAIL_BYTES_MAX || address.chars().any(|c| c.is_control() || c.is_whitespace() || "<>,;\"".contains(c)) {
            return wrong("this is no mail address: write one such as team@example.com");
        }
        if !app.mail.is_configured() {
            return Err(Error::Conflict(
                "no mail server is configured, so alerts cannot go out by mail: whoever runs the station sets one under [mail]".to_owned(),
            ));
        }
        return Ok(address.to_owned());
    }
    if address.len() > ADDRESS_BYTES_MAX {
        return wrong("the address is too long");
    }
    let Ok(url) = Url::parse(address) else {
        return wrong("this is no web address: write one such as https://hooks.example.com/…");
    };
    if !["https", "http"].contains(&url.scheme()) || !url.username().is_empty() || url.password().is_some() {
        return wrong("write an address that begins with https://, without a user name or password in it");
    }
    match url.host_str() {
        Some(host) if !host.is_empty() => Ok(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))),
        _ => wrong("the address has no host"),
    }
}

/// Makes a channel. The key of a plain webhook is in the answer, and never again.
///
/// # Errors
/// `Invalid`; `AlreadyExists`; `Conflict` where there are too many, or no mail server; `Sealed` where the station's key is not there.
pub async fn create(app: &App, actor: &Actor, new: New, origin: Origin) -> Result<Made, Error> {
    may(actor)?;
    let name = checked_name(&new.name)?;
    let target = checked_address(app, new.kind, new.address.expose())?;
    let signing_key = match new.kind {
        ChannelKind::Webhook => Some(webhook::new_key()?),
        ChannelKind::Mail | ChannelKind::Slack => None,
    };
    let sealed = match new.kind {
        ChannelKind::Mail => None,
        ChannelKind::Slack | ChannelKind::Webhook => {
            let sealed = Sealed {
                url: new.address.expose().trim().to_owned(),
                key: signing_key.clone(),
            };
            Some((app.sealing.key()?, sealed.write()?))
        }
    };
    let (actor_of, now, kind) = (actor.clone(), app.clock.now(), new.kind);
    let channel = app.store.write(move |tx| {
        let new = NewChannel {
            org: actor_of.org,
            name: name.clone(),
            kind,
            target: target.clone(),
            secret: None,
            by: actor_of.principal,
        };
        let id = rows::insert(tx, &new, now)?;
        if let Some((keys, sealed)) = &sealed {
            let secret = secrets::put_owned(tx, keys, owned(&actor_of, &id.to_string()), sealed, now)?;
            rows::set_secret(tx, actor_of.org, id, secret)?;
        }
        let detail = json!({ "name": name, "kind": kind, "target": target });
        log::record(
            tx,
            audit::of(&actor_of, "channel.create", &id.to_string(), origin.clone()).detail(detail),
            now,
        )?;
        rows::get(tx, actor_of.org, id)
    });
    Ok(Made {
        channel: channel.await?,
        signing_key: signing_key.map(Secret::new),
    })
}

fn owned<'a>(actor: &Actor, name: &'a str) -> secrets::Owned<'a> {
    secrets::Owned {
        org: Some(actor.org),
        purpose: Purpose::Channel,
        name,
        by: Some(actor.principal),
    }
}

/// Changes a channel; with `expected`, only where that is its version. Disabling it forgets what was still to go out.
///
/// # Errors
/// `NotFound`; `Invalid`; `Conflict` where somebody changed it meanwhile.
pub async fn change(
    app: &App,
    actor: &Actor,
    id: ChannelId,
    wanted: Wanted,
    expected: Option<u32>,
    origin: Origin,
) -> Result<Channel, Error> {
    let known = get(app, actor, id).await?;
    let version = expected.unwrap_or(known.version);
    let name = wanted.name.as_deref().map_or_else(|| Ok(known.name.clone()), checked_name)?;
    let address = wanted.address.filter(|address| !address.expose().trim().is_empty());
    let target = match &address {
        Some(address) => checked_address(app, known.kind, address.expose())?,
        None => known.target.clone(),
    };
    let sealed = match address {
        Some(address) if known.kind != ChannelKind::Mail => {
            // Its signing key stays as it is.
            let key = match (known.kind, Sealed::of(app, &known).await) {
                (_, Ok(before)) => before.key,
                (ChannelKind::Webhook, Err(_)) => Some(webhook::new_key()?),
                _ => None,
            };
            let sealed = Sealed {
                url: address.expose().trim().to_owned(),
                key,
            };
            Some((app.sealing.key()?, sealed.write()?))
        }
        _ => None,
    };
    let (actor_of, now) = (actor.clone(), app.clock.now());
    let written = app.store.write(move |tx| {
        let secret = match &sealed {
            Some((keys, sealed)) => Some(secrets::put_owned(tx, keys, owned(&actor_of, &id.to_string()), sealed, now)?),
            None => known.secret,
        };
        let change = Change {
            name: name.clone(),
            target: target.clone(),
            secret,
            enabled: wanted.enabled.unwrap_or(known.enabled),
        };
        rows::update(tx, actor_of.org, id, version, &change, now)?;
        let detail = json!({ "name": change.name, "target": change.target, "enabled": change.enabled, "new_address": sealed.is_some() });
        log::record(
            tx,
            audit::of(&actor_of, "channel.change", &id.to_string(), origin.clone()).detail(detail),
            now,
        )?;
        rows::get(tx, actor_of.org, id)
    });
    Ok(written.await?)
}

/// Removes a channel, its address, and what was still to go out through it.
///
/// # Errors
/// `NotFound`; `Conflict` where somebody changed it meanwhile.
pub async fn remove(app: &App, actor: &Actor, id: ChannelId, expected: Option<u32>, origin: Origin) -> Result<(), Error> {
    may(actor)?;
    let (actor_of, now) = (actor.clone(), app.clock.now());
    let removed = app.store.write(move |tx| {
        let known = rows::get(tx, actor_of.org, id)?;
        if expected.is_some_and(|expected| expected != known.version) {
            return Err(store::Error::Conflict(
                "somebody has changed this channel since you read it; look at it first".to_owned(),
            ));
        }
        rows::remove(tx, actor_of.org, id)?;
        if let Some(secret) = known.secret {
            secrets::remove(tx, secret)?;
        }
        let detail = json!({ "name": known.name, "kind": known.kind });
        log::record(
            tx,
            audit::of(&actor_of, "channel.remove", &id.to_string(), origin.clone()).detail(detail),
            now,
        )
    });
    Ok(removed.await?)
}

/// Sends a test through a channel, now, and remembers how it went. The answer says whether it arrived.
///
/// # Errors
/// `NotFound`. That it did not arrive is no error: see [`Channel::last_error`].
pub async fn test(app: &App, actor: &Actor, id: ChannelId, origin: Origin) -> Result<Channel, Error> {
    let channel = get(app, actor, id).await?;
    let sent = sending::test(app, &channel, &actor.name).await;
    let outcome = if sent.is_ok() { Outcome::Ok } else { Outcome::Failed };
    let record = audit::of(actor, "channel.test", &id.to_string(), origin).outcome(outcome);
    let (org, now): (OrgId, _) = (actor.org, app.clock.now());
    let error = sent.err().map(|failed| failed.why).unwrap_or_default();
    let written = app.store.write(move |tx| {
        rows::result(tx, org, id, &error, now)?;
        log::record(tx, record.clone(), now)?;
        rows::get(tx, org, id)
    });
    Ok(written.await?)
}
