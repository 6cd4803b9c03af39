//! Budgets, and their windows: sums of the ledger over the times for which a budget's limit holds.
//!
//! A window's row is made from the ledger when it is first asked for; from then on whatever writes a line adds to it ([`add`]). So for every
//! row there is, what is spent and reserved is what the ledger's lines of its time and scope come to.

pub mod alerts;

use rusqlite::{Row, named_params};

use super::ledger::{Delta, Payer};
use super::tx::Cells;
use super::{Error, Reader, Tx, spending};
use crate::domain::budget::{BudgetScope, Fit, OnExhausted, Period, Standing, Window, zone};
use crate::domain::id::{BudgetId, OrgId, PrincipalId, RunId};
use crate::domain::time::Timestamp;

macro_rules! select {
    () => {
        "SELECT b.id, b.name, b.scope, b.target, b.limit_micros, b.period, b.time_zone, b.on_exhausted, b.raise_micros, b.raise_until, b.version,
        b.created_by, b.created_at, b.updated_at FROM budgets b "
    };
}
// The scopes that a line can be in, each one step of the index.
macro_rules! covering {
    () => {
        "b.org_id = :org AND ((b.scope = 'org' AND b.target = '') OR (b.scope = 'workspace' AND b.target = :workspace)
        OR (b.scope = 'agent' AND b.target = :agent) OR (b.scope = 'principal' AND b.target = :principal)
        OR (b.scope = 'key' AND b.target = :key AND :key <> ''))"
    };
}
macro_rules! in_scope {
    () => {
        "(:scope = 'org' OR (:scope = 'workspace' AND workspace_id = :target) OR (:scope = 'agent' AND agent_id = :target)
        OR (:scope = 'principal' AND principal_id = :target) OR (:scope = 'key' AND key_id = :target))"
    };
}
pub(super) const COVERING: &str = concat!(select!(), "WHERE ", covering!(), " ORDER BY b.id");
pub(super) const ADD: &str = concat!(
    "UPDATE budget_windows SET spent_micros = spent_micros + :spent, reserved_micros = reserved_micros + :reserved
    WHERE budget_id IN (SELECT b.id FROM budgets b WHERE ",
    covering!(),
    ") AND starts_at <= :at AND (ends_at IS NULL OR ends_at > :at) RETURNING budget_id, starts_at, spent_micros, alerted"
);
pub(super) const FIND_WINDOW: &str =
    "SELECT spent_micros, reserved_micros, alerted FROM budget_windows WHERE budget_id = :budget AND starts_at = :starts";
pub(super) const MAKE_WINDOW: &str = "INSERT INTO budget_windows (budget_id, starts_at, ends_at, spent_micros, reserved_micros, alerted)
    VALUES (:budget, :starts, :ends, :spent, :reserved, 0)";
pub(super) const SPENT: &str = concat!(
    "SELECT COALESCE(sum(cost_micros), 0) FROM spending WHERE org_id = :org AND quarter >= :starts AND quarter < :ends AND ",
    in_scope!()
);
// For the rare zone whose days begin within a quarter of an hour.
pub(super) const SPENT_EXACTLY: &str = concat!(
    "SELECT COALESCE(sum(cost_micros), 0) FROM ledger WHERE org_id = :org AND created_at >= :starts AND created_at < :ends AND state = 'settled' AND ",
    in_scope!()
);
pub(super) const RESERVED: &str = concat!(
    "SELECT COALESCE(sum(reserved_micros), 0) FROM ledger INDEXED BY ledger_reserved
    WHERE org_id = :org AND created_at >= :starts AND created_at < :ends AND state = 'reserved' AND ",
    in_scope!()
);
pub(super) const DROP_WINDOWS: &str = "DELETE FROM budget_windows WHERE budget_id = :budget";
pub(super) const GET: &str = concat!(select!(), "WHERE b.id = :budget AND b.org_id = :org");
pub(super) const LIST: &str = concat!(select!(), "WHERE b.org_id = :org AND b.id > :after ORDER BY b.id LIMIT :limit");
pub(super) const COUNT: &str = "SELECT count(*) FROM budgets WHERE org_id = :org";
pub(super) const INSERT: &str = "INSERT INTO budgets
    (id, org_id, name, scope, target, limit_micros, period, time_zone, on_exhausted, created_by, created_at, updated_at)
    VALUES (:id, :org, :name, :scope, :target, :limit, :period, :zone, :on_exhausted, :by, :now, :now)";
pub(super) const CHANGE: &str =
    "UPDATE budgets SET name = :name, scope = :scope, target = :target, limit_micros = :limit, period = :period, time_zone = :zone,
    on_exhausted = :on_exhausted, raise_micros = :raise, raise_until = :raise_until, version = version + 1, updated_at = :now
    WHERE id = :budget AND org_id = :org AND version = :version";
pub(super) const REMOVE: &str = "DELETE FROM budgets WHERE id = :budget AND org_id = :org AND version = :version";
// Runs that wait for money, of one budget or of any; held runs are few beside all there are.
pub(super) const HELD: &str = "SELECT r.id FROM workspaces w JOIN runs r INDEXED BY runs_held ON r.org_id = w.org_id AND r.workspace_id = w.id AND r.holds <> 0
    WHERE w.org_id = :org AND r.holds & 2 <> 0 AND (:budget IS NULL OR r.held_budget_id = :budget) AND r.id > :after ORDER BY r.id LIMIT :limit";
pub(super) const ORGS_HELD: &str = "SELECT DISTINCT org_id FROM runs INDEXED BY runs_held WHERE holds <> 0 AND holds & 2 <> 0";
pub(super) const WORKSPACE: &str = "SELECT name FROM workspaces WHERE org_id = :org AND id = :target AND deleted_at IS NULL";
pub(super) const AGENT: &str = "SELECT name FROM agents WHERE org_id = :org AND id = :target";
pub(super) const PRINCIPAL: &str =
    "SELECT p.name FROM members m JOIN principals p ON p.id = m.principal_id WHERE m.org_id = :org AND m.principal_id = :target";
pub(super) const KEY: &str = "SELECT name FROM api_keys WHERE id = :target AND org_id = :org";

#[cfg(test)]
pub(super) const SQL: [&str; 21] = [
    COVERING,
    ADD,
    FIND_WINDOW,
    MAKE_WINDOW,
    SPENT,
    SPENT_EXACTLY,
    RESERVED,
    alerts::ALERTED,
    DROP_WINDOWS,
    GET,
    LIST,
    COUNT,
    INSERT,
    CHANGE,
    REMOVE,
    HELD,
    ORGS_HELD,
    WORKSPACE,
    AGENT,
    PRINCIPAL,
    KEY,
];

/// A budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub id: BudgetId,
    pub org: OrgId,
    pub name: String,
    pub scope: BudgetScope,
    /// The id of that workspace, agent, principal or key; empty for the organization.
    pub target: String,
    pub limit_micros: u64,
    pub period: Period,
    pub time_zone: String,
    pub on_exhausted: OnExhausted,
    /// So much more, until then.
    pub raise_micros: u64,
    pub raise_until: Option<Timestamp>,
    pub version: u32,
    pub created_by: Option<PrincipalId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Budget {
    /// The limit at a time, with what it is raised by then.
    pub fn limit_at(&self, at: Timestamp) -> u64 {
        match self.raise_until {
            Some(until) if at < until => self.limit_micros.saturating_add(self.raise_micros),
            _ => self.limit_micros,
        }
    }

    /// The window that a time falls into. A zone that this release does not know counts as UTC.
    pub fn window(&self, at: Timestamp) -> Window {
        let zone = zone(&self.time_zone).unwrap_or(jiff::tz::TimeZone::UTC);
        self.period.window(&zone, at)
    }
}

fn budget(org: OrgId, row: &Row<'_>) -> rusqlite::Result<Budget> {
    let mut cells = Cells::of(row);
    Ok(Budget {
        id: cells.take()?,
        org,
        name: cells.take()?,
        scope: cells.take()?,
        target: cells.take()?,
        limit_micros: cells.take::<i64>()? as u64,
        period: cells.take()?,
        time_zone: cells.take()?,
        on_exhausted: cells.take()?,
        raise_micros: cells.take::<i64>()? as u64,
        raise_until: cells.take()?,
        version: cells.take()?,
        created_by: cells.take()?,
        created_at: cells.take()?,
        updated_at: cells.take()?,
    })
}

/// The budgets that cover what somebody pays, in the order in which they were made.
pub fn covering(reader: &Reader<'_>, payer: &Payer) -> Result<Vec<Budget>, Error> {
    reader.list(
        COVERING,
        named_params! {
            ":org": payer.org, ":workspace": payer.workspace, ":agent": payer.agent, ":principal": payer.principal, ":key": payer.key,
        },
        |row| budget(payer.org, row),
    )
}

fn sums(reader: &Reader<'_>, budget: &Budget, window: Window) -> Result<Sums, Error> {
    let ends = window.ends.unwrap_or(Timestamp::from_ms(i64::MAX));
    let sum = |sql: &'static str| {
        reader.get(
            sql,
            named_params! { ":org": budget.org, ":starts": window.starts, ":ends": ends, ":scope": budget.scope, ":target": budget.target },
            |row| row.get::<_, i64>(0),
        )
    };
    let on_quarters = |at: Timestamp| at.as_ms() % spending::QUARTER_MS == 0;
    let is_even = on_quarters(window.starts) && window.ends.is_none_or(on_quarters);
    Ok((sum(if is_even { SPENT } else { SPENT_EXACTLY })?, sum(RESERVED)?))
}

