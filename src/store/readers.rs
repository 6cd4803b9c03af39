//! Connections that read: a pool behind a semaphore, on threads that may block.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::connection;
use super::{Error, Reader};
use crate::domain::time::SharedClock;

/// How long a read waits for a connection.
const WAIT_MAX: Duration = Duration::from_secs(10);

pub(super) struct Readers {
    pool: r2d2::Pool<SqliteConnectionManager>,
    /// Taken before a thread is, so that waiting reads hold none.
    slots: Arc<Semaphore>,
    clock: SharedClock,
}

impl Readers {
    pub(super) fn open(path: &Path, count: u32, clock: SharedClock) -> Result<Self, Error> {
        let count = count.max(1);
        let manager = SqliteConnectionManager::file(path)
            .with_flags(connection::READER_FLAGS)
            .with_init(|connection: &mut Connection| {
                connection::make_reader(connection).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
            });
        let pool = r2d2::Pool::builder()
            .max_size(count)
            .min_idle(Some(1))
            .idle_timeout(None)
            .max_lifetime(None)
            .connection_timeout(WAIT_MAX)
            .test_on_check_out(false)
            .build(manager)
            .map_err(Error::internal)?;
        Ok(Self {
            pool,
            slots: Arc::new(Semaphore::new(count as usize)),
            clock,
        })
    }

    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Reader<'_>) -> Result<T, Error> + Send + 'static,
    {
        let slot = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.slots).acquire_owned())
            .await
            .map_err(|_| Error::Busy)?
            .map_err(|_| Error::Busy)?;
        let (pool, clock) = (self.pool.clone(), Arc::clone(&self.clock));
        tokio::task::spawn_blocking(move || {
            let _slot = slot;
            let connection = pool.get().map_err(|_| Error::Busy)?;
            // Ended when it is dropped, also by a panic.
            let snapshot = connection.unchecked_transaction()?;
            work(&Reader::new(&snapshot, clock.as_ref()))
        })
        .await
        .map_err(Error::internal)?
    }
}
