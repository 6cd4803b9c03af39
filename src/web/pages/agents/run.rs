//! `/agents/{agent}/run`: gives an agent input. With JavaScript the JSON is edited as a form made from the schema.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use crate::domain::agent::{Agent, AgentVersion};
use crate::domain::id::RunId;
use crate::domain::retry::RetryChange;
use crate::domain::run::Trigger;
use crate::services::runs::{self, StartRun};
use crate::services::{Error, FieldError, agents};
use crate::web::api::Segments;
use crate::web::extract::form::Form;
use crate::web::extract::paging::Query;
use crate::web::extract::{Authorized, may as permission};
use crate::web::pages::view::{Capability, Shell, capabilities, pretty};
use crate::web::pages::{filters, html, html_of, see_other, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/agents/run.html")]
struct RunFormPage {
    shell: Shell,
    agent: RunTarget,
    versions: Vec<String>,
    input_schema: Option<String>,
    sample: Option<String>,
    input: String,
    budget: String,
    errors: Vec<Wrong>,
    capabilities: Vec<Capability>,
}

struct RunTarget {
    name: String,
    summary: String,
    version: String,
}

struct Wrong {
    path: String,
    message: String,
}

impl From<FieldError> for Wrong {
    fn from(error: FieldError) -> Self {
        Self {
            path: error.pointer,
            message: error.message,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    version: String,
    /// A run whose input to begin with.
    from: String,
}

type Auth = Authorized<permission::RunsStart>;

/// `GET /agents/{agent}/run`
pub async fn show(
    auth: Auth,
    state: web::Data<State>,
    segments: Segments,
    query: Query<Choice>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (agent, versions, chosen) = target(&auth, &state, &segments, &query.0.version).await?;
    let earlier = match query.0.from.parse::<RunId>() {
        Ok(run) => Some(runs::texts(&state.app, auth.actor(), run).await?.0),
        Err(_) => None,
    };
    let input = earlier
        .or_else(|| chosen.sample_input.clone())
        .map_or_else(|| "{}".to_owned(), |text| pretty(&text));
    html(&page(&auth, &state, &request, (&agent, &versions, &chosen), (input, String::new()), Vec::new()))
}

/// `POST /agents/{agent}/run`
pub async fn submit(
    auth: Auth,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (agent, versions, chosen) = target(&auth, &state, &segments, form.text("version")).await?;
    let budget = form.text("budget").trim().to_owned();
    let typed = form.raw("input").unwrap_or_default().to_owned();
    let start = StartRun {
        agent: agents::AgentRef::Id(agent.id),
        version: Some(chosen.version.clone()),
        input: if typed.trim().is_empty() { "{}".to_owned() } else { typed.clone() },
        trigger: Trigger::Manual,
        message: None,
        priority: 0,
        retry: RetryChange::default(),
        budget_micros: None,
    };
    let started = match micros(&budget) {
        Ok(budget_micros) => runs::start(&state.app, auth.actor(), StartRun { budget_micros, ..start }).await,
        Err(error) => Err(error),
    };
    match started {
        Ok(run) => Ok(see_other(format!("/runs/{run}"))),
        Err(Error::Invalid(fields)) => {
            let errors = fields.iter().cloned().map(Wrong::from).collect();
            let page = page(&auth, &state, &request, (&agent, &versions, &chosen), (typed, budget), errors);
            html_of(&Problem::from(Error::Invalid(fields)), &page)
        }
        Err(error) => Err(error.into()),
    }
}

/// What is typed as dollars, in micro-dollars; nothing where nothing is typed.
fn micros(typed: &str) -> Result<Option<u64>, Error> {
    if typed.is_empty() {
        return Ok(None);
    }
    crate::domain::money::micros_of_dollars(typed)
        .map(Some)
        .ok_or_else(|| Error::field("/budget_micros", "write the budget in dollars, such as 2.50"))
}

/// The agent, its versions, and the one that is chosen: the newest where none is named.
async fn target(
    auth: &Auth,
    state: &State,
    segments: &Segments,
    version: &str,
) -> Result<(Agent, Vec<AgentVersion>, AgentVersion), Problem> {
    let agent = agents::find(&state.app, auth.actor(), &segments.agent()).await?;
    let versions = agents::versions(&state.app, auth.actor(), agent.id).await?;
    let wanted = if version.is_empty() {
        agent.latest_version.to_string()
    } else {
        version.to_owned()
    };
    let chosen = versions.iter().find(|version| version.version.to_string() == wanted).cloned();
    let chosen = chosen.ok_or_else(Problem::not_found)?;
    Ok((agent, versions, chosen))
}

fn page(
    auth: &Auth,
    state: &State,
    request: &HttpRequest,
    (agent, versions, chosen): (&Agent, &[AgentVersion], &AgentVersion),
    (input, budget): (String, String),
    errors: Vec<Wrong>,
) -> RunFormPage {
    RunFormPage {
        shell: shell(state, request, &auth.known, format!("Run {}", agent.name), "agents"),
        agent: RunTarget {
            name: agent.name.clone(),
            summary: chosen.manifest.summary.clone(),
            version: chosen.version.to_string(),
        },
        versions: versions.iter().map(|version| version.version.to_string()).collect(),
        input_schema: chosen.input_schema.clone(),
        sample: chosen.sample_input.clone(),
        input,
        budget,
        errors,
        capabilities: capabilities(&chosen.manifest.capabilities),
    }
}
