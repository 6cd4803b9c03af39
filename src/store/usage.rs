//! How much of its plan an organization uses. Counts end at a limit that the caller gives, so that none grows with what is stored; the bytes
//! are kept by triggers.

use rusqlite::named_params;

use super::{Error, Reader};
use crate::domain::id::OrgId;
use crate::domain::plan::Plan;

pub(super) const PLAN: &str = "SELECT plan, stored_bytes FROM orgs WHERE id = :org";
pub(super) const WORKSPACES: &str =
    "SELECT count(*) FROM (SELECT 1 FROM workspaces WHERE org_id = :org AND deleted_at IS NULL LIMIT :limit)";
pub(super) const AGENTS: &str = "SELECT count(*) FROM (SELECT 1 FROM agents WHERE org_id = :org LIMIT :limit)";
// Those on hold too: they take a place until they are cancelled.
pub(super) const QUEUED: &str =
    "SELECT count(*) FROM (SELECT 1 FROM workspaces w JOIN runs r ON r.org_id = w.org_id AND r.workspace_id = w.id
    AND r.state = 'queued' WHERE w.org_id = :org LIMIT :limit)";
pub(super) const RUNNING: &str = "SELECT count(*) FROM runs INDEXED BY runs_leased WHERE state = 'running' AND org_id = :org";
pub(super) const RUNS: &str = "SELECT count(*) FROM (SELECT 1 FROM runs WHERE org_id = :org LIMIT :limit)";

#[cfg(test)]
pub(super) const SQL: [&str; 6] = [PLAN, WORKSPACES, AGENTS, QUEUED, RUNNING, RUNS];

/// The organization's plan, and the bytes that it has stored, before compression.
pub fn plan(reader: &Reader<'_>, org: OrgId) -> Result<(Plan, u64), Error> {
    reader.get(PLAN, named_params! { ":org": org }, |row| {
        Ok((row.get(0)?, row.get::<_, i64>(1)? as u64))
    })
}

fn count(reader: &Reader<'_>, sql: &'static str, org: OrgId, limit: u32) -> Result<u32, Error> {
    reader.get(sql, named_params! { ":org": org, ":limit": limit }, |row| row.get(0))
}

pub fn workspaces(reader: &Reader<'_>, org: OrgId, limit: u32) -> Result<u32, Error> {
    count(reader, WORKSPACES, org, limit)
}

pub fn agents(reader: &Reader<'_>, org: OrgId, limit: u32) -> Result<u32, Error> {
    count(reader, AGENTS, org, limit)
}

/// Runs that wait for a slot, those on hold too.
pub fn queued(reader: &Reader<'_>, org: OrgId, limit: u32) -> Result<u32, Error> {
    count(reader, QUEUED, org, limit)
}

/// Runs of any state.
pub fn runs(reader: &Reader<'_>, org: OrgId, limit: u32) -> Result<u32, Error> {
    count(reader, RUNS, org, limit)
}

/// Runs that execute; they are never more than the station's slots.
pub fn running(reader: &Reader<'_>, org: OrgId) -> Result<u32, Error> {
    reader.get(RUNNING, named_params! { ":org": org }, |row| row.get(0))
}
