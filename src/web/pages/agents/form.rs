//! A form agent: made, and changed, by filling in a form. What is stored are a manifest, a source and a schema, like of any agent.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use super::draft::{Draft, Wrong};
use super::new::{self, Auth, Found, refused};
use crate::domain::agent::{Agent, AgentVersion};
use crate::domain::form::{self, OFFERED};
use crate::domain::manifest::{Finding, Manifest};
use crate::domain::permission::{Actor, Permission};
use crate::domain::secret::Binding;
use crate::services::agents::{self, Target, Upload};
use crate::services::aliases;
use crate::services::secrets::{self, Info};
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::pages::view::Shell;
use crate::web::pages::{filters, html, html_of, may, see_other, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

/// Secrets of a workspace, and of its organization, that the form offers; others can be typed.
const SECRETS: u32 = 200;

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
    secrets: Vec<SecretChoice>,
    /// Chosen, and not there or not to be seen; with commas between them.
    more_secrets: String,
    may_set_secrets: bool,
}

impl FormPage {
    /// What is wrong with a field.
    fn said(&self, at: &str) -> String {
        let about = self.wrong.iter().filter(|wrong| wrong.at == at);
        about.map(|wrong| wrong.message.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn said_of_host(&self, i: impl std::fmt::Display) -> String {
        self.said(&format!("host-{i}"))
    }
}

/// A secret that the agent may be granted.
struct SecretChoice {
    name: String,
    path: String,
    chosen: bool,
    /// Where it may be sent by this agent, as it is bound now; empty where nowhere.
    hosts: String,
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
pub(super) async fn show(auth: &Auth, state: &State, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    html(&page(auth, state, request, &Of::New, Draft::new(), Vec::new(), None).await?)
}

/// `GET /agents/{agent}/versions/new`, of an agent that was made with a form.
pub(super) async fn show_version(
    auth: &Auth,
    state: &State,
    request: &HttpRequest,
    agent: &Agent,
    latest: &AgentVersion,
) -> Result<HttpResponse, Problem> {
    let draft = Draft::of(&latest.manifest, &new::next_version(latest));
    html(&page(auth, state, request, &Of::Version(agent, latest), draft, Vec::new(), None).await?)
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
        return html(&page(auth, state, request, &of, draft, Vec::new(), None).await?);
    }
    let made = draft.manifest(of.base());
    let manifest = match made {
        Ok(manifest) => manifest,
        Err(wrong) => return invalid(&page(auth, state, request, &of, draft, wrong, None).await?),
    };
    let upload = upload(&manifest, &of);
    match wanted.as_str() {
        "code" => return new::show_made(auth, state, request, &of, by_hand(manifest, upload)),
        "save" | "run" => {}
        _ => {
            let checked = agents::check(&state.app, upload).await?;
            let findings = checked.findings.iter().map(Found::from).collect();
            return html(&page(auth, state, request, &of, draft, Vec::new(), Some(findings)).await?);
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
            html_of(&problem, &page(auth, state, request, &of, draft, wrong, None).await?)
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

async fn page(
    auth: &Auth,
    state: &State,
    request: &HttpRequest,
    of: &Of<'_>,
    draft: Draft,
    wrong: Vec<Wrong>,
    findings: Option<Vec<Found>>,
) -> Result<FormPage, Problem> {
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
    let (secrets, more_secrets) = secrets_of(state, auth.actor(), &draft).await?;
    Ok(FormPage {
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
        secrets,
        more_secrets,
        may_set_secrets: may(auth.actor(), Permission::SecretsManage),
    })
}

/// The secrets that there are, and the names of those that were chosen without being there.
async fn secrets_of(state: &State, actor: &Actor, draft: &Draft) -> Result<(Vec<SecretChoice>, String), Problem> {
    let mut found: Vec<Info> = Vec::new();
    if may(actor, Permission::SecretsRead) {
        // A workspace's own goes before the organization's of the same name.
        for of in [secrets::Of::Workspace, secrets::Of::Org] {
            for info in secrets::list(&state.app, actor, of, String::new(), SECRETS).await? {
                if !found.iter().any(|known| known.name == info.name) {
                    found.push(info);
                }
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let others = draft.secrets.iter().filter(|name| !found.iter().any(|info| info.name == **name));
    let more = others.map(String::as_str).collect::<Vec<_>>().join(", ");
    let choice = |info: &Info| SecretChoice {
        path: format!("/settings/secrets/{}", info.id),
        chosen: draft.secrets.contains(&info.name),
        hosts: hosts_of(info, &draft.name),
        name: info.name.clone(),
    };
    Ok((found.iter().map(choice).collect(), more))
}

/// Where bindings let the agent send a secret.
fn hosts_of(info: &Info, agent: &str) -> String {
    let binds = |binding: &&Binding| binding.agents.iter().any(|name| name == "*" || name == agent);
    let mut hosts: Vec<&str> = info.bindings.iter().filter(binds).map(|binding| binding.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts.join(", ")
}
