//! Members: who is in an organization and as what. Nobody gives more than they hold or touches somebody above them, and an organization
//! always has an owner who can sign in: both are checked in the transaction that would change it.

use serde_json::json;

use super::access::require;
use super::users::normalize_email;
use super::{App, Error, audit, holds};
use crate::domain::id::{OrgId, PrincipalId};
use crate::domain::limits::PAGE_MAX;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Credential, Permission, PrincipalKind, Role, may_give};
use crate::domain::time::Timestamp;
pub use crate::store::members::Listed;
use crate::store::runs::holds as held;
use crate::store::{self, Reader, Tx, invitations, keys, members, users};

pub(super) const ABOVE_OWN: &str = "You cannot give a role that may do more than you may.";
const WHAT: &str = "the member";

/// What a member's end or a lower role takes with it.
#[derive(Debug, Default)]
pub struct Taken {
    /// Runs that wait to be adopted.
    pub held: Vec<held::Changed>,
    pub keys: usize,
    pub invitations: usize,
}

/// Members in the order in which they came to the station, after the principal `after`.
///
/// # Errors
/// `Forbidden`.
pub async fn list(
    app: &App,
    actor: &Actor,
    kind: Option<PrincipalKind>,
    after: Option<PrincipalId>,
    limit: u32,
) -> Result<Vec<Listed>, Error> {
    require(actor, Permission::OrgRead, actor.org, WHAT)?;
    let (org, limit) = (actor.org, limit.clamp(1, PAGE_MAX + 1));
    Ok(app.store.read(move |reader| members::list(reader, org, kind, after, limit)).await?)
}

/// Gives a member another role. One that may not have runs holds those that are not over.
///
/// # Errors
/// `NotFound`; `Invalid` for a role above one's own; `NotAllowed` where the member stands above the actor; `Conflict` for the last owner.
pub async fn change_role(app: &App, actor: &Actor, principal: PrincipalId, role: Role, origin: Origin) -> Result<Listed, Error> {
    require(actor, Permission::MembersManage, actor.org, WHAT)?;
    set_role(app, actor, (principal, PrincipalKind::User), role, "member.change-role", origin).await
}

pub(super) async fn set_role(
    app: &App,
    actor: &Actor,
    (principal, kind): (PrincipalId, PrincipalKind),
    role: Role,
    action: &'static str,
    origin: Origin,
) -> Result<Listed, Error> {
    if !may_give(actor, role) {
        return Err(Error::field("/role", ABOVE_OWN));
    }
    let (asking, now) = (actor.clone(), app.clock.now());
    let changed = app.store.write(move |tx| {
        let org = asking.org;
        let member = match reachable(tx, &asking, principal, kind)? {
            Ok(member) => member,
            Err(refused) => return Ok(Err(refused)),
        };
        let own = members::role(tx, org, asking.principal)?;
        if !own.is_some_and(|own| own.is_at_least(role)) {
            return Ok(Err(Error::field("/role", ABOVE_OWN)));
        }
        if member.role == role {
            return Ok(Ok((member, Taken::default())));
        }
        if member.role == Role::Owner && !members::has_other_owner(tx, org, principal)? {
            return Ok(Err(last_owner()));
        }
        members::set_role(tx, org, principal, role)?;
        let mut taken = Taken::default();
        if member.role.is_at_least(role) {
            // Made under a higher role, and nobody has accepted them yet.
            taken.invitations = invitations::revoke_of(tx, org, principal, now)?;
        }
        if !role.gives(Permission::RunsStart) {
            taken.held = held::leave_all(tx, org, principal, asking.principal, now)?;
        }
        let detail = json!({
            "before": member.role, "after": role, "runs_held": taken.held.len(), "invitations_revoked": taken.invitations,
        });
        let record = audit::of(&asking, action, &principal.to_string(), origin)
            .about(audit::Subject::Principal(principal))
            .detail(detail);
        store::audit::record(tx, record, now)?;
        Ok(Ok((Listed { role, ..member }, taken)))
    });
    let (member, taken) = changed.await??;
    after(app, &taken);
    Ok(member)
}

/// Takes a member out of the organization, at once: their keys are revoked, their open connections end, their runs wait to be adopted.
///
/// # Errors
/// `NotFound`; `NotAllowed` where the member stands above the actor; `Conflict` for the last owner.
pub async fn remove(app: &App, actor: &Actor, principal: PrincipalId, origin: Origin) -> Result<Taken, Error> {
    require(actor, Permission::MembersManage, actor.org, WHAT)?;
    end(app, actor, (principal, PrincipalKind::User), "member.remove", origin).await
}

pub(super) async fn end(
    app: &App,
    actor: &Actor,
    (principal, kind): (PrincipalId, PrincipalKind),
    action: &'static str,
    origin: Origin,
) -> Result<Taken, Error> {
    let (asking, now) = (actor.clone(), app.clock.now());
    let removed = app.store.write(move |tx| {
        let member = match reachable(tx, &asking, principal, kind)? {
            Ok(member) => member,
            Err(refused) => return Ok(Err(refused)),
        };
        let taken = match take_out(tx, asking.org, &member, asking.principal, now)? {
            Ok(taken) => taken,
            Err(refused) => return Ok(Err(refused)),
        };
        if kind == PrincipalKind::Service {
            members::disable(tx, principal, now)?;
        }
        let detail = json!({
            "role": member.role, "runs_held": taken.held.len(), "keys_revoked": taken.keys, "invitations_revoked": taken.invitations,
        });
        let record = audit::of(&asking, action, &principal.to_string(), origin)
            .about(audit::Subject::Principal(principal))
            .detail(detail);
        store::audit::record(tx, record, now)?;
        Ok(Ok(taken))
    });
    let taken = removed.await??;
    after(app, &taken);
    Ok(taken)
}

