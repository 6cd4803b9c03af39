//! Follows a run to its end, and gives it what it waits for: decisions, and the messages of a session.
//!
//! Replies are data and go to stdout; the timeline and the questions go to stderr. Of stdin, a line is read only when the run waits for one.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use super::super::args::{Output, Run as Args};
use super::super::station::Station;
use super::super::timeline::{Painter, printable};
use super::super::{colours, data, say};
use super::lines::Lines;
use crate::domain::id::RunId;
use crate::domain::journal::EntryView;
use crate::domain::origin::Origin;
use crate::domain::run::RunState;
use crate::domain::wait::{ApprovalState, Verb};
use crate::services::approvals::{self, Decide};
use crate::services::sessions::{self, Listening};
use crate::services::{self, runs};
use crate::store::approvals::Approval;

const PAGE: u32 = 500;
/// What a child asks is not announced to those who follow its parent.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Who decides what the run asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Decider {
    /// A flag, always the same.
    Always(Verb),
    /// Who sits at the terminal.
    Terminal,
    Nobody,
}

/// Someone who watches a run and answers it.
pub struct Attendant<'a> {
    station: &'a Station,
    id: RunId,
    decider: Decider,
    /// Whether replies go to stdout.
    speaks: bool,
    lines: Option<Lines>,
    /// What the next line answers; without it, the line is a message.
    asked: Option<Approval>,
    /// Whether the line that is wanted was wanted as an answer.
    answering: bool,
    invited: bool,
    /// Nobody can decide, so the run was told to stop.
    given_up: bool,
}

impl<'a> Attendant<'a> {
    pub fn new(station: &'a Station, args: &Args, id: RunId) -> Self {
        let stdin_is_input = args.input_file.as_deref() == Some(Path::new("-"));
        let decider = if args.approve_all {
            Decider::Always(Verb::Approve)
        } else if args.deny_all {
            Decider::Always(Verb::Deny)
        } else if std::io::stdin().is_terminal() && !stdin_is_input {
            Decider::Terminal
        } else {
            Decider::Nobody
        };
        Self {
            station,
            id,
            decider,
            speaks: args.output == Output::Text,
            lines: None,
            asked: None,
            answering: false,
            invited: false,
            given_up: false,
        }
    }

    /// Until the run has ended, or waits for a message that stdin will not bring.
    pub async fn follow(mut self) -> anyhow::Result<()> {
        let (app, actor) = (&self.station.app, &self.station.actor);
        let mut subscription = app.feed.subscribe(self.id);
        let mut painter = Painter::new(colours());
        let mut after = 0;
        loop {
            let state = runs::get(app, actor, self.id).await?.state;
            self.show(&mut painter, &mut after).await?;
            if state.is_terminal() {
                return Ok(());
            }
            if !self.decide().await? && state == RunState::Waiting && self.listen().await? {
                return Ok(());
            }
            let line = async {
                match &mut self.lines {
                    Some(lines) if lines.wanted() => lines.next().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = subscription.changed() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                line = line => self.take(line).await?,
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted?;
                    say("stopping the run; press Ctrl-C again to give up at once");
                    runs::cancel(app, actor, self.id, Origin::default()).await?;
                }
            }
        }
    }

    /// Writes what is new on the timeline.
    async fn show(&self, painter: &mut Painter, after: &mut u64) -> anyhow::Result<()> {
        let (app, actor) = (&self.station.app, &self.station.actor);
        loop {
            let page = runs::events(app, actor, self.id, *after, PAGE).await?;
            for entry in &page {
                // Where stderr is gone, the run still goes on.
                _ = painter.entry(&mut std::io::stderr().lock(), entry);
                if self.speaks && entry.kind == "inbox.reply" && entry.request_bytes > 0 {
                    self.speak(entry).await?;
                }
                *after = entry.seq;
            }
            if page.len() < PAGE as usize {
                return Ok(());
            }
        }
    }

    async fn speak(&self, entry: &EntryView) -> anyhow::Result<()> {
        let whole = runs::event(&self.station.app, &self.station.actor, self.id, entry.seq).await?;
        let request: serde_json::Value = whole
            .request
            .map_or(Ok(serde_json::Value::Null), |text| serde_json::from_str(text.get()))?;
        if let Some(text) = request.get("text").and_then(serde_json::Value::as_str) {
            data(text)?;
        }
        Ok(())
    }

    /// Answers what is asked, or asks the terminal. Returns whether a question waits for its line.
    async fn decide(&mut self) -> anyhow::Result<bool> {
        if self.given_up {
            return Ok(false);
        }
        let (app, actor) = (&self.station.app, &self.station.actor);
        // The oldest first: the list begins with the newest.
        let Some(approval) = approvals::list(app, actor, ApprovalState::Pending, None, PAGE).await?.pop() else {
            self.asked = None;
            return Ok(false);
        };
        match self.decider {
            Decider::Always(verb) if approval.verbs.contains(&verb) => {
                let flag = if verb == Verb::Approve { "--approve-all" } else { "--deny-all" };
                say(&question(&approval));
                if !self.answer(&approval, verb, None, format!("by {flag}")).await? {
                    self.give_up().await?;
                }
                Ok(false)
            }
            Decider::Terminal => {
                if self.asked.as_ref().is_none_or(|asked| asked.id != approval.id) {
                    say(&question(&approval));
                    say(&choices(&approval));
                    self.asked = Some(approval);
                }
                self.answering = true;
                self.lines.get_or_insert_with(Lines::new).want();
                Ok(true)
            }
            Decider::Always(_) | Decider::Nobody => {
                say(&question(&approval));
                self.give_up().await?;
                Ok(false)
            }
        }
    }

