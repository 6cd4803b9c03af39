//! Agents: list, upload, check, look at.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Segments;
use super::versions::{TrifectaBody, VersionBody};
use crate::domain::agent::Agent;
use crate::domain::manifest::Manifest;
use crate::domain::policy::Verdict;
use crate::services::agents::{self, AgentRef, Target, Upload};
use crate::services::policy;
use crate::web::context::Context;
use crate::web::extract::form::check_header_token;
use crate::web::extract::paging::{Page, Query, limit};
use crate::web::extract::upload::Parts;
use crate::web::extract::{Authorized, may};
use crate::web::problem::{Place, Problem};
use crate::web::state::State;

/// A registry entry. Times are milliseconds since 1970 UTC.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AgentBody {
    pub id: String,
    /// Unique in its workspace.
    pub name: String,
    pub summary: String,
    pub category: String,
    /// `javascript` or `component`.
    pub runtime: String,
    pub latest_version: String,
    pub latest_version_id: String,
    pub created_at: i64,
    pub updated_at: i64,
    /// What the policies say to each thing that the newest version’s manifest wants; only where one agent is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Vec<VerdictBody>>,
    /// Of the newest version; only where one agent is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trifecta: Option<TrifectaBody>,
}

/// What holds for one thing that a manifest wants, or for a part of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct VerdictBody {
    #[schema(example = "POST to shop.example.com")]
    pub what: String,
    /// `allow`, `ask` or `deny`.
    pub effect: String,
    pub rule: String,
    /// “asks 2 admins”
    pub words: String,
}

impl From<&Verdict> for VerdictBody {
    fn from(verdict: &Verdict) -> Self {
        Self {
            what: verdict.what.clone(),
            effect: verdict.decision.effect().to_string(),
            rule: verdict.decision.rule().to_string(),
            words: verdict.in_words(),
        }
    }
}

impl From<&Agent> for AgentBody {
    fn from(agent: &Agent) -> Self {
        Self {
            id: agent.id.to_string(),
            name: agent.name.clone(),
            summary: agent.summary.clone(),
            category: agent.category.clone(),
            runtime: agent.runtime.to_string(),
            latest_version: agent.latest_version.to_string(),
            latest_version_id: agent.latest_version_id.to_string(),
            created_at: agent.created_at.as_ms(),
            updated_at: agent.updated_at.as_ms(),
            trifecta: None,
            policy: None,
        }
    }
}

/// What an upload made.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct UploadedBody {
    pub agent: AgentBody,
    pub version: VersionBody,
}

/// An agent's files, as `multipart/form-data`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the form; `extract::upload` reads it")]
pub struct UploadForm {
    /// `agent.toml`
    #[schema(value_type = String)]
    manifest: String,
    /// The `.js` or `.wasm` file.
    #[schema(value_type = String, format = Binary)]
    code: Vec<u8>,
    /// Markdown.
    readme: Option<String>,
    /// JSON Schema of the input.
    input: Option<String>,
    /// An input to begin with.
    sample: Option<String>,
}

/// The findings of a check.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CheckBody {
    /// Whether it would be stored.
    pub ok: bool,
    pub findings: Vec<Place>,
    /// The manifest with its defaults filled in, where it could be read.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// What it asks to touch, in words.
    pub capabilities: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trifecta: Option<TrifectaBody>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Words in name, summary or category.
    #[serde(default)]
    pub q: Option<String>,
    /// At most 500; 50 where it is not given.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Lists agents by name.
#[utoipa::path(
    get, path = "/api/v1/agents", tag = "agents", operation_id = "listAgents",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of agents", body = Page<AgentBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    auth: Authorized<may::AgentsRead>,
    state: web::Data<State>,
    segments: Segments,
    query: Query<ListQuery>,
) -> Result<HttpResponse, Problem> {
    let actor = auth.actor();
    segments.workspace(actor)?;
    let query = query.0;
    let limit = limit(query.limit)?;
    let search = query.q.filter(|q| !q.trim().is_empty());
    let found = agents::list(&state.app, actor, search, query.cursor, limit + 1).await?;
    let page = Page::cut(found, limit, |listed| listed.agent.name.clone());
    Ok(HttpResponse::Ok().json(page.map(|listed| AgentBody::from(&listed.agent))))
}

