//! The lock on a data directory: one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::Error;

/// Held until it is released or dropped; the system lets go of it when the process dies.
pub(super) struct Lock {
    file: File,
}

impl Lock {
    pub(super) fn acquire(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| Error::io(path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked(path.parent().unwrap_or(path).to_owned())),
            Err(TryLockError::Error(error)) => Err(Error::io(path, error)),
        }
    }

    pub(super) fn release(&self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the data directory stays locked until the process ends");
        }
    }
}
