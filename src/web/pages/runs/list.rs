//! `/runs`: all runs, the newest first, by state, agent and time.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use crate::domain::limits::PAGE_MAX;
use crate::domain::run::Shown;
use crate::services::agents::AgentRef;
use crate::services::{agents, runs, users};
use crate::store::runs::Filter;
use crate::web::extract::paging::{Page, Query};
use crate::web::extract::{Authorized, may as permission};
use crate::web::pages::settings::budgets::{Banner, banners};
use crate::web::pages::view::{People, RunRow, Shell, run_row};
use crate::web::pages::{filters, html, page_links, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const ROWS: u32 = 50;

#[derive(Template)]
#[template(path = "pages/runs/index.html")]
struct ListPage {
    shell: Shell,
    state: String,
    agent: String,
    since: String,
    agents: Vec<String>,
    runs: Vec<RunRow>,
    next: Option<String>,
    first: Option<String>,
    banners: Vec<Banner>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    state: String,
    agent: String,
    since: String,
    cursor: String,
}

/// `GET /runs`
pub async fn show(
    auth: Authorized<permission::RunsRead>,
    state: web::Data<State>,
    query: Query<Choice>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let choice = query.0;
    let actor = auth.actor();
    let now = state.app.clock.now();
    let listed = agents::list(&state.app, actor, None, None, PAGE_MAX).await?;
    let names: Vec<String> = listed.into_iter().map(|listed| listed.agent.name).collect();
    let agent = match choice.agent.as_str() {
        "" => None,
        name if !names.iter().any(|known| known == name) => return Err(Problem::not_found()),
        name => Some(agents::find(&state.app, actor, &AgentRef::Name(name.to_owned())).await?.id),
    };
    let filter = Filter {
        state: Shown::parse(&choice.state),
        agent,
        since: span(&choice.since).map(|span| now.minus(span)),
        ..Filter::default()
    };
    let found = runs::list(&state.app, actor, filter, choice.cursor.parse().ok(), ROWS + 1).await?;
    let page = Page::cut(found, ROWS, |run| run.id.to_string());
    let query = [("state", choice.state.as_str()), ("agent", &choice.agent), ("since", &choice.since)];
    let (next, first) = page_links("/runs", &query, page.next.as_deref(), choice.cursor.is_empty());
    let people = People(users::names(&state.app, actor.org).await?);
    html(&ListPage {
        shell: shell(&state, &request, &auth.known, "Runs", "runs"),
        runs: page.items.iter().map(|run| run_row(run, &people, now)).collect(),
        state: choice.state,
        agent: choice.agent,
        since: choice.since,
        agents: names,
        next,
        first,
        banners: banners(&state, actor).await?,
    })
}

fn span(name: &str) -> Option<Duration> {
    let hours = match name {
        "1h" => 1,
        "24h" => 24,
        "7d" => 7 * 24,
        "30d" => 30 * 24,
        _ => return None,
    };
    Some(Duration::from_hours(hours))
}
