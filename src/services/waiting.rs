//! What a run waits for now, and the runs that it has started.

use super::access::require;
use super::{App, Error};
use crate::domain::id::RunId;
use crate::domain::limits::CHILDREN_MAX;
use crate::domain::permission::{Actor, Permission};
use crate::domain::run::{RunState, WakeOn};
use crate::domain::time::Timestamp;
use crate::store::runs::{self, Child, Run};
use crate::store::waits::{self, Kind, Wait};

const WHAT: &str = "the run";

/// One thing that a run waits for. The first that happens wakes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingFor {
    pub what: What,
    /// When it goes on without it.
    pub until: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Timer,
    /// The approval's id.
    Approval(String),
    Message,
    /// The end of this run.
    Child(String),
    /// The answer of this run.
    Ask(String),
    /// The next try of the segment.
    Retry,
}

impl What {
    /// Its name in the API.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Timer => "timer",
            Self::Approval(_) => "approval",
            Self::Message => "message",
            Self::Child(_) => "child",
            Self::Ask(_) => "ask",
            Self::Retry => "retry",
        }
    }
}

fn of_row(wait: Wait) -> WaitingFor {
    let target = wait.target.unwrap_or_default();
    let what = match wait.kind {
        Kind::Timer => What::Timer,
        Kind::Approval => What::Approval(target),
        Kind::Message => What::Message,
        Kind::Child => What::Child(target),
        Kind::Ask => What::Ask(target),
    };
    WaitingFor { what, until: wait.due_at }
}

/// What a run waits for; nothing where it does not wait.
///
/// # Errors
/// The actor may not read runs.
pub async fn of_run(app: &App, actor: &Actor, run: &Run) -> Result<Vec<WaitingFor>, Error> {
    require(actor, Permission::RunsRead, run.org, WHAT)?;
    if run.state != RunState::Waiting {
        return Ok(Vec::new());
    }
    let between = run.wake_on.map(|wake| match wake {
        WakeOn::Timer => What::Timer,
        WakeOn::Message => What::Message,
        WakeOn::Retry => What::Retry,
    });
    if let Some(what) = between {
        return Ok(vec![WaitingFor { what, until: run.wake_at }]);
    }
    let (org, id) = (run.org, run.id);
    let awaited = app.store.read(move |reader| waits::awaited_of_run(reader, org, id)).await?;
    Ok(awaited.into_iter().map(of_row).collect())
}

/// The runs that a run has started, in order.
///
/// # Errors
/// `NotFound`.
pub async fn children(app: &App, actor: &Actor, run: RunId) -> Result<Vec<Child>, Error> {
    require(actor, Permission::RunsRead, actor.org, WHAT)?;
    let org = actor.org;
    let read = app.store.read(move |reader| {
        runs::state(reader, org, run)?;
        runs::list_children(reader, org, run, CHILDREN_MAX)
    });
    Ok(read.await?)
}
