//! What an organization's people are told, up to where each has read, and what is still to go out through its channels.

use rusqlite::{Row, named_params};

use super::tx::Cells;
use super::{Error, Reader, Tx};
use crate::domain::id::{ChannelId, NotificationId, OrgId, PrincipalId};
use crate::domain::notification::{BODY_BYTES_MAX, TITLE_BYTES_MAX, Tone, UNREAD_MAX};
use crate::domain::permission::Role;
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str = "INSERT INTO notifications (id, org_id, min_role, tone, title, body, link, created_at)
    VALUES (:id, :org, :role, :tone, :title, :body, :link, :now)";
pub(super) const QUEUE: &str = "INSERT INTO deliveries (notification_id, channel_id, org_id, due_at)
    SELECT :id, id, org_id, :now FROM channels WHERE org_id = :org AND enabled = 1";
pub(super) const LIST: &str = "SELECT id, min_role, tone, title, body, link, created_at FROM notifications
    WHERE org_id = :org AND id < :before AND instr(:roles, min_role) > 0 ORDER BY id DESC LIMIT :limit";
pub(super) const READ_UP_TO: &str = "SELECT up_to FROM notifications_read WHERE org_id = :org AND principal_id = :principal";
pub(super) const UNREAD: &str = "SELECT count(*) FROM (SELECT 1 FROM notifications
    WHERE org_id = :org AND id > :after AND instr(:roles, min_role) > 0 LIMIT :limit)";
pub(super) const MARK_READ: &str = "INSERT INTO notifications_read (org_id, principal_id, up_to) VALUES (:org, :principal, :up_to)
    ON CONFLICT (org_id, principal_id) DO UPDATE SET up_to = max(up_to, excluded.up_to)";
pub(super) const DUE: &str = "SELECT d.notification_id, d.channel_id, d.org_id, d.tries, n.tone, n.title, n.body, n.link, n.created_at
    FROM deliveries d JOIN notifications n ON n.id = d.notification_id WHERE d.due_at <= :now ORDER BY d.due_at LIMIT :limit";
pub(super) const LATER: &str = "UPDATE deliveries SET tries = :tries, due_at = :due WHERE notification_id = :id AND channel_id = :channel";
pub(super) const DONE: &str = "DELETE FROM deliveries WHERE notification_id = :id AND channel_id = :channel";
pub(super) const PRUNE: &str = "DELETE FROM notifications WHERE id < :before";

#[cfg(test)]
pub(super) const SQL: [&str; 9] = [INSERT, QUEUE, LIST, READ_UP_TO, UNREAD, DUE, LATER, DONE, PRUNE];

/// Something to tell.
#[derive(Clone, Debug)]
pub struct New {
    pub org: OrgId,
    /// Only those of at least this role see it.
    pub min_role: Role,
    pub tone: Tone,
    /// One line.
    pub title: String,
    pub body: String,
    /// A path of the station, such as `/costs`; empty where there is nothing to look at.
    pub link: String,
}

/// A notification as it stands.
#[derive(Clone, Debug)]
pub struct Notification {
    pub id: NotificationId,
    pub min_role: Role,
    pub tone: Tone,
    pub title: String,
    pub body: String,
    pub link: String,
    pub created_at: Timestamp,
}

/// A notification that is to go out through a channel.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub notification: NotificationId,
    pub channel: ChannelId,
    pub org: OrgId,
    /// That failed.
    pub tries: u32,
    pub tone: Tone,
    pub title: String,
    pub body: String,
    pub link: String,
    pub created_at: Timestamp,
}

/// Those roles whose notifications somebody of `role` sees.
fn seen_by(role: Role) -> String {
    let seen = Role::ALL.iter().filter(|least| role.is_at_least(**least));
    seen.map(|role| role.as_str()).collect::<Vec<_>>().join(" ")
}

