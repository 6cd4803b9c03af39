//! The ledger's settled lines, summed over quarters of an hour.

use rusqlite::named_params;

use super::ledger::{Item, Payer};
use super::{Error, Reader, Tx};
use crate::domain::id::{OrgId, WorkspaceId};
use crate::domain::money::Usage;
use crate::domain::time::Timestamp;

/// Milliseconds that are summed together; every zone's days begin with one.
pub const QUARTER_MS: i64 = 15 * 60 * 1000;

pub(super) const ADD: &str = "INSERT INTO spending
    (org_id, quarter, workspace_id, agent_id, principal_id, key_id, kind, provider_name, model, calls, estimated, cost_micros,
     input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, quantity)
    VALUES (:org, :quarter, :workspace, :agent, :principal, :key, :kind, :provider, :model, :calls, :estimated, :cost,
     :input, :cache_read, :cache_write, :output, :quantity)
    ON CONFLICT (org_id, quarter, workspace_id, agent_id, principal_id, key_id, kind, provider_name, model) DO UPDATE SET
    calls = calls + excluded.calls, estimated = estimated + excluded.estimated, cost_micros = cost_micros + excluded.cost_micros,
    input_tokens = input_tokens + excluded.input_tokens, cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
    cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens, output_tokens = output_tokens + excluded.output_tokens,
    quantity = quantity + excluded.quantity";

macro_rules! by {
    ($key:literal) => {
        concat!(
            "SELECT ",
            $key,
            " AS k, kind, sum(calls), sum(estimated), sum(cost_micros), sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
            sum(output_tokens), sum(quantity) FROM spending WHERE org_id = :org AND quarter >= :from AND quarter < :to
            AND (:workspace IS NULL OR workspace_id = :workspace) GROUP BY k, kind ORDER BY k, kind LIMIT :limit"
        )
    };
}
const BY_QUARTER: &str = by!("CAST(quarter AS TEXT)");
const BY_AGENT: &str = by!("agent_id");
const BY_MODEL: &str = by!("provider_name || '/' || model");
const BY_PRINCIPAL: &str = by!("principal_id");
const BY_KEY: &str = by!("key_id");
const BY_WORKSPACE: &str = by!("workspace_id");

#[cfg(test)]
pub(super) const SQL: [&str; 7] = [ADD, BY_QUARTER, BY_AGENT, BY_MODEL, BY_PRINCIPAL, BY_KEY, BY_WORKSPACE];

/// What is added to a quarter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Booked {
    pub calls: u32,
    /// Of these, those whose cost is a guess.
    pub estimated: u32,
    /// Below zero where a correction takes something back.
    pub cost_micros: i64,
    pub usage: Usage,
    pub quantity: u64,
}

/// Adds a settled line to the quarter in which it counts.
pub(super) fn add(tx: &Tx<'_>, payer: &Payer, item: &Item, at: Timestamp, booked: &Booked) -> Result<(), Error> {
    tx.execute(
        ADD,
        named_params! {
            ":org": payer.org, ":quarter": at.as_ms().div_euclid(QUARTER_MS) * QUARTER_MS, ":workspace": payer.workspace, ":agent": payer.agent,
            ":principal": payer.principal, ":key": payer.key, ":kind": item.kind, ":provider": item.provider_name, ":model": item.model,
            ":calls": booked.calls, ":estimated": booked.estimated, ":cost": booked.cost_micros, ":input": booked.usage.input_tokens as i64,
            ":cache_read": booked.usage.cache_read_tokens as i64, ":cache_write": booked.usage.cache_write_tokens as i64,
            ":output": booked.usage.output_tokens as i64, ":quantity": booked.quantity as i64,
        },
    )?;
    Ok(())
}

/// By what sums are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By quarters of an hour, for days of any zone.
    Quarter,
    Agent,
    /// `provider/model`.
    Model,
    Principal,
    Key,
    Workspace,
}

/// What was used of one kind under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    pub key: String,
    pub kind: String,
    pub calls: u64,
    pub estimated: u64,
    pub cost_micros: i64,
    pub usage: Usage,
    pub quantity: u64,
}

/// Sums of a time, of an organization or one of its workspaces; at most `limit`.
pub fn sums(
    reader: &Reader<'_>,
    (org, workspace): (OrgId, Option<WorkspaceId>),
    (from, to): (Timestamp, Timestamp),
    by: By,
    limit: u32,
) -> Result<Vec<Sum>, Error> {
    let sql = match by {
        By::Quarter => BY_QUARTER,
        By::Agent => BY_AGENT,
        By::Model => BY_MODEL,
        By::Principal => BY_PRINCIPAL,
        By::Key => BY_KEY,
        By::Workspace => BY_WORKSPACE,
    };
    reader.list(
        sql,
        named_params! { ":org": org, ":workspace": workspace, ":from": from, ":to": to, ":limit": limit },
        |row| {
            let count = |at: usize| row.get::<_, i64>(at).map(|n| n.max(0) as u64);
            Ok(Sum {
                key: row.get(0)?,
                kind: row.get(1)?,
                calls: count(2)?,
                estimated: count(3)?,
                cost_micros: row.get(4)?,
                usage: Usage {
                    input_tokens: count(5)?,
                    cache_read_tokens: count(6)?,
                    cache_write_tokens: count(7)?,
                    output_tokens: count(8)?,
                },
                quantity: count(9)?,
            })
        },
    )
}
