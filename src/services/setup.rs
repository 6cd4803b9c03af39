//! The first owner: by the one-time link that the console prints, or without a browser.

use std::time::Duration;

use super::{App, Error};
use crate::crypto::token;
use crate::domain::id::{OrgId, PrincipalId, WorkspaceId};
use crate::domain::manifest::is_name;
use crate::domain::origin::Origin;
use crate::domain::permission::Role;
use crate::domain::plan::Plan;
use crate::services::users::{NewUser, checked};
use crate::store::{self, Tx, links, members, orgs, users, workspaces};

/// A set-up link holds for this long.
pub const LINK_LASTS: Duration = Duration::from_mins(30);
/// A station with one organization and one workspace never shows these.
const SLUG_DEFAULT: &str = "default";

/// Who shall own the station.
#[derive(Clone, Debug)]
pub struct FirstOwner {
    pub email: String,
    pub name: String,
    pub password: String,
    /// `default` where none is given.
    pub org_slug: Option<String>,
}

/// Whether the station still waits for its first owner.
///
/// # Errors
/// The store does not answer.
pub async fn is_needed(app: &App) -> Result<bool, Error> {
    Ok(app.store.read(|reader| Ok(!users::any(reader)?)).await?)
}

/// A new set-up link's token; earlier ones no longer hold. The address is `/set-up?token=`.
///
/// # Errors
/// `Conflict` where the station has an owner.
pub async fn new_link(app: &App) -> Result<String, Error> {
    if !is_needed(app).await? {
        return Err(owned());
    }
    let link = token::new()?;
    let hash = token::hash(&link);
    let now = app.clock.now();
    app.store
        .write(move |tx| {
            links::delete_all(tx, links::Purpose::Setup)?;
            links::insert(tx, &hash, links::Purpose::Setup, None, now, now.plus(LINK_LASTS))
        })
        .await?;
    Ok(link)
}

/// Whether a set-up link can be used now.
///
/// # Errors
/// The store does not answer.
pub async fn link_holds(app: &App, link: &str) -> Result<bool, Error> {
    let hash = token::hash(link);
    let now = app.clock.now();
    let holds = app
        .store
        .read(move |reader| links::holds(reader, &hash, links::Purpose::Setup, now));
    Ok(holds.await? && is_needed(app).await?)
}

/// Makes the first owner with a link, which is used up by it.
///
/// # Errors
/// `WrongCredentials` where the link does not hold, `Invalid` with the fields that do not fit.
pub async fn by_link(app: &App, link: &str, owner: FirstOwner, origin: Origin) -> Result<PrincipalId, Error> {
    if !link_holds(app, link).await? {
        return Err(Error::WrongCredentials);
    }
    make(app, owner, Some(token::hash(link)), origin).await
}

/// Makes the first owner without a browser.
///
/// # Errors
/// `Conflict` where the station has an owner, `Invalid` with the fields that do not fit.
pub async fn without_browser(app: &App, owner: FirstOwner) -> Result<PrincipalId, Error> {
    make(app, owner, None, Origin::default()).await
}

async fn make(app: &App, owner: FirstOwner, link: Option<token::TokenHash>, origin: Origin) -> Result<PrincipalId, Error> {
    let slug = owner.org_slug.unwrap_or_else(|| SLUG_DEFAULT.to_owned());
    if !is_name(&slug) {
        return Err(Error::field("/org", "an organization’s short name is made of a–z, 0–9 and “-”"));
    }
    let user = NewUser {
        email: owner.email,
        name: owner.name,
        password: owner.password,
    };
    let user = checked(app, user).await?;
    let now = app.clock.now();
    let principal = PrincipalId::new(now);
    let made = app.store.write(move |tx: &Tx<'_>| {
        // Within the writer's transaction nobody else can be first.
        if users::any(tx)? {
            return Err(store::Error::Conflict(ALREADY_OWNED.to_owned()));
        }
        if let Some(hash) = &link
            && links::consume(tx, hash, links::Purpose::Setup, now)?.is_none()
        {
            return Err(store::Error::NotFound);
        }
        let (org, workspace) = (OrgId::new(now), WorkspaceId::new(now));
        // Whoever sets the station up owns the machine: no plan limits them.
        orgs::insert(tx, org, &slug, &slug, Plan::Enterprise, now)?;
        workspaces::insert(tx, org, workspace, SLUG_DEFAULT, SLUG_DEFAULT, now)?;
        users::insert(tx, principal, &user.row(), now)?;
        users::set_station_admin(tx, principal, true)?;
        members::insert(tx, org, principal, Role::Owner, now)?;
        let record = store::audit::Record::new(&org.to_string(), "station.set-up", &principal.to_string())
            .about(store::audit::Subject::Principal(principal))
            .origin(origin);
        store::audit::record(tx, record.in_chain(super::audit::STATION), now)?;
        store::audit::record(tx, record, now)?;
        Ok(())
    });
    match made.await {
        Ok(()) => Ok(principal),
        Err(store::Error::NotFound) => Err(Error::WrongCredentials),
        Err(store::Error::Conflict(_)) => Err(owned()),
        Err(error) => Err(error.into()),
    }
}

const ALREADY_OWNED: &str = "the station has an owner already; sign in instead";

fn owned() -> Error {
    Error::Conflict(ALREADY_OWNED.to_owned())
}
