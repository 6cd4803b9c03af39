//! The settings, one struct per concern, as they stand in `agentstation.toml`. Units are in the names.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::cidr::Cidr;
use super::secret::Secret;
use crate::domain::limits::OUTPUT_TOKENS_DEFAULT;
use crate::domain::money::Price;
pub use crate::domain::provider::ProviderKind;
use crate::domain::rate::RateClass;
use crate::domain::retry::RetryPolicy;

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the database, the keys and the caches live.
    pub data: PathBuf,
    pub server: Server,
    pub rates: Rates,
    pub store: Store,
    pub runtime: Runtime,
    pub runs: Runs,
    pub outbound: Outbound,
    pub security: Security,
    pub mail: Mail,
    pub log: Log,
    /// Language models by the name that agents use.
    pub models: BTreeMap<String, Model>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: PathBuf::from("./agentstation-data"),
            server: Server::default(),
            rates: Rates::default(),
            store: Store::default(),
            runtime: Runtime::default(),
            runs: Runs::default(),
            outbound: Outbound::default(),
            security: Security::default(),
            mail: Mail::default(),
            log: Log::default(),
            models: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    /// How people reach the station: scheme, host and port, nothing after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<PublicUrl>,
    /// Proxies whose forwarded client addresses are believed.
    pub trusted_proxies: Vec<Cidr>,
    /// Allows plain HTTP on an address that other machines reach.
    pub insecure_listen: bool,
    /// Threads that serve; 0 is one for each core.
    pub workers: u32,
    /// Connections open at one time.
    pub connections: u32,
    /// Of these, what one address may have; trusted proxies may have all.
    pub connections_per_address: u32,
}

impl Server {
    /// How people reach the station, for links: as configured, never as a request says.
    pub fn origin(&self) -> String {
        match &self.public_url {
            Some(url) => url.as_str().to_owned(),
            None if self.listen.ip().is_unspecified() => format!("http://localhost:{}", self.listen.port()),
            None => format!("http://{}", self.listen),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8700)),
            public_url: None,
            trusted_proxies: Vec::new(),
            insecure_listen: false,
            workers: 0,
            connections: 8_192,
            connections_per_address: 1_024,
        }
    }
}

/// Requests in a minute, of each kind apart: of one key or session on the plan `free`, and of an address without either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Tries to get in, of one address.
    pub sign_in: u32,
    pub read: u32,
    pub write: u32,
    pub run_start: u32,
    pub upload: u32,
    pub stream: u32,
    /// How many times that all keys and sessions of one address may make together.
    pub address_factor: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            sign_in: 10,
            read: 12_000,
            write: 3_000,
            run_start: 1_200,
            upload: 120,
            stream: 600,
            address_factor: 20,
        }
    }
}

impl Rates {
    /// Requests of this kind in a minute.
    pub const fn of(&self, class: RateClass) -> u32 {
        match class {
            RateClass::SignIn => self.sign_in,
            RateClass::Read => self.read,
            RateClass::Write => self.write,
            RateClass::RunStart => self.run_start,
            RateClass::Upload => self.upload,
            RateClass::Stream => self.stream,
        }
    }
}

/// An origin: `https://station.example.com`, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl(String);

impl PublicUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("“{text}” is no public address: write it as https://station.example.com, without a path");
        let url = url::Url::parse(&text).map_err(|_| wrong())?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if !bare || url.password().is_some() || !["http", "https"].contains(&url.scheme()) {
            return Err(wrong());
        }
        Ok(Self(url.origin().ascii_serialization()))
    }
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        url.0
    }
}

/// When SQLite waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// At every commit: nothing acknowledged is lost, even when the power fails.
    Full,
    /// At checkpoints: the last moments may be lost when the power fails, not when the process is killed.
    Normal,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    pub synchronous: Synchronous,
    /// Connections that read.
    pub readers: u32,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            synchronous: Synchronous::Full,
            readers: 4,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Agents that run at one time.
    pub slots: u32,
    /// Memory that all agents together may have.
    pub memory_bytes: u64,
    /// Where compiled agents are kept; `cache` in the data directory where it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            slots: 32,
            memory_bytes: 2 << 30,
            cache: None,
        }
    }
}

/// How often a run is tried again by itself when something outside fails, where neither its agent nor its starter says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runs {
    /// Tries in all, the first included.
    pub retry_attempts: u32,
    /// The longest first delay; each next may be twice as long.
    pub retry_base_ms: u64,
    /// The longest delay.
    pub retry_cap_ms: u64,
}

impl Default for Runs {
    fn default() -> Self {
        let policy = RetryPolicy::default();
        Self {
            retry_attempts: policy.attempts,
            retry_base_ms: policy.base_ms,
            retry_cap_ms: policy.cap_ms,
        }
    }
}