    async fn give_up(&mut self) -> anyhow::Result<()> {
        say("nobody can decide here, so the run is stopped; run it in a terminal, or with --approve-all or --deny-all");
        self.given_up = true;
        runs::cancel(&self.station.app, &self.station.actor, self.id, Origin::default()).await?;
        Ok(())
    }

    /// Decides. Returns whether that is done with.
    async fn answer(&self, approval: &Approval, verb: Verb, arguments: Option<serde_json::Value>, reason: String) -> anyhow::Result<bool> {
        let decide = Decide { verb, arguments, reason };
        match approvals::decide(&self.station.app, &self.station.actor, approval.id, decide, Origin::default()).await {
            // Time decided first.
            Ok(_) | Err(services::Error::Conflict(_)) => Ok(true),
            Err(services::Error::Invalid(fields)) => {
                for field in fields {
                    say(&field.message);
                }
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks for a line where the run waits for a message. Returns whether none will come, and nothing else lets the run go on.
    async fn listen(&mut self) -> anyhow::Result<bool> {
        let listening = sessions::listening(&self.station.app, &self.station.actor, self.id).await?;
        if listening == Listening::No {
            return Ok(false);
        }
        let lines = self.lines.get_or_insert_with(Lines::new);
        if lines.ended() {
            if listening == Listening::Only {
                say("the run waits for a message, and there are no more");
            }
            return Ok(listening == Listening::Only);
        }
        if !lines.wanted() {
            self.answering = false;
            lines.want();
        }
        if !self.invited && std::io::stdin().is_terminal() {
            self.invited = true;
            say("the run waits for a message: write a line and press Enter; Ctrl-D ends the conversation");
        }
        Ok(false)
    }

    /// A line, or the end of stdin.
    async fn take(&mut self, line: Option<String>) -> anyhow::Result<()> {
        match (self.asked.take(), line) {
            (Some(_), None) => self.give_up().await,
            (Some(approval), Some(line)) => match read_answer(&line) {
                // Where it was refused, it is still pending and is asked again.
                Ok((verb, arguments, reason)) => self.answer(&approval, verb, arguments, reason).await.map(drop),
                Err(why) => {
                    say(&why);
                    self.asked = Some(approval);
                    Ok(())
                }
            },
            (None, None) => Ok(()),
            (None, Some(_)) if self.answering => {
                say("that is no longer asked");
                Ok(())
            }
            (None, Some(line)) if line.trim().is_empty() => Ok(()),
            (None, Some(line)) => match sessions::post(&self.station.app, &self.station.actor, self.id, line).await {
                // The run ended meanwhile.
                Ok(_) | Err(services::Error::Conflict(_)) => Ok(()),
                Err(services::Error::Invalid(fields)) => {
                    for field in fields {
                        say(&field.message);
                    }
                    Ok(())
                }
                Err(error) => Err(error.into()),
            },
        }
    }
}

/// What is asked, for people.
fn question(approval: &Approval) -> String {
    let arguments = serde_json::from_str::<serde_json::Value>(&approval.arguments)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| approval.arguments.clone());
    let why = if approval.reason.is_empty() {
        &approval.rule
    } else {
        &approval.reason
    };
    let lines = format!("{} asks: {}\n{why}\n{arguments}", approval.agent_name, approval.action);
    // What an agent wrote must not move the cursor.
    lines
        .lines()
        .map(|line| format!("  │ {}", printable(line)))
        .collect::<Vec<_>>()
        .join("\n")
}

fn choices(approval: &Approval) -> String {
    let words = approval.verbs.iter().map(|verb| match verb {
        Verb::Approve => "a = approve",
        Verb::Edit => "e JSON = approve with these arguments",
        _ => "d = deny",
    });
    format!("{}; after a or d, the reason may follow", words.collect::<Vec<_>>().join(", "))
}

/// A line as an answer: the verb, edited arguments, the reason.
fn read_answer(line: &str) -> Result<(Verb, Option<serde_json::Value>, String), String> {
    let (word, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
    let rest = rest.trim();
    match word.to_lowercase().as_str() {
        "a" | "approve" | "y" | "yes" => Ok((Verb::Approve, None, rest.to_owned())),
        "d" | "deny" | "n" | "no" => Ok((Verb::Deny, None, rest.to_owned())),
        "e" | "edit" => match serde_json::from_str(rest) {
            Ok(arguments) => Ok((Verb::Edit, Some(arguments), String::new())),
            Err(error) => Err(format!("after e, give the edited arguments as JSON on the same line: {error}")),
        },
        _ => Err("answer with a, d or e".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_verb_and_what_belongs_to_it() {
        assert_eq!(read_answer(" a "), Ok((Verb::Approve, None, String::new())));
        assert_eq!(read_answer("Deny  too dear"), Ok((Verb::Deny, None, "too dear".to_owned())));
        assert_eq!(
            read_answer("e {\"lamps\": 2}"),
            Ok((Verb::Edit, Some(serde_json::json!({ "lamps": 2 })), String::new()))
        );
        assert!(read_answer("e two").is_err());
        assert!(read_answer("maybe").is_err());
        assert!(read_answer("").is_err());
    }
}
