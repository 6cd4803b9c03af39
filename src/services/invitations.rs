//! Invitations: a link, good once and for one e-mail address, with which a person joins an organization. Until it is accepted the person is
//! nothing there.

use std::time::Duration;

use serde_json::json;

use super::access::require;
use super::members::{self, check_seats};
use super::users::{NewUser, checked, is_email, normalize_email};
use super::{App, Error, audit, mail};
use crate::crypto::token;
use crate::domain::id::{InvitationId, OrgId, PrincipalId};
use crate::domain::limits::PAGE_MAX;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Credential, Permission, Role, may_give};
use crate::domain::time::Timestamp;
pub use crate::store::invitations::Invitation;
use crate::store::{self, Reader, Tx, invitations, members as rows, users};

/// An invitation can be accepted for this long.
pub const LASTS: Duration = Duration::from_hours(7 * 24);
const WHAT: &str = "the invitation";

/// An invitation and its link, which is shown once.
#[derive(Debug)]
pub struct Invited {
    pub invitation: Invitation,
    pub link: String,
}

/// What somebody with a link is offered.
#[derive(Debug)]
pub struct Offer {
    pub invitation: Invitation,
    /// Whether somebody with the address has an account on this station.
    pub has_account: bool,
}

/// Invites a person.
///
/// # Errors
/// `Invalid` with the field that does not fit; `AlreadyExists` where the address is a member's, or invited; `PlanLimit`.
pub async fn invite(app: &App, actor: &Actor, email: &str, role: Role, origin: Origin) -> Result<Invited, Error> {
    require(actor, Permission::MembersManage, actor.org, WHAT)?;
    let email = normalize_email(email);
    if !is_email(&email) {
        return Err(Error::field("/email", "This is no e-mail address."));
    }
    if !may_give(actor, role) {
        return Err(Error::field("/role", members::ABOVE_OWN));
    }
    let token = token::new()?;
    let now = app.clock.now();
    let new = invitations::NewInvitation {
        id: InvitationId::new(now),
        org: actor.org,
        email,
        role,
        token_hash: token::hash(&token),
        by: actor.principal,
        created_at: now,
        expires_at: now.plus(LASTS),
    };
    let record = audit::of(actor, "member.invite", &new.id.to_string(), origin)
        .about(audit::Subject::Email(new.email.clone()))
        .detail(json!({ "role": role }));
    let made = app.store.write(move |tx| {
        if rows::has_email(tx, new.org, &new.email)? {
            return Ok(Err(Error::AlreadyExists(
                "somebody with this address is a member already".to_owned(),
            )));
        }
        if let Some(open) = invitations::open_for(tx, new.org, &new.email)? {
            if open.expires_at > now {
                let text = "somebody with this address is invited already; send the invitation again instead";
                return Ok(Err(Error::AlreadyExists(text.to_owned())));
            }
            invitations::revoke(tx, new.org, open.id, now)?;
        }
        if let Err(full) = check_seats(tx, new.org, 1, now)? {
            return Ok(Err(full));
        }
        invitations::insert(tx, &new)?;
        store::audit::record(tx, record, now)?;
        Ok(invitations::find(tx, new.org, new.id)?.ok_or(Error::NotFound(WHAT)))
    });
    Ok(sent(app, actor, made.await??, &token))
}

/// Gives an invitation a new link and time; the link before is dead.
///
/// # Errors
/// `NotFound` where it is not open; `NotAllowed` where it is for a role above one's own; `PlanLimit`.
pub async fn resend(app: &App, actor: &Actor, id: InvitationId, origin: Origin) -> Result<Invited, Error> {
    require(actor, Permission::MembersManage, actor.org, WHAT)?;
    let token = token::new()?;
    let (asking, hash, now) = (actor.clone(), token::hash(&token), app.clock.now());
    let renewed = app.store.write(move |tx| {
        let org = asking.org;
        let Some(open) = invitations::find(tx, org, id)? else {
            return Ok(Err(Error::NotFound(WHAT)));
        };
        if !may_give(&asking, open.role) {
            return Ok(Err(Error::Refused(members::ABOVE_OWN.to_owned())));
        }
        // An expired one takes no room, and is to take it again.
        let more = u32::from(open.expires_at <= now);
        if let Err(full) = check_seats(tx, org, more, now)? {
            return Ok(Err(full));
        }
        invitations::renew(tx, org, id, &hash, asking.principal, now.plus(LASTS))?;
        let record = audit::of(&asking, "member.invite-again", &id.to_string(), origin);
        store::audit::record(tx, record, now)?;
        Ok(invitations::find(tx, org, id)?.ok_or(Error::NotFound(WHAT)))
    });
    Ok(sent(app, actor, renewed.await??, &token))
}

/// The link of an invitation, which is also mailed where the station sends mail.
fn sent(app: &App, by: &Actor, invitation: Invitation, token: &str) -> Invited {
    let link = format!("{}/invitation?token={token}", app.public_origin());
    mail::invitation(app, &invitation.email, &invitation.org_name, &by.name, &link);
    Invited { invitation, link }
}

/// What nobody has accepted or revoked, after the invitation `after`.
///
/// # Errors
/// `Forbidden`.
pub async fn list(app: &App, actor: &Actor, after: Option<InvitationId>, limit: u32) -> Result<Vec<Invitation>, Error> {
    require(actor, Permission::MembersManage, actor.org, WHAT)?;
    let (org, limit) = (actor.org, limit.clamp(1, PAGE_MAX + 1));
    Ok(app.store.read(move |reader| invitations::list(reader, org, after, limit)).await?)
}

