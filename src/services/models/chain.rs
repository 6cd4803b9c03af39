//! Asking the models behind a name, one after the other, until one answers: never for more than was reserved.

use std::sync::{Arc, Mutex, PoisonError};

use super::super::app::{App, Callee};
use super::super::{Error, secrets};
use crate::config::secret::Secret;
use crate::domain::chat::{ChatReply, ChatRequest, Show};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::SecretId;
use crate::domain::money::{Charge, Charged, Usage};
use crate::domain::price::Tariff;
use crate::llm::{Asking, Deltas, Model, SoFar, Whose};
use crate::net::breaker::Admitted;

/// One model of a chain, with its price.
#[derive(Clone)]
pub(super) struct Linked {
    model: Model,
    tariff: Tariff,
    /// Of its provider.
    key: Option<SecretId>,
    /// Whom the breaker knows it as.
    breaker: String,
}

impl Linked {
    pub fn new(model: Model, tariff: Tariff, key: Option<SecretId>, breaker: String) -> Self {
        Self {
            model,
            tariff,
            key,
            breaker,
        }
    }

    fn charge(&self, usage: Usage, estimated: bool) -> Charge {
        Charge {
            provider: self.model.provider().to_owned(),
            provider_name: self.model.provider_name().to_owned(),
            model: self.model.provider_model.clone(),
            usage,
            cost_micros: self.tariff.cost_micros(usage),
            estimated,
        }
    }

    fn words(&self) -> String {
        format!("{} of {}", self.model.provider_model, self.model.provider_name())
    }
}

/// The models behind a name; at least one.
#[derive(Clone)]
pub struct Chain {
    name: String,
    links: Vec<Linked>,
}

/// What came of asking.
#[derive(Debug)]
pub struct Outcome {
    pub result: Result<ChatReply, Failure>,
    pub charged: Charged,
}

/// What is known of a call that is under way, for when it is given up.
#[derive(Default)]
pub struct Progress(Mutex<Option<UnderWay>>);

struct UnderWay {
    link: Linked,
    /// By links before this one.
    before: Vec<Charge>,
    so_far: Arc<SoFar>,
}

impl Progress {
    fn begin(&self, link: &Linked, before: &[Charge], so_far: &Arc<SoFar>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(UnderWay {
            link: link.clone(),
            before: before.to_vec(),
            so_far: Arc::clone(so_far),
        });
    }

    /// What the call has used, guessed from what went by; `None` where it did not begin.
    pub fn charges(&self) -> Option<Vec<Charge>> {
        let under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = under_way.as_ref()?;
        let (mut charges, usage) = (under_way.before.clone(), under_way.so_far.usage());
        if charges.is_empty() || usage != Usage::default() {
            charges.push(under_way.link.charge(usage, true));
        }
        Some(charges)
    }
}

/// Leave of the breaker. Given up before anything was sent, it says nothing of the other side.
struct Leave<'a> {
    admitted: Option<Admitted<'a, Callee>>,
    so_far: Arc<SoFar>,
}

impl Leave<'_> {
    fn told(mut self, failure: Option<&Failure>) {
        let Some(admitted) = self.admitted.take() else { return };
        match failure {
            None => admitted.ended(false),
            Some(failure) if is_trouble(failure) => admitted.ended(true),
            Some(_) => admitted.unsent(),
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if let Some(admitted) = self.admitted.take()
            && !self.so_far.was_sent()
        {
            admitted.unsent();
        }
    }
}

/// Whether the other side did not do its part.
fn is_trouble(failure: &Failure) -> bool {
    failure.retryable
        && matches!(
            failure.code,
            FailureCode::Unavailable | FailureCode::Timeout | FailureCode::ProviderError
        )
}

impl Chain {
    /// `links` holds at least one.
    pub(super) fn of(name: &str, links: Vec<Linked>) -> Self {
        Self {
            name: name.to_owned(),
            links,
        }
    }

    /// The model that is asked first.
    pub fn first(&self) -> Option<&Model> {
        self.links.first().map(|link| &link.model)
    }

    /// More than the call can cost, in micro-dollars, whichever model answers: what is reserved before it is sent.
    pub fn worst_case_micros(&self, request: &ChatRequest) -> u64 {
        let each = self.links.iter().map(|link| link.model.worst_case_micros(&link.tariff, request));
        each.max().unwrap_or_default()
    }

