//! Prices, budgets and what was spent.

use super::{Line, delete, get, post};
use crate::web::api::prices;

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/api/v1/orgs/{org}/prices", prices::list),
        post("/api/v1/orgs/{org}/prices", prices::set),
        get("/api/v1/orgs/{org}/prices/{price}", prices::show),
        delete("/api/v1/orgs/{org}/prices/{price}", prices::remove),
        get("/api/v1/prices/shipped", prices::shipped),
        get("/api/v1/station/prices", prices::list_station),
        post("/api/v1/station/prices", prices::set_station),
        delete("/api/v1/station/prices/{price}", prices::remove_station),
    ]
}
