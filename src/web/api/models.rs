//! Model aliases: the names by which agents of a workspace ask models.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Segments;
use super::if_match::{expected, tag};
use crate::domain::provider::Link;
use crate::services::aliases::{self, Alias};
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::form::check_header_token;
use crate::web::extract::paging::Page;
use crate::web::extract::{Authorized, Proved, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// One model of one provider.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ModelLink)]
pub struct LinkBody {
    /// A provider’s name: the organization’s own, else the station’s.
    #[schema(min_length = 1, max_length = 64)]
    pub provider: String,
    /// The provider’s name of the model.
    #[schema(min_length = 1, max_length = 200)]
    pub model: String,
}

/// A name by which agents ask models.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ModelAlias)]
pub struct AliasBody {
    pub name: String,
    /// In the order in which they are asked: the next where one does not answer.
    pub chain: Vec<LinkBody>,
    pub version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_by_name: Option<String>,
    /// Milliseconds since 1970 UTC.
    pub updated_at: i64,
}

impl From<Alias> for AliasBody {
    fn from(alias: Alias) -> Self {
        let link = |link: Link| LinkBody {
            provider: link.provider,
            model: link.model,
        };
        Self {
            name: alias.name,
            chain: alias.chain.into_iter().map(link).collect(),
            version: alias.version,
            updated_by_name: alias.updated_by_name,
            updated_at: alias.updated_at.as_ms(),
        }
    }
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutModelAlias)]
pub struct PutAliasBody {
    /// In the order in which they are asked, each once.
    #[schema(min_items = 1, max_items = 8)]
    pub chain: Vec<LinkBody>,
}

fn answer(alias: Alias) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(tag(alias.version))
        .insert_header(("cache-control", "private, no-cache"))
        .json(AliasBody::from(alias))
}

/// Lists the aliases that are set in a workspace, by name.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/workspaces/{workspace}/models", tag = "models", operation_id = "listModelAliases",
    params(("org" = String, Path, description = "Id or short name"), ("workspace" = String, Path, description = "Id or short name")),
    responses(
        (status = 200, description = "All of them, at most 100", body = Page<AliasBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(auth: Authorized<may::ModelsRead>, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let found = aliases::list(&state.app, auth.actor()).await?;
    Ok(HttpResponse::Ok().json(Page {
        items: found.into_iter().map(AliasBody::from).collect(),
        next: None,
    }))
}

/// Shows an alias.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/workspaces/{workspace}/models/{alias}", tag = "models", operation_id = "getModelAlias",
    params(("org" = String, Path, description = "Id or short name"), ("workspace" = String, Path, description = "Id or short name"), ("alias" = String, Path, description = "The alias")),
    responses(
        (status = 200, description = "The alias", body = AliasBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(auth: Authorized<may::ModelsRead>, state: web::Data<State>, segments: Segments) -> Result<HttpResponse, Problem> {
    Ok(answer(aliases::get(&state.app, auth.actor(), segments.text("alias")).await?))
}

/// Sets an alias, for the next call of every agent that asks for it.
#[utoipa::path(
    put, path = "/api/v1/orgs/{org}/workspaces/{workspace}/models/{alias}", tag = "models", operation_id = "setModelAlias",
    params(("org" = String, Path, description = "Id or short name"), ("workspace" = String, Path, description = "Id or short name"), ("alias" = String, Path, description = "The alias"), ("If-Match" = Option<String>, Header, description = "Only where this is its ETag")),
    request_body = PutAliasBody,
    responses(
        (status = 200, description = "The alias", body = AliasBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn put(
    auth: Proved<may::ModelsManage>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<PutAliasBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let link = |link: LinkBody| Link {
        provider: link.provider,
        model: link.model,
    };
    let chain = body.value.chain.into_iter().map(link).collect();
    let (name, expected, origin) = (segments.text("alias"), expected(&request)?, Context::origin(&request));
    Ok(answer(aliases::put(&state.app, auth.actor(), name, chain, expected, origin).await?))
}

/// Removes an alias. Agents that ask for it find a model of the settings with its name, or none.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/workspaces/{workspace}/models/{alias}", tag = "models", operation_id = "removeModelAlias",
    params(("org" = String, Path, description = "Id or short name"), ("workspace" = String, Path, description = "Id or short name"), ("alias" = String, Path, description = "The alias"), ("If-Match" = Option<String>, Header, description = "Only where this is its ETag")),
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
    check_header_token(&request)?;
    let (name, expected, origin) = (segments.text("alias"), expected(&request)?, Context::origin(&request));
    aliases::remove(&state.app, auth.actor(), name, expected, origin).await?;
    Ok(HttpResponse::NoContent().finish())
}
