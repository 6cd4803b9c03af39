//! Looking at chains: the newest first, found by an index, and read no further than [`SCAN_MAX`] rows for one answer.

use std::net::IpAddr;

use rusqlite::types::Value;
use rusqlite::{Row, named_params};

use super::persons::{Person, parse};
use super::{Entry, Outcome, columns, entry, principal};
use crate::config::cidr::Cidr;
use crate::domain::id::PrincipalId;
use crate::domain::time::Timestamp;
use crate::store::tx::Cells;
use crate::store::{Error, Reader};

// Each walks an index from a place on, so that only what the index does not know is looked at row by row.
macro_rules! rows {
    ($($condition:literal),*) => {
        concat!(
            "SELECT ",
            columns!(),
            ", d.principal_id, d.fields, s.principal_id, s.fields, p.name FROM audit_log a
             LEFT JOIN audit_persons d ON d.chain = a.chain AND d.seq = a.seq AND d.part = 'actor'
             LEFT JOIN audit_persons s ON s.chain = a.chain AND s.seq = a.seq AND s.part = 'subject'
             LEFT JOIN principals p ON p.id = a.actor WHERE ",
            $($condition),*
        )
    };
}
macro_rules! newest_first {
    ($($condition:literal)?) => {
        rows!(
            "a.chain = :chain AND a.at >= :from AND (a.at, a.seq) < (:at, :seq)",
            $($condition,)?
            " ORDER BY a.at DESC, a.seq DESC LIMIT :limit"
        )
    };
}
pub(super) const PLAIN: &str = newest_first!();
pub(super) const BY_ACTOR: &str = newest_first!(" AND a.actor = :actor");
pub(super) const BY_ACTION: &str = newest_first!(" AND a.action = :action");
/// All chains: what somebody did, and what was done to them.
pub(super) const ABOUT: &str = rows!(
    "(a.chain, a.seq) IN (SELECT chain, seq FROM audit_log WHERE actor = :principal
        UNION SELECT chain, seq FROM audit_persons WHERE principal_id = :principal)
     AND (a.chain, a.seq) > (:chain, :seq) ORDER BY a.chain, a.seq LIMIT :limit"
);

/// Rows that are looked at for one answer, however few of them fit.
pub const SCAN_MAX: usize = 20_000;
const SCAN_PAGE: u32 = 1_000;

/// A row with who it is about.
#[derive(Clone, Debug)]
pub struct Listed {
    pub entry: Entry,
    /// Who did it, as they were then; what was erased is not there.
    pub actor: Person,
    /// Whom it was done to.
    pub subject: Option<Person>,
}

fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    let mut cells = Cells::of(row);
    let entry = entry(&mut cells)?;
    let actor = person(&mut cells)?;
    let subject = person(&mut cells)?;
    let name_now: Option<String> = cells.take()?;
    let actor = actor.unwrap_or_default();
    Ok(Listed {
        actor: Person {
            principal: entry.actor,
            name: actor.name.or(name_now),
            ..actor
        },
        subject,
        entry,
    })
}

fn person(cells: &mut Cells<'_>) -> rusqlite::Result<Option<Person>> {
    let (principal, _) = principal(cells)?;
    let fields: Option<String> = cells.take()?;
    Ok(fields.and_then(|fields| parse(principal, &fields)))
}

/// Which rows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub actor: Option<PrincipalId>,
    pub action: Option<String>,
    pub outcome: Option<Outcome>,
    /// Part of the target.
    pub target: Option<String>,
    pub from: Option<Timestamp>,
    /// The first moment that no longer counts.
    pub to: Option<Timestamp>,
    pub address: Option<Cidr>,
    /// Part of the action, the target, or a person's name or e-mail address.
    pub text: Option<String>,
}

impl Filter {
    fn fits(&self, row: &Listed) -> bool {
        let entry = &row.entry;
        let has = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
        let has_some = |text: &Option<String>, part: &str| text.as_deref().is_some_and(|text| has(text, part));
        let named = |person: &Person, part: &str| has_some(&person.name, part) || has_some(&person.email, part);
        self.actor.is_none_or(|actor| entry.actor == Some(actor))
            && self.action.as_ref().is_none_or(|action| *action == entry.action)
            && self.outcome.is_none_or(|outcome| outcome.as_str() == entry.outcome)
            && self.target.as_ref().is_none_or(|part| has(&entry.target, part))
            && self.address.is_none_or(|range| {
                let address: Option<IpAddr> = row.actor.address.as_deref().and_then(|text| text.parse().ok());
                address.is_some_and(|address| range.contains(address))
            })
            && self.text.as_ref().is_none_or(|part| {
                has(&entry.action, part)
                    || has(&entry.target, part)
                    || named(&row.actor, part)
                    || row.subject.as_ref().is_some_and(|person| named(person, part))
            })
    }
}

