//! What was spent, budgets and prices, what people are told, and where alerts go.

use super::{Line, delete, get, patch, post};
use crate::web::{api, pages};

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/costs", pages::costs::show),
        get("/costs/export", pages::costs::export),
        get("/api/v1/orgs/{org}/costs/export", api::costs::export),
        get(
            "/api/v1/orgs/{org}/workspaces/{workspace}/costs/export",
            api::costs::export_workspace,
        ),
        get("/notifications", pages::notifications::show),
        post("/notifications/read", pages::notifications::read),
        get("/api/v1/orgs/{org}/notifications", api::notifications::list),
        get("/settings/budgets", pages::settings::budgets::show),
        post("/settings/budgets", pages::settings::budgets::create),
        post("/settings/budgets/{budget}", pages::settings::budgets::change),
        post("/settings/budgets/{budget}/raise", pages::settings::budgets::raise),
        post("/settings/budgets/{budget}/remove", pages::settings::budgets::remove),
        post("/settings/budgets/{budget}/resume", pages::settings::budgets::resume),
        post("/settings/budgets/{budget}/cancel", pages::settings::budgets::cancel),
        get("/settings/prices", pages::settings::prices::show),
        post("/settings/prices", pages::settings::prices::set),
        post("/settings/prices/reprice", pages::settings::prices::reprice),
        post("/settings/prices/{price}/remove", pages::settings::prices::remove),
        get("/settings/alerts", pages::settings::channels::show),
        post("/settings/alerts", pages::settings::channels::create),
        post("/settings/alerts/{channel}", pages::settings::channels::change),
        post("/settings/alerts/{channel}/remove", pages::settings::channels::remove),
        post("/settings/alerts/{channel}/test", pages::settings::channels::test),
        get("/api/v1/orgs/{org}/channels", api::channels::list),
        post("/api/v1/orgs/{org}/channels", api::channels::create),
        get("/api/v1/orgs/{org}/channels/{channel}", api::channels::show),
        patch("/api/v1/orgs/{org}/channels/{channel}", api::channels::change),
        delete("/api/v1/orgs/{org}/channels/{channel}", api::channels::remove),
        post("/api/v1/orgs/{org}/channels/{channel}/test", api::channels::test),
    ]
}
