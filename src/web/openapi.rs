//! The API's description, OpenAPI 3.1, made from the types and handlers that serve it. `openapi.json` is its copy in the
//! repository, which a test compares.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use actix_web::HttpResponse;
use serde_json::{Value, json};
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Object, OpenApi as Document, PathItem, Ref, RefOr, Response, ResponseBuilder, Type};
use utoipa::{Modify, OpenApi};

use super::extract::{Needs, Public};
use super::problem::PROBLEM_JSON;
use super::{api, routes};
use crate::domain::limits::{PAGE_DEFAULT, PAGE_MAX};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "AgentStation",
        description = "Runs sandboxed agents and keeps the journal of everything they do.\n\nThe lists of agents, runs, approvals and sessions are also there below `/api/v1/orgs/{org}/workspaces/{workspace}`. Errors are `application/problem+json` with a stable `code`. Times are milliseconds since 1970 UTC."
    ),
    paths(
        api::me::show,
        api::orgs::list,
        api::orgs::create,
        api::orgs::show,
        api::orgs::rename,
        api::orgs::delete,
        api::orgs::transfer,
        api::orgs::leave,
        api::orgs::usage,
        api::workspaces::list,
        api::workspaces::create,
        api::workspaces::show,
        api::workspaces::rename,
        api::workspaces::delete,
        api::orgs::all,
        api::orgs::change_plan,
        api::orgs::restore,
        api::providers::list,
        api::providers::create,
        api::providers::show,
        api::providers::change,
        api::providers::remove,
        api::providers::test,
        api::providers::list_station,
        api::providers::create_station,
        api::providers::show_station,
        api::providers::change_station,
        api::providers::remove_station,
        api::providers::test_station,
        api::models::list,
        api::models::show,
        api::models::put,
        api::models::remove,
        api::agents::list,
        api::agents::create,
        api::agents::check,
        api::agents::show,
        api::versions::list,
        api::versions::create,
        api::versions::show,
        api::versions::code,
        api::runs::list,
        api::runs::start,
        api::runs::show,
        api::runs::cancel,
        api::verify::verify,
        api::fork::fork,
        api::children::list,
        api::approvals::list,
        api::approvals::show,
        api::approvals::decide,
        api::approvals::of_run,
        api::messages::list,
        api::messages::post,
        api::messages::sessions,
        api::holds::pause,
        api::holds::resume,
        api::dead_letters::list,
        api::dead_letters::retry,
        api::dead_letters::discard,
        api::dead_letters::start_over,
        api::dead_letters::requeue,
        api::dead_letters::discard_all,
        api::events::list,
        api::events::show,
        api::stream::open,
        api::policy::get_org,
        api::policy::put_org,
        api::policy::org_versions,
        api::policy::org_version,
        api::policy::check_org,
        api::policy::get_workspace,
        api::policy::put_workspace,
        api::policy::workspace_versions,
        api::policy::workspace_version,
        api::policy::check_workspace,
        api::prices::list,
        api::prices::set,
        api::prices::show,
        api::prices::remove,
        api::prices::shipped,
        api::prices::reprice,
        api::budgets::list,
        api::budgets::create,
        api::budgets::show,
        api::budgets::change,
        api::budgets::remove,
        api::budgets::raise,
        api::budgets::resume,
        api::budgets::cancel_held,
        api::spending::of_workspace,
        api::prices::list_station,
        api::prices::set_station,
        api::prices::remove_station,
        api::run_hosts::list,
        api::secrets::list_org,
        api::secrets::create_org,
        api::secrets::show_org,
        api::secrets::change_org,
        api::secrets::delete_org,
        api::secrets::rotate_org,
        api::secrets::destroy_org,
        api::secrets::list_workspace,
        api::secrets::create_workspace,
        api::secrets::show_workspace,
        api::secrets::change_workspace,
        api::secrets::delete_workspace,
        api::secrets::rotate_workspace,
        api::secrets::destroy_workspace,
        api::artifacts::list,
        api::artifacts::show,
        api::reset_links::create,
        api::audit::list,
        api::audit::export,
        api::audit::verify,
        api::audit::verify_against,
        api::audit::list_station,
        api::audit::export_station,
        api::audit::verify_station,
        api::audit::verify_station_against,
        api::persons::export,
        api::persons::erase,
        api::adoption::run,
        api::adoption::of_member,
        api::members::list,
        api::members::change,
        api::members::remove,
        api::invitations::list,
        api::invitations::create,
        api::invitations::resend,
        api::invitations::revoke,
        api::roles::list,
        api::service_principals::list,
        api::service_principals::create,
        api::service_principals::change,
        api::service_principals::remove,
        api::keys::list_own,
        api::keys::create_own,
        api::keys::rotate_own,
        api::keys::revoke_own,
        api::keys::list,
        api::keys::create,
        api::keys::rotate,
        api::keys::revoke,
        api::notifications::list,
        api::channels::list,
        api::channels::create,
        api::channels::show,
        api::channels::change,
        api::channels::remove,
        api::channels::test,
        api::costs::export,
        api::costs::export_workspace,
    ),
    components(schemas(
        api::events::EntryBody,
        api::policy::RuleDoc,
        api::policy::EffectDoc,
        api::policy::WhatDoc,
        api::policy::NamesDoc,
        api::policy::HttpDoc,
        api::policy::ArtifactDoc,
        api::policy::CostDoc,
        api::policy::ApproversDoc,
    )),
    tags(
        (name = "organizations", description = "Organizations, their plans and workspaces, and who the caller is"),
        (name = "station", description = "What whoever looks after the station does"),
        (name = "agents", description = "Agents and their versions"),
        (name = "runs", description = "Runs, their journals and artifacts"),
        (name = "approvals", description = "What waits for a person's decision"),
        (name = "policy", description = "What agents may do, and who is asked first"),
        (name = "secrets", description = "What agents may send and never see"),
        (name = "sessions", description = "Conversations with runs"),
        (name = "people", description = "Members of organizations, invitations and roles"),
        (name = "keys", description = "API keys and the services that have them"),
        (name = "money", description = "Prices, budgets and what was spent"),
        (name = "audit", description = "Who did what"),
        (name = "costs", description = "What was spent, budgets and prices"),
        (name = "notifications", description = "What people are told, and where alerts go"),
        (name = "dead letters", description = "Failed runs that nobody has dealt with"),
    ),
    security(("key" = [])),
    modifiers(&Credentials, &Refusals)
)]
struct Description;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let key = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key: `agentstation key create` or the account page makes one."))
            .build();
        components.add_security_scheme("key", SecurityScheme::Http(key));
        let cookie = ApiKeyValue::with_description(
            "__Host-as_sid",
            "A browser’s session. What changes anything also needs the token of a page in `X-Form-Token`.",
        );
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// What any address may answer, whatever it is about: name, status, description.
const REFUSALS: [(&str, &str, &str); 5] = [
    ("BadRequest", "400", "The request is malformed: its query, a header, its body"),
    ("Unauthenticated", "401", "There is no key, or it is wrong, expired or revoked"),
    (
        "Forbidden",
        "403",
        "The role or the key’s scopes do not allow it, or the plan does not include it",
    ),
    ("NotFound", "404", "It is not there, or it is another organization’s"),
    ("RateLimited", "429", "Too many requests of this kind in a short time"),
];

