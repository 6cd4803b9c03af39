//! What `doctor` asks of the database: settings, integrity, sizes.

use std::fs;

use super::{DATABASE_FILE, Error, Store, connection};

/// Problems listed by an integrity check; more say nothing new.
const PROBLEMS_MAX: &str = "PRAGMA integrity_check(20)";

/// How thorough an integrity check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Structure only: seconds for gigabytes.
    Quick,
    /// Also that indexes match their tables, and foreign keys.
    Full,
}

/// Bytes on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub database_bytes: u64,
    /// The write-ahead log.
    pub log_bytes: u64,
    /// Of the database, what is free to be used again.
    pub free_bytes: u64,
}

impl Store {
    /// Name and value of the settings, of a connection that is opened as the writer's is.
    pub async fn pragmas(&self) -> Result<Vec<(&'static str, String)>, Error> {
        let file = self.inner.data_dir.join(DATABASE_FILE);
        let synchronous = self.inner.synchronous;
        tokio::task::spawn_blocking(move || connection::read_back(&connection::open_writer(&file, synchronous)?))
            .await
            .map_err(Error::internal)?
    }

    /// The problems found, one a line; none where the database is sound.
    pub async fn integrity(&self, check: Check) -> Result<Vec<String>, Error> {
        self.read(move |reader| {
            let sql = match check {
                Check::Quick => "PRAGMA quick_check(20)",
                Check::Full => PROBLEMS_MAX,
            };
            let mut problems = reader.list(sql, [], |row| row.get::<_, String>(0))?;
            problems.retain(|line| line != "ok");
            if check == Check::Full {
                let dangling = reader.list("PRAGMA foreign_key_check", [], |row| {
                    Ok(format!(
                        "a row of {} names a row of {} that is not there",
                        row.get::<_, String>(0)?,
                        row.get::<_, String>(2)?
                    ))
                })?;
                problems.extend(dangling);
            }
            Ok(problems)
        })
        .await
    }

    pub async fn sizes(&self) -> Result<Sizes, Error> {
        let file = self.inner.data_dir.join(DATABASE_FILE);
        self.read(move |reader| {
            let number = |sql| reader.get(sql, [], |row| row.get::<_, u64>(0));
            let page = number("PRAGMA page_size")?;
            let log = file.with_extension("db-wal");
            Ok(Sizes {
                database_bytes: number("PRAGMA page_count")?.saturating_mul(page),
                log_bytes: fs::metadata(log).map_or(0, |data| data.len()),
                free_bytes: number("PRAGMA freelist_count")?.saturating_mul(page),
            })
        })
        .await
    }
}
