//! What was spent: one line for each try of each paid call, reserved before it is sent and settled after.

use rusqlite::named_params;

use super::{Error, Reader, Tx};
use crate::domain::id::{AgentId, LedgerId, OrgId, PrincipalId, RunId, WorkspaceId};
use crate::domain::money::Usage;
use crate::domain::run::Environment;
use crate::domain::time::Timestamp;

pub(super) const OF_SEGMENT: &str = "SELECT COALESCE(sum(CASE state WHEN 'reserved' THEN reserved_micros ELSE cost_micros END), 0)
    FROM ledger WHERE org_id = :org AND run_id = :run AND segment = :segment";
pub(super) const OF_RUN: &str = "SELECT COALESCE(sum(CASE state WHEN 'reserved' THEN reserved_micros ELSE cost_micros END), 0)
    FROM ledger WHERE org_id = :org AND run_id = :run";
pub(super) const RESERVE: &str = "INSERT INTO ledger
    (id, org_id, workspace_id, environment, run_id, agent_id, principal_id, segment, call, sub, try, kind, provider, model, state, reserved_micros,
     created_at)
    VALUES (:id, :org, :workspace, :environment, :run, :agent, :principal, :segment, :call, :sub, :try, 'model', :provider, :model, 'reserved', :reserved, :now)";
pub(super) const SETTLE: &str = "UPDATE ledger SET state = :state, cost_micros = :cost, estimated = :estimated, input_tokens = :input,
    cache_read_tokens = :cache_read, cache_write_tokens = :cache_write, output_tokens = :output, settled_at = :now
    WHERE org_id = :org AND run_id = :run AND segment = :segment AND call = :call AND sub = :sub AND try = :try AND kind = 'model' AND state = 'reserved'";
pub(super) const SETTLE_LOST: &str = "UPDATE ledger SET state = 'settled', cost_micros = reserved_micros, estimated = 1, settled_at = :now
    WHERE org_id = :org AND run_id = :run AND segment = :segment AND call = :call AND sub = :sub AND kind = 'model' AND state = 'reserved'
    RETURNING cost_micros";
pub(super) const SETTLE_LEFT: &str = "UPDATE ledger SET state = 'settled', cost_micros = reserved_micros, estimated = 1, settled_at = :now
    WHERE org_id = :org AND run_id = :run AND state = 'reserved' RETURNING cost_micros";
pub(super) const ADD_TO_RUN: &str = "UPDATE runs SET input_tokens = input_tokens + :input, output_tokens = output_tokens + :output,
    cost_micros = cost_micros + :cost WHERE id = :run AND org_id = :org";

/// The worst case of a call that is about to be sent.
#[derive(Clone, Debug)]
pub struct Reservation {
    pub run: RunId,
    pub agent: AgentId,
    /// Who started the run.
    pub principal: PrincipalId,
    pub environment: Environment,
    pub segment: u32,
    pub call: u32,
    pub sub: u32,
    pub tries: u32,
    pub provider: String,
    pub model: String,
    pub reserved_micros: u64,
    pub at: Timestamp,
}

/// Names a line.
#[derive(Clone, Copy, Debug)]
pub struct TryKey {
    pub run: RunId,
    pub segment: u32,
    pub call: u32,
    pub sub: u32,
    pub tries: u32,
}

/// What a call really used.
#[derive(Clone, Copy, Debug)]
pub struct Settlement {
    pub usage: Usage,
    pub cost_micros: u64,
    pub estimated: bool,
    pub at: Timestamp,
}

pub fn reserve(tx: &Tx<'_>, org: OrgId, workspace: WorkspaceId, reservation: &Reservation) -> Result<(), Error> {
    tx.execute(
        RESERVE,
        named_params! {
            ":id": LedgerId::new(reservation.at), ":org": org, ":workspace": workspace, ":environment": reservation.environment,
            ":run": reservation.run, ":agent": reservation.agent, ":principal": reservation.principal, ":segment": reservation.segment, ":call": reservation.call,
            ":sub": reservation.sub, ":try": reservation.tries, ":provider": reservation.provider, ":model": reservation.model,
            ":reserved": reservation.reserved_micros as i64, ":now": reservation.at,
        },
    )?;
    Ok(())
}

