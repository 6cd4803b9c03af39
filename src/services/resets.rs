//! A new password for whoever has forgotten theirs: by a one-time link, sent by mail or made by somebody who may.
//!
//! Nobody chooses another's password, a second factor stays, and the link's host comes from the settings.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::access::require;
use super::users::normalize_email;
use super::{App, Error, audit, mail};
use crate::crypto::token;
use crate::domain::id::PrincipalId;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Credential, Permission, Role};
use crate::domain::time::Timestamp;
use crate::store::audit::{Record, Subject};
use crate::store::links::Purpose;
use crate::store::{self, Reader, links, sessions, users};

/// How long a link is good.
pub const LINK_LASTS: Duration = Duration::from_hours(1);
/// Nobody's mailbox is filled: one letter in this time.
const MAIL_EVERY: Duration = Duration::from_mins(2);

/// Sends a link to the address, where somebody has it. Whoever asks is told nothing, so call it beside the answer.
///
/// # Errors
/// The store cannot be written.
pub async fn request(app: &App, email: &str, origin: Origin) -> Result<(), Error> {
    if !app.mail.is_configured() {
        return Ok(());
    }
    let email = normalize_email(email);
    let (text, now) = (token::new()?, app.clock.now());
    let link = token::hash(&text);
    let made = app.store.write(move |tx| {
        let Some(user) = users::find_by_email(tx, &email)?.filter(|user| user.disabled_at.is_none()) else {
            return Ok(None);
        };
        if links::made_since(tx, user.principal, Purpose::Reset, now.minus(MAIL_EVERY))? {
            return Ok(None);
        }
        links::insert(tx, &link, Purpose::Reset, Some(user.principal), now, now.plus(LINK_LASTS))?;
        let record = about("user.request-reset", user.principal).origin(origin);
        audit::of_person(tx, user.principal, &record, now)?;
        Ok(Some(user.email))
    });
    if let Some(email) = made.await? {
        mail::password_reset(app, &email, &address(app, &text), LINK_LASTS.as_secs() / 60);
    }
    Ok(())
}

/// A link that somebody may make for another, to be handed over.
#[derive(Debug)]
pub struct Made {
    /// Whose password it leads to.
    pub name: String,
    pub link: String,
    pub expires_at: Timestamp,
}

/// Makes a link for a member of the actor's organization.
///
/// Whoever chooses a password holds the account everywhere, so the actor must be at least an admin, and no less than the member, in
/// every organization that the member is in; or look after the station. An API key reaches only those below its holder.
///
/// # Errors
/// `NotFound` where they are no member; `Forbidden`.
pub async fn make(app: &App, actor: &Actor, principal: PrincipalId, origin: Origin) -> Result<Made, Error> {
    require(actor, Permission::MembersManage, actor.org, "the member")?;
    let asker = actor.clone();
    let found = app.store.read(move |reader| reach(reader, &asker, principal));
    let name = match found.await? {
        Reach::Nobody => return Err(Error::NotFound("the member")),
        Reach::Beyond => return Err(Error::Forbidden(Permission::StationManage)),
        Reach::Within(name) => name,
    };
    let record = audit::of(actor, "user.reset-link", &principal.to_string(), origin);
    insert(app, principal, name, record).await
}

/// Those of some members for whom the actor may make a link.
///
/// # Errors
/// The store does not answer.
pub async fn within_reach(app: &App, actor: &Actor, principals: Vec<PrincipalId>) -> Result<BTreeSet<PrincipalId>, Error> {
    if require(actor, Permission::MembersManage, actor.org, "the member").is_err() {
        return Ok(BTreeSet::new());
    }
    let asker = actor.clone();
    let found = app.store.read(move |reader| {
        let mut within = BTreeSet::new();
        for principal in principals {
            if matches!(reach(reader, &asker, principal)?, Reach::Within(_)) {
                within.insert(principal);
            }
        }
        Ok(within)
    });
    Ok(found.await?)
}

/// What somebody who manages members has to say about an account.
enum Reach {
    /// It is no person's of their organization.
    Nobody,
    /// It is not theirs to decide over.
    Beyond,
    /// With the person's name.
    Within(String),
}

