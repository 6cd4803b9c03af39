//! The hosts that a run contacted.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::Segments;
use crate::domain::contact::RunHost;
use crate::services::runs;
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// A host that a run contacted, redirects included. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RunHost)]
pub struct RunHostBody {
    /// With its port where that is not the usual one; `other hosts` for those beyond the first 500.
    pub host: String,
    pub requests: u64,
    /// Of these, those that can change something there.
    pub writes: u64,
    /// Bytes of addresses, headers and bodies.
    pub sent_bytes: u64,
    /// Bytes of headers and bodies, as they came over the line.
    pub received_bytes: u64,
    pub first_at: i64,
    pub last_at: i64,
}

impl From<&RunHost> for RunHostBody {
    fn from(host: &RunHost) -> Self {
        Self {
            host: host.host.clone(),
            requests: host.requests,
            writes: host.writes,
            sent_bytes: host.sent_bytes,
            received_bytes: host.received_bytes,
            first_at: host.first_at.as_ms(),
            last_at: host.last_at.as_ms(),
        }
    }
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RunHostsBody {
    pub items: Vec<RunHostBody>,
}

/// Lists the hosts that a run contacted, by name.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/hosts", tag = "runs", operation_id = "listRunHosts",
    params(("run" = String, Path, description = "The run's id")),
    responses(
        (status = 200, description = "All of them", body = RunHostsBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(auth: Authorized<may::RunsRead>, state: web::Data<State>, segments: Segments) -> Result<HttpResponse, Problem> {
    let hosts = runs::hosts(&state.app, auth.actor(), segments.run()?).await?;
    Ok(HttpResponse::Ok().json(RunHostsBody {
        items: hosts.iter().map(RunHostBody::from).collect(),
    }))
}
