//! Takes queued runs to free slots. It sleeps until a run is queued, a slot is freed, a timer is due or a lease wants renewing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::app::App;
use super::executor::{self, Work};
use super::{budgets, waits};
use super::warm::{Fence, Warm};
use crate::domain::failure::EndReason;
use crate::domain::id::RunId;
use crate::domain::run::RunState;
use crate::runtime::ports::{Stop, StopReason};
use crate::store::runs::Touched;
use crate::store::{self, Tx, ledger, runs};

/// How long a start holds a run without renewing.
pub const LEASE: Duration = Duration::from_secs(30);
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Runs claimed in one transaction.
const CLAIM_MAX: u32 = 64;
/// Calls without an answer that are settled in one transaction at the start.
const LEFT_MAX: u32 = 256;
/// After a failed claim.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The runs that this process executes, and the bell that wakes the dispatcher.
#[derive(Default)]
pub struct Dispatcher {
    held: Mutex<Held>,
    bell: Notify,
    tracker: TaskTracker,
    /// Instances that wait and may be woken without a replay.
    pub warm: Warm,
}

#[derive(Default)]
struct Held {
    active: HashMap<RunId, Active>,
    /// Runs that are claimed and not active yet, and were told to stop meanwhile.
    stopped_early: HashMap<RunId, StopReason>,
    /// Slots kept for runs that are being queued and claimed in one transaction.
    reserved: usize,
    /// The station stops: what is claimed from now on goes back to the queue.
    draining: bool,
}

struct Active {
    fence: u64,
    stop: Stop,
}

impl Dispatcher {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run is in the queue.
    pub fn queued(&self) {
        self.bell.notify_one();
    }

    /// A free slot for a run that is about to be queued, so that it can be claimed in the same transaction.
    fn reserve(&self, slots: u32) -> bool {
        let mut held = self.held();
        let free = held.active.len() + held.reserved < slots as usize;
        held.reserved += usize::from(free);
        free
    }

    /// Gives a kept slot back. A free one may be what the queue waits for; one that a run has taken is not.
    fn unreserve(&self, is_free: bool) {
        self.held().reserved -= 1;
        if is_free {
            self.bell.notify_one();
        }
    }

    /// A run waits for a time that may come before the one waited for.
    pub fn timer_changed(&self) {
        self.bell.notify_one();
    }

    /// Stops a running run at its next host call or fuel yield.
    pub fn cancel(&self, run: RunId) {
        self.stop(run, StopReason::End(EndReason::Cancelled));
    }

    /// Has a running run go back to the queue at its next host call or fuel yield, where its holds keep it.
    pub fn hold(&self, run: RunId) {
        self.stop(run, StopReason::Hold);
    }

    fn stop(&self, run: RunId, reason: StopReason) {
        let mut held = self.held();
        match held.active.get(&run) {
            Some(active) => active.stop.stop(reason),
            None => {
                let kept = held.stopped_early.entry(run).or_insert(reason);
                // An end outweighs a hold, in either order.
                if *kept == StopReason::Hold {
                    *kept = reason;
                }
            }
        }
    }

    /// Has a running run give its segment up: the quota of the question it answers is used up.
    pub fn abandon(&self, run: RunId) {
        if let Some(active) = self.held().active.get(&run) {
            active.stop.stop(StopReason::Abandon);
        }
    }

    /// A run that was told to stop had ended already.
    pub fn forget(&self, run: RunId) {
        self.held().stopped_early.remove(&run);
    }

    fn activate(&self, run: RunId, fence: u64, stop: &Stop) {
        let mut held = self.held();
        if let Some(reason) = held.stopped_early.remove(&run) {
            stop.stop(reason);
        }
        if held.draining {
            stop.stop(StopReason::Shutdown);
        }
        held.active.insert(run, Active { fence, stop: stop.clone() });
    }

    /// Runs executing here.
    pub fn executing(&self) -> usize {
        self.held().active.len()
    }

