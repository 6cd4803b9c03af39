//! One’s own account: profile, password, second factors, passkeys, sessions, and proving who one is.

use super::{Line, get, post};
use crate::web::pages;

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/account", pages::account::show),
        post("/account/password", pages::account::change_password),
    ]
}
