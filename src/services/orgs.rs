//! Organizations: making, renaming, handing over, leaving and deleting them, and choosing the one that a browser is at work in.

use serde_json::{Value, json};

use super::access::require;
use super::users::normalize_email;
use super::{App, Error, audit, members, purge};
use crate::domain::id::{OrgId, PrincipalId, SessionId, WorkspaceId};
use crate::domain::limits::{NAME_BYTES_MAX, ORG_GRACE, PAGE_MAX};
use crate::domain::manifest::is_name;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Credential, Permission, PrincipalKind, Role};
use crate::domain::plan::Plan;
use crate::store::audit::Record;
pub use crate::store::orgs::{OfMember, Org};
pub use crate::store::workspaces::{Place, Workspace};
use crate::store::{self, Tx, orgs, sessions, users, workspaces};

const WHAT: &str = "the organization";
/// Bytes of the name of an organization or a workspace.
pub const TITLE_BYTES_MAX: usize = 80;
/// The short name of an organization's first workspace.
const FIRST_WORKSPACE: &str = "default";
/// Organizations of one person that a list or the switcher shows.
const MINE_MAX: u32 = 200;

/// An organization that is to be made.
#[derive(Clone, Debug)]
pub struct NewOrg {
    pub slug: String,
    pub name: String,
    pub plan: Plan,
    /// The e-mail address of somebody who has an account; whoever makes it where none is named.
    pub owner: Option<String>,
}

/// New names of an organization or a workspace; what is not named stays.
#[derive(Clone, Debug, Default)]
pub struct Rename {
    pub slug: Option<String>,
    pub name: Option<String>,
}

/// A short name for addresses and a name for people, where both fit.
///
/// # Errors
/// `Invalid` with the fields.
pub(super) fn checked_names(slug: &str, name: &str) -> Result<(String, String), Error> {
    let (slug, name) = (slug.trim(), name.trim());
    let mut wrong = Vec::new();
    if !is_name(slug) {
        let message =
            format!("A short name is made of a–z, 0–9 and “-”, begins with a letter, and has at most {NAME_BYTES_MAX} characters.");
        wrong.push(super::FieldError {
            pointer: "/slug".to_owned(),
            message,
        });
    }
    if name.is_empty() || name.len() > TITLE_BYTES_MAX || name.chars().any(char::is_control) {
        wrong.push(super::FieldError {
            pointer: "/name".to_owned(),
            message: format!("Give a name of at most {TITLE_BYTES_MAX} bytes."),
        });
    }
    if wrong.is_empty() {
        Ok((slug.to_owned(), name.to_owned()))
    } else {
        Err(Error::Invalid(wrong))
    }
}

/// A short name that is another's is told where the field is.
pub(super) fn taken(error: store::Error) -> Error {
    match error {
        store::Error::Exists(_) => Error::AlreadyExists("This short name is taken; choose another.".to_owned()),
        error => error.into(),
    }
}

/// The organizations that the actor is a member of; with a key, the key's own.
///
/// # Errors
/// `Forbidden`.
pub async fn mine(app: &App, actor: &Actor) -> Result<Vec<OfMember>, Error> {
    require(actor, Permission::OrgRead, actor.org, WHAT)?;
    let principal = actor.principal;
    let only = (actor.credential == Credential::ApiKey).then_some(actor.org);
    Ok(app
        .store
        .read(move |reader| orgs::of_member(reader, principal, only, MINE_MAX))
        .await?)
}

/// # Errors
/// `Forbidden`.
pub async fn get(app: &App, actor: &Actor) -> Result<Org, Error> {
    require(actor, Permission::OrgRead, actor.org, WHAT)?;
    read(app, actor.org).await
}

/// The organization as it is, for use cases with a permission of their own.
async fn read(app: &App, org: OrgId) -> Result<Org, Error> {
    Ok(app.store.read(move |reader| orgs::get(reader, org)).await?)
}

