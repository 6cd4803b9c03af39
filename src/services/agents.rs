//! Checking, storing and finding agents.

use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

use super::access::require;
use super::versions::{LoadedVersion, compile_schema};
use super::{App, Error, plans};
use crate::domain::agent::{Agent, AgentVersion};
use crate::domain::id::{AgentId, OrgId, VersionId};
use crate::domain::limits::{
    CODE_BYTES_MAX, INPUT_BYTES_MAX, INPUT_SCHEMA_BYTES_MAX, MANIFEST_BYTES_MAX, PAGE_MAX, README_BYTES_MAX, SOURCE_BYTES_MAX,
};
use crate::domain::manifest::{Finding, MANIFEST_FILE, Manifest, RuntimeKind, Severity};
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::domain::tool::{self, Touches};
use crate::domain::trifecta;
use crate::runtime::engine::World;
use crate::runtime::segment::Script;
use crate::runtime::{self, preflight, segment};
use crate::store::runs::Run;
use crate::store::segments::Segment;
use crate::store::{Scope, agents, audit, blobs};

const WHAT: &str = "the agent";
/// What a list counts as recent.
const RECENT: Duration = Duration::from_hours(30 * 24);
const README_FILE: &str = "README.md";
const SAMPLE_FILE: &str = "sample.json";

/// An agent by its name in the actor's workspace, or by its id.
#[derive(Clone, Debug)]
pub enum AgentRef {
    Name(String),
    Id(AgentId),
}

impl AgentRef {
    /// Reads an id where the text is one, else a name.
    pub fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id)
    }
}

/// An agent's files.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    pub manifest: String,
    pub code: Vec<u8>,
    /// The JSON Schema that the manifest's `input` names.
    pub input_schema: Option<String>,
    pub readme: Option<String>,
    pub sample_input: Option<String>,
}

/// Where an upload goes.
#[derive(Clone, Debug)]
pub enum Target {
    /// A new agent, by the manifest's name.
    New,
    /// A new version of this agent.
    Version(AgentId),
}

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// Where it could be read.
    pub manifest: Option<Manifest>,
    /// What is executed: for a bare core module, the component made of it.
    pub code: Vec<u8>,
    pub findings: Vec<Finding>,
}

