//! The audit log, and what is kept about persons.

use super::{Line, get, post};
use crate::web::{api, pages};

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/settings/audit", pages::settings::audit::show),
        get("/settings/audit/export", pages::settings::audit::export),
        get("/station/audit", pages::settings::audit::show_station),
        get("/station/audit/export", pages::settings::audit::export_station),
        get("/account/data", pages::account::data::show),
        post("/account/data/export", pages::account::data::export),
        post("/account/data/erase", pages::account::data::erase),
        get("/api/v1/orgs/{org}/audit", api::audit::list),
        get("/api/v1/orgs/{org}/audit/export", api::audit::export),
        get("/api/v1/orgs/{org}/audit/verify", api::audit::verify),
        post("/api/v1/orgs/{org}/audit/verify", api::audit::verify_against),
        get("/api/v1/station/audit", api::audit::list_station),
        get("/api/v1/station/audit/export", api::audit::export_station),
        get("/api/v1/station/audit/verify", api::audit::verify_station),
        post("/api/v1/station/audit/verify", api::audit::verify_station_against),
        get("/api/v1/station/persons/{principal}/data", api::persons::export),
        post("/api/v1/station/persons/{principal}/erase", api::persons::erase),
    ]
}