fn notification(row: &Row<'_>) -> rusqlite::Result<Notification> {
    let mut cells = Cells::of(row);
    Ok(Notification {
        id: cells.take()?,
        min_role: cells.take()?,
        tone: cells.take()?,
        title: cells.take()?,
        body: cells.take()?,
        link: cells.take()?,
        created_at: cells.take()?,
    })
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let mut cells = Cells::of(row);
    Ok(Delivery {
        notification: cells.take()?,
        channel: cells.take()?,
        org: cells.take()?,
        tries: cells.take()?,
        tone: cells.take()?,
        title: cells.take()?,
        body: cells.take()?,
        link: cells.take()?,
        created_at: cells.take()?,
    })
}

/// At most so many bytes of a text, cut between characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

/// Tells an organization something: on its page of notifications, and through each of its channels that is enabled. What is too long is cut.
pub fn add(tx: &Tx<'_>, new: &New, now: Timestamp) -> Result<NotificationId, Error> {
    let id = add_here(tx, new, now)?;
    tx.execute(QUEUE, named_params! { ":id": id, ":org": new.org, ":now": now })?;
    Ok(id)
}

/// Tells an organization something on its page of notifications only.
pub fn add_here(tx: &Tx<'_>, new: &New, now: Timestamp) -> Result<NotificationId, Error> {
    let id = NotificationId::new(now);
    tx.execute(
        INSERT,
        named_params! {
            ":id": id, ":org": new.org, ":role": new.min_role, ":tone": new.tone, ":title": cut(&new.title, TITLE_BYTES_MAX),
            ":body": cut(&new.body, BODY_BYTES_MAX), ":link": new.link, ":now": now,
        },
    )?;
    Ok(id)
}

/// What somebody of `role` may see, from the newest on, before `before`.
pub fn list(reader: &Reader<'_>, org: OrgId, role: Role, before: Option<NotificationId>, limit: u32) -> Result<Vec<Notification>, Error> {
    // Every id sorts before this.
    let before = before.map_or_else(|| "ntf_~".to_owned(), |id| id.to_string());
    reader.list(
        LIST,
        named_params! { ":org": org, ":before": before, ":roles": seen_by(role), ":limit": limit },
        notification,
    )
}

/// The newest notification that somebody has read.
pub fn read_up_to(reader: &Reader<'_>, org: OrgId, principal: PrincipalId) -> Result<Option<NotificationId>, Error> {
    reader.find(READ_UP_TO, named_params! { ":org": org, ":principal": principal }, |row| row.get(0))
}

/// What somebody has not read; at most [`UNREAD_MAX`].
pub fn unread(reader: &Reader<'_>, org: OrgId, role: Role, principal: PrincipalId) -> Result<u32, Error> {
    let after = read_up_to(reader, org, principal)?.map_or_else(String::new, |id| id.to_string());
    reader.get(
        UNREAD,
        named_params! { ":org": org, ":after": after, ":roles": seen_by(role), ":limit": UNREAD_MAX },
        |row| row.get(0),
    )
}

/// Remembers that somebody has read everything up to a notification.
pub fn mark_read(tx: &Tx<'_>, org: OrgId, principal: PrincipalId, up_to: NotificationId) -> Result<(), Error> {
    tx.execute(MARK_READ, named_params! { ":org": org, ":principal": principal, ":up_to": up_to })?;
    Ok(())
}

/// What is to go out now.
pub fn due(reader: &Reader<'_>, now: Timestamp, limit: u32) -> Result<Vec<Delivery>, Error> {
    reader.list(DUE, named_params! { ":now": now, ":limit": limit }, delivery)
}

/// Puts a delivery off after a failed try.
pub fn later(tx: &Tx<'_>, of: (NotificationId, ChannelId), tries: u32, due: Timestamp) -> Result<(), Error> {
    tx.execute(LATER, named_params! { ":id": of.0, ":channel": of.1, ":tries": tries, ":due": due })?;
    Ok(())
}

/// Forgets a delivery: it went out, or is given up.
pub fn done(tx: &Tx<'_>, of: (NotificationId, ChannelId)) -> Result<(), Error> {
    tx.execute(DONE, named_params! { ":id": of.0, ":channel": of.1 })?;
    Ok(())
}

/// Deletes the notifications of before a time.
pub fn prune(tx: &Tx<'_>, before: Timestamp) -> Result<usize, Error> {
    tx.execute(PRUNE, named_params! { ":before": NotificationId::earliest(before) })
}
