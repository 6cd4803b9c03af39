//! Holds: reasons not to dispatch a run. A held run keeps its state and takes what others complete for it.
//!
//! Runs of somebody who may not start runs any more wait for an admin, who adopts them.

use rusqlite::named_params;
use serde_json::json;

use super::super::{Error, Reader, Tx, journal, members};
use super::ended;
use crate::domain::id::{BudgetId, OrgId, PrincipalId, RunId};
use crate::domain::journal::{NewEntry, kind};
use crate::domain::permission::{Permission, Role};
use crate::domain::run::{Hold, Holds, RunState};
use crate::domain::time::Timestamp;

const FIND: &str = "SELECT state, segment, attempt, holds, cancel_requested FROM runs WHERE id = :run AND org_id = :org";
const SET: &str = "UPDATE runs SET holds = :holds WHERE id = :run AND org_id = :org";
const SET_BY_BUDGET: &str = "UPDATE runs SET holds = :holds, held_budget_id = :budget WHERE id = :run AND org_id = :org";
// Live runs are few beside those that have ended, however many those are.
const LIVE_OF: &str = "SELECT r.id FROM workspaces w JOIN runs r ON r.org_id = w.org_id AND r.workspace_id = w.id
    AND r.state IN ('queued', 'running', 'waiting') WHERE w.org_id = :org AND r.started_by = :principal AND r.cancel_requested = 0 ORDER BY r.id";
const LEFT: &str = "SELECT r.started_by, p.name, count(*) FROM workspaces w JOIN runs r ON r.org_id = w.org_id AND r.workspace_id = w.id
    AND r.holds <> 0 JOIN principals p ON p.id = r.started_by WHERE w.org_id = :org AND r.holds & 4 <> 0 GROUP BY r.started_by ORDER BY p.name";
const LEFT_BY: &str = "SELECT r.id FROM workspaces w JOIN runs r ON r.org_id = w.org_id AND r.workspace_id = w.id AND r.holds <> 0
    WHERE w.org_id = :org AND r.started_by = :principal AND r.holds & 4 <> 0 ORDER BY r.id";
const STARTER: &str =
    "SELECT r.started_by, p.name FROM runs r JOIN principals p ON p.id = r.started_by WHERE r.id = :run AND r.org_id = :org";
const ADOPT: &str = "UPDATE runs SET started_by = :principal, holds = :holds WHERE id = :run AND org_id = :org";
// The run itself and what it has started, down to the last.
const FAMILY_LEFT: &str = "WITH RECURSIVE chain (id, started_by, holds) AS (
        SELECT id, started_by, holds FROM runs WHERE id = :run AND org_id = :org
        UNION ALL
        SELECT r.id, r.started_by, r.holds FROM chain CROSS JOIN runs r INDEXED BY runs_by_parent
        WHERE r.parent_run_id = chain.id AND r.org_id = :org AND r.started_by = chain.started_by)
    SELECT id FROM chain WHERE holds & 4 <> 0";
const _: () = assert!(Hold::PrincipalRemoved.bit() == 4, "as the queries have it");

#[cfg(test)]
pub(crate) const SQL: [&str; 8] = [FIND, SET, LIVE_OF, LEFT, LEFT_BY, STARTER, ADOPT, FAMILY_LEFT];

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
    change(tx, org, run, Some(actor), now, kind::RUN_PAUSED, hold, |holds| holds.with(hold))
}

/// Takes a hold off a run; where it was the last, the run goes on where it stood.
///
/// # Errors
/// [`Error::Conflict`] where it has ended.
pub fn release(tx: &Tx<'_>, org: OrgId, run: RunId, hold: Hold, actor: PrincipalId, now: Timestamp) -> Result<Held, Error> {
    change(tx, org, run, Some(actor), now, kind::RUN_RESUMED, hold, |holds| holds.without(hold))
}

#[expect(clippy::too_many_arguments, reason = "what both have in common")]
fn change(
    tx: &Tx<'_>,
    org: OrgId,
    run: RunId,
    actor: Option<PrincipalId>,
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
        attempt,
        segment,
        actor,
        ..NewEntry::station(now, kind, json!({ "hold": hold }))
    };
    let appended = journal::append(tx, org, run, None, &[entry])?;
    Ok(Held {
        state,
        holds: wanted,
        seq: Some(appended.last_seq),
    })
}

/// Holds a run that executes because a budget is used up; `meta` says so in words. Returns the entry that says so; none
/// where the run is to stop anyway.
///
/// # Errors
/// [`Error::Fenced`] where another start holds it.
pub fn by_budget(
    tx: &Tx<'_>,
    org: OrgId,
    (run, fence): (RunId, u64),
    budget: BudgetId,
    meta: serde_json::Value,
    now: Timestamp,
) -> Result<Option<u64>, Error> {
    let (_, segment, attempt, holds, cancelling): (RunState, u32, u32, Holds, bool) =
        tx.get(FIND, named_params! { ":run": run, ":org": org }, |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })?;
    if cancelling {
        return Ok(None);
    }
    let entry = NewEntry {
        attempt,
        segment,
        ..NewEntry::station(now, kind::RUN_PAUSED, meta)
    };
    let seq = journal::append(tx, org, run, Some(fence), &[entry])?.last_seq;
    tx.execute(
        SET_BY_BUDGET,
        named_params! { ":holds": holds.with(Hold::Budget), ":budget": budget, ":run": run, ":org": org },
    )?;
    Ok(Some(seq))
}