fn reach(reader: &Reader<'_>, actor: &Actor, principal: PrincipalId) -> Result<Reach, store::Error> {
    let standings = users::standings(reader, principal, actor.principal)?;
    let user = users::find(reader, principal)?.filter(|user| user.disabled_at.is_none());
    let Some(user) = user.filter(|_| standings.iter().any(|standing| standing.org == actor.org)) else {
        return Ok(Reach::Nobody);
    };
    let by_key = actor.credential == Credential::ApiKey;
    let reaches = |own: Option<Role>, role: Role| {
        own.is_some_and(|own| own.is_at_least(Role::Admin) && own.is_at_least(role) && !(by_key && role.is_at_least(own)))
    };
    let allowed = (actor.station_admin && !by_key)
        || (standings.iter().all(|standing| reaches(standing.asker, standing.role)) && !users::is_station_admin(reader, principal)?);
    Ok(if allowed { Reach::Within(user.name) } else { Reach::Beyond })
}

/// Makes a link on the station's own shell.
///
/// # Errors
/// `NotFound` where nobody has the address.
pub async fn make_on_shell(app: &App, email: &str) -> Result<Made, Error> {
    let email = normalize_email(email);
    let found = app.store.read(move |reader| users::find_by_email(reader, &email)).await?;
    let user = found.ok_or(Error::NotFound("the user"))?;
    let principal = user.principal;
    insert(
        app,
        principal,
        user.name,
        about("user.reset-link", principal).detail(json!({ "by": "the station’s shell" })),
    )
    .await
}

async fn insert(app: &App, principal: PrincipalId, name: String, record: Record) -> Result<Made, Error> {
    let (text, now) = (token::new()?, app.clock.now());
    let (hash, expires_at) = (token::hash(&text), now.plus(LINK_LASTS));
    app.store
        .write(move |tx| {
            links::insert(tx, &hash, Purpose::Reset, Some(principal), now, expires_at)?;
            audit::of_person(tx, principal, &record, now)
        })
        .await?;
    Ok(Made {
        name,
        link: address(app, &text),
        expires_at,
    })
}

/// Whether a link can be used now.
///
/// # Errors
/// The store does not answer.
pub async fn holds(app: &App, link: &str) -> Result<bool, Error> {
    let (hash, now) = (token::hash(link), app.clock.now());
    Ok(app
        .store
        .read(move |reader| links::holds(reader, &hash, Purpose::Reset, now))
        .await?)
}

/// Sets the password of whoever a link is for. All their sessions and other such links end, and nobody is signed in by it.
///
/// # Errors
/// `WrongCredentials` where the link does not hold; `Invalid` where the password is refused.
pub async fn finish(app: &App, link: &str, password: String, origin: Origin) -> Result<(), Error> {
    let (hash, now) = (token::hash(link), app.clock.now());
    let found = app.store.read(move |reader| {
        let principal = links::find(reader, &hash, Purpose::Reset, now)?;
        principal.map_or(Ok(None), |principal| users::find(reader, principal))
    });
    let user = found.await?.filter(|user| user.disabled_at.is_none());
    let user = user.ok_or(Error::WrongCredentials)?;
    let password_hash = app.auth.hash_password(password, &user.email, &user.name).await?;
    let principal = user.principal;
    let notice = origin.clone();
    let done = app.store.write(move |tx| {
        if links::consume(tx, &hash, Purpose::Reset, now)?.is_none() {
            return Ok(false);
        }
        users::set_password(tx, principal, &password_hash, now)?;
        links::delete_of(tx, principal, Purpose::Reset)?;
        links::delete_of(tx, principal, Purpose::SignIn)?;
        sessions::delete_of(tx, principal)?;
        let record = about("user.reset-password", principal).origin(origin);
        audit::of_person(tx, principal, &record, now)?;
        Ok(true)
    });
    if !done.await? {
        return Err(Error::WrongCredentials);
    }
    app.auth.forget();
    mail::security_notice(app, &user.email, "the password was changed with a link", &notice);
    Ok(())
}

fn address(app: &App, token: &str) -> String {
    format!("{}/reset?token={token}", app.public_origin())
}

fn about(action: &'static str, principal: PrincipalId) -> Record {
    Record::new(audit::STATION, action, &principal.to_string()).about(Subject::Principal(principal))
}