/// What is spent and reserved in a window, in micro-dollars.
type Sums = (i64, i64);

/// What a window's row says, and up to which step people were told.
fn kept(reader: &Reader<'_>, budget: &Budget, window: Window) -> Result<Option<(Sums, u32)>, Error> {
    reader.find(
        FIND_WINDOW,
        named_params! { ":budget": budget.id, ":starts": window.starts },
        |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)),
    )
}

fn standing(budget: &Budget, (spent, reserved): Sums, at: Timestamp) -> Standing {
    Standing {
        limit_micros: budget.limit_at(at),
        spent_micros: spent.max(0) as u64,
        reserved_micros: reserved.max(0) as u64,
    }
}

/// How a budget stands at a time. Its window's row is made where it is not there.
pub fn stands(tx: &Tx<'_>, budget: &Budget, at: Timestamp) -> Result<Standing, Error> {
    let window = budget.window(at);
    if let Some((kept, _)) = kept(tx, budget, window)? {
        return Ok(standing(budget, kept, at));
    }
    let (spent, reserved) = sums(tx, budget, window)?;
    tx.execute(
        MAKE_WINDOW,
        named_params! { ":budget": budget.id, ":starts": window.starts, ":ends": window.ends, ":spent": spent, ":reserved": reserved },
    )?;
    Ok(standing(budget, (spent, reserved), at))
}

