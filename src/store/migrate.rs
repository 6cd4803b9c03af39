//! Brings a file to the current schema: fresh from `schema.sql`, older by numbered steps, newer not at all.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::Error;
use crate::domain::time::Timestamp;

/// The schema that this release writes.
pub const SCHEMA_VERSION: u32 = 1;

pub(super) const CURRENT: Schema<'_> = Schema {
    whole: include_str!("../../schema.sql"),
    steps: &[],
};

/// A schema and how older ones come to it.
pub(super) struct Schema<'a> {
    /// What an empty file is made from.
    pub whole: &'a str,
    /// The first makes version 1 into version 2, and so on.
    pub steps: &'a [&'a str],
}

impl Schema<'_> {
    fn version(&self) -> u32 {
        u32::try_from(self.steps.len()).unwrap_or(u32::MAX - 1) + 1
    }
}

/// What was done to a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Made,
    Current,
    Upgraded { from: u32, backup: PathBuf },
}

/// Makes, upgrades or accepts the file behind `connection`. Before an upgrade it is copied into `backups`.
pub(super) fn bring_up(connection: &mut Connection, schema: &Schema<'_>, backups: &Path, now: Timestamp) -> Result<Outcome, Error> {
    let binary = schema.version();
    let file: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if file > binary {
        return Err(Error::NewerSchema { file, binary });
    }
    if file == binary {
        return Ok(Outcome::Current);
    }
    if file == 0 {
        make(connection, schema)?;
        return Ok(Outcome::Made);
    }
    let backup = copy(connection, backups, file, now)?;
    tracing::info!(from = file, to = binary, backup = %backup.display(), "upgrading the database");
    connection.pragma_update(None, "foreign_keys", "0")?;
    let upgraded = upgrade(connection, schema, file);
    connection.pragma_update(None, "foreign_keys", "1")?;
    upgraded?;
    Ok(Outcome::Upgraded { from: file, backup })
}

fn make(connection: &mut Connection, schema: &Schema<'_>) -> Result<(), Error> {
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 {
        return Err(Error::Corrupt(
            "the file has tables but no schema version; it is not AgentStation's".to_owned(),
        ));
    }
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(schema.whole)?;
    tx.pragma_update(None, "user_version", schema.version())?;
    Ok(tx.commit()?)
}

fn upgrade(connection: &mut Connection, schema: &Schema<'_>, file: u32) -> Result<(), Error> {
    for (version, step) in (2..).zip(schema.steps) {
        if version <= file {
            continue;
        }
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        let dangling: u32 = tx.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))?;
        if dangling > 0 {
            return Err(Error::Corrupt(format!(
                "{dangling} rows would name rows that are not there after the upgrade to schema {version}, which was undone"
            )));
        }
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(())
}

fn copy(connection: &Connection, backups: &Path, version: u32, now: Timestamp) -> Result<PathBuf, Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(backups)
        .map_err(|error| Error::io(backups, error))?;
    let path = backups.join(format!("schema-{version}-{}.db", now.as_ms()));
    super::make_private(&path)?;
    let mut target = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let copied = Backup::new(connection, &mut target)?.step(-1)?;
    if copied != StepResult::Done {
        return Err(Error::Busy);
    }
    drop(target);
    fs::File::open(&path)
        .and_then(|file| file.sync_all())
        .map_err(|error| Error::io(&path, error))?;
    Ok(path)
}

#[cfg(test)]
mod tests;
