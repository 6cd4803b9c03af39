//! The only place that knows SQL: one SQLite file, one writer thread that commits many writes at once, a pool of readers.
//!
//! Every acknowledged write is on disk. Nothing here sends, waits for, or decides anything about the outside world.

#![expect(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "SQLite counts in signed 64 bits, we in unsigned ones that stay far below"
)]

pub mod agents;
pub mod approvals;
pub mod artifacts;
pub mod audit;
pub mod blobs;
pub mod channels;
pub mod budgets;
mod checkpoint;
mod connection;
pub mod conversation;
pub mod dashboard;
pub mod data_keys;
mod error;
pub mod forks;
mod hash;
mod health;
pub mod idempotency;
pub mod invitations;
pub mod journal;
pub mod keys;
pub mod ledger;
pub mod links;
mod lock;
pub mod members;
pub mod memory;
pub mod messages;
mod migrate;
pub mod notifications;
pub mod orgs;
pub mod overview;
pub mod passkeys;
pub mod payloads;
pub mod persons;
pub mod policy;
pub mod prices;
pub mod purge;
mod readers;
pub mod runs;
pub mod runtime_components;
pub mod secrets;
pub mod security_check;
pub mod segments;
pub mod sessions;
pub mod spending;
pub mod station;
pub mod totp;
mod tx;
mod types;
pub mod usage;
pub mod users;
pub mod waits;
pub mod workspaces;
mod writer;

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use connection::Synchronous;
pub use error::Error;
pub use health::{Check, Sizes};
pub use migrate::SCHEMA_VERSION;
pub use tx::{Reader, Tx};
pub use writer::{Pending, WriterStats};

use crate::domain::id::{OrgId, WorkspaceId};
use crate::domain::time::{SharedClock, Timestamp};
use checkpoint::Checkpointer;
use lock::Lock;
use readers::Readers;
use writer::Writer;

/// The database's name in the data directory.
pub const DATABASE_FILE: &str = "agentstation.db";
/// Held while a process uses the data directory.
pub const LOCK_FILE: &str = "agentstation.lock";
/// Copies made before migrations.
pub const BACKUPS_DIR: &str = "backups";
/// Connections that read at once, where nothing else is asked for.
pub const READERS_DEFAULT: u32 = 4;

/// Whose data a function may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    pub org: OrgId,
    pub workspace: WorkspaceId,
}

/// Called once, when the disk no longer takes writes: the process is to end and start again.
pub type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

/// How to open a store.
#[derive(Clone)]
pub struct Options {
    /// Made where it is missing, for its owner only.
    pub data_dir: PathBuf,
    pub synchronous: Synchronous,
    /// Connections that read at once.
    pub readers: u32,
    pub on_fatal: Option<OnFatal>,
}

impl Options {
    /// Durable, with the default number of readers.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            synchronous: Synchronous::Full,
            readers: READERS_DEFAULT,
            on_fatal: None,
        }
    }
}

/// The open database; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    data_dir: PathBuf,
    synchronous: Synchronous,
    clock: SharedClock,
    readers: Readers,
    /// Nothing where the store is only read.
    writing: Option<Writing>,
}

struct Writing {
    writer: Writer,
    checkpointer: Checkpointer,
    lock: Arc<Lock>,
}

impl Store {
    /// Opens the database of a data directory, making or upgrading it where need be.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process has it, [`Error::NewerSchema`] where a newer release made it.
    pub fn open(options: Options, clock: SharedClock) -> Result<Self, Error> {
        connection::require_version()?;
        let Options {
            data_dir,
            synchronous,
            readers,
            on_fatal,
        } = options;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&data_dir)
            .map_err(|error| Error::io(&data_dir, error))?;
        let lock = Arc::new(Lock::acquire(&data_dir.join(LOCK_FILE))?);
        let file = data_dir.join(DATABASE_FILE);
        make_private(&file)?;

