//! Members of an organization: listing, another role, removing.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Segments;
use crate::domain::permission::{Access, Permission, PrincipalKind, Resource, Role, authorize};
use crate::services::members::{self, Listed};
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::form::check_header_token;
use crate::web::extract::paging::{Page, Query, limit};
use crate::web::extract::{Authorized, Proved, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// A principal in an organization. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Member)]
pub struct MemberBody {
    pub id: String,
    /// `user` or `service`.
    pub kind: String,
    pub name: String,
    /// Of a person, for those who manage members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Of a service: what it is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// `owner`, `admin`, `builder`, `operator` or `viewer`.
    pub role: String,
    pub since: i64,
}

impl MemberBody {
    pub fn new(member: Listed, with_email: bool) -> Self {
        Self {
            id: member.principal.to_string(),
            kind: member.kind.to_string(),
            name: member.name,
            email: member.email.filter(|_| with_email),
            note: member.note,
            role: member.role.to_string(),
            since: member.since.as_ms(),
        }
    }
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// `user` or `service`; both where it is not given.
    #[serde(default)]
    #[param(pattern = "^(user|service)$")]
    pub kind: Option<String>,
    /// At most 500; 50 where it is not given.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    #[param(pattern = "^prn_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    pub cursor: Option<String>,
}

/// A role, by its code.
///
/// # Errors
/// `invalid`
pub fn role(text: &str) -> Result<Role, Problem> {
    Role::parse(text).ok_or_else(|| Problem::invalid("/role", "the roles are owner, admin, builder, operator and viewer"))
}

/// Lists the members, people and services.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/members", tag = "people", operation_id = "listMembers",
    params(("org" = String, Path, description = "Id or short name"), ListQuery),
    responses(
        (status = 200, description = "Members", body = Page<MemberBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(auth: Authorized<may::OrgRead>, state: web::Data<State>, query: Query<ListQuery>) -> Result<HttpResponse, Problem> {
    let limit = limit(query.0.limit)?;
    let kind = match query.0.kind.as_deref() {
        None => None,
        Some(text) => Some(PrincipalKind::parse(text).ok_or_else(|| Problem::invalid("/kind", "the kinds are user and service"))?),
    };
    let after = match query.0.cursor.as_deref() {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|_| Problem::invalid("/cursor", "this is no cursor of this list"))?,
        ),
    };
    let actor = auth.actor();
    let found = members::list(&state.app, actor, kind, after, limit + 1).await?;
    let with_email = authorize(actor, Permission::MembersManage, Resource { org: actor.org }) == Access::Allow;
    let page = Page::cut(found, limit, |member| member.principal.to_string());
    Ok(HttpResponse::Ok().json(page.map(|member| MemberBody::new(member, with_email))))
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MemberChange)]
pub struct ChangeBody {
    #[schema(pattern = "^(owner|admin|builder|operator|viewer)$")]
    pub role: String,
}

/// Gives a person another role, at once. Nobody gives more than they hold.
#[utoipa::path(
    patch, path = "/api/v1/orgs/{org}/members/{principal}", tag = "people", operation_id = "changeMember",
    params(("org" = String, Path, description = "Id or short name"), ("principal" = String, Path, description = "The member's id")),
    request_body = ChangeBody,
    responses(
        (status = 200, description = "The member as it is now", body = MemberBody),
        (status = "default", description = "A problem; `conflict` for the last owner", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    auth: Proved<may::MembersManage>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<ChangeBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (principal, role) = (segments.principal()?, role(&body.value.role)?);
    let changed = members::change_role(&state.app, auth.actor(), principal, role, Context::origin(&request)).await?;
    Ok(HttpResponse::Ok().json(MemberBody::new(changed, true)))
}

/// What went with a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = MemberRemoved)]
pub struct RemovedBody {
    /// Runs that wait to be adopted.
    pub runs_held: usize,
    pub keys_revoked: usize,
    pub invitations_revoked: usize,
}

impl From<members::Taken> for RemovedBody {
    fn from(taken: members::Taken) -> Self {
        Self {
            runs_held: taken.held.len(),
            keys_revoked: taken.keys,
            invitations_revoked: taken.invitations,
        }
    }
}

/// Removes a person, at once: their keys are revoked, their connections end, their runs wait to be adopted.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/members/{principal}", tag = "people", operation_id = "removeMember",
    params(("org" = String, Path, description = "Id or short name"), ("principal" = String, Path, description = "The member's id")),
    responses(
        (status = 200, description = "What went with the member", body = RemovedBody),
        (status = "default", description = "A problem; `conflict` for the last owner", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    auth: Proved<may::MembersManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let taken = members::remove(&state.app, auth.actor(), segments.principal()?, Context::origin(&request)).await?;
    Ok(HttpResponse::Ok().json(RemovedBody::from(taken)))
}
