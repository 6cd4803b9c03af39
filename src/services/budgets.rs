//! Budgets: what may be spent by whom in which time, how each stands, and the runs that wait for money.

use std::time::Duration;

use serde_json::json;

use super::access::require;
use super::{App, Error, FieldError, audit, waits};
use crate::domain::budget::{BudgetScope, OnExhausted, Period, Standing, Window, zone};
use crate::domain::id::{BudgetId, OrgId, RunId};
use crate::domain::limits::{NAME_BYTES_MAX, PAGE_MAX};
use crate::domain::money::dollars;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::domain::run::RunState;
use crate::domain::time::Timestamp;
use crate::store::budgets::{self as rows, Budget};
use crate::store::runs::holds::{self, Held};
use crate::store::{self, Reader, Tx, runs};

const WHAT: &str = "the budget";
/// Budgets that an organization can have.
pub const BUDGETS_MAX: u32 = 200;
/// Micro-dollars that a budget can have, or be raised by: a billion dollars.
pub const LIMIT_MICROS_MAX: u64 = 1_000_000_000_000_000;
/// How long a budget can be raised.
pub const RAISE_MAX: Duration = Duration::from_hours(366 * 24);
/// Held runs that are counted for a list.
const HELD_COUNT_MAX: u32 = 1_000;
/// Held runs that are let go on, or stopped, in one transaction.
const HELD_PAGE: u32 = 256;

/// A budget and how it stands.
#[derive(Clone, Debug)]
pub struct Shown {
    pub budget: Budget,
    /// What its target is called; empty for the organization, and for what is gone.
    pub target_name: String,
    pub window: Window,
    /// With the limit as it is raised now.
    pub standing: Standing,
    /// Runs that it covers and that wait for money, counted no further than 1,000.
    pub held: u32,
}

/// A budget to be made.
#[derive(Clone, Debug)]
pub struct NewBudget {
    pub name: String,
    pub scope: BudgetScope,
    pub target: String,
    pub limit_micros: u64,
    pub period: Period,
    pub time_zone: String,
    pub on_exhausted: OnExhausted,
}

/// What is to be another; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub name: Option<String>,
    pub scope: Option<BudgetScope>,
    pub target: Option<String>,
    pub limit_micros: Option<u64>,
    pub period: Option<Period>,
    pub time_zone: Option<String>,
    pub on_exhausted: Option<OnExhausted>,
}

fn named(error: store::Error) -> Error {
    match error {
        store::Error::NotFound => Error::NotFound(WHAT),
        other => other.into(),
    }
}

fn show(reader: &Reader<'_>, budget: Budget, now: Timestamp) -> Result<Shown, store::Error> {
    let held_by = (budget.org, Some(budget.id));
    Ok(Shown {
        target_name: rows::target_name(reader, budget.org, budget.scope, &budget.target)?.unwrap_or_default(),
        window: budget.window(now),
        standing: rows::look(reader, &budget, now)?,
        held: rows::held(reader, held_by, None, HELD_COUNT_MAX)?
            .len()
            .try_into()
            .unwrap_or(HELD_COUNT_MAX),
        budget,
    })
}

/// Budgets after one, in the order in which they were made.
///
/// # Errors
/// `Forbidden`.
pub async fn list(app: &App, actor: &Actor, after: Option<BudgetId>, limit: u32) -> Result<Vec<Shown>, Error> {
    require(actor, Permission::CostsRead, actor.org, WHAT)?;
    let (org, limit, now) = (actor.org, limit.clamp(1, PAGE_MAX + 1), app.clock.now());
    let listed = app.store.read(move |reader| {
        let found = rows::list(reader, org, after, limit)?;
        found
            .into_iter()
            .map(|budget| show(reader, budget, now))
            .collect::<Result<Vec<_>, _>>()
    });
    Ok(listed.await?)
}

/// One budget.
///
/// # Errors
/// `Forbidden`, `NotFound`.
pub async fn get(app: &App, actor: &Actor, id: BudgetId) -> Result<Shown, Error> {
    require(actor, Permission::CostsRead, actor.org, WHAT)?;
    let (org, now) = (actor.org, app.clock.now());
    let found = app.store.read(move |reader| show(reader, rows::get(reader, org, id)?, now));
    found.await.map_err(named)
}