/// How a budget stands at a time, without writing anything.
pub fn look(reader: &Reader<'_>, budget: &Budget, at: Timestamp) -> Result<Standing, Error> {
    let window = budget.window(at);
    let found = match kept(reader, budget, window)? {
        Some((kept, _)) => kept,
        None => sums(reader, budget, window)?,
    };
    Ok(standing(budget, found, at))
}

/// Adds to the windows there are of the budgets that cover a line, and tells where one has become nearly used up.
pub(super) fn add(tx: &Tx<'_>, payer: &Payer, at: Timestamp, delta: Delta, now: Timestamp) -> Result<(), Error> {
    let changed: Vec<(BudgetId, Timestamp, i64, u32)> = tx.list(
        ADD,
        named_params! {
            ":spent": delta.spent, ":reserved": delta.reserved, ":org": payer.org, ":workspace": payer.workspace, ":agent": payer.agent,
            ":principal": payer.principal, ":key": payer.key, ":at": at,
        },
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
    )?;
    if delta.spent <= 0 {
        return Ok(());
    }
    for (id, starts, spent, alerted) in changed {
        let budget = get(tx, payer.org, id)?;
        alerts::after_spending(tx, &budget, starts, (spent, alerted), now)?;
    }
    Ok(())
}

/// A budget that is used up, and what it is asked for.
#[derive(Clone, Debug)]
pub struct Over {
    pub budget: Budget,
    pub standing: Standing,
    pub wanted_micros: u64,
}

