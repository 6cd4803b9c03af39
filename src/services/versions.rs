//! Agent versions ready to run: manifest, code and input schema, kept in memory by id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Error, FieldError};
use crate::domain::agent::{Agent, AgentVersion};
use crate::domain::id::{OrgId, VersionId, WorkspaceId};

/// Versions kept in memory; when there are more, all are forgotten and read again.
const KEPT_MAX: usize = 256;
/// Field errors reported at once.
const FIELD_ERRORS_MAX: usize = 20;

/// A version as the executor needs it. Versions never change, so that a copy is never stale.
#[derive(Debug)]
pub struct LoadedVersion {
    pub version: AgentVersion,
    /// The source of a script.
    pub source: Option<Arc<str>>,
    schema: Option<jsonschema::Validator>,
}

impl LoadedVersion {
    /// # Errors
    /// The stored schema is none; it was checked at upload.
    pub fn new(version: AgentVersion, source: Option<Arc<str>>) -> Result<Self, Error> {
        let schema = version
            .input_schema
            .as_deref()
            .map(compile_schema)
            .transpose()
            .map_err(Error::Internal)?;
        Ok(Self { version, source, schema })
    }

    /// Checks an input against the version's schema.
    ///
    /// # Errors
    /// Each field that does not fit.
    pub fn check_input(&self, input: &serde_json::Value) -> Result<(), Error> {
        let Some(schema) = &self.schema else { return Ok(()) };
        let errors: Vec<FieldError> = schema
            .iter_errors(input)
            .take(FIELD_ERRORS_MAX)
            .map(|error| FieldError {
                pointer: error.instance_path().to_string(),
                message: error.to_string(),
            })
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
    }
}

/// A JSON Schema ready to check with. It may refer to nothing outside itself.
///
/// # Errors
/// What is wrong with it, for its author.
pub fn compile_schema(text: &str) -> Result<jsonschema::Validator, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    jsonschema::validator_for(&value).map_err(|error| format!("it is no JSON Schema: {error}"))
}

/// Agents by workspace and by name or id, as runs are started with them. A generation ends when an agent is published.
#[derive(Default)]
struct Agents {
    generation: u64,
    by_key: HashMap<(WorkspaceId, String), Agent>,
}

/// The versions in memory.
#[derive(Default)]
pub struct Versions {
    agents: Mutex<Agents>,
    kept: Mutex<HashMap<VersionId, (Arc<LoadedVersion>, OrgId)>>,
}

impl Versions {
    fn agents(&self) -> MutexGuard<'_, Agents> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agent, or the generation in which it is to be read and kept.
    pub fn find_agent(&self, workspace: WorkspaceId, key: &str) -> Result<Agent, u64> {
        let agents = self.agents();
        agents.by_key.get(&(workspace, key.to_owned())).cloned().ok_or(agents.generation)
    }

    /// Keeps an agent that was read in a generation that has not ended.
    pub fn keep_agent(&self, workspace: WorkspaceId, key: String, agent: Agent, generation: u64) {
        let mut agents = self.agents();
        if agents.generation != generation {
            return;
        }
        if agents.by_key.len() >= KEPT_MAX {
            agents.by_key.clear();
        }
        agents.by_key.insert((workspace, key), agent);
    }

    /// An agent was published: what is kept may no longer name the latest version.
    pub fn forget_agents(&self) {
        let mut agents = self.agents();
        agents.generation += 1;
        agents.by_key.clear();
    }

    /// The version and whose it is.
    pub fn find(&self, id: VersionId) -> Option<(Arc<LoadedVersion>, OrgId)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub fn keep(&self, org: OrgId, loaded: LoadedVersion) -> Arc<LoadedVersion> {
        let loaded = Arc::new(loaded);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(loaded.version.id, (Arc::clone(&loaded), org));
        loaded
    }
}
