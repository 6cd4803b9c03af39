//! `agent.toml`: what an agent is called, how it runs, and what it may touch.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::failure::codes;
use super::form::Form;
use super::limits::{AgentLimits, NAME_BYTES_MAX};
use super::retry::RetryChange;
use super::{grant, tool, trifecta};

codes! {
    /// What executes the agent.
    RuntimeKind {
        Javascript = "javascript",
        Component = "component",
    }
}

codes! {
    /// How bad a finding is.
    Severity {
        Error = "error",
        Warning = "warning",
    }
}

/// Something wrong with an agent's files, with its place and the fix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// `agent.toml`, the entry file's name, …
    pub file: String,
    /// From 1; 0 where there is no line.
    pub line: u32,
    pub column: u32,
    pub message: String,
}

impl Finding {
    pub fn error(file: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line: 0,
            column: 0,
            message: message.into(),
        }
    }

    pub fn warning(file: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(file, message)
        }
    }

    #[must_use]
    pub fn at(self, line: u32, column: u32) -> Self {
        Self { line, column, ..self }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}: {}", self.file, self.severity, self.message),
            line => write!(f, "{}:{line}:{}: {}: {}", self.file, self.column, self.severity, self.message),
        }
    }
}

/// A host the agent may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// An exact host name, or `*.example.com` for every name below it; `host:port` for a port of its own.
    pub host: String,
    #[serde(default = "HttpGrant::default_methods")]
    pub methods: Vec<String>,
    /// What the path must be, or be below: `/v1` grants `/v1` and `/v1/items`. Empty is every path.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The header by which this host knows a repeated write; makes POST and PATCH repeatable.
    #[serde(default, rename = "idempotency-header", skip_serializing_if = "Option::is_none")]
    pub idempotency_header: Option<String>,
    /// Whether a person decides before a write that cannot be repeated or undone.
    #[serde(default, skip_serializing_if = "AskFirst::is_default")]
    pub approval: AskFirst,
}

codes! {
    /// When a person is asked before a request is sent.
    AskFirst {
        /// Before POST and PATCH without an idempotency header, and before DELETE.
        Writes = "writes",
        Never = "never",
    }
}

#[expect(clippy::derivable_impls, reason = "the enum is made by a macro")]
impl Default for AskFirst {
    fn default() -> Self {
        Self::Writes
    }
}

impl AskFirst {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    fn is_default(&self) -> bool {
        *self == Self::Writes
    }
}

impl HttpGrant {
    /// Whether it is about this address, whatever the method.
    pub fn covers(&self, url: &url::Url) -> bool {
        grant::allows(&self.host, url) && grant::path_within(url.path(), &self.path)
    }

    /// Whether it grants this method, written in capitals.
    pub fn takes(&self, method: &str) -> bool {
        self.methods.iter().any(|granted| granted == method)
    }

    fn default_methods() -> Vec<String> {
        vec!["GET".to_owned(), "HEAD".to_owned()]
    }
}

/// What an agent may touch. Nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    pub models: Vec<String>,
    pub http: Vec<HttpGrant>,
    pub memory: bool,
    /// Agents it may start or ask.
    pub agents: Vec<String>,
    pub tools: Vec<String>,
    /// Of the tools, those before each use of which a person decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ask: Vec<String>,
    pub secrets: Vec<String>,
}

impl Capabilities {
    /// Each capability as a sentence a person can judge.
    pub fn in_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        for model in &self.models {
            words.push(format!("Ask the language model “{model}”, which costs money"));
        }
        for grant in &self.http {
            let mut line = format!("Send {} requests to {}", grant.methods.join(", "), grant.host);
            if !grant.path.is_empty() {
                _ = write!(line, ", where the path begins with {}", grant.path);
            }
            let writes = grant.methods.iter().any(|method| !trifecta::is_read(method));
            if writes && let Some(header) = &grant.idempotency_header {
                _ = write!(line, ", with a key in {header} so that a repeated write counts once");
            }
            if writes && grant.approval == AskFirst::Never && !trifecta::of(self).is_complete() {
                line.push_str(", without asking a person first");
            }
            words.push(line);
        }
        if self.memory {
            words.push("Remember things between runs".to_owned());
        }
        for agent in &self.agents {
            words.push(format!("Start or ask the agent “{agent}”"));
        }
        for tool in &self.tools {
            let does = tool::find(tool).map_or(String::new(), |tool| format!(": {}", tool.in_words));
            let asks = if self.ask.contains(tool) {
                "; a person decides each time"
            } else {
                ""
            };
            words.push(format!("Use the tool “{tool}”{does}{asks}"));
        }
        for secret in &self.secrets {
            words.push(format!("Send the secret “{secret}” to the hosts it is bound to, without seeing it"));
        }
        words
    }
}

