//! Language models: who answers, what it may cost at most, and what it did cost.
//!
//! A [`Provider`] speaks one dialect and makes one try. A [`Server`] is a provider with its limits and its line; a [`Model`] is one model of it,
//! which [`Model::ask`]s until there is an answer or nothing helps. Money of calls that broke off is never lost: [`Failed`] carries the usage
//! known so far, and [`SoFar`] what is known of a call that is given up.

mod anthropic;
mod asking;
mod line;
mod openai;
#[cfg(test)]
mod recorded;
mod refusal;
mod remote;
mod scripted;
mod structured;
#[cfg(test)]
mod test_support;
mod tokens;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

pub use self::asking::Asking;
use self::line::Line;
pub use self::line::Whose;
use self::remote::Remote;
pub use self::remote::{MODEL_NAME_BYTES_MAX, MODELS_MAX};
pub use self::scripted::Scripted;
use crate::config::secret::Secret;
use crate::config::settings::{self, ApiKey};
use crate::domain::chat::{ChatReply, ChatRequest};
use crate::domain::failure::Failure;
use crate::domain::limits::OUTPUT_TOKENS_DEFAULT;
use crate::domain::money::{Price, Usage};
use crate::domain::price::Tariff;
use crate::domain::provider::{PRESETS, ProviderKind, ProviderLimits};
use crate::net::{self, Upstream, Vetter};

/// Takes streamed text as it arrives.
pub type Deltas<'a> = &'a mut (dyn FnMut(&str) + Send);

/// What the host decides about one try.
pub struct ChatOptions<'a> {
    /// The provider's own name of the model.
    pub model: &'a str,
    /// Always set: a reply without an end has no worst case.
    pub max_output_tokens: u32,
    /// The server's key, where it is not fixed with the server.
    pub key: Option<&'a Secret>,
    /// When the call is given up.
    pub deadline: Instant,
    pub deltas: Deltas<'a>,
    pub so_far: &'a SoFar,
}

/// What a call has used, kept where it can be read when the call is given up.
#[derive(Debug, Default)]
pub struct SoFar(Mutex<(Usage, Option<Usage>)>);

impl SoFar {
    /// The try that is under way has used this.
    pub fn set(&self, usage: Usage) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(usage);
    }

    /// The try has ended; all of them together have used this.
    fn end(&self, usage: Usage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (usage, None);
    }

    /// All tries together.
    pub fn usage(&self) -> Usage {
        let (ended, under_way) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ended.plus(under_way.unwrap_or_default())
    }

    /// Whether anything was sent.
    pub fn was_sent(&self) -> bool {
        let (ended, under_way) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.is_some() || ended != Usage::default()
    }
}

/// A reply and whether its usage was guessed, because the provider counted none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub reply: ChatReply,
    pub estimated: bool,
}

/// A call that failed, with what it used all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct Failed {
    pub failure: Failure,
    pub usage: Usage,
    /// Whether `usage` was guessed from the bytes that went by.
    pub estimated: bool,
    /// Whether the same server may be asked the same again.
    pub again: bool,
    /// At once: it did not know one of our words, and the next try has another.
    pub at_once: bool,
    /// How long the server asked to wait.
    pub after: Option<Duration>,
    /// Whether a part of the reply had arrived.
    pub begun: bool,
}

impl From<Failure> for Failed {
    /// A failure before anything was used, which another try would meet again.
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            usage: Usage::default(),
            estimated: false,
            again: false,
            at_once: false,
            after: None,
            begun: false,
        }
    }
}

/// Why a server's models are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unlisted {
    #[error("{0}")]
    NoKey(String),
    #[error("{0}")]
    Unreachable(net::Error),
    /// With its status, and what it said.
    #[error("{1}")]
    Refused(u16, String),
    #[error("it answered, but not with a list of models")]
    Unreadable,
}

/// One dialect of asking a model.
pub trait Provider: Send + Sync {
    /// `openai`, `anthropic`, `scripted`.
    fn name(&self) -> &str;

    /// Who answers: models of one server fail together.
    fn endpoint(&self) -> &str {
        self.name()
    }

    /// Makes one try, and hands on text as it arrives.
    fn chat<'a>(&'a self, request: &'a ChatRequest, options: ChatOptions<'a>) -> BoxFuture<'a, Result<Answer, Failed>>;

    /// Looks whether its server may be reached, without asking it anything.
    fn check(&self) -> BoxFuture<'_, Result<(), net::Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The names of the models that there are.
    fn models<'a>(&'a self, key: Option<&'a Secret>, within: Duration) -> BoxFuture<'a, Result<Vec<String>, Unlisted>>;
}