    /// Asks one model after the other until one answers. Whoever is to blame, what was used is in the outcome.
    ///
    /// A model is asked only where what was spent and its worst case fit into `reserved_micros`, and none after a part of a reply was shown.
    pub async fn chat(
        &self,
        app: &App,
        whose: Whose,
        request: &ChatRequest,
        deltas: Deltas<'_>,
        reserved_micros: u64,
        progress: &Progress,
    ) -> Outcome {
        let mut charges = Vec::new();
        let mut failures = Vec::new();
        for (at, link) in self.links.iter().enumerate() {
            let so_far = Arc::new(SoFar::default());
            let admitted = match app.breakers.admit(Callee::Provider(link.breaker.clone())) {
                Ok(admitted) => admitted,
                Err(wait) => {
                    failures.push((link, resting(link, wait)));
                    continue;
                }
            };
            let leave = Leave {
                admitted: Some(admitted),
                so_far: Arc::clone(&so_far),
            };
            let key = match key_of(app, link).await {
                Ok(key) => key,
                Err(failure) => {
                    failures.push((link, failure));
                    continue;
                }
            };
            let mut shown = false;
            let mut say = |text: &str| {
                shown |= request.show != Show::None;
                deltas(text);
            };
            progress.begin(link, &charges, &so_far);
            let asking = Asking {
                whose,
                tariff: &link.tariff,
                key: key.as_ref(),
                left_micros: reserved_micros.saturating_sub(Charge::sum(&charges).cost_micros),
                has_another: at + 1 < self.links.len(),
                deltas: &mut say,
                so_far: &so_far,
            };
            match link.model.ask(request, asking).await {
                Ok(answer) => {
                    leave.told(None);
                    let mut reply = answer.reply;
                    charges.push(link.charge(reply.usage, answer.estimated));
                    Charge::guess_within(&mut charges, reserved_micros);
                    let sum = Charge::sum(&charges);
                    reply.usage = sum.usage;
                    reply.cost_micros = sum.cost_micros;
                    return Outcome {
                        result: Ok(reply),
                        charged: Charged::Known(charges),
                    };
                }
                Err(failed) => {
                    leave.told(Some(&failed.failure));
                    if failed.usage != Usage::default() {
                        charges.push(link.charge(failed.usage, failed.estimated));
                    }
                    tracing::info!(model = link.model.provider_model, provider = link.model.provider_name(), failure = %failed, "a model did not answer");
                    failures.push((link, failed.failure));
                    if shown {
                        break;
                    }
                }
            }
        }
        Outcome {
            result: Err(self.together(&failures, !charges.is_empty())),
            charged: if charges.is_empty() {
                Charged::Nothing
            } else {
                Charged::Known(charges)
            },
        }
    }

    /// One failure for all: as hopeful as the most hopeful of them.
    fn together(&self, failures: &[(&Linked, Failure)], has_cost: bool) -> Failure {
        let hopeful = failures.iter().rev().find(|(_, failure)| failure.retryable);
        let Some(told) = hopeful.or(failures.last()).map(|(_, failure)| failure.clone()) else {
            return Failure::new(FailureCode::Unsupported, format!("there is no model behind “{}”", self.name));
        };
        if failures.len() == 1 {
            return told;
        }
        let soonest = failures.iter().filter_map(|(_, failure)| failure.retry_after_ms).min();
        let each: Vec<String> = failures
            .iter()
            .map(|(link, failure)| format!("{}: {}", link.words(), failure.message))
            .collect();
        let text = format!("no model of “{}” answered; {}", self.name, each.join("; "));
        Failure {
            retryable: told.retryable,
            // Where it is set, nothing was done.
            retry_after_ms: told.retry_after_ms.and(soonest).filter(|_| !has_cost),
            ..Failure::new(told.code, text)
        }
    }
}

/// The failure of a call that is not made because so many before it failed.
fn resting(link: &Linked, wait: std::time::Duration) -> Failure {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let text = format!(
        "too many calls to {} have failed; the station makes none for another {seconds} s",
        link.model.provider_name()
    );
    Failure::refused_for(FailureCode::Unavailable, wait, text)
}

/// The key of a link's provider, opened for this call.
async fn key_of(app: &App, link: &Linked) -> Result<Option<Secret>, Failure> {
    let Some(id) = link.key else { return Ok(None) };
    match secrets::open(app, id).await {
        Ok(key) => Ok(Some(key)),
        Err(error) => {
            let text = format!("the key of {} cannot be had: {error}", link.model.provider_name());
            Err(match error {
                Error::Busy(_) => Failure::retryable(FailureCode::Unavailable, text),
                _ => Failure::new(FailureCode::ProviderError, text),
            })
        }
    }
}
