//! What the operator decided: flags over `AGENTSTATION_*` over `agentstation.toml` over defaults.
//!
//! The only place that reads environment variables. Every value remembers where it came from, an unknown name is an
//! error wherever it stands, and no secret is ever in the file itself.

pub mod cidr;
mod keys;
pub mod master_key;
pub mod pointed_to;
mod print;
pub mod secret;
pub mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize as _;

use toml::{Table, Value};

pub use self::keys::Overrides;
use self::keys::{ENV_CONFIG, ENV_CREDENTIALS, ENV_MAIL_PASSWORD, ENV_MASTER_KEY, ENV_PREFIX, KEYS};
use self::master_key::KeySource;
use self::pointed_to::PointedTo;
use self::secret::Secret;
pub use self::settings::Settings;
use self::settings::{ApiKey, Model, ProviderKind};
use crate::domain::rate::RateClass;
use crate::domain::retry::RetryChange;
use crate::domain::secret::ENV_SECRET_PREFIX;

/// The file that is read where no other is named.
pub const CONFIG_FILE: &str = "agentstation.toml";
const READERS_MAX: u32 = 64;
const SLOTS_MAX: u32 = 1024;
const WORKERS_MAX: u32 = 256;
const CONNECTIONS_MAX: u32 = 1_000_000;
/// Requests in a minute; more is no limit.
const RATE_MAX: u32 = 10_000_000;
const ADDRESS_FACTOR_MAX: u32 = 1_000;
const API_KEY_BYTES_MAX: usize = 8 * 1024;
const SESSION_IDLE_MINUTES_MAX: u32 = 24 * 60;
const SESSION_MAX_DAYS_MAX: u32 = 90;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// Key, line and reason, as the TOML reader words them.
    #[error("{path} is wrong: {message}", path = path.display())]
    File { path: PathBuf, message: String },
    #[error("the environment variable {name} is unknown; did you mean {nearest}?")]
    UnknownVariable { name: String, nearest: &'static str },
    /// A flag's or a variable's value.
    #[error("{source_name} is wrong: {message}")]
    Value { source_name: String, message: String },
    /// The settings are readable and do not fit together.
    #[error("{0}")]
    Refused(String),
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    File(PathBuf),
    Environment(&'static str),
    Flag(&'static str),
}

/// The effective settings and where each came from.
#[derive(Clone, Debug)]
pub struct Config {
    settings: Settings,
    /// By dotted key; what is missing here is a default.
    sources: BTreeMap<String, Source>,
    master_key: KeySource,
    /// Variables that secrets may point to, and the directory that systemd provides.
    pointed_to: PointedTo,
    #[cfg(debug_assertions)]
    crash_at: Option<String>,
}

impl std::ops::Deref for Config {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

/// The process's environment, for [`Config::load`].
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Where commands without a data directory keep compiled agents between calls: the user's cache directory, where there is one.
pub fn user_cache_dir() -> Option<PathBuf> {
    let of = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let caches = of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache")))?;
    Some(caches.join("agentstation"))
}

impl Config {
    /// Reads the file, the environment and the flags, and checks every name and value by itself.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn load(overrides: &Overrides, environment: &[(String, String)]) -> Result<Self, Error> {
        let variable = |name: &str| {
            environment
                .iter()
                .find_map(|(key, value)| (key == name).then_some(value.as_str()))
                .filter(|value| !value.is_empty())
        };
        let mut loading = Loading::default();
        let named = overrides.config.clone().or_else(|| variable(ENV_CONFIG).map(PathBuf::from));
        loading.read_file(named.as_deref())?;
        for key in KEYS {
            if let Some(text) = variable(key.env) {
                let wrong = |message| Error::Value {
                    source_name: key.env.to_owned(),
                    message,
                };
                let value = key.read(text).map_err(wrong)?;
                loading.set(&key.dotted(), value, Source::Environment(key.env)).map_err(wrong)?;
            }
        }
        for (key, flag, value) in overrides.values() {
            loading.set(key, value, Source::Flag(flag)).map_err(|message| Error::Value {
                source_name: flag.to_owned(),
                message,
            })?;
        }
        let mut settings = loading.settings().map_err(Error::Refused)?;
        refuse_unknown_variables(&settings, environment)?;
        for model in settings.models.values_mut() {
            model.api_key = api_key(model, &variable);
        }
        settings.mail.password = mail_password(&settings.mail, &variable);
        let master_key = KeySource::find(variable(ENV_MASTER_KEY), variable(ENV_CREDENTIALS), &settings);
        let pointed_to = PointedTo::find(environment, variable(ENV_CREDENTIALS), &settings);
        let config = Self {
            settings,
            sources: loading.sources,
            master_key,
            pointed_to,
            #[cfg(debug_assertions)]
            crash_at: variable(keys::ENV_CRASH_AT).map(str::to_owned),
        };
        config.check_models()?;
        config.check_mail()?;
        config.check_ranges()?;
        Ok(config)
    }

    /// Where the value of a dotted key such as `server.listen` came from.
    pub fn source(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }

    /// Where the key that seals secrets is.
    pub const fn master_key(&self) -> &KeySource {
        &self.master_key
    }

    /// What secrets may point to outside the database.
    pub const fn pointed_to(&self) -> &PointedTo {
        &self.pointed_to
    }

    /// Where a test has the process die, such as `after-intent:3`.
    #[cfg(debug_assertions)]
    pub fn crash_at(&self) -> Option<&str> {
        self.crash_at.as_deref()
    }

    /// Where nobody says how often a run is tried, it is tried once: for commands that somebody waits for.
    #[must_use]
    pub fn without_retries(mut self) -> Self {
        if self.source("runs.retry_attempts") == Source::Default {
            self.settings.runs.retry_attempts = 1;
        }
        self
    }

    /// The address that it is really served on, where port 0 was asked for.
    #[must_use]
    pub fn serving_on(mut self, address: std::net::SocketAddr) -> Self {
        self.settings.server.listen = address;
        self
    }

    /// The effective settings as TOML, each with its source; secrets as `(set)` or `(not set)`.
    pub fn print(&self) -> String {
        print::print(self)
    }

    /// Where compiled agents are kept.
    pub fn cache_dir(&self) -> PathBuf {
        self.runtime.cache.clone().unwrap_or_else(|| self.data.join("cache"))
    }

    /// Whether the settings are safe to serve with.
    ///
    /// # Errors
    /// [`Error::Refused`] with what to do next.
    pub fn validate(&self) -> Result<(), Error> {
        let server = &self.server;
        let behind_tls = server.public_url.as_ref().is_some_and(settings::PublicUrl::is_https) && !server.trusted_proxies.is_empty();
        if !server.listen.ip().is_loopback() && !behind_tls && !server.insecure_listen {
            return Err(Error::Refused(format!(
                "{} can be reached from other machines, and passwords would cross the network in the clear. \
                 Put a proxy that speaks TLS in front and set server.public_url to its https:// address and \
                 server.trusted_proxies to its own; or listen on 127.0.0.1; or, on a network you trust, set \
                 server.insecure_listen = true.",
                server.listen
            )));
        }
        if let ApiKey::Missing(why) = &self.mail.password {
            return Err(Error::Refused(format!("mail has no password: {why}")));
        }
        match self.models.iter().find_map(|(name, model)| match &model.api_key {
            ApiKey::Missing(why) => Some((name, why)),
            _ => None,
        }) {
            Some((name, why)) => Err(Error::Refused(format!("models.{name} has no key: {why}"))),
            None => Ok(()),
        }
    }

    fn check_models(&self) -> Result<(), Error> {
        for (name, model) in &self.models {
            let refuse = |message: &str| Err(Error::Refused(format!("models.{name}: {message}")));
            if name.is_empty() || name.len() > crate::domain::limits::NAME_BYTES_MAX || name.contains(char::is_whitespace) {
                return refuse("a model's name must be short and without spaces");
            }
            if model.timeout_s == 0 || model.max_output_tokens == 0 || model.tokens_per_minute == Some(0) {
                return refuse("timeout_s, max_output_tokens and tokens_per_minute must be more than 0");
            }
            if model.api_key_env.is_some() && model.api_key_file.is_some() {
                return refuse("give api_key_env or api_key_file, not both");
            }
            match model.provider {
                ProviderKind::Openai | ProviderKind::Anthropic => {
                    if model.model.is_empty() {
                        return refuse("set model to the provider's own name of the model");
                    }
                    if model.rules.is_some() {
                        return refuse("only a scripted model has rules");
                    }
                    let base = model.base_url.as_deref().and_then(|base| url::Url::parse(base).ok());
                    if !base.is_some_and(|base| ["http", "https"].contains(&base.scheme()) && base.has_host()) {
                        return refuse(
                            "set base_url to where the API begins, such as https://api.openai.com/v1 or https://api.anthropic.com",
                        );
                    }
                }
                ProviderKind::Scripted => {
                    if model.base_url.is_some() || model.api_key_env.is_some() || model.api_key_file.is_some() {
                        return refuse("a scripted model has neither base_url nor key");
                    }
                }
            }
        }
        Ok(())
    }

    fn check_mail(&self) -> Result<(), Error> {
        let mail = &self.mail;
        let refuse = |message: &str| Err(Error::Refused(format!("under [mail], {message}")));
        if mail.host.is_none() {
            return Ok(());
        }
        if !mail.from.as_ref().is_some_and(|from| from.contains('@')) {
            return refuse("set from to the address that mail is sent from, such as station@example.com");
        }
        if mail.user.is_some() && mail.tls == settings::MailTls::None && !mail.is_on_this_machine() {
            return refuse("the password would cross the network in the clear: set tls to starttls or tls");
        }
        Ok(())
    }

    fn check_ranges(&self) -> Result<(), Error> {
        let within = |name: &str, value: u32, most: u32| {
            if (1..=most).contains(&value) {
                Ok(())
            } else {
                Err(Error::Refused(format!("{name} must be between 1 and {most}, not {value}")))
            }
        };
        within("store.readers", self.store.readers, READERS_MAX)?;
        within("runtime.slots", self.runtime.slots, SLOTS_MAX)?;
        within(
            "security.session_idle_minutes",
            self.security.session_idle_minutes,
            SESSION_IDLE_MINUTES_MAX,
        )?;
        within("security.session_max_days", self.security.session_max_days, SESSION_MAX_DAYS_MAX)?;
        within("server.workers", self.server.workers.max(1), WORKERS_MAX)?;
        within("server.connections", self.server.connections, CONNECTIONS_MAX)?;
        within(
            "server.connections_per_address",
            self.server.connections_per_address,
            CONNECTIONS_MAX,
        )?;
        for &class in RateClass::ALL {
            let name = format!("rates.{}", class.as_str().replace('-', "_"));
            within(&name, self.rates.of(class), RATE_MAX)?;
        }
        within("rates.address_factor", self.rates.address_factor, ADDRESS_FACTOR_MAX)?;
        let retry = RetryChange {
            attempts: Some(self.runs.retry_attempts),
            base_ms: Some(self.runs.retry_base_ms),
            cap_ms: Some(self.runs.retry_cap_ms),
            on: None,
        };
        if let Some((_, message)) = retry.problem() {
            return Err(Error::Refused(format!("under [runs], {message}")));
        }
        let least = crate::domain::limits::AgentLimits::FLOOR.memory_bytes;
        if self.runtime.memory_bytes < least {
            return Err(Error::Refused(format!("runtime.memory_bytes must be at least {least}")));
        }
        Ok(())
    }
}

/// The layers put on each other so far.
#[derive(Default)]
struct Loading {
    table: Table,
    sources: BTreeMap<String, Source>,
}

impl Loading {
    /// Reads `named`, which must exist, or the usual file where there is one.
    fn read_file(&mut self, named: Option<&Path>) -> Result<(), Error> {
        let path = named.unwrap_or_else(|| Path::new(CONFIG_FILE)).to_owned();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(Error::Unreadable { path, source }),
        };
        // Reading the whole shape first gives errors that show the line.
        let wrong = |error: toml::de::Error| Error::File {
            path: path.clone(),
            message: error.to_string().trim_end().to_owned(),
        };
        toml::from_str::<Settings>(&text).map_err(wrong)?;
        self.table = toml::from_str(&text).map_err(wrong)?;
        self.take_paths_from(path.parent().unwrap_or(Path::new("")));
        for (section, value) in &self.table {
            match value {
                Value::Table(table) => {
                    for name in table.keys() {
                        self.sources.insert(format!("{section}.{name}"), Source::File(path.clone()));
                    }
                }
                _ => _ = self.sources.insert(section.clone(), Source::File(path.clone())),
            }
        }
        Ok(())
    }

    /// A path in the file means the same from wherever the station is started.
    fn take_paths_from(&mut self, folder: &Path) {
        let rebase = |value: Option<&mut Value>| {
            if let Some(Value::String(path)) = value {
                *path = folder.join(&*path).display().to_string();
            }
        };
        for key in KEYS.iter().filter(|key| key.is_path) {
            match self.table.get_mut(key.section) {
                Some(Value::Table(section)) => rebase(section.get_mut(key.name)),
                _ if key.section.is_empty() => rebase(self.table.get_mut(key.name)),
                _ => {}
            }
        }
        if let Some(Value::Table(models)) = self.table.get_mut("models") {
            for (_, model) in models.iter_mut() {
                if let Value::Table(model) = model {
                    rebase(model.get_mut("rules"));
                    rebase(model.get_mut("api_key_file"));
                }
            }
        }
    }

    /// Puts one value on top, or says why it does not fit.
    fn set(&mut self, dotted: &str, value: Value, source: Source) -> Result<(), String> {
        let one = Self::default().with(dotted, value.clone());
        one.settings()?;
        let table = std::mem::take(&mut self.table);
        self.table = Self { table, ..Self::default() }.with(dotted, value).table;
        self.sources.insert(dotted.to_owned(), source);
        Ok(())
    }

    fn with(mut self, dotted: &str, value: Value) -> Self {
        match dotted.split_once('.') {
            Some((section, name)) => {
                let section = self.table.entry(section).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(section) = section {
                    section.insert(name.to_owned(), value);
                }
            }
            None => _ = self.table.insert(dotted.to_owned(), value),
        }
        self
    }

    fn settings(&self) -> Result<Settings, String> {
        Settings::deserialize(self.table.clone()).map_err(|error| error.message().to_owned())
    }
}

/// Refuses `AGENTSTATION_*` that nothing reads, but for the keys that models name themselves.
fn refuse_unknown_variables(settings: &Settings, environment: &[(String, String)]) -> Result<(), Error> {
    #[cfg_attr(not(debug_assertions), expect(unused_mut, reason = "development builds know one more"))]
    let mut known: BTreeSet<&str> = KEYS
        .iter()
        .map(|key| key.env)
        .chain([ENV_CONFIG, ENV_MASTER_KEY, ENV_MAIL_PASSWORD])
        .chain(settings.models.values().filter_map(|model| model.api_key_env.as_deref()))
        .collect();
    #[cfg(debug_assertions)]
    known.insert(keys::ENV_CRASH_AT);
    environment
        .iter()
        .find(|(name, _)| name.starts_with(ENV_PREFIX) && !name.starts_with(ENV_SECRET_PREFIX) && !known.contains(name.as_str()))
        .map_or(Ok(()), |(name, _)| {
            Err(Error::UnknownVariable {
                name: name.clone(),
                nearest: keys::nearest_variable(name),
            })
        })
}

fn api_key<'a>(model: &Model, variable: &impl Fn(&str) -> Option<&'a str>) -> ApiKey {
    if let Some(name) = &model.api_key_env {
        return variable(name).map_or_else(
            || {
                ApiKey::Missing(format!(
                    "the environment variable {name} is not set; set it, or name another in api_key_env"
                ))
            },
            |text| ApiKey::Set(Secret::new(text.trim())),
        );
    }
    model.api_key_file.as_deref().map_or(ApiKey::None, secret_file)
}

fn mail_password<'a>(mail: &settings::Mail, variable: &impl Fn(&str) -> Option<&'a str>) -> ApiKey {
    if mail.host.is_none() || mail.user.is_none() {
        return ApiKey::None;
    }
    match (variable(ENV_MAIL_PASSWORD), &mail.password_file) {
        (Some(text), _) => ApiKey::Set(Secret::new(text)),
        (None, Some(path)) => secret_file(path),
        (None, None) => ApiKey::Missing(format!("set {ENV_MAIL_PASSWORD}, or name the file that holds it in password_file")),
    }
}

/// The one secret in a file.
fn secret_file(path: &Path) -> ApiKey {
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() && text.len() <= API_KEY_BYTES_MAX => ApiKey::Set(Secret::new(text.trim())),
        Ok(_) => ApiKey::Missing(format!("{} does not hold one key", path.display())),
        Err(error) => ApiKey::Missing(format!("cannot read {}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests;