/// What the caller is in, by name: an organization and a workspace.
///
/// # Errors
/// The store does not answer.
pub async fn here(app: &App, actor: &Actor) -> Result<(Org, Workspace), Error> {
    let (org, workspace) = (actor.org, actor.workspace.to_string());
    let read = app.store.read(move |reader| {
        let workspace = workspaces::find(reader, org, &workspace)?.ok_or(store::Error::NotFound)?;
        Ok((orgs::get(reader, org)?, workspace))
    });
    Ok(read.await?)
}

/// Where somebody is at work, by name, and whether they could be elsewhere.
///
/// # Errors
/// The store does not answer.
pub async fn place(app: &App, actor: &Actor) -> Result<Place, Error> {
    let (principal, org, workspace) = (actor.principal, actor.org, actor.workspace);
    Ok(app
        .store
        .read(move |reader| workspaces::place(reader, principal, org, workspace))
        .await?)
}

/// The organizations of a person with their workspaces: where they can be at work.
///
/// # Errors
/// The store does not answer.
pub async fn places(app: &App, actor: &Actor) -> Result<Vec<(OfMember, Vec<Workspace>)>, Error> {
    let principal = actor.principal;
    let read = app.store.read(move |reader| {
        let orgs = orgs::of_member(reader, principal, None, MINE_MAX)?;
        orgs.into_iter()
            .map(|org| Ok((org.clone(), workspaces::list(reader, org.id)?)))
            .collect()
    });
    Ok(read.await?)
}

/// Has a session go on in another organization or workspace, by id or short name.
///
/// # Errors
/// `NotFound` for one that is not there, or not for the actor.
pub async fn switch(
    app: &App,
    actor: &Actor,
    session: SessionId,
    org: String,
    workspace: Option<String>,
    origin: Origin,
) -> Result<(OrgId, WorkspaceId), Error> {
    let (asking, now) = (actor.clone(), app.clock.now());
    let switched = app.store.write(move |tx| {
        let tenant = orgs::Tenant {
            org: Some(org),
            workspace,
            ..orgs::Tenant::default()
        };
        let member = orgs::membership(tx, asking.principal, &tenant)?.ok_or(store::Error::NotFound)?;
        let workspace = member.workspace.ok_or(store::Error::NotFound)?;
        sessions::choose(tx, session, member.org, workspace)?;
        let detail = json!({ "from": { "org": asking.org, "workspace": asking.workspace }, "workspace": workspace });
        let record = Record::new(&member.org.to_string(), "session.switch", &session.to_string())
            .by(asking.principal, asking.credential)
            .credential_id(asking.credential_id)
            .origin(origin)
            .detail(detail);
        store::audit::record(tx, record, now)?;
        Ok((member.org, workspace))
    });
    match switched.await {
        Err(store::Error::NotFound) => Err(Error::NotFound(WHAT)),
        switched => Ok(switched?),
    }
}

/// Gives the organization other names.
///
/// # Errors
/// `Invalid` with the fields; `AlreadyExists` where the short name is another's.
pub async fn rename(app: &App, actor: &Actor, rename: Rename, origin: Origin) -> Result<Org, Error> {
    require(actor, Permission::OrgManage, actor.org, WHAT)?;
    let (org, now) = (actor.org, app.clock.now());
    let before = read(app, org).await?;
    let (slug, name) = checked_names(
        rename.slug.as_deref().unwrap_or(&before.slug),
        rename.name.as_deref().unwrap_or(&before.name),
    )?;
    if (&slug, &name) == (&before.slug, &before.name) {
        return Ok(before);
    }
    let detail = json!({ "before": { "slug": before.slug, "name": before.name }, "after": { "slug": slug, "name": name } });
    let record = audit::of(actor, "org.rename", &org.to_string(), origin).detail(detail);
    let renamed = app.store.write(move |tx| {
        orgs::rename(tx, org, &slug, &name)?;
        store::audit::record(tx, record, now)?;
        orgs::get(tx, org)
    });
    let renamed = renamed.await.map_err(taken)?;
    // Keys are looked up by the names that addresses have.
    app.auth.forget();
    Ok(renamed)
}