/// What is wrong with a budget, as fields.
fn problems(budget: &Budget) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    let mut say = |pointer: &str, message: String| {
        wrong.push(FieldError {
            pointer: pointer.to_owned(),
            message,
        });
    };
    let name = &budget.name;
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        say("/name", format!("give the budget a name of at most {NAME_BYTES_MAX} bytes"));
    }
    if budget.limit_micros > LIMIT_MICROS_MAX {
        say("/limit_micros", format!("a budget has at most {LIMIT_MICROS_MAX} micro-dollars"));
    }
    if zone(&budget.time_zone).is_none() {
        say(
            "/time_zone",
            format!(
                "there is no time zone {:?}; write one such as Europe/Berlin or UTC",
                budget.time_zone
            ),
        );
    }
    if budget.scope == BudgetScope::Org && !budget.target.is_empty() {
        say("/target", "a budget of the organization has no target".to_owned());
    }
    wrong
}

fn check_target(reader: &Reader<'_>, budget: &Budget) -> Result<(), Error> {
    match rows::target_name(reader, budget.org, budget.scope, &budget.target)? {
        Some(_) => Ok(()),
        None => Err(Error::field(
            "/target",
            format!("the organization has no {} with this id", budget.scope),
        )),
    }
}

fn detail(budget: &Budget) -> serde_json::Value {
    json!({
        "name": budget.name, "scope": budget.scope, "target": budget.target, "limit_micros": budget.limit_micros, "period": budget.period,
        "time_zone": budget.time_zone, "on_exhausted": budget.on_exhausted, "raise_micros": budget.raise_micros,
        "raise_until": budget.raise_until.map(Timestamp::as_ms),
    })
}

/// Makes a budget. What was spent before in its window counts.
///
/// # Errors
/// `Forbidden`; `Invalid` with the fields; `TooLarge` where there are too many.
pub async fn create(app: &App, actor: &Actor, new: NewBudget, origin: Origin) -> Result<Shown, Error> {
    require(actor, Permission::BudgetsManage, actor.org, WHAT)?;
    let now = app.clock.now();
    let budget = Budget {
        id: BudgetId::new(now),
        org: actor.org,
        name: new.name.trim().to_owned(),
        scope: new.scope,
        target: new.target.trim().to_owned(),
        limit_micros: new.limit_micros,
        period: new.period,
        time_zone: new.time_zone,
        on_exhausted: new.on_exhausted,
        raise_micros: 0,
        raise_until: None,
        version: 1,
        created_by: Some(actor.principal),
        created_at: now,
        updated_at: now,
    };
    let wrong = problems(&budget);
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let record = audit::of(actor, "budget.create", &budget.id.to_string(), origin).detail(detail(&budget));
    let made = app.store.write(move |tx| {
        if let Err(error) = check_target(tx, &budget) {
            return Ok(Err(error));
        }
        if rows::count(tx, budget.org)? >= BUDGETS_MAX {
            let text = format!("an organization has at most {BUDGETS_MAX} budgets; remove one that is not needed");
            return Err(store::Error::Limit(text));
        }
        rows::insert(tx, &budget)?;
        rows::alerts::after_change(tx, &budget, now)?;
        store::audit::record(tx, record, now)?;
        show(tx, budget, now).map(Ok)
    });
    made.await?
}

/// Reads a budget, changes it, and stores it with its audit record.
async fn update(
    app: &App,
    actor: &Actor,
    (id, expected): (BudgetId, Option<u32>),
    action: &'static str,
    origin: Origin,
    change: impl FnOnce(&mut Budget) -> Result<(), Error> + Send + 'static,
) -> Result<Shown, Error> {
    require(actor, Permission::BudgetsManage, actor.org, WHAT)?;
    let (org, now) = (actor.org, app.clock.now());
    let record = audit::of(actor, action, &id.to_string(), origin);
    let changed = app.store.write(move |tx| {
        let before = rows::get(tx, org, id)?;
        check_version(&before, expected)?;
        let mut after = before.clone();
        let checked = change(&mut after).and_then(|()| match problems(&after) {
            wrong if wrong.is_empty() => Ok(()),
            wrong => Err(Error::Invalid(wrong)),
        });
        // What a budget covers may be gone since: that changes nothing about its limit.
        let is_moved = (before.scope, &before.target) != (after.scope, &after.target);
        if let Err(error) = checked.and_then(|()| if is_moved { check_target(tx, &after) } else { Ok(()) }) {
            return Ok(Err(error));
        }
        rows::change(tx, &before, &after, now)?;
        let record = record.detail(json!({ "before": detail(&before), "after": detail(&after) }));
        store::audit::record(tx, record, now)?;
        let after = rows::get(tx, org, id)?;
        rows::alerts::after_change(tx, &after, now)?;
        show(tx, after, now).map(Ok)
    });
    let shown = changed.await.map_err(named)??;
    app.money.came_back();
    release(app, (org, Some(id)), Some(actor)).await?;
    Ok(shown)
}

