//! What people of an organization are told.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

use crate::domain::id::NotificationId;
use crate::services::notifications;
use crate::web::extract::paging::{Page, Query, limit};
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// Something that the caller's role is told. `created_at` is milliseconds since 1970 UTC.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Notification)]
pub struct NotificationBody {
    pub id: String,
    /// `ok`, `info`, `wait` or `fail`.
    pub tone: String,
    pub title: String,
    pub body: String,
    /// A path of the station, such as `/costs`; absent where there is nothing to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Whether the caller has marked it as read.
    pub read: bool,
    pub created_at: i64,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct NotificationsQuery {
    /// At most 500; 50 where it is not given.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    #[param(pattern = "^ntf_[0-9a-hjkmnp-tv-z]{26}$")]
    pub cursor: Option<String>,
}

/// The notification that a cursor names.
pub fn cursor(text: Option<&str>) -> Result<Option<NotificationId>, Problem> {
    let parse = |text: &str| text.parse().map_err(|_| Problem::invalid("/cursor", "this is no cursor of ours"));
    text.map(parse).transpose()
}

/// Lists what the caller's role is told, the newest first.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/notifications", tag = "notifications", operation_id = "listNotifications",
    params(("org" = String, Path, description = "Id or slug"), NotificationsQuery),
    responses(
        (status = 200, description = "A page of notifications", body = Page<NotificationBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    auth: Authorized<may::OverviewRead>,
    state: web::Data<State>,
    query: Query<NotificationsQuery>,
) -> Result<HttpResponse, Problem> {
    let limit = limit(query.0.limit)?;
    let before = cursor(query.0.cursor.as_deref())?;
    let listed = notifications::list(&state.app, auth.actor(), before, limit + 1).await?;
    let page = Page::cut(listed.found, limit, |row| row.id.to_string());
    Ok(HttpResponse::Ok().json(page.map(|row| NotificationBody {
        id: row.id.to_string(),
        tone: row.tone.to_string(),
        title: row.title,
        body: row.body,
        link: Some(row.link).filter(|link| !link.is_empty()),
        read: listed.read_up_to.is_some_and(|read| row.id <= read),
        created_at: row.created_at.as_ms(),
    })))
}