/// Adds the refusals, and to each operation those that it may give and the permission that it needs.
struct Refusals;

impl Modify for Refusals {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        for (name, status, description) in REFUSALS {
            components.responses.insert(name.to_owned(), refusal(status, description).into());
        }
        let needs: BTreeMap<(String, String), Needs> = routes::table()
            .into_iter()
            .map(|line| ((line.method.to_string(), described(line.path)), line.needs))
            .collect();
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations(item) {
                let needs = needs.get(&(method.to_owned(), path.clone())).copied().unwrap_or(Needs::Nothing);
                complete(operation, path, needs);
            }
        }
    }
}

/// A route's path as the description has it.
pub fn described(path: &str) -> String {
    path.replace(":.+", "")
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("GET", &mut item.get),
        ("POST", &mut item.post),
        ("PUT", &mut item.put),
        ("PATCH", &mut item.patch),
        ("DELETE", &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn refusal(status: &str, description: &str) -> Response {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemBody"))).build();
    let response = ResponseBuilder::new().description(description).content(PROBLEM_JSON, problem);
    if status == "429" {
        let seconds = HeaderBuilder::new()
            .schema(Some(Object::with_type(Type::Integer)))
            .description(Some("Seconds to wait"))
            .build();
        return response.header("Retry-After", seconds).build();
    }
    response.build()
}

fn complete(operation: &mut Operation, path: &str, needs: Needs) {
    let permission = match needs {
        Needs::Permission(permission) | Needs::Proved(permission) => Some(permission),
        Needs::Nothing | Needs::Session | Needs::SignedIn | Needs::ProvedSignedIn | Needs::Member => None,
    };
    if let Some(permission) = permission {
        let extensions = ExtensionsBuilder::new().add("x-permission", permission.as_str()).build();
        operation.extensions.get_or_insert_default().merge(extensions);
    }
    if matches!(needs, Needs::Session | Needs::SignedIn | Needs::ProvedSignedIn) {
        operation.security = Some(vec![SecurityRequirement::new("session", Vec::<String>::new())]);
    }
    for (name, status, _) in REFUSALS {
        let may_be = match status {
            "401" => needs != Needs::Nothing,
            "403" => permission.is_some() || needs == Needs::Member,
            "404" => path.contains('{'),
            _ => true,
        };
        if may_be {
            let shared = RefOr::Ref(Ref::from_response_name(name));
            operation.responses.responses.entry(status.to_owned()).or_insert(shared);
        }
    }
}

/// The description as pretty JSON.
pub fn document() -> String {
    DOCUMENT.clone()
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut document = serde_json::to_value(Description::openapi()).unwrap_or_default();
    for operation in operations_of(&mut document) {
        bound_parameters(operation);
    }
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
});

fn operations_of(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    let methods = paths.into_iter().flat_map(|paths| paths.values_mut());
    methods.filter_map(Value::as_object_mut).flat_map(|methods| methods.values_mut())
}

/// Says of parameters that many routes share what holds of them everywhere.
fn bound_parameters(operation: &mut Value) {
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        let name = parameter.get("name").and_then(Value::as_str).unwrap_or_default();
        let schema = match name {
            "limit" => json!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT }),
            "Idempotency-Key" => json!({ "type": "string", "pattern": "^[ -~]*[!-~][ -~]*$", "minLength": 1, "maxLength": 255 }),
            "If-Match" => json!({ "type": "string", "pattern": "^(\\*|\"[0-9]{1,9}\")$", "minLength": 1, "maxLength": 11 }),
            "Last-Event-ID" => json!({ "type": "integer", "format": "int64", "minimum": 0 }),
            _ => continue,
        };
        if let Some(place) = parameter.get_mut("schema") {
            *place = schema;
        }
    }
}

/// `GET /api/v1/openapi.json`
pub async fn show(_: Public) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(DOCUMENT.as_str())
}
