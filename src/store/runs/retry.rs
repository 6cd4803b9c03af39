//! Trying a run again: by itself while it goes on, by a person once it has failed.

use rusqlite::named_params;

use super::super::{Error, Reader, Scope, Tx};
use super::{Totals, one_row};
use crate::domain::id::{OrgId, RunId};
use crate::domain::time::Timestamp;

// A run that was to stop while it ran does not wait: it wakes at once, to be ended.
const LATER: &str = "UPDATE runs SET state = 'waiting', wake_on = 'retry', wake_at = CASE cancel_requested WHEN 1 THEN 0 ELSE :wake_at END,
    attempt = attempt + 1, tries = tries + 1, error = :error, fuel = :fuel, active_ms = :active_ms, lease_node = NULL, lease_until = NULL
    WHERE id = :run AND org_id = :org AND fence = :fence AND state = 'running'";
const REVIVE: &str =
    "UPDATE runs SET state = 'queued', reason = NULL, error = NULL, dead = 0, tries = 0, attempt = attempt + 1, finished_at = NULL,
    cancel_requested = 0, wake_at = NULL, wake_on = NULL WHERE id = :run AND org_id = :org AND state = 'failed'";
const DISCARD: &str = "UPDATE runs SET dead = 0 WHERE id = :run AND org_id = :org AND dead = 1";
const COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM runs WHERE org_id = :org AND workspace_id = :workspace AND dead = 1 LIMIT :limit)";

#[cfg(test)]
pub(crate) const SQL: [&str; 4] = [LATER, REVIVE, DISCARD, COUNT];

/// Gives up the slot until the next try of the current segment. `error` is what failed, JSON.
///
/// # Errors
/// [`Error::Fenced`] where another start holds the run.
pub fn later(tx: &Tx<'_>, org: OrgId, run: RunId, fence: u64, wake_at: Timestamp, error: &str, totals: Totals) -> Result<(), Error> {
    one_row(tx.execute(
        LATER,
        named_params! {
            ":wake_at": wake_at, ":error": error, ":fuel": totals.fuel as i64, ":active_ms": totals.active_ms as i64, ":run": run,
            ":org": org, ":fence": fence as i64,
        },
    )?)
}

/// Queues a failed run again, with all its automatic tries before it.
///
/// # Errors
/// [`Error::Conflict`] where it has not failed.
pub fn revive(tx: &Tx<'_>, org: OrgId, run: RunId) -> Result<(), Error> {
    match tx.execute(REVIVE, named_params! { ":run": run, ":org": org })? {
        1 => Ok(()),
        _ => Err(Error::Conflict("only a run that has failed can be tried again".to_owned())),
    }
}

/// Takes a failed run off the list of dead letters. Returns whether it was on it.
pub fn discard(tx: &Tx<'_>, org: OrgId, run: RunId) -> Result<bool, Error> {
    Ok(tx.execute(DISCARD, named_params! { ":run": run, ":org": org })? == 1)
}

/// Failed runs that nobody has dealt with, counted no further than `limit`.
pub fn dead(reader: &Reader<'_>, scope: Scope, limit: u32) -> Result<u32, Error> {
    reader.get(
        COUNT,
        named_params! { ":org": scope.org, ":workspace": scope.workspace, ":limit": limit },
        |row| row.get(0),
    )
}