/// Shuts a person out of the whole station, at once: they cannot sign in, their sessions end, their keys do nothing while it lasts, and in
/// every organization their runs wait to be adopted. They stay members.
///
/// # Errors
/// `Forbidden` for who does not look after the station; `NotFound`; `Conflict` for an organization's last owner.
pub async fn disable(app: &App, actor: &Actor, email: &str, origin: Origin) -> Result<(), Error> {
    require_station(actor)?;
    let (asking, email, now) = (actor.clone(), normalize_email(email), app.clock.now());
    let disabled = app.store.write(move |tx| {
        let Some(user) = users::find_by_email(tx, &email)? else {
            return Ok(Err(Error::NotFound("the user")));
        };
        let principal = user.principal;
        let orgs = members::orgs_of(tx, principal)?;
        for (org, role) in &orgs {
            if *role == Role::Owner && !members::has_other_owner(tx, *org, principal)? {
                return Ok(Err(last_owner()));
            }
        }
        let mut taken = Taken::default();
        for (org, _) in orgs {
            taken.held.extend(held::leave_all(tx, org, principal, asking.principal, now)?);
            taken.invitations += invitations::revoke_of(tx, org, principal, now)?;
        }
        members::disable(tx, principal, now)?;
        store::sessions::delete_of(tx, principal)?;
        let record = station_record(&asking, "user.disable", principal, origin).detail(json!({ "runs_held": taken.held.len() }));
        store::audit::record(tx, record, now)?;
        Ok(Ok(taken))
    });
    let taken = disabled.await??;
    after(app, &taken);
    Ok(())
}

/// Lets a person in again, as what they were. Their runs go on waiting.
///
/// # Errors
/// `Forbidden` for who does not look after the station; `NotFound`.
pub async fn enable(app: &App, actor: &Actor, email: &str, origin: Origin) -> Result<(), Error> {
    require_station(actor)?;
    let (asking, email, now) = (actor.clone(), normalize_email(email), app.clock.now());
    let enabled = app.store.write(move |tx| {
        let Some(user) = users::find_by_email(tx, &email)? else {
            return Ok(Err(Error::NotFound("the user")));
        };
        members::enable(tx, user.principal)?;
        store::audit::record(tx, station_record(&asking, "user.enable", user.principal, origin), now)?;
        Ok(Ok(()))
    });
    enabled.await??;
    app.auth.forget();
    Ok(())
}

/// Whoever looks after the station, or sits at its machine.
fn require_station(actor: &Actor) -> Result<(), Error> {
    if actor.credential == Credential::Local {
        return Ok(());
    }
    require(actor, Permission::StationManage, actor.org, "the user")
}

fn station_record(actor: &Actor, action: &'static str, principal: PrincipalId, origin: Origin) -> store::audit::Record {
    store::audit::Record::new(audit::STATION, action, &principal.to_string())
        .by(actor.principal, actor.credential)
        .credential_id(actor.credential_id.clone())
        .origin(origin)
}

/// Takes a member out of an organization, with everything that goes with it. Whoever calls it writes the audit record, and [`after`] the
/// commit.
pub(super) fn take_out(
    tx: &Tx<'_>,
    org: OrgId,
    member: &Listed,
    by: PrincipalId,
    now: Timestamp,
) -> Result<Result<Taken, Error>, store::Error> {
    let principal = member.principal;
    if member.role == Role::Owner && !members::has_other_owner(tx, org, principal)? {
        return Ok(Err(last_owner()));
    }
    let taken = Taken {
        held: held::leave_all(tx, org, principal, by, now)?,
        keys: keys::revoke_of(tx, org, principal, now)?,
        invitations: invitations::revoke_of(tx, org, principal, now)?,
    };
    members::delete(tx, org, principal)?;
    Ok(Ok(taken))
}

/// Makes what was taken felt at once: by runs that execute, by keys, and by connections that are open.
pub(super) fn after(app: &App, taken: &Taken) {
    holds::announce(app, &taken.held);
    app.auth.forget();
}

/// The member, where the actor, as it is now, may change it.
fn reachable(
    reader: &Reader<'_>,
    actor: &Actor,
    principal: PrincipalId,
    kind: PrincipalKind,
) -> Result<Result<Listed, Error>, store::Error> {
    let found = members::find(reader, actor.org, principal)?.filter(|member| member.kind == kind);
    let Some(member) = found else {
        return Ok(Err(Error::NotFound(WHAT)));
    };
    // Somebody else may have changed the actor's own role a moment ago.
    let own = members::role(reader, actor.org, actor.principal)?;
    if !own.is_some_and(|own| own.is_at_least(member.role) && own.gives(Permission::MembersManage)) {
        return Ok(Err(Error::Refused(format!(
            "This is an {} of the organization, which is above what you are.",
            member.role
        ))));
    }
    Ok(Ok(member))
}

fn last_owner() -> Error {
    Error::Conflict("this is the organization’s last owner; make somebody else an owner first".to_owned())
}

/// Whether the plan has room for so many more members; open invitations take room.
pub(super) fn check_seats(reader: &Reader<'_>, org: OrgId, more: u32, now: Timestamp) -> Result<Result<(), Error>, store::Error> {
    let (plan, taken) = members::seats(reader, org, now)?;
    let most = plan.limits().members;
    if taken.saturating_add(more) <= most {
        return Ok(Ok(()));
    }
    Ok(Err(Error::PlanLimit(format!(
        "The plan {plan} includes {most} members, and with open invitations and services there are {taken}."
    ))))
}
