//! `/runs/{run}/fork?seq=`: what forking from an entry means, and the form that does it.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::diff::{self, DiffLine};
use crate::domain::error::ErrorCode;
use crate::domain::permission::Permission;
use crate::services::fork::{self, Fork, ForkedFrom, Prefix};
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::paging::Query;
use crate::web::extract::{Authorized, may as permission};
use crate::web::pages::view::{Shell, pretty};
use crate::web::pages::{filters, html, html_of, may, see_other, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/runs/fork.html")]
struct ForkPage {
    shell: Shell,
    run: String,
    agent: String,
    seq: u64,
    refused: Option<String>,
    /// The function whose answer may be edited.
    function: Option<String>,
    response: String,
    may_lift: bool,
    allow_writes: bool,
    problem: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct At {
    seq: u64,
}

impl ForkPage {
    fn new(shell: Shell, prefix: &Prefix, seq: u64, may_lift: bool) -> Self {
        let editable = prefix.editable();
        Self {
            shell,
            run: prefix.run.id.to_string(),
            agent: prefix.run.agent_name.clone(),
            seq,
            refused: prefix.refused.clone(),
            function: editable.map(|(function, _)| function.to_owned()),
            response: editable.map(|(_, response)| pretty(response)).unwrap_or_default(),
            may_lift,
            allow_writes: false,
            problem: None,
        }
    }
}

/// `GET /runs/{run}/fork`
pub async fn show(
    auth: Authorized<permission::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    query: Query<At>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (actor, seq) = (auth.actor(), query.0.seq);
    let prefix = fork::prefix(&state.app, actor, segments.run()?, seq).await?;
    let frame = shell(&state, &request, &auth.known, "Fork a run", "runs");
    html(&ForkPage::new(frame, &prefix, seq, may(actor, Permission::ApprovalsDecide)))
}

/// `POST /runs/{run}/fork`
pub async fn submit(
    auth: Authorized<permission::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (actor, run) = (auth.actor(), segments.run()?);
    let seq = form.text("seq").parse().map_err(|_| Problem::not_found())?;
    let response = form.text("response");
    let allow_writes = form.text("allow_writes") == "yes";
    let fork = Fork {
        run,
        seq,
        response: (!response.is_empty()).then(|| response.to_owned()),
        allow_writes,
    };
    match fork::fork(&state.app, actor, fork, Context::origin(&request)).await {
        Ok(forked) => Ok(see_other(format!("/runs/{}", forked.id))),
        Err(error) => {
            let problem = Problem::from(error);
            if !matches!(problem.code, ErrorCode::Invalid | ErrorCode::Conflict | ErrorCode::Busy) {
                return Err(problem);
            }
            let prefix = fork::prefix(&state.app, actor, run, seq).await?;
            let frame = shell(&state, &request, &auth.known, "Fork a run", "runs");
            let page = ForkPage {
                response: response.to_owned(),
                allow_writes,
                problem: Some(problem.detail.clone()),
                ..ForkPage::new(frame, &prefix, seq, may(actor, Permission::ApprovalsDecide))
            };
            html_of(&problem, &page)
        }
    }
}

/// Where a fork comes from, as its page shows it.
pub(super) struct OriginNote {
    pub run: String,
    pub seq: u64,
    pub asks: bool,
    pub diff: Vec<DiffLine>,
}

impl OriginNote {
    pub(super) fn new(origin: &ForkedFrom, asks: bool) -> Self {
        Self {
            run: origin.run.to_string(),
            seq: origin.seq,
            asks,
            diff: origin.edited.as_ref().map(|(was, now)| diff::lines(was, now)).unwrap_or_default(),
        }
    }
}
