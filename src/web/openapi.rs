//! The API's description, OpenAPI 3.1, made from the types and handlers that serve it. `openapi.json` is its copy in the
//! repository, which a test compares.

use actix_web::HttpResponse;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::api;
use super::extract::Public;

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
    let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// `GET /api/v1/openapi.json`
pub async fn show(_: Public) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(document())
}
