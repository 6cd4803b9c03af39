//! Deletes for good what was deleted: workspaces at once, organizations when their time is over. Each step is a small transaction, so that
//! others write in between, and what is killed goes on where it stood.

use tokio::sync::Notify;

use super::audit::STATION;
use super::{App, Error, waits};
use crate::domain::id::{OrgId, WorkspaceId};
use crate::store::audit::{self, Record};
use crate::store::purge::{self, Step};
use crate::store::{orgs, runs, workspaces};

/// Runs cancelled in one transaction.
const CANCEL_MAX: u32 = 64;

/// Tells the housekeeping that there is something to delete.
#[derive(Debug, Default)]
pub struct Bell(Notify);

impl Bell {
    pub fn ring(&self) {
        self.0.notify_one();
    }

    pub async fn rung(&self) {
        self.0.notified().await;
    }
}

/// Whether everything whose time is over is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Nothing,
    /// Runs still execute that were told to stop: to be tried again soon.
    Running,
}

/// Cancels every live run of an organization, or of one of its workspaces.
///
/// # Errors
/// The store does not answer.
pub async fn cancel_live(app: &App, org: OrgId, workspace: Option<WorkspaceId>, why: &'static str) -> Result<(), Error> {
    loop {
        let now = app.clock.now();
        let touched = app
            .store
            .write(move |tx| {
                let mut touched = Vec::new();
                for run in purge::live(tx, org, workspace, CANCEL_MAX)? {
                    runs::cancel(tx, org, run, None, why, now, &mut touched)?;
                }
                Ok(touched)
            })
            .await?;
        if touched.is_empty() {
            return Ok(());
        }
        waits::announce(app, &touched);
    }
}

/// Deletes everything whose time is over.
///
/// # Errors
/// The store does not answer.
pub async fn due(app: &App) -> Result<Left, Error> {
    let now = app.clock.now();
    let (deleted, gone) = app
        .store
        .read(|reader| Ok((orgs::deleted(reader)?, workspaces::deleted(reader)?)))
        .await?;
    let mut left = Left::Nothing;
    for (org, workspace) in gone {
        // Where the process was killed before all were.
        cancel_live(app, org, Some(workspace), "the workspace is being deleted").await?;
        if !steps(app, Purge::Workspace(org, workspace)).await? {
            left = Left::Running;
        }
    }
    for org in deleted {
        cancel_live(app, org.id, None, "the organization is being deleted").await?;
        if org.purge_at.is_some_and(|at| at <= now) && !steps(app, Purge::Org(org.id)).await? {
            left = Left::Running;
        }
    }
    Ok(left)
}

#[derive(Clone, Copy, Debug)]
enum Purge {
    Workspace(OrgId, WorkspaceId),
    Org(OrgId),
}

/// Goes on until nothing is left, runs are in the way, or the station stops. Returns whether there is nothing to come back for.
async fn steps(app: &App, what: Purge) -> Result<bool, Error> {
    loop {
        if app.shutdown().is_cancelled() {
            return Ok(true);
        }
        let now = app.clock.now();
        let step = app
            .store
            .write(move |tx| match what {
                Purge::Workspace(org, workspace) => purge::workspace(tx, org, workspace),
                Purge::Org(org) => {
                    let step = purge::org(tx, org, now)?;
                    if step == Step::Done {
                        for chain in [org.to_string(), STATION.to_owned()] {
                            audit::record(tx, Record::new(&chain, "org.purge", &org.to_string()), now)?;
                        }
                    }
                    Ok(step)
                }
            })
            .await?;
        match step {
            Step::Some => {}
            Step::Waits => return Ok(false),
            Step::Done | Step::Nothing => return Ok(true),
        }
    }
}
