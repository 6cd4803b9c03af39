//! `/agents`: all agents, or those that a search finds.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use crate::domain::permission::Permission;
use crate::services::agents;
use crate::web::extract::paging::{Page, Query};
use crate::web::extract::{Authorized, may as permission};
use crate::web::pages::view::{AgentRow, Shell, agent_rows};
use crate::web::pages::{filters, html, may, page_links, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const ROWS: u32 = 50;

#[derive(Template)]
#[template(path = "pages/agents/index.html")]
struct ListPage {
    shell: Shell,
    query: String,
    agents: Vec<AgentRow>,
    next: Option<String>,
    first: Option<String>,
    may_write: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Search {
    q: String,
    cursor: Option<String>,
}

/// `GET /agents`
pub async fn show(
    auth: Authorized<permission::AgentsRead>,
    state: web::Data<State>,
    query: Query<Search>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let Search { q, cursor } = query.0;
    let q = q.trim().to_owned();
    let is_first = cursor.is_none();
    let search = (!q.is_empty()).then(|| q.clone());
    let found = agents::list(&state.app, auth.actor(), search, cursor, ROWS + 1).await?;
    let page = Page::cut(found, ROWS, |listed| listed.agent.name.clone());
    let (next, first) = page_links("/agents", &[("q", &q)], page.next.as_deref(), is_first);
    html(&ListPage {
        shell: shell(&state, &request, &auth.known, "Agents", "agents"),
        agents: agent_rows(&state, auth.actor(), &page.items).await?,
        may_write: may(auth.actor(), Permission::AgentsWrite),
        query: q,
        next,
        first,
    })
}
