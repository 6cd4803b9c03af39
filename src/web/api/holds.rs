//! Holding runs and letting them go on.

use actix_web::{HttpRequest, HttpResponse, web};

use super::Segments;
use super::runs::RunBody;
use crate::services::holds;
use crate::web::context::Context;
use crate::web::extract::form::check_header_token;
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// Pauses a run: it is not executed until it is resumed. A call that is under way gets its result first.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/pause", tag = "runs", operation_id = "pauseRun",
    params(("run" = String, Path, description = "The run's id")),
    responses(
        (status = 202, description = "The run as it is now", body = RunBody),
        (status = "default", description = "A problem; `conflict` where it has ended", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn pause(
    auth: Authorized<may::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let run = holds::pause(&state.app, auth.actor(), segments.run()?, Context::origin(&request)).await?;
    Ok(HttpResponse::Accepted().json(RunBody::from(&run)))
}

/// Lets a paused run go on.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/resume", tag = "runs", operation_id = "resumeRun",
    params(("run" = String, Path, description = "The run's id")),
    responses(
        (status = 202, description = "The run as it is now", body = RunBody),
        (status = "default", description = "A problem; `conflict` where it has ended", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn resume(
    auth: Authorized<may::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let run = holds::resume(&state.app, auth.actor(), segments.run()?, Context::origin(&request)).await?;
    Ok(HttpResponse::Accepted().json(RunBody::from(&run)))
}
