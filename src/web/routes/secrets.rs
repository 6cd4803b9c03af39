//! Secrets.

use super::{Line, delete, get, patch, post};
use crate::web::api::secrets as api;
use crate::web::pages::settings::secrets as pages;

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/settings/secrets", pages::show),
        post("/settings/secrets", pages::create),
        get("/settings/secrets/{secret}", pages::show_one),
        post("/settings/secrets/{secret}", pages::change),
        post("/settings/secrets/{secret}/rotate", pages::rotate),
        post("/settings/secrets/{secret}/versions/{version}/destroy", pages::destroy),
        post("/settings/secrets/{secret}/remove", pages::remove),
        get("/api/v1/orgs/{org}/secrets", api::list_org),
        post("/api/v1/orgs/{org}/secrets", api::create_org),
        get("/api/v1/orgs/{org}/secrets/{secret}", api::show_org),
        patch("/api/v1/orgs/{org}/secrets/{secret}", api::change_org),
        delete("/api/v1/orgs/{org}/secrets/{secret}", api::delete_org),
        post("/api/v1/orgs/{org}/secrets/{secret}/rotate", api::rotate_org),
        delete("/api/v1/orgs/{org}/secrets/{secret}/versions/{version}", api::destroy_org),
        get("/api/v1/orgs/{org}/workspaces/{workspace}/secrets", api::list_workspace),
        post("/api/v1/orgs/{org}/workspaces/{workspace}/secrets", api::create_workspace),
        get("/api/v1/orgs/{org}/workspaces/{workspace}/secrets/{secret}", api::show_workspace),
        patch("/api/v1/orgs/{org}/workspaces/{workspace}/secrets/{secret}", api::change_workspace),
        delete("/api/v1/orgs/{org}/workspaces/{workspace}/secrets/{secret}", api::delete_workspace),
        post(
            "/api/v1/orgs/{org}/workspaces/{workspace}/secrets/{secret}/rotate",
            api::rotate_workspace,
        ),
        delete(
            "/api/v1/orgs/{org}/workspaces/{workspace}/secrets/{secret}/versions/{version}",
            api::destroy_workspace,
        ),
    ]
}
