//! Approvals: what waits for a person's decision, and deciding it.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Segments;
use super::runs::Raw;
use crate::domain::id::{ApprovalId, RunId};
use crate::domain::permission::Actor;
use crate::domain::time::Timestamp;
use crate::domain::wait::{ApprovalState, Verb};
use crate::services::approvals::{self, Decide};
use crate::store::approvals::{Approval, Vote};
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::paging::{Page, Query, limit};
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// A decision, asked for or made. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = Approval)]
pub struct ApprovalBody {
    pub id: String,
    /// The run that waits for it.
    pub run: String,
    /// The agent's name.
    pub agent: String,
    /// The entry of the run's journal that asks.
    pub seq: u64,
    /// `action`: leave for one exact call; `question`; `unknown_outcome`: nobody knows whether a write happened.
    pub kind: String,
    /// A function such as `http.send`, or the agent's own words.
    pub action: String,
    #[schema(value_type = Value)]
    pub arguments: Option<Raw>,
    /// Markdown of the agent's, or the station's own words.
    pub reason: String,
    /// The policy's rule that asks; empty where the agent does.
    pub rule: String,
    /// The decisions that it takes.
    pub verbs: Vec<String>,
    /// How many people must give leave, for the very same arguments.
    pub quorum: u32,
    /// How many have.
    pub agreed: u32,
    /// The least role that may decide.
    pub min_role: String,
    /// Whether who started the run may decide.
    pub self_approval: bool,
    /// Why you may not decide it; absent where you may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub barred: Option<String>,
    /// What people have said, in order, where several must agree.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<DecisionBody>,
    /// When nobody may decide any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<i64>,
    /// What happens then: `cancel` ends the run, `deny` is as if a person had denied it.
    pub on_timeout: String,
    /// `pending`, `decided`, `expired` or `withdrawn`.
    pub state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionBody>,
    pub created_at: i64,
}

/// What a person decided.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = Decision)]
pub struct DecisionBody {
    /// `approve`, `edit`, `deny`, `happened`, `send_again` or `fail`.
    pub decision: String,
    /// As edited, or the answer of a write that happened.
    #[schema(value_type = Option<Value>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Raw>,
    pub reason: String,
    /// The principal who decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
}

impl ApprovalBody {
    /// As `actor` sees it.
    fn new(approval: &Approval, actor: &Actor) -> Self {
        let decision = approval.verb.map(|verb| DecisionBody {
            decision: verb.to_string(),
            arguments: approval.decided_arguments.clone().and_then(Raw::of),
            reason: approval.decided_reason.clone().unwrap_or_default(),
            by: approval.decided_by.map(|by| by.to_string()),
            by_name: approval.decided_by_name.clone(),
            at: approval.decided_at.map(Timestamp::as_ms),
        });
        Self {
            id: approval.id.to_string(),
            run: approval.run.to_string(),
            agent: approval.agent_name.clone(),
            seq: approval.seq,
            kind: approval.kind.to_string(),
            action: approval.action.clone(),
            arguments: Raw::of(approval.arguments.clone()),
            reason: approval.reason.clone(),
            rule: approval.rule.clone(),
            verbs: approval.verbs.iter().map(ToString::to_string).collect(),
            quorum: approval.approvers.count,
            agreed: match approval.state {
                ApprovalState::Pending => u32::try_from(approvals::agreed(approval)).unwrap_or(u32::MAX),
                _ if approval.votes.is_empty() => u32::from(approval.verb.is_some_and(|verb| verb != Verb::Deny)),
                _ => u32::try_from(approvals::agreed(approval)).unwrap_or(u32::MAX),
            },
            min_role: approval.approvers.min_role.to_string(),
            self_approval: approval.approvers.self_approval,
            barred: approvals::bar(approval, actor),
            votes: approval.votes.iter().map(DecisionBody::from).collect(),
            due_at: approval.due_at.map(Timestamp::as_ms),
            on_timeout: approval.on_timeout.to_string(),
            state: approval.state.to_string(),
            decision,
            created_at: approval.created_at.as_ms(),
        }
    }
}

impl From<&Vote> for DecisionBody {
    fn from(vote: &Vote) -> Self {
        Self {
            decision: vote.said.verb.to_string(),
            arguments: vote.said.arguments.clone().and_then(Raw::of),
            reason: vote.said.reason.clone(),
            by: Some(vote.by.to_string()),
            by_name: Some(vote.name.clone()),
            at: Some(vote.at.as_ms()),
        }
    }
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// `pending` (where it is not given), `decided`, `expired` or `withdrawn`.
    #[serde(default)]
    #[param(pattern = "^(pending|decided|expired|withdrawn)$")]
    pub state: Option<String>,
    /// At most 500; 50 where it is not given.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    #[param(pattern = "^apr_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    pub cursor: Option<String>,
}

