//! What was spent: one line for each try of each paid call, reserved before it is sent and settled after, and one for each other use.
//!
//! Whatever changes a line changes, in the same transaction, every sum that is made of lines: the run's and those of the runs above it, the
//! quarter of an hour in [`super::spending`], and the windows of the budgets that cover it.

mod corrections;
#[cfg(test)]
mod tests;

use rusqlite::{Row, named_params};

pub use self::corrections::{Settled, correct, settled};
use super::runs::NewRun;
use super::tx::Cells;
use super::{Error, Reader, Scope, Tx, budgets, spending};
use crate::domain::budget::LineKind;
use crate::domain::id::{AgentId, LedgerId, OrgId, PrincipalId, RunId, WorkspaceId};
use crate::domain::money::{Charge, Usage};
use crate::domain::run::Environment;
use crate::domain::time::Timestamp;

macro_rules! select {
    () => {
        "SELECT id, run_id, workspace_id, environment, agent_id, principal_id, key_id, segment, call, sub, try, kind, provider, provider_name, model,
        reserved_micros, created_at FROM ledger "
    };
}
pub(super) const OF_SEGMENT: &str = "SELECT COALESCE(sum(CASE state WHEN 'settled' THEN cost_micros ELSE 0 END), 0),
    COALESCE(sum(CASE state WHEN 'reserved' THEN reserved_micros ELSE 0 END), 0)
    FROM ledger WHERE org_id = :org AND run_id = :run AND segment = :segment";
pub(super) const OF_RUN: &str = "SELECT COALESCE(sum(CASE state WHEN 'reserved' THEN reserved_micros ELSE cost_micros END), 0)
    FROM ledger WHERE org_id = :org AND run_id = :run";
pub(super) const INSERT: &str = "INSERT INTO ledger
    (id, org_id, workspace_id, environment, run_id, agent_id, principal_id, key_id, segment, call, sub, try, kind, provider, provider_name, model,
     corrects, state, reserved_micros, cost_micros, quantity, created_at, settled_at)
    VALUES (:id, :org, :workspace, :environment, :run, :agent, :principal, :key, :segment, :call, :sub,
     max(:try, COALESCE((SELECT max(l.try) + 1 FROM ledger l WHERE l.org_id = :org AND l.run_id = :run AND l.segment = :segment
      AND l.call = :call AND l.sub = :sub AND l.kind = :kind AND l.kind IN ('model', 'http', 'tool')), 0)),
     :kind, :provider, :provider_name, :model, :corrects, :state, :reserved, :cost, :quantity, :at, :settled_at) RETURNING try";
pub(super) const RESERVED: &str = concat!(
    select!(),
    "WHERE org_id = :org AND run_id = :run AND segment = :segment AND call = :call AND sub = :sub AND try = :try AND kind = :kind
    AND state = 'reserved' AND kind IN ('model', 'http', 'tool')"
);
pub(super) const LOST: &str = concat!(
    select!(),
    "WHERE org_id = :org AND run_id = :run AND segment = :segment AND call = :call AND sub = :sub AND state = 'reserved'"
);
pub(super) const LEFT: &str = concat!(select!(), "WHERE org_id = :org AND run_id = :run AND state = 'reserved'");
// One step of the index for each organization.
pub(super) const LEFT_ANYWHERE: &str =
    "SELECT l.org_id, l.run_id FROM ledger l INDEXED BY ledger_reserved WHERE l.state = 'reserved' LIMIT :limit";
pub(super) const SETTLE: &str =
    "UPDATE ledger SET state = :state, cost_micros = :cost, estimated = :estimated, input_tokens = :input, cache_read_tokens = :cache_read,
    cache_write_tokens = :cache_write, output_tokens = :output, quantity = :quantity, provider = :provider, provider_name = :provider_name,
    model = :model, settled_at = :now WHERE id = :id";
pub(super) const ADD_TO_RUN: &str =
    "UPDATE runs SET input_tokens = input_tokens + :input, output_tokens = output_tokens + :output, cost_micros = cost_micros + :cost,
    tree_spent_micros = tree_spent_micros + :cost, tree_reserved_micros = tree_reserved_micros + :reserved
    WHERE id = :run AND org_id = :org RETURNING parent_run_id";
pub(super) const ADD_ABOVE: &str = "WITH RECURSIVE chain (id, steps) AS (
        SELECT :parent, 0
        UNION ALL
        SELECT r.parent_run_id, chain.steps + 1 FROM chain JOIN runs r ON r.id = chain.id
        WHERE r.org_id = :org AND r.parent_run_id IS NOT NULL AND chain.steps < 32)
    UPDATE runs SET tree_spent_micros = tree_spent_micros + :cost, tree_reserved_micros = tree_reserved_micros + :reserved
    WHERE org_id = :org AND id IN (SELECT id FROM chain)";
