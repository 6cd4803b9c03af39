//! Who may send a secret where.

use serde::{Deserialize, Serialize};
use url::Url;

use super::{grant, manifest};
use crate::domain::limits::NAME_BYTES_MAX;

/// Bytes of a secret's value: a shorter one could not be told from ordinary text where it comes back.
pub const SECRET_BYTES_MIN: usize = 8;
/// A key of 4096 bits in PEM has less than half of it.
pub const SECRET_BYTES_MAX: usize = 8 * 1024;
/// Versions of one secret that are not destroyed.
pub const SECRET_VERSIONS_MAX: usize = 50;
/// Secrets that agents of an organization may be given.
pub const SECRETS_MAX: u32 = 1_000;
/// Bindings of one secret.
pub const BINDINGS_MAX: usize = 50;
/// What the name of an environment variable that a secret points to begins with.
pub const ENV_SECRET_PREFIX: &str = "AGENTSTATION_SECRET_";

/// Who has a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Agents write its name in requests.
    Agents,
    /// A provider of models has it as its key.
    Provider,
    /// Alerts go to the address that it is.
    Channel,
}

impl Purpose {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agents => "agents",
            Self::Provider => "provider",
            Self::Channel => "channel",
        }
    }
}

/// One way in which a secret may be used: these agents may put it into these requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Names of agents; `*` is every agent whose manifest grants the secret.
    pub agents: Vec<String>,
    /// As in a manifest's `http`: `example.com`, `*.example.com`, `example.com:8443`.
    pub host: String,
    /// None is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// What the path must begin with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path_prefix: String,
}

/// Methods that a binding can name.
const METHODS: [&str; 7] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];
const PATH_BYTES_MAX: usize = 1_024;

impl Binding {
    /// The first thing that is wrong with it: the field's name, and what to write instead.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let is_agent = |name: &str| {
            name == "*" || !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(|c| c.is_whitespace() || c.is_control())
        };
        if self.agents.is_empty() || self.agents.len() > BINDINGS_MAX || !self.agents.iter().all(|name| is_agent(name)) {
            return Some((
                "agents",
                format!("name 1 to {BINDINGS_MAX} agents, or * for every agent whose manifest grants the secret"),
            ));
        }
        if !manifest::is_host_pattern(&self.host) {
            return Some((
                "host",
                format!("“{}” is no host: write example.com, *.example.com or example.com:8443", self.host),
            ));
        }
        if self.methods.len() > METHODS.len() || !self.methods.iter().all(|method| METHODS.contains(&method.as_str())) {
            return Some(("methods", format!("they must be of {}; none is all", METHODS.join(", "))));
        }
        let path = &self.path_prefix;
        if !path.is_empty() && !path.starts_with('/') || path.len() > PATH_BYTES_MAX || path.chars().any(char::is_control) {
            return Some(("path_prefix", "it must begin with /, such as /v1/".to_owned()));
        }
        None
    }

    /// Whether it lets this agent put the secret into a request.
    pub fn covers(&self, agent: &str, method: &str, url: &Url) -> bool {
        self.agents.iter().any(|name| name == "*" || name == agent)
            && grant::allows(&self.host, url)
            && (self.methods.is_empty() || self.methods.iter().any(|one| one.eq_ignore_ascii_case(method)))
            && grant::path_within(url.path(), &self.path_prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_covers_its_agents_hosts_methods_and_paths_only() {
        let binding = Binding {
            agents: vec!["billing".to_owned()],
            host: "api.example.com".to_owned(),
            methods: vec!["POST".to_owned()],
            path_prefix: "/v1/".to_owned(),
        };
        let covers = |agent: &str, method: &str, url: &str| binding.covers(agent, method, &Url::parse(url).unwrap());
        assert!(covers("billing", "post", "https://api.example.com/v1/charges"));
        for (agent, method, url) in [
            ("other", "POST", "https://api.example.com/v1/charges"),
            ("billing", "GET", "https://api.example.com/v1/charges"),
            ("billing", "POST", "https://example.com/v1/charges"),
            ("billing", "POST", "https://api.example.com:8443/v1/charges"),
            ("billing", "POST", "https://api.example.com/v2/charges"),
            ("billing", "POST", "https://api.example.com/v1/../admin"),
            ("billing", "POST", "https://api.example.com/v1/%2e%2e/admin"),
        ] {
            assert!(!covers(agent, method, url), "{agent} {method} {url}");
        }
    }
}
