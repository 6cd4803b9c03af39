//! Model providers: of an organization, and of the station for all. A key goes in and never comes out.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Segments;
use super::if_match::{expected, tag};
use crate::config::secret::Secret;
use crate::domain::permission::Actor;
use crate::domain::provider::ProviderLimits;
use crate::domain::time::Timestamp;
use crate::services::providers::{self, Change, NewKey, NewProvider, Of, Stored, Tested};
use crate::web::context::Context;
use crate::web::extract::body::{Json, object, object_or_none};
use crate::web::extract::form::check_header_token;
use crate::web::extract::paging::Page;
use crate::web::extract::{Authorized, Proved, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// How long a provider is waited for, and how much it is asked at one time. What is not said stays as it is, at first at its default.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = ProviderLimits)]
pub struct LimitsBody {
    /// Milliseconds until a connection is there.
    #[schema(minimum = 100, maximum = 60_000)]
    pub connect_ms: Option<u64>,
    /// Milliseconds until the first words.
    #[schema(minimum = 100, maximum = 1_800_000)]
    pub first_token_ms: Option<u64>,
    /// Milliseconds between two parts of a reply.
    #[schema(minimum = 100, maximum = 1_800_000)]
    pub idle_ms: Option<u64>,
    /// Milliseconds for a whole call, other tries and waiting in line included.
    #[schema(minimum = 100, maximum = 3_600_000)]
    pub call_ms: Option<u64>,
    /// Calls at one time; the others wait in line, and the turn goes around among agents.
    #[schema(minimum = 1, maximum = 1_000)]
    pub concurrency: Option<u32>,
    /// Input and output tokens in a minute; 0 is no limit.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    pub tokens_per_minute: Option<u32>,
    /// The most that one reply may have.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub max_output_tokens: Option<u32>,
}

impl LimitsBody {
    fn over(self, base: ProviderLimits) -> ProviderLimits {
        ProviderLimits {
            connect_ms: self.connect_ms.unwrap_or(base.connect_ms),
            first_token_ms: self.first_token_ms.unwrap_or(base.first_token_ms),
            idle_ms: self.idle_ms.unwrap_or(base.idle_ms),
            call_ms: self.call_ms.unwrap_or(base.call_ms),
            concurrency: self.concurrency.unwrap_or(base.concurrency),
            tokens_per_minute: self.tokens_per_minute.unwrap_or(base.tokens_per_minute),
            max_output_tokens: self.max_output_tokens.unwrap_or(base.max_output_tokens),
        }
    }
}

impl From<ProviderLimits> for LimitsBody {
    fn from(limits: ProviderLimits) -> Self {
        Self {
            connect_ms: Some(limits.connect_ms),
            first_token_ms: Some(limits.first_token_ms),
            idle_ms: Some(limits.idle_ms),
            call_ms: Some(limits.call_ms),
            concurrency: Some(limits.concurrency),
            tokens_per_minute: Some(limits.tokens_per_minute),
            max_output_tokens: Some(limits.max_output_tokens),
        }
    }
}

/// A server of language models. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Provider)]
pub struct ProviderBody {
    pub id: String,
    /// As aliases and prices name it.
    pub name: String,
    /// `openai`, `anthropic` or `scripted`.
    pub kind: String,
    /// What it was made from, such as `openai` or `ollama`; prices are looked up under it.
    pub preset: String,
    pub base_url: String,
    pub has_key: bool,
    /// Of a scripted one.
    pub rules: String,
    /// Whether a model without a price costs nothing; otherwise it is not asked.
    pub free: bool,
    pub enabled: bool,
    pub limits: LimitsBody,
    /// The models that it said it has, when it was last tested.
    pub models: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models_at: Option<i64>,
    pub version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    pub created_at: i64,
    pub updated_at: i64,
}

impl From<Stored> for ProviderBody {
    fn from(stored: Stored) -> Self {
        Self {
            id: stored.id.to_string(),
            name: stored.name,
            kind: stored.kind.to_string(),
            preset: stored.preset,
            base_url: stored.base_url,
            has_key: stored.key.is_some(),
            rules: stored.rules,
            free: stored.free,
            enabled: stored.enabled,
            limits: stored.limits.into(),
            models: stored.models,
            models_at: stored.models_at.map(Timestamp::as_ms),
            version: stored.version,
            created_by: stored.created_by.map(|by| by.to_string()),
            created_at: stored.created_at.as_ms(),
            updated_at: stored.updated_at.as_ms(),
        }
    }
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewProvider)]
pub struct NewProviderBody {
    /// Stays as it is: aliases and prices name it.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z]([a-z0-9-]*[a-z0-9])?$")]
    pub name: String,
    /// `openai`, `anthropic`, `openrouter`, `groq`, `mistral`, `ollama`, `vllm`, `llama.cpp`, `lm-studio`, `other` or `scripted`.
    #[schema(example = "openai")]
    pub preset: String,
    /// Where its API begins; the preset’s where it is not given. An organization’s is at a public address over https, or in a range that the
    /// operator opened.
    #[serde(default)]
    #[schema(max_length = 500)]
    pub base_url: String,
    /// Is never shown again.
    #[serde(default)]
    #[schema(max_length = 4096)]
    pub key: Option<String>,
    /// Only of a scripted one.
    #[serde(default)]
    #[schema(max_length = 65536)]
    pub rules: String,
    /// Not where the preset wants money.
    #[serde(default)]
    pub free: Option<bool>,
    #[serde(default, deserialize_with = "object")]
    pub limits: LimitsBody,
}

