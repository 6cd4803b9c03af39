//! Dead letters: failed runs that nobody has dealt with.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Segments;
use super::runs::RunBody;
use crate::domain::id::RunId;
use crate::domain::run::Trigger;
use crate::services::dead_letters::{self, BULK_MAX, Bulk, Outcome};
use crate::web::context::Context;
use crate::web::extract::body::{Json, JsonOrNone};
use crate::web::extract::form::check_header_token;
use crate::web::extract::paging::{Page, Query, limit};
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// At most 500; 50 where it is not given.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    #[param(pattern = "^run_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    pub cursor: Option<String>,
}

/// Lists the failed runs that nobody has dealt with, the newest first.
#[utoipa::path(
    get, path = "/api/v1/dead-letters", tag = "dead letters", operation_id = "listDeadLetters",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of runs", body = Page<RunBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    auth: Authorized<may::RunsRead>,
    state: web::Data<State>,
    segments: Segments,
    query: Query<ListQuery>,
) -> Result<HttpResponse, Problem> {
    let actor = auth.actor();
    segments.workspace(actor)?;
    let before: Option<RunId> = match &query.0.cursor {
        Some(text) => Some(text.parse().map_err(|_| Problem::invalid("/cursor", "this is no cursor of ours"))?),
        None => None,
    };
    let limit = limit(query.0.limit)?;
    let found = dead_letters::list(&state.app, actor, before, limit + 1).await?;
    Ok(HttpResponse::Ok().json(Page::cut(found, limit, |run| run.id.to_string()).map(|run| RunBody::from(&run))))
}

/// Tries a failed run again: it replays up to the call that failed, makes that call anew, and goes on.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/retry", tag = "dead letters", operation_id = "retryRun",
    params(("run" = String, Path, description = "The run's id")),
    responses(
        (status = 202, description = "The run, queued again", body = RunBody),
        (status = "default", description = "A problem; `conflict` where the same would only happen again, or something was done after the failed call", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn retry(
    auth: Authorized<may::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let run = dead_letters::retry(&state.app, auth.actor(), segments.run()?, Context::origin(&request)).await?;
    Ok(HttpResponse::Accepted().json(RunBody::from(&run)))
}

/// Takes a failed run off the dead letters; it stays as it is.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/discard", tag = "dead letters", operation_id = "discardRun",
    params(("run" = String, Path, description = "The run's id")),
    responses(
        (status = 202, description = "The run as it is", body = RunBody),
        (status = "default", description = "A problem; `conflict` where it is not among them", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn discard(
    auth: Authorized<may::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let run = dead_letters::discard(&state.app, auth.actor(), segments.run()?, Context::origin(&request)).await?;
    Ok(HttpResponse::Accepted().json(RunBody::from(&run)))
}

#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StartOverBody {
    /// Start over although that does again what the run has written.
    pub repeat_writes: bool,
}

/// Starts a new run with the input of one that has ended.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/start-over", tag = "dead letters", operation_id = "startRunOver",
    params(("run" = String, Path, description = "The run's id")),
    request_body(content = StartOverBody, description = "May be left out"),
    responses(
        (status = 202, description = "The new run", body = RunBody),
        (status = "default", description = "A problem; `conflict` with each write that it would do again under `errors`, unless `repeat_writes`", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn start_over(
    auth: Authorized<may::RunsStart>,
    state: web::Data<State>,
    segments: Segments,
    body: JsonOrNone<StartOverBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (run, repeat) = (segments.run()?, body.0.repeat_writes);
    let started = dead_letters::start_over(&state.app, auth.actor(), run, repeat, Trigger::Api, Context::origin(&request)).await?;
    Ok(HttpResponse::Accepted().json(RunBody::from(&started)))
}

/// Which runs.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkBody {
    /// At most 100 ids.
    pub runs: Vec<String>,
}

/// What became of each run.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BulkAnswer {
    pub items: Vec<BulkItem>,
}

/// What became of one run.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BulkItem {
    pub run: String,
    /// The run's state now, where it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The problem's code, where it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Tries several failed runs again, each as by itself.
#[utoipa::path(
    post, path = "/api/v1/dead-letters/requeue", tag = "dead letters", operation_id = "requeueDeadLetters",
    request_body = BulkBody,
    responses(
        (status = 200, description = "What became of each", body = BulkAnswer),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn requeue(
    auth: Authorized<may::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<BulkBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    bulk(&auth, &state, &segments, Bulk::Requeue, &body.value, &request).await
}

/// Takes several failed runs off the list.
#[utoipa::path(
    post, path = "/api/v1/dead-letters/discard", tag = "dead letters", operation_id = "discardDeadLetters",
    request_body = BulkBody,
    responses(
        (status = 200, description = "What became of each", body = BulkAnswer),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn discard_all(
    auth: Authorized<may::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<BulkBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    bulk(&auth, &state, &segments, Bulk::Discard, &body.value, &request).await
}

async fn bulk(
    auth: &Authorized<may::RunsCancel>,
    state: &State,
    segments: &Segments,
    what: Bulk,
    body: &BulkBody,
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    segments.workspace(auth.actor())?;
    if body.runs.len() > BULK_MAX {
        return Err(Problem::invalid("/runs", format!("at most {BULK_MAX} runs at once")));
    }
    let mut ids = Vec::with_capacity(body.runs.len());
    for (i, text) in body.runs.iter().enumerate() {
        ids.push(
            text.parse()
                .map_err(|_| Problem::invalid(&format!("/runs/{i}"), "this is no run's id"))?,
        );
    }
    let outcomes = dead_letters::bulk(&state.app, auth.actor(), what, &ids, Context::origin(request)).await?;
    let items = outcomes.into_iter().map(BulkItem::from).collect();
    Ok(HttpResponse::Ok().json(BulkAnswer { items }))
}

impl From<Outcome> for BulkItem {
    fn from(outcome: Outcome) -> Self {
        let run = outcome.run.to_string();
        match outcome.result {
            Ok(done) => Self {
                run,
                state: Some(done.shown().to_string()),
                code: None,
                detail: None,
            },
            Err(error) => {
                let problem = Problem::from(error);
                Self {
                    run,
                    state: None,
                    code: Some(problem.code.to_string()),
                    detail: Some(problem.detail),
                }
            }
        }
    }
}
