//! `/notifications`: what the person was told, and what of it they have not read.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use crate::domain::limits::PAGE_DEFAULT;
use crate::domain::notification::Tone;
use crate::domain::permission::Permission;
use crate::services::notifications;
use crate::store::notifications::Notification;
use crate::web::api::notifications::cursor;
use crate::web::extract::form::Form;
use crate::web::extract::paging::{Page, Query};
use crate::web::extract::{Authorized, may as permission};
use crate::web::pages::view::{Shell, When};
use crate::web::pages::{filters, html, may, page_links, see_other, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const PATH: &str = "/notifications";

#[derive(Template)]
#[template(path = "pages/notifications.html")]
struct NotificationsPage {
    shell: Shell,
    rows: Vec<Row>,
    /// The newest of the page, where it is not read.
    newest_unread: Option<String>,
    may_set_up: bool,
    next: Option<String>,
    first: Option<String>,
}

struct Row {
    icon: &'static str,
    tone: &'static str,
    title: String,
    body: String,
    link: String,
    unread: bool,
    at: When,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Place {
    cursor: String,
}

/// `GET /notifications`
pub async fn show(
    auth: Authorized<permission::OverviewRead>,
    state: web::Data<State>,
    query: Query<Place>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (actor, now) = (auth.actor(), state.app.clock.now());
    let before = cursor(Some(query.0.cursor.as_str()).filter(|text| !text.is_empty()))?;
    let listed = notifications::list(&state.app, actor, before, PAGE_DEFAULT + 1).await?;
    let unread = |row: &Notification| listed.read_up_to.is_none_or(|read| row.id > read);
    let newest_unread = listed.found.first().filter(|row| unread(row)).map(|row| row.id.to_string());
    let page = Page::cut(listed.found, PAGE_DEFAULT, |row| row.id.to_string());
    let (next, first) = page_links(PATH, &[], page.next.as_deref(), before.is_none());
    let row = |row: Notification| Row {
        icon: match row.tone {
            Tone::Ok => "ok",
            Tone::Info => "bell",
            Tone::Wait => "waiting",
            Tone::Fail => "warn",
        },
        tone: row.tone.as_str(),
        unread: listed.read_up_to.is_none_or(|read| row.id > read),
        title: row.title,
        body: row.body,
        link: row.link,
        at: When::new(row.created_at, now),
    };
    html(&NotificationsPage {
        shell: shell(&state, &request, &auth.known, "Notifications", "notifications"),
        newest_unread,
        may_set_up: may(actor, Permission::BudgetsManage),
        rows: page.items.into_iter().map(row).collect(),
        next,
        first,
    })
}

/// `POST /notifications/read`: marks everything that the page showed, and what is older, as read.
pub async fn read(auth: Authorized<permission::OverviewRead>, state: web::Data<State>, form: Form) -> Result<HttpResponse, Problem> {
    let up_to = form
        .text("up_to")
        .parse()
        .map_err(|_| Problem::invalid("/up_to", "it names the newest notification that was read"))?;
    notifications::mark_read(&state.app, auth.actor(), up_to).await?;
    Ok(see_other("/notifications?done=read"))
}
