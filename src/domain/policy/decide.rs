//! The decision on one call.

use std::collections::BTreeSet;

use url::Url;

use super::matching::Thing;
use super::rules::Approvers;
use super::{Decision, Policies};
use crate::domain::call::{Body, Call, HttpRequest};
use crate::domain::grant;
use crate::domain::manifest::{AskFirst, Capabilities};
use crate::domain::placeholder;
use crate::domain::trifecta;

/// What must be known beside the call itself.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The most that a model call can cost, in millionths of a dollar.
    pub call_micros: u64,
    /// What the run has cost so far and what is reserved for it, without this call.
    pub run_micros: u64,
    /// Of a question to a run: the agent's name.
    pub asked_agent: Option<String>,
}

/// Decides about a call. The manifest must grant it. Then each thing that it touches (a host, each secret named in the request, a model,
/// what it costs, ...) is decided by the first rule about it in each policy, or by the default where neither has one. The strictest holds.
pub fn decide(policies: &Policies, granted: &Capabilities, call: &Call, facts: &Facts) -> Decision {
    let plain = by_default(granted, call);
    if matches!(plain, Decision::Deny(..)) {
        return plain;
    }
    let say = |thing: Thing<'_>| policies.say(&thing);
    let others = |decided: Decision, others: &mut dyn Iterator<Item = Option<Decision>>| others.flatten().fold(decided, Decision::and);
    match call {
        Call::ModelsChat(request) => {
            let decided = say(Thing::Model(&request.model)).unwrap_or(plain);
            let costs = [
                say(Thing::CallCost(facts.call_micros)),
                say(Thing::RunCost(facts.run_micros.saturating_add(facts.call_micros))),
            ];
            others(decided, &mut costs.into_iter())
        }
        Call::HttpSend(request) => {
            let url = Url::parse(&request.url).ok();
            let http = url.as_ref().and_then(|url| {
                say(Thing::Http {
                    url,
                    method: &request.method,
                })
            });
            let secrets = secrets_of(request);
            let mut said = secrets.iter().map(|name| say(Thing::Secret(name)));
            others(
                http.unwrap_or_else(|| ask_where_all_three_meet(granted, &request.method, plain)),
                &mut said,
            )
        }
        Call::ToolsCall { name, .. } => {
            let granting = say(Thing::Tool(name)).unwrap_or(plain);
            let asks = granted
                .ask
                .contains(name)
                .then(|| Decision::Ask("manifest.ask".into(), Approvers::default()));
            // What it does is decided like that call itself.
            let stands_for = call.stands_for().map(|call| decide(policies, granted, &call, facts));
            others(granting, &mut [asks, stands_for].into_iter())
        }
        Call::ArtifactsPut(info) => say(Thing::Artifact(info.bytes)).unwrap_or(plain),
        Call::AgentsStart { agent, .. } => say(Thing::Agent(agent)).unwrap_or(plain),
        Call::AgentsAsk(_) | Call::WaitsOpen(crate::domain::wait::Wait::Ask(_)) => {
            let said = facts.asked_agent.as_deref().and_then(|agent| say(Thing::Agent(agent)));
            said.unwrap_or(plain)
        }
        _ => plain,
    }
}

