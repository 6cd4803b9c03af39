//! Services: programs that are members, with a role and keys of their own.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::Segments;
use super::invitations::ListQuery;
use super::members::{MemberBody, RemovedBody, role};
use crate::services::service_principals::{self, Change, NewService};
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::form::check_header_token;
use crate::web::extract::paging::{Page, Query, limit};
use crate::web::extract::{Authorized, Proved, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// Lists services.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/services", tag = "keys", operation_id = "listServices",
    params(("org" = String, Path, description = "Id or short name"), ListQuery),
    responses(
        (status = 200, description = "Services", body = Page<MemberBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(auth: Authorized<may::KeysManage>, state: web::Data<State>, query: Query<ListQuery>) -> Result<HttpResponse, Problem> {
    let limit = limit(query.0.limit)?;
    let after = match query.0.cursor.as_deref() {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|_| Problem::invalid("/cursor", "this is no cursor of this list"))?,
        ),
    };
    let found = service_principals::list(&state.app, auth.actor(), after, limit + 1).await?;
    let page = Page::cut(found, limit, |service| service.principal.to_string());
    Ok(HttpResponse::Ok().json(page.map(|service| MemberBody::new(service, false))))
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewService)]
pub struct NewServiceBody {
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub note: String,
    /// Not above one's own, and not `owner`.
    #[schema(pattern = "^(admin|builder|operator|viewer)$")]
    pub role: String,
}

/// Makes a service. It does nothing until it has a key.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/services", tag = "keys", operation_id = "createService",
    params(("org" = String, Path, description = "Id or short name")),
    request_body = NewServiceBody,
    responses(
        (status = 201, description = "The service", body = MemberBody),
        (status = "default", description = "A problem; `plan_limit` where the plan has no room", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    auth: Proved<may::KeysManage>,
    state: web::Data<State>,
    body: Json<NewServiceBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let new = NewService {
        role: role(&body.value.role)?,
        name: body.value.name,
        note: body.value.note,
    };
    let made = service_principals::create(&state.app, auth.actor(), new, Context::origin(&request)).await?;
    Ok(HttpResponse::Created().json(MemberBody::new(made, false)))
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ServiceChange)]
pub struct ChangeServiceBody {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub note: Option<String>,
    #[serde(default)]
    #[schema(pattern = "^(admin|builder|operator|viewer)$")]
    pub role: Option<String>,
}

/// Changes a service; what is not given stays.
#[utoipa::path(
    patch, path = "/api/v1/orgs/{org}/services/{principal}", tag = "keys", operation_id = "changeService",
    params(("org" = String, Path, description = "Id or short name"), ("principal" = String, Path, description = "The service's id")),
    request_body = ChangeServiceBody,
    responses(
        (status = 200, description = "The service as it is now", body = MemberBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    auth: Proved<may::KeysManage>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<ChangeServiceBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let change = Change {
        role: body.value.role.as_deref().map(role).transpose()?,
        name: body.value.name,
        note: body.value.note,
    };
    let id = segments.principal()?;
    let changed = service_principals::change(&state.app, auth.actor(), id, change, Context::origin(&request)).await?;
    Ok(HttpResponse::Ok().json(MemberBody::new(changed, false)))
}

/// Removes a service for good: its keys are revoked, and its runs wait to be adopted.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/services/{principal}", tag = "keys", operation_id = "removeService",
    params(("org" = String, Path, description = "Id or short name"), ("principal" = String, Path, description = "The service's id")),
    responses(
        (status = 200, description = "What went with the service", body = RemovedBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    auth: Proved<may::KeysManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let taken = service_principals::remove(&state.app, auth.actor(), segments.principal()?, Context::origin(&request)).await?;
    Ok(HttpResponse::Ok().json(RemovedBody::from(taken)))
}
