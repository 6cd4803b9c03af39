//! Holding runs and letting them go on.

use super::access::require;
use super::{App, Error, runs};
use crate::domain::id::RunId;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::domain::run::{Hold, RunState};
use crate::store::audit;
use crate::store::runs::Run;
use crate::store::runs::holds::{self, Held};

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

/// Lets a paused run go on.
///
/// # Errors
/// `NotFound`; `Conflict` where it has ended or is being cancelled.
pub async fn resume(app: &App, actor: &Actor, id: RunId, origin: Origin) -> Result<Run, Error> {
    let held = change(app, actor, id, "run.resume", origin).await?;
    if held.holds.is_empty() {
        app.dispatcher.queued();
    }
    runs::read(app, actor.org, id).await
}

async fn change(app: &App, actor: &Actor, id: RunId, action: &'static str, origin: Origin) -> Result<Held, Error> {
    require(actor, Permission::RunsCancel, actor.org, WHAT)?;
    let (org, principal, credential, now) = (actor.org, actor.principal, actor.credential, app.clock.now());
    let held = app
        .store
        .write(move |tx| {
            let held = if action == "run.pause" {
                holds::hold(tx, org, id, Hold::Pause, principal, now)?
            } else {
                holds::release(tx, org, id, Hold::Pause, principal, now)?
            };
            if held.seq.is_some() {
                let record = audit::Record::new(&org.to_string(), action, &id.to_string())
                    .by(principal, credential)
                    .origin(origin);
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