/// Why the configured models cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("models.{name}: {why}")]
    Model { name: String, why: String },
}

/// What a server is made from.
#[derive(Clone, Debug)]
pub struct Made<'a> {
    pub kind: ProviderKind,
    /// As prices know it.
    pub preset: &'a str,
    /// As an admin named it.
    pub name: &'a str,
    pub base_url: &'a str,
    /// Of a scripted one: its rules; without any, the built-in answers.
    pub rules: &'a str,
    /// Whether a model without a price costs nothing.
    pub free: bool,
    pub limits: ProviderLimits,
}

/// Models at one place, with what they are asked at most.
pub struct Server {
    provider: Arc<dyn Provider>,
    kind: ProviderKind,
    preset: String,
    name: String,
    free: bool,
    limits: ProviderLimits,
    line: Arc<Line>,
}

impl Server {
    /// A server that somebody named. With `vetter`, only where agents could reach it too.
    ///
    /// # Errors
    /// What is wrong with the address or the rules, as a sentence.
    pub fn new(made: &Made<'_>, key: ApiKey, vetter: Option<Vetter>) -> Result<Self, String> {
        let upstream = |base_url: &str| {
            let connect = Duration::from_millis(made.limits.connect_ms);
            let upstream = match vetter {
                Some(vetter) => Upstream::vetted(base_url, connect, vetter),
                None => Upstream::connecting_within(base_url, connect),
            };
            upstream.map_err(|error| error.to_string())
        };
        let provider: Arc<dyn Provider> = match made.kind {
            ProviderKind::Openai => Arc::new(Remote::<openai::OpenAi>::new(upstream(made.base_url)?, key, made.limits)),
            ProviderKind::Anthropic => {
                // Its paths begin with the version; people write it at the end of the address, as others want it.
                let base = made.base_url.trim_end_matches('/');
                let base = base.strip_suffix("/v1").unwrap_or(base);
                Arc::new(Remote::<anthropic::Anthropic>::new(upstream(base)?, key, made.limits))
            }
            ProviderKind::Scripted if made.rules.trim().is_empty() => Arc::new(Scripted::default()),
            ProviderKind::Scripted => Arc::new(Scripted::parse(made.rules).map_err(|error| error.to_string())?),
        };
        Ok(Self::of(provider, made))
    }

    fn of(provider: Arc<dyn Provider>, made: &Made<'_>) -> Self {
        Self {
            provider,
            kind: made.kind,
            preset: made.preset.to_owned(),
            name: made.name.to_owned(),
            free: made.free,
            limits: made.limits,
            line: Line::new(&made.limits),
        }
    }

    /// Looks whether it may be reached, without asking it anything.
    ///
    /// # Errors
    /// What is wrong with its address.
    pub async fn check(&self) -> Result<(), net::Error> {
        self.provider.check().await
    }

    /// The names of the models that it has.
    ///
    /// # Errors
    /// Why they are not known.
    pub async fn models(&self, key: Option<&Secret>) -> Result<Vec<String>, Unlisted> {
        let within = Duration::from_millis(self.limits.first_token_ms.min(self.limits.call_ms)).min(LIST_WITHIN);
        self.provider.models(key, within).await
    }
}

/// Longer than this a list of models is not waited for.
const LIST_WITHIN: Duration = Duration::from_secs(20);

/// One model of a server.
#[derive(Clone)]
pub struct Model {
    server: Arc<Server>,
    /// The provider's own name of the model.
    pub provider_model: String,
    /// What the settings say that it costs; all 0 where they do not.
    pub price: Price,
}

impl Model {
    pub fn new(server: Arc<Server>, provider_model: &str) -> Self {
        Self {
            server,
            provider_model: provider_model.to_owned(),
            price: Price::default(),
        }
    }

    /// A model without a price, for tests and demonstrations.
    pub fn free(provider: Arc<dyn Provider>, provider_model: &str) -> Self {
        Self::limited(
            provider,
            provider_model,
            ProviderLimits {
                max_output_tokens: OUTPUT_TOKENS_DEFAULT,
                ..ProviderLimits::default()
            },
        )
    }

    fn limited(provider: Arc<dyn Provider>, provider_model: &str, limits: ProviderLimits) -> Self {
        let preset = provider.name().to_owned();
        let made = Made {
            kind: ProviderKind::parse(&preset).unwrap_or(ProviderKind::Scripted),
            preset: &preset,
            name: &preset,
            base_url: "",
            rules: "",
            free: true,
            limits,
        };
        let server = Server::of(Arc::clone(&provider), &made);
        Self::new(Arc::new(server), provider_model)
    }

