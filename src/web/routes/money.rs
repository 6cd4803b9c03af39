//! Prices, budgets and what was spent.

use super::{Line, delete, get, patch, post};
use crate::web::api::{budgets, prices, spending};

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/api/v1/orgs/{org}/prices", prices::list),
        post("/api/v1/orgs/{org}/prices", prices::set),
        post("/api/v1/orgs/{org}/prices/reprice", prices::reprice),
        get("/api/v1/orgs/{org}/budgets", budgets::list),
        post("/api/v1/orgs/{org}/budgets", budgets::create),
        get("/api/v1/orgs/{org}/budgets/{budget}", budgets::show),
        patch("/api/v1/orgs/{org}/budgets/{budget}", budgets::change),
        delete("/api/v1/orgs/{org}/budgets/{budget}", budgets::remove),
        post("/api/v1/orgs/{org}/budgets/{budget}/raise", budgets::raise),
        post("/api/v1/orgs/{org}/budgets/{budget}/resume", budgets::resume),
        post("/api/v1/orgs/{org}/budgets/{budget}/cancel-held", budgets::cancel_held),
        get("/api/v1/orgs/{org}/workspaces/{workspace}/usage", spending::of_workspace),
        get("/api/v1/orgs/{org}/prices/{price}", prices::show),
        delete("/api/v1/orgs/{org}/prices/{price}", prices::remove),
        get("/api/v1/prices/shipped", prices::shipped),
        get("/api/v1/station/prices", prices::list_station),
        post("/api/v1/station/prices", prices::set_station),
        delete("/api/v1/station/prices/{price}", prices::remove_station),
    ]
}