impl Checked {
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

/// Checks an agent's files as an upload would, and stores nothing: manifest, schema, sample, syntax, shape, imports, exports.
///
/// # Errors
/// The check itself cannot be done.
pub async fn check(app: &App, upload: Upload) -> Result<Checked, Error> {
    let mut findings = check_sizes(&upload);
    let manifest = match Manifest::parse(&upload.manifest) {
        Ok(manifest) => manifest,
        Err(found) => {
            findings.extend(found);
            return Ok(Checked {
                manifest: None,
                code: upload.code,
                findings,
            });
        }
    };
    findings.extend(check_schema(&manifest, &upload));
    findings.extend(check_grants(&manifest));
    let code = if findings.iter().any(|finding| finding.file == manifest.entry) {
        upload.code
    } else {
        match manifest.runtime {
            RuntimeKind::Javascript => {
                findings.extend(check_script(app, &manifest, &upload.code).await?);
                upload.code
            }
            RuntimeKind::Component => match check_component(app, upload.code).await? {
                Ok(component) => component,
                Err((code, message)) => {
                    findings.push(Finding::error(&manifest.entry, message));
                    code
                }
            },
        }
    };
    Ok(Checked {
        manifest: Some(manifest),
        code,
        findings,
    })
}

fn check_sizes(upload: &Upload) -> Vec<Finding> {
    let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let sizes = [
        (MANIFEST_FILE, upload.manifest.len(), MANIFEST_BYTES_MAX),
        ("the code", upload.code.len(), CODE_BYTES_MAX),
        ("the input schema", len(&upload.input_schema), INPUT_SCHEMA_BYTES_MAX),
        (README_FILE, len(&upload.readme), README_BYTES_MAX),
        (SAMPLE_FILE, len(&upload.sample_input), INPUT_BYTES_MAX),
    ];
    let too_large = sizes.into_iter().filter(|(_, bytes, limit)| bytes > limit);
    too_large
        .map(|(file, bytes, limit)| Finding::error(file, format!("it is {bytes} bytes, the limit is {limit}")))
        .collect()
}

/// What the author should know of the grants, though they can be stored.
fn check_grants(manifest: &Manifest) -> Vec<Finding> {
    let granted = &manifest.capabilities;
    let mut findings = Vec::new();
    let all_three = trifecta::of(granted);
    if all_three.is_complete() {
        findings.push(Finding::warning(
            MANIFEST_FILE,
            format!(
                "it has private data, reads what others wrote, and can send things away ({}): a person decides about each of its writes, whatever \
                 the grants say, unless a rule of the policy allows it",
                all_three.in_words()
            ),
        ));
    }
    for name in granted.tools.iter().filter(|name| tool::find(name).is_none()) {
        findings.push(Finding::warning(MANIFEST_FILE, format!("the station has no tool “{name}”")));
    }
    let wants = |touches: Touches| {
        granted
            .tools
            .iter()
            .find(|name| tool::find(name).is_some_and(|tool| tool.touches == touches))
    };
    if let Some(name) = wants(Touches::Memory).filter(|_| !granted.memory) {
        findings.push(Finding::warning(
            MANIFEST_FILE,
            format!("the tool “{name}” does nothing without capabilities.memory = true"),
        ));
    }
    if let Some(name) = wants(Touches::Http).filter(|_| granted.http.is_empty()) {
        findings.push(Finding::warning(
            MANIFEST_FILE,
            format!("the tool “{name}” reaches nobody without a host in capabilities.http"),
        ));
    }
    findings
}

fn check_schema(manifest: &Manifest, upload: &Upload) -> Vec<Finding> {
    let mut findings = Vec::new();
    let schema = match (&manifest.input, &upload.input_schema) {
        (Some(file), None) => {
            findings.push(Finding::error(MANIFEST_FILE, format!("input names {file}, which was not given")));
            None
        }
        (file, Some(text)) => {
            let file = file.as_deref().unwrap_or("input.schema.json");
            compile_schema(text)
                .map_err(|error| findings.push(Finding::error(file, error)))
                .ok()
        }
        (None, None) => None,
    };
    if let Some(sample) = &upload.sample_input {
        match serde_json::from_str::<serde_json::Value>(sample) {
            Err(error) => findings.push(
                Finding::error(SAMPLE_FILE, format!("it is no JSON: {error}"))
                    .at(u32::try_from(error.line()).unwrap_or(0), u32::try_from(error.column()).unwrap_or(0)),
            ),
            Ok(value) => {
                if let Some(error) = schema.as_ref().and_then(|schema| schema.iter_errors(&value).next()) {
                    findings.push(Finding::warning(
                        SAMPLE_FILE,
                        format!("it does not fit the input schema at “{}”: {error}", error.instance_path()),
                    ));
                }
            }
        }
    }
    findings
}

async fn check_script(app: &App, manifest: &Manifest, code: &[u8]) -> Result<Vec<Finding>, Error> {
    let wrong = |message: String| vec![Finding::error(&manifest.entry, message)];
    if code.len() > SOURCE_BYTES_MAX {
        return Ok(wrong(format!(
            "it is {} bytes, the limit for a script is {SOURCE_BYTES_MAX}",
            code.len()
        )));
    }
    let Ok(source) = std::str::from_utf8(code) else {
        return Ok(wrong("it is no UTF-8 text".to_owned()));
    };
    let guest = app.javascript(app.javascript_digest).await?;
    let script = Script {
        name: manifest.entry.clone(),
        source: Arc::from(source),
    };
    let app = app.clone();
    let handle = app.agents_runtime().clone();
    let checked = handle.spawn(async move { segment::check_script(app.components.sandbox(), &guest, &script).await });
    Ok(checked.await.map_err(|error| Error::Internal(error.to_string()))??)
}

/// The component, or the code as it came and why it is refused.
async fn check_component(app: &App, code: Vec<u8>) -> Result<Result<Vec<u8>, (Vec<u8>, String)>, Error> {
    let prepared = tokio::task::spawn_blocking(move || {
        let component = match preflight::check(&code) {
            Ok(preflight::Form::Component) => Ok(code.clone()),
            Ok(preflight::Form::Module) => {
                preflight::componentize(&code).and_then(|component| preflight::check(&component).map(|_| component))
            }
            Err(message) => Err(message),
        };
        component.map_err(|message| (code, message))
    });
    let component = match prepared.await.map_err(|error| Error::Internal(error.to_string()))? {
        Ok(component) => component,
        Err(refused) => return Ok(Err(refused)),
    };
    let bytes = component.clone();
    match app
        .components
        .get(blobs::digest(&component), World::Agent, async || Ok(bytes))
        .await
    {
        Ok(_) => Ok(Ok(component)),
        Err(runtime::Error::Internal(text)) => Err(Error::Internal(text)),
        Err(refused) => Ok(Err((component, refused.to_string()))),
    }
}

/// Checks and stores an agent, or a new version of one.
///
/// # Errors
/// `Rejected` with every finding, `AlreadyExists` where name or version is taken, `PlanLimit`; then nothing is stored.
pub async fn create(app: &App, actor: &Actor, upload: Upload, target: Target, origin: Origin) -> Result<(Agent, AgentVersion), Error> {
    require(actor, Permission::AgentsWrite, actor.org, WHAT)?;
    let (manifest_text, input_schema) = (upload.manifest.clone(), upload.input_schema.clone());
    let (readme, sample_input) = (upload.readme.clone(), upload.sample_input.clone());
    let checked = check(app, upload).await?;
    let (false, Some(manifest)) = (checked.has_errors(), checked.manifest) else {
        return Err(Error::Rejected(checked.findings));
    };
    let now = app.clock.now();
    let scope = Scope {
        org: actor.org,
        workspace: actor.workspace,
    };
    let asking = actor.clone();
    let code = checked.code;
    let stored = app.store.write(move |tx| {
        if matches!(target, Target::New) {
            plans::check_agents(tx, scope.org)?;
        }
        plans::check_bytes(tx, scope.org, code.len())?;
        let code_digest = blobs::put(tx, scope.org, &code, now)?;
        let new = agents::NewVersion {
            id: VersionId::new(now),
            manifest,
            manifest_text,
            code_digest,
            code_bytes: code.len() as u64,
            input_schema,
            readme,
            sample_input,
            created_by: asking.principal,
        };
        let stored = match target {
            Target::New => agents::insert(tx, scope, AgentId::new(now), &new, now)?,
            Target::Version(agent) => agents::insert_version(tx, scope, agent, &new, now)?,
        };
        let target = format!("{}@{}", stored.0.name, stored.1.version);
        let digest = crate::domain::hex::encode(&code_digest);
        let record = super::audit::of(&asking, "agent.publish", &target, origin).detail(json!({ "code": digest }));
        audit::record(tx, record, now)?;
        Ok(stored)
    });
    let stored = stored.await?;
    app.versions.forget_agents();
    Ok(stored)
}

/// # Errors
/// `NotFound`.
pub async fn find(app: &App, actor: &Actor, agent: &AgentRef) -> Result<Agent, Error> {
    require(actor, Permission::AgentsRead, actor.org, WHAT)?;
    look_up(app, actor, agent).await
}

/// An agent of the actor's workspace, for use cases with a permission of their own.
pub(super) async fn look_up(app: &App, actor: &Actor, agent: &AgentRef) -> Result<Agent, Error> {
    let scope = Scope {
        org: actor.org,
        workspace: actor.workspace,
    };
    let key = match agent {
        AgentRef::Name(name) => name.clone(),
        AgentRef::Id(id) => id.to_string(),
    };
    let generation = match app.versions.find_agent(scope.workspace, &key) {
        Ok(agent) => return Ok(agent),
        Err(generation) => generation,
    };
    let agent = agent.clone();
    let read = app.store.read(move |reader| match &agent {
        AgentRef::Name(name) => agents::find_by_name(reader, scope, name),
        AgentRef::Id(id) => agents::find(reader, scope, *id),
    });
    let agent = read.await?.ok_or(Error::NotFound(WHAT))?;
    app.versions.keep_agent(scope.workspace, key, agent.clone(), generation);
    Ok(agent)
}

/// Agents by name, after the name `after`, those that `search` fits where it is not empty.
///
/// # Errors
/// The actor may not read agents.
pub async fn list(
    app: &App,
    actor: &Actor,
    search: Option<String>,
    after: Option<String>,
    limit: u32,
) -> Result<Vec<agents::Listed>, Error> {
    require(actor, Permission::AgentsRead, actor.org, WHAT)?;
    let scope = Scope {
        org: actor.org,
        workspace: actor.workspace,
    };
    let limit = limit.clamp(1, PAGE_MAX);
    let read = app
        .store
        .read(move |reader| agents::list(reader, scope, search.as_deref(), after.as_deref(), limit));
    Ok(read.await?)
}

/// What a list says of these agents, in their order; their runs of the last 30 days.
///
/// # Errors
/// The actor may not read agents.
pub async fn cards(app: &App, actor: &Actor, of: &[Agent]) -> Result<Vec<agents::Card>, Error> {
    require(actor, Permission::AgentsRead, actor.org, WHAT)?;
    let scope = Scope {
        org: actor.org,
        workspace: actor.workspace,
    };
    let since = app.clock.now().minus(RECENT);
    let of = of.to_vec();
    let read = app
        .store
        .read(move |reader| of.iter().map(|agent| agents::card(reader, scope, agent, since)).collect());
    Ok(read.await?)
}

/// Versions of an agent, the newest first.
///
/// # Errors
/// `NotFound`.
pub async fn versions(app: &App, actor: &Actor, agent: AgentId) -> Result<Vec<AgentVersion>, Error> {
    require(actor, Permission::AgentsRead, actor.org, WHAT)?;
    let scope = Scope {
        org: actor.org,
        workspace: actor.workspace,
    };
    Ok(app.store.read(move |reader| agents::versions(reader, scope, agent)).await?)
}

/// # Errors
/// `NotFound`.
pub async fn version_by_number(app: &App, actor: &Actor, agent: AgentId, number: &semver::Version) -> Result<AgentVersion, Error> {
    require(actor, Permission::AgentsRead, actor.org, WHAT)?;
    look_up_version(app, actor, agent, number).await
}

/// A version of an agent in the actor's workspace, for use cases with a permission of their own.
pub(super) async fn look_up_version(app: &App, actor: &Actor, agent: AgentId, number: &semver::Version) -> Result<AgentVersion, Error> {
    let scope = Scope {
        org: actor.org,
        workspace: actor.workspace,
    };
    let number = number.clone();
    let found = app
        .store
        .read(move |reader| agents::find_version(reader, scope, agent, &number))
        .await?;
    found.ok_or(Error::NotFound("the version"))
}

/// A script's source, or nothing for a component.
///
/// # Errors
/// `NotFound`.
pub async fn source(app: &App, actor: &Actor, version: VersionId) -> Result<Option<Arc<str>>, Error> {
    require(actor, Permission::AgentsRead, actor.org, WHAT)?;
    Ok(load_version(app, actor.org, version).await?.source.clone())
}

/// A version ready to run, from memory or the store.
///
/// # Errors
/// `NotFound`.
pub async fn load_version(app: &App, org: OrgId, id: VersionId) -> Result<Arc<LoadedVersion>, Error> {
    if let Some((loaded, owner)) = app.versions.find(id)
        && owner == org
    {
        return Ok(loaded);
    }
    let read = app.store.read(move |reader| {
        let version = agents::get_version(reader, org, id)?;
        let source = match version.manifest.runtime {
            RuntimeKind::Javascript => Some(blobs::get(reader, org, &version.code_digest)?),
            RuntimeKind::Component => None,
        };
        Ok((version, source))
    });
    let (version, source) = read.await?;
    let source = source.map(|bytes| Arc::from(String::from_utf8_lossy(&bytes)));
    Ok(app.versions.keep(org, LoadedVersion::new(version, source)?))
}

/// The version that a segment is executed with: its run's, or an older one of a session that took a newer one later. `None` where it is gone.
///
/// # Errors
/// The store does not answer.
pub async fn version_of_segment(app: &App, run: &Run, segment: &Segment) -> Result<Option<Arc<LoadedVersion>>, Error> {
    let (org, agent, at) = (run.org, run.agent_id, segment.started_at);
    let code = segment.script_digest.unwrap_or(segment.component_digest);
    let own = load_version(app, org, run.version_id).await?;
    if own.version.code_digest == code {
        return Ok(Some(own));
    }
    let found = app
        .store
        .read(move |reader| agents::version_of_code(reader, org, agent, &code, at))
        .await?;
    match found {
        Some(found) => Ok(Some(load_version(app, org, found).await?)),
        None => Ok(None),
    }
}