    /// Has every run go back to the queue at its next call, and waits until they have, at most `within`.
    pub async fn drain(&self, within: Duration) -> bool {
        {
            let mut held = self.held();
            held.draining = true;
            for active in held.active.values() {
                active.stop.stop(StopReason::Shutdown);
            }
        }
        self.warm.close();
        self.tracker.close();
        tokio::time::timeout(within, self.tracker.wait()).await.is_ok()
    }

    /// Frees the slot of a start. A run that was parked or given back may have been claimed again meanwhile: that start keeps its slot.
    pub fn release(&self, run: RunId, fence: u64) {
        let mut held = self.held();
        if held.active.get(&run).is_some_and(|active| active.fence == fence) {
            held.active.remove(&run);
            held.stopped_early.remove(&run);
        }
        drop(held);
        self.bell.notify_one();
    }
}

/// The dispatcher's loop.
pub async fn run(app: App, stop: CancellationToken) {
    let mut renew = tokio::time::interval(RENEW_EVERY);
    loop {
        let pause = match dispatch(&app).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::error!(%error, "runs cannot be taken from the queue");
                Some(RETRY_AFTER)
            }
        };
        let sleep = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.dispatcher.bell.notified() => {}
            () = sleep => {}
            _ = renew.tick() => renew_leases(&app).await,
        }
    }
}

/// Fills the free slots. Returns how long until the next timer is due, where one is set.
async fn dispatch(app: &App) -> Result<Option<Duration>, super::Error> {
    budgets::release_due(app).await?;
    loop {
        let taken = {
            let held = app.dispatcher.held();
            held.active.len() + held.reserved
        };
        let free = (app.slots() as usize).saturating_sub(taken);
        let limit = u32::try_from(free).unwrap_or(CLAIM_MAX).min(CLAIM_MAX);
        if limit == 0 {
            // A run that ends rings the bell. Time goes on for those that wait all the same.
            return Ok(sooner(app, fire_due(app).await?));
        }
        let claiming = app.clone();
        let (works, next_due, more_due, touched) = app
            .store
            .write(move |tx| {
                let now = claiming.clock.now();
                let mut touched = Vec::new();
                let more_due = waits::fire_due(tx, now, &mut touched)?;
                let works = executor::claim(tx, &claiming, limit, &mut touched)?;
                Ok((works, waits::next_due(tx, now)?, more_due, touched))
            })
            .await?;
        waits::announce(app, &touched);
        let all_taken = works.len() < limit as usize && !more_due;
        for work in works {
            start(app, work);
        }
        if all_taken {
            return Ok(sooner(app, next_due));
        }
    }
}

/// How long until something is due: that, or a budget beginning anew for which runs wait.
fn sooner(app: &App, due: Option<Duration>) -> Option<Duration> {
    let anew = app.money.next().map(|at| at.since(app.clock.now()));
    due.into_iter().chain(anew).min()
}

/// Completes the waits whose time is up. Returns how long until the next, where one is set.
async fn fire_due(app: &App) -> Result<Option<Duration>, super::Error> {
    loop {
        let now = app.clock.now();
        let (more, next, touched) = app
            .store
            .write(move |tx| {
                let mut touched = Vec::new();
                let more = waits::fire_due(tx, now, &mut touched)?;
                Ok((more, waits::next_due(tx, now)?, touched))
            })
            .await?;
        waits::announce(app, &touched);
        if !more {
            return Ok(next);
        }
    }
}

/// A slot that is kept for one claim.
pub struct Slot {
    app: App,
    /// A run has it now.
    filled: bool,
}

/// A free slot, where there is one and the station is not stopping.
pub fn reserve(app: &App) -> Option<Slot> {
    let stopping = app.shutdown().is_cancelled();
    (!stopping && app.dispatcher.reserve(app.slots())).then(|| Slot {
        app: app.clone(),
        filled: false,
    })
}

impl Slot {
    /// Takes the run at the head of the queue.
    pub fn claim(&self, tx: &Tx<'_>, touched: &mut Vec<Touched>) -> Result<Vec<Work>, store::Error> {
        executor::claim(tx, &self.app, 1, touched)
    }

