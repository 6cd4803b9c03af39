//! Who the caller is, where, and what they may do.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use crate::domain::permission::{Access, Permission, Resource, authorize};
use crate::services::orgs;
use crate::web::extract::Member;
use crate::web::problem::Problem;
use crate::web::state::State;

/// An organization or workspace, by id and names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Named)]
pub struct NamedBody {
    pub id: String,
    pub slug: String,
    pub name: String,
}

/// Who the caller is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Me)]
pub struct MeBody {
    pub principal: String,
    pub name: String,
    /// `session` or `api_key`.
    pub credential: String,
    pub org: NamedBody,
    pub role: String,
    /// Where requests go that name no workspace; absent for a key of an organization with several, which must name one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<NamedBody>,
    /// Of a key: what it is limited to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// What the caller may do here, now.
    pub permissions: Vec<String>,
}

/// Says who the caller is, in which organization and workspace, and what they may do.
#[utoipa::path(
    get, path = "/api/v1/me", tag = "organizations", operation_id = "getMe",
    responses(
        (status = 200, description = "The caller", body = MeBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(auth: Member, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let actor = &auth.0.actor;
    let (org, workspace) = orgs::here(&state.app, actor).await?;
    let text = |permission: &Permission| permission.to_string();
    let own = Resource { org: actor.org };
    let allowed = Permission::ALL
        .iter()
        .filter(|&&permission| authorize(actor, permission, own) == Access::Allow);
    let clear = actor.workspace_is_clear || auth.0.session.is_some();
    Ok(HttpResponse::Ok().json(MeBody {
        principal: actor.principal.to_string(),
        name: actor.name.clone(),
        credential: actor.credential.to_string(),
        org: NamedBody {
            id: org.id.to_string(),
            slug: org.slug,
            name: org.name,
        },
        role: actor.role.to_string(),
        workspace: clear.then(|| NamedBody {
            id: workspace.id.to_string(),
            slug: workspace.slug,
            name: workspace.name,
        }),
        scopes: actor.scopes.as_ref().map(|scopes| scopes.iter().map(text).collect()),
        permissions: allowed.map(text).collect(),
    }))
}