impl From<NewProviderBody> for NewProvider {
    fn from(body: NewProviderBody) -> Self {
        Self {
            name: body.name,
            preset: body.preset,
            base_url: body.base_url,
            key: body.key.map(Secret::new),
            rules: body.rules,
            free: body.free,
            limits: body.limits.over(ProviderLimits::default()),
        }
    }
}

/// What is to be different; what is not named stays.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = ChangeProvider)]
pub struct ChangeProviderBody {
    /// Where it leads to another server, the key is given again.
    #[schema(max_length = 500)]
    pub base_url: Option<String>,
    /// Takes the place of the one before.
    #[schema(max_length = 4096)]
    pub key: Option<String>,
    /// Not together with `key`.
    pub remove_key: bool,
    #[schema(max_length = 65536)]
    pub rules: Option<String>,
    pub free: Option<bool>,
    /// Without, agents cannot ask it.
    pub enabled: Option<bool>,
    #[serde(deserialize_with = "object_or_none")]
    pub limits: Option<LimitsBody>,
}

/// What came of asking a provider for its models.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = TestedProvider)]
pub struct TestedBody {
    pub ok: bool,
    /// As it is stored now.
    pub provider: ProviderBody,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<Tested> for TestedBody {
    fn from(tested: Tested) -> Self {
        let (problem, hint) = tested.advice.map(|advice| (advice.problem, advice.hint)).unzip();
        Self {
            ok: problem.is_none(),
            provider: tested.provider.into(),
            problem,
            hint,
        }
    }
}

fn answer(status: StatusCode, stored: Stored) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header(tag(stored.version))
        .insert_header(("cache-control", "private, no-cache"))
        .json(ProviderBody::from(stored))
}

async fn listed(state: &State, actor: &Actor, of: Of) -> Result<HttpResponse, Problem> {
    let found = providers::list(&state.app, actor, of).await?;
    Ok(HttpResponse::Ok().json(Page {
        items: found.into_iter().map(ProviderBody::from).collect(),
        next: None,
    }))
}

async fn created(state: &State, actor: &Actor, of: Of, body: NewProviderBody, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let stored = providers::create(&state.app, actor, of, body.into(), Context::origin(request)).await?;
    Ok(answer(StatusCode::CREATED, stored))
}

