//! Folds the write-ahead log into the database on its own thread, so that no commit waits for it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

use super::Error;
use super::lock::Lock;

/// Pages not yet folded in that make it worth while: about 4 MB.
const PAGES_DUE: i64 = 1024;
/// Pages at which the log is made to start over, though a commit may have to wait a moment: about 32 MB.
const PAGES_RESTART: i64 = 8192;
/// Commits after which the log is looked at.
const COMMITS_PER_LOOK: u32 = 64;
/// And after fewer, where this has passed.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct State {
    commits: u32,
    stop: bool,
}

/// How the writer tells that it committed.
#[derive(Default)]
pub(super) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

impl Signal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn committed(&self) {
        let mut state = self.state();
        state.commits += 1;
        if state.commits == 1 || state.commits == COMMITS_PER_LOOK {
            self.changed.notify_one();
        }
    }

    /// Waits until there is something to look at; false when it is time to end.
    fn wait(&self) -> bool {
        let idle = |state: &mut State| state.commits == 0 && !state.stop;
        let few = |state: &mut State| state.commits < COMMITS_PER_LOOK && !state.stop;
        let state = self.changed.wait_while(self.state(), idle).unwrap_or_else(PoisonError::into_inner);
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, PAUSE, few)
            .unwrap_or_else(PoisonError::into_inner);
        state.commits = 0;
        !state.stop
    }
}

pub(super) struct Checkpointer {
    signal: Arc<Signal>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Checkpointer {
    pub(super) fn start(connection: Connection, lock: Arc<Lock>) -> Result<Self, Error> {
        let signal = Arc::new(Signal::default());
        let seen = Arc::clone(&signal);
        let thread = thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || {
                let _lock = lock;
                while seen.wait() {
                    look(&connection);
                }
                run(&connection, "PRAGMA wal_checkpoint(TRUNCATE)");
            })
            .map_err(Error::internal)?;
        Ok(Self {
            signal,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(super) fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.signal)
    }

    /// Folds in everything and ends the thread. Call it when the writer has ended.
    pub(super) fn stop(&self) {
        self.signal.state().stop = true;
        self.signal.changed.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.signal.state().stop = true;
        self.signal.changed.notify_one();
    }
}

/// Pages in the log, and how many of them are folded in.
struct Log {
    pages: i64,
    folded: i64,
}

fn look(connection: &Connection) {
    // NOOP only counts.
    let Some(log) = run(connection, "PRAGMA wal_checkpoint(NOOP)") else {
        return;
    };
    if log.pages - log.folded < PAGES_DUE {
        return;
    }
    // Never waits for anyone, and under steady writing never reaches the end of the log either.
    let Some(log) = run(connection, "PRAGMA wal_checkpoint(PASSIVE)") else {
        return;
    };
    if log.pages >= PAGES_RESTART {
        run(connection, "PRAGMA wal_checkpoint(RESTART)");
    }
}

fn run(connection: &Connection, sql: &str) -> Option<Log> {
    let counted = connection.query_row(sql, [], |row| {
        Ok(Log {
            pages: row.get(1)?,
            folded: row.get(2)?,
        })
    });
    counted
        .inspect_err(|error| tracing::warn!(%error, sql, "the log was not folded in; it is tried again"))
        .ok()
}
