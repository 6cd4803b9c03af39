//! Agents and their versions as the registry has them.

use serde::Serialize;

use super::id::{AgentId, PrincipalId, VersionId};
use super::manifest::{Manifest, RuntimeKind};
use super::time::Timestamp;

/// A registry entry.
#[derive(Clone, Debug, Serialize)]
pub struct Agent {
    pub id: AgentId,
    /// Unique in its workspace.
    pub name: String,
    pub summary: String,
    pub category: String,
    pub runtime: RuntimeKind,
    /// The newest version, which runs where none is named.
    pub latest_version: semver::Version,
    pub latest_version_id: VersionId,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// One immutable version.
#[derive(Clone, Debug)]
pub struct AgentVersion {
    pub id: VersionId,
    pub agent_id: AgentId,
    pub version: semver::Version,
    pub manifest: Manifest,
    /// `agent.toml` as it was uploaded.
    pub manifest_text: String,
    /// SHA-256 of what is executed: the component, or for a script its source.
    pub code_digest: [u8; 32],
    pub code_bytes: u64,
    /// JSON Schema of the input.
    pub input_schema: Option<String>,
    /// Markdown.
    pub readme: Option<String>,
    /// An input to begin with.
    pub sample_input: Option<String>,
    pub created_by: PrincipalId,
    pub created_at: Timestamp,
}
