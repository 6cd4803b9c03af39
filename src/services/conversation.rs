//! What was said in a run, both ways, as its journal has it.

use serde_json::Value;

use super::access::require;
use super::{App, Error};
use crate::domain::id::RunId;
use crate::domain::journal::kind;
use crate::domain::limits::PAGE_MAX;
use crate::domain::permission::{Actor, Permission};
use crate::domain::time::Timestamp;
use crate::store::conversation::{self, Utterance};
use crate::store::runs;

const WHAT: &str = "the run";

/// Who said something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// A person, or a program with a key of theirs.
    Person { id: String, name: String },
    /// The run that started this one asks.
    Parent { id: String, run: String, agent: String },
    /// The run replied.
    Agent,
}

/// One thing that was said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its entry.
    pub seq: u64,
    pub at: Timestamp,
    pub segment: u32,
    pub speaker: Speaker,
    /// Empty where it was erased.
    pub text: String,
}

/// Reads an entry; none for a reply that was refused and so never said.
fn said(utterance: Utterance) -> Option<Said> {
    let meta: Value = serde_json::from_str(&utterance.meta).unwrap_or_default();
    let text = |key: &str| meta.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let speaker = if utterance.kind == kind::MESSAGE_RECEIVED {
        let (id, name) = (text("id"), text("sender"));
        match text("asked_by") {
            run if run.is_empty() => Speaker::Person { id, name },
            run => Speaker::Parent { id, run, agent: name },
        }
    } else if meta.get("code").is_some() {
        return None;
    } else {
        Speaker::Agent
    };
    let request: Value = utterance
        .request
        .and_then(|request| serde_json::from_str(&request).ok())
        .unwrap_or_default();
    Some(Said {
        seq: utterance.seq,
        at: utterance.at,
        segment: utterance.segment,
        speaker,
        text: request.get("text").and_then(Value::as_str).unwrap_or_default().to_owned(),
    })
}

/// A stretch of a conversation, in order.
#[derive(Clone, Debug)]
pub struct Stretch {
    pub said: Vec<Said>,
    /// Whether there is more on the side that was read towards, and the entry to go on from.
    pub more: Option<u64>,
}

/// What was said after the entry `after`.
///
/// # Errors
/// `NotFound`.
pub async fn after(app: &App, actor: &Actor, run: RunId, after: u64, limit: u32) -> Result<Stretch, Error> {
    require(actor, Permission::RunsRead, actor.org, WHAT)?;
    let (org, limit) = (actor.org, limit.clamp(1, PAGE_MAX));
    let read = app.store.read(move |reader| {
        runs::state(reader, org, run)?;
        conversation::after(reader, org, run, after, limit)
    });
    let found = read.await?;
    let more = found.last().filter(|_| found.len() >= limit as usize).map(|last| last.seq);
    Ok(Stretch {
        said: found.into_iter().filter_map(said).collect(),
        more,
    })
}

/// What was last said before the entry `before`; the newest where it is `None`.
///
/// # Errors
/// `NotFound`.
pub async fn latest(app: &App, actor: &Actor, run: RunId, before: Option<u64>, limit: u32) -> Result<Stretch, Error> {
    require(actor, Permission::RunsRead, actor.org, WHAT)?;
    let (org, limit) = (actor.org, limit.clamp(1, PAGE_MAX));
    let read = app.store.read(move |reader| {
        runs::state(reader, org, run)?;
        conversation::before(reader, org, run, before.unwrap_or(u64::MAX), limit)
    });
    let found = read.await?;
    let more = found.first().filter(|_| found.len() >= limit as usize).map(|first| first.seq);
    Ok(Stretch {
        said: found.into_iter().filter_map(said).collect(),
        more,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, meta: &str, request: Option<&str>) -> Option<Said> {
        said(Utterance {
            seq: 7,
            at: Timestamp::from_ms(1),
            segment: 2,
            kind: kind.to_owned(),
            meta: meta.to_owned(),
            request: request.map(str::to_owned),
        })
    }

    #[test]
    fn people_parents_and_the_agent_are_told_apart() {
        let ana = read("message.received", r#"{"id":"msg_1","sender":"Ana"}"#, Some(r#"{"text":"Hi"}"#)).unwrap();
        assert_eq!(ana.text, "Hi");
        assert!(matches!(ana.speaker, Speaker::Person { name, .. } if name == "Ana"));
        let asked = read("message.received", r#"{"id":"msg_2","sender":"dealer","asked_by":"run_1"}"#, None).unwrap();
        assert!(matches!(asked.speaker, Speaker::Parent { run, .. } if run == "run_1"));
        assert_eq!(
            read("inbox.reply", "{}", Some(r#"{"text":"Hello"}"#)).unwrap().speaker,
            Speaker::Agent
        );
    }

    #[test]
    fn a_reply_that_was_refused_was_not_said() {
        assert!(read("inbox.reply", r#"{"code":"limit_exceeded"}"#, Some(r#"{"text":"…"}"#)).is_none());
    }
}
