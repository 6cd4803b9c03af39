//! Workspaces of an organization.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Segments;
use super::orgs::{ConfirmQuery, RenameBody};
use crate::services::workspaces::{self, Workspace};
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::form::check_header_token;
use crate::web::extract::paging::Query;
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// A workspace: agents, their memory, runs and approvals are of one. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Workspace)]
pub struct WorkspaceBody {
    pub id: String,
    /// The short name, which stands in addresses.
    pub slug: String,
    pub name: String,
    pub created_at: i64,
}

impl From<Workspace> for WorkspaceBody {
    fn from(workspace: Workspace) -> Self {
        Self {
            id: workspace.id.to_string(),
            slug: workspace.slug,
            name: workspace.name,
            created_at: workspace.created_at.as_ms(),
        }
    }
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Workspaces)]
pub struct WorkspacesBody {
    pub items: Vec<WorkspaceBody>,
}

/// Lists the workspaces of an organization by short name.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/workspaces", tag = "organizations", operation_id = "listWorkspaces",
    params(("org" = String, Path, description = "Id or short name")),
    responses(
        (status = 200, description = "At most 500", body = WorkspacesBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(auth: Authorized<may::OrgRead>, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let found = workspaces::list(&state.app, auth.actor()).await?;
    Ok(HttpResponse::Ok().json(WorkspacesBody {
        items: found.into_iter().map(WorkspaceBody::from).collect(),
    }))
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewWorkspace)]
pub struct NewBody {
    /// a–z, 0–9 and “-”, at most 64.
    #[schema(example = "research")]
    pub slug: String,
    /// At most 80 bytes; the short name where it is not given.
    #[serde(default)]
    pub name: Option<String>,
}

/// Makes a workspace.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/workspaces", tag = "organizations", operation_id = "createWorkspace",
    params(
        ("org" = String, Path, description = "Id or short name"),
        ("Idempotency-Key" = Option<String>, Header, description = "At most 255 characters. The same key with the same body answers as the first time, for 24 hours."),
    ),
    request_body = NewBody,
    responses(
        (status = 201, description = "The workspace", body = WorkspaceBody),
        (status = "default", description = "A problem; `already_exists` where the short name is taken, `plan_limit`", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    auth: Authorized<may::OrgManage>,
    state: web::Data<State>,
    body: Json<NewBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let NewBody { slug, name } = body.value;
    let name = name.unwrap_or_else(|| slug.clone());
    let made = workspaces::create(&state.app, auth.actor(), &slug, &name, Context::origin(&request)).await?;
    Ok(HttpResponse::Created().json(WorkspaceBody::from(made)))
}

/// Shows a workspace.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/workspaces/{workspace}", tag = "organizations", operation_id = "getWorkspace",
    params(
        ("org" = String, Path, description = "Id or short name"),
        ("workspace" = String, Path, description = "Id or short name"),
    ),
    responses(
        (status = 200, description = "The workspace", body = WorkspaceBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(auth: Authorized<may::OrgRead>, state: web::Data<State>, segments: Segments) -> Result<HttpResponse, Problem> {
    let found = workspaces::get(&state.app, auth.actor(), segments.text("workspace")).await?;
    Ok(HttpResponse::Ok().json(WorkspaceBody::from(found)))
}

/// Gives a workspace other names.
#[utoipa::path(
    patch, path = "/api/v1/orgs/{org}/workspaces/{workspace}", tag = "organizations", operation_id = "renameWorkspace",
    params(
        ("org" = String, Path, description = "Id or short name"),
        ("workspace" = String, Path, description = "Id or short name"),
    ),
    request_body = RenameBody,
    responses(
        (status = 200, description = "The workspace as it is now", body = WorkspaceBody),
        (status = "default", description = "A problem; `already_exists` where the short name is taken", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn rename(
    auth: Authorized<may::OrgManage>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<RenameBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let name = segments.text("workspace");
    let renamed = workspaces::rename(&state.app, auth.actor(), name, body.value.into(), Context::origin(&request)).await?;
    Ok(HttpResponse::Ok().json(WorkspaceBody::from(renamed)))
}

/// Deletes a workspace with its agents, their memory, and its runs. There is no way back.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/workspaces/{workspace}", tag = "organizations", operation_id = "deleteWorkspace",
    params(
        ("org" = String, Path, description = "Id or short name"),
        ("workspace" = String, Path, description = "Id or short name"),
        ConfirmQuery,
    ),
    responses(
        (status = 204, description = "It is being deleted"),
        (status = "default", description = "A problem; `invalid` where `confirm` is not the short name, `conflict` for the last one", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    auth: Authorized<may::OrgManage>,
    state: web::Data<State>,
    segments: Segments,
    query: Query<ConfirmQuery>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let name = segments.text("workspace");
    workspaces::delete(&state.app, auth.actor(), name, &query.0.confirm, Context::origin(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}
