//! The runs that a run has started.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::Segments;
use crate::domain::time::Timestamp;
use crate::services::waiting;
use crate::store::runs::Child;
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// A run that another started. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Child)]
pub struct ChildBody {
    pub id: String,
    /// The agent's name.
    pub agent: String,
    pub state: String,
    /// The parent's call that started it: segment, ordinal, and ordinal within calls made at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<u32>,
    pub created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<i64>,
}

impl From<&Child> for ChildBody {
    fn from(child: &Child) -> Self {
        Self {
            id: child.id.to_string(),
            agent: child.agent_name.clone(),
            state: child.state.to_string(),
            segment: child.segment,
            call: child.call,
            sub: child.sub,
            created_at: child.created_at.as_ms(),
            finished_at: child.finished_at.map(Timestamp::as_ms),
        }
    }
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ChildrenBody {
    pub items: Vec<ChildBody>,
}

/// Lists the runs that a run has started, in order.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/children", tag = "runs", operation_id = "listChildren",
    params(("run" = String, Path, description = "The run's id")),
    responses(
        (status = 200, description = "All of them", body = ChildrenBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(auth: Authorized<may::RunsRead>, state: web::Data<State>, segments: Segments) -> Result<HttpResponse, Problem> {
    let found = waiting::children(&state.app, auth.actor(), segments.run()?).await?;
    Ok(HttpResponse::Ok().json(ChildrenBody {
        items: found.iter().map(ChildBody::from).collect(),
    }))
}