pub(super) const LIMITS: &str = "WITH RECURSIVE chain (id, parent, name, budget, spent, reserved, steps) AS (
        SELECT id, parent_run_id, agent_name, budget_micros, tree_spent_micros, tree_reserved_micros, 0 FROM runs WHERE id = :run AND org_id = :org
        UNION ALL
        SELECT r.id, r.parent_run_id, r.agent_name, r.budget_micros, r.tree_spent_micros, r.tree_reserved_micros, chain.steps + 1
        FROM chain JOIN runs r ON r.id = chain.parent WHERE r.org_id = :org AND chain.steps < 32)
    SELECT id, name, budget, spent, reserved FROM chain ORDER BY steps";

#[cfg(test)]
pub(super) const SQL: [&str; 10] = [
    OF_SEGMENT, OF_RUN, INSERT, RESERVED, LOST, LEFT, SETTLE, ADD_TO_RUN, ADD_ABOVE, LIMITS,
];

/// Whose money a line is: the run, and what budgets know it by.
#[derive(Clone, Debug)]
pub struct Payer {
    pub org: OrgId,
    pub workspace: WorkspaceId,
    pub environment: Environment,
    pub run: RunId,
    pub agent: AgentId,
    /// Who started the run.
    pub principal: PrincipalId,
    /// The API key with which they did; empty where it was none.
    pub key: String,
}

impl Payer {
    /// Of a run that is made now.
    pub fn of(scope: Scope, run: &NewRun) -> Self {
        Self {
            org: scope.org,
            workspace: scope.workspace,
            environment: run.environment.clone(),
            run: run.id,
            agent: run.agent_id,
            principal: run.started_by,
            key: run.key.clone(),
        }
    }
}

/// What a line pays for.
#[derive(Clone, Debug)]
pub struct Item {
    pub kind: LineKind,
    /// As prices know it: a preset; `station` for what is no model.
    pub provider: String,
    pub provider_name: String,
    /// The provider's model; of http the host, of a tool its name.
    pub model: String,
    /// Of what is no model call: requests, units of fuel, bytes.
    pub quantity: u64,
}

/// Names the try of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryKey {
    pub segment: u32,
    pub call: u32,
    pub sub: u32,
    pub tries: u32,
}

/// A reserved line.
#[derive(Clone, Debug)]
struct Line {
    id: LedgerId,
    payer: Payer,
    key: TryKey,
    item: Item,
    reserved: u64,
    at: Timestamp,
}

fn line(org: OrgId, row: &Row<'_>) -> rusqlite::Result<Line> {
    let mut cells = Cells::of(row);
    let id = cells.take()?;
    let (run, workspace, environment, agent) = (cells.take()?, cells.take()?, cells.take()?, cells.take()?);
    let (principal, key) = (cells.take()?, cells.take()?);
    let place = TryKey {
        segment: cells.take()?,
        call: cells.take()?,
        sub: cells.take()?,
        tries: cells.take()?,
    };
    Ok(Line {
        id,
        payer: Payer {
            org,
            workspace,
            environment,
            run,
            agent,
            principal,
            key,
        },
        key: place,
        item: Item {
            kind: cells.take()?,
            provider: cells.take()?,
            provider_name: cells.take()?,
            model: cells.take()?,
            quantity: 0,
        },
        reserved: cells.take::<i64>()? as u64,
        at: cells.take()?,
    })
}

/// What a call really used.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Of each that was paid, in order. The first stands on the reserved line, the others on lines of the next tries.
    pub charges: Vec<Charge>,
    pub quantity: u64,
}

/// A change of sums, in micro-dollars.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delta {
    pub spent: i64,
    pub reserved: i64,
}

/// Adds to every sum but the quarter's.
fn add(tx: &Tx<'_>, payer: &Payer, at: Timestamp, usage: Usage, delta: Delta, now: Timestamp) -> Result<(), Error> {
    let Delta { spent, reserved } = delta;
    if spent == 0 && reserved == 0 && usage == Usage::default() {
        return Ok(());
    }
    let parent: Option<Option<RunId>> = tx.find(
        ADD_TO_RUN,
        named_params! {
            ":input": usage.input_total() as i64, ":output": usage.output_tokens as i64, ":cost": spent, ":reserved": reserved,
            ":run": payer.run, ":org": payer.org,
        },
        |row| row.get(0),
    )?;
    if spent == 0 && reserved == 0 {
        return Ok(());
    }
    if let Some(Some(parent)) = parent {
        tx.execute(
            ADD_ABOVE,
            named_params! { ":parent": parent, ":org": payer.org, ":cost": spent, ":reserved": reserved },
        )?;
    }
    budgets::add(tx, payer, at, delta, now)
}

