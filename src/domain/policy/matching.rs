//! Whether a rule is about a thing that an action touches.

use url::Url;

use super::rules::{Http, Names, Per, What};
use crate::domain::grant::path_begins;

/// One thing that an action touches. Each is decided on its own.
#[derive(Clone, Debug)]
pub enum Thing<'a> {
    Model(&'a str),
    Tool(&'a str),
    Http {
        url: &'a Url,
        method: &'a str,
    },
    /// A secret that a request names.
    Secret(&'a str),
    Agent(&'a str),
    /// An artifact of so many bytes.
    Artifact(u64),
    /// The most that a model call can cost, in millionths of a dollar.
    CallCost(u64),
    /// What the run has cost and reserved, with that call.
    RunCost(u64),
}

impl What {
    pub fn is_about(&self, thing: &Thing<'_>) -> bool {
        match (self, thing) {
            (Self::Model(names), Thing::Model(name))
            | (Self::Tool(names), Thing::Tool(name))
            | (Self::Secret(names), Thing::Secret(name))
            | (Self::Agent(names), Thing::Agent(name)) => names.cover(name),
            (Self::Http(http), Thing::Http { url, method }) => http.covers(url, method),
            (Self::Artifact(artifact), Thing::Artifact(bytes)) => *bytes > artifact.over_bytes,
            (Self::Cost(cost), Thing::CallCost(micros)) => cost.per == Per::Call && *micros > cost.over_micros,
            (Self::Cost(cost), Thing::RunCost(micros)) => cost.per == Per::Run && *micros > cost.over_micros,
            _ => false,
        }
    }
}

impl Names {
    pub fn cover(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| is_like(pattern, name))
    }
}

impl Http {
    fn covers(&self, url: &Url, method: &str) -> bool {
        let Some(host) = url.host_str() else { return false };
        self.takes_method(method)
            && self
                .hosts
                .iter()
                .any(|pattern| covers_host(pattern, host, url.port_or_known_default()))
            && path_begins(url.path(), &self.path_prefix)
    }

    pub(super) fn takes_method(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|one| one.eq_ignore_ascii_case(method))
    }
}

/// Whether `name` is like `pattern`, in which `*` stands for any characters.
pub fn is_like(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(pieces.next().unwrap_or_default()) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        // The earliest place leaves the most for the pieces after it.
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

/// Whether a rule's host is this one. Without a port it is the host at every port.
pub(super) fn covers_host(pattern: &str, host: &str, port: Option<u16>) -> bool {
    let (name, wanted) = split_port(pattern);
    if wanted.is_some() && wanted != port {
        return false;
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    match name.strip_prefix("*.") {
        _ if name == "*" => true,
        Some(parent) => is_below(host, parent),
        None => host.eq_ignore_ascii_case(name),
    }
}

/// A host pattern's name, and its port where it has one.
pub(super) fn split_port(pattern: &str) -> (&str, Option<u16>) {
    match pattern.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok()),
        None => (pattern, None),
    }
}

pub(super) fn is_below(host: &str, parent: &str) -> bool {
    host.strip_suffix(parent)
        .and_then(|below| below.strip_suffix('.'))
        .is_some_and(|below| !below.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, fits) in [
            ("*", "anything", true),
            ("gpt-*", "gpt-5", true),
            ("gpt-*", "my-gpt-5", false),
            ("*-mini", "gpt-mini", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("default", "default", true),
            ("default", "default2", false),
            ("", "", true),
        ] {
            assert_eq!(is_like(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_rule_covers_its_hosts_at_every_port_and_its_paths_however_they_are_written() {
        let http = Http {
            hosts: vec![
                "bank.example".to_owned(),
                "*.bank.example".to_owned(),
                "shop.example:8443".to_owned(),
            ],
            methods: vec!["POST".to_owned()],
            path_prefix: "/pay".to_owned(),
        };
        let covers = |url: &str| http.covers(&Url::parse(url).unwrap(), "post");
        for url in [
            "https://bank.example/pay",
            "https://BANK.example./payments",
            "https://bank.example:9000/pay",
            "https://a.b.bank.example/%70ay",
            "https://bank.example//pay",
            "https://bank.example/x/../pay",
            "https://bank.example/%2Fpay",
            "https://shop.example:8443/pay",
        ] {
            assert!(covers(url), "{url}");
        }
        for url in [
            "https://bank.example/",
            "https://bank.example.evil.test/pay",
            "https://evilbank.example/pay",
            "https://shop.example/pay",
            "https://bank.example@evil.test/pay",
        ] {
            assert!(!covers(url), "{url}");
        }
        assert!(!http.covers(&Url::parse("https://bank.example/pay").unwrap(), "GET"));
    }
}
