//! Opening connections: the same settings on each, set and read back.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::Error;
use crate::domain::failure::codes;

codes! {
    /// How far a commit goes before it is acknowledged.
    Synchronous {
        /// To the disk: survives a power cut.
        Full = "full",
        /// To the system: survives a crash of the process.
        Normal = "normal",
        /// For throw-away data.
        Off = "off",
    }
}

/// The first release with the fix of the bug that could damage a database whose log was reset while two connections were at it.
const VERSION_MIN: i32 = 3_051_003;
const STATEMENTS_CACHED: usize = 256;
/// Bytes of one value: the largest is a runtime component.
const VALUE_BYTES_MAX: i32 = 64 << 20;
const SQL_BYTES_MAX: i32 = 256 << 10;
/// Negative is KiB.
const WRITER_CACHE: &str = "-16384";
const READER_CACHE: &str = "-4096";

/// Name and value of what every connection is set to.
const SETTINGS: &[(&str, &str)] = &[
    ("busy_timeout", "5000"),
    ("foreign_keys", "1"),
    ("trusted_schema", "0"),
    ("cell_size_check", "1"),
    ("temp_store", "2"),
    ("mmap_size", "0"),
    ("wal_autocheckpoint", "0"),
    // The log is cut to this only when it starts over, so that it is reused rather than grown.
    ("journal_size_limit", "67108864"),
    ("fullfsync", "1"),
    ("checkpoint_fullfsync", "1"),
];

pub(super) fn require_version() -> Result<(), Error> {
    let found = rusqlite::version_number();
    if found < VERSION_MIN {
        return Err(Error::internal(format!(
            "SQLite {} is too old: {VERSION_MIN} or later is needed",
            rusqlite::version()
        )));
    }
    Ok(())
}

/// The connection that writes. Also makes an empty file what it has to be before its first table.
pub(super) fn open_writer(path: &Path, synchronous: Synchronous) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // Takes hold only before the first table is made.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Error::internal(format!("the database is in journal mode {mode}, not wal")));
    }
    settle(&connection, synchronous)?;
    connection.pragma_update(None, "cache_size", WRITER_CACHE)?;
    Ok(connection)
}

pub(super) const READER_FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Makes a pooled connection one that can only read.
pub(super) fn make_reader(connection: &Connection) -> Result<(), Error> {
    settle(connection, Synchronous::Full)?;
    connection.pragma_update(None, "cache_size", READER_CACHE)?;
    connection.pragma_update(None, "query_only", "1")?;
    Ok(())
}

fn settle(connection: &Connection, synchronous: Synchronous) -> Result<(), Error> {
    for (name, value) in SETTINGS {
        connection.pragma_update(None, name, value)?;
    }
    connection.pragma_update(None, "synchronous", synchronous.as_str())?;
    for (config, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
    ] {
        connection.set_db_config(config, on)?;
    }
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, SQL_BYTES_MAX),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
    ] {
        connection.set_limit(limit, value)?;
    }
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    check(connection, synchronous)
}

/// SQLite takes no offence at a setting it does not know, so what was set is read back.
fn check(connection: &Connection, synchronous: Synchronous) -> Result<(), Error> {
    let found = read_back(connection)?;
    let wanted_synchronous = match synchronous {
        Synchronous::Full => "2",
        Synchronous::Normal => "1",
        Synchronous::Off => "0",
    };
    for (name, wanted) in SETTINGS.iter().chain(&[("synchronous", wanted_synchronous)]) {
        if !found.iter().any(|(known, value)| known == name && value == wanted) {
            return Err(Error::internal(format!("the database did not take the setting {name} = {wanted}")));
        }
    }
    Ok(())
}

/// Name and value of every setting, as the connection has it.
pub(super) fn read_back(connection: &Connection) -> Result<Vec<(&'static str, String)>, Error> {
    let others = ["journal_mode", "auto_vacuum", "synchronous", "query_only", "user_version"];
    let names = others.into_iter().chain(SETTINGS.iter().map(|(name, _)| *name));
    names
        .map(|name| {
            let value = connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))?;
            let text = match value {
                rusqlite::types::Value::Integer(number) => number.to_string(),
                rusqlite::types::Value::Text(text) => text,
                other => format!("{other:?}"),
            };
            Ok((name, text))
        })
        .collect()
}
