//! Rules of an organization or of a workspace: what they are about, what they say, and whether they are well made.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::domain::failure::codes;
use crate::domain::limits::NAME_BYTES_MAX;
use crate::domain::permission::Role;

pub const RULES_MAX: usize = 200;
/// Names, hosts or methods in one rule.
pub const LIST_MAX: usize = 64;
const HOST_BYTES_MAX: usize = 253;
const PATH_BYTES_MAX: usize = 200;
const NOTE_BYTES_MAX: usize = 300;
/// People that one rule may ask.
pub const APPROVERS_MAX: u32 = 10;
/// Of money and sizes, so that they stay exact in JSON.
pub const AMOUNT_MAX: u64 = 1 << 53;
pub const METHODS: [&str; 7] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];

codes! {
    /// What a rule says.
    Effect {
        Allow = "allow",
        /// People decide first.
        Ask = "ask",
        Deny = "deny",
    }
}

codes! {
    /// Of what a cost is the limit.
    Per {
        /// The most that one model call can cost.
        Call = "call",
        /// What the run has cost and reserved, with the most that this call can cost.
        Run = "run",
    }
}

/// The rules of one policy, in order: of those about the same thing the first that fits decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name in the journal and in the audit log; unique in its policy.
    pub id: String,
    pub effect: Effect,
    pub what: What,
    /// Of a rule that asks; where it is not given, one operator, who may have started the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<Approvers>,
    /// Why it is there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// What a rule is about. In names `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    Model(Names),
    Tool(Names),
    Http(Http),
    Secret(Names),
    /// An agent that is started or asked.
    Agent(Names),
    Artifact(Artifact),
    Cost(Cost),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    pub names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// `example.com`, `*.example.com` for every name below it, `*` for all; with `:8443` that port only, else every port.
    pub hosts: Vec<String>,
    /// None is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// What the path begins with; empty is any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path_prefix: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    pub over_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Millionths of a dollar.
    pub over_micros: u64,
    pub per: Per,
}

/// Who decides, and how many of them must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Approvers {
    pub min_role: Role,
    pub count: u32,
    /// Whether who started the run may be one of them.
    pub self_approval: bool,
}

impl Default for Approvers {
    fn default() -> Self {
        Self {
            min_role: Role::Operator,
            count: 1,
            self_approval: true,
        }
    }
}

impl Approvers {
    /// What satisfies both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            min_role: if self.min_role.is_at_least(other.min_role) {
                self.min_role
            } else {
                other.min_role
            },
            count: if self.count > other.count { self.count } else { other.count },
            self_approval: self.self_approval && other.self_approval,
        }
    }

    /// Whether the leave of these is leave enough where `other` are to be asked.
    pub fn cover(self, other: Self) -> bool {
        self.and(other) == self
    }
}

impl Rule {
    /// Who decides, where it asks.
    pub fn asked(&self) -> Approvers {
        self.approvers.unwrap_or_default()
    }
}

impl What {
    /// Every kind, as in JSON, in the order of the page.
    pub const KINDS: [&'static str; 7] = ["http", "model", "cost", "tool", "secret", "agent", "artifact"];

    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Model(_) => "model",
            Self::Tool(_) => "tool",
            Self::Http(_) => "http",
            Self::Secret(_) => "secret",
            Self::Agent(_) => "agent",
            Self::Artifact(_) => "artifact",
            Self::Cost(_) => "cost",
        }
    }
}

/// Something wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// JSON pointer into [`Rules`].
    pub pointer: String,
    pub message: String,
}

impl Rules {
    /// What is wrong with them; empty where they can be stored.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if self.rules.len() > RULES_MAX {
            wrong.push(Wrong {
                pointer: "/rules".to_owned(),
                message: format!("a policy has at most {RULES_MAX} rules"),
            });
            return wrong;
        }
        let mut ids = BTreeSet::new();
        for (i, rule) in self.rules.iter().enumerate() {
            rule.check(&format!("/rules/{i}"), &mut wrong);
            if !ids.insert(rule.id.as_str()) {
                wrong.push(Wrong {
                    pointer: format!("/rules/{i}/id"),
                    message: format!("another rule is called “{}”", rule.id),
                });
            }
        }
        wrong
    }

    /// A name for a new rule that no other has.
    pub fn free_id(&self, like: &str) -> String {
        let taken = |id: &str| self.rules.iter().any(|rule| rule.id == id);
        if !taken(like) {
            return like.to_owned();
        }
        (2..=RULES_MAX + 2)
            .map(|n| format!("{like}-{n}"))
            .find(|id| !taken(id))
            .unwrap_or_else(|| like.to_owned())
    }
}

