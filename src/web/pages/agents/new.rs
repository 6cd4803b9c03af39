//! A new agent, or a new version of one: written in the browser from a starter that runs, or uploaded.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::{Deserialize, Serialize};

use super::form::{self, Of};
use crate::domain::agent::{Agent, AgentVersion};
use crate::domain::manifest::{Finding, Manifest, RuntimeKind};
use crate::services::agents::{self, Target, Upload};
use crate::services::{Error, FieldError};
use crate::web::api::Segments;
use crate::web::assets;
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::form::{TOKEN_FIELD, check_token};
use crate::web::extract::paging::Query;
use crate::web::extract::upload::Parts;
use crate::web::extract::{Authorized, may as permission};
use crate::web::pages::view::Shell;
use crate::web::pages::{filters, html, html_of, see_other, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const FILE_DEFAULT: &str = "agent.js";

#[derive(Template)]
#[template(path = "pages/agents/new.html")]
struct NewPage {
    shell: Shell,
    editor: AgentEditor,
}

#[derive(Template)]
#[template(path = "pages/agents/version.html")]
struct VersionPage {
    shell: Shell,
    agent_name: String,
    latest_version: String,
    editor: AgentEditor,
}

#[derive(Default)]
struct AgentEditor {
    action: String,
    mode: &'static str,
    file: String,
    code: String,
    manifest: String,
    input: String,
    readme: String,
    submit: String,
    back: String,
    /// Whether a form is a third way.
    has_form: bool,
    findings: Vec<Found>,
}

/// A finding as the editor shows it.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    pub severity: &'static str,
    pub file: String,
    pub line: u32,
    pub column: u32,
    pub message: String,
}

