//! A run as server-sent events: what is recorded, then what comes. `Last-Event-ID` goes on where a client left.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;
use serde::Deserialize;

use super::Segments;
use crate::domain::error::ErrorCode;
use crate::web::extract::paging::Query;
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::proof::Proof;
use crate::web::sse;
use crate::web::state::State;
use crate::web::watch::Watch;
use crate::web::ws::Seat;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// Only entries whose `seq` is higher.
    #[serde(default)]
    pub after: u64,
}

/// Streams a run: `event`, `status`, `run`, `delta` and `end`. Only `event` carries an id.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/stream", tag = "runs", operation_id = "streamRun",
    params(
        ("run" = String, Path, description = "The run's id"), StreamQuery,
        ("Last-Event-ID" = Option<u64>, Header, description = "As browsers send it; goes before `after`"),
    ),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = sse::EventBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn open(
    auth: Authorized<may::RunsRead>,
    state: web::Data<State>,
    segments: Segments,
    query: Query<StreamQuery>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let run = segments.run()?;
    let after = sse::last_event_id(&request)?.unwrap_or(query.0.after);
    let watch = Watch::open(state.app.clone(), Arc::clone(&auth.known.actor), run, after).await?;
    let seat = state.sockets.take(auth.actor().principal).ok_or_else(too_many)?;
    let viewer = Viewer {
        proof: Proof::of(&request, &state.app.auth, auth.actor().org),
        state,
        watch,
        _seat: seat,
    };
    let body = stream::unfold(viewer, |mut viewer| async move {
        let bytes = viewer.next().await?;
        Some((Ok::<_, actix_web::Error>(bytes), viewer))
    });
    Ok(HttpResponse::Ok()
        .content_type(sse::CONTENT_TYPE)
        // Proxies are not to collect it.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(body))
}

/// The refusal of one open connection too many.
pub fn too_many() -> Problem {
    Problem::new(
        ErrorCode::RateLimited,
        "You watch as many runs at once as one may. Close another first.",
    )
    .retry_after(Duration::from_secs(10))
}

struct Viewer {
    state: web::Data<State>,
    proof: Proof,
    watch: Watch,
    _seat: Seat,
}

impl Viewer {
    /// The next bytes; none where the stream ends, after which the client comes back with its last id.
    async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            biased;
            () = self.proof.ended() => None,
            () = self.state.app.supervisor.stopping().cancelled() => None,
            message = self.watch.next() => {
                let message = message.ok()??;
                Some(sse::event(message.name(), message.cursor(), &message))
            }
            () = tokio::time::sleep(sse::KEEP_ALIVE) => Some(sse::comment()),
        }
    }
}