/// Uploads a new agent. It is checked first; where anything is wrong, nothing is stored.
#[utoipa::path(
    post, path = "/api/v1/agents", tag = "agents", operation_id = "createAgent",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, description = "Stored", body = UploadedBody),
        (status = 422, description = "`agent_rejected`: `errors` has each finding with its place", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    auth: Authorized<may::AgentsWrite>,
    state: web::Data<State>,
    segments: Segments,
    parts: Parts,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let actor = auth.actor();
    segments.workspace(actor)?;
    let origin = Context::origin(&request);
    let (agent, version) = agents::create(&state.app, actor, parts.into_upload(&request)?, Target::New, origin).await?;
    Ok(HttpResponse::Created()
        .insert_header(("location", format!("/api/v1/agents/{}", agent.id)))
        .json(UploadedBody {
            agent: AgentBody::from(&agent),
            version: VersionBody::from(&version),
        }))
}

/// Checks an agent's files as an upload would, and stores nothing.
#[utoipa::path(
    post, path = "/api/v1/agents/check", tag = "agents", operation_id = "checkAgent",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "What was found", body = CheckBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn check(
    _: Authorized<may::AgentsWrite>,
    state: web::Data<State>,
    parts: Parts,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let checked = agents::check(&state.app, parts.into_upload(&request)?).await?;
    Ok(HttpResponse::Ok().json(CheckBody {
        ok: !checked.has_errors(),
        findings: checked.findings.iter().map(Place::from).collect(),
        capabilities: checked
            .manifest
            .as_ref()
            .map(|manifest| manifest.capabilities.in_words())
            .unwrap_or_default(),
        trifecta: checked.manifest.as_ref().map(|manifest| TrifectaBody::of(&manifest.capabilities)),
        manifest: checked.manifest,
    }))
}

/// Shows an agent, by name or id.
#[utoipa::path(
    get, path = "/api/v1/agents/{agent}", tag = "agents", operation_id = "getAgent",
    params(("agent" = String, Path, description = "Name or id")),
    responses(
        (status = 200, description = "The agent", body = AgentBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(auth: Authorized<may::AgentsRead>, state: web::Data<State>, segments: Segments) -> Result<HttpResponse, Problem> {
    segments.workspace(auth.actor())?;
    let agent = agents::find(&state.app, auth.actor(), &segments.agent()).await?;
    let versions = agents::versions(&state.app, auth.actor(), agent.id).await?;
    let mut body = AgentBody::from(&agent);
    if let Some(newest) = versions.iter().find(|version| version.id == agent.latest_version_id) {
        let verdicts = policy::of_capabilities(&state.app, auth.actor(), &newest.manifest.capabilities).await?;
        body.trifecta = Some(TrifectaBody::of(&newest.manifest.capabilities));
        body.policy = Some(verdicts.iter().map(VerdictBody::from).collect());
    }
    Ok(HttpResponse::Ok().json(body))
}

impl Segments {
    /// The agent that the address names.
    pub fn agent(&self) -> AgentRef {
        AgentRef::parse(self.text("agent"))
    }
}

impl Parts {
    /// The upload's files, of which manifest and code must be there.
    ///
    /// # Errors
    /// `invalid`, naming the field that is missing or no text; `cross_site` from a browser without the form's token.
    pub fn into_upload(mut self, request: &HttpRequest) -> Result<Upload, Problem> {
        check_header_token(request)?;
        self.require("manifest")?;
        self.require("code")?;
        Ok(Upload {
            manifest: self.take_text("manifest")?.unwrap_or_default(),
            code: self.take("code").unwrap_or_default(),
            input_schema: self.take_text("input")?,
            readme: self.take_text("readme")?,
            sample_input: self.take_text("sample")?,
        })
    }
}