impl Runs {
    /// The station's retry policy.
    pub fn retry(&self) -> RetryPolicy {
        RetryPolicy {
            attempts: self.retry_attempts,
            base_ms: self.retry_base_ms,
            cap_ms: self.retry_cap_ms,
            ..RetryPolicy::default()
        }
    }
}

/// What outbound HTTP may reach beyond public addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outbound {
    /// Private ranges that agents may reach where they were granted the host.
    pub open_cidrs: Vec<Cidr>,
    /// Allows plain `http://` to public addresses.
    pub allow_http: bool,
}

/// Who gets in, for how long, and what seals what must stay secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// The key that seals secrets; `master.key` in the data directory where it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master_key_file: Option<PathBuf>,
    /// Secrets may point to files in here; to none where it is not set, but for those that systemd provides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets_dir: Option<PathBuf>,
    /// A session ends after this long without a request.
    pub session_idle_minutes: u32,
    /// And after this long whatever happens.
    pub session_max_days: u32,
}

impl Security {
    pub const SESSION_IDLE_MINUTES: u32 = 8 * 60;
    pub const SESSION_MAX_DAYS: u32 = 7;
}

impl Default for Security {
    fn default() -> Self {
        Self {
            master_key_file: None,
            secrets_dir: None,
            session_idle_minutes: Self::SESSION_IDLE_MINUTES,
            session_max_days: Self::SESSION_MAX_DAYS,
        }
    }
}

/// How the connection to the mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// Plain at first, then TLS or nothing; usually port 587.
    #[default]
    Starttls,
    /// TLS from the first byte; usually port 465.
    Tls,
    /// In the clear: for a server on this machine.
    None,
}

/// The server that takes the station's mail. Without `host` the station sends none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mail {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The usual one of `tls` where it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    pub tls: MailTls,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file that holds the user's password; or set `AGENTSTATION_MAIL_PASSWORD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Who the mail is from: `station@example.com` or `Station <station@example.com>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The password itself, read from one of the two above.
    #[serde(skip)]
    pub password: ApiKey,
}

impl Mail {
    /// Whether the server is this very machine, so that nothing crosses a network.
    pub fn is_on_this_machine(&self) -> bool {
        self.host
            .as_deref()
            .is_some_and(|host| host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
    }

    /// Where the server listens.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            MailTls::Starttls => 587,
            MailTls::Tls => 465,
            MailTls::None => 25,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    Human,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `info`, or a filter such as `info,agentstation::store=debug`.
    pub level: String,
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            // The web server says of itself what we say already.
            level: "info,actix_server=warn".to_owned(),
            format: LogFormat::Auto,
        }
    }
}

/// A language model that agents may be granted by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub provider: ProviderKind,
    /// The provider's own name of the model.
    #[serde(default)]
    pub model: String,
    /// Where its API begins, such as `https://api.openai.com/v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The environment variable that holds the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// The file that holds the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_file: Option<PathBuf>,
    /// The key itself, read from one of the two above.
    #[serde(skip)]
    pub api_key: ApiKey,
    /// Micro-dollars for a million tokens of each kind.
    #[serde(default)]
    pub price: Price,
    /// The whole call, retries included.
    #[serde(default = "Model::default_timeout_s")]
    pub timeout_s: u64,
    /// The most that one reply may have, and what a request without a cap gets at most.
    #[serde(default = "Model::default_max_output_tokens")]
    pub max_output_tokens: u32,
    /// For `scripted`: the file of rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<PathBuf>,
    /// Input and output tokens that the provider takes in a minute; calls beyond it wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
}

impl Model {
    const fn default_timeout_s() -> u64 {
        120
    }

    const fn default_max_output_tokens() -> u32 {
        OUTPUT_TOKENS_DEFAULT
    }

    /// A model answered by rules in `rules`, or by the built-in fallback.
    pub fn scripted(rules: Option<PathBuf>) -> Self {
        Self {
            provider: ProviderKind::Scripted,
            model: "scripted".to_owned(),
            base_url: None,
            api_key_env: None,
            api_key_file: None,
            api_key: ApiKey::None,
            price: Price::default(),
            timeout_s: Self::default_timeout_s(),
            max_output_tokens: Self::default_max_output_tokens(),
            rules,
            tokens_per_minute: None,
        }
    }
}

/// What became of a model's key, or of another secret that the settings only point to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ApiKey {
    /// None was asked for.
    #[default]
    None,
    Set(Secret),
    /// One was asked for and is not there: why, and what to do.
    Missing(String),
}
