//! The station itself: organizations and their plans, mail, security, the API reference.

use super::{Line, get, post};
use crate::web::pages::station;

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/station/mail", station::mail::show),
        post("/station/mail/test", station::mail::test),
    ]
}
