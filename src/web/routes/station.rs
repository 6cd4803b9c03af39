//! The station itself: organizations and their plans, mail, security, the API reference.

use super::{Line, get, post};
use crate::web::pages;

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/station/mail", pages::station::mail::show),
        post("/station/mail/test", pages::station::mail::test),
        get("/docs/api", pages::api_reference::show),
        get("/station/security", pages::security_check::show),
    ]
}
