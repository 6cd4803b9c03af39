//! Model providers and aliases.

use super::{Line, delete, get, patch, post, put};
use crate::web::api::{models, providers};
use crate::web::pages::settings::models as pages;

pub(super) fn lines() -> Vec<Line> {
    let mut lines = vec![
        get("/settings/models", pages::show),
        get("/settings/models/providers/new", pages::provider::show_new),
        post("/settings/models/providers/new", pages::provider::create),
        get("/settings/models/providers/{provider}", pages::provider::show),
        post("/settings/models/providers/{provider}", pages::provider::change),
        post("/settings/models/providers/{provider}/test", pages::provider::test),
        post("/settings/models/providers/{provider}/remove", pages::provider::remove),
        get("/settings/models/station/new", pages::provider::show_new_of_station),
        post("/settings/models/station/new", pages::provider::create_of_station),
        get("/settings/models/station/{provider}", pages::provider::show_of_station),
        post("/settings/models/station/{provider}", pages::provider::change_of_station),
        post("/settings/models/station/{provider}/test", pages::provider::test_of_station),
        post("/settings/models/station/{provider}/remove", pages::provider::remove_of_station),
        get("/settings/models/aliases/{alias}", pages::alias::show),
        post("/settings/models/aliases/{alias}", pages::alias::save),
    ];
    lines.extend([
        get("/api/v1/orgs/{org}/providers", providers::list),
        post("/api/v1/orgs/{org}/providers", providers::create),
        get("/api/v1/orgs/{org}/providers/{provider}", providers::show),
        patch("/api/v1/orgs/{org}/providers/{provider}", providers::change),
        delete("/api/v1/orgs/{org}/providers/{provider}", providers::remove),
        post("/api/v1/orgs/{org}/providers/{provider}/test", providers::test),
    ]);
    lines.extend([
        get("/api/v1/station/providers", providers::list_station),
        post("/api/v1/station/providers", providers::create_station),
        get("/api/v1/station/providers/{provider}", providers::show_station),
        patch("/api/v1/station/providers/{provider}", providers::change_station),
        delete("/api/v1/station/providers/{provider}", providers::remove_station),
        post("/api/v1/station/providers/{provider}/test", providers::test_station),
    ]);
    lines.extend([
        get("/api/v1/orgs/{org}/workspaces/{workspace}/models", models::list),
        get("/api/v1/orgs/{org}/workspaces/{workspace}/models/{alias}", models::show),
        put("/api/v1/orgs/{org}/workspaces/{workspace}/models/{alias}", models::put),
        delete("/api/v1/orgs/{org}/workspaces/{workspace}/models/{alias}", models::remove),
    ]);
    lines
}
