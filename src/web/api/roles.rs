//! The roles, and what each may do.

use actix_web::HttpResponse;
use serde::Serialize;

use crate::domain::permission::{Permission, Role};
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Role)]
pub struct RoleBody {
    pub role: &'static str,
    /// What somebody of this role is there for.
    pub description: &'static str,
    pub permissions: Vec<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Permission)]
pub struct PermissionBody {
    pub permission: &'static str,
    pub description: &'static str,
    /// The least role that has it; absent where no role gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_role: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Roles)]
pub struct RolesBody {
    /// From most to least.
    pub roles: Vec<RoleBody>,
    pub permissions: Vec<PermissionBody>,
}

/// Lists the roles and the permissions, which are also the scopes of API keys.
#[utoipa::path(
    get, path = "/api/v1/roles", tag = "people", operation_id = "listRoles",
    responses(
        (status = 200, description = "Roles and permissions", body = RolesBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(_: Authorized<may::OrgRead>) -> Result<HttpResponse, Problem> {
    let given = |role: Role| Permission::ALL.iter().filter(move |permission| role.gives(**permission));
    let roles = Role::ALL.iter().map(|&role| RoleBody {
        role: role.as_str(),
        description: role.in_words(),
        permissions: given(role).map(|permission| permission.as_str()).collect(),
    });
    let permissions = Permission::ALL.iter().map(|permission| PermissionBody {
        permission: permission.as_str(),
        description: permission.in_words(),
        least_role: permission.least_role().map(Role::as_str),
    });
    Ok(HttpResponse::Ok().json(RolesBody {
        roles: roles.collect(),
        permissions: permissions.collect(),
    }))
}
