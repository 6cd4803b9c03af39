//! Asking one model until there is an answer or nothing helps: turns in the line, other tries, and the one that repairs a reply.

use std::time::Duration;

use tokio::time::Instant;

use super::structured::{Schema, Wrong, repair};
use super::{Answer, ChatOptions, Deltas, Failed, Model, SoFar, Whose};
use crate::config::secret::Secret;
use crate::crypto;
use crate::domain::chat::ChatRequest;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::money::Usage;
use crate::domain::price::Tariff;

/// Tries of one call to one model, beside the one that repairs its reply.
const TRIES_MAX: u32 = 3;
const BACKOFF_BASE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 500 });
const BACKOFF_CAP: Duration = Duration::from_secs(20);
/// Where another model could be asked instead, longer than this is not waited.
const PAUSE_BEFORE_ANOTHER_MAX: Duration = Duration::from_secs(5);

/// What one call to one model is asked with.
pub struct Asking<'a> {
    pub whose: Whose,
    pub tariff: &'a Tariff,
    /// The server's key, where it is not fixed with the server.
    pub key: Option<&'a Secret>,
    /// What may be spent, in micro-dollars: a try is made only where its worst case fits.
    pub left_micros: u64,
    /// Whether another model is asked if this one does not answer.
    pub has_another: bool,
    pub deltas: Deltas<'a>,
    pub so_far: &'a SoFar,
}

impl Model {
    /// Asks the model. Where the reply is to fit a schema it is looked at, and asked for once more where it does not; its text is then
    /// shown as a whole, when it is right.
    ///
    /// # Errors
    /// Why there is no reply, and what was used all the same.
    pub async fn ask(&self, request: &ChatRequest, asking: Asking<'_>) -> Result<Answer, Failed> {
        let deadline = Instant::now() + Duration::from_millis(self.server.limits.call_ms);
        let Some(schema) = Schema::of(request)? else {
            return self.tries(request, asking, Usage::default(), deadline).await;
        };
        let Asking {
            whose,
            tariff,
            key,
            left_micros,
            has_another,
            deltas,
            so_far,
        } = asking;
        let (mut silent, mut still) = (|_: &str| {}, |_: &str| {});
        let asked = |deltas| Asking {
            whose,
            tariff,
            key,
            left_micros,
            has_another,
            deltas,
            so_far,
        };
        let mut first = self.tries(request, asked(&mut silent), Usage::default(), deadline).await?;
        let misfit = match schema.check(&mut first.reply) {
            Ok(()) => {
                deltas(&first.reply.content);
                return Ok(first);
            }
            Err(misfit) => misfit,
        };
        let Wrong::Misfit { path, what } = &misfit else {
            return Err(used(misfit.failure(1), &first));
        };
        tracing::debug!(model = self.provider_model, path, what, "asking for a reply that fits");
        let again = repair(request, &first.reply, path, what);
        if !self.fits(&again, tariff, first.reply.usage, left_micros) {
            return Err(used(misfit.failure(1), &first));
        }
        let mut second = self.tries(&again, asked(&mut still), first.reply.usage, deadline).await?;
        second.estimated |= first.estimated;
        match schema.check(&mut second.reply) {
            Ok(()) => {
                deltas(&second.reply.content);
                Ok(second)
            }
            Err(misfit) => Err(used(misfit.failure(2), &second)),
        }
    }

    /// Whether another try has room within what may be spent.
    fn fits(&self, request: &ChatRequest, tariff: &Tariff, spent: Usage, left_micros: u64) -> bool {
        let worst = tariff.worst_case_micros(self.worst_case(request));
        tariff.cost_micros(spent).saturating_add(worst) <= left_micros
    }

    /// Tries until there is a reply. Usage of tries that broke off after the server began to work is added to it.
    async fn tries(&self, request: &ChatRequest, mut asking: Asking<'_>, mut spent: Usage, deadline: Instant) -> Result<Answer, Failed> {
        let mut tried = 0;
        let mut guessed = false;
        loop {
            if !self.fits(request, asking.tariff, spent, asking.left_micros) {
                let text = format!(
                    "asking {} can cost more than was reserved for the call; nothing was sent",
                    self.provider_model
                );
                return Err(Failed {
                    usage: spent,
                    estimated: guessed,
                    ..Failed::from(Failure::new(FailureCode::LimitExceeded, text))
                });
            }
            tried += 1;
            let mut failed = match self.once(request, &mut asking, deadline).await {
                Ok(mut answer) => {
                    answer.estimated |= guessed;
                    answer.reply.usage = answer.reply.usage.plus(spent);
                    asking.so_far.end(answer.reply.usage);
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            spent = spent.plus(failed.usage);
            guessed |= failed.estimated;
            asking.so_far.end(spent);
            (failed.usage, failed.estimated) = (spent, guessed);
            if failed.at_once && tried == 1 {
                continue;
            }
            let pause = failed.after.unwrap_or_else(|| backoff(tried));
            let is_too_long = Instant::now() + pause >= deadline || asking.has_another && pause > PAUSE_BEFORE_ANOTHER_MAX;
            let is_over = !failed.again || tried >= TRIES_MAX || is_too_long;
            if is_over || !self.fits(request, asking.tariff, spent, asking.left_micros) {
                return Err(failed);
            }
            tracing::debug!(provider = self.provider_name(), tried, pause_ms = pause.as_millis(), failure = %failed, "asking the model again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn once(&self, request: &ChatRequest, asking: &mut Asking<'_>, deadline: Instant) -> Result<Answer, Failed> {
        let tokens = self.worst_case(request).total();
        let _turn = self.server.line.enter(asking.whose, tokens, deadline).await?;
        let options = ChatOptions {
            model: &self.provider_model,
            max_output_tokens: self.output_cap(request),
            key: asking.key,
            deadline,
            deltas: &mut *asking.deltas,
            so_far: asking.so_far,
        };
        self.server.provider.chat(request, options).await
    }
}

/// A failure of a call that was answered, wrongly.
fn used(failure: Failure, answer: &Answer) -> Failed {
    Failed {
        usage: answer.reply.usage,
        estimated: answer.estimated,
        ..Failed::from(failure)
    }
}

/// Full jitter: anything up to the doubled base, so that many callers do not come back at once.
fn backoff(tried: u32) -> Duration {
    let most = BACKOFF_BASE.saturating_mul(1 << (tried - 1).min(16)).min(BACKOFF_CAP);
    let chance = crypto::random::<4>().map_or(u32::MAX, u32::from_le_bytes);
    most.mul_f64(f64::from(chance) / f64::from(u32::MAX))
}
