//! Runs: start, list, look at, cancel.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::idempotency;
use super::{Segments, immutable};
use crate::domain::id::RunId;
use crate::domain::retry::RetryChange;
use crate::domain::run::{Shown, Trigger};
use crate::domain::time::Timestamp;
use crate::services::agents::AgentRef;
use crate::services::runs::{self, StartKey, StartRun, Started, Whole};
use crate::services::waiting::{self, WaitingFor, What};
use crate::store::runs::{Filter, Run};
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::form::check_header_token;
use crate::web::extract::paging::{Page, Query, limit};
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// The longest `?wait=`, in seconds.
const WAIT_MAX: u64 = 60;

/// A run, as every answer shows it. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct RunBody {
    #[schema(example = "run_01kaj5q3y0e8wavk8q3n4x5y6z")]
    pub id: String,
    /// The agent's name.
    pub agent: String,
    pub agent_id: String,
    pub version: String,
    pub version_id: String,
    /// `queued`, `running`, `waiting`, `paused`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// Why it is paused: `pause`, `budget`, `principal_removed`, `review`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<String>,
    /// From -10 to 10; the higher goes first in its organization's queue.
    pub priority: i32,
    /// How often its current segment was tried again by itself.
    pub tries: u32,
    /// When it goes on by itself: its next segment, or its next try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<i64>,
    /// Failed, and nobody has dealt with it: it is listed under dead letters.
    pub dead: bool,
    /// Why it failed or was cancelled, one of a closed list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What went wrong: `code`, `message`, and for scripts `file`, `line`, `column`, `stack`.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<serde_json::Value>,
    /// `manual`, `api`, `cli`, `demo`, `parent` or `fork`.
    pub trigger: String,
    pub environment: String,
    /// The principal who started it.
    pub started_by: String,
    /// Whether people talk with it.
    pub session: bool,
    /// The run that started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// How many runs stand above it.
    pub depth: u32,
    /// The run that it was forked from, and the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forked_seq: Option<u64>,
    /// Of a fork: whether its writes ask a person first.
    pub ask_writes: bool,
    /// Only where one run is asked for that waits: the first of these that happens wakes it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<WaitingBody>,
    pub usage: UsageBody,
    /// The most that it and the runs below it may cost, in micro-dollars; absent where nobody said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_micros: Option<u64>,
    /// From its first start to its end, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Entries of its journal so far.
    pub entries: u64,
    pub created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<i64>,
    /// Only where one run is asked for.
    #[schema(value_type = Option<Value>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Raw>,
    /// Only where one run is asked for that succeeded.
    #[schema(value_type = Option<Value>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Raw>,
}

/// Something that a run waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Waiting)]
pub struct WaitingBody {
    /// `timer`, `approval`, `message`, `child` (its end), `ask` (its answer) or `retry`.
    pub kind: String,
    /// When it goes on without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// The child.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

impl From<&WaitingFor> for WaitingBody {
    fn from(waiting: &WaitingFor) -> Self {
        let (approval, run) = match &waiting.what {
            What::Approval(id) => (Some(id.clone()), None),
            What::Child(run) | What::Ask(run) => (None, Some(run.clone())),
            What::Timer | What::Message | What::Retry => (None, None),
        };
        Self {
            kind: waiting.what.name().to_owned(),
            until: waiting.until.map(Timestamp::as_ms),
            approval,
            run,
        }
    }
}

/// What a run used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct UsageBody {
    /// Of all kinds.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Micro-dollars.
    pub cost_micros: u64,
    /// With the runs below it, in micro-dollars: what its budget is compared with.
    pub tree_cost_micros: u64,
    /// Of calls that are under way, in micro-dollars.
    pub tree_reserved_micros: u64,
    pub fuel: u64,
}

/// JSON as it was stored.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Raw(Box<RawValue>);

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Raw {
    pub(super) fn of(text: String) -> Option<Self> {
        RawValue::from_string(text).ok().map(Self)
    }
}