/// Makes another person the owner in the actor's place; the actor becomes an admin.
///
/// # Errors
/// `NotFound` where the person is no member; `Forbidden`.
pub async fn transfer(app: &App, actor: &Actor, to: PrincipalId, origin: Origin) -> Result<(), Error> {
    require(actor, Permission::OrgOwn, actor.org, WHAT)?;
    if to == actor.principal {
        return Err(Error::field("/member", "Choose somebody else: you are the owner already."));
    }
    let (asking, now) = (actor.clone(), app.clock.now());
    let detail = json!({ "from": actor.principal, "to": to });
    let record = audit::of(actor, "org.transfer", &actor.org.to_string(), origin).detail(detail);
    let transferred = app.store.write(move |tx| {
        let org = asking.org;
        // Somebody else may have changed the actor's own role a moment ago.
        if store::members::role(tx, org, asking.principal)? != Some(Role::Owner) {
            return Ok(Err(Error::Forbidden(Permission::OrgOwn)));
        }
        let member = store::members::find(tx, org, to)?.filter(|member| member.kind == PrincipalKind::User);
        if member.is_none_or(|member| member.disabled_at.is_some()) {
            return Ok(Err(Error::NotFound("the member")));
        }
        store::members::set_role(tx, org, to, Role::Owner)?;
        store::members::set_role(tx, org, asking.principal, Role::Admin)?;
        store::audit::record(tx, record, now).map(Ok)
    });
    transferred.await??;
    app.auth.forget();
    Ok(())
}

/// Takes the actor out of the organization: its keys are revoked, its runs wait to be adopted.
///
/// # Errors
/// `Conflict` for the last owner.
pub async fn leave(app: &App, actor: &Actor, origin: Origin) -> Result<(), Error> {
    let (asking, now) = (actor.clone(), app.clock.now());
    let left = app.store.write(move |tx| {
        let Some(member) = store::members::find(tx, asking.org, asking.principal)? else {
            return Ok(Err(Error::NotFound(WHAT)));
        };
        let taken = match members::take_out(tx, asking.org, &member, asking.principal, now)? {
            Ok(taken) => taken,
            Err(refused) => return Ok(Err(refused)),
        };
        let detail = json!({ "role": member.role, "runs_held": taken.held.len(), "keys_revoked": taken.keys });
        let record = audit::of(&asking, "member.leave", &asking.principal.to_string(), origin).detail(detail);
        store::audit::record(tx, record, now)?;
        Ok(Ok(taken))
    });
    let taken = left.await??;
    members::after(app, &taken);
    Ok(())
}

/// Deletes the organization: nobody gets in any more, its runs are cancelled, and after [`ORG_GRACE`] everything in it is gone. Until then
/// whoever looks after the station can take it back.
///
/// # Errors
/// `Invalid` where `confirm` is not its short name; `Conflict` where nobody could look after the station any more.
pub async fn delete(app: &App, actor: &Actor, confirm: &str, origin: Origin) -> Result<(), Error> {
    require(actor, Permission::OrgOwn, actor.org, WHAT)?;
    let org = read(app, actor.org).await?;
    if confirm.trim() != org.slug {
        return Err(Error::field(
            "/confirm",
            format!("Type the short name of the organization, {}, to delete it.", org.slug),
        ));
    }
    let (asking, now) = (actor.clone(), app.clock.now());
    let purge_at = now.plus(ORG_GRACE);
    let detail = json!({ "slug": org.slug, "name": org.name, "purge_at": purge_at.as_ms() });
    let record = audit::of(actor, "org.delete", &org.id.to_string(), origin).detail(detail);
    let deleted = app.store.write(move |tx| {
        let org = asking.org;
        if store::members::role(tx, org, asking.principal)? != Some(Role::Owner) {
            return Ok(Err(Error::Forbidden(Permission::OrgOwn)));
        }
        if !orgs::is_kept_elsewhere(tx, org)? {
            return Ok(Err(Error::Conflict(
                "Nobody who looks after the station is a member of another organization, so nobody could look after it any more. Make \
                 another organization first."
                    .to_owned(),
            )));
        }
        orgs::delete(tx, org, asking.principal, now, purge_at)?;
        store::audit::record(tx, record, now).map(Ok)
    });
    deleted.await??;
    app.auth.forget();
    purge::cancel_live(app, actor.org, None, "the organization is being deleted").await
}

