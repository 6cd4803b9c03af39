//! Budgets: how each stands, making, changing, raising and removing them, and the runs that wait for their money.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Segments;
use super::if_match::{expected, tag};
use crate::domain::budget::{BudgetScope, OnExhausted, Period};
use crate::domain::time::Timestamp;
use crate::services::budgets::{self, Change, NewBudget, Shown};
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::form::check_header_token;
use crate::web::extract::paging::{Page, Query, limit};
use crate::web::extract::{Authorized, Proved, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// A budget and how it stands in the time for which its limit holds now. Money is micro-dollars.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Budget)]
pub struct BudgetBody {
    pub id: String,
    pub name: String,
    /// `org`, `workspace`, `agent`, `principal` (whoever starts runs) or `key`.
    pub scope: String,
    /// The id of what it covers; empty for the organization.
    pub target: String,
    /// What that is called; empty where it is gone.
    pub target_name: String,
    pub limit_micros: u64,
    /// `day`, `week` (from Monday), `month` or `once`.
    pub period: String,
    /// By whose clock it begins anew.
    pub time_zone: String,
    /// `hold`: runs wait until there is money again; `fail`: their calls fail with `budget_exhausted`.
    pub on_exhausted: String,
    /// So much more until `raise_until`.
    pub raise_micros: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raise_until: Option<i64>,
    pub version: u32,
    /// Milliseconds since 1970 UTC.
    pub window_starts: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_ends: Option<i64>,
    /// With what it is raised by now.
    pub limit_now_micros: u64,
    pub spent_micros: u64,
    /// For calls that are under way.
    pub reserved_micros: u64,
    pub left_micros: u64,
    /// Of the limit, what is spent, rounded down.
    pub percent: u32,
    /// Runs that wait for this budget, counted no further than 1,000.
    pub held_runs: u32,
    pub created_at: i64,
    pub updated_at: i64,
}

impl From<Shown> for BudgetBody {
    fn from(shown: Shown) -> Self {
        let Shown {
            budget,
            target_name,
            window,
            standing,
            held,
        } = shown;
        Self {
            id: budget.id.to_string(),
            name: budget.name,
            scope: budget.scope.to_string(),
            target: budget.target,
            target_name,
            limit_micros: budget.limit_micros,
            period: budget.period.to_string(),
            time_zone: budget.time_zone,
            on_exhausted: budget.on_exhausted.to_string(),
            raise_micros: budget.raise_micros,
            raise_until: budget.raise_until.map(Timestamp::as_ms),
            version: budget.version,
            window_starts: window.starts.as_ms(),
            window_ends: window.ends.map(Timestamp::as_ms),
            limit_now_micros: standing.limit_micros,
            spent_micros: standing.spent_micros,
            reserved_micros: standing.reserved_micros,
            left_micros: standing.left_micros(),
            percent: standing.percent(),
            held_runs: held,
            created_at: budget.created_at.as_ms(),
            updated_at: budget.updated_at.as_ms(),
        }
    }
}

fn answer(mut response: actix_web::HttpResponseBuilder, shown: Shown) -> HttpResponse {
    response
        .insert_header(tag(shown.budget.version))
        .insert_header(("cache-control", "private, no-cache"))
        .json(BudgetBody::from(shown))
}

fn code<T>(pointer: &str, text: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, Problem> {
    parse(text).ok_or_else(|| Problem::invalid(pointer, format!("{text:?} is not one of those that there are")))
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewBudget)]
pub struct NewBudgetBody {
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    #[schema(pattern = "^(org|workspace|agent|principal|key)$")]
    pub scope: String,
    /// The id of what it covers; empty for the organization.
    #[serde(default)]
    pub target: String,
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub limit_micros: u64,
    #[schema(pattern = "^(day|week|month|once)$")]
    pub period: String,
    /// UTC where it is not given.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// `hold` where it is not given.
    #[serde(default)]
    #[schema(pattern = "^(hold|fail)$")]
    pub on_exhausted: Option<String>,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BudgetChange)]
pub struct BudgetChangeBody {
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    pub name: Option<String>,
    #[serde(default)]
    #[schema(pattern = "^(org|workspace|agent|principal|key)$")]
    pub scope: Option<String>,
    #[serde(default)]
    pub target: Option<String>,
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub limit_micros: Option<u64>,
    #[serde(default)]
    #[schema(pattern = "^(day|week|month|once)$")]
    pub period: Option<String>,
    #[serde(default)]
    pub time_zone: Option<String>,
    #[serde(default)]
    #[schema(pattern = "^(hold|fail)$")]
    pub on_exhausted: Option<String>,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BudgetRaise)]
pub struct RaiseBody {
    /// So much more; 0 takes an earlier raise back.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub raise_micros: u64,
    /// Milliseconds since 1970 UTC, within 366 days.
    pub until: i64,
}

