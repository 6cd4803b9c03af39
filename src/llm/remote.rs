//! A server of models over HTTP, in whichever dialect. Every call streams, so that silence is noticed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::time::Instant;

use super::refusal::{Refusal, refusal};
use super::{Answer, ChatOptions, Deltas, Failed, Provider, Unlisted, tokens};
use crate::config::secret::Secret;
use crate::config::settings::ApiKey;
use crate::domain::chat::ChatRequest;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::money::Usage;
use crate::domain::provider::ProviderLimits;
use crate::net::{self, NoAnswer, Stream, Upstream, sse};

/// Bytes of an error's body that are read.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a reply that does not stream, or of a list of models.
const REPLY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Models of one server that are listed.
pub const MODELS_MAX: usize = 1_000;
/// Bytes of a model's name.
pub const MODEL_NAME_BYTES_MAX: usize = 200;

/// How one kind of server is spoken to.
pub(super) trait Dialect: Send + Sync + 'static {
    type Assembly: Assembly;
    const NAME: &'static str;
    /// Below the base.
    const CHAT_PATH: &'static str;
    const MODELS_PATH: &'static str;

    fn headers(key: Option<&str>) -> Vec<(&'static str, String)>;

    /// The request's JSON; `old_cap_name` where the server knows the cap's old name only.
    fn body(request: &ChatRequest, model: &str, cap: u32, old_cap_name: bool) -> Result<Vec<u8>, Failure>;

    fn assembly(request: &ChatRequest) -> Self::Assembly;
}