/// Who does what is done to organizations from outside them.
#[derive(Clone, Debug)]
enum By {
    Actor(Box<Actor>),
    /// Whoever can read the data directory, in the shell of the machine.
    Shell,
}

impl By {
    /// Writes it in the organization's chain, for its owners, and in the station's.
    fn record(&self, tx: &Tx<'_>, org: OrgId, action: &'static str, detail: &Value, origin: &Origin) -> Result<(), store::Error> {
        for chain in [org.to_string(), audit::STATION.to_owned()] {
            let record = Record::new(&chain, action, &org.to_string())
                .origin(origin.clone())
                .detail(detail.clone());
            let record = match self {
                Self::Actor(actor) => record
                    .by(actor.principal, actor.credential)
                    .credential_id(actor.credential_id.clone()),
                Self::Shell => record,
            };
            store::audit::record(tx, record, tx.now())?;
        }
        Ok(())
    }
}

fn station(actor: &Actor) -> Result<By, Error> {
    require(actor, Permission::StationManage, actor.org, WHAT)?;
    Ok(By::Actor(Box::new(actor.clone())))
}

/// Makes an organization with a first workspace.
///
/// # Errors
/// `Forbidden`; `Invalid` with the fields; `AlreadyExists` where the short name is taken.
pub async fn create(app: &App, actor: &Actor, new: NewOrg, origin: Origin) -> Result<Org, Error> {
    create_by(app, station(actor)?, new, origin).await
}

/// Makes an organization from the shell of the machine.
///
/// # Errors
/// As [`create`]; `Invalid` where no owner is named.
pub async fn create_in_shell(app: &App, new: NewOrg) -> Result<Org, Error> {
    create_by(app, By::Shell, new, Origin::default()).await
}

async fn create_by(app: &App, by: By, new: NewOrg, origin: Origin) -> Result<Org, Error> {
    let (slug, name) = checked_names(&new.slug, &new.name)?;
    let email = new.owner.map(|email| normalize_email(&email)).filter(|email| !email.is_empty());
    let (plan, now) = (new.plan, app.clock.now());
    let made = app.store.write(move |tx| {
        let owner = match (&email, &by) {
            (Some(email), _) => users::find_by_email(tx, email)?
                .filter(|user| user.disabled_at.is_none())
                .map(|user| user.principal),
            (None, By::Actor(actor)) => users::find(tx, actor.principal)?.map(|user| user.principal),
            (None, By::Shell) => None,
        };
        let Some(owner) = owner else {
            return Ok(Err(Error::field("/owner", "Nobody with this address has an account here.")));
        };
        let (org, workspace) = (OrgId::new(now), WorkspaceId::new(now));
        orgs::insert(tx, org, &slug, &name, plan, now)?;
        workspaces::insert(tx, org, workspace, FIRST_WORKSPACE, FIRST_WORKSPACE, now)?;
        store::members::insert(tx, org, owner, Role::Owner, now)?;
        let detail = json!({ "slug": slug, "name": name, "plan": plan.as_str(), "owner": owner });
        by.record(tx, org, "org.create", &detail, &origin)?;
        orgs::get(tx, org).map(Ok)
    });
    let made = made.await.map_err(taken)??;
    app.auth.forget();
    Ok(made)
}

/// An organization as whoever looks after the station sees it.
#[derive(Clone, Debug)]
pub struct Overseen {
    pub org: Org,
    pub members: u32,
    /// Counted no further than [`RUNS_COUNTED_MAX`].
    pub runs: u32,
    pub running: u32,
}

/// Where counting runs for a list of organizations ends.
pub const RUNS_COUNTED_MAX: u32 = 1_000;