impl Rule {
    /// What is wrong with it, with pointers below `at`.
    pub fn check(&self, at: &str, wrong: &mut Vec<Wrong>) {
        let mut add = |place: &str, message: String| {
            wrong.push(Wrong {
                pointer: format!("{at}{place}"),
                message,
            });
        };
        if !is_id(&self.id) {
            add(
                "/id",
                format!("a rule’s name is 1 to {NAME_BYTES_MAX} of a–z, 0–9 and “-”, such as no-posts"),
            );
        }
        if self.note.len() > NOTE_BYTES_MAX || self.note.chars().any(char::is_control) {
            add("/note", format!("a note is one line of at most {NOTE_BYTES_MAX} bytes"));
        }
        match &self.approvers {
            Some(_) if self.effect != Effect::Ask => add("/approvers", "only a rule that asks has approvers".to_owned()),
            Some(approvers) => {
                if approvers.min_role == Role::Viewer {
                    add(
                        "/approvers/min_role",
                        "viewers decide nothing: choose operator or higher".to_owned(),
                    );
                }
                if !(1..=APPROVERS_MAX).contains(&approvers.count) {
                    add("/approvers/count", format!("between 1 and {APPROVERS_MAX} people can be asked"));
                }
            }
            None => {}
        }
        self.what.check(&mut add);
    }
}

impl What {
    fn check(&self, add: &mut impl FnMut(&str, String)) {
        match self {
            Self::Model(names) | Self::Tool(names) | Self::Secret(names) | Self::Agent(names) => {
                let at = format!("/what/{}/names", self.kind());
                list(&at, &names.names, "name at least one, or “*” for all", add);
                for (i, name) in names.names.iter().enumerate() {
                    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
                        add(
                            &format!("{at}/{i}"),
                            format!("“{name}” is no name: at most {NAME_BYTES_MAX} bytes, no spaces; “*” stands for any characters"),
                        );
                    }
                }
            }
            Self::Http(http) => http.check(add),
            Self::Artifact(artifact) => amount("/what/artifact/over_bytes", artifact.over_bytes, add),
            Self::Cost(cost) => amount("/what/cost/over_micros", cost.over_micros, add),
        }
    }
}

fn amount(at: &str, amount: u64, add: &mut impl FnMut(&str, String)) {
    if amount > AMOUNT_MAX {
        add(at, format!("it is at most {AMOUNT_MAX}"));
    }
}

fn list(at: &str, list: &[String], none: &str, add: &mut impl FnMut(&str, String)) {
    if list.is_empty() {
        add(at, none.to_owned());
    } else if list.len() > LIST_MAX {
        add(at, format!("at most {LIST_MAX} fit into one rule"));
    }
}

impl Http {
    fn check(&self, add: &mut impl FnMut(&str, String)) {
        list("/what/http/hosts", &self.hosts, "name at least one host, or “*” for all", add);
        for (i, host) in self.hosts.iter().enumerate() {
            if !is_host_pattern(host) {
                let message = format!(
                    "“{host}” is no host: write example.com, *.example.com, example.com:8443 or *, in lower case and without https://"
                );
                add(&format!("/what/http/hosts/{i}"), message);
            }
        }
        for (i, method) in self.methods.iter().enumerate() {
            if !METHODS.contains(&method.as_str()) {
                let message = format!("“{method}” is no method: choose among {}", METHODS.join(", "));
                add(&format!("/what/http/methods/{i}"), message);
            }
        }
        if self.methods.len() > METHODS.len() {
            add("/what/http/methods", "name each method once".to_owned());
        }
        let path = &self.path_prefix;
        let is_path = path.starts_with('/') && path.len() <= PATH_BYTES_MAX && !path.contains(['?', '#', '%', '\\']);
        if !path.is_empty() && (!is_path || path.contains("//") || path.chars().any(|c| c.is_whitespace() || c.is_control())) {
            let message = format!("a path begins with “/”, is written without “%”, “?” and “#”, and has at most {PATH_BYTES_MAX} bytes");
            add("/what/http/path_prefix", message);
        }
    }
}

fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_host_pattern(text: &str) -> bool {
    let host = match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => host,
        Some(_) => return false,
        None => text,
    };
    if host == "*" {
        return true;
    }
    let host = host.strip_prefix("*.").unwrap_or(host);
    !host.is_empty()
        && host.len() <= HOST_BYTES_MAX
        && host.split('.').all(|label| !label.is_empty() && label.len() <= 63)
        && host
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.' || byte == b'-')
}