/// Lists approvals: pending ones the oldest first, others the newest first.
#[utoipa::path(
    get, path = "/api/v1/approvals", tag = "approvals", operation_id = "listApprovals",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of approvals", body = Page<ApprovalBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    auth: Authorized<may::ApprovalsRead>,
    state: web::Data<State>,
    segments: Segments,
    query: Query<ListQuery>,
) -> Result<HttpResponse, Problem> {
    let actor = auth.actor();
    segments.workspace(actor)?;
    let query = query.0;
    let wanted = match &query.state {
        Some(text) => ApprovalState::parse(text).ok_or_else(|| Problem::invalid("/state", "there is no such state"))?,
        None => ApprovalState::Pending,
    };
    let cursor: Option<ApprovalId> = match &query.cursor {
        Some(text) => Some(text.parse().map_err(|_| Problem::invalid("/cursor", "this is no cursor of ours"))?),
        None => None,
    };
    let limit = limit(query.limit)?;
    let found = match wanted {
        ApprovalState::Pending => approvals::queue(&state.app, actor, cursor, limit + 1).await?,
        wanted => approvals::list(&state.app, actor, wanted, cursor, limit + 1).await?,
    };
    let page = Page::cut(found, limit, |approval| approval.id.to_string());
    Ok(HttpResponse::Ok().json(page.map(|approval| ApprovalBody::new(&approval, actor))))
}

/// Shows an approval.
#[utoipa::path(
    get, path = "/api/v1/approvals/{approval}", tag = "approvals", operation_id = "getApproval",
    params(("approval" = String, Path, description = "The approval's id")),
    responses(
        (status = 200, description = "The approval", body = ApprovalBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(auth: Authorized<may::ApprovalsRead>, state: web::Data<State>, segments: Segments) -> Result<HttpResponse, Problem> {
    let approval = approvals::get(&state.app, auth.actor(), segments.approval()?).await?;
    Ok(HttpResponse::Ok().json(ApprovalBody::new(&approval, auth.actor())))
}

/// What is decided.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideBody {
    /// One of the approval's `verbs`.
    #[schema(example = "approve")]
    pub decision: String,
    /// Why; the agent reads it.
    #[serde(default)]
    pub reason: String,
    /// With `edit`: the arguments to use instead. With `happened`: what the other side answered, `{status, headers, body, url}`.
    #[schema(value_type = Option<Value>)]
    #[serde(default)]
    pub arguments: Option<serde_json::Value>,
}

/// Decides an approval, or says what one thinks where several must agree. The first decision holds.
#[utoipa::path(
    post, path = "/api/v1/approvals/{approval}/decision", tag = "approvals", operation_id = "decideApproval",
    params(
        ("approval" = String, Path, description = "The approval's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "At most 255 characters. The same key with the same body answers as the first time, for 24 hours."),
    ),
    request_body = DecideBody,
    responses(
        (status = 200, description = "The approval, decided, or `pending` still where more people must agree", body = ApprovalBody),
        (status = "default", description = "A problem; `conflict`, with who decided, where somebody was first", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn decide(
    auth: Authorized<may::ApprovalsDecide>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<DecideBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (actor, id) = (auth.actor(), segments.approval()?);
    let Some(verb) = Verb::parse(&body.value.decision) else {
        let known: Vec<_> = Verb::ALL.iter().map(|verb| verb.as_str()).collect();
        return Err(Problem::invalid("/decision", format!("it must be one of {}", known.join(", "))));
    };
    let decide = Decide {
        verb,
        arguments: body.value.arguments,
        reason: body.value.reason,
    };
    let decided = approvals::decide(&state.app, actor, id, decide, Context::origin(&request)).await?;
    Ok(HttpResponse::Ok().json(ApprovalBody::new(&decided, actor)))
}

/// What a run has asked people for.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RunApprovalsBody {
    pub items: Vec<ApprovalBody>,
}

/// Lists what a run has asked people for, in order.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/approvals", tag = "approvals", operation_id = "listRunApprovals",
    params(("run" = String, Path, description = "The run's id")),
    responses(
        (status = 200, description = "At most 500 approvals", body = RunApprovalsBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn of_run(auth: Authorized<may::ApprovalsRead>, state: web::Data<State>, segments: Segments) -> Result<HttpResponse, Problem> {
    let run: RunId = segments.run()?;
    let found = approvals::of_run(&state.app, auth.actor(), run).await?;
    Ok(HttpResponse::Ok().json(RunApprovalsBody {
        items: found.iter().map(|approval| ApprovalBody::new(approval, auth.actor())).collect(),
    }))
}
