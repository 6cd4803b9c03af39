//! API keys: one's own, and those of the whole organization. A key's text is in the answer that makes it, and never again.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Segments;
use super::idempotency::shown_once;
use super::invitations::ListQuery;
use crate::domain::permission::{Actor, Permission};
use crate::domain::time::Timestamp;
use crate::services::keys::{self, KeyInfo, Made, NewKey, OVERLAP_DEFAULT, Position, Whose};
use crate::web::context::Context;
use crate::web::extract::body::{Json, JsonOrNone};
use crate::web::extract::form::check_header_token;
use crate::web::extract::paging::{Page, Query, limit};
use crate::web::extract::{Authorized, Proved, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// A key that is not revoked. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Key)]
pub struct KeyBody {
    /// The key's public part: the twelve characters after `as1_pat_` or `as1_svc_`.
    pub id: String,
    pub name: String,
    /// Whose it is: it acts as this principal.
    pub principal: String,
    pub principal_name: String,
    /// `user` or `service`.
    pub principal_kind: String,
    /// What it is limited to; absent for all that its principal may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Whether who made it has left the organization, and may still know it: rotate it.
    pub maker_left: bool,
    pub created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// Within a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<i64>,
    /// The key that takes its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<String>,
    /// The whole key, shown only when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl KeyBody {
    fn new(info: &KeyInfo, key: Option<String>) -> Self {
        let scopes = info.scopes.as_ref();
        Self {
            id: info.id.clone(),
            name: info.name.clone(),
            principal: info.principal.to_string(),
            principal_name: info.principal_name.clone(),
            principal_kind: info.principal_kind.to_string(),
            scopes: scopes.map(|scopes| scopes.iter().map(ToString::to_string).collect()),
            created_by: info.created_by.map(|by| by.to_string()),
            maker_left: info.maker_left,
            created_at: info.created_at.as_ms(),
            expires_at: info.expires_at.map(Timestamp::as_ms),
            last_used_at: info.last_used_at.map(Timestamp::as_ms),
            replaced_by: info.replaced_by.clone(),
            key,
        }
    }
}

fn answer(made: Made) -> HttpResponse {
    let without = KeyBody::new(&made.info, None);
    shown_once(StatusCode::CREATED, &KeyBody::new(&made.info, Some(made.text)), &without)
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewKey)]
pub struct NewKeyBody {
    pub name: String,
    /// Within what one may do oneself; absent for all that the key's principal may do. `station:manage` is only given by name.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// 90 where it is not given; at most three years.
    #[serde(default)]
    pub days: Option<u64>,
    /// The service whose key it is to be; only for the organization's keys.
    #[serde(default)]
    pub service: Option<String>,
}

fn new_key(body: &NewKeyBody) -> Result<NewKey, Problem> {
    let scope = |text: &String| Permission::parse(text).ok_or_else(|| Problem::invalid("/scopes", format!("there is no scope {text:?}")));
    let scopes = body.scopes.as_ref();
    Ok(NewKey {
        name: body.name.clone(),
        scopes: scopes.map(|scopes| scopes.iter().map(scope).collect()).transpose()?,
        lasts: body
            .days
            .map_or(keys::LASTS_DEFAULT, |days| Duration::from_secs(days.saturating_mul(86_400))),
    })
}

#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RotateKey)]
pub struct RotateBody {
    /// How long the key before goes on: 24 where it is not given, 0 for not at all, at most 720.
    #[serde(default)]
    pub overlap_hours: Option<u64>,
}

