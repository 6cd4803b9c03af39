//! Invitations to an organization.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Segments;
use super::idempotency::shown_once;
use super::members::role;
use crate::services::invitations::{self, Invitation, Invited};
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::form::check_header_token;
use crate::web::extract::paging::{Page, Query, limit};
use crate::web::extract::{Authorized, Proved, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// An invitation that nobody has accepted or revoked. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Invitation)]
pub struct InvitationBody {
    pub id: String,
    /// Only this address can accept.
    pub email: String,
    pub role: String,
    /// The principal who sent it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invited_by: Option<String>,
    pub created_at: i64,
    pub expires_at: i64,
    /// For the person: good once, and shown only when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

impl InvitationBody {
    fn new(invitation: &Invitation, link: Option<String>) -> Self {
        Self {
            id: invitation.id.to_string(),
            email: invitation.email.clone(),
            role: invitation.role.to_string(),
            invited_by: invitation.by.map(|by| by.to_string()),
            created_at: invitation.created_at.as_ms(),
            expires_at: invitation.expires_at.as_ms(),
            link,
        }
    }
}

fn answer(status: StatusCode, invited: Invited) -> HttpResponse {
    let without = InvitationBody::new(&invited.invitation, None);
    shown_once(status, &InvitationBody::new(&invited.invitation, Some(invited.link)), &without)
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// At most 500; 50 where it is not given.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Lists what nobody has accepted or revoked, expired ones too.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/invitations", tag = "people", operation_id = "listInvitations",
    params(("org" = String, Path, description = "Id or short name"), ListQuery),
    responses(
        (status = 200, description = "Invitations", body = Page<InvitationBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(auth: Authorized<may::MembersManage>, state: web::Data<State>, query: Query<ListQuery>) -> Result<HttpResponse, Problem> {
    let limit = limit(query.0.limit)?;
    let after = match query.0.cursor.as_deref() {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|_| Problem::invalid("/cursor", "this is no cursor of this list"))?,
        ),
    };
    let found = invitations::list(&state.app, auth.actor(), after, limit + 1).await?;
    let page = Page::cut(found, limit, |invitation| invitation.id.to_string());
    Ok(HttpResponse::Ok().json(page.map(|invitation| InvitationBody::new(&invitation, None))))
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewInvitation)]
pub struct NewInvitationBody {
    #[schema(format = "email")]
    pub email: String,
    /// Not above one's own.
    #[schema(pattern = "^(owner|admin|builder|operator|viewer)$")]
    pub role: String,
}

/// Invites a person. The link is in the answer, once, and mailed where the station sends mail.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/invitations", tag = "people", operation_id = "invite",
    params(("org" = String, Path, description = "Id or short name")),
    request_body = NewInvitationBody,
    responses(
        (status = 201, description = "The invitation with its link", body = InvitationBody),
        (status = "default", description = "A problem; `plan_limit` where the plan has no room", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    auth: Proved<may::MembersManage>,
    state: web::Data<State>,
    body: Json<NewInvitationBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let role = role(&body.value.role)?;
    let invited = invitations::invite(&state.app, auth.actor(), &body.value.email, role, Context::origin(&request)).await?;
    Ok(answer(StatusCode::CREATED, invited))
}

/// Makes a new link, which is good for another seven days; the link before is dead.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/invitations/{invitation}/resend", tag = "people", operation_id = "resendInvitation",
    params(("org" = String, Path, description = "Id or short name"), ("invitation" = String, Path, description = "The invitation's id")),
    responses(
        (status = 200, description = "The invitation with its new link", body = InvitationBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn resend(
    auth: Proved<may::MembersManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let invited = invitations::resend(&state.app, auth.actor(), segments.invitation()?, Context::origin(&request)).await?;
    Ok(answer(StatusCode::OK, invited))
}

/// Revokes an invitation: its link is dead.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/invitations/{invitation}", tag = "people", operation_id = "revokeInvitation",
    params(("org" = String, Path, description = "Id or short name"), ("invitation" = String, Path, description = "The invitation's id")),
    responses(
        (status = 204, description = "It is revoked"),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn revoke(
    auth: Proved<may::MembersManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    invitations::revoke(&state.app, auth.actor(), segments.invitation()?, Context::origin(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}