/// Reserves the most that a call can cost, before it is sent. A call that can cost nothing has no line before it is settled. Returns under
/// which try: the one that was asked for, or the next that is free.
pub fn reserve(tx: &Tx<'_>, payer: &Payer, key: &TryKey, item: &Item, micros: u64, now: Timestamp) -> Result<u32, Error> {
    let (_, tries) = insert(tx, payer, key, item, (None, "reserved"), (micros, 0), (now, None))?;
    let delta = Delta {
        spent: 0,
        reserved: micros as i64,
    };
    add(tx, payer, now, Usage::default(), delta, now)?;
    Ok(tries)
}

fn insert(
    tx: &Tx<'_>,
    payer: &Payer,
    key: &TryKey,
    item: &Item,
    (corrects, state): (Option<LedgerId>, &str),
    (reserved, cost): (u64, i64),
    (at, settled_at): (Timestamp, Option<Timestamp>),
) -> Result<(LedgerId, u32), Error> {
    let id = LedgerId::new(settled_at.unwrap_or(at));
    let tries = tx.get(
        INSERT,
        named_params! {
            ":id": id, ":org": payer.org, ":workspace": payer.workspace, ":environment": payer.environment, ":run": payer.run,
            ":agent": payer.agent, ":principal": payer.principal, ":key": payer.key, ":segment": key.segment, ":call": key.call, ":sub": key.sub,
            ":try": key.tries, ":kind": item.kind, ":provider": item.provider, ":provider_name": item.provider_name, ":model": item.model,
            ":corrects": corrects, ":state": state, ":reserved": reserved as i64, ":cost": cost, ":quantity": item.quantity as i64, ":at": at,
            ":settled_at": settled_at,
        },
        |row| row.get(0),
    )?;
    Ok((id, tries))
}

/// Writes down what was used without a reservation, because it could cost nothing, or because nobody can know before: settled at once.
pub fn note(tx: &Tx<'_>, payer: &Payer, key: &TryKey, item: &Item, cost_micros: u64, now: Timestamp) -> Result<(), Error> {
    insert(tx, payer, key, item, (None, "settled"), (0, cost_micros as i64), (now, Some(now)))?;
    let booked = spending::Booked {
        calls: 1,
        cost_micros: cost_micros as i64,
        quantity: item.quantity,
        ..spending::Booked::default()
    };
    spending::add(tx, payer, item, now, &booked)?;
    let delta = Delta {
        spent: cost_micros as i64,
        reserved: 0,
    };
    add(tx, payer, now, Usage::default(), delta, now)
}

/// Settles the try of a call, whatever the run's fence. Without a settlement it is released. Returns whether it was reserved.
pub fn settle(
    tx: &Tx<'_>,
    (org, run): (OrgId, RunId),
    key: &TryKey,
    kind: LineKind,
    settlement: Option<&Settlement>,
    now: Timestamp,
) -> Result<bool, Error> {
    let found = tx.find(
        RESERVED,
        named_params! {
            ":org": org, ":run": run, ":segment": key.segment, ":call": key.call, ":sub": key.sub, ":try": key.tries, ":kind": kind,
        },
        |row| line(org, row),
    )?;
    match found {
        Some(line) => close(tx, line, settlement, now).map(|()| true),
        None => Ok(false),
    }
}

fn close(tx: &Tx<'_>, line: Line, settlement: Option<&Settlement>, now: Timestamp) -> Result<(), Error> {
    let Some(settlement) = settlement else {
        return close_one(tx, line, None, now);
    };
    let mut charges = settlement.charges.iter().cloned();
    let first = charges.next().unwrap_or_default();
    let others: Vec<Charge> = charges.collect();
    let beside = line.clone();
    close_one(tx, line, Some((first, settlement.quantity)), now)?;
    for charge in others {
        // What it can cost was reserved on the first line.
        let mut line = Line {
            reserved: 0,
            ..beside.clone()
        };
        (line.id, _) = insert(tx, &line.payer, &line.key, &line.item, (None, "reserved"), (0, 0), (line.at, None))?;
        close_one(tx, line, Some((charge, settlement.quantity)), now)?;
    }
    Ok(())
}

