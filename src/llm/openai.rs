//! Any server that speaks OpenAI's chat completions. Every call streams, so that silence is noticed; what may be sent
//! again is sent again, but never after the first part of a reply has arrived.

mod refusal;
mod reply;
mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use self::refusal::{Refusal, refusal};
use self::reply::Assembly;
use super::{Answer, ChatOptions, Failed, Provider, tokens};
use crate::config::settings::ApiKey;
use crate::crypto;
use crate::domain::chat::ChatRequest;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::money::Usage;
use crate::net::{self, Stream, Upstream, sse};

/// Bytes of an error's body that are read.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a reply that does not stream.
const REPLY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long to wait, and how often to try.
#[derive(Clone, Copy, Debug)]
struct Patience {
    tries: u32,
    backoff_base: Duration,
    backoff_cap: Duration,
    /// Until the head of an answer.
    first_byte: Duration,
    /// Between two parts of an answer.
    idle: Duration,
}

const PATIENCE: Patience = Patience {
    tries: 3,
    backoff_base: Duration::from_millis(500),
    backoff_cap: Duration::from_secs(20),
    first_byte: Duration::from_secs(90),
    idle: Duration::from_secs(90),
};

/// A server with chat completions, and the key for it.
pub struct OpenAi {
    upstream: Upstream,
    key: ApiKey,
    patience: Patience,
    /// The server knows `max_tokens` only; learned from its first refusal.
    old_cap_name: AtomicBool,
}

impl OpenAi {
    /// # Errors
    /// Where `base_url` cannot be read, as a sentence.
    pub fn new(base_url: &str, key: ApiKey) -> Result<Self, String> {
        Ok(Self {
            upstream: Upstream::new(base_url).map_err(|error| error.to_string())?,
            key,
            patience: PATIENCE,
            old_cap_name: AtomicBool::new(false),
        })
    }

