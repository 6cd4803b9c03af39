//! Where an organization's alerts go beside the station: mail addresses and webhooks. The whole address of a webhook is a secret.

use rusqlite::{Row, named_params};

use super::tx::Cells;
use super::{Error, Reader, Tx};
use crate::domain::id::{ChannelId, OrgId, PrincipalId, SecretId};
use crate::domain::notification::{CHANNELS_MAX, ChannelKind};
use crate::domain::time::Timestamp;

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT id, org_id, name, kind, target, secret_id, enabled, version, last_at, last_error, created_at, updated_at FROM channels WHERE ",
            $condition
        )
    };
}
pub(super) const LIST: &str = select!("org_id = :org ORDER BY name LIMIT :limit");
pub(super) const GET: &str = select!("id = :id AND org_id = :org");
pub(super) const COUNT: &str = "SELECT count(*) FROM channels WHERE org_id = :org";
pub(super) const INSERT: &str = "INSERT INTO channels (id, org_id, name, kind, target, secret_id, created_by, created_at, updated_at)
    VALUES (:id, :org, :name, :kind, :target, :secret, :by, :now, :now)";
pub(super) const UPDATE: &str = "UPDATE channels SET name = :name, target = :target, secret_id = :secret, enabled = :enabled,
    version = version + 1, updated_at = :now WHERE id = :id AND org_id = :org AND version = :version";
pub(super) const SET_SECRET: &str = "UPDATE channels SET secret_id = :secret WHERE id = :id AND org_id = :org";
pub(super) const DISABLE: &str =
    "UPDATE channels SET enabled = 0, version = version + 1, updated_at = :now WHERE id = :id AND org_id = :org";
pub(super) const RESULT: &str = "UPDATE channels SET last_at = :now, last_error = :error WHERE id = :id AND org_id = :org";
pub(super) const REMOVE: &str = "DELETE FROM channels WHERE id = :id AND org_id = :org";
pub(super) const FORGET: &str = "DELETE FROM deliveries WHERE channel_id = :id";

#[cfg(test)]
pub(super) const SQL: [&str; 10] = [SET_SECRET, LIST, GET, COUNT, INSERT, UPDATE, DISABLE, RESULT, REMOVE, FORGET];

/// A place that alerts go to.
#[derive(Clone, Debug)]
pub struct Channel {
    pub id: ChannelId,
    pub org: OrgId,
    pub name: String,
    pub kind: ChannelKind,
    /// Of mail the address, of the others the host.
    pub target: String,
    pub secret: Option<SecretId>,
    pub enabled: bool,
    pub version: u32,
    /// When it was tried last.
    pub last_at: Option<Timestamp>,
    /// What went wrong then; empty where nothing did.
    pub last_error: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What can be changed of a channel.
#[derive(Clone, Debug)]
pub struct Change {
    pub name: String,
    pub target: String,
    pub secret: Option<SecretId>,
    pub enabled: bool,
}

/// A channel to be made.
#[derive(Clone, Debug)]
pub struct NewChannel {
    pub org: OrgId,
    pub name: String,
    pub kind: ChannelKind,
    pub target: String,
    pub secret: Option<SecretId>,
    pub by: PrincipalId,
}

fn channel(row: &Row<'_>) -> rusqlite::Result<Channel> {
    let mut cells = Cells::of(row);
    Ok(Channel {
        id: cells.take()?,
        org: cells.take()?,
        name: cells.take()?,
        kind: cells.take()?,
        target: cells.take()?,
        secret: cells.take()?,
        enabled: cells.take()?,
        version: cells.take()?,
        last_at: cells.take()?,
        last_error: cells.take()?,
        created_at: cells.take()?,
        updated_at: cells.take()?,
    })
}

/// All of an organization's, by name.
pub fn list(reader: &Reader<'_>, org: OrgId) -> Result<Vec<Channel>, Error> {
    reader.list(LIST, named_params! { ":org": org, ":limit": CHANNELS_MAX }, channel)
}

/// # Errors
/// [`Error::NotFound`].
pub fn get(reader: &Reader<'_>, org: OrgId, id: ChannelId) -> Result<Channel, Error> {
    reader.get(GET, named_params! { ":org": org, ":id": id }, channel)
}

/// # Errors
/// [`Error::Exists`] where another has the name, [`Error::Conflict`] where there are [`CHANNELS_MAX`].
pub fn insert(tx: &Tx<'_>, new: &NewChannel, now: Timestamp) -> Result<ChannelId, Error> {
    let count: u32 = tx.get(COUNT, named_params! { ":org": new.org }, |row| row.get(0))?;
    if count >= CHANNELS_MAX {
        return Err(Error::Conflict(format!(
            "an organization has at most {CHANNELS_MAX} channels; remove one first"
        )));
    }
    name_is_free(tx, new.org, None, &new.name)?;
    let id = ChannelId::new(now);
    tx.execute(
        INSERT,
        named_params! {
            ":id": id, ":org": new.org, ":name": new.name, ":kind": new.kind, ":target": new.target, ":secret": new.secret, ":by": new.by, ":now": now,
        },
    )?;
    Ok(id)
}

fn name_is_free(reader: &Reader<'_>, org: OrgId, but: Option<ChannelId>, name: &str) -> Result<(), Error> {
    if list(reader, org)?.iter().any(|known| known.name == name && Some(known.id) != but) {
        return Err(Error::Exists(format!("there is a channel named {name:?} already")));
    }
    Ok(())
}

/// Changes a channel that is still at `version`.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Conflict`] where somebody changed it meanwhile; [`Error::Exists`] where another has the name.
pub fn update(tx: &Tx<'_>, org: OrgId, id: ChannelId, version: u32, change: &Change, now: Timestamp) -> Result<(), Error> {
    get(tx, org, id)?;
    name_is_free(tx, org, Some(id), &change.name)?;
    let changed = tx.execute(
        UPDATE,
        named_params! {
            ":id": id, ":org": org, ":version": version, ":name": change.name, ":target": change.target, ":secret": change.secret,
            ":enabled": change.enabled, ":now": now,
        },
    )?;
    if changed == 0 {
        return Err(Error::Conflict(
            "somebody has changed this channel since you read it; look at it, then make your change again".to_owned(),
        ));
    }
    if !change.enabled {
        tx.execute(FORGET, named_params! { ":id": id })?;
    }
    Ok(())
}

/// Says which secret is a new channel's address.
pub fn set_secret(tx: &Tx<'_>, org: OrgId, id: ChannelId, secret: SecretId) -> Result<(), Error> {
    tx.execute(SET_SECRET, named_params! { ":id": id, ":org": org, ":secret": secret })?;
    Ok(())
}

/// Disables a channel and forgets what was still to go out through it.
pub fn disable(tx: &Tx<'_>, org: OrgId, id: ChannelId, now: Timestamp) -> Result<(), Error> {
    tx.execute(DISABLE, named_params! { ":id": id, ":org": org, ":now": now })?;
    tx.execute(FORGET, named_params! { ":id": id })?;
    Ok(())
}

/// Remembers how the last letter or call went; `error` is empty where it arrived.
pub fn result(tx: &Tx<'_>, org: OrgId, id: ChannelId, error: &str, now: Timestamp) -> Result<(), Error> {
    tx.execute(RESULT, named_params! { ":id": id, ":org": org, ":error": error, ":now": now })?;
    Ok(())
}

pub fn remove(tx: &Tx<'_>, org: OrgId, id: ChannelId) -> Result<(), Error> {
    if tx.execute(REMOVE, named_params! { ":id": id, ":org": org })? == 0 {
        return Err(Error::NotFound);
    }
    Ok(())
}
