//! Versions of an agent. They never change, so each has an ETag.

use actix_web::http::header::{self, ETag, EntityTag};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::agents::{AgentBody, UploadedBody};
use super::{Segments, immutable};
use crate::domain::agent::AgentVersion;
use crate::domain::hex;
use crate::domain::manifest::{Capabilities, Manifest};
use crate::domain::trifecta;
use crate::services::agents::{self, Target};
use crate::web::assets::is_known;
use crate::web::context::Context;
use crate::web::extract::paging::Page;
use crate::web::extract::upload::Parts;
use crate::web::extract::{Authorized, may};
use crate::web::middleware::shell::SANDBOX_POLICY;
use crate::web::problem::Problem;
use crate::web::state::State;

/// One immutable version. Times are milliseconds since 1970 UTC.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct VersionBody {
    pub id: String,
    pub agent_id: String,
    /// SemVer.
    pub version: String,
    /// The manifest with its defaults filled in.
    #[schema(value_type = Object)]
    pub manifest: Manifest,
    /// What it may touch, in words.
    pub capabilities: Vec<String>,
    pub trifecta: TrifectaBody,
    /// `sha256:` and hexadecimal, of what is executed.
    pub code_digest: String,
    pub code_bytes: u64,
    /// JSON Schema of the input.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<serde_json::Value>,
    /// Markdown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readme: Option<String>,
    /// An input to begin with.
    #[schema(value_type = Option<Value>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_input: Option<serde_json::Value>,
    /// The principal who uploaded it.
    pub created_by: String,
    pub created_at: i64,
}

/// Private data, content that others wrote, and a way out: where an agent has all three, a person decides about each of its writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Trifecta)]
pub struct TrifectaBody {
    /// Whether it has all three.
    pub complete: bool,
    /// What it can know that is not for everyone.
    pub private: Vec<String>,
    /// Where others can put words before it.
    pub untrusted: Vec<String>,
    /// How it can send things away.
    pub egress: Vec<String>,
}

impl TrifectaBody {
    pub fn of(granted: &Capabilities) -> Self {
        let found = trifecta::of(granted);
        Self {
            complete: found.is_complete(),
            private: found.private,
            untrusted: found.untrusted,
            egress: found.egress,
        }
    }
}

impl From<&AgentVersion> for VersionBody {
    fn from(version: &AgentVersion) -> Self {
        let json = |text: &Option<String>| text.as_deref().and_then(|text| serde_json::from_str(text).ok());
        Self {
            id: version.id.to_string(),
            agent_id: version.agent_id.to_string(),
            version: version.version.to_string(),
            capabilities: version.manifest.capabilities.in_words(),
            trifecta: TrifectaBody::of(&version.manifest.capabilities),
            manifest: version.manifest.clone(),
            code_digest: format!("sha256:{}", hex::encode(&version.code_digest)),
            code_bytes: version.code_bytes,
            input_schema: json(&version.input_schema),
            readme: version.readme.clone(),
            sample_input: json(&version.sample_input),
            created_by: version.created_by.to_string(),
            created_at: version.created_at.as_ms(),
        }
    }
}

/// Lists an agent's versions, the newest first.
#[utoipa::path(
    get, path = "/api/v1/agents/{agent}/versions", tag = "agents", operation_id = "listVersions",
    params(("agent" = String, Path, description = "Name or id")),
    responses(
        (status = 200, description = "All versions", body = Page<VersionBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(auth: Authorized<may::AgentsRead>, state: web::Data<State>, segments: Segments) -> Result<HttpResponse, Problem> {
    segments.workspace(auth.actor())?;
    let agent = agents::find(&state.app, auth.actor(), &segments.agent()).await?;
    let versions = agents::versions(&state.app, auth.actor(), agent.id).await?;
    Ok(HttpResponse::Ok().json(Page {
        items: versions.iter().map(VersionBody::from).collect(),
        next: None,
    }))
}

/// Uploads a new version of an agent. Its manifest's version must be new.
#[utoipa::path(
    post, path = "/api/v1/agents/{agent}/versions", tag = "agents", operation_id = "createVersion",
    params(("agent" = String, Path, description = "Name or id")),
    request_body(content = super::agents::UploadForm, content_type = "multipart/form-data"),
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
    let agent = agents::find(&state.app, actor, &segments.agent()).await?;
    let target = Target::Version(agent.id);
    let (agent, version) = agents::create(&state.app, actor, parts.into_upload(&request)?, target, Context::origin(&request)).await?;
    Ok(HttpResponse::Created()
        .insert_header(("location", format!("/api/v1/agents/{}/versions/{}", agent.id, version.version)))
        .json(UploadedBody {
            agent: AgentBody::from(&agent),
            version: VersionBody::from(&version),
        }))
}

async fn find(state: &State, auth: &Authorized<may::AgentsRead>, segments: &Segments) -> Result<AgentVersion, Problem> {
    segments.workspace(auth.actor())?;
    let agent = agents::find(&state.app, auth.actor(), &segments.agent()).await?;
    let number: semver::Version = segments.text("version").parse().map_err(|_| Problem::not_found())?;
    Ok(agents::version_by_number(&state.app, auth.actor(), agent.id, &number).await?)
}

/// Shows one version.
#[utoipa::path(
    get, path = "/api/v1/agents/{agent}/versions/{version}", tag = "agents", operation_id = "getVersion",
    params(("agent" = String, Path, description = "Name or id"), ("version" = String, Path, description = "SemVer")),
    responses(
        (status = 200, description = "The version, with an ETag", body = VersionBody),
        (status = 304, description = "You have it"),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(
    auth: Authorized<may::AgentsRead>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let version = find(&state, &auth, &segments).await?;
    Ok(immutable(&request, version.id.to_string(), &VersionBody::from(&version)))
}

/// Downloads a version's code.
#[utoipa::path(
    get, path = "/api/v1/agents/{agent}/versions/{version}/code", tag = "agents", operation_id = "getCode",
    params(("agent" = String, Path, description = "Name or id"), ("version" = String, Path, description = "SemVer")),
    responses(
        (status = 200, description = "The script or component", content_type = "application/octet-stream", body = Vec<u8>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn code(
    auth: Authorized<may::AgentsRead>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let version = find(&state, &auth, &segments).await?;
    let tag = EntityTag::new_strong(hex::encode(&version.code_digest));
    if is_known(&request, &tag) {
        return Ok(HttpResponse::NotModified().insert_header(ETag(tag)).finish());
    }
    let bytes = state.app.blob(auth.actor().org, version.code_digest).await?;
    // The manifest's check allows only letters, digits, dots, dashes and underscores in the name.
    let disposition = format!("attachment; filename=\"{}\"", version.manifest.entry);
    Ok(HttpResponse::Ok()
        .insert_header(ETag(tag))
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, SANDBOX_POLICY))
        .insert_header((header::CONTENT_DISPOSITION, disposition))
        .content_type("application/octet-stream")
        .body(bytes))
}