/// Every organization by short name, after the short name `after`, those that are being deleted too.
///
/// # Errors
/// `Forbidden`.
pub async fn all(app: &App, actor: &Actor, after: String, limit: u32) -> Result<Vec<Overseen>, Error> {
    station(actor)?;
    all_in_shell(app, after, limit).await
}

/// The same, for the shell of the machine.
///
/// # Errors
/// The store does not answer.
pub async fn all_in_shell(app: &App, after: String, limit: u32) -> Result<Vec<Overseen>, Error> {
    let now = app.clock.now();
    let read = app.store.read(move |reader| {
        let found = orgs::list(reader, &after, limit.clamp(1, PAGE_MAX + 1))?;
        let overseen = |org: Org| {
            Ok(Overseen {
                members: store::members::seats(reader, org.id, now)?.1,
                runs: store::usage::runs(reader, org.id, RUNS_COUNTED_MAX)?,
                running: store::usage::running(reader, org.id)?,
                org,
            })
        };
        found.into_iter().map(overseen).collect()
    });
    Ok(read.await?)
}

/// Puts an organization on another plan. What it has more of than the plan includes stays; there can only be no more of it.
///
/// # Errors
/// `Forbidden`, `NotFound`.
pub async fn change_plan(app: &App, actor: &Actor, org: String, plan: Plan, origin: Origin) -> Result<Org, Error> {
    let by = station(actor)?;
    let changed = app.store.write(move |tx| {
        let before = orgs::find(tx, &org)?.ok_or(store::Error::NotFound)?;
        orgs::set_plan(tx, before.id, plan)?;
        let detail = json!({ "before": before.plan.as_str(), "after": plan.as_str() });
        by.record(tx, before.id, "org.change-plan", &detail, &origin)?;
        orgs::get(tx, before.id)
    });
    let changed = changed.await?;
    app.auth.forget();
    // A larger one may have room for runs that wait.
    app.dispatcher.queued();
    Ok(changed)
}

/// Takes the deletion of an organization back, by id or short name. Its runs that were cancelled stay cancelled.
///
/// # Errors
/// `Forbidden`; `NotFound`; `Conflict` where it is not being deleted, or its time is over.
pub async fn restore(app: &App, actor: &Actor, org: String, origin: Origin) -> Result<Org, Error> {
    restore_by(app, station(actor)?, org, origin).await
}

/// The same, from the shell of the machine.
///
/// # Errors
/// As [`restore`].
pub async fn restore_in_shell(app: &App, org: String) -> Result<Org, Error> {
    restore_by(app, By::Shell, org, Origin::default()).await
}

async fn restore_by(app: &App, by: By, org: String, origin: Origin) -> Result<Org, Error> {
    let now = app.clock.now();
    let restored = app.store.write(move |tx| {
        let found = orgs::find(tx, &org)?.ok_or(store::Error::NotFound)?;
        if found.deleted_at.is_none() {
            return Err(store::Error::Conflict("It is not being deleted.".to_owned()));
        }
        if !orgs::restore(tx, found.id, now)? {
            return Err(store::Error::Conflict(
                "Its time is over, and what was in it is being deleted for good.".to_owned(),
            ));
        }
        by.record(tx, found.id, "org.restore", &json!({}), &origin)?;
        orgs::get(tx, found.id)
    });
    let restored = restored.await?;
    app.auth.forget();
    Ok(restored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_each_wrong_field_is_told() {
        assert_eq!(
            checked_names(" team-1 ", " Team One ").unwrap(),
            ("team-1".to_owned(), "Team One".to_owned())
        );
        for (slug, name, wrong) in [
            ("Team", "Team", 1),
            ("org_1", "Team", 1),
            ("team", "", 1),
            ("", "a\nb", 2),
            ("team", &"x".repeat(TITLE_BYTES_MAX + 1), 1),
        ] {
            let Err(Error::Invalid(fields)) = checked_names(slug, name) else {
                panic!("{slug} {name}")
            };
            assert_eq!(fields.len(), wrong, "{slug} {name}");
        }
    }
}
