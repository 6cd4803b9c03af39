//! Language models: who answers, what it may cost at most, and what it did cost.
//!
//! A [`Provider`] speaks one dialect; [`Models`] finds it by the name an agent uses. Money of calls that broke off is
//! never lost: [`Failed`] carries the usage known so far.

mod openai;
mod scripted;
mod tokens;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;

pub use self::openai::OpenAi;
pub use self::scripted::Scripted;
use crate::config::settings::{self, ProviderKind};
use crate::domain::chat::{ChatReply, ChatRequest};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::limits::OUTPUT_TOKENS_DEFAULT;
use crate::domain::money::{Price, Usage};

/// Takes streamed text as it arrives.
pub type Deltas<'a> = &'a mut (dyn FnMut(&str) + Send);

/// What the host decides about one call.
pub struct ChatOptions<'a> {
    /// The provider's own name of the model.
    pub model: &'a str,
    /// Always set: a reply without an end has no worst case.
    pub max_output_tokens: u32,
    /// For the whole call, retries included.
    pub timeout: Duration,
    pub deltas: Deltas<'a>,
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
}

impl From<Failure> for Failed {
    /// A failure before anything was used.
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            usage: Usage::default(),
            estimated: false,
        }
    }
}

/// One dialect of asking a model.
pub trait Provider: Send + Sync {
    /// `openai`, `scripted`, as the price table and the ledger name it.
    fn name(&self) -> &str;

    /// Who answers: models of one server fail together.
    fn endpoint(&self) -> &str {
        self.name()
    }

    /// Asks, and hands on text as it arrives.
    fn chat<'a>(&'a self, request: &'a ChatRequest, options: ChatOptions<'a>) -> BoxFuture<'a, Result<Answer, Failed>>;
}

/// Why the configured models cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("models.{name}: {why}")]
    Model { name: String, why: String },
}

/// A model that agents may be granted, with its provider, price and limits.
#[derive(Clone)]
pub struct Model {
    provider: Arc<dyn Provider>,
    /// The provider's own name of the model.
    pub provider_model: String,
    pub price: Price,
    timeout: Duration,
    max_output_tokens: u32,
    rate: Option<Arc<Rate>>,
}

impl Model {
    /// A model without a price, for tests and demonstrations.
    pub fn free(provider: Arc<dyn Provider>, provider_model: &str) -> Self {
        Self {
            provider,
            provider_model: provider_model.to_owned(),
            price: Price::default(),
            timeout: Duration::from_mins(2),
            max_output_tokens: OUTPUT_TOKENS_DEFAULT,
            rate: None,
        }
    }

    fn from_settings(settings: &settings::Model) -> Result<Self, String> {
        let provider: Arc<dyn Provider> = match settings.provider {
            ProviderKind::Openai => Arc::new(OpenAi::new(
                settings.base_url.as_deref().unwrap_or_default(),
                settings.api_key.clone(),
            )?),
            ProviderKind::Scripted => Arc::new(settings.rules.as_deref().map_or_else(|| Ok(Scripted::default()), read_rules)?),
        };
        Ok(Self {
            provider,
            provider_model: if settings.model.is_empty() {
                "scripted".to_owned()
            } else {
                settings.model.clone()
            },
            price: settings.price,
            timeout: Duration::from_secs(settings.timeout_s),
            max_output_tokens: settings.max_output_tokens,
            rate: settings
                .tokens_per_minute
                .and_then(NonZeroU32::new)
                .map(|most| Arc::new(Rate::new(most))),
        })
    }

    /// `openai`, `scripted`.
    pub fn provider(&self) -> &str {
        self.provider.name()
    }

    /// Who answers: models of one server fail together.
    pub fn endpoint(&self) -> &str {
        self.provider.endpoint()
    }

    /// The cap that the host sets on the reply.
    pub fn output_cap(&self, request: &ChatRequest) -> u32 {
        request
            .max_output_tokens
            .unwrap_or(OUTPUT_TOKENS_DEFAULT)
            .min(self.max_output_tokens)
    }

    /// More than the call can use: every input token counted high, the whole cap as output.
    pub fn worst_case(&self, request: &ChatRequest) -> Usage {
        Usage {
            input_tokens: tokens::input_at_most(request),
            output_tokens: u64::from(self.output_cap(request)),
            ..Usage::default()
        }
    }

    /// More than the call can cost, in micro-dollars: what is reserved before it is sent.
    pub fn worst_case_micros(&self, request: &ChatRequest) -> u64 {
        // A provider may write all of the input to its cache, which can cost more than reading it.
        let price = Price {
            input_micros: self
                .price
                .input_micros
                .max(self.price.cache_write_micros)
                .max(self.price.cache_read_micros),
            ..self.price
        };
        price.cost_micros(self.worst_case(request))
    }

    /// Asks the model; waits first where its tokens for this minute are used up.
    ///
    /// # Errors
    /// Why there is no reply, and what was used all the same.
    pub async fn chat(&self, request: &ChatRequest, deltas: Deltas<'_>) -> Result<Answer, Failed> {
        let deadline = Instant::now() + self.timeout;
        if let Some(rate) = &self.rate {
            rate.wait(self.worst_case(request).total(), deadline).await?;
        }
        let options = ChatOptions {
            model: &self.provider_model,
            max_output_tokens: self.output_cap(request),
            timeout: deadline.saturating_duration_since(Instant::now()),
            deltas,
        };
        self.provider.chat(request, options).await
    }
}

fn read_rules(path: &Path) -> Result<Scripted, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Scripted::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
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

/// Tokens in a minute, over all calls to one model.
struct Rate {
    limiter: DefaultDirectRateLimiter,
    most: NonZeroU32,
}

impl Rate {
    fn new(most: NonZeroU32) -> Self {
        Self {
            limiter: RateLimiter::direct(Quota::per_minute(most)),
            most,
        }
    }

    /// Waits until `tokens` may be used. A call larger than a whole minute takes the whole minute.
    async fn wait(&self, tokens: u64, deadline: Instant) -> Result<(), Failure> {
        let tokens = u32::try_from(tokens).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let tokens = tokens.min(self.most);
        while let Ok(Err(not_yet)) = self.limiter.check_n(tokens) {
            let at = Instant::now() + not_yet.wait_time_from(DefaultClock::default().now());
            if at > deadline {
                return Err(Failure::retryable(
                    FailureCode::RateLimited,
                    format!("this model may use {} tokens a minute, and they are used up", self.most),
                ));
            }
            tokio::time::sleep_until(at).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
