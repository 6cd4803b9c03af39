//! What an agent may do: one pure function over the call, the manifest's grants and the policy's rules.

use super::call::{Call, EffectClass};
use super::grant;
use super::manifest::{AskFirst, Capabilities};

/// A rule of the policy that decided.
pub type Rule = &'static str;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow(Rule),
    /// With the reason the agent is told.
    Deny(Rule, String),
    /// A person decides first.
    Ask(Rule),
}

/// The default policy's version, written with each intent.
pub const POLICY_VERSION: &str = "default-2";

/// The default policy: what the manifest grants is allowed, everything else is denied.
/// Of the writes over HTTP that are granted, those that cannot be repeated or undone wait for a person, unless the grant says otherwise.
pub fn decide(granted: &Capabilities, call: &Call) -> Decision {
    match call {
        Call::ModelsChat(request) => {
            if granted.models.contains(&request.model) {
                Decision::Allow("manifest.models")
            } else {
                Decision::Deny(
                    "manifest.models",
                    format!("the manifest grants no model “{}”; add it to capabilities.models", request.model),
                )
            }
        }
        Call::HttpSend(request) => decide_http(granted, &request.method, &request.url),
        Call::MemoryGet { .. }
        | Call::MemoryPut { .. }
        | Call::MemoryDelete { .. }
        | Call::MemoryList { .. }
        | Call::MemorySearch { .. } => {
            if granted.memory {
                Decision::Allow("manifest.memory")
            } else {
                Decision::Deny(
                    "manifest.memory",
                    "the manifest grants no memory; set capabilities.memory = true".to_owned(),
                )
            }
        }
        Call::ArtifactsPut(_) | Call::ArtifactsGet { .. } | Call::ArtifactsList {} => Decision::Allow("own-artifacts"),
        Call::AgentsStart { agent, .. } => {
            if granted.agents.contains(agent) {
                Decision::Allow("manifest.agents")
            } else {
                Decision::Deny(
                    "manifest.agents",
                    format!("the manifest does not let it start “{agent}”; add it to capabilities.agents"),
                )
            }
        }
        // A person answers, time passes, or a run that this one started does: none of it reaches further than that run may.
        Call::ClockSleep { .. }
        | Call::ApprovalsRequest(_)
        | Call::InboxReply { .. }
        | Call::InboxReceive { .. }
        | Call::AgentsAsk(_)
        | Call::WaitsOpen(_)
        | Call::WaitsAny { .. }
        | Call::WaitsClose { .. } => Decision::Allow("own-waits"),
    }
}

fn decide_http(granted: &Capabilities, method: &str, url: &str) -> Decision {
    const RULE: Rule = "manifest.http";
    let Ok(url) = url::Url::parse(url) else {
        return Decision::Deny(RULE, "the address is no URL".to_owned());
    };
    let Some(host) = url.host_str() else {
        return Decision::Deny(RULE, "the address has no host".to_owned());
    };
    let method = method.to_ascii_uppercase();
    let matching: Vec<_> = granted.http.iter().filter(|grant| grant::allows(&grant.host, &url)).collect();
    if matching.is_empty() {
        return Decision::Deny(RULE, format!("the manifest grants no HTTP to {host}; add it to capabilities.http"));
    }
    let granting: Vec<_> = matching.iter().filter(|grant| grant.methods.contains(&method)).collect();
    if !granting.is_empty() {
        let repeatable = match method.as_str() {
            "GET" | "HEAD" | "OPTIONS" | "PUT" => true,
            "DELETE" => false,
            _ => matching.iter().any(|grant| grant.idempotency_header.is_some()),
        };
        if repeatable || granting.iter().any(|grant| grant.approval == AskFirst::Never) {
            Decision::Allow(RULE)
        } else {
            Decision::Ask("default.ask-before-writes")
        }
    } else {
        Decision::Deny(RULE, format!("the manifest does not grant {method} to {host}"))
    }
}

/// What holds in a fork whose writes ask: what would be allowed to change something outside waits for a person first.
pub fn ask_before_writes(decided: Decision, class: EffectClass) -> Decision {
    match decided {
        Decision::Allow(_) if matches!(class, EffectClass::WriteOnce | EffectClass::WriteIdempotent) => Decision::Ask("fork.ask-writes"),
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
    let Call::HttpSend(request) = call else { return None };
    if !matches!(call.class(), EffectClass::WriteOnce | EffectClass::WriteIdempotent) {
        return None;
    }
    let url = url::Url::parse(&request.url).ok()?;
    granted
        .http
        .iter()
        .filter(|grant| grant::allows(&grant.host, &url))
        .find_map(|grant| grant.idempotency_header.as_deref())
}

#[cfg(test)]
mod tests;
