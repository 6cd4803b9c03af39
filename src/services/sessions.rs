//! Conversations: posting messages to runs, and the runs that people talk with.

use serde_json::json;

use super::access::require;
use super::{App, Error, waits};
use crate::domain::call::{CallResult, Reply};
use crate::domain::id::{MessageId, RunId};
use crate::domain::journal::{NewEntry, Payload, kind};
use crate::domain::limits::{MESSAGE_BYTES_MAX, MESSAGES_WAITING_MAX, PAGE_MAX};
use crate::domain::permission::{Actor, Permission};
use crate::domain::run::RunState;
use crate::domain::wait::Message;
use crate::store::messages::{self, NewMessage};
use crate::store::runs::{self, Run, Touched};
use crate::store::{self, Scope, journal, waits as rows};

const WHAT: &str = "the session";

/// A message that was kept.
#[derive(Clone, Copy, Debug)]
pub struct Posted {
    pub id: MessageId,
    /// Its entry on the timeline.
    pub seq: u64,
}

/// Posts a message to a run: it wakes a session between two messages, answers a call that waits for one, or waits in line.
///
/// # Errors
/// `NotFound`; `Invalid` for an empty or too long text; `Conflict` where the run has ended; `Busy` where too many wait.
pub async fn post(app: &App, actor: &Actor, run: RunId, text: String) -> Result<Posted, Error> {
    require(actor, Permission::RunsMessage, actor.org, WHAT)?;
    let wrong = |message: String| Err(Error::field("/text", message));
    if text.trim().is_empty() {
        return wrong("the message is empty".to_owned());
    }
    if text.len() > MESSAGE_BYTES_MAX {
        return wrong(format!("the message has {} bytes, the limit is {MESSAGE_BYTES_MAX}", text.len()));
    }
    let (org, principal, name, now) = (actor.org, actor.principal, actor.name.clone(), app.clock.now());
    let id = MessageId::new(now);
    let (posted, touched) = app
        .store
        .write(move |tx| {
            let (state, segment) = runs::state(tx, org, run)?;
            if state.is_terminal() {
                return Err(store::Error::Conflict(format!(
                    "the run has ended ({state}) and takes no messages; start another"
                )));
            }
            if messages::waiting_count(tx, org, run, MESSAGES_WAITING_MAX)? >= MESSAGES_WAITING_MAX {
                return Err(store::Error::Busy);
            }
            let new = NewMessage {
                id,
                sender: Some(principal),
                sender_name: name.clone(),
                text: text.clone(),
                ask: None,
            };
            let number = messages::insert(tx, org, run, &new, now)?;
            let entry = NewEntry {
                actor: Some(principal),
                segment,
                request: Some(Payload::Json(json!({ "text": text }).to_string())),
                ..NewEntry::station(now, kind::MESSAGE_RECEIVED, json!({ "id": id, "sender": name }))
            };
            let seq = journal::append(tx, org, run, None, &[entry])?.last_seq;
            let mut touched = vec![Touched::entry(run, seq)];
            if let Some(key) = rows::for_message(tx, org, run)? {
                messages::take(tx, org, run, number)?;
                let message = Message {
                    id,
                    text: text.clone(),
                    sender: name.clone(),
                    sent_ms: u64::try_from(now.as_ms()).unwrap_or(0),
                };
                waits::complete(tx, org, run, key, &CallResult::Ok(Reply::Message(Some(message))), &mut touched)?;
            } else if messages::wake(tx, org, run)? {
                touched.push(Touched {
                    state: Some(RunState::Queued),
                    ..Touched::entry(run, seq)
                });
            }
            Ok((Posted { id, seq }, touched))
        })
        .await?;
    waits::announce(app, &touched);
    Ok(posted)
}

/// Runs that people talk with, from the newest on, before the run `before`.
///
/// # Errors
/// The actor may not read runs.
pub async fn list(app: &App, actor: &Actor, before: Option<RunId>, limit: u32) -> Result<Vec<Run>, Error> {
    require(actor, Permission::RunsRead, actor.org, WHAT)?;
    let scope = Scope {
        org: actor.org,
        workspace: actor.workspace,
    };
    let limit = limit.clamp(1, PAGE_MAX);
    Ok(app
        .store
        .read(move |reader| runs::list_sessions(reader, scope, before, limit))
        .await?)
}