        let mut connection = connection::open_writer(&file, synchronous)?;
        migrate::bring_up(&mut connection, &migrate::CURRENT, &data_dir.join(BACKUPS_DIR), clock.now())?;
        let checkpointer = Checkpointer::start(connection::open_writer(&file, synchronous)?, Arc::clone(&lock))?;
        let readers = Readers::open(&file, readers, Arc::clone(&clock))?;
        let writer = Writer::start(connection, Arc::clone(&clock), checkpointer.signal(), on_fatal, Arc::clone(&lock))?;
        Ok(Self {
            inner: Arc::new(Inner {
                data_dir,
                synchronous,
                clock,
                readers,
                writing: Some(Writing {
                    writer,
                    checkpointer,
                    lock,
                }),
            }),
        })
    }

    /// Opens the database of a data directory for reading only, beside a process that may be serving it. Every write is refused.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no database, [`Error::OtherSchema`] where another release made it.
    pub async fn open_beside(options: Options, clock: SharedClock) -> Result<Self, Error> {
        connection::require_version()?;
        let Options {
            data_dir,
            synchronous,
            readers,
            ..
        } = options;
        let file = data_dir.join(DATABASE_FILE);
        if !file.exists() {
            return Err(Error::NotFound);
        }
        let readers = Readers::open(&file, readers, Arc::clone(&clock))?;
        let version: u32 = readers
            .run(|reader| reader.get("PRAGMA user_version", [], |row| row.get(0)))
            .await?;
        if version != SCHEMA_VERSION {
            return Err(Error::OtherSchema {
                file: version,
                binary: SCHEMA_VERSION,
            });
        }
        Ok(Self {
            inner: Arc::new(Inner {
                data_dir,
                synchronous,
                clock,
                readers,
                writing: None,
            }),
        })
    }

    /// Whether it was opened with [`Self::open_beside`].
    pub fn is_read_only(&self) -> bool {
        self.inner.writing.is_none()
    }

    /// Runs `work` in the writer's transaction and answers once it is committed. An `Err` or a panic undoes what it did, and only that.
    pub async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.enqueue(work).await?.await
    }

    /// Queues `work` and returns as soon as its place in the order is certain.
    ///
    /// # Errors
    /// [`Error::Busy`] where the queue stays full or the store is closing, [`Error::ReadOnly`] where it is only read.
    pub async fn enqueue<T, F>(&self, work: F) -> Result<Pending<T>, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, Error> + Send + 'static,
    {
        let writing = self.inner.writing.as_ref().ok_or(Error::ReadOnly)?;
        writing.writer.enqueue(work).await
    }

    /// Runs `work` on a reader's connection, in one snapshot of the database.
    pub async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Reader<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.inner.readers.run(work).await
    }

    /// Finishes the queued writes, folds the log into the database and lets go of the data directory. Later writes are refused.
    pub async fn close(&self) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        if let Some(writing) = &inner.writing {
            writing.writer.stop().await;
        }
        tokio::task::spawn_blocking(move || {
            if let Some(writing) = &inner.writing {
                writing.writer.join();
                writing.checkpointer.stop();
                writing.lock.release();
            }
        })
        .await
        .map_err(Error::internal)
    }

    /// The time by the store's clock.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    pub fn clock(&self) -> SharedClock {
        Arc::clone(&self.inner.clock)
    }

    pub fn data_dir(&self) -> &Path {
        &self.inner.data_dir
    }

    /// How many transactions and writes have been committed since the store was opened.
    pub fn writer_stats(&self) -> WriterStats {
        self.inner
            .writing
            .as_ref()
            .map_or_else(WriterStats::default, |writing| writing.writer.stats())
    }
}

/// Makes the database file before SQLite does, readable by its owner only; the log beside it takes its permissions.
fn make_private(file: &Path) -> Result<(), Error> {
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::io(file, error)),
    }
}