/// Lets a run go on that waited for money, as far as that is concerned. What is not held by a budget, or has ended, is left alone.
pub fn budget_again(tx: &Tx<'_>, org: OrgId, run: RunId, actor: Option<PrincipalId>, now: Timestamp) -> Result<Option<Held>, Error> {
    match change(tx, org, run, actor, now, kind::RUN_RESUMED, Hold::Budget, |holds| {
        holds.without(Hold::Budget)
    }) {
        Ok(held) => Ok(Some(held).filter(|held| held.seq.is_some())),
        Err(Error::Conflict(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether somebody may still have runs: a member who is not disabled and may start them.
pub fn may_have_runs(reader: &Reader<'_>, org: OrgId, principal: PrincipalId) -> Result<bool, Error> {
    let role = members::role(reader, org, principal)?;
    Ok(role.is_some_and(|role: Role| role.gives(Permission::RunsStart)))
}

/// Holds one run whose starter may not have it any more.
pub(super) fn leave(tx: &Tx<'_>, org: OrgId, run: RunId, actor: Option<PrincipalId>, now: Timestamp) -> Result<Held, Error> {
    let hold = Hold::PrincipalRemoved;
    change(tx, org, run, actor, now, kind::RUN_PAUSED, hold, |holds| holds.with(hold))
}

/// A run that was held or adopted with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    pub run: RunId,
    pub held: Held,
}

/// Holds every run of somebody that has not ended. Those that execute are to be stopped by the caller, after the commit.
pub fn leave_all(tx: &Tx<'_>, org: OrgId, principal: PrincipalId, actor: PrincipalId, now: Timestamp) -> Result<Vec<Changed>, Error> {
    let runs: Vec<RunId> = tx.list(LIVE_OF, named_params! { ":org": org, ":principal": principal }, |row| row.get(0))?;
    let held = |run| leave(tx, org, run, Some(actor), now).map(|held| Changed { run, held });
    runs.into_iter().map(held).collect()
}

/// Somebody whose runs wait to be adopted.
#[derive(Clone, Debug)]
pub struct Left {
    pub principal: PrincipalId,
    pub name: String,
    pub runs: u32,
}

/// Whose runs wait to be adopted, by name.
pub fn left(reader: &Reader<'_>, org: OrgId) -> Result<Vec<Left>, Error> {
    reader.list(LEFT, named_params! { ":org": org }, |row| {
        Ok(Left {
            principal: row.get(0)?,
            name: row.get(1)?,
            runs: row.get(2)?,
        })
    })
}

/// The runs of somebody that wait to be adopted.
pub fn left_by(reader: &Reader<'_>, org: OrgId, principal: PrincipalId) -> Result<Vec<RunId>, Error> {
    reader.list(LEFT_BY, named_params! { ":org": org, ":principal": principal }, |row| row.get(0))
}

/// The run and what it has started, as far as they wait to be adopted with it.
pub fn left_with(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<Vec<RunId>, Error> {
    reader.list(FAMILY_LEFT, named_params! { ":org": org, ":run": run }, |row| row.get(0))
}

/// A run's new starter, and who it was before.
#[derive(Clone, Debug)]
pub struct Adopted {
    pub before: PrincipalId,
    pub changed: Changed,
}

/// Makes somebody the starter of a run that waits for that, and lets it go on.
///
/// # Errors
/// [`Error::Conflict`] where it has ended, or does not wait to be adopted.
pub fn adopt(tx: &Tx<'_>, org: OrgId, run: RunId, (principal, name): (PrincipalId, &str), now: Timestamp) -> Result<Adopted, Error> {
    let (state, segment, attempt, holds): (RunState, u32, u32, Holds) =
        tx.get(FIND, named_params! { ":run": run, ":org": org }, |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
    if !holds.contains(Hold::PrincipalRemoved) {
        return Err(Error::Conflict("the run does not wait to be adopted".to_owned()));
    }
    let (before, before_name): (PrincipalId, String) = tx.get(STARTER, named_params! { ":run": run, ":org": org }, |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    let holds = holds.without(Hold::PrincipalRemoved);
    tx.execute(
        ADOPT,
        named_params! { ":principal": principal, ":holds": holds, ":run": run, ":org": org },
    )?;
    let entry = NewEntry {
        actor: Some(principal),
        segment,
        attempt,
        ..NewEntry::station(now, kind::RUN_ADOPTED, json!({ "by": name, "from": before_name }))
    };
    let seq = journal::append(tx, org, run, None, &[entry])?.last_seq;
    let held = Held {
        state,
        holds,
        seq: Some(seq),
    };
    Ok(Adopted {
        before,
        changed: Changed { run, held },
    })
}