fn check_version(budget: &Budget, expected: Option<u32>) -> Result<(), store::Error> {
    match expected {
        Some(expected) if expected != budget.version => Err(store::Error::Conflict(format!(
            "the budget is at version {}, and the change was made from version {expected}; look at it, then make your change again",
            budget.version
        ))),
        _ => Ok(()),
    }
}

/// Changes a budget; what is not given stays. Runs that wait for it ask again.
///
/// # Errors
/// `Forbidden`, `NotFound`; `Invalid` with the fields; `Conflict` where it was changed meanwhile.
pub async fn change(app: &App, actor: &Actor, id: BudgetId, change: Change, expected: Option<u32>, origin: Origin) -> Result<Shown, Error> {
    update(app, actor, (id, expected), "budget.change", origin, move |budget| {
        let Change {
            name,
            scope,
            target,
            limit_micros,
            period,
            time_zone,
            on_exhausted,
        } = change;
        budget.name = name.map_or_else(|| budget.name.clone(), |name| name.trim().to_owned());
        budget.scope = scope.unwrap_or(budget.scope);
        budget.target = target.map_or_else(|| budget.target.clone(), |target| target.trim().to_owned());
        budget.limit_micros = limit_micros.unwrap_or(budget.limit_micros);
        budget.period = period.unwrap_or(budget.period);
        budget.time_zone = time_zone.unwrap_or_else(|| budget.time_zone.clone());
        budget.on_exhausted = on_exhausted.unwrap_or(budget.on_exhausted);
        Ok(())
    })
    .await
}

/// Raises a budget by so much until then; 0 takes an earlier raise back. Runs that wait for it ask again.
///
/// # Errors
/// `Forbidden`, `NotFound`; `Invalid` with the fields; `Conflict` where it was changed meanwhile.
pub async fn raise(
    app: &App,
    actor: &Actor,
    id: BudgetId,
    (micros, until): (u64, Timestamp),
    expected: Option<u32>,
    origin: Origin,
) -> Result<Shown, Error> {
    let now = app.clock.now();
    update(app, actor, (id, expected), "budget.raise", origin, move |budget| {
        if micros > LIMIT_MICROS_MAX {
            return Err(Error::field(
                "/raise_micros",
                format!("raise it by at most {LIMIT_MICROS_MAX} micro-dollars"),
            ));
        }
        if micros > 0 && (until <= now || until > now.plus(RAISE_MAX)) {
            return Err(Error::field("/until", "name a time that is yet to come, within 366 days"));
        }
        budget.raise_micros = micros;
        budget.raise_until = (micros > 0).then_some(until);
        Ok(())
    })
    .await
}

/// Removes a budget. Runs that wait for it ask the others.
///
/// # Errors
/// `Forbidden`, `NotFound`; `Conflict` where it was changed meanwhile.
pub async fn remove(app: &App, actor: &Actor, id: BudgetId, expected: Option<u32>, origin: Origin) -> Result<(), Error> {
    require(actor, Permission::BudgetsManage, actor.org, WHAT)?;
    let (org, now) = (actor.org, app.clock.now());
    let record = audit::of(actor, "budget.remove", &id.to_string(), origin);
    let removed = app.store.write(move |tx| {
        let budget = rows::get(tx, org, id)?;
        check_version(&budget, expected)?;
        rows::remove(tx, &budget)?;
        store::audit::record(tx, record.detail(detail(&budget)), now)
    });
    removed.await.map_err(named)?;
    app.money.came_back();
    release(app, (org, Some(id)), Some(actor)).await?;
    Ok(())
}

// ---- held runs -------------------------------------------------------------------------------------------------------

/// An organization, and one of its budgets or all.
type HeldBy = (OrgId, Option<BudgetId>);

