//! Whose calls these are, and with which rights: the run's own within those of every run above it.

use std::sync::{Arc, Mutex, PoisonError};

use super::super::versions::LoadedVersion;
use crate::domain::call::{Call, EffectClass};
use crate::domain::id::{AgentId, OrgId, PrincipalId, RunId, WorkspaceId};
use crate::domain::limits::AgentLimits;
use crate::domain::manifest::Capabilities;
use crate::domain::policy::{self, Decision, Effect, Facts, Policies, Thing};
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
    /// The API key with which they did; empty where it was none.
    pub key: String,
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
    /// The policies as the newest transaction of this run found them.
    held: Arc<Mutex<Policies>>,
}

impl Rights {
    pub(super) fn new(own: Arc<LoadedVersion>, above: Vec<Arc<LoadedVersion>>) -> Self {
        Self {
            own,
            above,
            held: Arc::default(),
        }
    }

    /// Remembers the policies that hold now, for redirects.
    pub(super) fn hold(&self, policies: Policies) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = policies;
    }

    pub(super) fn granted(&self) -> &Capabilities {
        &self.own.version.manifest.capabilities
    }

    fn all(&self) -> impl Iterator<Item = &Capabilities> {
        std::iter::once(&self.own)
            .chain(&self.above)
            .map(|loaded| &loaded.version.manifest.capabilities)
    }

    /// What the strictest of them says.
    pub(super) fn decide(&self, policies: &Policies, call: &Call, facts: &Facts) -> Decision {
        let own = policy::decide(policies, self.granted(), call, facts);
        self.above.iter().fold(own, |decided, above| {
            let said = match policy::decide(policies, &above.version.manifest.capabilities, call, facts) {
                Decision::Deny(rule, why) if rule.starts_with("manifest.") => {
                    let name = &above.version.manifest.name;
                    Decision::Deny(rule, format!("“{name}”, which started this run, may not: {why}"))
                }
                said => said,
            };
            decided.and(said)
        })
    }

    pub(super) fn class(&self, call: &Call) -> EffectClass {
        policy::effect_class(self.granted(), call)
    }

    /// Whether a redirect may lead here: each of them reaches it, and no rule wants people to decide about it.
    pub(super) fn follow(&self, url: &url::Url, method: &str) -> bool {
        let said = {
            let policies = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            policies.say(&Thing::Http { url, method })
        };
        said.is_none_or(|said| said.effect() == Effect::Allow) && self.reach(url, method)
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

    /// The most that a run may cost by its manifest and those above it, in micro-dollars; `None` where none says.
    pub(super) fn cost_limit(&self) -> Option<u64> {
        self.limits().cost_budget()
    }

    /// The least of each limit.
    pub(super) fn limits(&self) -> AgentLimits {
        self.above.iter().fold(self.own.version.manifest.limits, |least, above| {
            least.within(above.version.manifest.limits)
        })
    }
}
