//! Links with which a member chooses a new password.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::Segments;
use super::idempotency::shown_once;
use crate::services::resets;
use crate::web::context::Context;
use crate::web::extract::form::check_header_token;
use crate::web::extract::{Proved, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// A one-time link, shown once.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ResetLinkBody {
    /// For the member alone: whoever opens it chooses their password. Shown only when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Milliseconds since 1970 UTC.
    pub expires_at: i64,
}

/// Makes a one-time link with which a member chooses a new password. Their second factor stays. Only for members whose
/// organizations you all administer, with no role above yours; an API key reaches only roles below its holder's.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/members/{principal}/reset-link", tag = "people", operation_id = "createResetLink",
    params(
        ("org" = String, Path, description = "The organization's id or short name"),
        ("principal" = String, Path, description = "The member's id"),
    ),
    responses(
        (status = 201, description = "The link; it is shown once and holds for an hour", body = ResetLinkBody),
        (status = "default", description = "A problem; `forbidden` where you may not decide over the account", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    auth: Proved<may::MembersManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let principal = segments.text("principal").parse().map_err(|_| Problem::not_found())?;
    let made = resets::make(&state.app, auth.actor(), principal, Context::origin(&request)).await?;
    let body = |link| ResetLinkBody {
        link,
        expires_at: made.expires_at.as_ms(),
    };
    Ok(shown_once(StatusCode::CREATED, &body(Some(made.link.clone())), &body(None)))
}
