//! Where an organization's alerts go beside the station.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Segments;
use super::idempotency::shown_once;
use super::if_match::{expected, tag};
use crate::config::secret::Secret;
use crate::domain::id::ChannelId;
use crate::domain::notification::ChannelKind;
use crate::domain::time::Timestamp;
use crate::services::channels::{self, Channel, New, Wanted};
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::form::check_header_token;
use crate::web::extract::paging::Page;
use crate::web::extract::{Authorized, Proved, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// A place that alerts go to. Times are milliseconds since 1970 UTC.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Channel)]
pub struct ChannelBody {
    pub id: String,
    pub name: String,
    /// `mail`, `slack` or `webhook`.
    pub kind: String,
    /// Of mail the address. Of the others the host: the whole address is a secret, and never shown.
    pub target: String,
    pub enabled: bool,
    pub version: u32,
    /// When something was sent through it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_at: Option<i64>,
    /// What went wrong then; absent where it arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    pub created_at: i64,
    pub updated_at: i64,
    /// Of a webhook, and only in the answer that makes it: the key that its messages are signed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<String>,
}

impl ChannelBody {
    fn new(channel: Channel, signing_key: Option<String>) -> Self {
        Self {
            id: channel.id.to_string(),
            name: channel.name,
            kind: channel.kind.to_string(),
            target: channel.target,
            enabled: channel.enabled,
            version: channel.version,
            last_at: channel.last_at.map(Timestamp::as_ms),
            last_error: Some(channel.last_error).filter(|error| !error.is_empty()),
            created_at: channel.created_at.as_ms(),
            updated_at: channel.updated_at.as_ms(),
            signing_key,
        }
    }
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewChannel)]
pub struct NewChannelBody {
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// `mail`, `slack` (Slack, Mattermost and what takes the same) or `webhook`.
    #[schema(pattern = "^(mail|slack|webhook)$")]
    pub kind: String,
    /// A mail address, or the address that is posted to.
    #[schema(min_length = 1, max_length = 2000)]
    pub address: String,
}

/// What is to be other than it is; what is absent stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChangeChannel)]
pub struct ChangeChannelBody {
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    pub name: Option<String>,
    #[serde(default)]
    #[schema(min_length = 1, max_length = 2000)]
    pub address: Option<String>,
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// The kind of this name.
pub fn kind(text: &str) -> Result<ChannelKind, Problem> {
    ChannelKind::parse(text).ok_or_else(|| Problem::invalid("/kind", "it is mail, slack or webhook"))
}

/// The channel that the address names.
pub fn channel(segments: &Segments) -> Result<ChannelId, Problem> {
    segments.text("channel").parse().map_err(|_| Problem::not_found())
}

fn answer(channel: Channel) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(tag(channel.version))
        .insert_header(("cache-control", "private, no-cache"))
        .json(ChannelBody::new(channel, None))
}

/// Lists where the organization’s alerts go.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/channels", tag = "notifications", operation_id = "listChannels",
    params(("org" = String, Path, description = "Id or slug")),
    responses(
        (status = 200, description = "All of them, by name", body = Page<ChannelBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(auth: Authorized<may::BudgetsManage>, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let found = channels::list(&state.app, auth.actor()).await?;
    Ok(HttpResponse::Ok().json(Page {
        items: found.into_iter().map(|channel| ChannelBody::new(channel, None)).collect(),
        next: None,
    }))
}

/// Adds a place that alerts go to.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/channels", tag = "notifications", operation_id = "createChannel",
    params(("org" = String, Path, description = "Id or slug")),
    request_body = NewChannelBody,
    responses(
        (status = 201, description = "The channel; of a webhook with the key that its messages are signed with", body = ChannelBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    auth: Proved<may::BudgetsManage>,
    state: web::Data<State>,
    body: Json<NewChannelBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body = body.value;
    let new = New {
        kind: kind(&body.kind)?,
        name: body.name,
        address: Secret::new(body.address),
    };
    let made = channels::create(&state.app, auth.actor(), new, Context::origin(&request)).await?;
    let key = made.signing_key.map(|key| key.expose().to_owned());
    let without = ChannelBody::new(made.channel.clone(), None);
    Ok(shown_once(StatusCode::CREATED, &ChannelBody::new(made.channel, key), &without))
}

/// Shows a place that alerts go to.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/channels/{channel}", tag = "notifications", operation_id = "getChannel",
    params(("org" = String, Path, description = "Id or slug"), ("channel" = String, Path, description = "Id")),
    responses(
        (status = 200, description = "The channel, with its version as ETag", body = ChannelBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(auth: Authorized<may::BudgetsManage>, state: web::Data<State>, segments: Segments) -> Result<HttpResponse, Problem> {
    Ok(answer(channels::get(&state.app, auth.actor(), channel(&segments)?).await?))
}

/// Changes a place that alerts go to. Where it is disabled, what was still to be sent is forgotten.
#[utoipa::path(
    patch, path = "/api/v1/orgs/{org}/channels/{channel}", tag = "notifications", operation_id = "changeChannel",
    params(
        ("org" = String, Path, description = "Id or slug"), ("channel" = String, Path, description = "Id"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the channel that the change was made from: refused with `conflict` where it is another now."),
    ),
    request_body = ChangeChannelBody,
    responses(
        (status = 200, description = "The channel as it is now", body = ChannelBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    auth: Proved<may::BudgetsManage>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<ChangeChannelBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let ChangeChannelBody { name, address, enabled } = body.value;
    if address.as_ref().is_some_and(|address| address.trim().is_empty()) {
        return Err(Problem::invalid(
            "/address",
            "an address is wanted; leave it out to keep the one there is",
        ));
    }
    let wanted = Wanted {
        name,
        address: address.map(Secret::new),
        enabled,
    };
    let expected = expected(&request)?;
    let origin = Context::origin(&request);
    Ok(answer(
        channels::change(&state.app, auth.actor(), channel(&segments)?, wanted, expected, origin).await?,
    ))
}

/// Removes a place that alerts go to.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/channels/{channel}", tag = "notifications", operation_id = "removeChannel",
    params(
        ("org" = String, Path, description = "Id or slug"), ("channel" = String, Path, description = "Id"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the channel as it was read."),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    auth: Proved<may::BudgetsManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let expected = expected(&request)?;
    channels::remove(&state.app, auth.actor(), channel(&segments)?, expected, Context::origin(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Sends a test through a channel, now. The answer’s `last_error` says why it did not arrive.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/channels/{channel}/test", tag = "notifications", operation_id = "testChannel",
    params(("org" = String, Path, description = "Id or slug"), ("channel" = String, Path, description = "Id")),
    responses(
        (status = 200, description = "The channel with how it went", body = ChannelBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn test(
    auth: Authorized<may::BudgetsManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    Ok(answer(
        channels::test(&state.app, auth.actor(), channel(&segments)?, Context::origin(&request)).await?,
    ))
}