/// Revokes an invitation: its link is dead.
///
/// # Errors
/// `NotFound` where it is not open.
pub async fn revoke(app: &App, actor: &Actor, id: InvitationId, origin: Origin) -> Result<(), Error> {
    require(actor, Permission::MembersManage, actor.org, WHAT)?;
    let (org, now) = (actor.org, app.clock.now());
    let record = audit::of(actor, "member.uninvite", &id.to_string(), origin);
    app.store
        .write(move |tx| {
            invitations::revoke(tx, org, id, now)?;
            store::audit::record(tx, record, now)
        })
        .await?;
    Ok(())
}

/// What the link of an invitation offers. Unknown, used, revoked and expired links are all `None`.
///
/// # Errors
/// The store does not answer.
pub async fn offer(app: &App, token: &str) -> Result<Option<Offer>, Error> {
    let (hash, now) = (token::hash(token), app.clock.now());
    let found = app.store.read(move |reader| {
        let Some(invitation) = held(reader, &hash, now)? else {
            return Ok(None);
        };
        let has_account = users::find_by_email(reader, &invitation.email)?.is_some();
        Ok(Some(Offer { invitation, has_account }))
    });
    Ok(found.await?)
}

/// The invitation of a token, while it holds and whoever made it may still do so.
fn held(reader: &Reader<'_>, hash: &token::TokenHash, now: Timestamp) -> Result<Option<Invitation>, store::Error> {
    let Some(invitation) = invitations::held(reader, hash, now)? else {
        return Ok(None);
    };
    let maker = invitation
        .by
        .map(|by| rows::role(reader, invitation.org, by))
        .transpose()?
        .flatten();
    let holds = maker.is_some_and(|maker| maker.gives(Permission::MembersManage) && maker.is_at_least(invitation.role));
    Ok(holds.then_some(invitation))
}

/// Somebody with an account joins.
///
/// # Errors
/// `NotFound` where the link does not hold; `NotAllowed` where it is for another address; `PlanLimit`.
pub async fn accept(app: &App, principal: PrincipalId, token: &str, origin: Origin) -> Result<OrgId, Error> {
    let (hash, now) = (token::hash(token), app.clock.now());
    let joined = app.store.write(move |tx| {
        let Some(invitation) = held(tx, &hash, now)? else {
            return Ok(Err(Error::NotFound(WHAT)));
        };
        let person = users::find(tx, principal)?.filter(|user| user.disabled_at.is_none());
        if person.is_none_or(|user| user.email != invitation.email) {
            let text = "The invitation is for another e-mail address than the one you are signed in with.";
            return Ok(Err(Error::Refused(text.to_owned())));
        }
        join(tx, &invitation, principal, origin, now)
    });
    let org = joined.await??;
    app.auth.forget();
    Ok(org)
}

/// Somebody without an account makes one, and joins.
///
/// # Errors
/// `NotFound` where the link does not hold; `Invalid` with the fields that do not fit; `AlreadyExists` where there is an account by now;
/// `PlanLimit`.
pub async fn accept_as_new(app: &App, token: &str, name: String, password: String, origin: Origin) -> Result<PrincipalId, Error> {
    let Some(offer) = offer(app, token).await? else {
        return Err(Error::NotFound(WHAT));
    };
    if offer.has_account {
        return Err(has_account());
    }
    let user = NewUser {
        email: offer.invitation.email,
        name,
        password,
    };
    let user = checked(app, user).await?;
    let (hash, now) = (token::hash(token), app.clock.now());
    let principal = PrincipalId::new(now);
    let joined = app.store.write(move |tx| {
        let Some(invitation) = held(tx, &hash, now)? else {
            return Ok(Err(Error::NotFound(WHAT)));
        };
        if users::find_by_email(tx, &invitation.email)?.is_some() {
            return Ok(Err(has_account()));
        }
        if let Err(full) = check_seats(tx, invitation.org, 0, now)? {
            return Ok(Err(full));
        }
        users::insert(tx, principal, &user.row(), now)?;
        join(tx, &invitation, principal, origin, now)
    });
    joined.await??;
    app.auth.forget();
    Ok(principal)
}

fn has_account() -> Error {
    Error::AlreadyExists("somebody with this address has an account already; sign in with it first".to_owned())
}

fn join(
    tx: &Tx<'_>,
    invitation: &Invitation,
    principal: PrincipalId,
    origin: Origin,
    now: Timestamp,
) -> Result<Result<OrgId, Error>, store::Error> {
    let org = invitation.org;
    if rows::find(tx, org, principal)?.is_some() {
        return Ok(Err(Error::Conflict("you are a member already".to_owned())));
    }
    // The invitation has its seat already; the plan may have become smaller.
    if let Err(full) = check_seats(tx, org, 0, now)? {
        return Ok(Err(full));
    }
    invitations::accept(tx, invitation.id, now)?;
    rows::insert(tx, org, principal, invitation.role, now)?;
    let record = store::audit::Record::new(&org.to_string(), "member.join", &principal.to_string())
        .by(principal, Credential::Session)
        .origin(origin)
        .detail(json!({ "invitation": invitation.id, "role": invitation.role, "invited_by": invitation.by }));
    store::audit::record(tx, record, now)?;
    Ok(Ok(org))
}