/// Where a page ends: rows are in the order of time, and of one time in that of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub at: Timestamp,
    pub seq: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.at.as_ms(), self.seq)
    }
}

impl std::str::FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, seq) = text.split_once('.').ok_or(())?;
        Ok(Self {
            at: Timestamp::from_ms(at.parse().map_err(|_| ())?),
            seq: seq.parse().map_err(|_| ())?,
        })
    }
}

impl From<&Entry> for Place {
    fn from(entry: &Entry) -> Self {
        Self {
            at: entry.at,
            seq: entry.seq,
        }
    }
}

/// Some of the rows that fit.
#[derive(Clone, Debug)]
pub struct Found {
    pub rows: Vec<Listed>,
    /// Where to go on; none where there is nothing more.
    pub next: Option<Place>,
}

/// What is looked for, and where a page begins.
#[derive(Clone, Debug)]
pub struct Search {
    pub chain: String,
    pub filter: Filter,
    /// `next` of the page before.
    pub after: Option<Place>,
    pub limit: usize,
}

/// The rows that fit, the newest first. Where few of many fit, a page may have less than its limit, even nothing, and yet a next.
pub fn search(reader: &Reader<'_>, search: &Search) -> Result<Found, Error> {
    let mut found = Vec::new();
    let mut after = search.after;
    let mut scanned = 0;
    loop {
        let page = list(reader, &search.chain, &search.filter, after, SCAN_PAGE)?;
        let is_last = page.len() < SCAN_PAGE as usize;
        scanned += page.len();
        for row in page {
            let here = Place::from(&row.entry);
            if search.filter.fits(&row) {
                if found.len() == search.limit {
                    return Ok(Found { rows: found, next: after });
                }
                found.push(row);
            }
            after = Some(here);
        }
        if is_last {
            return Ok(Found { rows: found, next: None });
        }
        if scanned >= SCAN_MAX {
            return Ok(Found { rows: found, next: after });
        }
    }
}

/// Rows of a chain that fit what an index knows of the filter, the newest first.
pub fn list(reader: &Reader<'_>, chain: &str, filter: &Filter, after: Option<Place>, limit: u32) -> Result<Vec<Listed>, Error> {
    let from = filter.from.map_or(i64::MIN, Timestamp::as_ms);
    let start = match (after, filter.to) {
        (Some(place), Some(to)) if place.at < to => (place.at.as_ms(), place.seq as i64),
        (_, Some(to)) => (to.as_ms(), 0),
        (Some(place), None) => (place.at.as_ms(), place.seq as i64),
        (None, None) => (i64::MAX, i64::MAX),
    };
    let (sql, name, value) = match filter {
        Filter { actor: Some(actor), .. } => (BY_ACTOR, ":actor", Value::Text(actor.to_string())),
        Filter { action: Some(action), .. } => (BY_ACTION, ":action", Value::Text(action.clone())),
        _ => (PLAIN, "", Value::Null),
    };
    let mut params: Vec<(&str, &dyn rusqlite::ToSql)> = vec![
        (":chain", &chain),
        (":from", &from),
        (":at", &start.0),
        (":seq", &start.1),
        (":limit", &limit),
    ];
    if !name.is_empty() {
        params.push((name, &value));
    }
    reader.list(sql, params.as_slice(), listed)
}

/// Rows of all chains that somebody did or that were done to them, from one row on.
pub fn about(reader: &Reader<'_>, principal: PrincipalId, after: Option<(&str, u64)>, limit: u32) -> Result<Vec<Listed>, Error> {
    let (chain, seq) = after.unwrap_or_default();
    reader.list(
        ABOUT,
        named_params! { ":principal": principal, ":chain": chain, ":seq": seq as i64, ":limit": limit },
        listed,
    )
}
