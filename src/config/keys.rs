//! The names of the settings outside the file: which variable and which flag sets which key.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Value;

/// What every variable of the station begins with.
pub(super) const ENV_PREFIX: &str = "AGENTSTATION_";
/// Names the configuration file; not a setting itself.
pub(super) const ENV_CONFIG: &str = "AGENTSTATION_CONFIG";
/// The key that seals secrets, and the password of the mail server: secrets, so no settings.
pub(super) const ENV_MASTER_KEY: &str = "AGENTSTATION_MASTER_KEY";
pub(super) const ENV_MAIL_PASSWORD: &str = "AGENTSTATION_MAIL_PASSWORD";
/// Where systemd puts what a unit's `LoadCredential=` names.
pub(super) const ENV_CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Where a test has the process die; known to development builds only.
#[cfg(debug_assertions)]
pub(super) const ENV_CRASH_AT: &str = "AGENTSTATION_CRASH_AT";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Flag,
    /// Separated by commas.
    List,
}

/// One setting that a variable can set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Section and name, as in the file; the section is empty at the top.
    pub section: &'static str,
    pub name: &'static str,
    pub env: &'static str,
    kind: Kind,
    /// A path, which is relative to the file where the file sets it.
    pub is_path: bool,
}

const fn key(section: &'static str, name: &'static str, env: &'static str, kind: Kind) -> Key {
    Key {
        section,
        name,
        env,
        kind,
        is_path: false,
    }
}

const fn path(section: &'static str, name: &'static str, env: &'static str) -> Key {
    Key {
        is_path: true,
        ..key(section, name, env, Kind::Text)
    }
}

/// Every setting but the models, which the file alone describes.
pub(super) const KEYS: &[Key] = &[
    path("", "data", "AGENTSTATION_DATA"),
    key("server", "listen", "AGENTSTATION_LISTEN", Kind::Text),
    key("server", "public_url", "AGENTSTATION_PUBLIC_URL", Kind::Text),
    key("server", "trusted_proxies", "AGENTSTATION_TRUSTED_PROXIES", Kind::List),
    key("server", "insecure_listen", "AGENTSTATION_INSECURE_LISTEN", Kind::Flag),
    key("server", "workers", "AGENTSTATION_WORKERS", Kind::Integer),
    key("server", "connections", "AGENTSTATION_CONNECTIONS", Kind::Integer),
    key(
        "server",
        "connections_per_address",
        "AGENTSTATION_CONNECTIONS_PER_ADDRESS",
        Kind::Integer,
    ),
    key("rates", "sign_in", "AGENTSTATION_RATES_SIGN_IN", Kind::Integer),
    key("rates", "read", "AGENTSTATION_RATES_READ", Kind::Integer),
    key("rates", "write", "AGENTSTATION_RATES_WRITE", Kind::Integer),
    key("rates", "run_start", "AGENTSTATION_RATES_RUN_START", Kind::Integer),
    key("rates", "upload", "AGENTSTATION_RATES_UPLOAD", Kind::Integer),
    key("rates", "stream", "AGENTSTATION_RATES_STREAM", Kind::Integer),
    key("rates", "address_factor", "AGENTSTATION_RATES_ADDRESS_FACTOR", Kind::Integer),
    key("store", "synchronous", "AGENTSTATION_STORE_SYNCHRONOUS", Kind::Text),
    key("store", "readers", "AGENTSTATION_STORE_READERS", Kind::Integer),
    key("runtime", "slots", "AGENTSTATION_RUNTIME_SLOTS", Kind::Integer),
    key("runtime", "memory_bytes", "AGENTSTATION_RUNTIME_MEMORY_BYTES", Kind::Integer),
    key("runs", "retry_attempts", "AGENTSTATION_RUNS_RETRY_ATTEMPTS", Kind::Integer),
    key("runs", "retry_base_ms", "AGENTSTATION_RUNS_RETRY_BASE_MS", Kind::Integer),
    key("runs", "retry_cap_ms", "AGENTSTATION_RUNS_RETRY_CAP_MS", Kind::Integer),
    path("runtime", "cache", "AGENTSTATION_RUNTIME_CACHE"),
    key("outbound", "open_cidrs", "AGENTSTATION_OUTBOUND_OPEN_CIDRS", Kind::List),
    key("outbound", "allow_http", "AGENTSTATION_OUTBOUND_ALLOW_HTTP", Kind::Flag),
    path("security", "master_key_file", "AGENTSTATION_SECURITY_MASTER_KEY_FILE"),
    path("security", "secrets_dir", "AGENTSTATION_SECURITY_SECRETS_DIR"),
    key(
        "security",
        "session_idle_minutes",
        "AGENTSTATION_SECURITY_SESSION_IDLE_MINUTES",
        Kind::Integer,
    ),
    key(
        "security",
        "session_max_days",
        "AGENTSTATION_SECURITY_SESSION_MAX_DAYS",
        Kind::Integer,
    ),
    key("mail", "host", "AGENTSTATION_MAIL_HOST", Kind::Text),
    key("mail", "port", "AGENTSTATION_MAIL_PORT", Kind::Integer),
    key("mail", "tls", "AGENTSTATION_MAIL_TLS", Kind::Text),
    key("mail", "user", "AGENTSTATION_MAIL_USER", Kind::Text),
    path("mail", "password_file", "AGENTSTATION_MAIL_PASSWORD_FILE"),
    key("mail", "from", "AGENTSTATION_MAIL_FROM", Kind::Text),
    key("log", "level", "AGENTSTATION_LOG_LEVEL", Kind::Text),
    key("log", "format", "AGENTSTATION_LOG_FORMAT", Kind::Text),
];