/// Lists one's own keys.
#[utoipa::path(
    get, path = "/api/v1/keys", tag = "keys", operation_id = "listOwnKeys",
    responses(
        (status = 200, description = "All of them, the newest first", body = Page<KeyBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list_own(auth: Authorized<may::KeysOwn>, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let found = keys::list(&state.app, auth.actor()).await?;
    Ok(HttpResponse::Ok().json(Page {
        items: found.iter().map(|key| KeyBody::new(key, None)).collect(),
        next: None,
    }))
}

/// Makes a key of one's own.
#[utoipa::path(
    post, path = "/api/v1/keys", tag = "keys", operation_id = "createOwnKey", request_body = NewKeyBody,
    responses(
        (status = 201, description = "The key, with its text", body = KeyBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create_own(
    auth: Proved<may::KeysOwn>,
    state: web::Data<State>,
    body: Json<NewKeyBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    if body.value.service.is_some() {
        return Err(Problem::invalid("/service", "keys of services are made at /api/v1/orgs/{org}/keys"));
    }
    let made = keys::create_own(&state.app, auth.actor(), new_key(&body.value)?, Context::origin(&request)).await?;
    Ok(answer(made))
}

/// Makes a key that takes the place of one of one's own.
#[utoipa::path(
    post, path = "/api/v1/keys/{key}/rotate", tag = "keys", operation_id = "rotateOwnKey", request_body = RotateBody,
    params(("key" = String, Path, description = "The key's public part")),
    responses(
        (status = 201, description = "The new key, with its text", body = KeyBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn rotate_own(
    auth: Proved<may::KeysOwn>,
    state: web::Data<State>,
    segments: Segments,
    body: JsonOrNone<RotateBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    rotate_one(&state, auth.actor(), Whose::Own, &segments, &body.0, &request).await
}

/// Revokes one of one's own keys, from the next request on.
#[utoipa::path(
    delete, path = "/api/v1/keys/{key}", tag = "keys", operation_id = "revokeOwnKey",
    params(("key" = String, Path, description = "The key's public part")),
    responses(
        (status = 204, description = "It is revoked"),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn revoke_own(
    auth: Authorized<may::KeysOwn>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    revoke_one(&state, auth.actor(), Whose::Own, &segments, &request).await
}

/// Lists everybody's keys in the organization, the newest first.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/keys", tag = "keys", operation_id = "listKeys",
    params(("org" = String, Path, description = "Id or short name"), ListQuery),
    responses(
        (status = 200, description = "Keys", body = Page<KeyBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(auth: Authorized<may::KeysManage>, state: web::Data<State>, query: Query<ListQuery>) -> Result<HttpResponse, Problem> {
    let limit = limit(query.0.limit)?;
    let before = match query.0.cursor.as_deref() {
        None => None,
        Some(text) => Some(position(text).ok_or_else(|| Problem::invalid("/cursor", "this is no cursor of this list"))?),
    };
    let found = keys::list_all(&state.app, auth.actor(), before, limit + 1).await?;
    let page = Page::cut(found, limit, cursor);
    Ok(HttpResponse::Ok().json(page.map(|key| KeyBody::new(&key, None))))
}

/// Where a list of keys goes on after this one.
pub fn cursor(key: &KeyInfo) -> String {
    format!("{}.{}", key.created_at.as_ms(), key.id)
}

/// What a cursor stands for.
pub fn position(cursor: &str) -> Option<Position> {
    let (at, id) = cursor.split_once('.')?;
    Some((Timestamp::from_ms(at.parse().ok()?), id.to_owned()))
}

/// Makes a key for one of the organization's services.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/keys", tag = "keys", operation_id = "createKey", request_body = NewKeyBody,
    params(("org" = String, Path, description = "Id or short name")),
    responses(
        (status = 201, description = "The key, with its text", body = KeyBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    auth: Proved<may::KeysManage>,
    state: web::Data<State>,
    body: Json<NewKeyBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let Some(service) = &body.value.service else {
        return Err(Problem::invalid(
            "/service",
            "say which service’s key it is to be; people make their own at /api/v1/keys",
        ));
    };
    let service = service.parse().map_err(|_| Problem::not_found())?;
    let new = new_key(&body.value)?;
    let made = keys::create_for_service(&state.app, auth.actor(), service, new, Context::origin(&request)).await?;
    Ok(answer(made))
}

/// Makes a key that takes the place of a service's, or of one's own.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/keys/{key}/rotate", tag = "keys", operation_id = "rotateKey", request_body = RotateBody,
    params(("org" = String, Path, description = "Id or short name"), ("key" = String, Path, description = "The key's public part")),
    responses(
        (status = 201, description = "The new key, with its text", body = KeyBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn rotate(
    auth: Proved<may::KeysManage>,
    state: web::Data<State>,
    segments: Segments,
    body: JsonOrNone<RotateBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    rotate_one(&state, auth.actor(), Whose::All, &segments, &body.0, &request).await
}

/// Revokes anybody's key, from the next request on.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/keys/{key}", tag = "keys", operation_id = "revokeKey",
    params(("org" = String, Path, description = "Id or short name"), ("key" = String, Path, description = "The key's public part")),
    responses(
        (status = 204, description = "It is revoked"),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn revoke(
    auth: Authorized<may::KeysManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    revoke_one(&state, auth.actor(), Whose::All, &segments, &request).await
}

async fn rotate_one(
    state: &State,
    actor: &Actor,
    whose: Whose,
    segments: &Segments,
    body: &RotateBody,
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    let overlap = body
        .overlap_hours
        .map_or(OVERLAP_DEFAULT, |hours| Duration::from_secs(hours.saturating_mul(3_600)));
    let id = segments.text("key").to_owned();
    let made = keys::rotate(&state.app, actor, whose, id, overlap, Context::origin(request)).await?;
    Ok(answer(made))
}

async fn revoke_one(
    state: &State,
    actor: &Actor,
    whose: Whose,
    segments: &Segments,
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(request)?;
    let id = segments.text("key").to_owned();
    keys::revoke(&state.app, actor, whose, id, Context::origin(request)).await?;
    Ok(HttpResponse::NoContent().finish())
}