fn close_one(tx: &Tx<'_>, mut line: Line, settled: Option<(Charge, u64)>, now: Timestamp) -> Result<(), Error> {
    let is_settled = settled.is_some();
    let (charge, quantity) = settled.unwrap_or_default();
    let (usage, cost) = (charge.usage, charge.cost_micros);
    // Who answered may be another than was reserved for.
    if !charge.model.is_empty() {
        line.item.provider = charge.provider;
        line.item.provider_name = charge.provider_name;
        line.item.model = charge.model;
    }
    line.item.quantity = quantity;
    tx.execute(
        SETTLE,
        named_params! {
            ":state": if is_settled { "settled" } else { "released" }, ":cost": cost as i64, ":estimated": charge.estimated,
            ":input": usage.input_tokens as i64, ":cache_read": usage.cache_read_tokens as i64,
            ":cache_write": usage.cache_write_tokens as i64, ":output": usage.output_tokens as i64, ":quantity": line.item.quantity as i64,
            ":provider": line.item.provider, ":provider_name": line.item.provider_name, ":model": line.item.model, ":now": now, ":id": line.id,
        },
    )?;
    if is_settled {
        let booked = spending::Booked {
            calls: 1,
            estimated: u32::from(charge.estimated),
            cost_micros: cost as i64,
            usage,
            quantity: line.item.quantity,
        };
        spending::add(tx, &line.payer, &line.item, line.at, &booked)?;
    }
    let delta = Delta {
        spent: cost as i64,
        reserved: -(line.reserved as i64),
    };
    add(tx, &line.payer, line.at, usage, delta, now)
}

/// Settles lines at their full reservation, which is all that is known of them.
fn lose(tx: &Tx<'_>, lost: Vec<Line>, now: Timestamp) -> Result<(), Error> {
    for line in lost {
        let settlement = Settlement {
            charges: vec![Charge {
                cost_micros: line.reserved,
                estimated: true,
                ..Charge::default()
            }],
            quantity: u64::from(line.item.kind != LineKind::Model),
        };
        close(tx, line, Some(&settlement), now)?;
    }
    Ok(())
}

/// Settles what a crash left reserved for this call.
pub fn settle_lost_tries(tx: &Tx<'_>, org: OrgId, run: RunId, key: &TryKey, now: Timestamp) -> Result<(), Error> {
    let lost = tx.list(
        LOST,
        named_params! { ":org": org, ":run": run, ":segment": key.segment, ":call": key.call, ":sub": key.sub },
        |row| line(org, row),
    )?;
    lose(tx, lost, now)
}

/// Settles what was left reserved for a run that will not finish those calls any more.
pub fn settle_left(tx: &Tx<'_>, org: OrgId, run: RunId, now: Timestamp) -> Result<(), Error> {
    let lost = tx.list(LEFT, named_params! { ":org": org, ":run": run }, |row| line(org, row))?;
    lose(tx, lost, now)
}

/// Settles what an earlier process left reserved, so that nothing waits for it. To be called while nothing runs. Returns whether there may
/// be more.
pub fn settle_all_left(tx: &Tx<'_>, limit: u32, now: Timestamp) -> Result<bool, Error> {
    let mut left: Vec<(OrgId, RunId)> = tx.list(LEFT_ANYWHERE, named_params! { ":limit": limit }, |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    let found = left.len();
    left.dedup();
    for (org, run) in left {
        settle_left(tx, org, run, now)?;
    }
    Ok(found == limit as usize)
}

/// What a segment has spent, and what it has reserved, in micro-dollars.
pub fn of_segment(reader: &Reader<'_>, org: OrgId, run: RunId, segment: u32) -> Result<(u64, u64), Error> {
    reader.get(OF_SEGMENT, named_params! { ":org": org, ":run": run, ":segment": segment }, |row| {
        Ok((row.get::<_, i64>(0)?.max(0) as u64, row.get::<_, i64>(1)? as u64))
    })
}

/// What a run has spent or reserved, in micro-dollars.
pub fn of_run(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<u64, Error> {
    reader.get(OF_RUN, named_params! { ":org": org, ":run": run }, |row| {
        row.get::<_, i64>(0).map(|micros| micros.max(0) as u64)
    })
}

/// A run of a chain of parents, and its money.
#[derive(Clone, Debug)]
pub struct Purse {
    pub run: RunId,
    pub agent_name: String,
    /// The most that it and the runs below it may cost.
    pub budget_micros: Option<u64>,
    pub spent_micros: u64,
    pub reserved_micros: u64,
}

/// The run itself, its parent, its parent's parent and so on, each with its money.
pub fn purses(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<Vec<Purse>, Error> {
    reader.list(LIMITS, named_params! { ":run": run, ":org": org }, |row| {
        Ok(Purse {
            run: row.get(0)?,
            agent_name: row.get(1)?,
            budget_micros: row.get::<_, Option<i64>>(2)?.map(|micros| micros as u64),
            spent_micros: row.get::<_, i64>(3)?.max(0) as u64,
            reserved_micros: row.get::<_, i64>(4)?.max(0) as u64,
        })
    })
}
