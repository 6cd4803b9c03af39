//! Walking a chain from its first row, a page at a time, beside whoever is writing it.

use rusqlite::named_params;
use serde::Serialize;

use super::record::{NOTHING_BEFORE, hash};
use super::{Checkpoint, Entry, LAST, persons, row, rows_from};
use crate::domain::hex;
use crate::store::hash::Hash;
use crate::store::{Error, Reader, station};

// Jumps from chain to chain along the key.
pub(super) const CHAINS: &str = "WITH RECURSIVE chain (name) AS (
    SELECT min(chain) FROM audit_log
    UNION ALL
    SELECT (SELECT min(a.chain) FROM audit_log a WHERE a.chain > chain.name) FROM chain WHERE chain.name IS NOT NULL)
    SELECT name FROM chain WHERE name IS NOT NULL";

const PAGE: u32 = 1_000;

/// What is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Broken {
    /// The row, or the hash before it, is not what was written.
    Changed { seq: u64 },
    /// Rows from this one on are missing, and later ones are there.
    Missing { seq: u64 },
    /// What the row has about a person is not what was written.
    Person { seq: u64 },
    /// The chain ends before the checkpoint's row.
    Cut { seq: u64 },
    /// The row is not the one that the checkpoint was made of: the chain was written anew.
    Rewritten { seq: u64 },
}

impl Broken {
    /// The first row that is wrong or not there.
    pub const fn seq(&self) -> u64 {
        match self {
            Self::Changed { seq } | Self::Missing { seq } | Self::Person { seq } | Self::Cut { seq } | Self::Rewritten { seq } => *seq,
        }
    }

    /// What it is, for people.
    pub fn in_words(&self) -> String {
        match self {
            Self::Changed { seq } => format!("row {seq} was changed"),
            Self::Missing { seq } => format!("row {seq} is missing"),
            Self::Person { seq } => format!("what row {seq} says of a person was changed"),
            Self::Cut { seq } => format!("the end is missing: row {seq} is not there"),
            Self::Rewritten { seq } => format!("the chain was rewritten: row {seq} is another than the checkpoint’s"),
        }
    }
}

/// What a walk along a chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Rows that are as they were written.
    pub rows: u64,
    /// `None` where all are.
    pub broken: Option<Broken>,
    /// The last row that holds; none of an empty chain.
    pub head: Option<Checkpoint>,
}

/// A walk that is under way. Each step reads one snapshot; the chain may grow between two.
#[derive(Debug)]
pub struct Walk {
    chain: String,
    checkpoint: Option<Checkpoint>,
    /// The hash before the last row that was seen: the newest row's own may change, by a repeat.
    before_last: Hash,
    last: Option<Entry>,
}

impl Walk {
    /// Along `chain`, and past the row of `checkpoint`.
    pub fn new(chain: &str, checkpoint: Option<Checkpoint>) -> Self {
        Self {
            chain: chain.to_owned(),
            checkpoint,
            before_last: NOTHING_BEFORE,
            last: None,
        }
    }

    /// Goes on by a page; at the end, or where the chain is broken, there is a verdict.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the key of the chains is no key.
    pub fn step(&mut self, reader: &Reader<'_>) -> Result<Option<Verdict>, Error> {
        if self.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.chain != self.chain) {
            return Err(Error::Conflict("the checkpoint is of another chain".to_owned()));
        }
        let key = station::find_audit_key(reader)?.unwrap_or_default();
        let from = self.last.as_ref().map_or(1, |last| last.seq);
        let page = rows_from(reader, &self.chain, from, PAGE)?;
        let is_last = page.len() < PAGE as usize;
        let to = page.last().map_or(from, |row| row.seq);
        let mut people = persons::from(reader, &self.chain, from, to)?.into_iter().peekable();
        // The row that ended the page before is read again, for its hash may have changed since.
        let mut before = self.before_last;
        for (next, row) in (from..).zip(page) {
            if row.seq != next {
                return Ok(Some(self.broken(Broken::Missing { seq: next })));
            }
            if hash(&key, &before, &row)? != row.hash {
                return Ok(Some(self.broken(Broken::Changed { seq: next })));
            }
            let mut own = Vec::new();
            while let Some(person) = people.next_if(|person| person.seq <= next) {
                own.push(person);
            }
            let together = persons::together(own.iter().map(|person| (person.part, &person.digest)));
            if together != row.person || own.iter().any(|person| !person.fits || person.seq != next) {
                return Ok(Some(self.broken(Broken::Person { seq: next })));
            }
            if let Some(checkpoint) = self.checkpoint.as_ref().filter(|checkpoint| checkpoint.seq == next) {
                let then = Entry {
                    count: checkpoint.count,
                    ..row.clone()
                };
                if checkpoint.count > row.count || hex::encode(&hash(&key, &before, &then)?) != checkpoint.hash {
                    return Ok(Some(self.broken(Broken::Rewritten { seq: next })));
                }
            }
            self.before_last = before;
            before = row.hash;
            self.last = Some(row);
        }
        if !is_last {
            return Ok(None);
        }
        let seen = self.last.as_ref().map_or(0, |last| last.seq);
        let cut = self.checkpoint.as_ref().filter(|checkpoint| checkpoint.seq > seen);
        let broken = cut.map(|_| Broken::Cut { seq: seen + 1 });
        Ok(Some(self.verdict(broken)))
    }

    fn broken(&self, broken: Broken) -> Verdict {
        self.verdict(Some(broken))
    }

    fn verdict(&self, broken: Option<Broken>) -> Verdict {
        Verdict {
            rows: self.last.as_ref().map_or(0, |last| last.seq),
            broken,
            head: self.last.as_ref().map(Checkpoint::from),
        }
    }
}

/// A chain's newest row.
pub fn head(reader: &Reader<'_>, chain: &str) -> Result<Option<Checkpoint>, Error> {
    let last = reader.find(LAST, named_params! { ":chain": chain }, row)?;
    Ok(last.as_ref().map(Checkpoint::from))
}

/// Every chain that has a row.
pub fn chains(reader: &Reader<'_>) -> Result<Vec<String>, Error> {
    reader.list(CHAINS, [], |row| row.get(0))
}
