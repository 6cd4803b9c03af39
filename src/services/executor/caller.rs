//! Whose calls these are, and with which rights: the run's own within those of every run above it.

use std::sync::Arc;

use super::super::versions::LoadedVersion;
use crate::domain::call::{Call, EffectClass};
use crate::domain::id::{AgentId, OrgId, PrincipalId, RunId, WorkspaceId};
use crate::domain::limits::AgentLimits;
use crate::domain::manifest::Capabilities;
use crate::domain::policy::{self, Decision};
use crate::domain::run::Environment;
use crate::domain::wait::Quota;
use crate::store::Scope;

/// Whose calls these are; goes into every transaction.
#[derive(Clone)]
pub(super) struct Caller {
    pub org: OrgId,
    pub workspace: WorkspaceId,
    pub environment: Environment,
    pub agent: AgentId,
    pub agent_name: String,
    pub started_by: PrincipalId,
    pub run: RunId,
    pub fence: u64,
    pub segment: u32,
    /// How many runs stand above it.
    pub depth: u32,
    pub forked_from: Option<RunId>,
    /// Of a fork: its writes ask a person first.
    pub ask_writes: bool,
    /// Of the question that the segment answers.
    pub quota: Option<Quota>,
}

impl Caller {
    pub(super) const fn scope(&self) -> Scope {
        Scope {
            org: self.org,
            workspace: self.workspace,
        }
    }
}

/// The version that runs, and those of the runs above it, the nearest first.
#[derive(Clone)]
pub(super) struct Rights {
    pub own: Arc<LoadedVersion>,
    pub above: Vec<Arc<LoadedVersion>>,
}

impl Rights {
    pub(super) fn granted(&self) -> &Capabilities {
        &self.own.version.manifest.capabilities
    }

    fn all(&self) -> impl Iterator<Item = &Capabilities> {
        std::iter::once(&self.own)
            .chain(&self.above)
            .map(|loaded| &loaded.version.manifest.capabilities)
    }

    /// What the strictest of them says.
    pub(super) fn decide(&self, call: &Call) -> Decision {
        let mut decided = policy::decide(self.granted(), call);
        for above in &self.above {
            match (&decided, policy::decide(&above.version.manifest.capabilities, call)) {
                (Decision::Deny(..), _) => break,
                (_, Decision::Deny(rule, why)) => {
                    let name = &above.version.manifest.name;
                    decided = Decision::Deny(rule, format!("“{name}”, which started this run, may not: {why}"));
                }
                (Decision::Allow(_), Decision::Ask(rule)) => decided = Decision::Ask(rule),
                _ => {}
            }
        }
        decided
    }

    pub(super) fn class(&self, call: &Call) -> EffectClass {
        policy::effect_class(self.granted(), call)
    }

    /// Whether each of them reaches this address with this method.
    pub(super) fn reach(&self, url: &url::Url, method: &str) -> bool {
        self.all().all(|granted| {
            let mut grants = granted
                .http
                .iter()
                .filter(|granted| crate::domain::grant::allows(&granted.host, url));
            grants.any(|grant| grant.methods.iter().any(|granted| granted == method))
        })
    }

    /// The least of each limit.
    pub(super) fn limits(&self) -> AgentLimits {
        self.above.iter().fold(self.own.version.manifest.limits, |least, above| {
            least.within(above.version.manifest.limits)
        })
    }
}