    fn from_settings(settings: &settings::Model) -> Result<Self, String> {
        let preset = settings.provider.as_str();
        let base_url = settings.base_url.as_deref().unwrap_or_default();
        let call_ms = settings.timeout_s.saturating_mul(1_000);
        let limits = ProviderLimits {
            call_ms,
            max_output_tokens: settings.max_output_tokens,
            tokens_per_minute: settings.tokens_per_minute.unwrap_or_default(),
            ..ProviderLimits::default()
        };
        let made = Made {
            kind: settings.provider,
            preset,
            name: preset,
            base_url,
            rules: &settings.rules.as_deref().map_or_else(|| Ok(String::new()), read_rules)?,
            free: !is_paid(settings.provider, base_url),
            limits,
        };
        let server = Server::new(&made, settings.api_key.clone(), None);
        let server = server.map_err(|why| {
            settings
                .rules
                .as_ref()
                .map_or(why.clone(), |path| format!("{}: {why}", path.display()))
        })?;
        let name = if settings.model.is_empty() { "scripted" } else { &settings.model };
        Ok(Self {
            price: settings.price,
            ..Self::new(Arc::new(server), name)
        })
    }

    /// As prices know it: a provider's preset such as `openai`.
    pub fn provider(&self) -> &str {
        &self.server.preset
    }

    /// As an admin named the provider.
    pub fn provider_name(&self) -> &str {
        &self.server.name
    }

    /// Who answers: models of one server fail together.
    pub fn endpoint(&self) -> &str {
        self.server.provider.endpoint()
    }

    /// Whether it costs nothing where nobody says a price.
    pub fn is_free(&self) -> bool {
        self.server.free
    }

    /// The cap that the host sets on the reply.
    pub fn output_cap(&self, request: &ChatRequest) -> u32 {
        request
            .max_output_tokens
            .unwrap_or(OUTPUT_TOKENS_DEFAULT)
            .min(self.server.limits.max_output_tokens)
    }

    /// More than one try can use: every input token counted high, the whole cap as output.
    pub fn worst_case(&self, request: &ChatRequest) -> Usage {
        let describes_tools = !request.tools.is_empty() || request.response_schema.is_some();
        let overhead = match self.server.kind {
            ProviderKind::Anthropic if describes_tools => anthropic::TOOLS_OVERHEAD_TOKENS,
            _ => 0,
        };
        Usage {
            input_tokens: tokens::input_at_most(request) + overhead,
            output_tokens: u64::from(self.output_cap(request)),
            ..Usage::default()
        }
    }

    /// More than the call can cost, in micro-dollars, what is reserved before it is sent: one try, and where the reply is to fit a schema
    /// the try that repairs it. Other tries are made only where what was reserved has room for them.
    pub fn worst_case_micros(&self, tariff: &Tariff, request: &ChatRequest) -> u64 {
        let once = self.worst_case(request);
        let first = tariff.worst_case_micros(once);
        if request.response_schema.is_none() {
            return first;
        }
        let again = Usage {
            input_tokens: once.input_tokens + 2 * once.output_tokens + structured::REPAIR_TOKENS,
            ..once
        };
        first.saturating_add(tariff.worst_case_micros(again))
    }
}

/// Whether an address is a known provider's that wants money.
fn is_paid(kind: ProviderKind, base_url: &str) -> bool {
    let known = |host: String| {
        PRESETS
            .iter()
            .any(|preset| preset.wants_key && host_of(preset.base_url).as_ref() == Some(&host))
    };
    kind == ProviderKind::Anthropic || host_of(base_url).is_some_and(known)
}

fn host_of(base_url: &str) -> Option<String> {
    url::Url::parse(base_url).ok().and_then(|url| url.host_str().map(str::to_owned))
}

fn read_rules(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// The configured models by the name that agents use.
#[derive(Clone, Default)]
pub struct Models(BTreeMap<String, Model>);

impl Models {
    /// # Errors
    /// The first model that cannot be used, and why.
    pub fn from_settings(models: &BTreeMap<String, settings::Model>) -> Result<Self, Error> {
        let read = |(name, settings): (&String, &settings::Model)| match Model::from_settings(settings) {
            Ok(model) => Ok((name.clone(), model)),
            Err(why) => Err(Error::Model { name: name.clone(), why }),
        };
        models.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    pub fn insert(&mut self, name: &str, model: Model) {
        self.0.insert(name.to_owned(), model);
    }

    pub fn get(&self, name: &str) -> Option<&Model> {
        self.0.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests;
