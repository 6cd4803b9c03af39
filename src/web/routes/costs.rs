//! What was spent, budgets and prices, what people are told, and where alerts go.

use super::{Line, get, post};
use crate::web::{api, pages};

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/costs", pages::costs::show),
        get("/costs/export", pages::costs::export),
        get("/api/v1/orgs/{org}/costs/export", api::costs::export),
        get("/api/v1/orgs/{org}/workspaces/{workspace}/costs/export", api::costs::export_workspace),
        get("/notifications", pages::notifications::show),
        post("/notifications/read", pages::notifications::read),
        get("/api/v1/orgs/{org}/notifications", api::notifications::list),
    ]
}
