//! What people are told: listing it, and remembering what somebody has read.

use super::access::require;
use super::{App, Error};
use crate::domain::id::{NotificationId, OrgId};
use crate::domain::limits::PAGE_MAX;
use crate::domain::permission::{Actor, Permission};
use crate::store::notifications::{self as rows, Notification};

const WHAT: &str = "the notifications";

/// Some notifications, and up to which one the actor has read.
#[derive(Debug)]
pub struct Listed {
    pub found: Vec<Notification>,
    pub read_up_to: Option<NotificationId>,
}

/// What the actor's role may see, from the newest on, before `before`.
///
/// # Errors
/// `Forbidden`.
pub async fn list(app: &App, actor: &Actor, before: Option<NotificationId>, limit: u32) -> Result<Listed, Error> {
    require(actor, Permission::OverviewRead, actor.org, WHAT)?;
    let (org, role, principal, limit) = (actor.org, actor.role, actor.principal, limit.clamp(1, PAGE_MAX + 1));
    let read = app.store.read(move |reader| {
        Ok(Listed {
            found: rows::list(reader, org, role, before, limit)?,
            read_up_to: rows::read_up_to(reader, org, principal)?,
        })
    });
    Ok(read.await?)
}

/// How many the actor has not read, counted no further than [`crate::domain::notification::UNREAD_MAX`].
///
/// # Errors
/// `Forbidden`.
pub async fn unread(app: &App, actor: &Actor) -> Result<u32, Error> {
    require(actor, Permission::OverviewRead, actor.org, WHAT)?;
    let (org, role, principal) = (actor.org, actor.role, actor.principal);
    Ok(app.store.read(move |reader| rows::unread(reader, org, role, principal)).await?)
}

/// Remembers that the actor has read everything up to a notification; what came later stays unread.
///
/// # Errors
/// `Forbidden`.
pub async fn mark_read(app: &App, actor: &Actor, up_to: NotificationId) -> Result<(), Error> {
    require(actor, Permission::OverviewRead, actor.org, WHAT)?;
    let (org, principal): (OrgId, _) = (actor.org, actor.principal);
    Ok(app.store.write(move |tx| rows::mark_read(tx, org, principal, up_to)).await?)
}
