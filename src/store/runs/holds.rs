//! Holds: reasons not to dispatch a run. A held run keeps its state and takes what others complete for it.

use rusqlite::named_params;
use serde_json::json;

use super::super::{Error, Tx, journal};
use super::ended;
use crate::domain::id::{OrgId, PrincipalId, RunId};
use crate::domain::journal::{NewEntry, kind};
use crate::domain::run::{Hold, Holds, RunState};
use crate::domain::time::Timestamp;

const FIND: &str = "SELECT state, segment, attempt, holds, cancel_requested FROM runs WHERE id = :run AND org_id = :org";
const SET: &str = "UPDATE runs SET holds = :holds WHERE id = :run AND org_id = :org";

#[cfg(test)]
pub(crate) const SQL: [&str; 2] = [FIND, SET];

/// A run after a hold was put on it or taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub state: RunState,
    pub holds: Holds,
    /// The entry that says so; none where it was so before.
    pub seq: Option<u64>,
}

/// Puts a hold on a run. One that executes is to be stopped by the caller, after the commit.
///
/// # Errors
/// [`Error::Conflict`] where it has ended or is being cancelled.
pub fn hold(tx: &Tx<'_>, org: OrgId, run: RunId, hold: Hold, actor: PrincipalId, now: Timestamp) -> Result<Held, Error> {
    change(tx, org, run, actor, now, kind::RUN_PAUSED, hold, |holds| holds.with(hold))
}

/// Takes a hold off a run; where it was the last, the run goes on where it stood.
///
/// # Errors
/// [`Error::Conflict`] where it has ended.
pub fn release(tx: &Tx<'_>, org: OrgId, run: RunId, hold: Hold, actor: PrincipalId, now: Timestamp) -> Result<Held, Error> {
    change(tx, org, run, actor, now, kind::RUN_RESUMED, hold, |holds| holds.without(hold))
}

#[expect(clippy::too_many_arguments, reason = "what both have in common")]
fn change(
    tx: &Tx<'_>,
    org: OrgId,
    run: RunId,
    actor: PrincipalId,
    now: Timestamp,
    kind: &str,
    hold: Hold,
    to: impl FnOnce(Holds) -> Holds,
) -> Result<Held, Error> {
    let (state, segment, attempt, holds, cancelling): (RunState, u32, u32, Holds, bool) =
        tx.get(FIND, named_params! { ":run": run, ":org": org }, |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })?;
    if state.is_terminal() {
        return Err(Error::Conflict(format!("the run has already {}", ended(state))));
    }
    if cancelling {
        return Err(Error::Conflict("the run is being cancelled".to_owned()));
    }
    let wanted = to(holds);
    if wanted == holds {
        return Ok(Held { state, holds, seq: None });
    }
    tx.execute(SET, named_params! { ":holds": wanted, ":run": run, ":org": org })?;
    let entry = NewEntry {
        actor: Some(actor),
        segment,
        attempt,
        ..NewEntry::station(now, kind, json!({ "hold": hold }))
    };
    let appended = journal::append(tx, org, run, None, &[entry])?;
    Ok(Held {
        state,
        holds: wanted,
        seq: Some(appended.last_seq),
    })
}
