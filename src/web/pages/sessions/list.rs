//! `/sessions`: the runs that people talk with, the newest first.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use crate::domain::permission::Permission;
use crate::services::{sessions, users};
use crate::web::extract::paging::{Page, Query};
use crate::web::extract::{Authorized, may as permission};
use crate::web::pages::view::{People, Shell, When};
use crate::web::pages::waits::{self, Waits};
use crate::web::pages::{filters, html, may, page_links, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const ROWS: u32 = 50;

#[derive(Template)]
#[template(path = "pages/sessions/index.html")]
struct ListPage {
    shell: Shell,
    sessions: Vec<SessionRow>,
    may_start: bool,
    next: Option<String>,
    first: Option<String>,
}

struct SessionRow {
    id: String,
    agent: String,
    version: String,
    state: &'static str,
    waits: Option<Waits>,
    started_by: String,
    created: When,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    cursor: String,
}

/// `GET /sessions`
pub async fn show(
    auth: Authorized<permission::RunsRead>,
    state: web::Data<State>,
    query: Query<Choice>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (actor, cursor, now) = (auth.actor(), query.0.cursor, state.app.clock.now());
    let found = sessions::list(&state.app, actor, cursor.parse().ok(), ROWS + 1).await?;
    let page = Page::cut(found, ROWS, |run| run.id.to_string());
    let people = People(users::names(&state.app, actor.org).await?);
    let mut rows = Vec::with_capacity(page.items.len());
    for run in &page.items {
        rows.push(SessionRow {
            id: run.id.to_string(),
            agent: run.agent_name.clone(),
            version: run.agent_version.clone(),
            state: run.shown().as_str(),
            waits: waits::of_run(&state, actor, run).await?,
            started_by: people.name(run.started_by),
            created: When::new(run.created_at, now),
        });
    }
    let (next, first) = page_links("/sessions", &[], page.next.as_deref(), cursor.is_empty());
    html(&ListPage {
        shell: shell(&state, &request, &auth.known, "Sessions", "sessions"),
        sessions: rows,
        may_start: may(actor, Permission::RunsStart) && may(actor, Permission::RunsMessage),
        next,
        first,
    })
}