/// What holds without any rule: what the manifest grants is allowed, everything else is denied. Of the writes over HTTP that are granted,
/// those that cannot be repeated or undone wait for a person, unless the grant says otherwise.
fn by_default(granted: &Capabilities, call: &Call) -> Decision {
    let grants = |is: bool, rule: &'static str, why: &dyn Fn() -> String| {
        if is {
            Decision::Allow(rule.into())
        } else {
            Decision::Deny(rule.into(), why())
        }
    };
    match call {
        Call::ModelsChat(request) => grants(granted.models.contains(&request.model), "manifest.models", &|| {
            format!("the manifest grants no model “{}”; add it to capabilities.models", request.model)
        }),
        Call::HttpSend(request) => {
            let missing = secrets_of(request).into_iter().find(|name| !granted.secrets.contains(name));
            if let Some(name) = missing {
                let why = format!("the manifest grants no secret “{name}”; add it to capabilities.secrets");
                return Decision::Deny("manifest.secrets".into(), why);
            }
            http_by_default(granted, &request.method, &request.url)
        }
        Call::MemoryGet { .. }
        | Call::MemoryPut { .. }
        | Call::MemoryDelete { .. }
        | Call::MemoryList { .. }
        | Call::MemorySearch { .. } => grants(granted.memory, "manifest.memory", &|| {
            "the manifest grants no memory; set capabilities.memory = true".to_owned()
        }),
        Call::ArtifactsPut(_) | Call::ArtifactsGet { .. } | Call::ArtifactsList {} => Decision::Allow("own-artifacts".into()),
        Call::AgentsStart { agent, .. } => grants(granted.agents.contains(agent), "manifest.agents", &|| {
            format!("the manifest does not let it start “{agent}”; add it to capabilities.agents")
        }),
        Call::ToolsDescribe {} => Decision::Allow("own-tools".into()),
        Call::ToolsCall { name, .. } => grants(granted.tools.contains(name), "manifest.tools", &|| {
            format!("the manifest grants no tool “{name}”; add it to capabilities.tools")
        }),
        // A person answers, time passes, or a run that this one started does: none of it reaches further than that run may.
        Call::ClockSleep { .. }
        | Call::ApprovalsRequest(_)
        | Call::InboxReply { .. }
        | Call::InboxReceive { .. }
        | Call::AgentsAsk(_)
        | Call::WaitsOpen(_)
        | Call::WaitsAny { .. }
        | Call::WaitsClose { .. } => Decision::Allow("own-waits".into()),
    }
}

fn http_by_default(granted: &Capabilities, method: &str, url: &str) -> Decision {
    const RULE: &str = "manifest.http";
    let deny = |why: String| Decision::Deny(RULE.into(), why);
    let Ok(url) = Url::parse(url) else {
        return deny("the address is no URL".to_owned());
    };
    let Some(host) = url.host_str() else {
        return deny("the address has no host".to_owned());
    };
    let method = method.to_ascii_uppercase();
    let on_host: Vec<_> = granted.http.iter().filter(|grant| grant::allows(&grant.host, &url)).collect();
    if on_host.is_empty() {
        return deny(format!("the manifest grants no HTTP to {host}; add it to capabilities.http"));
    }
    let matching: Vec<_> = on_host.iter().filter(|grant| grant.covers(&url)).collect();
    if matching.is_empty() {
        let paths: Vec<&str> = on_host.iter().map(|grant| grant.path.as_str()).collect();
        return deny(format!("the manifest grants {host} only below {}", paths.join(", ")));
    }
    let granting: Vec<_> = matching.iter().filter(|grant| grant.takes(&method)).collect();
    if granting.is_empty() {
        return deny(format!("the manifest does not grant {method} to {host}"));
    }
    let has_key = matching.iter().any(|grant| grant.idempotency_header.is_some());
    if is_repeatable(&method, has_key) || granting.iter().any(|grant| grant.approval == AskFirst::Never) {
        Decision::Allow(RULE.into())
    } else {
        ask_by_default()
    }
}

/// A write of an agent that has private data, reads what others wrote and can send things away waits for a person, whatever its manifest says.
pub(super) fn ask_where_all_three_meet(granted: &Capabilities, method: &str, plain: Decision) -> Decision {
    if matches!(plain, Decision::Allow(_)) && !trifecta::is_read(method) && trifecta::of(granted).is_complete() {
        return Decision::Ask("default.trifecta".into(), Approvers::default());
    }
    plain
}

pub(super) fn ask_by_default() -> Decision {
    Decision::Ask("default.ask-before-writes".into(), Approvers::default())
}

/// Whether doing it twice does no more than doing it once, and nothing is lost by it.
pub(super) fn is_repeatable(method: &str, has_key: bool) -> bool {
    match method {
        "GET" | "HEAD" | "OPTIONS" | "PUT" => true,
        "DELETE" => false,
        _ => has_key,
    }
}

/// The secrets that a request names: in its address, its headers or its body.
pub fn secrets_of(request: &HttpRequest) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut look = |text: &str| found.extend(placeholder::secrets(text).map(str::to_owned));
    look(&request.url);
    for header in &request.headers {
        look(&header.name);
        look(&header.value);
    }
    match &request.body {
        Some(Body::Text(text)) => look(text),
        Some(body @ Body::Base64(_)) => look(&String::from_utf8_lossy(&body.to_bytes().unwrap_or_default())),
        None => {}
    }
    found
}