/// Settles a line, whatever the run's fence, and adds it to the run's sums. Without a settlement it is released.
pub fn settle(tx: &Tx<'_>, org: OrgId, key: &TryKey, settlement: Option<&Settlement>, now: Timestamp) -> Result<(), Error> {
    let usage = settlement.map_or_else(Usage::default, |settled| settled.usage);
    let cost = settlement.map_or(0, |settled| settled.cost_micros);
    let changed = tx.execute(
        SETTLE,
        named_params! {
            ":state": if settlement.is_some() { "settled" } else { "released" }, ":cost": cost as i64,
            ":estimated": settlement.is_some_and(|settled| settled.estimated), ":input": usage.input_tokens as i64,
            ":cache_read": usage.cache_read_tokens as i64, ":cache_write": usage.cache_write_tokens as i64,
            ":output": usage.output_tokens as i64, ":now": now, ":org": org, ":run": key.run, ":segment": key.segment, ":call": key.call,
            ":sub": key.sub, ":try": key.tries,
        },
    )?;
    if changed == 1 {
        add_to_run(tx, org, key.run, usage, cost)
    } else {
        Ok(())
    }
}

/// Settles what a crash left reserved for this call at its full reservation, which is all that is known of it.
pub fn settle_lost_tries(tx: &Tx<'_>, org: OrgId, call: &Reservation) -> Result<(), Error> {
    let lost: Vec<i64> = tx.list(
        SETTLE_LOST,
        named_params! { ":org": org, ":run": call.run, ":segment": call.segment, ":call": call.call, ":sub": call.sub, ":now": call.at },
        |row| row.get(0),
    )?;
    add_lost(tx, org, call.run, &lost)
}

/// Settles what a crash left reserved for a run that will not make those calls again, as [`settle_lost_tries`] does.
pub fn settle_left(tx: &Tx<'_>, org: OrgId, run: RunId, now: Timestamp) -> Result<(), Error> {
    let lost: Vec<i64> = tx.list(SETTLE_LEFT, named_params! { ":org": org, ":run": run, ":now": now }, |row| {
        row.get(0)
    })?;
    add_lost(tx, org, run, &lost)
}

fn add_lost(tx: &Tx<'_>, org: OrgId, run: RunId, lost: &[i64]) -> Result<(), Error> {
    let cost: i64 = lost.iter().sum();
    if cost == 0 {
        Ok(())
    } else {
        add_to_run(tx, org, run, Usage::default(), cost as u64)
    }
}

/// What a segment has spent or reserved, in micro-dollars.
pub fn of_segment(reader: &Reader<'_>, org: OrgId, run: RunId, segment: u32) -> Result<u64, Error> {
    reader.get(OF_SEGMENT, named_params! { ":org": org, ":run": run, ":segment": segment }, |row| {
        row.get::<_, i64>(0).map(|micros| micros as u64)
    })
}

/// What a run has spent or reserved, in micro-dollars.
pub fn of_run(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<u64, Error> {
    reader.get(OF_RUN, named_params! { ":org": org, ":run": run }, |row| {
        row.get::<_, i64>(0).map(|micros| micros as u64)
    })
}

fn add_to_run(tx: &Tx<'_>, org: OrgId, run: RunId, usage: Usage, cost_micros: u64) -> Result<(), Error> {
    tx.execute(
        ADD_TO_RUN,
        named_params! {
            ":input": usage.input_total() as i64, ":output": usage.output_tokens as i64, ":cost": cost_micros as i64, ":run": run, ":org": org,
        },
    )?;
    Ok(())
}
