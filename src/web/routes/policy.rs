//! What agents may do.

use super::{Line, get, post, put};
use crate::web::api::policy as api;
use crate::web::pages::settings::policy as pages;

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/settings/policy", pages::show),
        post("/settings/policy", pages::save),
        post("/settings/policy/draft", pages::draft),
        get("/settings/policy/versions", pages::versions),
        get("/api/v1/orgs/{org}/policy", api::get_org),
        put("/api/v1/orgs/{org}/policy", api::put_org),
        get("/api/v1/orgs/{org}/policy/versions", api::org_versions),
        get("/api/v1/orgs/{org}/policy/versions/{version}", api::org_version),
        post("/api/v1/orgs/{org}/policy/check", api::check_org),
        get("/api/v1/orgs/{org}/workspaces/{workspace}/policy", api::get_workspace),
        put("/api/v1/orgs/{org}/workspaces/{workspace}/policy", api::put_workspace),
        get("/api/v1/orgs/{org}/workspaces/{workspace}/policy/versions", api::workspace_versions),
        get(
            "/api/v1/orgs/{org}/workspaces/{workspace}/policy/versions/{version}",
            api::workspace_version,
        ),
        post("/api/v1/orgs/{org}/workspaces/{workspace}/policy/check", api::check_workspace),
    ]
}
