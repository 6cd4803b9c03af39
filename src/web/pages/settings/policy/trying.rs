//! “Try it”: what would be decided about something that an agent might do.

use serde::Deserialize;

use super::editor::micros;
use crate::domain::permission::Actor;
use crate::domain::policy::{Decision, Rules, of_approvers};
use crate::services::policy::{self, Action, Of};
use crate::services::{Error, FieldError};
use crate::web::extract::form::Form;
use crate::web::problem::Problem;
use crate::web::state::State;

/// What was asked.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct Try {
    pub what: String,
    pub method: String,
    pub url: String,
    pub name: String,
    pub bytes: String,
    pub cost: String,
    pub run_cost: String,
}

/// With what came of it.
#[derive(Default)]
pub struct Tried {
    pub asked: Try,
    pub answer: Option<Answer>,
    pub error: Option<String>,
}

pub struct Answer {
    /// `allow`, `ask` or `deny`.
    pub effect: &'static str,
    pub words: String,
    pub rule: String,
}

impl Try {
    pub fn read(form: &Form) -> Self {
        let text = |name: &str| form.text(name).to_owned();
        Self {
            what: text("what"),
            method: text("method"),
            url: text("url"),
            name: text("name"),
            bytes: text("bytes"),
            cost: text("cost"),
            run_cost: text("run_cost"),
        }
    }

    fn action(&self) -> Result<Action, Error> {
        let amount = |text: &str, pointer: &str| {
            if text.is_empty() {
                Ok(0)
            } else {
                micros(text).ok_or_else(|| Error::field(pointer, "write an amount in dollars, such as 0.50"))
            }
        };
        Ok(Action {
            kind: self.what.clone(),
            name: self.name.clone(),
            url: self.url.clone(),
            method: self.method.clone(),
            bytes: if self.bytes.is_empty() {
                0
            } else {
                let wrong = || Error::field("/bytes", "write a number of bytes");
                self.bytes.parse().map_err(|_| wrong())?
            },
            call_micros: amount(&self.cost, "/cost")?,
            run_micros: amount(&self.run_cost, "/run_cost")?,
            secrets: Vec::new(),
        })
    }

    /// Asks, where anything is asked.
    pub async fn ask(self, state: &State, actor: &Actor, of: Of, draft: Option<Rules>) -> Result<Tried, Problem> {
        if self.what.is_empty() {
            return Ok(Tried::default());
        }
        let checked = match self.action() {
            Ok(action) => policy::check(&state.app, actor, of, draft, &action).await,
            Err(error) => Err(error),
        };
        match checked {
            Ok((decision, _)) => Ok(Tried {
                answer: Some(answer(&decision)),
                asked: self,
                error: None,
            }),
            Err(Error::Invalid(wrong)) => Ok(Tried {
                error: Some(
                    wrong
                        .into_iter()
                        .map(|FieldError { message, .. }| message)
                        .collect::<Vec<_>>()
                        .join("; "),
                ),
                asked: self,
                answer: None,
            }),
            Err(error) => Err(error.into()),
        }
    }
}

fn answer(decision: &Decision) -> Answer {
    let rule = decision.rule().to_string();
    let words = match decision {
        Decision::Allow(_) => "It would go ahead.".to_owned(),
        Decision::Ask(_, approvers) => format!("It would wait for {}.", of_approvers(*approvers)),
        Decision::Deny(_, why) => format!("It would be refused: {why}."),
    };
    Answer {
        effect: decision.effect().as_str(),
        words,
        rule,
    }
}