/// A parsed and checked `agent.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub name: String,
    pub version: semver::Version,
    pub summary: String,
    pub runtime: RuntimeKind,
    /// The file with the code, beside the manifest.
    pub entry: String,
    #[serde(default = "Manifest::default_category")]
    pub category: String,
    /// Raised when a newer version cannot read the state of an older one.
    #[serde(default = "Manifest::default_state_format", rename = "state-format")]
    pub state_format: u32,
    /// The file with the JSON Schema of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    #[serde(default)]
    pub capabilities: Capabilities,
    #[serde(default)]
    pub limits: AgentLimits,
    /// What it wants otherwise than the station when something outside fails.
    #[serde(default, skip_serializing_if = "RetryChange::is_empty")]
    pub retry: RetryChange,
    /// Where the agent is made from a form, what was filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
}

/// The manifest's file name.
pub const MANIFEST_FILE: &str = "agent.toml";
const SUMMARY_BYTES_MAX: usize = 200;
const CATEGORY_BYTES_MAX: usize = 32;
const GRANTS_MAX: usize = 64;

impl Manifest {
    fn default_category() -> String {
        "general".to_owned()
    }

    const fn default_state_format() -> u32 {
        1
    }

    /// The manifest of a bare `.js` or `.wasm`: default limits, no capability.
    pub fn bare(name: &str, runtime: RuntimeKind, entry: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: semver::Version::new(0, 0, 0),
            summary: format!("{entry}, run without a manifest"),
            runtime,
            entry: entry.to_owned(),
            category: Self::default_category(),
            state_format: Self::default_state_format(),
            input: None,
            capabilities: Capabilities::default(),
            limits: AgentLimits::default(),
            retry: RetryChange::default(),
            form: None,
        }
    }

    /// This manifest as its file, without what holds by default.
    pub fn text(&self) -> String {
        let table = |value: toml::Value| match value {
            toml::Value::Table(table) => table,
            _ => toml::Table::new(),
        };
        let Ok(mut text) = toml::Value::try_from(self).map(table) else {
            return String::new();
        };
        let bare = toml::Value::try_from(Self::bare(&self.name, self.runtime, &self.entry))
            .map(table)
            .unwrap_or_default();
        for part in ["capabilities", "limits"] {
            let Some(toml::Value::Table(shown)) = text.get_mut(part) else {
                continue;
            };
            let default = bare.get(part);
            shown.retain(|key, value| default.and_then(|default| default.get(key)) != Some(value));
            if shown.is_empty() {
                text.remove(part);
            }
        }
        for key in ["category", "state-format"] {
            if text.get(key) == bare.get(key) {
                text.remove(key);
            }
        }
        toml::to_string_pretty(&text).unwrap_or_default()
    }

    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// Every problem found, each with its place.
    pub fn parse(text: &str) -> Result<Self, Vec<Finding>> {
        let manifest: Self = toml::from_str(text).map_err(|error| {
            let (line, column) = error.span().map_or((0, 0), |span| line_and_column(text, span.start));
            vec![Finding::error(MANIFEST_FILE, one_line(error.message())).at(line, column)]
        })?;
        let findings = manifest.check(text);
        if findings.is_empty() { Ok(manifest) } else { Err(findings) }
    }

    fn check(&self, text: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut wrong = |key: &str, message: String| {
            let (line, column) = place_of_key(text, key);
            findings.push(Finding::error(MANIFEST_FILE, message).at(line, column));
        };
        if !is_name(&self.name) {
            wrong(
                "name",
                format!(
                    "name must be 1 to {NAME_BYTES_MAX} of a–z, 0–9 and “-”, beginning with a letter; try “{}”",
                    name_like(&self.name)
                ),
            );
        }
        if self.summary.trim().is_empty() || self.summary.len() > SUMMARY_BYTES_MAX {
            wrong(
                "summary",
                format!("summary must be one sentence of at most {SUMMARY_BYTES_MAX} bytes"),
            );
        }
        if !is_name(&self.category) || self.category.len() > CATEGORY_BYTES_MAX {
            wrong(
                "category",
                format!("category must be at most {CATEGORY_BYTES_MAX} of a–z, 0–9 and “-”"),
            );
        }
        let suffix = match self.runtime {
            RuntimeKind::Javascript => ".js",
            RuntimeKind::Component => ".wasm",
        };
        if !is_file_name(&self.entry) || !self.entry.ends_with(suffix) {
            wrong("entry", format!("entry must be the name of a {suffix} file beside the manifest"));
        }
        if let Some(input) = &self.input
            && (!is_file_name(input) || input.rsplit_once('.').is_none_or(|(_, extension)| extension != "json"))
        {
            wrong("input", "input must be the name of a .json file beside the manifest".to_owned());
        }
        for (name, value, floor, ceiling) in self.limits.fields() {
            if value < floor || value > ceiling {
                wrong(name, format!("limits.{name} must be between {floor} and {ceiling}, not {value}"));
            }
        }
        if let Some((key, message)) = self.retry.problem() {
            wrong(key, message);
        }
        self.check_capabilities(&mut wrong);
        if let Some(form) = &self.form {
            if self.runtime != RuntimeKind::Javascript {
                wrong("runtime", "an agent with [form] runs as \"javascript\"".to_owned());
            }
            if self.capabilities.models.is_empty() {
                wrong(
                    "models",
                    "an agent with [form] needs a model: name it in capabilities.models".to_owned(),
                );
            }
            for (key, message) in form.problems() {
                wrong(key, message);
            }
        }
        findings
    }

    fn check_capabilities(&self, wrong: &mut impl FnMut(&str, String)) {
        let granted = &self.capabilities;
        let lists = [
            ("models", &granted.models),
            ("agents", &granted.agents),
            ("tools", &granted.tools),
            ("ask", &granted.ask),
            ("secrets", &granted.secrets),
        ];
        for (key, names) in lists {
            if names.len() > GRANTS_MAX {
                wrong(key, format!("capabilities.{key} lists more than {GRANTS_MAX}"));
            }
            for name in names {
                if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
                    wrong(key, format!("capabilities.{key}: “{name}” is no name"));
                }
            }
        }
        for name in granted.ask.iter().filter(|name| !granted.tools.contains(name)) {
            wrong(
                "ask",
                format!("capabilities.ask names “{name}”, which is none of capabilities.tools"),
            );
        }
        if granted.http.len() > GRANTS_MAX {
            wrong("http", format!("capabilities.http lists more than {GRANTS_MAX}"));
        }
        for grant in &granted.http {
            if !is_host_pattern(&grant.host) {
                wrong(
                    "http",
                    format!(
                        "“{}” is no host: write example.com, *.example.com or example.com:8443, without https://",
                        grant.host
                    ),
                );
            }
            if !grant::is_path_prefix(&grant.path) {
                wrong(
                    "http",
                    format!(
                        "“{}” is no path: it begins with “/”, is written without “%”, “?”, “#” and “..”, and has at most {} bytes",
                        grant.path,
                        grant::PATH_BYTES_MAX
                    ),
                );
            }
            for method in &grant.methods {
                if !["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()) {
                    wrong("http", format!("“{method}” is no method: write it in capitals, such as \"GET\""));
                }
            }
        }
    }
}

