//! The ledger's lines as a file.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;
use serde::Deserialize;

use crate::domain::origin::Origin;
use crate::domain::permission::Actor;
use crate::domain::time::Timestamp;
use crate::services::costs::{self, Export, Filter, Format};
use crate::web::context::Context;
use crate::web::extract::paging::Query;
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// 9999-12-31, the last day that times are written for.
const LATEST_MS: i64 = 253_402_300_799_999;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CostsQuery {
    #[param(pattern = "^(csv|json)$")]
    pub format: String,
    /// Lines that count from this time on, in milliseconds since 1970 UTC; 30 days ago where it is not given.
    #[serde(default)]
    #[param(minimum = 0, maximum = 253_402_300_799_999_i64)]
    pub from: Option<i64>,
    /// Lines that count before this time; now where it is not given.
    #[serde(default)]
    #[param(minimum = 0, maximum = 253_402_300_799_999_i64)]
    pub to: Option<i64>,
    /// Ids; without them everybody's.
    #[serde(default)]
    pub agent: String,
    #[serde(default)]
    pub principal: String,
    #[serde(default)]
    pub key: String,
    /// A provider's name.
    #[serde(default)]
    pub provider: String,
    /// A provider's name of a model.
    #[serde(default)]
    pub model: String,
}

impl CostsQuery {
    fn parts(self, now: Timestamp) -> Result<(Format, (Timestamp, Timestamp), Filter), Problem> {
        const DAYS_30: std::time::Duration = std::time::Duration::from_hours(30 * 24);
        let format = Format::parse(&self.format).ok_or_else(|| Problem::invalid("/format", "it is csv or json"))?;
        let time = |name: &str, ms: i64| {
            if (0..=LATEST_MS).contains(&ms) {
                Ok(Timestamp::from_ms(ms))
            } else {
                Err(Problem::invalid(name, "it is no time: milliseconds since 1970 UTC are wanted"))
            }
        };
        let to = self.to.map(|ms| time("/to", ms)).transpose()?.unwrap_or(now);
        let from = self
            .from
            .map(|ms| time("/from", ms))
            .transpose()?
            .unwrap_or_else(|| now.minus(DAYS_30));
        let filter = Filter {
            workspace: None,
            agent: self.agent,
            principal: self.principal,
            key: self.key,
            provider: self.provider,
            model: self.model,
        };
        Ok((format, (from, to), filter))
    }
}

/// A file of the ledger's lines between two times, sent as it is read.
///
/// # Errors
/// `Forbidden`.
pub async fn file(
    state: &State,
    actor: &Actor,
    filter: Filter,
    times: (Timestamp, Timestamp),
    format: Format,
    origin: Origin,
) -> Result<HttpResponse, Problem> {
    let export = costs::begin_export(&state.app, actor, filter, times, format, origin).await?;
    let body = stream::unfold(Some(export), |export| async move {
        let mut export: Export = export?;
        match export.next().await {
            Ok(part) => part.map(|part| (Ok(web::Bytes::from(part)), Some(export))),
            // What is sent already cannot be taken back: the connection breaks, so that the file is seen to be incomplete.
            Err(error) => {
                tracing::error!(%error, "an export of costs broke off");
                Some((Err(actix_web::error::ErrorInternalServerError("broken off")), None))
            }
        }
    });
    Ok(HttpResponse::Ok()
        .content_type(match format {
            Format::Json => "application/json",
            Format::Csv => "text/csv; charset=utf-8",
        })
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"costs.{format}\"")))
        .insert_header((header::CACHE_CONTROL, "private, no-store"))
        .streaming(body))
}

/// Exports the organization’s ledger, the oldest line first. The export is written to the audit log.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/costs/export", tag = "costs", operation_id = "exportCosts",
    params(("org" = String, Path, description = "Id or slug"), CostsQuery),
    responses(
        (status = 200, description = "The lines", content((Vec<serde_json::Value> = "application/json"), (String = "text/csv"))),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn export(
    auth: Authorized<may::CostsRead>,
    state: web::Data<State>,
    query: Query<CostsQuery>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (format, times, filter) = query.0.parts(state.app.clock.now())?;
    file(&state, auth.actor(), filter, times, format, Context::origin(&request)).await
}

/// Exports a workspace’s part of the ledger, the oldest line first. The export is written to the audit log.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/workspaces/{workspace}/costs/export", tag = "costs", operation_id = "exportWorkspaceCosts",
    params(("org" = String, Path, description = "Id or slug"), ("workspace" = String, Path, description = "Id or slug"), CostsQuery),
    responses(
        (status = 200, description = "The lines", content((Vec<serde_json::Value> = "application/json"), (String = "text/csv"))),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn export_workspace(
    auth: Authorized<may::CostsRead>,
    state: web::Data<State>,
    query: Query<CostsQuery>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (format, times, mut filter) = query.0.parts(state.app.clock.now())?;
    filter.workspace = Some(auth.actor().workspace);
    file(&state, auth.actor(), filter, times, format, Context::origin(&request)).await
}