/// How many held runs something was done with.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = HeldRuns)]
pub struct HeldBody {
    pub runs: u32,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BudgetsQuery {
    /// At most 500; 50 where it is not given.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Lists the organization's budgets, in the order in which they were made.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/budgets", tag = "money", operation_id = "listBudgets",
    params(("org" = String, Path, description = "Id or short name"), BudgetsQuery),
    responses(
        (status = 200, description = "A page of budgets", body = Page<BudgetBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(auth: Authorized<may::CostsRead>, state: web::Data<State>, query: Query<BudgetsQuery>) -> Result<HttpResponse, Problem> {
    let limit = limit(query.0.limit)?;
    let after = match query.0.cursor.as_deref() {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|_| Problem::invalid("/cursor", "this is no cursor of this list"))?,
        ),
    };
    let found = budgets::list(&state.app, auth.actor(), after, limit + 1).await?;
    let page = Page::cut(found, limit, |shown| shown.budget.id.to_string());
    Ok(HttpResponse::Ok().json(page.map(BudgetBody::from)))
}

/// Shows a budget.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/budgets/{budget}", tag = "money", operation_id = "getBudget",
    params(("org" = String, Path, description = "Id or short name"), ("budget" = String, Path, description = "The budget's id")),
    responses(
        (status = 200, description = "The budget", body = BudgetBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(auth: Authorized<may::CostsRead>, state: web::Data<State>, segments: Segments) -> Result<HttpResponse, Problem> {
    let shown = budgets::get(&state.app, auth.actor(), segments.budget()?).await?;
    Ok(answer(HttpResponse::Ok(), shown))
}

/// Makes a budget. What was spent before in its time counts.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/budgets", tag = "money", operation_id = "createBudget",
    params(("org" = String, Path, description = "Id or short name")),
    request_body = NewBudgetBody,
    responses(
        (status = 201, description = "The budget", body = BudgetBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    auth: Proved<may::BudgetsManage>,
    state: web::Data<State>,
    body: Json<NewBudgetBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body = body.value;
    let new = NewBudget {
        scope: code("/scope", &body.scope, BudgetScope::parse)?,
        period: code("/period", &body.period, Period::parse)?,
        on_exhausted: match &body.on_exhausted {
            None => OnExhausted::Hold,
            Some(text) => code("/on_exhausted", text, OnExhausted::parse)?,
        },
        name: body.name,
        target: body.target,
        limit_micros: body.limit_micros,
        time_zone: body.time_zone.unwrap_or_else(|| "UTC".to_owned()),
    };
    let shown = budgets::create(&state.app, auth.actor(), new, Context::origin(&request)).await?;
    Ok(answer(HttpResponse::Created(), shown))
}

/// Changes a budget; what is not given stays. Runs that wait for it ask again.
#[utoipa::path(
    patch, path = "/api/v1/orgs/{org}/budgets/{budget}", tag = "money", operation_id = "changeBudget",
    params(
        ("org" = String, Path, description = "Id or short name"), ("budget" = String, Path, description = "The budget's id"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the budget that the change was made from: refused with `conflict` where another holds now."),
    ),
    request_body = BudgetChangeBody,
    responses(
        (status = 200, description = "The budget as it is now", body = BudgetBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    auth: Proved<may::BudgetsManage>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<BudgetChangeBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body = body.value;
    let change = Change {
        scope: body.scope.map(|text| code("/scope", &text, BudgetScope::parse)).transpose()?,
        period: body.period.map(|text| code("/period", &text, Period::parse)).transpose()?,
        on_exhausted: body
            .on_exhausted
            .map(|text| code("/on_exhausted", &text, OnExhausted::parse))
            .transpose()?,
        name: body.name,
        target: body.target,
        limit_micros: body.limit_micros,
        time_zone: body.time_zone,
    };
    let (id, expected) = (segments.budget()?, expected(&request)?);
    let shown = budgets::change(&state.app, auth.actor(), id, change, expected, Context::origin(&request)).await?;
    Ok(answer(HttpResponse::Ok(), shown))
}

/// Raises a budget for a time. Runs that wait for it ask again.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/budgets/{budget}/raise", tag = "money", operation_id = "raiseBudget",
    params(("org" = String, Path, description = "Id or short name"), ("budget" = String, Path, description = "The budget's id")),
    request_body = RaiseBody,
    responses(
        (status = 200, description = "The budget as it is now", body = BudgetBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn raise(
    auth: Proved<may::BudgetsManage>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<RaiseBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let by = (body.value.raise_micros, Timestamp::from_ms(body.value.until));
    let (id, expected) = (segments.budget()?, expected(&request)?);
    let shown = budgets::raise(&state.app, auth.actor(), id, by, expected, Context::origin(&request)).await?;
    Ok(answer(HttpResponse::Ok(), shown))
}

/// Removes a budget. Runs that wait for it ask the others.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/budgets/{budget}", tag = "money", operation_id = "removeBudget",
    params(
        ("org" = String, Path, description = "Id or short name"), ("budget" = String, Path, description = "The budget's id"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the budget that is to go: refused with `conflict` where another holds now."),
    ),
    responses(
        (status = 204, description = "It is removed"),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    auth: Proved<may::BudgetsManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let (id, expected) = (segments.budget()?, expected(&request)?);
    budgets::remove(&state.app, auth.actor(), id, expected, Context::origin(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Has the runs that wait for a budget ask again. Those for which there is still none are held again.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/budgets/{budget}/resume", tag = "money", operation_id = "resumeHeldRuns",
    params(("org" = String, Path, description = "Id or short name"), ("budget" = String, Path, description = "The budget's id")),
    responses(
        (status = 200, description = "How many ask again", body = HeldBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn resume(
    auth: Proved<may::BudgetsManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let runs = budgets::resume_held(&state.app, auth.actor(), segments.budget()?, Context::origin(&request)).await?;
    Ok(HttpResponse::Ok().json(HeldBody { runs }))
}

/// Cancels the runs that wait for a budget.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/budgets/{budget}/cancel-held", tag = "money", operation_id = "cancelHeldRuns",
    params(("org" = String, Path, description = "Id or short name"), ("budget" = String, Path, description = "The budget's id")),
    responses(
        (status = 200, description = "How many were cancelled", body = HeldBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn cancel_held(
    auth: Proved<may::BudgetsManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let runs = budgets::cancel_held(&state.app, auth.actor(), segments.budget()?, Context::origin(&request)).await?;
    Ok(HttpResponse::Ok().json(HeldBody { runs }))
}
