//! What can go wrong in the store, told by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A failed read or write. Nothing of a failed write remains.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there, or not in this scope.
    #[error("there is no such thing here")]
    NotFound,
    /// It is not in the state that this needs; read it again.
    #[error("{0}")]
    Conflict(String),
    /// Something with this name is already there.
    #[error("{0}")]
    Exists(String),
    /// A queue is full or the store is closing; try again.
    #[error("the station is busy or stopping; try again in a moment")]
    Busy,
    /// The disk has no room.
    #[error("the disk is full; make room in the data directory and try again")]
    Full,
    /// A named limit is passed.
    #[error("{0}")]
    Limit(String),
    /// The organization's plan does not include more of it; the text says what to do.
    #[error("{0}")]
    Plan(String),
    /// The run was started again elsewhere; this start must stop writing.
    #[error("another start of this run has taken over")]
    Fenced,
    /// Whoever started the run may not have it any more: it makes no further call.
    #[error("the run is held until somebody adopts it")]
    Held,
    /// A budget that holds runs is used up: nothing of the transaction is done, and the run waits for money.
    #[error("the budget “{}” is used up", .0.budget.name)]
    OverBudget(Box<super::budgets::Over>),
    /// Another process uses the data directory.
    #[error("another AgentStation is using {}; stop it, or choose another --data directory", .0.display())]
    Locked(PathBuf),
    /// A newer release made the file.
    #[error("the database has schema {file}, and this release knows schemas up to {binary}; use the release that made it, or a newer one")]
    NewerSchema { file: u32, binary: u32 },
    /// Another release made the file, and it is only to be read.
    #[error("the database has schema {file}, and this release reads schema {binary}; use the release that serves it")]
    OtherSchema { file: u32, binary: u32 },
    /// The database was opened for reading only.
    #[error("the data directory is open for reading only, because another AgentStation is serving it")]
    ReadOnly,
    /// What was read cannot be right.
    #[error("the database is damaged: {0}; restore a backup")]
    Corrupt(String),
    /// The disk failed in the middle of a commit; nothing more is written until the process starts again.
    #[error("the disk did not take the last write, so nothing more is written; check the disk and start again")]
    Fatal,
    #[error("the data directory cannot be used: {}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the database did not do what was asked")]
    Internal(#[source] Source),
}

impl Error {
    pub(super) fn internal(source: impl Into<Source>) -> Self {
        Self::Internal(source.into())
    }

    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io {
                path: path.to_owned(),
                source,
            },
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        if matches!(error, rusqlite::Error::QueryReturnedNoRows) {
            return Self::NotFound;
        }
        let rusqlite::Error::SqliteFailure(code, message) = &error else {
            return Self::internal(error);
        };
        let message = message.as_deref().unwrap_or_default();
        match (code.code, code.extended_code) {
            (ErrorCode::DiskFull, _) => Self::Full,
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => Self::Busy,
            (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => Self::Corrupt(message.to_owned()),
            (_, ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY) => Self::Exists("it already exists".to_owned()),
            _ => Self::internal(error),
        }
    }
}
