//! Members, invitations and roles, and adopting what members left behind.

use super::{Line, delete, get, patch, post};
use crate::web::{api, pages};

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/settings/members", pages::settings::members::show),
        post("/settings/members/{principal}/role", pages::settings::members::change_role),
        post("/settings/members/{principal}/remove", pages::settings::members::remove),
        post("/settings/members/{principal}/reset-link", pages::settings::members::reset_link),
        post("/settings/members/{principal}/adopt", pages::settings::members::adopt),
        post("/settings/invitations", pages::settings::members::invite),
        post("/settings/invitations/{invitation}/resend", pages::settings::members::resend),
        post("/settings/invitations/{invitation}/revoke", pages::settings::members::revoke),
        get("/settings/roles", pages::settings::roles::show),
        get("/invitation", pages::invitation::show),
        post("/invitation", pages::invitation::submit),
        post("/runs/{run}/adopt", pages::runs::show::adopt),
        post("/api/v1/runs/{run}/adopt", api::adoption::run),
        get("/api/v1/roles", api::roles::list),
        get("/api/v1/orgs/{org}/members", api::members::list),
        patch("/api/v1/orgs/{org}/members/{principal}", api::members::change),
        delete("/api/v1/orgs/{org}/members/{principal}", api::members::remove),
        post("/api/v1/orgs/{org}/members/{principal}/adopt", api::adoption::of_member),
        post("/api/v1/orgs/{org}/members/{principal}/reset-link", api::reset_links::create),
        get("/api/v1/orgs/{org}/invitations", api::invitations::list),
        post("/api/v1/orgs/{org}/invitations", api::invitations::create),
        delete("/api/v1/orgs/{org}/invitations/{invitation}", api::invitations::revoke),
        post("/api/v1/orgs/{org}/invitations/{invitation}/resend", api::invitations::resend),
    ]
}
