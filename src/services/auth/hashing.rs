//! Password hashing: tens of milliseconds and 19 MiB each, so as many at once as there are cores, and a short queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::services::Error;

/// Sign-ins that may wait for their turn.
const WAITING_MAX: usize = 64;

pub(super) struct Hashing {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Leaves the queue when the wait is over, however it ends.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Hashing {
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            turns: Arc::new(Semaphore::new(cores)),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Runs `work` on the blocking pool when its turn has come.
    ///
    /// # Errors
    /// [`Error::Busy`] where too many wait.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let place = Place(&self.waiting);
        if before >= WAITING_MAX {
            return Err(Error::Busy(
                "too many people are signing in at once; try again in a moment".to_owned(),
            ));
        }
        let turn = Arc::clone(&self.turns)
            .acquire_owned()
            .await
            .map_err(|error| Error::Internal(error.to_string()))?;
        drop(place);
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        })
        .await
        .map_err(|error| Error::Internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;

    #[tokio::test]
    async fn a_full_queue_answers_busy_at_once_and_empties_again() {
        let hashing = Hashing::new();
        let all = u32::try_from(hashing.turns.available_permits()).unwrap();
        let held = Arc::clone(&hashing.turns).acquire_many_owned(all).await.unwrap();
        let mut waiting = futures_util::stream::FuturesUnordered::new();
        for _ in 0..WAITING_MAX {
            let mut turn = Box::pin(hashing.run(|| ()));
            assert!((&mut turn).now_or_never().is_none());
            waiting.push(turn);
        }
        assert!(matches!(hashing.run(|| ()).await, Err(Error::Busy(_))));
        drop(held);
        while waiting.next().await.is_some() {}
        assert_eq!(hashing.waiting.load(Ordering::Acquire), 0);
        assert!(hashing.run(|| ()).await.is_ok());
    }
}
