//! A run's journal as lines on a terminal: time, a mark, a sentence.

use std::fmt::Write as _;

use std::io::{self, Write};

use serde_json::Value;

use crate::domain::journal::{EntryView, Phase, kind};
use crate::telemetry::text as safe;

/// Marks and colours only where there is a terminal to show them.
pub struct Painter {
    colour: bool,
    depth: usize,
    started_at: Option<i64>,
    /// Whether the run has been shown to begin; it starts again after each wait.
    begun: bool,
}

const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

impl Painter {
    pub const fn new(colour: bool) -> Self {
        Self {
            colour,
            depth: 0,
            started_at: None,
            begun: false,
        }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour && !colour.is_empty() {
            format!("{colour}{text}{RESET}")
        } else {
            text.to_owned()
        }
    }

    /// Writes one entry, or nothing where it says nothing to a reader.
    pub fn entry(&mut self, out: &mut dyn Write, entry: &EntryView) -> io::Result<()> {
        let meta: Value = serde_json::from_str(entry.meta.get()).unwrap_or_default();
        let start = *self.started_at.get_or_insert(entry.at);
        if entry.kind == "step" && entry.phase == Phase::End {
            self.depth = self.depth.saturating_sub(1);
        }
        let again = entry.kind == kind::RUN_STARTED && std::mem::replace(&mut self.begun, true);
        if let Some((mark, colour, text)) = sentence(entry, &meta).filter(|_| !again) {
            let offset = self.paint(DIM, &format!("{:>9}", seconds(entry.at - start)));
            let indent = "  ".repeat(self.depth);
            writeln!(out, "{offset}  {indent}{} {}", self.paint(colour, mark), printable(&text))?;
        }
        if entry.kind == "step" && entry.phase == Phase::Start {
            self.depth += 1;
        }
        Ok(())
    }
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

/// One line of what an agent says: it must not move the cursor, colour the screen or turn the text around.
pub fn printable(text: &str) -> String {
    safe::one_line(&text.replace('\t', "    ")).into_owned()
}

fn text<'a>(meta: &'a Value, key: &str) -> &'a str {
    meta.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(meta: &Value, key: &str) -> u64 {
    meta.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// Micro-dollars as dollars.
pub fn dollars(micros: u64) -> String {
    format!("${}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn sentence(entry: &EntryView, meta: &Value) -> Option<(&'static str, &'static str, String)> {
    if let Some(code) = meta.get("code").and_then(Value::as_str) {
        let what = if entry.kind == "http.send" {
            "request"
        } else if entry.kind == "tools.call" && !text(meta, "tool").is_empty() {
            text(meta, "tool")
        } else {
            entry.kind.as_str()
        };
        return Some(("✗", RED, format!("{what} failed: {code}: {}", text(meta, "message"))));
    }
    if entry.phase == Phase::Start && text(meta, "waits") == "approval" {
        return Some(("?", YELLOW, format!("asks a person about {}", text(meta, "action"))));
    }
    Some(match (entry.kind.as_str(), entry.phase) {
        (kind::RUN_CREATED, _) => ("·", DIM, format!("{} {} queued", text(meta, "agent"), text(meta, "version"))),
        (kind::RUN_STARTED, _) => ("▶", "", "started".to_owned()),
        (kind::RUN_RECOVERED, _) => ("↻", YELLOW, "left behind by a crash; goes on from its journal".to_owned()),
        (kind::RUN_FORKED, _) => ("⑂", "", format!("forked from {}", text(meta, "from"))),
        (kind::RUN_VERIFIED, _) => ("=", DIM, format!("verified: {}", text(meta, "result"))),
        (kind::RUN_CANCEL_REQUESTED, _) => ("■", YELLOW, "asked to stop".to_owned()),
        (kind::RUN_FINISHED, _) if text(meta, "state") == "succeeded" => ("✓", GREEN, "succeeded".to_owned()),
        (kind::RUN_FINISHED, _) => (
            "✗",
            RED,
            format!("{}: {}: {}", text(meta, "state"), text(meta, "reason"), text(meta, "message")),
        ),
        (kind::SEGMENT_STARTED, _) if number(meta, "segment") > 0 => ("▷", DIM, format!("segment {}", number(meta, "segment"))),
        ("log", _) => {
            let (mark, colour) = match text(meta, "level") {
                "error" => ("!", RED),
                "warn" => ("!", YELLOW),
                "debug" => ("·", DIM),
                _ => ("·", ""),
            };
            (mark, colour, text(meta, "message").to_owned())
        }
        ("step", Phase::Start) => ("▾", "", text(meta, "name").to_owned()),
        ("step", Phase::End) if meta.get("failed").and_then(Value::as_bool) == Some(true) => ("✗", RED, "step failed".to_owned()),
        ("progress", _) => ("…", DIM, progress(meta)),
        ("emit", _) => ("◆", "", text(meta, "kind").to_owned()),
        ("models.chat", Phase::Start) => ("◌", DIM, format!("asks {}", text(meta, "model"))),
        ("models.chat", _) => (
            "●",
            "",
            format!(
                "{} answered · {} in, {} out · {}",
                text(meta, "model"),
                number(meta, "input_tokens") + number(meta, "cache_read_tokens") + number(meta, "cache_write_tokens"),
                number(meta, "output_tokens"),
                dollars(number(meta, "cost_micros"))
            ),
        ),
        ("http.send", Phase::Start) => ("◌", DIM, format!("{} {}", text(meta, "method"), text(meta, "url"))),
        ("http.send", _) => (
            "●",
            "",
            format!("answered {} · {} bytes", number(meta, "status"), number(meta, "bytes")),
        ),
        ("tools.describe", _) => ("●", DIM, "looked up its tools".to_owned()),
        ("tools.call", Phase::Start) => ("◌", DIM, tool(meta)),
        ("tools.call", _) => ("●", "", tool(meta)),
        ("memory.get", _) if meta.get("found").and_then(Value::as_bool) == Some(false) => {
            ("○", DIM, format!("remembers nothing as “{}”", text(meta, "key")))
        }
        ("memory.get", _) => ("●", "", format!("remembered “{}”", text(meta, "key"))),
        ("memory.put", _) => (
            "●",
            "",
            format!("will remember “{}” · {} bytes", text(meta, "key"), number(meta, "bytes")),
        ),
        ("memory.delete", _) => ("●", "", format!("forgot “{}”", text(meta, "key"))),
        ("artifacts.put", _) => (
            "●",
            "",
            format!(
                "wrote {} · {} · {} bytes",
                text(meta, "name"),
                text(meta, "content_type"),
                number(meta, "bytes")
            ),
        ),
        (kind, phase) => return waiting(kind, phase, meta),
    })
}

/// A tool, what it is used on, and what stands out of its answer: “http_request GET https://… · 200”.
fn tool(meta: &Value) -> String {
    let mut line = text(meta, "tool").to_owned();
    for part in ["method", "url", "key"] {
        let part = text(meta, part);
        if !part.is_empty() {
            line.push(' ');
            line.push_str(part);
        }
    }
    if number(meta, "status") > 0 {
        _ = write!(line, " · {}", number(meta, "status"));
    }
    if !text(meta, "value").is_empty() {
        _ = write!(line, " = {}", text(meta, "value"));
    }
    line
}

/// What has to do with waiting for others.
fn waiting(kind: &str, phase: Phase, meta: &Value) -> Option<(&'static str, &'static str, String)> {
    Some(match (kind, phase) {
        (kind::MESSAGE_RECEIVED, _) => ("✉", "", format!("a message of {}", text(meta, "sender"))),
        (kind::APPROVAL_DECIDED, _) => ("●", "", format!("{} answers: {}", text(meta, "by"), text(meta, "verb"))),
        (kind::APPROVAL_VOTED, _) => ("●", DIM, format!("{} says: {}", text(meta, "by"), text(meta, "verb"))),
        (kind::APPROVAL_EXPIRED, _) => ("!", YELLOW, "nobody decided in time".to_owned()),
        (kind::CHILD_FINISHED, _) => ("●", "", "a child has ended".to_owned()),
        (kind::CHILD_ANSWERED, _) => ("●", "", "a child has answered".to_owned()),
        ("inbox.reply", _) => ("✉", "", "replied".to_owned()),
        ("inbox.receive", Phase::Start) => ("◌", DIM, "waits for a message".to_owned()),
        ("inbox.receive", _) if meta.get("found").and_then(Value::as_bool) == Some(false) => ("○", DIM, "no message came".to_owned()),
        ("inbox.receive", _) => ("●", "", format!("read the message of {}", text(meta, "sender"))),
        ("approvals.request", _) => ("●", DIM, format!("goes on with the answer on {}", text(meta, "action"))),
        ("agents.start", _) => ("●", "", format!("started {} as {}", text(meta, "agent"), text(meta, "run"))),
        ("agents.ask", Phase::Start) => ("◌", DIM, format!("asks {}", text(meta, "run"))),
        ("agents.ask", _) => ("●", "", format!("{} answered", text(meta, "run"))),
        ("waits.any", Phase::Start) => ("◌", DIM, "waits for whichever comes first".to_owned()),
        ("waits.any", _) => ("●", "", "one of them came".to_owned()),
        ("clock.sleep", Phase::Start) => ("◌", DIM, "sleeps".to_owned()),
        ("clock.sleep", _) => ("●", "", "woke".to_owned()),
        (kind::SEGMENT_STARTED | kind::SEGMENT_ENDED | "step" | "waits.open" | "waits.close", _) => return None,
        (_, Phase::Start) => ("◌", DIM, kind.to_owned()),
        (other, _) => ("●", "", other.to_owned()),
    })
}

fn progress(meta: &Value) -> String {
    let (done, total) = (
        meta.get("done").and_then(Value::as_f64).unwrap_or(0.0),
        meta.get("total").and_then(Value::as_f64).unwrap_or(0.0),
    );
    let message = text(meta, "message");
    if total > 0.0 {
        format!("{done} of {total} {message}")
    } else {
        format!("{done} {message}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_logs_cannot_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\u{202e}c\u{9b}d\r\te"), r"a\u{1b}[2Jb\u{202e}c\u{9b}d\r    e");
    }

    #[test]
    fn money_is_shown_to_the_micro_dollar() {
        assert_eq!(dollars(1_000_221), "$1.000221");
    }
}