/// A reply that is put together from its parts.
pub(super) trait Assembly: Send {
    /// Takes one event of a stream.
    fn take(&mut self, host: &str, event: &sse::Event, deltas: Deltas<'_>) -> Result<(), Failure>;

    /// Takes the reply of a server that does not stream.
    fn take_whole(&mut self, host: &str, text: &str, deltas: Deltas<'_>) -> Result<(), Failure>;

    /// Whether the server said that this is all.
    fn is_over(&self) -> bool;

    /// Whether anything of the model's own has arrived, thoughts included.
    fn is_heard(&self) -> bool;

    /// Whether any part of the reply has arrived.
    fn has_begun(&self) -> bool;

    /// Checks that the reply is whole.
    fn end(&self, host: &str) -> Result<(), Failure>;

    /// What was used as far as is known, and whether that is a guess.
    fn usage_so_far(&self, request: &ChatRequest) -> (Usage, bool);

    fn answer(&self, request: &ChatRequest, asked_model: &str) -> Answer;
}

/// A server, and the key for it where that is fixed.
pub(super) struct Remote<D> {
    upstream: Upstream,
    key: ApiKey,
    limits: ProviderLimits,
    /// The server knows `max_tokens` only; learned from its first refusal.
    old_cap_name: AtomicBool,
    dialect: std::marker::PhantomData<D>,
}

impl<D: Dialect> Remote<D> {
    pub fn new(upstream: Upstream, key: ApiKey, limits: ProviderLimits) -> Self {
        Self {
            upstream,
            key,
            limits,
            old_cap_name: AtomicBool::new(false),
            dialect: std::marker::PhantomData,
        }
    }

    fn key<'a>(&'a self, given: Option<&'a Secret>) -> Result<Option<&'a str>, Failure> {
        match (given, &self.key) {
            (Some(key), _) | (None, ApiKey::Set(key)) => Ok(Some(key.expose())),
            (None, ApiKey::None) => Ok(None),
            (None, ApiKey::Missing(why)) => Err(Failure::new(
                FailureCode::ProviderError,
                format!("there is no key for this model: {why}"),
            )),
        }
    }

    async fn once(&self, request: &ChatRequest, options: &mut ChatOptions<'_>) -> Result<Answer, Failed> {
        let old_cap_name = self.old_cap_name.load(Ordering::Relaxed);
        let key = self.key(options.key)?;
        let body = D::body(request, options.model, options.max_output_tokens, old_cap_name)?;
        let headers = D::headers(key);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let asked = Instant::now();
        // Until the first words; then between any two.
        let first = Duration::from_millis(self.limits.first_token_ms);
        let first_by = options.deadline.min(asked + first);
        options.so_far.set(tokens::estimate_sent(request));
        let mut stream = self
            .upstream
            .post(D::CHAT_PATH, &headers, body, left(first_by))
            .await
            .map_err(|lost| no_answer(request, lost))?;
        if stream.status() != 200 {
            let refusal = self.read_refusal(&mut stream, key, left(first_by)).await;
            if refusal.wants_old_cap_name && !old_cap_name {
                self.old_cap_name.store(true, Ordering::Relaxed);
                let mut failed = Failed::from(refusal.failure);
                failed.at_once = true;
                return Err(failed);
            }
            return Err(Failed {
                again: refusal.again,
                after: refusal.after,
                ..Failed::from(refusal.failure)
            });
        }
        let mut assembly = D::assembly(request);
        match self.read_reply(&mut stream, &mut assembly, request, options, first_by).await {
            Ok(()) => Ok(assembly.answer(request, options.model)),
            Err(failure) => {
                let (usage, estimated) = assembly.usage_so_far(request);
                Err(Failed {
                    // What has begun is paid for and perhaps shown.
                    again: failure.retryable && !assembly.has_begun(),
                    begun: assembly.has_begun(),
                    usage,
                    estimated,
                    ..Failed::from(failure)
                })
            }
        }
    }

    async fn read_refusal(&self, stream: &mut Stream, key: Option<&str>, within: Duration) -> Refusal {
        let body = stream.text(ERROR_BYTES_MAX, within).await.unwrap_or_default();
        let body = match key {
            Some(key) if !key.is_empty() => body.replace(key, "(key)"),
            _ => body,
        };
        let header = |name: &str| stream.header(name).map(str::to_owned);
        refusal(self.upstream.host(), stream.status(), header, &body)
    }

    async fn read_reply(
        &self,
        stream: &mut Stream,
        assembly: &mut D::Assembly,
        request: &ChatRequest,
        options: &mut ChatOptions<'_>,
        first_by: Instant,
    ) -> Result<(), Failure> {
        let host = self.upstream.host();
        let idle = Duration::from_millis(self.limits.idle_ms);
        let whole = stream
            .header("content-type")
            .is_some_and(|kind| kind.trim_start().starts_with("application/json"));
        if whole {
            let text = stream.text(REPLY_BYTES_MAX, left(first_by)).await?;
            return assembly.take_whole(host, &text, options.deltas);
        }
        let mut events = sse::Parser::default();
        let mut until = first_by;
        loop {
            while let Some(event) = events.pop() {
                assembly.take(host, &event, options.deltas)?;
                options.so_far.set(assembly.usage_so_far(request).0);
                if assembly.is_over() {
                    return assembly.end(host);
                }
                // Signs of life without words do not count.
                if assembly.is_heard() && event.name != "ping" {
                    until = options.deadline.min(Instant::now() + idle);
                }
            }
            match stream.chunk(left(until)).await? {
                Some(bytes) => events.push(&bytes)?,
                None => return assembly.end(host),
            }
        }
    }

    async fn list(&self, given: Option<&Secret>, within: Duration) -> Result<Vec<String>, Unlisted> {
        let key = self.key(given).map_err(|failure| Unlisted::NoKey(failure.message))?;
        let headers = D::headers(key);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let deadline = Instant::now() + within;
        let mut stream = self
            .upstream
            .get(D::MODELS_PATH, &headers, within)
            .await
            .map_err(|lost| Unlisted::Unreachable(lost.error))?;
        let status = stream.status();
        if status != 200 {
            let refusal = self.read_refusal(&mut stream, key, left(deadline)).await;
            return Err(Unlisted::Refused(status, refusal.failure.message));
        }
        let text = stream.text(REPLY_BYTES_MAX, left(deadline)).await.map_err(Unlisted::Unreachable)?;
        read_models(&text).ok_or(Unlisted::Unreadable)
    }
}

/// The names in `{data: [{id}]}`, which both dialects send; some servers send `{models: [{id | name}]}` or the bare list.
fn read_models(text: &str) -> Option<Vec<String>> {
    let value: Value = serde_json::from_str(text).ok()?;
    let list = [value.get("data"), value.get("models"), Some(&value)]
        .into_iter()
        .flatten()
        .find_map(Value::as_array)?;
    let mut names: Vec<String> = list
        .iter()
        .filter_map(|model| model.get("id").or_else(|| model.get("name")).unwrap_or(model).as_str())
        .filter(|name| !name.is_empty() && name.len() <= MODEL_NAME_BYTES_MAX && !name.chars().any(char::is_control))
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(MODELS_MAX);
    Some(names)
}

impl<D: Dialect> Provider for Remote<D> {
    fn name(&self) -> &'static str {
        D::NAME
    }

    fn endpoint(&self) -> &str {
        self.upstream.authority()
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest, mut options: ChatOptions<'a>) -> BoxFuture<'a, Result<Answer, Failed>> {
        async move { self.once(request, &mut options).await }.boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), net::Error>> {
        self.upstream.check().boxed()
    }

    fn models<'a>(&'a self, key: Option<&'a Secret>, within: Duration) -> BoxFuture<'a, Result<Vec<String>, Unlisted>> {
        async move {
            self.upstream.check().await.map_err(Unlisted::Unreachable)?;
            self.list(key, within).await
        }
        .boxed()
    }
}

/// A request that may have arrived where the answer did not: its input counts as used.
fn no_answer(request: &ChatRequest, lost: NoAnswer) -> Failed {
    let failure = Failure::from(lost.error);
    let mut failed = Failed {
        again: failure.retryable,
        ..Failed::from(failure)
    };
    if lost.sent {
        failed.usage = tokens::estimate_sent(request);
        failed.estimated = true;
    }
    failed
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_models_are_read_in_the_shapes_that_servers_send() {
        let names = |text: &str| read_models(text);
        let both = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(names(r#"{"object":"list","data":[{"id":"b"},{"id":"a"},{"id":"a"}]}"#), both);
        assert_eq!(names(r#"{"models":[{"name":"a"},{"name":"b"}]}"#), both);
        assert_eq!(names(r#"["a","b"]"#), both);
        assert_eq!(names(r#"{"error":"no"}"#), None);
        assert_eq!(names("<html>"), None);
    }
}
