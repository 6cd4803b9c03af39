//! The API's description, OpenAPI 3.1, made from the types and handlers that serve it. `openapi.json` is its copy in the
//! repository, which a test compares.

use actix_web::HttpResponse;
use serde_json::{Value, json};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::api;
use super::extract::Public;
use crate::domain::limits::{PAGE_DEFAULT, PAGE_MAX};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "AgentStation",
        description = "Runs sandboxed agents and keeps the journal of everything they do.\n\nThe lists of agents, runs, approvals and sessions are also there below `/api/v1/orgs/{org}/workspaces/{workspace}`. Errors are `application/problem+json` with a stable `code`. Times are milliseconds since 1970 UTC."
    ),
    paths(
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
        api::artifacts::list,
        api::artifacts::show,
        api::reset_links::create,
    ),
    components(schemas(api::events::EntryBody)),
    tags(
        (name = "agents", description = "Agents and their versions"),
        (name = "runs", description = "Runs, their journals and artifacts"),
        (name = "approvals", description = "What waits for a person's decision"),
        (name = "sessions", description = "Conversations with runs"),
        (name = "members", description = "Who is in an organization"),
        (name = "dead letters", description = "Failed runs that nobody has dealt with"),
    ),
    security(("key" = [])),
    modifiers(&ApiKey)
)]
struct Document;

struct ApiKey;

impl Modify for ApiKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let scheme = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key: `agentstation key create` or the account page makes one."))
            .build();
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// The description as pretty JSON.
pub fn document() -> String {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    for operation in operations(&mut document) {
        bound_parameters(operation);
    }
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
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
    HttpResponse::Ok().content_type("application/json").body(document())
}
