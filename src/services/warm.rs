//! Instances that wait and are kept for a moment, so that a short wait needs no replay. They hold no slot and no lease.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::id::RunId;
use crate::runtime::ports::Stop;

/// How long an instance is kept that nobody wakes.
pub const KEPT_FOR: Duration = Duration::from_secs(10);

/// The fence under which an instance's start holds its run; a new claim gives it a new one.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<AtomicU64>);

impl Fence {
    pub fn new(fence: u64) -> Self {
        Self(Arc::new(AtomicU64::new(fence)))
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn set(&self, fence: u64) {
        self.0.store(fence, Ordering::SeqCst);
    }
}

/// An instance that waits.
pub struct Kept {
    pub segment: u32,
    pub fence: Fence,
    /// Stops the instance, as before it waited.
    pub stop: Stop,
    wake: oneshot::Sender<()>,
    since: u64,
}

#[derive(Default)]
struct Instances {
    kept: HashMap<RunId, Kept>,
    clock: u64,
    closed: bool,
}

/// The instances that wait.
#[derive(Default)]
pub struct Warm {
    instances: Mutex<Instances>,
    places: Arc<AtomicUsize>,
}

/// A place in the sandbox's pool for an instance that waits; free again when this is dropped, which is to be after the instance.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Warm {
    fn instances(&self) -> MutexGuard<'_, Instances> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place of `most`. Where all are taken the instance that has waited longest is thrown away, for whoever comes next.
    pub fn place(&self, most: usize) -> Option<Place> {
        let taken = self
            .places
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |taken| (taken < most).then_some(taken + 1));
        match taken {
            Ok(_) => Some(Place(Arc::clone(&self.places))),
            Err(_) => {
                self.drop_oldest();
                None
            }
        }
    }

    /// Keeps an instance until the receiver hears something; an error is the end of it.
    pub fn keep(&self, run: RunId, segment: u32, fence: Fence, stop: Stop) -> oneshot::Receiver<()> {
        let (wake, woken) = oneshot::channel();
        let mut instances = self.instances();
        if instances.closed {
            return woken;
        }
        instances.clock += 1;
        let since = instances.clock;
        let kept = Kept {
            segment,
            fence,
            stop,
            wake,
            since,
        };
        instances.kept.insert(run, kept);
        woken
    }

    /// Takes the instance of a run that was claimed again under `fence`, where it waits in this segment. One that was kept too late is
    /// thrown away: another start has gone on since, and the instance knows nothing of what that one did.
    pub fn take(&self, run: RunId, segment: u32, fence: u64) -> Option<Kept> {
        let kept = self.instances().kept.remove(&run)?;
        (kept.segment == segment && kept.fence.get().checked_add(1) == Some(fence)).then_some(kept)
    }

    /// Whether the instance was still kept: otherwise someone has just taken it to wake it, or thrown it away.
    pub fn remove(&self, run: RunId, fence: &Fence) -> bool {
        let mut instances = self.instances();
        let ours = instances.kept.get(&run).is_some_and(|kept| Arc::ptr_eq(&kept.fence.0, &fence.0));
        if ours {
            instances.kept.remove(&run);
        }
        ours
    }

    /// Throws a run's instance away: what it waited for no longer holds.
    pub fn drop_run(&self, run: RunId) {
        self.instances().kept.remove(&run);
    }

    /// Throws the instance away that has waited longest. Returns whether there was one.
    pub fn drop_oldest(&self) -> bool {
        remove_oldest(&mut self.instances())
    }

    /// Throws all away, and keeps none from now on.
    pub fn close(&self) {
        let mut instances = self.instances();
        instances.closed = true;
        instances.kept.clear();
    }

    /// Instances kept.
    pub fn len(&self) -> usize {
        self.instances().kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn remove_oldest(instances: &mut Instances) -> bool {
    let oldest = instances.kept.iter().min_by_key(|(_, kept)| kept.since).map(|(run, _)| *run);
    oldest.is_some_and(|run| instances.kept.remove(&run).is_some())
}

impl Kept {
    /// Lets the instance go on under a new fence. Returns whether it was still there.
    pub fn wake(self, fence: u64) -> bool {
        self.fence.set(fence);
        self.wake.send(()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    fn run(ms: i64) -> RunId {
        RunId::new(Timestamp::from_ms(ms))
    }

    #[tokio::test]
    async fn the_oldest_goes_where_all_places_are_taken() {
        let warm = Warm::default();
        let (one, two) = (run(1), run(2));
        let places = (warm.place(2).unwrap(), warm.place(2).unwrap());
        let first = warm.keep(one, 0, Fence::new(1), Stop::default());
        let second = warm.keep(two, 0, Fence::new(1), Stop::default());
        assert!(warm.place(2).is_none());
        assert!(first.await.is_err());
        assert!(warm.take(one, 0, 2).is_none());
        assert!(warm.take(two, 0, 2).unwrap().wake(2));
        assert!(second.await.is_ok());
        drop(places);
        assert!(warm.place(2).is_some());
    }

    #[tokio::test]
    async fn an_instance_of_another_segment_is_not_woken() {
        let warm = Warm::default();
        let one = run(1);
        let waiting = warm.keep(one, 3, Fence::new(1), Stop::default());
        assert!(warm.take(one, 4, 2).is_none());
        assert!(waiting.await.is_err());
    }

    #[tokio::test]
    async fn an_instance_behind_which_another_start_went_on_is_not_woken() {
        let warm = Warm::default();
        // Claimed under 2 before this was kept, so that the next claim is the third.
        let late = warm.keep(run(1), 0, Fence::new(1), Stop::default());
        assert!(warm.take(run(1), 0, 3).is_none());
        assert!(late.await.is_err());
    }

    #[tokio::test]
    async fn none_is_kept_after_the_close() {
        let warm = Warm::default();
        warm.close();
        assert!(warm.keep(run(1), 0, Fence::new(1), Stop::default()).await.is_err());
    }
}