/// Does something with each run that waits for money, page by page. Returns how many it was done with.
async fn each_held<T: Send + 'static>(
    app: &App,
    (org, budget): HeldBy,
    work: impl Fn(&Tx<'_>, RunId, Timestamp) -> Result<Option<T>, store::Error> + Clone + Send + 'static,
    announce: impl Fn(RunId, T),
) -> Result<u32, Error> {
    let (mut after, mut done) = (None, 0);
    loop {
        let (work, now) = (work.clone(), app.clock.now());
        let page = app.store.write(move |tx| {
            let held = rows::held(tx, (org, budget), after, HELD_PAGE)?;
            let changed = held.iter().map(|&run| Ok(work(tx, run, now)?.map(|outcome| (run, outcome))));
            let changed: Vec<(RunId, T)> = changed.filter_map(Result::transpose).collect::<Result<_, store::Error>>()?;
            Ok((held.last().copied(), held.len(), changed))
        });
        let (last, found, changed) = page.await?;
        for (run, outcome) in changed {
            done += 1;
            announce(run, outcome);
        }
        if found < HELD_PAGE as usize {
            return Ok(done);
        }
        after = last;
    }
}

/// Has runs that wait for money ask their budgets again.
async fn release(app: &App, held_by: HeldBy, actor: Option<&Actor>) -> Result<u32, Error> {
    let (org, by) = (held_by.0, actor.map(|actor| actor.principal));
    let released = each_held(
        app,
        held_by,
        move |tx, run, now| holds::budget_again(tx, org, run, by, now),
        |run, held: Held| {
            if let Some(seq) = held.seq {
                app.feed.announce(run, seq, Some(held.state));
            }
        },
    );
    let released = released.await?;
    if released > 0 {
        app.dispatcher.queued();
    }
    Ok(released)
}

/// Has the runs that wait for a budget ask again. Returns how many.
///
/// # Errors
/// `Forbidden`, `NotFound`.
pub async fn resume_held(app: &App, actor: &Actor, id: BudgetId, origin: Origin) -> Result<u32, Error> {
    let budget = for_held(app, actor, id, "budget.resume-held", origin).await?;
    release(app, (budget.org, Some(id)), Some(actor)).await
}

/// Cancels the runs that wait for a budget. Returns how many.
///
/// # Errors
/// `Forbidden`, `NotFound`.
pub async fn cancel_held(app: &App, actor: &Actor, id: BudgetId, origin: Origin) -> Result<u32, Error> {
    let budget = for_held(app, actor, id, "budget.cancel-held", origin).await?;
    let (org, by) = (budget.org, actor.principal);
    let why = format!("it waited for money of the budget “{}”", budget.name);
    each_held(
        app,
        (org, Some(id)),
        move |tx, run, now| {
            let mut touched = Vec::new();
            let state = runs::cancel(tx, org, run, Some(by), &why, now, &mut touched)?;
            Ok((state == RunState::Cancelled || !touched.is_empty()).then_some(touched))
        },
        |_, touched| waits::announce(app, &touched),
    )
    .await
}

/// The budget, after it was written down who does something about the runs that it holds.
async fn for_held(app: &App, actor: &Actor, id: BudgetId, action: &'static str, origin: Origin) -> Result<Budget, Error> {
    require(actor, Permission::BudgetsManage, actor.org, WHAT)?;
    let (org, now) = (actor.org, app.clock.now());
    let record = audit::of(actor, action, &id.to_string(), origin);
    let found = app.store.write(move |tx| {
        let budget = rows::get(tx, org, id)?;
        let standing = rows::look(tx, &budget, now)?;
        let detail = json!({ "name": budget.name, "spent": dollars(standing.spent_micros), "limit": dollars(standing.limit_micros) });
        store::audit::record(tx, record.detail(detail), now)?;
        Ok(budget)
    });
    found.await.map_err(named)
}

/// Has runs ask again whose budgets have begun anew, and finds out when the next does. At the start all ask again: what would have let them
/// go on may have happened while nobody looked.
pub(super) async fn release_due(app: &App) -> Result<(), Error> {
    let now = app.clock.now();
    if app.money.next().is_none_or(|at| at > now) {
        return Ok(());
    }
    let looked = app.money.look(now);
    let released = release_since(app, looked, now).await;
    if released.is_err() {
        app.money.held_until(now);
    }
    released
}

async fn release_since(app: &App, looked: Timestamp, now: Timestamp) -> Result<(), Error> {
    for org in app.store.read(rows::orgs_with_held).await? {
        let budgets = app.store.read(move |reader| rows::list(reader, org, None, BUDGETS_MAX)).await?;
        if looked.as_ms() < 0 {
            release(app, (org, None), None).await?;
        }
        for budget in budgets.into_iter().filter(|budget| budget.on_exhausted == OnExhausted::Hold) {
            let window = budget.window(now);
            if let Some(ends) = window.ends {
                app.money.held_until(ends);
            }
            if looked.as_ms() >= 0 && window.starts > looked {
                release(app, (org, Some(budget.id)), None).await?;
            }
        }
    }
    Ok(())
}
