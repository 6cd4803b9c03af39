//! Adopting runs that somebody has left behind.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::Segments;
use super::runs::RunBody;
use crate::services::adoption;
use crate::web::context::Context;
use crate::web::extract::form::check_header_token;
use crate::web::extract::{Proved, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// Takes the place of a run's starter, who may not have it any more: it goes on, and so does what it has started.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/adopt", tag = "runs", operation_id = "adoptRun",
    params(("run" = String, Path, description = "The run's id")),
    responses(
        (status = 202, description = "The run as it is now", body = RunBody),
        (status = "default", description = "A problem; `conflict` where it does not wait to be adopted", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn run(
    auth: Proved<may::MembersManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let run = adoption::adopt(&state.app, auth.actor(), segments.run()?, Context::origin(&request)).await?;
    Ok(HttpResponse::Accepted().json(RunBody::from(&run)))
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Adopted)]
pub struct AdoptedBody {
    /// Runs that go on.
    pub adopted: usize,
}

/// Adopts every run that somebody has left behind.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/members/{principal}/adopt", tag = "people", operation_id = "adoptRuns",
    params(("org" = String, Path, description = "Id or short name"), ("principal" = String, Path, description = "Who started them")),
    responses(
        (status = 202, description = "How many", body = AdoptedBody),
        (status = "default", description = "A problem; `not_found` where none waits", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn of_member(
    auth: Proved<may::MembersManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let adopted = adoption::adopt_all(&state.app, auth.actor(), segments.principal()?, Context::origin(&request)).await?;
    Ok(HttpResponse::Accepted().json(AdoptedBody { adopted }))
}