impl From<&Run> for RunBody {
    fn from(run: &Run) -> Self {
        let ms = |at: Option<Timestamp>| at.map(Timestamp::as_ms);
        Self {
            id: run.id.to_string(),
            agent: run.agent_name.clone(),
            agent_id: run.agent_id.to_string(),
            version: run.agent_version.clone(),
            version_id: run.version_id.to_string(),
            state: run.shown().to_string(),
            holds: run.holds.iter().map(|hold| hold.to_string()).collect(),
            priority: run.priority,
            tries: run.tries,
            wake_at: ms(run.wake_at).filter(|_| !run.state.is_terminal()),
            dead: run.dead,
            reason: run.reason.map(|reason| reason.to_string()),
            error: run.error.as_deref().and_then(|error| serde_json::from_str(error).ok()),
            trigger: run.trigger.to_string(),
            environment: run.environment.as_str().to_owned(),
            started_by: run.started_by.to_string(),
            session: run.session,
            parent: run.parent.map(|parent| parent.to_string()),
            depth: run.depth,
            forked_from: run.forked_from.map(|from| from.to_string()),
            forked_seq: run.forked_seq,
            ask_writes: run.ask_writes,
            waiting_for: Vec::new(),
            usage: UsageBody {
                input_tokens: run.input_tokens,
                output_tokens: run.output_tokens,
                cost_micros: run.cost_micros,
                tree_cost_micros: run.tree_spent_micros,
                tree_reserved_micros: run.tree_reserved_micros,
                fuel: run.fuel,
            },
            budget_micros: run.budget_micros,
            duration_ms: run
                .started_at
                .zip(run.finished_at)
                .and_then(|(from, to)| u64::try_from(to.since(from).as_millis()).ok()),
            entries: run.last_seq,
            created_at: run.created_at.as_ms(),
            started_at: ms(run.started_at),
            finished_at: ms(run.finished_at),
            input: None,
            output: None,
        }
    }
}

/// [`RetryChange`] as it is described.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the field; `RetryChange` reads it")]
pub struct RetryBody {
    /// Tries in all, the first included.
    #[schema(minimum = 1, maximum = 100)]
    attempts: Option<u32>,
    /// The longest first delay; each next may be twice as long.
    base_ms: Option<u64>,
    /// The longest delay.
    cap_ms: Option<u64>,
    /// Of `unavailable`, `rate_limited`, `timeout`, `provider_error`.
    on: Option<Vec<String>>,
}

/// What to run.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartBody {
    /// The agent's name or id.
    #[schema(example = "release-notes")]
    pub agent: String,
    /// The newest where none is named.
    #[schema(example = "1.2.0")]
    #[serde(default)]
    pub version: Option<String>,
    /// Any JSON that fits the agent's input schema; `{}` where there is none.
    #[schema(value_type = Option<Value>)]
    #[serde(default)]
    pub input: Option<Box<RawValue>>,
    /// A first message, for agents that one talks with: it waits for the run as if it had been posted. Needs `runs:message`.
    #[serde(default)]
    pub message: Option<String>,
    /// From -10 to 10; the higher goes first in your organization's queue.
    #[schema(minimum = -10, maximum = 10)]
    #[serde(default)]
    pub priority: i32,
    /// How it is tried again by itself when something outside fails, in place of what the agent and the station say: `attempts`, `base_ms`,
    /// `cap_ms`, `on` (of `unavailable`, `rate_limited`, `timeout`, `provider_error`).
    #[schema(value_type = Option<RetryBody>)]
    #[serde(default)]
    pub retry: Option<RetryChange>,
    /// The most that it and the runs below it may cost, in micro-dollars; what the agent's manifest says holds where it is less.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    #[serde(default)]
    pub budget_micros: Option<u64>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StartQuery {
    /// Seconds to wait for the run's end, at most 60. The answer is then the run as it is.
    #[serde(default)]
    pub wait: Option<u64>,
}

