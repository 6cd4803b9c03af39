//! Services: programs that are members of an organization, with a role and keys of their own, and without a sign-in. Owners are people.

use serde_json::json;

use super::access::require;
use super::members::{self, Listed, Taken};
use super::{App, Error, audit};
use crate::domain::id::PrincipalId;
use crate::domain::limits::{NAME_BYTES_MAX, PAGE_MAX};
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission, PrincipalKind, Role, may_give};
use crate::store;
use crate::store::members as rows;

const WHAT: &str = "the service";
/// Of what a service is for.
const NOTE_BYTES_MAX: usize = 500;

/// A service to be made.
#[derive(Clone, Debug)]
pub struct NewService {
    pub name: String,
    /// What it is for.
    pub note: String,
    pub role: Role,
}

/// What is to be another; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub name: Option<String>,
    pub note: Option<String>,
    pub role: Option<Role>,
}

/// Services after the principal `after`.
///
/// # Errors
/// `Forbidden`.
pub async fn list(app: &App, actor: &Actor, after: Option<PrincipalId>, limit: u32) -> Result<Vec<Listed>, Error> {
    require(actor, Permission::KeysManage, actor.org, WHAT)?;
    let (org, limit) = (actor.org, limit.clamp(1, PAGE_MAX + 1));
    let listed = app
        .store
        .read(move |reader| rows::list(reader, org, Some(PrincipalKind::Service), after, limit));
    Ok(listed.await?)
}

/// Makes a service.
///
/// # Errors
/// `Invalid` with the fields that do not fit; `PlanLimit`.
pub async fn create(app: &App, actor: &Actor, new: NewService, origin: Origin) -> Result<Listed, Error> {
    require(actor, Permission::KeysManage, actor.org, WHAT)?;
    let name = checked_name(&new.name)?;
    let note = checked_note(&new.note)?;
    check_role(actor, new.role)?;
    let (org, by, now) = (actor.org, actor.principal, app.clock.now());
    let id = PrincipalId::new(now);
    let record = audit::of(actor, "service.create", &id.to_string(), origin).detail(json!({ "name": name, "role": new.role }));
    let made = app.store.write(move |tx| {
        if let Err(full) = members::check_seats(tx, org, 1, now)? {
            return Ok(Err(full));
        }
        rows::insert_service(tx, id, &name, &note, by, now)?;
        rows::insert(tx, org, id, new.role, now)?;
        store::audit::record(tx, record, now)?;
        Ok(rows::find(tx, org, id)?.ok_or(Error::NotFound(WHAT)))
    });
    let made = made.await??;
    app.auth.forget();
    Ok(made)
}

/// Changes a service.
///
/// # Errors
/// `NotFound`; `Invalid` with the field that does not fit; `NotAllowed` where it stands above the actor.
pub async fn change(app: &App, actor: &Actor, id: PrincipalId, change: Change, origin: Origin) -> Result<Listed, Error> {
    require(actor, Permission::KeysManage, actor.org, WHAT)?;
    let name = change.name.as_deref().map(checked_name).transpose()?;
    let note = change.note.as_deref().map(checked_note).transpose()?;
    let mut service = get(app, actor, id).await?;
    if let Some(role) = change.role {
        check_role(actor, role)?;
        let whom = (id, PrincipalKind::Service);
        service = members::set_role(app, actor, whom, role, "service.change-role", origin.clone()).await?;
    }
    let (before_name, before_note) = (service.name.clone(), service.note.clone());
    service.name = name.unwrap_or(service.name);
    service.note = note.unwrap_or(service.note);
    if (&service.name, &service.note) != (&before_name, &before_note) {
        let detail = json!({ "before": before_name, "after": service.name });
        let record = audit::of(actor, "service.rename", &id.to_string(), origin).detail(detail);
        let (name, note, now) = (service.name.clone(), service.note.clone(), app.clock.now());
        app.store
            .write(move |tx| {
                rows::rename_service(tx, id, &name, &note)?;
                store::audit::record(tx, record, now)
            })
            .await?;
        app.auth.forget();
    }
    Ok(service)
}

/// Removes a service for good: its keys are revoked, and its runs wait to be adopted.
///
/// # Errors
/// `NotFound`; `NotAllowed` where it stands above the actor.
pub async fn remove(app: &App, actor: &Actor, id: PrincipalId, origin: Origin) -> Result<Taken, Error> {
    require(actor, Permission::KeysManage, actor.org, WHAT)?;
    members::end(app, actor, (id, PrincipalKind::Service), "service.remove", origin).await
}

/// A service of the actor's organization.
pub(super) async fn get(app: &App, actor: &Actor, id: PrincipalId) -> Result<Listed, Error> {
    let org = actor.org;
    let found = app.store.read(move |reader| rows::find(reader, org, id)).await?;
    found
        .filter(|member| member.kind == PrincipalKind::Service)
        .ok_or(Error::NotFound(WHAT))
}

fn checked_name(name: &str) -> Result<String, Error> {
    let name = name.trim();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Error::field(
            "/name",
            format!("Give the service a name of at most {NAME_BYTES_MAX} bytes."),
        ));
    }
    Ok(name.to_owned())
}

fn checked_note(note: &str) -> Result<String, Error> {
    let note = note.trim();
    if note.len() > NOTE_BYTES_MAX || note.chars().any(char::is_control) {
        return Err(Error::field(
            "/note",
            format!("Say what it is for in one line of at most {NOTE_BYTES_MAX} bytes."),
        ));
    }
    Ok(note.to_owned())
}

fn check_role(actor: &Actor, role: Role) -> Result<(), Error> {
    if role == Role::Owner {
        return Err(Error::field("/role", "Only a person can own an organization."));
    }
    if !may_give(actor, role) {
        return Err(Error::field("/role", members::ABOVE_OWN));
    }
    Ok(())
}
