//! What a closure reads and writes through. Outside the store both are opaque.

use std::ops::Deref;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Params, Row};

use super::Error;
use crate::domain::time::{Clock, Timestamp};

/// One snapshot of the database.
pub struct Reader<'c> {
    connection: &'c Connection,
    clock: &'c dyn Clock,
}

impl<'c> Reader<'c> {
    pub(super) fn new(connection: &'c Connection, clock: &'c dyn Clock) -> Self {
        Self { connection, clock }
    }

    /// The time by the store's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn connection(&self) -> &'c Connection {
        self.connection
    }

    pub(super) fn prepare(&self, sql: &'static str) -> Result<CachedStatement<'c>, Error> {
        Ok(self.connection.prepare_cached(sql)?)
    }

    /// The one row, or [`Error::NotFound`].
    pub(super) fn get<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        Ok(self.prepare(sql)?.query_row(params, map)?)
    }

    pub(super) fn find<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        Ok(self.prepare(sql)?.query_row(params, map).optional()?)
    }

    pub(super) fn list<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        Ok(self.prepare(sql)?.query_map(params, map)?.collect::<Result<_, _>>()?)
    }
}

/// The writer's transaction; reads see what it wrote.
pub struct Tx<'c> {
    reader: Reader<'c>,
}

impl<'c> Tx<'c> {
    pub(super) fn new(connection: &'c Connection, clock: &'c dyn Clock) -> Self {
        Self {
            reader: Reader::new(connection, clock),
        }
    }

    /// Runs one statement and says how many rows it changed.
    pub(super) fn execute(&self, sql: &'static str, params: impl Params) -> Result<usize, Error> {
        Ok(self.prepare(sql)?.execute(params)?)
    }
}

impl<'c> Deref for Tx<'c> {
    type Target = Reader<'c>;

    fn deref(&self) -> &Reader<'c> {
        &self.reader
    }
}

/// Takes a row's cells one after the other, in the order of the query's columns.
pub(super) struct Cells<'r> {
    row: &'r Row<'r>,
    at: usize,
}

impl<'r> Cells<'r> {
    pub(super) fn of(row: &'r Row<'r>) -> Self {
        Self { row, at: 0 }
    }

    pub(super) fn take<T: rusqlite::types::FromSql>(&mut self) -> rusqlite::Result<T> {
        let at = self.at;
        self.at += 1;
        self.row.get(at)
    }
}