impl Key {
    /// `server.listen`, or `data` at the top.
    pub fn dotted(&self) -> String {
        if self.section.is_empty() {
            self.name.to_owned()
        } else {
            format!("{}.{}", self.section, self.name)
        }
    }

    /// The value that a variable's text stands for, or what was expected.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        match self.kind {
            Kind::Text => Ok(Value::String(text.to_owned())),
            Kind::Integer => text
                .trim()
                .parse()
                .map(Value::Integer)
                .map_err(|_| format!("“{text}” is no whole number")),
            Kind::Flag => match text.trim() {
                "1" | "true" | "yes" | "on" => Ok(Value::Boolean(true)),
                "0" | "false" | "no" | "off" => Ok(Value::Boolean(false)),
                _ => Err(format!("“{text}” is neither true nor false")),
            },
            Kind::List => Ok(Value::Array(
                text.split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(|item| Value::String(item.to_owned()))
                    .collect(),
            )),
        }
    }
}

/// What the command line says; `None` where it is silent.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--public-url`
    pub public_url: Option<String>,
    /// `--insecure-listen`
    pub insecure_listen: Option<bool>,
    /// `--log-level`
    pub log_level: Option<String>,
    /// `--log-format`
    pub log_format: Option<String>,
}

impl Overrides {
    /// Dotted key, flag and value of everything that is set.
    pub(super) fn values(&self) -> Vec<(&'static str, &'static str, Value)> {
        let text = |value: &String| Value::String(value.clone());
        [
            (
                "data",
                "--data",
                self.data.as_ref().map(|path| Value::String(path.display().to_string())),
            ),
            (
                "server.listen",
                "--listen",
                self.listen.map(|address| Value::String(address.to_string())),
            ),
            ("server.public_url", "--public-url", self.public_url.as_ref().map(text)),
            (
                "server.insecure_listen",
                "--insecure-listen",
                self.insecure_listen.map(Value::Boolean),
            ),
            ("log.level", "--log-level", self.log_level.as_ref().map(text)),
            ("log.format", "--log-format", self.log_format.as_ref().map(text)),
        ]
        .into_iter()
        .filter_map(|(key, flag, value)| value.map(|value| (key, flag, value)))
        .collect()
    }
}

/// The known variable that `name` was most likely meant to be.
pub(super) fn nearest_variable(name: &str) -> &'static str {
    KEYS.iter()
        .map(|key| key.env)
        .chain([ENV_CONFIG, ENV_MASTER_KEY, ENV_MAIL_PASSWORD])
        .min_by_key(|known| edits(name, known))
        .unwrap_or(ENV_CONFIG)
}

/// Levenshtein's distance: the fewest characters to insert, delete or change.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (b, &above) in to.bytes().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(a != b)).min(above + 1).min(left + 1);
            diagonal = above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
