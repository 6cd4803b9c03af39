//! Adopting runs that somebody has left behind: an admin takes the starter's place, with the rights that go with it, and they go on.

use serde_json::json;

use super::access::require;
use super::{App, Error, audit, holds, runs};
use crate::domain::id::{PrincipalId, RunId};
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::store::runs::Run;
pub use crate::store::runs::holds::Left;
use crate::store::runs::holds::{self as rows, Adopted, Changed};
use crate::store::{self, Tx};

const WHAT: &str = "the run";

/// Whose runs wait to be adopted.
///
/// # Errors
/// `Forbidden`.
pub async fn left(app: &App, actor: &Actor) -> Result<Vec<Left>, Error> {
    require(actor, Permission::MembersManage, actor.org, "the organization")?;
    let org = actor.org;
    Ok(app.store.read(move |reader| rows::left(reader, org)).await?)
}

/// Whether the starter of a run that waits may have it again.
///
/// # Errors
/// `NotFound` for another organization's run.
pub async fn starter_is_back(app: &App, actor: &Actor, run: &Run) -> Result<bool, Error> {
    require(actor, Permission::RunsRead, run.org, WHAT)?;
    let (org, starter) = (run.org, run.started_by);
    Ok(app.store.read(move |reader| rows::may_have_runs(reader, org, starter)).await?)
}

/// Adopts a run, and what it has started.
///
/// # Errors
/// `NotFound`; `Conflict` where it does not wait to be adopted.
pub async fn adopt(app: &App, actor: &Actor, run: RunId, origin: Origin) -> Result<Run, Error> {
    let (asking, org) = (actor.clone(), actor.org);
    let adopted = move |tx: &Tx<'_>| {
        // Of the run itself it is said where it does not wait.
        let mut adopted = vec![one(tx, &asking, run, &origin)?];
        for child in rows::left_with(tx, org, run)? {
            adopted.push(one(tx, &asking, child, &origin)?);
        }
        Ok(adopted)
    };
    go_on(app, actor, adopted).await?;
    runs::read(app, actor.org, run).await
}

/// Adopts every run that somebody has left behind. Returns how many those were.
///
/// # Errors
/// `NotFound` where none waits.
pub async fn adopt_all(app: &App, actor: &Actor, principal: PrincipalId, origin: Origin) -> Result<usize, Error> {
    let (asking, org) = (actor.clone(), actor.org);
    let adopted = move |tx: &Tx<'_>| {
        let left = rows::left_by(tx, org, principal)?;
        if left.is_empty() {
            return Err(store::Error::NotFound);
        }
        left.into_iter().map(|run| one(tx, &asking, run, &origin)).collect()
    };
    go_on(app, actor, adopted).await
}

async fn go_on<F>(app: &App, actor: &Actor, adopt: F) -> Result<usize, Error>
where
    F: FnOnce(&Tx<'_>) -> Result<Vec<Changed>, store::Error> + Send + 'static,
{
    require(actor, Permission::MembersManage, actor.org, WHAT)?;
    let adopted = app.store.write(adopt).await?;
    holds::announce(app, &adopted);
    app.dispatcher.queued();
    Ok(adopted.len())
}

fn one(tx: &Tx<'_>, actor: &Actor, run: RunId, origin: &Origin) -> Result<Changed, store::Error> {
    let now = tx.now();
    // Whoever lost the right a moment ago does not take it on.
    if !rows::may_have_runs(tx, actor.org, actor.principal)? {
        return Err(store::Error::NotFound);
    }
    let Adopted { before, changed } = rows::adopt(tx, actor.org, run, (actor.principal, &actor.name), now)?;
    let record =
        audit::of(actor, "run.adopt", &run.to_string(), origin.clone()).detail(json!({ "before": before, "after": actor.principal }));
    store::audit::record(tx, record, now)?;
    Ok(changed)
}