    async fn ask(&self, request: &ChatRequest, mut options: ChatOptions<'_>) -> Result<Answer, Failed> {
        let deadline = Instant::now() + options.timeout;
        // Tries that broke off after the server began to work are paid for as well.
        let mut spent = Usage::default();
        let mut tried = 0;
        loop {
            tried += 1;
            let mut lost = match self.once(request, &mut options, deadline).await {
                Ok(mut answer) => {
                    answer.estimated |= spent != Usage::default();
                    answer.reply.usage = answer.reply.usage.plus(spent);
                    return Ok(answer);
                }
                Err(lost) => lost,
            };
            spent = spent.plus(lost.failed.usage);
            lost.failed.usage = spent;
            lost.failed.estimated |= spent != Usage::default();
            if !lost.again {
                return Err(lost.failed);
            }
            if lost.other_dialect {
                tried -= 1;
                continue;
            }
            let pause = lost.after.unwrap_or_else(|| self.backoff(tried));
            if tried >= self.patience.tries || Instant::now() + pause >= deadline {
                return Err(lost.failed);
            }
            tracing::debug!(provider = self.upstream.host(), tried, pause_ms = pause.as_millis(), failure = %lost.failed, "asking the model again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Full jitter: anything up to the doubled base, so that many callers do not come back at once.
    fn backoff(&self, tried: u32) -> Duration {
        let most = self
            .patience
            .backoff_base
            .saturating_mul(1 << (tried - 1).min(16))
            .min(self.patience.backoff_cap);
        let chance = crypto::random::<4>().map_or(u32::MAX, u32::from_le_bytes);
        most.mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }

    async fn once(&self, request: &ChatRequest, options: &mut ChatOptions<'_>, deadline: Instant) -> Result<Answer, Lost> {
        let old_cap_name = self.old_cap_name.load(Ordering::Relaxed);
        let body = wire::request(request, options.model, options.max_output_tokens, old_cap_name)?;
        let bearer = match &self.key {
            ApiKey::Set(key) => Some(format!("Bearer {}", key.expose())),
            ApiKey::None => None,
            ApiKey::Missing(why) => {
                return Err(Failure::new(FailureCode::ProviderError, format!("there is no key for this model: {why}")).into());
            }
        };
        let headers: Vec<(&str, &str)> = bearer
            .iter()
            .map(|bearer| ("authorization", bearer.as_str()))
            .chain([("accept", "text/event-stream, application/json")])
            .collect();
        let mut stream = self
            .upstream
            .post("chat/completions", &headers, body, self.patience.first_byte.min(left(deadline)))
            .await
            .map_err(|error| no_answer(request, error))?;
        if stream.status() != 200 {
            let refusal = self.read_refusal(&mut stream, deadline).await;
            if refusal.wants_old_cap_name && !old_cap_name {
                self.old_cap_name.store(true, Ordering::Relaxed);
                return Err(Lost {
                    again: true,
                    other_dialect: true,
                    ..Lost::from(refusal.failure)
                });
            }
            return Err(Lost::refused(refusal));
        }
        let mut assembly = Assembly::default();
        match self.read_reply(&mut stream, &mut assembly, options, deadline).await {
            Ok(()) => Ok(assembly.answer(request, options.model)),
            Err(failure) => {
                let (usage, estimated) = assembly.usage_so_far(request);
                Err(Lost {
                    again: failure.retryable && !assembly.has_begun(),
                    failed: Failed { failure, usage, estimated },
                    ..Lost::from(Failure::new(FailureCode::Unavailable, ""))
                })
            }
        }
    }

    async fn read_refusal(&self, stream: &mut Stream, deadline: Instant) -> Refusal {
        let idle = self.patience.idle.min(left(deadline));
        let body = stream.text(ERROR_BYTES_MAX, idle).await.unwrap_or_default();
        let body = match &self.key {
            ApiKey::Set(key) => body.replace(key.expose(), "(key)"),
            _ => body,
        };
        let header = |name: &str| stream.header(name).map(str::to_owned);
        refusal(self.upstream.host(), stream.status(), header, &body)
    }

    async fn read_reply(
        &self,
        stream: &mut Stream,
        assembly: &mut Assembly,
        options: &mut ChatOptions<'_>,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let host = self.upstream.host();
        let whole = stream
            .header("content-type")
            .is_some_and(|kind| kind.trim_start().starts_with("application/json"));
        if whole {
            let text = stream.text(REPLY_BYTES_MAX, self.patience.idle.min(left(deadline))).await?;
            return assembly.take_whole(host, &text, options.deltas);
        }
        let mut events = sse::Parser::default();
        loop {
            while let Some(event) = events.pop() {
                if event.data == "[DONE]" {
                    return assembly.end(host);
                }
                assembly.take(host, &event.data, options.deltas)?;
            }
            match stream.chunk(self.patience.idle.min(left(deadline))).await? {
                Some(bytes) => events.push(&bytes)?,
                None => return assembly.end(host),
            }
        }
    }
}

impl Provider for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn endpoint(&self) -> &str {
        self.upstream.authority()
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest, options: ChatOptions<'a>) -> BoxFuture<'a, Result<Answer, Failed>> {
        self.ask(request, options).boxed()
    }
}

/// The request may have arrived where the answer did not: after a silence its input counts as used.
fn no_answer(request: &ChatRequest, error: net::Error) -> Lost {
    let silent = matches!(error, net::Error::Timeout(_));
    let failure = Failure::from(error);
    let mut lost = Lost {
        again: failure.retryable,
        ..Lost::from(failure)
    };
    if silent {
        lost.failed.usage.input_tokens = tokens::estimate_input(request);
        lost.failed.estimated = true;
    }
    lost
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// A try that gave no reply.
struct Lost {
    failed: Failed,
    /// It may be sent again.
    again: bool,
    /// At once, in other words: the server did not know one of ours.
    other_dialect: bool,
    /// How long the server asked to wait.
    after: Option<Duration>,
}

impl Lost {
    fn refused(refusal: Refusal) -> Self {
        Self {
            again: refusal.failure.retryable,
            after: refusal.after,
            ..Self::from(refusal.failure)
        }
    }
}

impl From<Failure> for Lost {
    fn from(failure: Failure) -> Self {
        Self {
            failed: failure.into(),
            again: false,
            other_dialect: false,
            after: None,
        }
    }
}

#[cfg(test)]
mod tests;
