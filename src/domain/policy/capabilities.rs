//! What the policies say to each thing that a manifest wants.

use super::decide::{ask_by_default, ask_where_all_three_meet, is_repeatable};
use super::matching::{Thing, covers_host, is_below, split_port};
use super::rules::{Approvers, Http, What};
use super::words::of_approvers;
use super::{Decision, Policies, of_rule};
use crate::domain::grant::path_begins;
use crate::domain::manifest::{AskFirst, Capabilities, HttpGrant};

/// What holds for one thing that a manifest wants, or for a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `model default`, `POST to shop.example.com`.
    pub what: String,
    pub decision: Decision,
}

impl Verdict {
    /// “asks 2 admins”
    pub fn in_words(&self) -> String {
        match &self.decision {
            Decision::Allow(_) => "allowed".to_owned(),
            Decision::Deny(..) => "denied".to_owned(),
            Decision::Ask(_, approvers) if *approvers == Approvers::default() => "asks a person".to_owned(),
            Decision::Ask(_, approvers) => format!("asks {}", of_approvers(*approvers)),
        }
    }
}

/// What holds for everything that a manifest grants, in the manifest's order; and, after a host, what holds for a part of it only.
pub fn of_capabilities(policies: &Policies, granted: &Capabilities) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let plain = |verdicts: &mut Vec<Verdict>, what: String, rule: &'static str, thing: Thing<'_>| {
        verdicts.push(Verdict {
            what,
            decision: policies.say(&thing).unwrap_or(Decision::Allow(rule.into())),
        });
    };
    for name in &granted.models {
        plain(&mut verdicts, format!("model “{name}”"), "manifest.models", Thing::Model(name));
    }
    for name in &granted.agents {
        plain(&mut verdicts, format!("agent “{name}”"), "manifest.agents", Thing::Agent(name));
    }
    for name in &granted.tools {
        let said = policies.say(&Thing::Tool(name)).unwrap_or(Decision::Allow("manifest.tools".into()));
        let asks = granted
            .ask
            .contains(name)
            .then(|| Decision::Ask("manifest.ask".into(), Approvers::default()));
        verdicts.push(Verdict {
            what: format!("tool “{name}”"),
            decision: asks.into_iter().fold(said, Decision::and),
        });
    }
    for name in &granted.secrets {
        plain(&mut verdicts, format!("secret “{name}”"), "manifest.secrets", Thing::Secret(name));
    }
    if granted.memory {
        verdicts.push(Verdict {
            what: "memory".to_owned(),
            decision: Decision::Allow("manifest.memory".into()),
        });
    }
    for grant in &granted.http {
        of_grant(policies, granted, grant, &mut verdicts);
    }
    verdicts
}

fn of_grant(policies: &Policies, granted: &Capabilities, grant: &HttpGrant, verdicts: &mut Vec<Verdict>) {
    for method in &grant.methods {
        let asks = !is_repeatable(method, grant.idempotency_header.is_some()) && grant.approval != AskFirst::Never;
        let plain = if asks {
            ask_by_default()
        } else {
            Decision::Allow("manifest.http".into())
        };
        let default = ask_where_all_three_meet(granted, method, plain);
        let mut in_part = Vec::new();
        let mut whole: Option<Decision> = None;
        for (name, rules) in policies.each() {
            let about = rules.iter().filter_map(|rule| match &rule.what {
                What::Http(http) if http.takes_method(method) => Some((rule, http)),
                _ => None,
            });
            for (rule, http) in about {
                match reach(http, grant) {
                    Reach::None => {}
                    Reach::All => {
                        let decided = of_rule(name, rule);
                        whole = Some(whole.map_or_else(|| decided.clone(), |before| before.and(decided.clone())));
                        break;
                    }
                    Reach::Part => in_part.push(Verdict {
                        what: format!("of these, {}", rule.what.in_words()),
                        decision: of_rule(name, rule),
                    }),
                }
            }
        }
        verdicts.push(Verdict {
            what: format!("{method} to {}{}", grant.host, grant.path),
            decision: whole.unwrap_or(default),
        });
        for part in in_part {
            if !verdicts.contains(&part) {
                verdicts.push(part);
            }
        }
    }
}

enum Reach {
    None,
    Part,
    All,
}

/// How much of a granted host a rule is about.
fn reach(http: &Http, grant: &HttpGrant) -> Reach {
    let (host, port) = split_port(&grant.host);
    let parent = host.strip_prefix("*.");
    let covers_all = http.hosts.iter().any(|pattern| {
        // Without a port the grant is for the scheme's usual ones.
        let (name, wanted) = split_port(pattern);
        (wanted.is_none() || wanted == port)
            && match parent {
                Some(parent) => {
                    name == "*"
                        || name
                            .strip_prefix("*.")
                            .is_some_and(|above| above == parent || is_below(parent, above))
                }
                None => covers_host(name, host, None),
            }
    });
    if covers_all && path_begins(&grant.path, &http.path_prefix) {
        return Reach::All;
    }
    // Below another path than the granted one, the rule is about none of it.
    if !path_begins(&http.path_prefix, &grant.path) {
        return Reach::None;
    }
    let touches = covers_all
        || http.hosts.iter().any(|pattern| {
            let (name, _) = split_port(pattern);
            let name = name.strip_prefix("*.").unwrap_or(name);
            match parent {
                Some(parent) => name == parent || is_below(name, parent),
                None => covers_host(split_port(pattern).0, host, None),
            }
        });
    if touches { Reach::Part } else { Reach::None }
}
