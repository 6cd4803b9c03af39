//! API keys and services.

use super::{Line, delete, get, patch, post};
use crate::web::{api, pages};

pub(super) fn lines() -> Vec<Line> {
    vec![
        get("/account/keys", pages::account::keys::show),
        post("/account/keys", pages::account::keys::create),
        post("/account/keys/{key}/rotate", pages::account::keys::rotate),
        post("/account/keys/{key}/revoke", pages::account::keys::revoke),
        get("/settings/keys", pages::settings::keys::show),
        post("/settings/keys", pages::settings::keys::create),
        post("/settings/keys/{key}/rotate", pages::settings::keys::rotate),
        post("/settings/keys/{key}/revoke", pages::settings::keys::revoke),
        post("/settings/services", pages::settings::keys::create_service),
        post("/settings/services/{principal}/role", pages::settings::keys::change_role),
        post("/settings/services/{principal}/remove", pages::settings::keys::remove_service),
        get("/api/v1/keys", api::keys::list_own),
        post("/api/v1/keys", api::keys::create_own),
        post("/api/v1/keys/{key}/rotate", api::keys::rotate_own),
        delete("/api/v1/keys/{key}", api::keys::revoke_own),
        get("/api/v1/orgs/{org}/keys", api::keys::list),
        post("/api/v1/orgs/{org}/keys", api::keys::create),
        post("/api/v1/orgs/{org}/keys/{key}/rotate", api::keys::rotate),
        delete("/api/v1/orgs/{org}/keys/{key}", api::keys::revoke),
        get("/api/v1/orgs/{org}/services", api::service_principals::list),
        post("/api/v1/orgs/{org}/services", api::service_principals::create),
        patch("/api/v1/orgs/{org}/services/{principal}", api::service_principals::change),
        delete("/api/v1/orgs/{org}/services/{principal}", api::service_principals::remove),
    ]
}
