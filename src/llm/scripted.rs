//! A provider that needs no network: answers come from a file of rules, or are made from the question itself.
//! Deterministic but for the pace at which it streams.

mod fallback;
mod rules;

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use self::rules::{Reply, Rule};
use super::{Answer, ChatOptions, Deltas, Failed, Provider, Unlisted, tokens};
use crate::config::secret::Secret;
use crate::domain::chat::{ChatReply, ChatRequest, ChatRole, FinishReason};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::money::Usage;

/// The rules, tried in order.
#[derive(Debug, Default)]
pub struct Scripted {
    rules: Vec<Rule>,
}

/// What is wrong with a file of rules.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {message}")]
pub struct RulesError {
    pub line: usize,
    pub message: String,
}

impl Scripted {
    /// Reads and checks a file of rules.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        rules::parse(text).map(|rules| Self { rules })
    }

    async fn answer(&self, request: &ChatRequest, options: ChatOptions<'_>) -> Result<Answer, Failed> {
        let deadline = options.deadline;
        options.so_far.set(tokens::estimate_sent(request));
        let matched = self
            .rules
            .iter()
            .find_map(|rule| rule.captures(request, options.model).map(|captures| (rule, captures)));
        if let Some(failure) = matched.as_ref().and_then(|(rule, _)| rule.next_failure()) {
            return Err(failure.into());
        }
        let turn = request.messages.len();
        let made = match &matched {
            Some((rule, captures)) => rule
                .reply(captures, turn)
                .map_err(|why| Failure::new(FailureCode::ProviderError, why))?,
            None => Reply {
                content: fallback::content(request).map_err(|why| Failure::new(FailureCode::Unsupported, why))?,
                tool_calls: vec![],
            },
        };
        let (content, finish) = cut(made.content, request, options.max_output_tokens);
        let mut reply = ChatReply {
            model: options.model.to_owned(),
            content,
            finish: if made.tool_calls.is_empty() {
                finish
            } else {
                FinishReason::ToolCalls
            },
            tool_calls: made.tool_calls,
            usage: Usage::default(),
            cost_micros: 0,
        };
        reply.usage = tokens::estimate_usage(request, &reply);
        let pace = matched.and_then(|(rule, _)| rule.pause());
        let said = |bytes| {
            options.so_far.set(Usage {
                output_tokens: tokens::estimate(bytes),
                ..reply.usage
            });
        };
        match speak(&reply.content, pace, deadline, options.deltas, said).await {
            Ok(()) => Ok(Answer { reply, estimated: false }),
            Err(spoken) => Err(Failed {
                failure: Failure::retryable(FailureCode::Timeout, "the scripted reply took too long"),
                usage: Usage {
                    output_tokens: tokens::estimate(spoken),
                    ..reply.usage
                },
                estimated: true,
                begun: spoken > 0,
                again: false,
                at_once: false,
                after: None,
            }),
        }
    }
}

impl Provider for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest, options: ChatOptions<'a>) -> BoxFuture<'a, Result<Answer, Failed>> {
        self.answer(request, options).boxed()
    }

    fn models<'a>(&'a self, _: Option<&'a Secret>, _: Duration) -> BoxFuture<'a, Result<Vec<String>, Unlisted>> {
        std::future::ready(Ok(vec!["scripted".to_owned()])).boxed()
    }
}

/// Ends the text at the first stop text or at the cap, as a provider would.
fn cut(mut content: String, request: &ChatRequest, max_output_tokens: u32) -> (String, FinishReason) {
    let stop = request
        .stop
        .iter()
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| content.find(stop.as_str()))
        .min();
    if let Some(end) = stop {
        content.truncate(end);
    }
    let most = usize::try_from(max_output_tokens).unwrap_or(usize::MAX).saturating_mul(4);
    if content.len() <= most {
        return (content, FinishReason::Stop);
    }
    content.truncate(content.floor_char_boundary(most));
    (content, FinishReason::Length)
}

/// Hands on the text word by word, or how many bytes were said at the deadline.
async fn speak(content: &str, pause: Option<Duration>, deadline: Instant, deltas: Deltas<'_>, spoken: impl Fn(usize)) -> Result<(), usize> {
    let mut said = 0;
    let mut at = Instant::now();
    for word in content.split_inclusive(char::is_whitespace) {
        if let Some(pause) = pause {
            at += pause;
            if at > deadline {
                tokio::time::sleep_until(deadline).await;
                return Err(said);
            }
            tokio::time::sleep_until(at).await;
        }
        deltas(word);
        said += word.len();
        spoken(said);
    }
    Ok(())
}

/// The last message of a person; empty where there is none.
fn last_user(request: &ChatRequest) -> &str {
    let mut messages = request.messages.iter().rev();
    messages
        .find(|message| message.role == ChatRole::User)
        .map_or("", |message| &message.content)
}

#[cfg(test)]
mod tests;