/// Starts a run.
#[utoipa::path(
    post, path = "/api/v1/runs", tag = "runs", operation_id = "startRun",
    params(StartQuery, ("Idempotency-Key" = Option<String>, Header, description = "At most 255 characters. The same key with the same body answers as the first time, for 24 hours.")),
    request_body = StartBody,
    responses(
        (status = 202, description = "Queued, or with `wait` not yet ended", body = RunBody),
        (status = 200, description = "With `wait`: ended", body = RunBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn start(
    auth: Authorized<may::RunsStart>,
    state: web::Data<State>,
    segments: Segments,
    query: Query<StartQuery>,
    body: Json<StartBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let actor = auth.actor();
    segments.workspace(actor)?;
    let wait = match query.0.wait {
        Some(seconds) if seconds > WAIT_MAX => {
            return Err(Problem::invalid("/wait", format!("wait must be at most {WAIT_MAX} seconds")));
        }
        wait => Duration::from_secs(wait.unwrap_or(0)),
    };
    let start = body.value.into_start()?;
    // Kept with the run in one transaction: a crash leaves neither a key without a run nor a run without its key.
    let key = idempotency::key(&request)?.map(|key| StartKey {
        route: idempotency::route("runs.start", actor),
        key,
        request_hash: idempotency::request_hash(&request, &body.raw),
        answer: |run| {
            let body = serde_json::to_vec(&RunBody::from(run)).unwrap_or_default();
            (StatusCode::ACCEPTED.as_u16(), body)
        },
    });
    let names = key.as_ref().map(|key| (key.route.clone(), key.key.clone()));
    let (whole, kept) = match runs::start_once(&state.app, actor, start, key, wait).await? {
        Started::Now { whole, kept } => (*whole, kept),
        Started::Before(begun) => return idempotency::again(&state, begun),
    };
    let ended = whole.run.state.is_terminal();
    let body = if ended { RunBody::from(whole) } else { RunBody::from(&whole.run) };
    // Who does not wait is told that the run is queued, however soon it ended.
    if !ended || wait.is_zero() {
        return Ok(match kept {
            Some(kept) => HttpResponse::Accepted().content_type("application/json").body(kept),
            None => HttpResponse::Accepted().json(body),
        });
    }
    if let Some((route, key)) = names {
        idempotency::keep(&state, actor, route, key, StatusCode::OK, &body).await;
    }
    Ok(HttpResponse::Ok().json(body))
}

impl StartBody {
    fn into_start(self) -> Result<StartRun, Problem> {
        let version = self
            .version
            .map(|version| version.parse())
            .transpose()
            .map_err(|_| Problem::invalid("/version", "version must look like 1.2.3"))?;
        Ok(StartRun {
            agent: AgentRef::parse(&self.agent),
            version,
            input: self.input.map_or_else(|| "{}".to_owned(), |input| input.get().to_owned()),
            trigger: Trigger::Api,
            message: self.message,
            priority: self.priority,
            retry: self.retry.unwrap_or_default(),
            budget_micros: self.budget_micros,
        })
    }
}

impl From<Whole> for RunBody {
    fn from(whole: Whole) -> Self {
        Self {
            input: Raw::of(whole.input),
            output: whole.output.and_then(Raw::of),
            ..Self::from(&whole.run)
        }
    }
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Only runs in this state.
    #[serde(default)]
    #[param(pattern = "^(queued|running|waiting|paused|succeeded|failed|cancelled)$")]
    pub state: Option<String>,
    /// Only runs of this agent, by name or id.
    #[serde(default)]
    pub agent: Option<String>,
    /// Only runs made at or after this time, in milliseconds since 1970 UTC.
    #[serde(default)]
    pub since: Option<i64>,
    /// At most 500; 50 where it is not given.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    #[param(pattern = "^run_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    pub cursor: Option<String>,
}

/// Lists runs, the newest first.
#[utoipa::path(
    get, path = "/api/v1/runs", tag = "runs", operation_id = "listRuns",
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
    let query = query.0;
    let run_state = match &query.state {
        Some(text) => Some(Shown::parse(text).ok_or_else(|| Problem::invalid("/state", "there is no such state"))?),
        None => None,
    };
    let before: Option<RunId> = match &query.cursor {
        Some(text) => Some(text.parse().map_err(|_| Problem::invalid("/cursor", "this is no cursor of ours"))?),
        None => None,
    };
    let limit = limit(query.limit)?;
    let agent = match &query.agent {
        Some(text) => match crate::services::agents::find(&state.app, actor, &AgentRef::parse(text)).await {
            Ok(agent) => Some(agent.id),
            Err(crate::services::Error::NotFound(_)) => {
                return Ok(HttpResponse::Ok().json(Page::<RunBody> { items: vec![], next: None }));
            }
            Err(error) => return Err(error.into()),
        },
        None => None,
    };
    let filter = Filter {
        state: run_state,
        agent,
        since: query.since.map(Timestamp::from_ms),
        ..Filter::default()
    };
    let found = runs::list(&state.app, actor, filter, before, limit + 1).await?;
    Ok(HttpResponse::Ok().json(Page::cut(found, limit, |run| run.id.to_string()).map(|run| RunBody::from(&run))))
}

/// Shows a run with its input and output.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}", tag = "runs", operation_id = "getRun",
    params(("run" = String, Path, description = "The run's id")),
    responses(
        (status = 200, description = "The run; a finished one has an ETag", body = RunBody),
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
    let whole = runs::whole(&state.app, auth.actor(), segments.run()?).await?;
    let (ended, tag) = (whole.run.state.is_terminal(), format!("{}-{}", whole.run.id, whole.run.last_seq));
    let waiting_for = waiting::of_run(&state.app, auth.actor(), &whole.run).await?;
    let body = RunBody {
        waiting_for: waiting_for.iter().map(WaitingBody::from).collect(),
        ..RunBody::from(whole)
    };
    if ended {
        return Ok(immutable(&request, tag, &body));
    }
    Ok(HttpResponse::Ok().json(body))
}

/// Cancels a run: at once where it is queued or waiting, at its next call where it runs.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/cancel", tag = "runs", operation_id = "cancelRun",
    params(("run" = String, Path, description = "The run's id")),
    responses(
        (status = 202, description = "The run as it is now", body = RunBody),
        (status = "default", description = "A problem; `conflict` where it has ended", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn cancel(
    auth: Authorized<may::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let run = runs::cancel(&state.app, auth.actor(), segments.run()?, Context::origin(&request)).await?;
    Ok(HttpResponse::Accepted().json(RunBody::from(&run)))
}
