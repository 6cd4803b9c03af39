//! What was spent, budgets and prices, what people are told, and where alerts go.

use super::{Line, get, post};
use crate::web::{api, pages};

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/notifications", pages::notifications::show),
        post("/notifications/read", pages::notifications::read),
        get("/api/v1/orgs/{org}/notifications", api::notifications::list),
    ]
}
