//! Whether an organization's plan includes one more of something, asked in the transaction that makes it: whoever asks at the same time is
//! counted. Members are counted by [`super::members`].

use super::access::require;
use super::{App, Error};
use crate::domain::id::OrgId;
use crate::domain::permission::{Actor, Permission};
use crate::domain::plan::{Plan, PlanLimits};
use crate::store::{self, Reader, members, usage};

/// Where counting for a page ends.
const COUNTED_MAX: u32 = 100_000;
/// What the refusal of any plan's limit ends with.
const MORE: &str = "or ask whoever looks after the station for a larger plan";

fn full(text: String) -> Result<(), store::Error> {
    Err(store::Error::Plan(text))
}

/// Whether there may be one more workspace.
pub(super) fn check_workspaces(reader: &Reader<'_>, org: OrgId) -> Result<(), store::Error> {
    let (plan, _) = usage::plan(reader, org)?;
    let most = plan.limits().workspaces;
    if usage::workspaces(reader, org, most)? < most {
        return Ok(());
    }
    full(format!(
        "The plan {plan} includes {most} workspaces, and there are as many. Delete one, {MORE}."
    ))
}

/// Whether there may be one more agent.
pub(super) fn check_agents(reader: &Reader<'_>, org: OrgId) -> Result<(), store::Error> {
    let (plan, _) = usage::plan(reader, org)?;
    let most = plan.limits().agents;
    if usage::agents(reader, org, most)? < most {
        return Ok(());
    }
    full(format!(
        "The plan {plan} includes {most} agents, and there are as many. Publish a new version of one, {MORE}."
    ))
}

/// Whether one more run may wait in the queue.
pub(super) fn check_queue(reader: &Reader<'_>, org: OrgId) -> Result<(), store::Error> {
    let (plan, _) = usage::plan(reader, org)?;
    let most = plan.limits().queued;
    if usage::queued(reader, org, most)? < most {
        return Ok(());
    }
    full(format!(
        "The plan {plan} includes {most} queued runs, and as many wait already. Try again when some have begun, cancel some, {MORE}."
    ))
}

/// Whether so many bytes more may be stored.
pub(super) fn check_bytes(reader: &Reader<'_>, org: OrgId, more: usize) -> Result<(), store::Error> {
    let (plan, stored) = usage::plan(reader, org)?;
    let most = plan.limits().stored_bytes;
    if stored.saturating_add(more as u64) <= most {
        return Ok(());
    }
    full(format!(
        "The plan {plan} includes {} MiB of stored data, {} are used, and this needs {more} bytes more. Delete a workspace that is not \
         needed, {MORE}.",
        most >> 20,
        stored >> 20
    ))
}

/// What an organization uses of its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub plan: Plan,
    pub limits: PlanLimits,
    /// People, services and open invitations.
    pub members: u32,
    pub workspaces: u32,
    pub agents: u32,
    /// Runs that execute now.
    pub running: u32,
    /// Runs that wait for a slot, those on hold too.
    pub queued: u32,
    /// Before compression.
    pub stored_bytes: u64,
}

/// # Errors
/// The actor may not see the organization.
pub async fn usage(app: &App, actor: &Actor) -> Result<Usage, Error> {
    require(actor, Permission::OrgRead, actor.org, "the organization")?;
    let (org, now) = (actor.org, app.clock.now());
    let read = app.store.read(move |reader| {
        let (plan, stored_bytes) = usage::plan(reader, org)?;
        let (_, members) = members::seats(reader, org, now)?;
        let limits = plan.limits();
        Ok(Usage {
            plan,
            limits,
            members,
            workspaces: usage::workspaces(reader, org, COUNTED_MAX)?,
            agents: usage::agents(reader, org, COUNTED_MAX)?,
            running: usage::running(reader, org)?,
            queued: usage::queued(reader, org, COUNTED_MAX)?,
            stored_bytes,
        })
    });
    Ok(read.await?)
}
