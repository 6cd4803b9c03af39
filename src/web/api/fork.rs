//! Forking a run from one of its entries.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Segments;
use super::runs::RunBody;
use crate::services::fork::{self, Fork};
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// Where to fork.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkBody {
    /// The number of the last entry that holds in the fork: something that the agent did, or the beginning of a segment.
    #[schema(example = 12)]
    pub seq: u64,
    /// What that entry's call answered instead, in the shape of the entry's `response`.
    #[schema(value_type = Option<Object>)]
    #[serde(default)]
    pub response: Option<Box<RawValue>>,
    /// Whether the fork may write to the outside without asking a person first; needs `approvals:decide`.
    #[serde(default)]
    pub allow_writes: bool,
}

/// Forks a run from an entry: the new run repeats this one up to there, from the journal, and is live after it.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/fork", tag = "runs", operation_id = "forkRun",
    params(
        ("run" = String, Path, description = "The run's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "At most 255 characters. The same key with the same body answers as the first time, for 24 hours."),
    ),
    request_body = ForkBody,
    responses(
        (status = 202, description = "The fork, queued", body = RunBody),
        (status = "default", description = "A problem; `conflict` with the reason where there can be no fork from this entry", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn fork(
    auth: Authorized<may::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<ForkBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let actor = auth.actor();
    let value = body.value;
    let fork = Fork {
        run: segments.run()?,
        seq: value.seq,
        response: value.response.map(|response| response.get().to_owned()),
        allow_writes: value.allow_writes,
    };
    let run = fork::fork(&state.app, actor, fork, Context::origin(&request)).await?;
    Ok(HttpResponse::Accepted().json(RunBody::from(&run)))
}
