//! Holding runs and letting them go on.

use super::access::require;
use super::{App, Error, runs};
use crate::domain::id::{OrgId, PrincipalId, RunId};
use crate::domain::origin::Origin;
use crate::domain::permission::{Access, Actor, Permission, Resource, authorize};
use crate::domain::run::{Hold, RunState};
use crate::domain::time::Timestamp;
use crate::store::runs::Run;
use crate::store::runs::holds::{self, Changed, Held};
use crate::store::{self, Tx, audit};

const WHAT: &str = "the run";

/// Pauses a run: it is not dispatched until it is resumed. One that executes stops at its next host call or fuel yield; a call that is
/// under way is waited for. It takes messages and decisions meanwhile.
///
/// # Errors
/// `NotFound`; `Conflict` where it has ended or is being cancelled.
pub async fn pause(app: &App, actor: &Actor, id: RunId, origin: Origin) -> Result<Run, Error> {
    let held = change(app, actor, id, "run.pause", origin).await?;
    if held.state == RunState::Running {
        app.dispatcher.hold(id);
    }
    runs::read(app, actor.org, id).await
}

/// Lets a paused run go on. One that its starter has left behind goes on where an admin says so and the starter may have runs again; else
/// it is to be adopted.
///
/// # Errors
/// `NotFound`; `Conflict` where it has ended, is being cancelled, or is to be adopted.
pub async fn resume(app: &App, actor: &Actor, id: RunId, origin: Origin) -> Result<Run, Error> {
    let held = change(app, actor, id, "run.resume", origin).await?;
    if held.holds.is_empty() {
        app.dispatcher.queued();
    }
    runs::read(app, actor.org, id).await
}

async fn change(app: &App, actor: &Actor, id: RunId, action: &'static str, origin: Origin) -> Result<Held, Error> {
    require(actor, Permission::RunsCancel, actor.org, WHAT)?;
    let (org, principal, now) = (actor.org, actor.principal, app.clock.now());
    let record = super::audit::of(actor, action, &id.to_string(), origin);
    let may_spend = authorize(actor, Permission::BudgetsManage, Resource { org }) == Access::Allow;
    let may_take_back = authorize(actor, Permission::MembersManage, Resource { org }) == Access::Allow;
    let held = app
        .store
        .write(move |tx| {
            let held = if action == "run.pause" {
                holds::hold(tx, org, id, Hold::Pause, principal, now)?
            } else {
                let taken_back = take_back(tx, org, id, principal, may_take_back, now)?;
                let run = store::runs::get(tx, org, id)?;
                let waits_for_money = !run.state.is_terminal() && run.holds.contains(Hold::Budget);
                if waits_for_money && !may_spend && !run.holds.contains(Hold::Pause) {
                    let text = "a budget holds the run; whoever may manage budgets raises that, or lets the run go on";
                    return Err(store::Error::Conflict(text.to_owned()));
                }
                // It asks its budgets again, which may hold it again.
                let asked_again = if waits_for_money && may_spend {
                    holds::budget_again(tx, org, id, Some(principal), now)?.and_then(|held| held.seq)
                } else {
                    None
                };
                let held = holds::release(tx, org, id, Hold::Pause, principal, now)?;
                Held {
                    seq: held.seq.or(taken_back).or(asked_again),
                    ..held
                }
            };
            if held.seq.is_some() {
                audit::record(tx, record, now)?;
            }
            Ok(held)
        })
        .await?;
    if let Some(seq) = held.seq {
        app.feed.announce(id, seq, Some(held.state));
    }
    Ok(held)
}

/// Lets a run go on that its starter left behind, where the starter is back. Returns the entry that says so.
fn take_back(
    tx: &Tx<'_>,
    org: OrgId,
    id: RunId,
    principal: PrincipalId,
    may_take_back: bool,
    now: Timestamp,
) -> Result<Option<u64>, store::Error> {
    let run = store::runs::get(tx, org, id)?;
    if run.state.is_terminal() || !run.holds.contains(Hold::PrincipalRemoved) {
        return Ok(None);
    }
    let conflict = |text: &str| Err(store::Error::Conflict(text.to_owned()));
    if !holds::may_have_runs(tx, org, run.started_by)? {
        return conflict("whoever started the run may not have it any more; an admin can adopt it");
    }
    if !may_take_back {
        return conflict("whoever started the run had left; an admin lets it go on");
    }
    holds::release(tx, org, id, Hold::PrincipalRemoved, principal, now).map(|held| held.seq)
}

/// Tells those who watch, and those who execute, that runs were held or got another starter. To be called after the commit.
pub(super) fn announce(app: &App, changed: &[Changed]) {
    for Changed { run, held } in changed {
        if let Some(seq) = held.seq {
            app.feed.announce(*run, seq, Some(held.state));
        }
        // What is in memory knows the starter that it began with.
        if held.state == RunState::Running {
            app.dispatcher.hold(*run);
        } else {
            app.dispatcher.warm.drop_run(*run);
        }
    }
}
