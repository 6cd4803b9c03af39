//! Messages to runs, in the order in which they came.

use rusqlite::{Row, named_params};

use super::{Error, Reader, Tx};
use crate::domain::id::{MessageId, OrgId, PrincipalId, RunId};
use crate::domain::time::Timestamp;
use crate::domain::wait::Message;

pub(super) const NUMBER: &str =
    "UPDATE runs SET next_message = next_message + 1, session = 1 WHERE id = :run AND org_id = :org RETURNING next_message - 1";
pub(super) const INSERT: &str = "INSERT INTO messages (run_id, message, org_id, id, sender, sender_name, text, sent_at, ask)
    VALUES (:run, :message, :org, :id, :sender, :name, :text, :now, :ask)";
// Left to itself SQLite takes the primary key and reads every message that the run has ever had.
pub(super) const WAITING: &str = "SELECT count(*) FROM
    (SELECT 1 FROM messages INDEXED BY messages_waiting WHERE run_id = :run AND taken = 0 AND org_id = :org LIMIT :limit)";
pub(super) const NEXT: &str = "SELECT message, id, text, sender_name, sent_at, ask FROM messages INDEXED BY messages_waiting
    WHERE run_id = :run AND taken = 0 AND org_id = :org ORDER BY message LIMIT 1";
pub(super) const NEXT_PLAIN: &str = "SELECT message, id, text, sender_name, sent_at, ask FROM messages INDEXED BY messages_waiting
    WHERE run_id = :run AND taken = 0 AND org_id = :org AND ask IS NULL ORDER BY message LIMIT 1";
pub(super) const TAKE: &str = "UPDATE messages SET taken = 1 WHERE run_id = :run AND message = :message AND org_id = :org";
pub(super) const ASKED: &str = "SELECT message, id, text, sender_name, sent_at, ask FROM messages INDEXED BY messages_waiting
    WHERE run_id = :run AND taken = 0 AND org_id = :org AND ask IS NOT NULL ORDER BY message";
// A run that is between segments goes on with the message.
pub(super) const WAKE: &str =
    "UPDATE runs SET state = 'queued' WHERE id = :run AND org_id = :org AND state = 'waiting' AND wake_on = 'message'";

/// A message that is to be kept.
#[derive(Clone, Debug)]
pub struct NewMessage {
    pub id: MessageId,
    /// `None` where another run asks.
    pub sender: Option<PrincipalId>,
    pub sender_name: String,
    pub text: String,
    /// JSON of who asks, where a parent does.
    pub ask: Option<String>,
}

/// A message that nobody has taken.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub number: u64,
    pub message: Message,
    pub ask: Option<String>,
}

fn waiting(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    Ok(Waiting {
        number: row.get::<_, i64>(0)? as u64,
        message: Message {
            id: row.get(1)?,
            text: row.get(2)?,
            sender: row.get(3)?,
            sent_ms: row.get::<_, i64>(4)? as u64,
        },
        ask: row.get(5)?,
    })
}

/// Keeps a message; returns its number in the run.
pub fn insert(tx: &Tx<'_>, org: OrgId, run: RunId, new: &NewMessage, now: Timestamp) -> Result<u64, Error> {
    let number: i64 = tx.get(NUMBER, named_params! { ":run": run, ":org": org }, |row| row.get(0))?;
    tx.execute(
        INSERT,
        named_params! {
            ":run": run, ":message": number, ":org": org, ":id": new.id, ":sender": new.sender, ":name": new.sender_name, ":text": new.text,
            ":now": now, ":ask": new.ask,
        },
    )?;
    Ok(number as u64)
}

/// How many messages nobody has taken, counted no further than `limit`.
pub fn waiting_count(reader: &Reader<'_>, org: OrgId, run: RunId, limit: u32) -> Result<u32, Error> {
    reader.get(WAITING, named_params! { ":run": run, ":org": org, ":limit": limit }, |row| {
        row.get(0)
    })
}

/// The first message that nobody has taken. Questions of a parent begin segments only: without `asks` they are passed over.
pub fn next(reader: &Reader<'_>, org: OrgId, run: RunId, asks: bool) -> Result<Option<Waiting>, Error> {
    let sql = if asks { NEXT } else { NEXT_PLAIN };
    reader.find(sql, named_params! { ":run": run, ":org": org }, waiting)
}

/// Questions that nobody has taken.
pub fn asked(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<Vec<Waiting>, Error> {
    reader.list(ASKED, named_params! { ":run": run, ":org": org }, waiting)
}

/// Marks a message as read, or given up.
pub fn take(tx: &Tx<'_>, org: OrgId, run: RunId, number: u64) -> Result<(), Error> {
    tx.execute(TAKE, named_params! { ":run": run, ":org": org, ":message": number as i64 })?;
    Ok(())
}

/// Queues a run that waits between segments for a message. Returns whether it did.
pub fn wake(tx: &Tx<'_>, org: OrgId, run: RunId) -> Result<bool, Error> {
    Ok(tx.execute(WAKE, named_params! { ":run": run, ":org": org })? == 1)
}
