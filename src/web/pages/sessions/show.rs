//! `/sessions/{run}`: a conversation, with the run's timeline beside it. Two people who look see the same.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use crate::domain::permission::Permission;
use crate::domain::time::Timestamp;
use crate::services::conversation::{self, Said, Speaker};
use crate::services::{Error, runs, sessions, waiting};
use crate::store::runs::{Child, Run};
use crate::web::api::Segments;
use crate::web::extract::form::Form;
use crate::web::extract::paging::Query;
use crate::web::extract::{Authorized, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::approvals::card::{ApprovalCard, Place, pending_of};
use crate::web::pages::view::{Shell, When};
use crate::web::pages::waits::{self, Waits};
use crate::web::pages::{filters, html, html_of, may, see_other, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

/// Lines of a conversation on one page.
const LINES: u32 = 100;

#[derive(Template)]
#[template(path = "pages/sessions/show.html")]
struct ShowPage {
    shell: Shell,
    run: SessionPage,
    lines: Vec<Line>,
    /// The page of what was said before.
    earlier: Option<u64>,
    /// Whether this is the newest stretch.
    newest: bool,
    approvals: Vec<ApprovalCard>,
}

struct SessionPage {
    id: String,
    agent: String,
    version: String,
    state: &'static str,
    finished_ms: Option<i64>,
    ended: bool,
    waits: Option<Waits>,
    may_post: bool,
    may_start: bool,
    /// What was typed and could not be posted, and why.
    typed: String,
    error: Option<String>,
    /// The entry before the first that is shown.
    after: u64,
}

/// Something in the conversation, in the order of time.
enum Line {
    Said {
        seq: u64,
        who: String,
        /// Of the run that asks.
        parent: Option<String>,
        at: When,
        text: String,
    },
    Replied {
        seq: u64,
        at: When,
        /// Markdown.
        text: String,
    },
    Child(ChildLine),
}

/// A run that this one has started.
struct ChildLine {
    id: String,
    agent: String,
    state: &'static str,
    at: When,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    before: Option<u64>,
}

/// `GET /sessions/{run}`
pub async fn show(
    auth: Authorized<permission::RunsRead>,
    state: web::Data<State>,
    segments: Segments,
    query: Query<Choice>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let run = runs::get(&state.app, auth.actor(), segments.run()?).await?;
    let page = page(&auth.known, &state, &request, &run, query.0.before, (String::new(), None)).await?;
    html(&page)
}

/// `POST /sessions/{run}`
pub async fn post(
    auth: Authorized<permission::RunsMessage>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (actor, id) = (auth.actor(), segments.run()?);
    let text = form.text("text").to_owned();
    match sessions::post(&state.app, actor, id, text.clone()).await {
        Ok(_) => Ok(see_other(format!("/sessions/{id}#end"))),
        Err(error @ (Error::Invalid(_) | Error::Conflict(_))) => {
            let problem = Problem::from(error);
            let run = runs::get(&state.app, actor, id).await?;
            let typed = (text, Some(problem.detail.clone()));
            html_of(&problem, &page(&auth.known, &state, &request, &run, None, typed).await?)
        }
        Err(error) => Err(error.into()),
    }
}

fn of_said(said: Said, now: Timestamp) -> (Timestamp, Line) {
    let (seq, at) = (said.seq, When::new(said.at, now));
    let line = match said.speaker {
        Speaker::Agent => Line::Replied { seq, at, text: said.text },
        Speaker::Person { name, .. } => Line::Said {
            seq,
            who: name,
            parent: None,
            at,
            text: said.text,
        },
        Speaker::Parent { run, agent, .. } => Line::Said {
            seq,
            who: agent,
            parent: Some(run),
            at,
            text: said.text,
        },
    };
    (said.at, line)
}

fn of_child(child: Child, now: Timestamp) -> (Timestamp, Line) {
    let line = ChildLine {
        id: child.id.to_string(),
        agent: child.agent_name,
        state: child.state.as_str(),
        at: When::new(child.created_at, now),
    };
    (child.created_at, Line::Child(line))
}

async fn page(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    run: &Run,
    before: Option<u64>,
    (typed, error): (String, Option<String>),
) -> Result<ShowPage, Problem> {
    let (actor, now) = (&known.actor, state.app.clock.now());
    let stretch = conversation::latest(&state.app, actor, run.id, before, LINES).await?;
    let children = waiting::children(&state.app, actor, run.id).await?;
    let after = match (stretch.more, stretch.said.first()) {
        (Some(_), Some(first)) => first.seq.saturating_sub(1),
        _ => 0,
    };
    // Children started within the stretch: from its first line, where there is more before, to its last, where there is more after.
    let from = stretch.more.and_then(|_| stretch.said.first()).map(|first| first.at);
    let until = before.and_then(|_| stretch.said.last()).map(|last| last.at);
    let earlier = stretch.more;
    let mut lines: Vec<_> = stretch.said.into_iter().map(|said| of_said(said, now)).collect();
    let within = |child: &Child| from.is_none_or(|from| child.created_at >= from) && until.is_none_or(|until| child.created_at <= until);
    lines.extend(children.into_iter().filter(within).map(|child| of_child(child, now)));
    lines.sort_by_key(|(at, _)| *at);
    let ended = run.state.is_terminal();
    Ok(ShowPage {
        shell: shell(state, request, known, format!("Chat with {}", run.agent_name), "sessions"),
        lines: lines.into_iter().map(|(_, line)| line).collect(),
        earlier,
        newest: before.is_none(),
        approvals: pending_of(state, actor, run.id, Place::Session).await?,
        run: SessionPage {
            id: run.id.to_string(),
            agent: run.agent_name.clone(),
            version: run.agent_version.clone(),
            state: run.shown().as_str(),
            finished_ms: run.finished_at.map(Timestamp::as_ms),
            ended,
            waits: waits::of_run(state, actor, run).await?,
            may_post: !ended && may(actor, Permission::RunsMessage),
            may_start: may(actor, Permission::RunsStart),
            typed,
            error,
            after,
        },
    })
}
