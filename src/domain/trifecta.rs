//! Three things that are safe one by one and not together: private data, content that others wrote, and a way out. Whoever wrote the content
//! can then have the data sent away, so that a person decides about each write of such an agent.

use super::manifest::Capabilities;
use super::tool::HTTP_REQUEST;

/// What of each an agent is granted, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trifecta {
    /// What it can know that is not for everyone.
    pub private: Vec<String>,
    /// Where others can put words before it.
    pub untrusted: Vec<String>,
    /// How it can send things away.
    pub egress: Vec<String>,
}

impl Trifecta {
    /// Whether all three are there.
    pub const fn is_complete(&self) -> bool {
        !self.private.is_empty() && !self.untrusted.is_empty() && !self.egress.is_empty()
    }

    /// “it remembers things; it reads example.com; it sends POST to example.com”, for a warning.
    pub fn in_words(&self) -> String {
        [&self.private, &self.untrusted, &self.egress]
            .map(|words| words.join(", "))
            .join("; ")
    }
}

/// Whether a method only reads.
pub fn is_read(method: &str) -> bool {
    ["GET", "HEAD", "OPTIONS"].iter().any(|read| read.eq_ignore_ascii_case(method))
}

/// What of the three these grants hold.
pub fn of(granted: &Capabilities) -> Trifecta {
    let mut found = Trifecta::default();
    if granted.memory {
        found.private.push("what it remembers".to_owned());
    }
    for secret in &granted.secrets {
        found.private.push(format!("the secret “{secret}”"));
    }
    for agent in &granted.agents {
        found.private.push(format!("what the agent “{agent}” answers"));
    }
    for grant in &granted.http {
        if grant.methods.iter().any(|method| is_read(method)) {
            found.untrusted.push(format!("what {} answers", grant.host));
        }
        let writes: Vec<&str> = grant.methods.iter().map(String::as_str).filter(|method| !is_read(method)).collect();
        if !writes.is_empty() {
            found.egress.push(format!("{} to {}", writes.join(", "), grant.host));
        } else if grant.host.starts_with('*') && !grant.methods.is_empty() {
            // Whoever has a name below it learns what is asked there.
            found.egress.push(format!("requests to any host of {}", grant.host));
        }
    }
    if granted.tools.iter().any(|tool| tool == HTTP_REQUEST) {
        found.untrusted.push(format!("what the tool “{HTTP_REQUEST}” brings"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(capabilities: &str) -> Capabilities {
        toml::from_str(capabilities).unwrap()
    }

    #[test]
    fn all_three_together_are_told_from_any_two() {
        const READ: &str = r#"http = [{ host = "news.example", methods = ["GET"] }]"#;
        const WRITE: &str = r#"http = [{ host = "hook.example", methods = ["POST"] }]"#;
        const BOTH: &str = r#"http = [{ host = "a.example", methods = ["GET", "PUT"] }]"#;
        const WILD: &str = r#"http = [{ host = "*.example", methods = ["GET"] }]"#;
        let cases = [
            (String::new(), false),
            ("memory = true".to_owned(), false),
            (format!("memory = true\n{READ}"), false),
            (format!("memory = true\n{WRITE}"), false),
            (BOTH.to_owned(), false),
            (WILD.to_owned(), false),
            (format!("models = [\"default\"]\n{BOTH}"), false),
            (format!("memory = true\n{BOTH}"), true),
            (format!("memory = true\n{WILD}"), true),
            (format!("secrets = [\"token\"]\n{BOTH}"), true),
            (format!("agents = [\"reader\"]\n{BOTH}"), true),
            (format!("memory = true\ntools = [\"http_request\"]\n{WRITE}"), true),
            (format!("memory = true\ntools = [\"calculator\"]\n{WRITE}"), false),
            ("memory = true\ntools = [\"http_request\"]".to_owned(), false),
        ];
        for (capabilities, complete) in cases {
            assert_eq!(of(&granted(&capabilities)).is_complete(), complete, "{capabilities}");
        }
    }

    #[test]
    fn it_is_said_what_makes_it_so() {
        let found = of(&granted(
            "secrets = [\"token\"]\nhttp = [{ host = \"a.example\", methods = [\"GET\", \"POST\"] }]",
        ));
        assert_eq!(found.in_words(), "the secret “token”; what a.example answers; POST to a.example");
    }
}
