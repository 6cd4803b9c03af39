//! Rules as sentences that a person can judge.

use super::rules::{Approvers, Effect, Names, Per, Rule, What};
use crate::domain::permission::Role;

/// What holds where no rule says otherwise, in the order of what is asked most.
pub const DEFAULTS: [&str; 6] = [
    "An agent may do what its manifest lists, and nothing else. No rule here gives it more.",
    "Before POST, PATCH or DELETE one person who may decide is asked, unless the manifest lists the host with approval = \"never\" or names \
     the host’s idempotency header. An “allow” rule lifts this question, an “ask” rule overrides the manifest.",
    "Reading (GET, HEAD, OPTIONS) and PUT go ahead, and so do models, artifacts and other agents that the manifest lists.",
    "An agent that has private data, reads what others wrote and can send things away asks a person before every write, PUT included and \
     whatever its manifest says. An “allow” rule about that host lifts the question.",
    "Of several rules about the same thing the first that fits decides. What an action touches (the host, each secret, the model, the cost) \
     is decided thing by thing, and the strictest answer holds.",
    "The organization’s and the workspace’s policy both hold: deny beats ask, and ask beats allow. A workspace can only be stricter.",
];

impl Rule {
    /// “Ask 2 admins before POST to *.bank.example”
    pub fn in_words(&self) -> String {
        let what = self.what.in_words();
        match self.effect {
            Effect::Allow => format!("Allow {what}"),
            Effect::Deny => format!("Deny {what}"),
            Effect::Ask => {
                let asked = self.asked();
                let own = if asked.self_approval {
                    ""
                } else {
                    ", not counting who started the run"
                };
                format!("Ask {} before {what}{own}", people(asked))
            }
        }
    }
}

/// “2 admins, not counting who started the run”
pub fn of_approvers(approvers: Approvers) -> String {
    let own = if approvers.self_approval {
        ""
    } else {
        ", not counting who started the run"
    };
    format!("{}{own}", people(approvers))
}

fn people(approvers: Approvers) -> String {
    let (one, many) = match approvers.min_role {
        Role::Owner => ("an owner", "owners"),
        Role::Admin => ("an admin", "admins"),
        Role::Builder => ("a builder", "builders"),
        Role::Operator | Role::Viewer => ("an operator", "operators"),
    };
    if approvers.count == 1 {
        one.to_owned()
    } else {
        format!("{} {many}", approvers.count)
    }
}

impl What {
    /// What is done, as it follows “Allow” or “before”.
    pub fn in_words(&self) -> String {
        match self {
            Self::Model(names) => named(names, "using any model", "using the model", "using the models"),
            Self::Tool(names) => named(names, "using any tool", "using the tool", "using the tools"),
            Self::Secret(names) => named(names, "sending any secret", "sending the secret", "sending the secrets"),
            Self::Agent(names) => named(
                names,
                "starting or asking any agent",
                "starting or asking the agent",
                "starting or asking the agents",
            ),
            Self::Http(http) => {
                let methods = if http.methods.is_empty() {
                    "any request".to_owned()
                } else {
                    joined(&http.methods, "or")
                };
                let hosts = if http.hosts.iter().any(|host| host == "*") {
                    "any host".to_owned()
                } else {
                    joined(&http.hosts, "or")
                };
                let path = if http.path_prefix.is_empty() {
                    String::new()
                } else {
                    format!(" where the path begins with {}", http.path_prefix)
                };
                format!("{methods} to {hosts}{path}")
            }
            Self::Artifact(artifact) => format!("storing an artifact of more than {}", size(artifact.over_bytes)),
            Self::Cost(cost) => match cost.per {
                Per::Call => format!("a model call that can cost more than {}", dollars(cost.over_micros)),
                Per::Run => format!("a model call that can bring its run above {}", dollars(cost.over_micros)),
            },
        }
    }
}

fn named(names: &Names, all: &str, one: &str, many: &str) -> String {
    if names.names.iter().any(|name| name == "*") {
        return all.to_owned();
    }
    let quoted: Vec<String> = names.names.iter().map(|name| format!("“{name}”")).collect();
    let which = if quoted.len() == 1 { one } else { many };
    format!("{which} {}", joined(&quoted, "or"))
}

fn joined(list: &[String], last: &str) -> String {
    match list {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

/// Dollars with all the digits there are, at least two.
fn dollars(micros: u64) -> String {
    let (whole, part) = (micros / 1_000_000, micros % 1_000_000);
    let part = format!("{part:06}");
    let cents = part.get(..2).unwrap_or_default();
    let rest = part.get(2..).unwrap_or_default().trim_end_matches('0');
    format!("${whole}.{cents}{rest}")
}

fn size(bytes: u64) -> String {
    for (unit, name) in [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{} {name}", bytes / unit);
        }
    }
    format!("{bytes} bytes")
}
