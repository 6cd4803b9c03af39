//! Conversations with runs: posting messages, what was said, and the runs that people talk with.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Segments;
use super::events::EventsQuery;
use super::runs::RunBody;
use crate::domain::id::RunId;
use crate::services::conversation::{self, Said, Speaker};
use crate::services::sessions;
use crate::web::extract::body::Json;
use crate::web::extract::paging::{Page, Query, limit};
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// One thing that was said in a run. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Message)]
pub struct MessageBody {
    /// Its entry in the run's journal.
    pub seq: u64,
    pub at: i64,
    /// `received`: posted to the run; `replied`: said by the run.
    pub direction: String,
    /// Of a message that was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The name of who posted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Where the run's parent asks: the parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
    pub segment: u32,
    pub text: String,
}

impl From<&Said> for MessageBody {
    fn from(said: &Said) -> Self {
        let (id, sender, asked_by) = match &said.speaker {
            Speaker::Person { id, name } => (Some(id), Some(name), None),
            Speaker::Parent { id, run, agent } => (Some(id), Some(agent), Some(run)),
            Speaker::Agent => (None, None, None),
        };
        Self {
            seq: said.seq,
            at: said.at.as_ms(),
            direction: if said.speaker == Speaker::Agent { "replied" } else { "received" }.to_owned(),
            id: id.cloned(),
            sender: sender.cloned(),
            asked_by: asked_by.cloned(),
            segment: said.segment,
            text: said.text.clone(),
        }
    }
}

/// A page of a conversation.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MessagesBody {
    pub items: Vec<MessageBody>,
    /// What to send as `after` for the next page; absent where there is no more for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Lists what was said in a run, both ways, in order.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/messages", tag = "sessions", operation_id = "listMessages",
    params(("run" = String, Path, description = "The run's id"), EventsQuery),
    responses(
        (status = 200, description = "A page of the conversation", body = MessagesBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    auth: Authorized<may::RunsRead>,
    state: web::Data<State>,
    segments: Segments,
    query: Query<EventsQuery>,
) -> Result<HttpResponse, Problem> {
    let limit = limit(query.0.limit)?;
    let stretch = conversation::after(&state.app, auth.actor(), segments.run()?, query.0.after, limit).await?;
    Ok(HttpResponse::Ok().json(MessagesBody {
        items: stretch.said.iter().map(MessageBody::from).collect(),
        next: stretch.more,
    }))
}

/// A message to a run.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostBody {
    /// At most 64 KiB.
    pub text: String,
}

/// A message that was kept.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PostedBody {
    pub id: String,
    /// Its entry in the run's journal.
    pub seq: u64,
}

/// Posts a message to a run. It wakes a session, answers a call that waits for a message, or waits in line.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/messages", tag = "sessions", operation_id = "postMessage",
    params(
        ("run" = String, Path, description = "The run's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "At most 255 characters. The same key with the same body answers as the first time, for 24 hours."),
    ),
    request_body = PostBody,
    responses(
        (status = 202, description = "Kept; the reply comes on the timeline", body = PostedBody),
        (status = "default", description = "A problem; `conflict` where the run has ended", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn post(
    auth: Authorized<may::RunsMessage>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<PostBody>,
) -> Result<HttpResponse, Problem> {
    let (actor, run) = (auth.actor(), segments.run()?);
    let text = body.value.text;
    let posted = sessions::post(&state.app, actor, run, text).await?;
    Ok(HttpResponse::Accepted().json(PostedBody {
        id: posted.id.to_string(),
        seq: posted.seq,
    }))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SessionsQuery {
    /// At most 500; 50 where it is not given.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    #[param(pattern = "^run_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    pub cursor: Option<String>,
}

/// Lists the runs that people talk with, the newest first.
#[utoipa::path(
    get, path = "/api/v1/sessions", tag = "sessions", operation_id = "listSessions",
    params(SessionsQuery),
    responses(
        (status = 200, description = "A page of runs", body = Page<RunBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn sessions(
    auth: Authorized<may::RunsRead>,
    state: web::Data<State>,
    segments: Segments,
    query: Query<SessionsQuery>,
) -> Result<HttpResponse, Problem> {
    let actor = auth.actor();
    segments.workspace(actor)?;
    let before: Option<RunId> = match &query.0.cursor {
        Some(text) => Some(text.parse().map_err(|_| Problem::invalid("/cursor", "this is no cursor of ours"))?),
        None => None,
    };
    let limit = limit(query.0.limit)?;
    let found = sessions::list(&state.app, actor, before, limit + 1).await?;
    Ok(HttpResponse::Ok().json(Page::cut(found, limit, |run| run.id.to_string()).map(|run| RunBody::from(&run))))
}
