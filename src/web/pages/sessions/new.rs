//! `/sessions/new`: a new chat: choose an agent, then say the first thing.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use crate::domain::limits::PAGE_MAX;
use crate::domain::retry::RetryChange;
use crate::domain::run::Trigger;
use crate::services::agents::{self, AgentRef};
use crate::services::runs::{self, StartRun};
use crate::services::{Error, FieldError};
use crate::web::extract::form::Form;
use crate::web::extract::paging::Query;
use crate::web::extract::{Authorized, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::view::{Shell, pretty};
use crate::web::pages::{filters, html, html_of, see_other, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/sessions/new.html")]
struct NewPage {
    shell: Shell,
    agents: Vec<Choosable>,
    chosen: Option<Chosen>,
}

struct Choosable {
    name: String,
    summary: String,
}

/// The agent that was chosen, and what was typed for it.
struct Chosen {
    name: String,
    summary: String,
    input_schema: Option<String>,
    sample: Option<String>,
    input: String,
    message: String,
    errors: Vec<Wrong>,
}

struct Wrong {
    path: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    agent: String,
}

/// What was typed before.
struct Typed {
    input: Option<String>,
    message: String,
    errors: Vec<FieldError>,
}

/// `GET /sessions/new`
pub async fn show(
    auth: Authorized<permission::RunsStart>,
    state: web::Data<State>,
    query: Query<Choice>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let typed = Typed {
        input: None,
        message: String::new(),
        errors: Vec::new(),
    };
    html(&page(&auth.known, &state, &request, &query.0.agent, typed).await?)
}

/// `POST /sessions/new`
pub async fn submit(
    auth: Authorized<permission::RunsStart>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (message, input) = (form.text("message"), form.text("input"));
    let start = StartRun {
        agent: AgentRef::parse(form.text("agent")),
        version: None,
        input: if input.is_empty() { "{}".to_owned() } else { input.to_owned() },
        trigger: Trigger::Manual,
        priority: 0,
        retry: RetryChange::default(),
        budget_micros: None,
        message: (!message.is_empty()).then(|| message.to_owned()),
    };
    match runs::start(&state.app, auth.actor(), start).await {
        Ok(run) => Ok(see_other(format!("/sessions/{run}"))),
        Err(Error::Invalid(fields)) => {
            let typed = Typed {
                input: Some(input.to_owned()),
                message: message.to_owned(),
                errors: fields.clone(),
            };
            let page = page(&auth.known, &state, &request, form.text("agent"), typed).await?;
            html_of(&Problem::from(Error::Invalid(fields)), &page)
        }
        Err(error) => Err(error.into()),
    }
}

async fn page(known: &Known, state: &State, request: &HttpRequest, agent: &str, typed: Typed) -> Result<NewPage, Problem> {
    let actor = &known.actor;
    let chosen = if agent.is_empty() {
        None
    } else {
        let agent = agents::find(&state.app, actor, &AgentRef::parse(agent)).await?;
        let versions = agents::versions(&state.app, actor, agent.id).await?;
        let newest = versions.into_iter().find(|version| version.id == agent.latest_version_id);
        let newest = newest.ok_or_else(Problem::not_found)?;
        let sample = newest.sample_input.as_deref().map(pretty);
        Some(Chosen {
            name: agent.name,
            summary: newest.manifest.summary,
            input_schema: newest.input_schema,
            input: typed.input.unwrap_or_else(|| "{}".to_owned()),
            sample,
            message: typed.message,
            errors: typed
                .errors
                .into_iter()
                .map(|error| Wrong {
                    path: error.pointer,
                    message: error.message,
                })
                .collect(),
        })
    };
    let agents = if chosen.is_some() {
        Vec::new()
    } else {
        let listed = agents::list(&state.app, actor, None, None, PAGE_MAX).await?;
        let choosable = listed.into_iter().map(|listed| Choosable {
            name: listed.agent.name,
            summary: listed.agent.summary,
        });
        choosable.collect()
    };
    Ok(NewPage {
        shell: shell(state, request, known, "New chat", "sessions"),
        agents,
        chosen,
    })
}