/// Whether a budget as it is now is still used up for what was wanted of it.
pub fn is_still_over(tx: &Tx<'_>, over: &Over, now: Timestamp) -> Result<Option<Budget>, Error> {
    let budget = match get(tx, over.budget.org, over.budget.id) {
        Ok(budget) => budget,
        Err(Error::NotFound) => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_over = budget.on_exhausted == OnExhausted::Hold && stands(tx, &budget, now)?.fits(over.wanted_micros) == Fit::Exhausted;
    Ok(is_over.then_some(budget))
}

/// # Errors
/// [`Error::NotFound`].
pub fn get(reader: &Reader<'_>, org: OrgId, id: BudgetId) -> Result<Budget, Error> {
    reader.get(GET, named_params! { ":budget": id, ":org": org }, |row| budget(org, row))
}

/// Budgets of an organization after one, in the order in which they were made.
pub fn list(reader: &Reader<'_>, org: OrgId, after: Option<BudgetId>, limit: u32) -> Result<Vec<Budget>, Error> {
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    reader.list(LIST, named_params! { ":org": org, ":after": after, ":limit": limit }, |row| {
        budget(org, row)
    })
}

pub fn count(reader: &Reader<'_>, org: OrgId) -> Result<u32, Error> {
    reader.get(COUNT, named_params! { ":org": org }, |row| row.get(0))
}

pub fn insert(tx: &Tx<'_>, new: &Budget) -> Result<(), Error> {
    tx.execute(
        INSERT,
        named_params! {
            ":id": new.id, ":org": new.org, ":name": new.name, ":scope": new.scope, ":target": new.target, ":limit": new.limit_micros as i64,
            ":period": new.period, ":zone": new.time_zone, ":on_exhausted": new.on_exhausted, ":by": new.created_by, ":now": new.created_at,
        },
    )?;
    Ok(())
}

/// Stores what a budget is now; its windows begin anew where they are others.
///
/// # Errors
/// [`Error::Conflict`] where it was changed meanwhile.
pub fn change(tx: &Tx<'_>, before: &Budget, after: &Budget, now: Timestamp) -> Result<(), Error> {
    let changed = tx.execute(
        CHANGE,
        named_params! {
            ":name": after.name, ":scope": after.scope, ":target": after.target, ":limit": after.limit_micros as i64, ":period": after.period,
            ":zone": after.time_zone, ":on_exhausted": after.on_exhausted, ":raise": after.raise_micros as i64,
            ":raise_until": after.raise_until, ":now": now, ":budget": before.id, ":org": before.org, ":version": before.version,
        },
    )?;
    if changed == 0 {
        return Err(Error::Conflict("the budget was changed meanwhile; look at it again".to_owned()));
    }
    let what = |budget: &Budget| (budget.scope, budget.target.clone(), budget.period, budget.time_zone.clone());
    if what(before) != what(after) {
        tx.execute(DROP_WINDOWS, named_params! { ":budget": before.id })?;
    }
    Ok(())
}

/// # Errors
/// [`Error::Conflict`] where it was changed meanwhile.
pub fn remove(tx: &Tx<'_>, budget: &Budget) -> Result<(), Error> {
    let removed = tx.execute(
        REMOVE,
        named_params! { ":budget": budget.id, ":org": budget.org, ":version": budget.version },
    )?;
    match removed {
        0 => Err(Error::Conflict("the budget was changed meanwhile; look at it again".to_owned())),
        _ => Ok(()),
    }
}

/// What something is called that a budget is to cover; `None` where it is not there.
pub fn target_name(reader: &Reader<'_>, org: OrgId, scope: BudgetScope, target: &str) -> Result<Option<String>, Error> {
    let sql = match scope {
        BudgetScope::Org => return Ok(target.is_empty().then(String::new)),
        BudgetScope::Workspace => WORKSPACE,
        BudgetScope::Agent => AGENT,
        BudgetScope::Principal => PRINCIPAL,
        BudgetScope::Key => KEY,
    };
    reader.find(sql, named_params! { ":org": org, ":target": target }, |row| row.get(0))
}

/// Runs that wait for money of this budget, or of any where none is named; after one, the oldest first, at most `limit`.
pub fn held(reader: &Reader<'_>, (org, budget): (OrgId, Option<BudgetId>), after: Option<RunId>, limit: u32) -> Result<Vec<RunId>, Error> {
    let after = after.map(|run| run.to_string()).unwrap_or_default();
    reader.list(
        HELD,
        named_params! { ":org": org, ":budget": budget, ":after": after, ":limit": limit },
        |row| row.get(0),
    )
}

/// Organizations with runs that wait for money.
pub fn orgs_with_held(reader: &Reader<'_>) -> Result<Vec<OrgId>, Error> {
    reader.list(ORGS_HELD, [], |row| row.get(0))
}
