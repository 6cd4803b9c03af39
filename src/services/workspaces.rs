//! Workspaces of the actor's organization.

use serde_json::json;

use super::access::require;
use super::orgs::{Rename, checked_names, taken};
use super::{App, Error, audit, plans, purge};
use crate::domain::id::WorkspaceId;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
pub use crate::store::workspaces::Workspace;
use crate::store::{self, workspaces};

const WHAT: &str = "the workspace";

/// By short name.
///
/// # Errors
/// `Forbidden`.
pub async fn list(app: &App, actor: &Actor) -> Result<Vec<Workspace>, Error> {
    require(actor, Permission::OrgRead, actor.org, WHAT)?;
    let org = actor.org;
    Ok(app.store.read(move |reader| workspaces::list(reader, org)).await?)
}

/// The workspace with this id or short name.
///
/// # Errors
/// `NotFound`.
pub async fn get(app: &App, actor: &Actor, name: &str) -> Result<Workspace, Error> {
    require(actor, Permission::OrgRead, actor.org, WHAT)?;
    look_up(app, actor, name).await
}

/// A workspace of the actor's organization, for use cases with a permission of their own.
async fn look_up(app: &App, actor: &Actor, name: &str) -> Result<Workspace, Error> {
    let (org, name) = (actor.org, name.to_owned());
    let found = app.store.read(move |reader| workspaces::find(reader, org, &name)).await?;
    found.ok_or(Error::NotFound(WHAT))
}

/// # Errors
/// `Invalid` with the fields; `AlreadyExists` where the short name is taken; `PlanLimit`.
pub async fn create(app: &App, actor: &Actor, slug: &str, name: &str, origin: Origin) -> Result<Workspace, Error> {
    require(actor, Permission::OrgManage, actor.org, WHAT)?;
    let (slug, name) = checked_names(slug, name)?;
    let (org, now) = (actor.org, app.clock.now());
    let id = WorkspaceId::new(now);
    let detail = json!({ "slug": slug, "name": name });
    let record = audit::of(actor, "workspace.create", &id.to_string(), origin).detail(detail);
    let made = Workspace {
        id,
        slug,
        name,
        created_at: now,
    };
    let row = made.clone();
    let stored = app.store.write(move |tx| {
        plans::check_workspaces(tx, org)?;
        workspaces::insert(tx, org, id, &row.slug, &row.name, now)?;
        store::audit::record(tx, record, now)
    });
    stored.await.map_err(taken)?;
    // Whether it is clear which one a key means has changed.
    app.auth.forget();
    Ok(made)
}

/// Gives a workspace other names.
///
/// # Errors
/// `NotFound`; `Invalid` with the fields; `AlreadyExists` where the short name is taken.
pub async fn rename(app: &App, actor: &Actor, workspace: &str, rename: Rename, origin: Origin) -> Result<Workspace, Error> {
    require(actor, Permission::OrgManage, actor.org, WHAT)?;
    let before = look_up(app, actor, workspace).await?;
    let (slug, name) = checked_names(
        rename.slug.as_deref().unwrap_or(&before.slug),
        rename.name.as_deref().unwrap_or(&before.name),
    )?;
    if (&slug, &name) == (&before.slug, &before.name) {
        return Ok(before);
    }
    let (org, id, now) = (actor.org, before.id, app.clock.now());
    let detail = json!({ "before": { "slug": before.slug, "name": before.name }, "after": { "slug": slug, "name": name } });
    let record = audit::of(actor, "workspace.rename", &id.to_string(), origin).detail(detail);
    let renamed = Workspace { slug, name, ..before };
    let row = renamed.clone();
    let stored = app.store.write(move |tx| {
        workspaces::rename(tx, org, id, &row.slug, &row.name)?;
        store::audit::record(tx, record, now)
    });
    stored.await.map_err(taken)?;
    app.auth.forget();
    Ok(renamed)
}

/// Deletes a workspace with its agents, their memory, and its runs. Nobody gets in from now on, and there is no way back.
///
/// # Errors
/// `NotFound`; `Invalid` where `confirm` is not its short name; `Conflict` for the organization's last.
pub async fn delete(app: &App, actor: &Actor, workspace: &str, confirm: &str, origin: Origin) -> Result<(), Error> {
    require(actor, Permission::OrgManage, actor.org, WHAT)?;
    let found = look_up(app, actor, workspace).await?;
    if confirm.trim() != found.slug {
        return Err(Error::field(
            "/confirm",
            format!("Type the short name of the workspace, {}, to delete it.", found.slug),
        ));
    }
    let (org, id, now) = (actor.org, found.id, app.clock.now());
    let detail = json!({ "slug": found.slug, "name": found.name });
    let record = audit::of(actor, "workspace.delete", &id.to_string(), origin).detail(detail);
    app.store
        .write(move |tx| {
            if store::usage::workspaces(tx, org, 2)? < 2 {
                return Err(store::Error::Conflict(
                    "An organization has at least one workspace. Make another first, or rename this one.".to_owned(),
                ));
            }
            workspaces::delete(tx, org, id, now)?;
            store::audit::record(tx, record, now)
        })
        .await?;
    app.auth.forget();
    app.versions.forget_agents();
    purge::cancel_live(app, org, Some(id), "the workspace is being deleted").await?;
    app.purge.ring();
    Ok(())
}