impl From<&Finding> for Found {
    fn from(finding: &Finding) -> Self {
        Self {
            severity: finding.severity.as_str(),
            file: finding.file.clone(),
            line: finding.line,
            column: finding.column,
            message: finding.message.clone(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Mode {
    mode: String,
}

impl Mode {
    fn get(&self) -> &'static str {
        match self.mode.as_str() {
            "upload" => "upload",
            "form" => "form",
            _ => "write",
        }
    }
}

pub(super) type Auth = Authorized<permission::AgentsWrite>;

/// `GET /agents/new`
pub async fn show(auth: Auth, state: web::Data<State>, query: Query<Mode>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    if query.0.get() == "form" {
        return form::show(&auth, &state, &request).await;
    }
    let editor = AgentEditor {
        mode: query.0.get(),
        ..starter()
    };
    html(&new_page(&auth, &state, &request, editor))
}

/// `POST /agents/new`
pub async fn submit(auth: Auth, state: web::Data<State>, parts: Parts, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let sent = Sent::read(parts, &request)?;
    let origin = Context::origin(&request);
    match agents::create(&state.app, auth.actor(), sent.upload.clone(), Target::New, origin).await {
        Ok((agent, _)) => Ok(see_other(format!("/agents/{}?done=stored", agent.name))),
        Err(error) => {
            let (problem, findings) = refused(error)?;
            let editor = AgentEditor {
                findings,
                ..sent.editor(FILE_DEFAULT)
            };
            html_of(&problem, &new_page(&auth, &state, &request, editor))
        }
    }
}

/// `GET /agents/{agent}/versions/new`
pub async fn show_version(
    auth: Auth,
    state: web::Data<State>,
    segments: Segments,
    query: Query<Mode>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let agent = agents::find(&state.app, auth.actor(), &segments.agent()).await?;
    let latest = agents::version_by_number(&state.app, auth.actor(), agent.id, &agent.latest_version).await?;
    let has_form = latest.manifest.form.is_some();
    if has_form && matches!(query.0.mode.as_str(), "" | "form") {
        return form::show_version(&auth, &state, &request, &agent, &latest).await;
    }
    let source = agents::source(&state.app, auth.actor(), latest.id).await?;
    let editor = AgentEditor {
        // A component has no source to write on.
        mode: if latest.manifest.runtime == RuntimeKind::Component {
            "upload"
        } else {
            written(query.0.get())
        },
        has_form,
        file: latest.manifest.entry.clone(),
        code: source.map(|source| source.to_string()).unwrap_or_default(),
        manifest: raised(&latest),
        input: latest.input_schema.clone().unwrap_or_default(),
        readme: latest.readme.clone().unwrap_or_default(),
        ..AgentEditor::default()
    };
    html(&version_page(&auth, &state, &request, &agent, editor))
}

/// `POST /agents/{agent}/versions/new`
pub async fn submit_version(
    auth: Auth,
    state: web::Data<State>,
    segments: Segments,
    parts: Parts,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let sent = Sent::read(parts, &request)?;
    let agent = agents::find(&state.app, auth.actor(), &segments.agent()).await?;
    let latest = agents::version_by_number(&state.app, auth.actor(), agent.id, &agent.latest_version).await?;
    let mut upload = sent.upload.clone();
    // The page does not show the sample, so that a new version keeps it.
    upload.sample_input = upload.sample_input.or(latest.sample_input);
    let target = Target::Version(agent.id);
    match agents::create(&state.app, auth.actor(), upload, target, Context::origin(&request)).await {
        Ok((agent, _)) => Ok(see_other(format!("/agents/{}?done=stored", agent.name))),
        Err(error) => {
            let (problem, findings) = refused(error)?;
            let editor = AgentEditor {
                findings,
                has_form: latest.manifest.form.is_some(),
                ..sent.editor(&latest.manifest.entry)
            };
            html_of(&problem, &version_page(&auth, &state, &request, &agent, editor))
        }
    }
}

/// What the editor sends while one types.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckBody {
    manifest: String,
    code: String,
    #[expect(dead_code, reason = "the manifest names the file; sent for the reader of the request")]
    filename: String,
    input: String,
}

/// `POST /agents/check`
pub async fn check(_: Auth, state: web::Data<State>, body: Json<CheckBody>) -> Result<HttpResponse, Problem> {
    let body = body.value;
    let upload = Upload {
        manifest: body.manifest,
        code: body.code.into_bytes(),
        input_schema: filled(body.input),
        ..Upload::default()
    };
    let checked = agents::check(&state.app, upload).await?;
    let findings: Vec<Found> = checked.findings.iter().map(Found::from).collect();
    Ok(HttpResponse::Ok().json(serde_json::json!({ "findings": findings })))
}

/// The files that a form makes, in the editor, for somebody who goes on by hand. Nothing is stored yet.
pub(super) fn show_made(auth: &Auth, state: &State, request: &HttpRequest, of: &Of<'_>, made: Upload) -> Result<HttpResponse, Problem> {
    let editor = AgentEditor {
        mode: "write",
        file: Manifest::parse(&made.manifest).map_or_else(|_| FILE_DEFAULT.to_owned(), |manifest| manifest.entry),
        code: String::from_utf8(made.code).unwrap_or_default(),
        manifest: made.manifest,
        input: made.input_schema.unwrap_or_default(),
        readme: made.readme.unwrap_or_default(),
        ..AgentEditor::default()
    };
    match of {
        Of::New => html(&new_page(auth, state, request, editor)),
        Of::Version(agent, _) => html(&version_page(auth, state, request, agent, AgentEditor { has_form: true, ..editor })),
    }
}

/// The editor's own ways; the form is a page of its own.
fn written(mode: &'static str) -> &'static str {
    if mode == "upload" { mode } else { "write" }
}

/// A form as it came.
struct Sent {
    upload: Upload,
    mode: &'static str,
}

impl Sent {
    fn read(mut parts: Parts, request: &HttpRequest) -> Result<Self, Problem> {
        let token = parts.take_text(TOKEN_FIELD)?.unwrap_or_default();
        check_token(request, &token)?;
        let mode = Mode {
            mode: parts.take_text("mode")?.unwrap_or_default(),
        };
        // An empty area counts as a file that is not there; its finding says so.
        let upload = Upload {
            manifest: parts.take_text("manifest")?.unwrap_or_default(),
            code: parts.take("code").unwrap_or_default(),
            input_schema: parts.take_text("input")?.and_then(filled),
            readme: parts.take_text("readme")?.and_then(filled),
            sample_input: None,
        };
        Ok(Self {
            upload,
            mode: written(mode.get()),
        })
    }

    /// The editor with everything that was typed.
    fn editor(self, file: &str) -> AgentEditor {
        AgentEditor {
            mode: self.mode,
            file: file.to_owned(),
            code: String::from_utf8(self.upload.code).unwrap_or_default(),
            manifest: self.upload.manifest,
            input: self.upload.input_schema.unwrap_or_default(),
            readme: self.upload.readme.unwrap_or_default(),
            ..AgentEditor::default()
        }
    }
}

fn filled(text: String) -> Option<String> {
    (!text.trim().is_empty()).then_some(text)
}

/// What of a refusal stands in the editor; other errors are pages of their own.
pub(super) fn refused(error: Error) -> Result<(Problem, Vec<Found>), Problem> {
    let found = match &error {
        Error::Rejected(findings) => findings.iter().map(Found::from).collect(),
        Error::AlreadyExists(why) | Error::Conflict(why) => vec![Found::from(&Finding::error("agent.toml", why.clone()))],
        Error::Invalid(fields) => fields
            .iter()
            .map(|FieldError { message, .. }| Found::from(&Finding::error("agent.toml", message.clone())))
            .collect(),
        _ => return Err(error.into()),
    };
    Ok((error.into(), found))
}

fn starter() -> AgentEditor {
    let text = |name: &str| assets::text(&format!("starter/{name}")).unwrap_or_default();
    AgentEditor {
        file: FILE_DEFAULT.to_owned(),
        code: text(FILE_DEFAULT),
        manifest: text("agent.toml"),
        input: text("input.schema.json"),
        readme: text("README.md"),
        ..AgentEditor::default()
    }
}

/// The number after this version's.
pub(super) fn next_version(latest: &AgentVersion) -> semver::Version {
    semver::Version::new(latest.version.major, latest.version.minor, latest.version.patch + 1)
}

/// The manifest of the next version: its own text, with the number raised in its line.
fn raised(latest: &AgentVersion) -> String {
    let next = next_version(latest);
    let (old, new) = (format!("\"{}\"", latest.version), format!("\"{next}\""));
    let line = |line: &str| {
        let sets_version = line
            .trim_start()
            .strip_prefix("version")
            .is_some_and(|rest| rest.trim_start().starts_with('='));
        if sets_version {
            line.replacen(&old, &new, 1)
        } else {
            line.to_owned()
        }
    };
    let mut text = latest.manifest_text.lines().map(line).collect::<Vec<_>>().join("\n");
    text.push('\n');
    text
}

fn new_page(auth: &Auth, state: &State, request: &HttpRequest, editor: AgentEditor) -> NewPage {
    NewPage {
        shell: shell(state, request, &auth.known, "New agent", "agents"),
        editor: AgentEditor {
            action: "/agents/new".to_owned(),
            submit: "Save the agent".to_owned(),
            back: "/agents".to_owned(),
            has_form: true,
            ..editor
        },
    }
}

fn version_page(auth: &Auth, state: &State, request: &HttpRequest, agent: &Agent, editor: AgentEditor) -> VersionPage {
    VersionPage {
        shell: shell(state, request, &auth.known, format!("New version of {}", agent.name), "agents"),
        agent_name: agent.name.clone(),
        latest_version: agent.latest_version.to_string(),
        editor: AgentEditor {
            action: format!("/agents/{}/versions/new", agent.name),
            submit: "Save the version".to_owned(),
            back: format!("/agents/{}", agent.name),
            ..editor
        },
    }
}