    /// Starts what was claimed; without anything the slot is free again.
    pub fn fill(mut self, works: Vec<Work>) {
        self.filled = !works.is_empty();
        for work in works {
            start(&self.app, work);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.app.dispatcher.unreserve(!self.filled);
    }
}

fn start(app: &App, work: Work) {
    let id = work.run.id;
    let mut work = work;
    if let Some(kept) = app.dispatcher.warm.take(id, work.segment.segment, work.run.fence) {
        let stop = kept.stop.clone();
        if work.run.cancel_requested {
            stop.stop(StopReason::End(EndReason::Cancelled));
        }
        app.dispatcher.activate(id, work.run.fence, &stop);
        if kept.wake(work.run.fence) {
            app.feed.announce(id, 0, Some(RunState::Running));
            return;
        }
        work.resumed = true;
    }
    let stop = Stop::default();
    if work.run.cancel_requested {
        stop.stop(StopReason::End(EndReason::Cancelled));
    }
    let fence = Fence::new(work.run.fence);
    app.dispatcher.activate(id, fence.get(), &stop);
    let app = app.clone();
    let tracker = app.dispatcher.tracker.clone();
    let handle = app.agents_runtime().clone();
    handle.spawn(tracker.track_future(async move {
        let release = Release {
            app: app.clone(),
            run: id,
            fence: fence.clone(),
        };
        executor::execute(&app, work, stop, fence).await;
        drop(release);
    }));
}

/// Frees the slot even where the execution panics.
struct Release {
    app: App,
    run: RunId,
    fence: Fence,
}

impl Drop for Release {
    fn drop(&mut self) {
        self.app.dispatcher.release(self.run, self.fence.get());
    }
}

async fn renew_leases(app: &App) {
    let held: Vec<(RunId, u64)> = app
        .dispatcher
        .held()
        .active
        .iter()
        .map(|(&run, active)| (run, active.fence))
        .collect();
    let (node, now) = (app.node, app.clock.now());
    let result = app
        .store
        .write(move |tx| {
            runs::renew(tx, node, &held, now.plus(LEASE))?;
            runs::recover_expired(tx, now)
        })
        .await;
    match result {
        Ok(recovered) => announce_recovered(app, &recovered),
        Err(error) => tracing::error!(%error, "leases cannot be renewed"),
    }
}

/// Queues what an earlier process left behind. To be called once, before the dispatcher begins.
pub async fn recover(app: &App) -> Result<usize, super::Error> {
    let (node, now) = (app.node, app.clock.now());
    let recovered = app.store.write(move |tx| runs::recover_foreign(tx, node, now)).await?;
    // Nothing runs yet: what is reserved is of calls that nobody will hear of.
    while app.store.write(move |tx| ledger::settle_all_left(tx, LEFT_MAX, now)).await? {}
    announce_recovered(app, &recovered);
    Ok(recovered.len())
}

fn announce_recovered(app: &App, recovered: &[(RunId, u64)]) {
    for &(run, seq) in recovered {
        tracing::info!(run_id = %run, "this run was left behind; it goes on from its journal");
        app.feed.announce(run, seq, Some(RunState::Queued));
    }
    if !recovered.is_empty() {
        app.dispatcher.queued();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn the_end_of_an_earlier_start_leaves_the_next_one_its_slot() {
        let dispatcher = Dispatcher::default();
        let run = RunId::new(Timestamp::from_ms(1));
        let (parked, resumed) = (Stop::default(), Stop::default());
        dispatcher.activate(run, 1, &parked);
        dispatcher.activate(run, 2, &resumed);
        dispatcher.release(run, 1);
        assert_eq!(dispatcher.executing(), 1);
        dispatcher.cancel(run);
        assert_eq!(resumed.reason(), Some(StopReason::End(EndReason::Cancelled)));
        dispatcher.release(run, 2);
        assert_eq!(dispatcher.executing(), 0);
    }

    #[test]
    fn a_run_that_is_told_to_stop_before_it_is_active_stops_at_once() {
        let dispatcher = Dispatcher::default();
        let run = RunId::new(Timestamp::from_ms(1));
        dispatcher.cancel(run);
        let stop = Stop::default();
        dispatcher.activate(run, 1, &stop);
        assert_eq!(stop.reason(), Some(StopReason::End(EndReason::Cancelled)));
    }
}
