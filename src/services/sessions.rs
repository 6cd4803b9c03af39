//! Conversations: posting messages to runs, and the runs that people talk with.

use serde_json::json;

use super::access::require;
use super::{App, Error, waits};
use crate::domain::call::{CallResult, Reply};
use crate::domain::id::{MessageId, OrgId, PrincipalId, RunId};
use crate::domain::journal::{NewEntry, Payload, kind};
use crate::domain::limits::{MESSAGE_BYTES_MAX, MESSAGES_WAITING_MAX, PAGE_MAX};
use crate::domain::permission::{Actor, Permission};
use crate::domain::run::{RunState, WakeOn};
use crate::domain::time::Timestamp;
use crate::domain::wait::Message;
use crate::store::messages::{self, NewMessage};
use crate::store::runs::{self, Run, Touched};
use crate::store::{self, Scope, Tx, journal, waits as rows};

const WHAT: &str = "the session";

/// A message that was kept.
#[derive(Clone, Copy, Debug)]
pub struct Posted {
    pub id: MessageId,
    /// Its entry on the timeline.
    pub seq: u64,
}

/// Who posts.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub org: OrgId,
    pub principal: PrincipalId,
    pub name: String,
}

/// A message in line.
pub(super) struct Kept {
    pub id: MessageId,
    pub number: u64,
    pub seq: u64,
}

/// Whether a text may be posted; `pointer` is where the caller has it.
///
/// # Errors
/// `Invalid` for one that is empty or too long.
pub(super) fn check(pointer: &str, text: &str) -> Result<(), Error> {
    if text.trim().is_empty() {
        return Err(Error::field(pointer, "the message is empty"));
    }
    if text.len() > MESSAGE_BYTES_MAX {
        let wrong = format!("the message has {} bytes, the limit is {MESSAGE_BYTES_MAX}", text.len());
        return Err(Error::field(pointer, wrong));
    }
    Ok(())
}

/// Puts a message in line, and on the timeline.
pub(super) fn keep(tx: &Tx<'_>, sender: &Sender, run: RunId, segment: u32, text: &str, now: Timestamp) -> Result<Kept, store::Error> {
    let id = MessageId::new(now);
    let new = NewMessage {
        id,
        sender: Some(sender.principal),
        sender_name: sender.name.clone(),
        text: text.to_owned(),
        ask: None,
    };
    let number = messages::insert(tx, sender.org, run, &new, now)?;
    let entry = NewEntry {
        actor: Some(sender.principal),
        segment,
        request: Some(Payload::Json(json!({ "text": text }).to_string())),
        ..NewEntry::station(now, kind::MESSAGE_RECEIVED, json!({ "id": id, "sender": sender.name }))
    };
    let seq = journal::append(tx, sender.org, run, None, &[entry])?.last_seq;
    Ok(Kept { id, number, seq })
}

/// Posts a message to a run: it wakes a session between two messages, answers a call that waits for one, or waits in line.
///
/// # Errors
/// `NotFound`; `Invalid` for an empty or too long text; `Conflict` where the run has ended; `Busy` where too many wait.
pub async fn post(app: &App, actor: &Actor, run: RunId, text: String) -> Result<Posted, Error> {
    require(actor, Permission::RunsMessage, actor.org, WHAT)?;
    check("/text", &text)?;
    let (org, principal, name, now) = (actor.org, actor.principal, actor.name.clone(), app.clock.now());
    let sender = Sender {
        org,
        principal,
        name: name.clone(),
    };
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
            let Kept { id, number, seq } = keep(tx, &sender, run, segment, &text, now)?;
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

/// Whether a message would let a run go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    No,
    /// A message, or something else.
    Also,
    /// Nothing but a message.
    Only,
}

/// Whether a run that waits does so for a message.
///
/// # Errors
/// `NotFound`.
pub async fn listening(app: &App, actor: &Actor, run: RunId) -> Result<Listening, Error> {
    require(actor, Permission::RunsRead, actor.org, WHAT)?;
    let org = actor.org;
    let read = app
        .store
        .read(move |reader| Ok((runs::get(reader, org, run)?, rows::open_of_run(reader, org, run)?)));
    let (run, open) = read.await?;
    let for_message = |wait: &rows::Wait| wait.kind == rows::Kind::Message;
    Ok(match run.wake_on {
        _ if run.state != RunState::Waiting => Listening::No,
        Some(WakeOn::Message) => Listening::Only,
        Some(_) => Listening::No,
        None if !open.iter().any(for_message) => Listening::No,
        None if open.iter().all(|wait| for_message(wait) && wait.due_at.is_none()) => Listening::Only,
        None => Listening::Also,
    })
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
