//! `/settings/members`: who is in the organization and as what, who is invited, and whose runs wait for somebody.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use crate::domain::limits::PAGE_DEFAULT;
use crate::domain::permission::{Actor, Permission, PrincipalKind, Role, may_give};
use crate::domain::time::Timestamp;
use crate::services::Error;
use crate::services::adoption::{self, Left};
use crate::services::invitations::{self, Invitation, Invited};
use crate::services::members::{self, Listed};
use crate::services::resets;
use crate::web::api::Segments;
use crate::web::api::members::role;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::paging::{Page, Query};
use crate::web::extract::{Authorized, Proved, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::keys::words_of;
use crate::web::pages::view::{Shell, When};
use crate::web::pages::{filters, html, html_of, may, page_links, see_other, settings_shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const PATH: &str = "/settings/members";
/// Invitations on the page; the API lists more.
const INVITATIONS: u32 = 200;

#[derive(Template)]
#[template(path = "pages/settings/members.html")]
struct MembersPage {
    shell: Shell,
    may_manage: bool,
    left: Vec<Left>,
    members: Vec<MemberRow>,
    invitations: Vec<InvitationRow>,
    roles: Vec<RoleChoice>,
    link: Option<NewLink>,
    reset: Option<NewLink>,
    email: String,
    invite_error: Option<String>,
    error: Option<String>,
    next: Option<String>,
    first: Option<String>,
}

struct MemberRow {
    id: String,
    name: String,
    email: Option<String>,
    role: &'static str,
    own: bool,
    since: When,
    /// What they could be instead; none where the reader may not change them.
    roles: Vec<RoleChoice>,
    /// Whether the reader may make a link to a new password for them.
    may_reset: bool,
}

struct InvitationRow {
    id: String,
    email: String,
    role: &'static str,
    by: String,
    expires: When,
    expired: bool,
}

/// A role to choose.
pub(super) struct RoleChoice {
    pub code: &'static str,
    pub selected: bool,
}

/// A link that is shown once.
struct NewLink {
    who: String,
    link: String,
}

/// The roles that the actor may give, from most to least.
pub(super) fn roles(actor: &Actor, selected: Option<Role>) -> Vec<RoleChoice> {
    let given = Role::ALL.iter().filter(|&&role| may_give(actor, role));
    given
        .map(|&role| RoleChoice {
            code: role.as_str(),
            selected: selected == Some(role),
        })
        .collect()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Place {
    cursor: String,
}

/// What the page has to say besides what is stored.
#[derive(Default)]
struct Said {
    link: Option<NewLink>,
    reset: Option<NewLink>,
    email: String,
    role: Option<Role>,
    invite_error: Option<String>,
    error: Option<String>,
    cursor: String,
}

impl Said {
    fn error(words: String) -> Self {
        Self {
            error: Some(words),
            ..Self::default()
        }
    }

    fn link(invited: Invited) -> Self {
        Self {
            link: Some(NewLink {
                who: invited.invitation.email,
                link: invited.link,
            }),
            ..Self::default()
        }
    }
}

/// `GET /settings/members`
pub async fn show(
    auth: Authorized<permission::OrgRead>,
    state: web::Data<State>,
    query: Query<Place>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let said = Said {
        cursor: query.0.cursor,
        ..Said::default()
    };
    html(&page(&auth.known, &state, &request, said).await?)
}

/// `POST /settings/members/{principal}/role`
pub async fn change_role(
    auth: Proved<permission::MembersManage>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (principal, wanted) = (segments.principal()?, role(form.text("role"))?);
    let changed = members::change_role(&state.app, auth.actor(), principal, wanted, Context::origin(&request)).await;
    done_or(&auth.known, &state, &request, changed.map(drop), "role-changed").await
}

/// `POST /settings/members/{principal}/remove`
pub async fn remove(
    auth: Proved<permission::MembersManage>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let removed = members::remove(&state.app, auth.actor(), segments.principal()?, Context::origin(&request)).await;
    done_or(&auth.known, &state, &request, removed.map(drop), "member-removed").await
}

/// `POST /settings/members/{principal}/reset-link`: the one page that shows the link.
pub async fn reset_link(
    auth: Proved<permission::MembersManage>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let principal = segments.principal()?;
    let made = resets::make(&state.app, auth.actor(), principal, Context::origin(&request)).await?;
    let said = Said {
        reset: Some(NewLink {
            who: made.name,
            link: made.link,
        }),
        ..Said::default()
    };
    html(&page(&auth.known, &state, &request, said).await?)
}

/// `POST /settings/members/{principal}/adopt`
pub async fn adopt(
    auth: Proved<permission::MembersManage>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let adopted = adoption::adopt_all(&state.app, auth.actor(), segments.principal()?, Context::origin(&request)).await;
    done_or(&auth.known, &state, &request, adopted.map(drop), "runs-adopted").await
}

/// `POST /settings/invitations`: the one page that shows the link.
pub async fn invite(
    auth: Proved<permission::MembersManage>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (email, wanted) = (form.text("email"), role(form.text("role"))?);
    match invitations::invite(&state.app, auth.actor(), email, wanted, Context::origin(&request)).await {
        Ok(invited) => html(&page(&auth.known, &state, &request, Said::link(invited)).await?),
        Err(error) => {
            let said = |words| Said {
                email: email.to_owned(),
                role: Some(wanted),
                invite_error: Some(words),
                ..Said::default()
            };
            refused(&auth.known, &state, &request, error, said).await
        }
    }
}

/// `POST /settings/invitations/{invitation}/resend`: shows the new link.
pub async fn resend(
    auth: Proved<permission::MembersManage>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    match invitations::resend(&state.app, auth.actor(), segments.invitation()?, Context::origin(&request)).await {
        Ok(invited) => html(&page(&auth.known, &state, &request, Said::link(invited)).await?),
        Err(error) => refused(&auth.known, &state, &request, error, Said::error).await,
    }
}

/// `POST /settings/invitations/{invitation}/revoke`
pub async fn revoke(
    auth: Proved<permission::MembersManage>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let revoked = invitations::revoke(&state.app, auth.actor(), segments.invitation()?, Context::origin(&request)).await;
    done_or(&auth.known, &state, &request, revoked, "invitation-revoked").await
}

async fn done_or(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    done: Result<(), Error>,
    word: &str,
) -> Result<HttpResponse, Problem> {
    match done {
        Ok(()) => Ok(see_other(format!("{PATH}?done={word}"))),
        Err(error) => refused(known, state, request, error, Said::error).await,
    }
}

async fn refused(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    error: Error,
    said: impl FnOnce(String) -> Said,
) -> Result<HttpResponse, Problem> {
    match error {
        Error::Invalid(_) | Error::AlreadyExists(_) | Error::Conflict(_) | Error::Refused(_) | Error::PlanLimit(_) => {
            let problem = Problem::from(error);
            html_of(&problem, &page(known, state, request, said(words_of(&problem))).await?)
        }
        error => Err(error.into()),
    }
}

async fn page(known: &Known, state: &State, request: &HttpRequest, said: Said) -> Result<MembersPage, Problem> {
    let (actor, now) = (&known.actor, state.app.clock.now());
    let may_manage = may(actor, Permission::MembersManage);
    let after = said.cursor.parse().ok();
    let found = members::list(&state.app, actor, Some(PrincipalKind::User), after, PAGE_DEFAULT + 1).await?;
    let found = Page::cut(found, PAGE_DEFAULT, |member| member.principal.to_string());
    let (next, first) = page_links(PATH, &[], found.next.as_deref(), said.cursor.is_empty());
    let others = found.items.iter().map(|member| member.principal);
    let others = others.filter(|principal| *principal != actor.principal).collect();
    let within_reach = resets::within_reach(&state.app, actor, others).await?;
    let (left, open) = if may_manage {
        let open = invitations::list(&state.app, actor, None, INVITATIONS).await?;
        (adoption::left(&state.app, actor).await?, open)
    } else {
        (Vec::new(), Vec::new())
    };
    Ok(MembersPage {
        shell: settings_shell(state, request, known, "Members", PATH),
        may_manage,
        left,
        members: found
            .items
            .into_iter()
            .map(|member| MemberRow {
                may_reset: within_reach.contains(&member.principal),
                ..member_row(member, actor, may_manage, now)
            })
            .collect(),
        invitations: open.into_iter().map(|invitation| invitation_row(invitation, now)).collect(),
        roles: roles(actor, said.role.or(Some(Role::Builder))),
        link: said.link,
        reset: said.reset,
        email: said.email,
        invite_error: said.invite_error,
        error: said.error,
        next,
        first,
    })
}

fn member_row(member: Listed, actor: &Actor, may_manage: bool, now: Timestamp) -> MemberRow {
    let within = may_manage && may_give(actor, member.role);
    MemberRow {
        id: member.principal.to_string(),
        email: member.email.filter(|_| may_manage),
        role: member.role.as_str(),
        own: member.principal == actor.principal,
        since: When::new(member.since, now),
        roles: if within { roles(actor, Some(member.role)) } else { Vec::new() },
        may_reset: false,
        name: member.name,
    }
}

fn invitation_row(invitation: Invitation, now: Timestamp) -> InvitationRow {
    InvitationRow {
        id: invitation.id.to_string(),
        email: invitation.email,
        role: invitation.role.as_str(),
        by: invitation.by_name.unwrap_or_else(|| "somebody who left".to_owned()),
        expires: When::new(invitation.expires_at, now),
        expired: invitation.expires_at <= now,
    }
}
