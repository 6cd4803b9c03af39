//! Organizations and workspaces, and choosing where a browser is at work.

use super::{Line, delete, get, patch, post};
use crate::web::{api, pages};

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/switch", pages::settings::organization::ask_switch),
        post("/switch", pages::settings::organization::switch),
        get("/settings", pages::settings::organization::show),
        post("/settings", pages::settings::organization::rename),
        post("/settings/leave", pages::settings::organization::leave),
        post("/settings/transfer", pages::settings::organization::transfer),
        post("/settings/delete", pages::settings::organization::delete),
        get("/settings/workspaces", pages::settings::workspaces::show),
        post("/settings/workspaces", pages::settings::workspaces::create),
        post("/settings/workspaces/{workspace}", pages::settings::workspaces::rename),
        post("/settings/workspaces/{workspace}/delete", pages::settings::workspaces::delete),
        get("/api/v1/me", api::me::show),
        get("/api/v1/orgs", api::orgs::list),
        post("/api/v1/orgs", api::orgs::create),
        get("/api/v1/orgs/{org}", api::orgs::show),
        patch("/api/v1/orgs/{org}", api::orgs::rename),
        delete("/api/v1/orgs/{org}", api::orgs::delete),
        post("/api/v1/orgs/{org}/transfer", api::orgs::transfer),
        post("/api/v1/orgs/{org}/leave", api::orgs::leave),
        get("/api/v1/orgs/{org}/usage", api::orgs::usage),
        get("/api/v1/orgs/{org}/workspaces", api::workspaces::list),
        post("/api/v1/orgs/{org}/workspaces", api::workspaces::create),
        get("/api/v1/orgs/{org}/workspaces/{workspace}", api::workspaces::show),
        patch("/api/v1/orgs/{org}/workspaces/{workspace}", api::workspaces::rename),
        delete("/api/v1/orgs/{org}/workspaces/{workspace}", api::workspaces::delete),
    ]
}
