//! What was used and spent in a time.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

use crate::domain::permission::Actor;
use crate::domain::time::Timestamp;
use crate::services::spending::{self, Asked, By};
use crate::store::spending::Sum;
use crate::web::extract::paging::Query;
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// What was used of one kind under one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Spent)]
pub struct SumBody {
    /// The day (`2026-11-21`), `provider/model`, or the id of the agent, principal, key or workspace; empty for no key.
    pub key: String,
    /// `model`, `http`, `tool`, `fuel`, `storage` or `session`.
    pub kind: String,
    pub calls: u64,
    /// Of these, those whose cost is a guess.
    pub estimated: u64,
    /// Micro-dollars, corrections included.
    pub cost_micros: i64,
    pub input_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    pub output_tokens: u64,
    /// Of what is no model: requests, calls, units of fuel, bytes, sessions.
    pub quantity: u64,
}

impl From<Sum> for SumBody {
    fn from(sum: Sum) -> Self {
        Self {
            key: sum.key,
            kind: sum.kind,
            calls: sum.calls,
            estimated: sum.estimated,
            cost_micros: sum.cost_micros,
            input_tokens: sum.usage.input_tokens,
            cache_read_tokens: sum.usage.cache_read_tokens,
            cache_write_tokens: sum.usage.cache_write_tokens,
            output_tokens: sum.usage.output_tokens,
            quantity: sum.quantity,
        }
    }
}

/// What was spent in a time, by kind and by what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Spending)]
pub struct SpendingBody {
    pub items: Vec<SumBody>,
    /// Of all items, in micro-dollars.
    pub cost_micros: i64,
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SpendingQuery {
    /// Milliseconds since 1970 UTC, cut to quarters of an hour; 30 days before `to` where it is not given.
    #[serde(default)]
    pub from: Option<i64>,
    /// Not included; now where it is not given.
    #[serde(default)]
    pub to: Option<i64>,
    /// `day`, `agent`, `model`, `principal`, `key` or `workspace`.
    #[serde(default)]
    pub by: Option<String>,
    /// By whose clock days begin; UTC where it is not given.
    #[serde(default)]
    pub time_zone: Option<String>,
}

const DAYS_DEFAULT: std::time::Duration = std::time::Duration::from_hours(30 * 24);

/// Answers what is asked; by day where nothing is said.
pub(super) async fn sums(state: &State, actor: &Actor, query: SpendingQuery, only_workspace: bool) -> Result<SpendingBody, Problem> {
    let by = query.by.as_deref().unwrap_or("day");
    let by = By::parse(by).ok_or_else(|| Problem::invalid("/by", "by must be one of day, agent, model, principal, key, workspace"))?;
    let to = query.to.map_or_else(|| state.app.clock.now(), Timestamp::from_ms);
    let asked = Asked {
        from: query.from.map_or_else(|| to.minus(DAYS_DEFAULT), Timestamp::from_ms),
        to,
        by,
        time_zone: query.time_zone.unwrap_or_else(|| "UTC".to_owned()),
        only_workspace,
    };
    let items: Vec<SumBody> = spending::sums(&state.app, actor, asked)
        .await?
        .into_iter()
        .map(SumBody::from)
        .collect();
    Ok(SpendingBody {
        cost_micros: items.iter().fold(0, |sum, item| sum.saturating_add(item.cost_micros)),
        items,
    })
}

/// Shows what was used and spent in a workspace in a time.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/workspaces/{workspace}/usage", tag = "money", operation_id = "getWorkspaceUsage",
    params(("org" = String, Path, description = "Id or short name"), ("workspace" = String, Path, description = "Id or short name"), SpendingQuery),
    responses(
        (status = 200, description = "Sums by kind", body = SpendingBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn of_workspace(
    auth: Authorized<may::CostsRead>,
    state: web::Data<State>,
    query: Query<SpendingQuery>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(sums(&state, auth.actor(), query.0, true).await?))
}
