//! `/runs/{run}`: the heart. The server sends the header and a plain log; the timeline is drawn from the journal.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde_json::Value;

use super::fork::OriginNote;
use super::verify::VerifiedNote;
use super::words;
use crate::domain::call::ArtifactInfo;
use crate::domain::contact::RunHost;
use crate::domain::failure::EndReason;
use crate::domain::journal::{Lane, Phase};
use crate::domain::permission::Permission;
use crate::domain::run::{Hold, RunState, Trigger};
use crate::domain::time::Timestamp;
use crate::services::{adoption, fork, holds, runs, users, verify};
use crate::store::runs::Run;
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::{Authorized, Proved, may as permission};
use crate::web::pages::approvals::card::{ApprovalCard, Place, pending_of};
use crate::web::pages::view::{People, Shell, When, duration_of, pretty};
use crate::web::pages::waits::{self, Waits};
use crate::web::pages::{filters, html, may, see_other, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

/// Entries on the page for browsers without JavaScript.
const LINES: u32 = 200;

#[derive(Template)]
#[template(path = "pages/runs/show.html")]
struct ShowPage {
    shell: Shell,
    run: RunPage,
    lines: Vec<Line>,
    artifacts: Vec<ArtifactInfo>,
    hosts: Vec<RunHost>,
    approvals: Vec<ApprovalCard>,
    verified: Option<VerifiedNote>,
    origin: Option<OriginNote>,
}

struct RunPage {
    id: String,
    /// The run that started it.
    parent: Option<String>,
    session: bool,
    waits: Option<Waits>,
    agent: String,
    version: String,
    state: &'static str,
    priority: i32,
    started_by: String,
    trigger: &'static str,
    created: When,
    created_ms: i64,
    started_ms: Option<i64>,
    finished_ms: Option<i64>,
    duration_ms: Option<u64>,
    input_tokens: u64,
    output_tokens: u64,
    cost_micros: u64,
    /// With the runs below it, where that is more.
    tree_micros: Option<u64>,
    /// The most that it and the runs below it may cost.
    budget_micros: Option<u64>,
    /// Whether it waits for money.
    held_by_budget: bool,
    fuel: u64,
    entries: u64,
    may_cancel: bool,
    /// Whether it waits for somebody to take the place of its starter.
    left: bool,
    may_adopt: bool,
    may_resume: bool,
    may_verify: bool,
    failed: bool,
    dead: bool,
    may_retry: bool,
    may_fork: bool,
    may_start: bool,
    failure: Option<RunFailure>,
    input: String,
    output: Option<String>,
}

struct RunFailure {
    title: String,
    message: String,
    fix: &'static str,
    place: Option<String>,
    stack: Option<String>,
}

struct Line {
    seq: u64,
    /// Whether it may be what a fork begins behind.
    forks: bool,
    offset_ms: u64,
    text: String,
}

/// `GET /runs/{run}`
pub async fn show(
    auth: Authorized<permission::RunsRead>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let actor = auth.actor();
    let run = runs::get(&state.app, actor, segments.run()?).await?;
    let (input, output) = runs::texts(&state.app, actor, run.id).await?;
    let entries = runs::events(&state.app, actor, run.id, 0, LINES).await?;
    let artifacts = runs::artifacts(&state.app, actor, run.id).await?;
    let people = People(users::names(&state.app, actor.org).await?);
    let now = state.app.clock.now();
    let created = run.created_at.as_ms();
    let left = run.holds.contains(Hold::PrincipalRemoved);
    let may_adopt = left && may(actor, Permission::MembersManage);
    // Where the starter is back, an admin lets it go on as it was.
    let may_resume = !left || may_adopt && adoption::starter_is_back(&state.app, actor, &run).await?;
    let line = |entry: &crate::domain::journal::EntryView| Line {
        seq: entry.seq,
        forks: entry.lane == Lane::Guest && entry.phase != Phase::Start,
        offset_ms: u64::try_from(entry.at - created).unwrap_or(0),
        text: words::line(entry),
    };
    html(&ShowPage {
        shell: shell(&state, &request, &auth.known, format!("{} {}", run.agent_name, run.id), "runs"),
        lines: entries.iter().map(line).collect(),
        artifacts,
        hosts: runs::hosts(&state.app, actor, run.id).await?,
        approvals: pending_of(&state, actor, run.id, Place::Run).await?,
        origin: fork::origin(&state.app, actor, &run)
            .await?
            .map(|origin| OriginNote::new(&origin, run.ask_writes)),
        verified: verify::newest(&state.app, actor, &run)
            .await?
            .map(|noted| VerifiedNote::new(noted, &people, now)),
        run: RunPage {
            id: run.id.to_string(),
            parent: run.parent.map(|parent| parent.to_string()),
            session: run.session,
            waits: waits::of_run(&state, actor, &run).await?,
            agent: run.agent_name.clone(),
            version: run.agent_version.clone(),
            state: run.shown().as_str(),
            priority: run.priority,
            started_by: run.started_by_name.clone(),
            trigger: trigger_words(run.trigger),
            created: When::new(run.created_at, now),
            created_ms: created,
            started_ms: run.started_at.map(Timestamp::as_ms),
            finished_ms: run.finished_at.map(Timestamp::as_ms),
            duration_ms: duration_of(&run, now),
            input_tokens: run.input_tokens,
            output_tokens: run.output_tokens,
            cost_micros: run.cost_micros,
            tree_micros: Some(run.tree_spent_micros).filter(|tree| *tree > run.cost_micros),
            budget_micros: run.budget_micros,
            held_by_budget: run.holds.contains(Hold::Budget),
            fuel: run.fuel,
            entries: run.last_seq,
            may_cancel: !run.state.is_terminal() && may(actor, Permission::RunsCancel),
            left,
            may_adopt,
            may_resume,
            may_verify: run.state.is_terminal() && may(actor, Permission::RunsCancel),
            failed: run.state == RunState::Failed,
            dead: run.dead,
            may_retry: may(actor, Permission::RunsCancel),
            may_fork: may(actor, Permission::RunsCancel),
            may_start: may(actor, Permission::RunsStart),
            failure: failure(&run),
            input: pretty(&input),
            output: output.as_deref().map(pretty),
        },
    })
}

/// `POST /runs/{run}/cancel`
pub async fn cancel(
    auth: Authorized<permission::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let run = segments.run()?;
    runs::cancel(&state.app, auth.actor(), run, Context::origin(&request)).await?;
    Ok(see_other(format!("/runs/{run}?done=cancelled")))
}

/// `POST /runs/{run}/pause`
pub async fn pause(
    auth: Authorized<permission::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let run = segments.run()?;
    holds::pause(&state.app, auth.actor(), run, Context::origin(&request)).await?;
    Ok(see_other(format!("/runs/{run}?done=paused")))
}

/// `POST /runs/{run}/resume`
pub async fn resume(
    auth: Authorized<permission::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let run = segments.run()?;
    holds::resume(&state.app, auth.actor(), run, Context::origin(&request)).await?;
    Ok(see_other(format!("/runs/{run}?done=resumed")))
}

/// `POST /runs/{run}/adopt`
pub async fn adopt(
    auth: Proved<permission::MembersManage>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let run = segments.run()?;
    adoption::adopt(&state.app, auth.actor(), run, Context::origin(&request)).await?;
    Ok(see_other(format!("/runs/{run}?done=run-adopted")))
}

const fn trigger_words(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Manual => "in the browser",
        Trigger::Api => "through the API",
        Trigger::Cli => "in a terminal",
        Trigger::Demo => "for the demo",
        Trigger::Parent => "by another run",
        Trigger::Fork => "as a fork",
    }
}

fn failure(run: &Run) -> Option<RunFailure> {
    let reason = run.reason?;
    let error: Value = run
        .error
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let text = |key: &str| {
        error
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let number = |key: &str| error.get(key).and_then(Value::as_u64).filter(|n| *n > 0);
    let place = text("file").map(|file| match (number("line"), number("column")) {
        (Some(line), Some(column)) => format!("{file}:{line}:{column}"),
        (Some(line), None) => format!("{file}:{line}"),
        _ => file,
    });
    // “It used up its fuel. Give it less to do.”: what happened, and what to do.
    let (title, fix) = reason.explain().split_once(". ").unwrap_or((reason.explain(), ""));
    let message = text("message").unwrap_or_default();
    // “it used up limits.fuel = 2000000000”: the station's own words name the limit and say more than the general ones.
    let (title, message) = match message.strip_prefix("it ") {
        Some(rest) if reason != EndReason::AgentError => (format!("It {rest}"), String::new()),
        _ => (title.trim_end_matches('.').to_owned(), message),
    };
    Some(RunFailure {
        title: format!("{title}."),
        message,
        fix,
        place,
        stack: text("stack"),
    })
}
