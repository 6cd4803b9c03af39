//! The station itself: organizations and their plans, mail, security, the API reference.

use super::{Line, get, patch, post};
use crate::web::{api, pages};

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/station/mail", pages::station::mail::show),
        post("/station/mail/test", pages::station::mail::test),
        get("/docs/api", pages::api_reference::show),
        get("/station/security", pages::security_check::show),
        get("/station/orgs", pages::station::orgs::show),
        post("/station/orgs", pages::station::orgs::create),
        post("/station/orgs/{org}/plan", pages::station::orgs::change_plan),
        post("/station/orgs/{org}/restore", pages::station::orgs::restore),
        get("/api/v1/station/orgs", api::orgs::all),
        patch("/api/v1/station/orgs/{org}", api::orgs::change_plan),
        post("/api/v1/station/orgs/{org}/restore", api::orgs::restore),
    ]
}
