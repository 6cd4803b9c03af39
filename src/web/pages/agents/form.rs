//! A form agent: made, and changed, by filling in a form. What is stored are a manifest, a source and a schema, like of any agent.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use super::draft::{Draft, Wrong};
use super::new::{self, Auth, Found, refused};
use crate::domain::agent::{Agent, AgentVersion};
use crate::domain::form::{self, OFFERED};
use crate::domain::manifest::{Finding, Manifest};
use crate::services::agents::{self, Target, Upload};
use crate::services::aliases;
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::pages::view::Shell;
use crate::web::pages::{filters, html, html_of, see_other, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/agents/form.html")]
struct FormPage {
    shell: Shell,
    /// The agent that gets a new version; none where it is new.
    agent: Option<String>,
    latest_version: String,
    action: String,
    back: String,
    models: Vec<String>,
    offered: Vec<Offer>,
    draft: Draft,
    wrong: Vec<Wrong>,
    /// What a check found, where one was asked for.
    findings: Option<Vec<Found>>,
    /// Made of the form as it is.
    source: String,
}

struct Offer {
    /// Its first tool, which stands for all of it.
    name: &'static str,
    title: &'static str,
    words: &'static str,
    chosen: bool,
    asks: bool,
}

/// What a form is for.
pub(super) enum Of<'a> {
    New,
    Version(&'a Agent, &'a AgentVersion),
}

impl Of<'_> {
    fn base(&self) -> Option<&Manifest> {
        match self {
            Self::New => None,
            Self::Version(_, latest) => Some(&latest.manifest),
        }
    }
}

/// `GET /agents/new?mode=form`
pub(super) fn show(auth: &Auth, state: &State, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    html(&page(auth, state, request, &Of::New, Draft::new(), Vec::new(), None))
}

/// `GET /agents/{agent}/versions/new`, of an agent that was made with a form.
pub(super) fn show_version(
    auth: &Auth,
    state: &State,
    request: &HttpRequest,
    agent: &Agent,
    latest: &AgentVersion,
) -> Result<HttpResponse, Problem> {
    let draft = Draft::of(&latest.manifest, &new::next_version(latest));
    html(&page(auth, state, request, &Of::Version(agent, latest), draft, Vec::new(), None))
}

/// `POST /agents/new/form`
pub async fn submit(auth: Auth, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    go_on(&auth, &state, &request, Of::New, &form).await
}

/// `POST /agents/{agent}/versions/form`
pub async fn submit_version(
    auth: Auth,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let agent = agents::find(&state.app, auth.actor(), &segments.agent()).await?;
    let latest = agents::version_by_number(&state.app, auth.actor(), agent.id, &agent.latest_version).await?;
    go_on(&auth, &state, &request, Of::Version(&agent, &latest), &form).await
}

/// Does what the button says that was pressed.
async fn go_on(auth: &Auth, state: &State, request: &HttpRequest, of: Of<'_>, sent: &Form) -> Result<HttpResponse, Problem> {
    let mut draft = Draft::read(sent);
    let wanted = sent.text("do").to_owned();
    if draft.rearrange(&wanted) {
        return html(&page(auth, state, request, &of, draft, Vec::new(), None));
    }
    let made = draft.manifest(of.base());
    let manifest = match made {
        Ok(manifest) => manifest,
        Err(wrong) => return invalid(&page(auth, state, request, &of, draft, wrong, None)),
    };
    let upload = upload(&manifest, &of);
    match wanted.as_str() {
        "code" => return new::show_made(auth, state, request, &of, by_hand(manifest, upload)),
        "save" | "run" => {}
        _ => {
            let checked = agents::check(&state.app, upload).await?;
            let findings = checked.findings.iter().map(Found::from).collect();
            return html(&page(auth, state, request, &of, draft, Vec::new(), Some(findings)));
        }
    }
    let target = match &of {
        Of::New => Target::New,
        Of::Version(agent, _) => Target::Version(agent.id),
    };
    match agents::create(&state.app, auth.actor(), upload, target, Context::origin(request)).await {
        Ok((agent, _)) if wanted == "run" => Ok(see_other(format!("/agents/{}/run", agent.name))),
        Ok((agent, _)) => Ok(see_other(format!("/agents/{}?done=stored", agent.name))),
        Err(error) => {
            let (problem, findings) = refused(error)?;
            let wrong = findings
                .into_iter()
                .filter(|found| found.severity == "error")
                .map(Wrong::from)
                .collect();
            html_of(&problem, &page(auth, state, request, &of, draft, wrong, None))
        }
    }
}

fn invalid(page: &FormPage) -> Result<HttpResponse, Problem> {
    let findings = page
        .wrong
        .iter()
        .map(|wrong| Finding::error("the form", wrong.message.clone()))
        .collect();
    html_of(&crate::services::Error::Rejected(findings).into(), page)
}

/// The files of an agent with this manifest.
fn upload(manifest: &Manifest, of: &Of<'_>) -> Upload {
    let latest = match of {
        Of::New => None,
        Of::Version(_, latest) => Some(latest),
    };
    let form = manifest.form.as_ref();
    Upload {
        manifest: manifest.text(),
        code: form.map(|form| form.source(manifest)).unwrap_or_default().into_bytes(),
        input_schema: form.map(form::Form::input_schema),
        // The page does not show these, so that a new version keeps them.
        readme: latest.and_then(|latest| latest.readme.clone()),
        sample_input: latest.and_then(|latest| latest.sample_input.clone()),
    }
}

/// The same files for somebody who goes on without the form.
fn by_hand(manifest: Manifest, upload: Upload) -> Upload {
    let manifest = Manifest { form: None, ..manifest };
    let source = String::from_utf8(upload.code).unwrap_or_default();
    Upload {
        manifest: manifest.text(),
        code: form::by_hand(&source).as_bytes().to_vec(),
        ..upload
    }
}

fn page(
    auth: &Auth,
    state: &State,
    request: &HttpRequest,
    of: &Of<'_>,
    draft: Draft,
    wrong: Vec<Wrong>,
    findings: Option<Vec<Found>>,
) -> FormPage {
    let source = draft
        .manifest(of.base())
        .ok()
        .and_then(|manifest| Some(manifest.form.as_ref()?.source(&manifest)));
    let mut models = aliases::askable(&state.app, auth.actor());
    if !draft.model.is_empty() && !models.contains(&draft.model) {
        models.push(draft.model.clone());
    }
    let offered = OFFERED.iter().map(|offer| {
        let name = offer.tools.first().copied().unwrap_or_default();
        Offer {
            name,
            title: offer.title,
            words: offer.words,
            chosen: draft.tools.iter().any(|tool| tool == name),
            asks: draft.asks.iter().any(|tool| tool == name),
        }
    });
    let (agent, latest_version, action, back, title) = match of {
        Of::New => (
            None,
            String::new(),
            "/agents/new/form".to_owned(),
            "/agents".to_owned(),
            "New agent".to_owned(),
        ),
        Of::Version(agent, _) => (
            Some(agent.name.clone()),
            agent.latest_version.to_string(),
            format!("/agents/{}/versions/form", agent.name),
            format!("/agents/{}", agent.name),
            format!("New version of {}", agent.name),
        ),
    };
    FormPage {
        shell: shell(state, request, &auth.known, title, "agents"),
        agent,
        latest_version,
        action,
        back,
        models,
        offered: offered.collect(),
        draft,
        wrong,
        findings,
        source: source.unwrap_or_default(),
    }
}
