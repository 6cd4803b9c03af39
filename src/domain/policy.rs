//! What an agent may do: one pure function over the call, the manifest's grants and the policies of organization and workspace.

mod capabilities;
mod decide;
mod difference;
mod matching;
pub mod rules;
mod words;

use std::borrow::Cow;
use std::sync::Arc;

pub use capabilities::{Verdict, of_capabilities};
pub use decide::{Facts, decide, secrets_of};
pub use difference::{Changed, difference};
pub use matching::{Thing, is_like};
pub use rules::{Approvers, Effect, Rule, Rules, What, Wrong};
pub use words::{DEFAULTS, of_approvers};

use super::call::{Call, EffectClass};
use super::manifest::Capabilities;

/// Names the rule that decided: `org/no-posts`, `workspace/…`, `manifest.http`, `default.ask-before-writes`.
pub type RuleName = Cow<'static, str>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow(RuleName),
    /// With the reason the agent is told.
    Deny(RuleName, String),
    /// People decide first.
    Ask(RuleName, Approvers),
}

impl Decision {
    pub const fn rule(&self) -> &RuleName {
        match self {
            Self::Allow(rule) | Self::Deny(rule, _) | Self::Ask(rule, _) => rule,
        }
    }

    pub const fn effect(&self) -> Effect {
        match self {
            Self::Allow(_) => Effect::Allow,
            Self::Deny(..) => Effect::Deny,
            Self::Ask(..) => Effect::Ask,
        }
    }

    /// Who decides, where it asks; otherwise whoever may decide anything.
    pub fn approvers(&self) -> Approvers {
        match self {
            Self::Ask(_, approvers) => *approvers,
            Self::Allow(_) | Self::Deny(..) => Approvers::default(),
        }
    }

    /// Of two decisions the stricter; where both ask, whoever satisfies both is asked.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (denied @ Self::Deny(..), _) | (_, denied @ Self::Deny(..)) => denied,
            (Self::Ask(rule, approvers), Self::Ask(second, others)) => {
                let both = approvers.and(others);
                let rule = if both == approvers {
                    rule
                } else if both == others {
                    second
                } else {
                    format!("{rule} and {second}").into()
                };
                Self::Ask(rule, both)
            }
            (asked @ Self::Ask(..), Self::Allow(_)) | (Self::Allow(_), asked @ Self::Ask(..)) => asked,
            (allowed @ Self::Allow(_), Self::Allow(_)) => allowed,
        }
    }
}

/// What holds where no rule does; written with each intent.
pub const DEFAULT_VERSION: &str = "default-2";

/// One policy, as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// From 1.
    pub version: u32,
    pub rules: Rules,
}

/// The policies that hold for a run. What is not set has no rules.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    pub org: Option<Arc<Policy>>,
    pub workspace: Option<Arc<Policy>>,
}

impl Policies {
    /// `org 4, workspace 2, default-2`
    pub fn version(&self) -> String {
        let set = [("org", &self.org), ("workspace", &self.workspace)].into_iter();
        let named = set.filter_map(|(name, policy)| Some(format!("{name} {}", policy.as_ref()?.version)));
        named.chain([DEFAULT_VERSION.to_owned()]).collect::<Vec<_>>().join(", ")
    }

    /// Every rule with the name of its policy, in order.
    fn each(&self) -> impl Iterator<Item = (&'static str, &[Rule])> {
        [("org", &self.org), ("workspace", &self.workspace)]
            .into_iter()
            .filter_map(|(name, policy)| Some((name, policy.as_ref()?.rules.rules.as_slice())))
    }

    /// What the rules say of a thing: in each policy the first that is about it, of both the stricter.
    pub fn say(&self, thing: &Thing<'_>) -> Option<Decision> {
        self.each()
            .filter_map(|(name, rules)| Some(of_rule(name, rules.iter().find(|rule| rule.what.is_about(thing))?)))
            .reduce(Decision::and)
    }

    /// Whether a rule is about what a whole run costs, so that one needs to know.
    pub fn weigh_runs(&self) -> bool {
        let is_of_run = |rule: &Rule| matches!(rule.what, What::Cost(cost) if cost.per == rules::Per::Run);
        self.each().any(|(_, rules)| rules.iter().any(is_of_run))
    }

    /// Whether a rule is about agents that are started or asked.
    pub fn name_agents(&self) -> bool {
        self.each()
            .any(|(_, rules)| rules.iter().any(|rule| matches!(rule.what, What::Agent(_))))
    }
}

/// What the rules say of a request that a manifest grants with no more than the defaults.
pub fn of_request(policies: &Policies, url: &url::Url, method: &str) -> Decision {
    policies.say(&Thing::Http { url, method }).unwrap_or_else(|| {
        if decide::is_repeatable(method, false) {
            Decision::Allow("manifest.http".into())
        } else {
            decide::ask_by_default()
        }
    })
}

fn of_rule(policy: &str, rule: &Rule) -> Decision {
    let name = format!("{policy}/{}", rule.id);
    match rule.effect {
        Effect::Allow => Decision::Allow(name.into()),
        Effect::Ask => Decision::Ask(name.into(), rule.asked()),
        Effect::Deny => {
            let whose = if policy == "org" { "organization" } else { "workspace" };
            let note = if rule.note.is_empty() {
                String::new()
            } else {
                format!(" ({})", rule.note)
            };
            let why = format!("the {whose}’s policy denies it by its rule “{}”{note}", rule.id);
            Decision::Deny(name.into(), why)
        }
    }
}

/// What holds in a fork whose writes ask: what would be allowed to change something outside waits for a person first.
pub fn ask_before_writes(decided: Decision, class: EffectClass) -> Decision {
    match decided {
        Decision::Allow(_) if matches!(class, EffectClass::WriteOnce | EffectClass::WriteIdempotent) => {
            Decision::Ask("fork.ask-writes".into(), Approvers::default())
        }
        decided => decided,
    }
}

/// The class of a call under these grants: a host that names its idempotency header takes repeated writes.
pub fn effect_class(granted: &Capabilities, call: &Call) -> EffectClass {
    if idempotency_header(granted, call).is_some() {
        return EffectClass::WriteIdempotent;
    }
    call.class()
}

/// The header in which a host that knows repeated writes wants the key, where the call is a write.
pub fn idempotency_header<'a>(granted: &'a Capabilities, call: &Call) -> Option<&'a str> {
    let behind = call.stands_for();
    let Call::HttpSend(request) = behind.as_ref().unwrap_or(call) else {
        return None;
    };
    if !matches!(call.class(), EffectClass::WriteOnce | EffectClass::WriteIdempotent) {
        return None;
    }
    let url = url::Url::parse(&request.url).ok()?;
    granted
        .http
        .iter()
        .filter(|grant| grant.covers(&url))
        .find_map(|grant| grant.idempotency_header.as_deref())
}

#[cfg(test)]
mod tests;