async fn shown(state: &State, actor: &Actor, of: Of, segments: &Segments) -> Result<HttpResponse, Problem> {
    let stored = providers::get(&state.app, actor, of, segments.provider()?).await?;
    Ok(answer(StatusCode::OK, stored))
}

async fn changed(
    state: &State,
    actor: &Actor,
    of: Of,
    segments: &Segments,
    body: ChangeProviderBody,
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    let provider = segments.provider()?;
    let limits = match body.limits {
        None => None,
        Some(limits) => Some(limits.over(providers::get(&state.app, actor, of, provider).await?.limits)),
    };
    if body.remove_key && body.key.is_some() {
        return Err(Problem::invalid("/remove_key", "give a key, or remove it, not both"));
    }
    let change = Change {
        base_url: body.base_url,
        key: match body.key {
            Some(key) => Some(NewKey::Set(Secret::new(key))),
            None => body.remove_key.then_some(NewKey::Remove),
        },
        rules: body.rules,
        free: body.free,
        enabled: body.enabled,
        limits,
    };
    let expected = expected(request)?;
    let stored = providers::change(&state.app, actor, of, provider, change, expected, Context::origin(request)).await?;
    Ok(answer(StatusCode::OK, stored))
}

async fn removed(state: &State, actor: &Actor, of: Of, segments: &Segments, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    check_header_token(request)?;
    let (provider, expected) = (segments.provider()?, expected(request)?);
    providers::remove(&state.app, actor, of, provider, expected, Context::origin(request)).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn tested(state: &State, actor: &Actor, of: Of, segments: &Segments, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    check_header_token(request)?;
    let tested = providers::test(&state.app, actor, of, segments.provider()?, Context::origin(request)).await?;
    Ok(HttpResponse::Ok().json(TestedBody::from(tested)))
}

/// Lists the organization’s own providers, by name.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/providers", tag = "models", operation_id = "listProviders",
    params(("org" = String, Path, description = "Id or short name")),
    responses(
        (status = 200, description = "All of them, at most 100", body = Page<ProviderBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(auth: Authorized<may::ModelsRead>, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    listed(&state, auth.actor(), Of::Org).await
}

/// Adds a provider.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/providers", tag = "models", operation_id = "createProvider",
    params(("org" = String, Path, description = "Id or short name")),
    request_body = NewProviderBody,
    responses(
        (status = 201, description = "The provider", body = ProviderBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    auth: Proved<may::ModelsManage>,
    state: web::Data<State>,
    body: Json<NewProviderBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    created(&state, auth.actor(), Of::Org, body.value, &request).await
}

/// Shows one of the organization’s providers.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/providers/{provider}", tag = "models", operation_id = "getProvider",
    params(("org" = String, Path, description = "Id or short name"), ("provider" = String, Path, description = "The provider’s id")),
    responses(
        (status = 200, description = "The provider", body = ProviderBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(auth: Authorized<may::ModelsRead>, state: web::Data<State>, segments: Segments) -> Result<HttpResponse, Problem> {
    shown(&state, auth.actor(), Of::Org, &segments).await
}

/// Changes one of the organization’s providers. Its key is not sent to another server than it was given for.
#[utoipa::path(
    patch, path = "/api/v1/orgs/{org}/providers/{provider}", tag = "models", operation_id = "changeProvider",
    params(("org" = String, Path, description = "Id or short name"), ("provider" = String, Path, description = "The provider’s id"), ("If-Match" = Option<String>, Header, description = "Only where this is its ETag")),
    request_body = ChangeProviderBody,
    responses(
        (status = 200, description = "The provider", body = ProviderBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    auth: Proved<may::ModelsManage>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<ChangeProviderBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    changed(&state, auth.actor(), Of::Org, &segments, body.value, &request).await
}

/// Removes one of the organization’s providers, with its key. One that aliases name stays.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/providers/{provider}", tag = "models", operation_id = "removeProvider",
    params(("org" = String, Path, description = "Id or short name"), ("provider" = String, Path, description = "The provider’s id"), ("If-Match" = Option<String>, Header, description = "Only where this is its ETag")),
    responses(
        (status = 204, description = "It is removed"),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    auth: Proved<may::ModelsManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    removed(&state, auth.actor(), Of::Org, &segments, &request).await
}

/// Asks a provider for its models and keeps their names. What is wrong with the connection is in the answer, with what to do about it.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/providers/{provider}/test", tag = "models", operation_id = "testProvider",
    params(("org" = String, Path, description = "Id or short name"), ("provider" = String, Path, description = "The provider’s id")),
    responses(
        (status = 200, description = "What came of it", body = TestedBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn test(
    auth: Authorized<may::ModelsManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    tested(&state, auth.actor(), Of::Org, &segments, &request).await
}

/// Lists the station’s providers, which every organization’s agents can use, by name.
#[utoipa::path(
    get, path = "/api/v1/station/providers", tag = "station", operation_id = "listStationProviders",
    responses(
        (status = 200, description = "All of them, at most 100", body = Page<ProviderBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list_station(auth: Authorized<may::StationManage>, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    listed(&state, auth.actor(), Of::Station).await
}

/// Adds a provider for every organization. It may be inside the station’s own network.
#[utoipa::path(
    post, path = "/api/v1/station/providers", tag = "station", operation_id = "createStationProvider",
    request_body = NewProviderBody,
    responses(
        (status = 201, description = "The provider", body = ProviderBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create_station(
    auth: Proved<may::StationManage>,
    state: web::Data<State>,
    body: Json<NewProviderBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    created(&state, auth.actor(), Of::Station, body.value, &request).await
}

/// Shows one of the station’s providers.
#[utoipa::path(
    get, path = "/api/v1/station/providers/{provider}", tag = "station", operation_id = "getStationProvider",
    params(("provider" = String, Path, description = "The provider’s id")),
    responses(
        (status = 200, description = "The provider", body = ProviderBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show_station(
    auth: Authorized<may::StationManage>,
    state: web::Data<State>,
    segments: Segments,
) -> Result<HttpResponse, Problem> {
    shown(&state, auth.actor(), Of::Station, &segments).await
}

/// Changes one of the station’s providers. Its key is not sent to another server than it was given for.
#[utoipa::path(
    patch, path = "/api/v1/station/providers/{provider}", tag = "station", operation_id = "changeStationProvider",
    params(("provider" = String, Path, description = "The provider’s id"), ("If-Match" = Option<String>, Header, description = "Only where this is its ETag")),
    request_body = ChangeProviderBody,
    responses(
        (status = 200, description = "The provider", body = ProviderBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn change_station(
    auth: Proved<may::StationManage>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<ChangeProviderBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    changed(&state, auth.actor(), Of::Station, &segments, body.value, &request).await
}

/// Removes one of the station’s providers, with its key.
#[utoipa::path(
    delete, path = "/api/v1/station/providers/{provider}", tag = "station", operation_id = "removeStationProvider",
    params(("provider" = String, Path, description = "The provider’s id"), ("If-Match" = Option<String>, Header, description = "Only where this is its ETag")),
    responses(
        (status = 204, description = "It is removed"),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn remove_station(
    auth: Proved<may::StationManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    removed(&state, auth.actor(), Of::Station, &segments, &request).await
}

/// Asks a provider for its models and keeps their names. What is wrong with the connection is in the answer, with what to do about it.
#[utoipa::path(
    post, path = "/api/v1/station/providers/{provider}/test", tag = "station", operation_id = "testStationProvider",
    params(("provider" = String, Path, description = "The provider’s id")),
    responses(
        (status = 200, description = "What came of it", body = TestedBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn test_station(
    auth: Authorized<may::StationManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    tested(&state, auth.actor(), Of::Station, &segments, &request).await
}