/// Whether `text` can name an agent, a category, an organization.
pub fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// The nearest thing to `text` that [`is_name`] takes.
pub fn name_like(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_lowercase() || (c.is_ascii_digit() && !name.is_empty()) {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
        if name.len() == NAME_BYTES_MAX {
            break;
        }
    }
    let name = name.trim_end_matches('-');
    if name.is_empty() { "my-agent".to_owned() } else { name.to_owned() }
}

fn is_file_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && !text.starts_with('.')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// Whether a text is a host as manifests write it: `example.com`, `*.example.com`, `example.com:8443`.
pub(super) fn is_host_pattern(text: &str) -> bool {
    let host = text.strip_prefix("*.").unwrap_or(text);
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => host,
        Some(_) => return false,
        None => host,
    };
    !host.is_empty()
        && host.len() <= 253
        && host.split('.').all(|label| !label.is_empty() && label.len() <= 63)
        && host
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-'))
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn line_and_column(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    (u32::try_from(line).unwrap_or(0), u32::try_from(column).unwrap_or(0))
}

/// The first line that sets `key`; 0 where none does.
fn place_of_key(text: &str, key: &str) -> (u32, u32) {
    for (i, line) in text.lines().enumerate() {
        let start = line.trim_start();
        if start.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
            || start.starts_with(&format!("[[capabilities.{key}"))
        {
            let column = line.len() - start.len() + 1;
            return (u32::try_from(i + 1).unwrap_or(0), u32::try_from(column).unwrap_or(0));
        }
    }
    (0, 0)
}

#[cfg(test)]
mod tests;
