//! A run's journal: entries in order, and one entry with its whole request and response.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::{Segments, immutable};
use crate::domain::journal::EntryView;
use crate::services::runs;
use crate::web::extract::paging::{Query, limit};
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// A page of entries.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EventsBody {
    #[schema(value_type = Vec<EntryBody>)]
    pub items: Vec<EntryView>,
    /// What to send as `after` for the next page; absent where there is no more for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// One entry of a run's journal.
///
/// Describes [`EntryView`], which the domain owns; a test compares their fields.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = Entry)]
#[expect(dead_code, reason = "describes `EntryView` for OpenAPI")]
pub struct EntryBody {
    /// Ascending, not contiguous: some entries are for others.
    seq: u64,
    /// Milliseconds since 1970 UTC.
    at: i64,
    /// `station` or `guest`.
    lane: String,
    attempt: u32,
    segment: u32,
    /// Ordinal of the guest's call in its segment.
    call: Option<u32>,
    /// Ordinal within calls made at once.
    sub: Option<u32>,
    /// `start`, `end` or `point`.
    phase: String,
    kind: String,
    /// `pure`, `local`, `read`, `paid-read`, `write-idempotent` or `write-once`.
    class: Option<String>,
    /// Fuel that the segment had used.
    fuel: Option<u64>,
    /// The innermost open step, by the ordinal of the call that opened it.
    step: Option<u32>,
    actor: Option<String>,
    audience: u32,
    /// A short summary.
    #[schema(value_type = Object)]
    meta: (),
    /// The request where it is small, or where one entry is asked for.
    #[schema(value_type = Option<Value>)]
    request: Option<()>,
    /// The response, likewise.
    #[schema(value_type = Option<Value>)]
    response: Option<()>,
    request_bytes: u64,
    response_bytes: u64,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Only entries whose `seq` is higher.
    #[serde(default)]
    pub after: u64,
    /// At most 500; 50 where it is not given.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// Lists entries in order.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/events", tag = "runs", operation_id = "listEvents",
    params(("run" = String, Path, description = "The run's id"), EventsQuery),
    responses(
        (status = 200, description = "A page of entries", body = EventsBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    auth: Authorized<may::RunsRead>,
    state: web::Data<State>,
    segments: Segments,
    query: Query<EventsQuery>,
) -> Result<HttpResponse, Problem> {
    let run = segments.run()?;
    let limit = limit(query.0.limit)?;
    runs::get(&state.app, auth.actor(), run).await?;
    let items = runs::events(&state.app, auth.actor(), run, query.0.after, limit).await?;
    let next = items.last().filter(|_| items.len() >= limit as usize).map(|entry| entry.seq);
    Ok(HttpResponse::Ok().json(EventsBody { items, next }))
}

/// Shows one entry with its whole request and response.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/events/{seq}", tag = "runs", operation_id = "getEvent",
    params(("run" = String, Path, description = "The run's id"), ("seq" = u64, Path, description = "The entry's number")),
    responses(
        (status = 200, description = "The entry, with an ETag", body = EntryBody),
        (status = 304, description = "You have it"),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(
    auth: Authorized<may::RunsRead>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let run = segments.run()?;
    let seq = segments.text("seq").parse().map_err(|_| Problem::not_found())?;
    let entry = runs::event(&state.app, auth.actor(), run, seq).await?;
    Ok(immutable(&request, format!("{run}-{seq}"), &entry))
}
