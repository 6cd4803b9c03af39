//! Sums for the first page: what is going on, and what the last hours brought.

use rusqlite::named_params;

use super::{Error, Reader, Scope};
use crate::domain::id::RunId;
use crate::domain::run::RunState;
use crate::domain::time::Timestamp;

pub(super) const LIVE: &str = "SELECT state, count(*) FROM runs WHERE org_id = :org AND workspace_id = :workspace
    AND state IN ('queued', 'running') GROUP BY state";
pub(super) const ENDED: &str = "SELECT count(*), COALESCE(sum(state = 'failed'), 0), COALESCE(sum(input_tokens + output_tokens), 0),
    COALESCE(sum(cost_micros), 0) FROM runs
    WHERE org_id = :org AND workspace_id = :workspace AND id >= :from AND state IN ('succeeded', 'failed', 'cancelled')";

/// What the first page shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub running: u64,
    pub queued: u64,
    /// Of the runs made in the last 24 hours.
    pub finished_24h: u64,
    pub failed_24h: u64,
    pub tokens_24h: u64,
    pub cost_micros_24h: u64,
}

/// Figures of the runs made since a time.
pub fn figures(reader: &Reader<'_>, scope: Scope, since: Timestamp) -> Result<Figures, Error> {
    let live = reader.list(LIVE, named_params! { ":org": scope.org, ":workspace": scope.workspace }, |row| {
        Ok((row.get::<_, RunState>(0)?, row.get::<_, i64>(1)? as u64))
    })?;
    let of = |wanted: RunState| live.iter().find(|(state, _)| *state == wanted).map_or(0, |(_, count)| *count);
    // Ids begin with the time, so that the index finds where to begin.
    let params = named_params! { ":org": scope.org, ":workspace": scope.workspace, ":from": RunId::earliest(since) };
    let number = |row: &rusqlite::Row<'_>, i: usize| row.get::<_, i64>(i).map(|value| value as u64);
    reader.get(ENDED, params, |row| {
        Ok(Figures {
            running: of(RunState::Running),
            queued: of(RunState::Queued),
            finished_24h: number(row, 0)?,
            failed_24h: number(row, 1)?,
            tokens_24h: number(row, 2)?,
            cost_micros_24h: number(row, 3)?,
        })
    })
}
