//! Members, invitations and roles.

use super::{Line, post};
use crate::web::api;

pub(super) fn lines() -> Vec<Line> {
    vec![post("/api/v1/orgs/{org}/members/{principal}/reset-link", api::reset_links::create)]
}
