//! `/dead-letters`: failed runs that nobody has dealt with, and starting one over.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use crate::domain::id::RunId;
use crate::domain::permission::Permission;
use crate::domain::run::Trigger;
use crate::services::dead_letters::{self, Bulk, Outcome};
use crate::services::runs;
use crate::store::runs::Run;
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::paging::{Page, Query};
use crate::web::extract::{Authorized, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::view::{Shell, When, pretty, why_of};
use crate::web::pages::{filters, html, may, page_links, see_other, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const ROWS: u32 = 50;

#[derive(Template)]
#[template(path = "pages/dead_letters/index.html")]
struct ListPage {
    shell: Shell,
    letters: Vec<Letter>,
    outcomes: Vec<Told>,
    may_act: bool,
    may_start: bool,
    next: Option<String>,
    first: Option<String>,
}

impl ListPage {
    fn all_well(&self) -> bool {
        self.outcomes.iter().all(|told| told.ok)
    }
}

struct Letter {
    id: String,
    agent: String,
    version: String,
    reason: String,
    attempts: u32,
    ended: When,
}

/// What became of a run that something was asked for.
struct Told {
    run: String,
    text: String,
    ok: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    cursor: String,
}

/// `GET /dead-letters`
pub async fn show(
    auth: Authorized<permission::RunsRead>,
    state: web::Data<State>,
    query: Query<Choice>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    page(&auth.known, &state, &request, &query.0.cursor, Vec::new()).await
}

async fn page(known: &Known, state: &State, request: &HttpRequest, cursor: &str, outcomes: Vec<Told>) -> Result<HttpResponse, Problem> {
    let actor = &known.actor;
    let now = state.app.clock.now();
    let found = dead_letters::list(&state.app, actor, cursor.parse().ok(), ROWS + 1).await?;
    let page = Page::cut(found, ROWS, |run| run.id.to_string());
    let (next, first) = page_links("/dead-letters", &[], page.next.as_deref(), cursor.is_empty());
    let letter = |run: &Run| Letter {
        id: run.id.to_string(),
        agent: run.agent_name.clone(),
        version: run.agent_version.clone(),
        reason: why_of(run),
        attempts: run.tries.saturating_add(1),
        ended: When::new(run.finished_at.unwrap_or(run.created_at), now),
    };
    html(&ListPage {
        shell: shell(state, request, known, "Dead letters", "dead_letters"),
        letters: page.items.iter().map(letter).collect(),
        outcomes,
        may_act: may(actor, Permission::RunsCancel),
        may_start: may(actor, Permission::RunsStart),
        next,
        first,
    })
}

/// `POST /dead-letters`
pub async fn act(
    auth: Authorized<permission::RunsCancel>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let what = match form.text("act") {
        "requeue" => Bulk::Requeue,
        "discard" => Bulk::Discard,
        _ => return Err(Problem::invalid("/act", "choose what is to be done")),
    };
    let ids: Vec<RunId> = form.all("run").filter_map(|id| id.parse().ok()).collect();
    if ids.is_empty() {
        return Ok(see_other("/dead-letters?done=none-selected"));
    }
    let outcomes = dead_letters::bulk(&state.app, auth.actor(), what, &ids, Context::origin(&request)).await?;
    let told = outcomes.into_iter().map(|outcome| tell(what, outcome)).collect();
    page(&auth.known, &state, &request, "", told).await
}

fn tell(what: Bulk, outcome: Outcome) -> Told {
    let (text, ok) = match (outcome.result, what) {
        (Ok(_), Bulk::Requeue) => ("it is tried again".to_owned(), true),
        (Ok(_), Bulk::Discard) => ("put away".to_owned(), true),
        (Err(error), _) => (Problem::from(error).detail, false),
    };
    Told {
        run: outcome.run.to_string(),
        text,
        ok,
    }
}

/// `POST /runs/{run}/retry`
pub async fn retry(
    auth: Authorized<permission::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let run = segments.run()?;
    dead_letters::retry(&state.app, auth.actor(), run, Context::origin(&request)).await?;
    Ok(see_other(format!("/runs/{run}?done=retried")))
}

/// `POST /runs/{run}/discard`
pub async fn discard(
    auth: Authorized<permission::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let run = segments.run()?;
    dead_letters::discard(&state.app, auth.actor(), run, Context::origin(&request)).await?;
    Ok(see_other(format!("/runs/{run}?done=discarded")))
}

#[derive(Template)]
#[template(path = "pages/dead_letters/start_over.html")]
struct StartOverPage {
    shell: Shell,
    id: String,
    agent: String,
    version: String,
    input: String,
    writes: Vec<String>,
    fresh: bool,
}

/// `GET /runs/{run}/start-over`
pub async fn ask_start_over(
    auth: Authorized<permission::RunsStart>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let actor = auth.actor();
    let whole = runs::whole(&state.app, actor, segments.run()?).await?;
    let run = whole.run;
    html(&StartOverPage {
        shell: shell(&state, &request, &auth.known, format!("Start {} over", run.agent_name), "runs"),
        writes: dead_letters::writes(&state.app, actor, run.id).await?,
        id: run.id.to_string(),
        agent: run.agent_name,
        version: run.agent_version,
        input: pretty(&whole.input),
        fresh: !run.pinned,
    })
}

/// `POST /runs/{run}/start-over`
pub async fn start_over(
    auth: Authorized<permission::RunsStart>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (run, repeat) = (segments.run()?, form.text("repeat_writes") == "true");
    let origin = Context::origin(&request);
    let started = dead_letters::start_over(&state.app, auth.actor(), run, repeat, Trigger::Manual, origin).await?;
    Ok(see_other(format!("/runs/{}", started.id)))
}
