//! `/`: what is going on, and what went wrong.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::domain::permission::Permission;
use crate::domain::run::Shown;
use crate::services::{agents, overview, runs, users};
use crate::store::overview::Figures;
use crate::store::runs::Filter;
use crate::web::extract::{Authorized, may as permission};
use crate::web::pages::settings::budgets::{Banner, banners};
use crate::web::pages::view::{AgentRow, People, RunRow, Shell, agent_rows, run_row};
use crate::web::pages::{filters, html, may, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const FAILED_ROWS: u32 = 5;
const RUN_ROWS: u32 = 10;
const AGENT_ROWS: u32 = 6;
const DAY: Duration = Duration::from_hours(24);

#[derive(Template)]
#[template(path = "pages/overview.html")]
struct OverviewPage {
    shell: Shell,
    figures: Figures,
    failed: Vec<RunRow>,
    runs: Vec<RunRow>,
    agents: Vec<AgentRow>,
    may_write: bool,
    banners: Vec<Banner>,
}

/// `GET /`
pub async fn show(
    auth: Authorized<permission::OverviewRead>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let actor = auth.actor();
    let app = &state.app;
    let now = app.clock.now();
    let people = People(users::names(app, actor.org).await?);
    let failed = Filter {
        state: Some(Shown::Failed),
        since: Some(now.minus(DAY)),
        ..Filter::default()
    };
    let running = Filter {
        state: Some(Shown::Running),
        ..Filter::default()
    };
    let failed = runs::list(app, actor, failed, None, FAILED_ROWS).await?;
    let mut newest = runs::list(app, actor, running, None, RUN_ROWS).await?;
    let latest = runs::list(app, actor, Filter::default(), None, RUN_ROWS).await?;
    for run in latest {
        if newest.iter().all(|known| known.id != run.id) {
            newest.push(run);
        }
    }
    newest.truncate(RUN_ROWS as usize);
    let listed = agents::list(app, actor, None, None, AGENT_ROWS).await?;
    let row = |run| run_row(run, &people, now);
    html(&OverviewPage {
        shell: shell(&state, &request, &auth.known, "Overview", "overview"),
        figures: overview::figures(app, actor, now.minus(DAY)).await?,
        failed: failed.iter().map(row).collect(),
        runs: newest.iter().map(row).collect(),
        agents: agent_rows(&state, actor, &listed).await?,
        may_write: may(actor, Permission::AgentsWrite),
        banners: banners(&state, actor).await?,
    })
}
