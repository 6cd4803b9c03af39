//! The station itself: organizations and their plans, mail, security, the API reference.

use super::{Line, get};
use crate::web::pages;

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/docs/api", pages::api_reference::show),
        get("/station/security", pages::security_check::show),
    ]
}
