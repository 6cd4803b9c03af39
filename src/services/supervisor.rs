//! Background tasks by name: started again when they fail, told to stop, waited for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Between a task's failure and its next start.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Owns the station's background tasks.
#[derive(Clone, Default)]
pub struct Supervisor {
    tracker: TaskTracker,
    stop: CancellationToken,
    names: Arc<Mutex<Vec<&'static str>>>,
}

impl Supervisor {
    /// Cancelled when the station stops.
    pub const fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs `task` until it returns or the station stops; a panic is logged and the task started again.
    pub fn spawn<F>(&self, name: &'static str, mut task: impl FnMut(CancellationToken) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            loop {
                match std::panic::AssertUnwindSafe(task(stop.clone())).catch_unwind().await {
                    Ok(()) => return,
                    Err(_) => tracing::error!(task = name, "a background task panicked; it starts again"),
                }
                tokio::select! {
                    () = tokio::time::sleep(RESTART_AFTER) => {}
                    () = stop.cancelled() => return,
                }
            }
        });
    }

    /// The tasks that were started.
    pub fn names(&self) -> Vec<&'static str> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells every task to stop and waits for them, at most `within`. Returns whether all have ended.
    pub async fn stop(&self, within: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(within, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_started_again_and_all_stop_when_told() {
        let supervisor = Supervisor::default();
        let starts = Arc::new(AtomicU32::new(0));
        let again = Arc::new(tokio::sync::Notify::new());
        let (count, notify) = (Arc::clone(&starts), Arc::clone(&again));
        supervisor.spawn("faulty", move |stop| {
            let first = count.fetch_add(1, Ordering::SeqCst) == 0;
            let notify = Arc::clone(&notify);
            async move {
                assert!(!first, "the first start fails");
                notify.notify_one();
                stop.cancelled().await;
            }
        });
        tokio::time::timeout(Duration::from_secs(10), again.notified())
            .await
            .expect("started again");
        assert_eq!(starts.load(Ordering::SeqCst), 2);
        assert!(supervisor.stop(Duration::from_secs(10)).await);
    }
}
