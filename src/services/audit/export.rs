//! The rows of a chain as a file: JSON lines for programs, CSV for spreadsheets; a page in memory at a time.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Chain, Filter, Found, Listed, Person, Place, Search, of};
use crate::domain::audit::in_words;
use crate::domain::failure::codes;
use crate::domain::hex;
use crate::domain::origin::Origin;
use crate::domain::permission::Actor;
use crate::services::{App, Error, csv_table};
use crate::store::{Store, audit};

/// Rows that are read at a time.
const PAGE: usize = 500;

codes! {
    /// What kind of file.
    Format {
        Jsonl = "jsonl",
        Csv = "csv",
    }
}

/// An export under way.
pub struct Export {
    store: Store,
    search: Option<Search>,
    format: Format,
    ready: VecDeque<Vec<u8>>,
}

/// Begins an export, which is itself written to the chain first.
///
/// # Errors
/// `Forbidden`.
pub async fn begin_export(app: &App, actor: &Actor, chain: Chain, filter: Filter, format: Format, origin: Origin) -> Result<Export, Error> {
    let name = chain.name(actor)?;
    let record = of(actor, "audit.export", &name, origin)
        .detail(serde_json::json!({ "format": format, "filtered_by": filtered_by(&filter) }))
        .in_chain(&name);
    let now = app.clock.now();
    app.store.write(move |tx| audit::record(tx, record, now)).await?;
    Export::new(app.store.clone(), name, filter, format)
}

/// The names of what a filter says. What it says may be about a person, and the row stays for ever.
fn filtered_by(filter: &Filter) -> Vec<&'static str> {
    let Filter {
        actor,
        action,
        outcome,
        target,
        from,
        to,
        address,
        text,
    } = filter;
    let named = [
        ("actor", actor.is_some()),
        ("action", action.is_some()),
        ("outcome", outcome.is_some()),
        ("target", target.is_some()),
        ("from", from.is_some()),
        ("to", to.is_some()),
        ("address", address.is_some()),
        ("text", text.is_some()),
    ];
    named.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
}

impl Export {
    /// Of any chain of a store.
    ///
    /// # Errors
    /// `Internal` never: the head of a file is made of constants.
    pub fn new(store: Store, chain: String, filter: Filter, format: Format) -> Result<Self, Error> {
        let search = Search {
            chain,
            filter,
            after: None,
            limit: PAGE,
        };
        let mut ready = VecDeque::new();
        if format == Format::Csv {
            ready.push_back(csv_table::records(|csv| csv.write_record(COLUMNS))?);
        }
        Ok(Self {
            store,
            search: Some(search),
            format,
            ready,
        })
    }

    /// The next part of the file; none at its end.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Ok(Some(part));
            }
            let Some(search) = self.search.take() else { return Ok(None) };
            let (search, found) = self
                .store
                .read(move |reader| {
                    let found = audit::search(reader, &search)?;
                    Ok((search, found))
                })
                .await?;
            let Found { rows, next } = found;
            self.search = next.map(|place: Place| Search {
                after: Some(place),
                ..search
            });
            if !rows.is_empty() {
                self.ready.push_back(part(&rows, self.format)?);
            }
        }
    }
}

fn part(rows: &[Listed], format: Format) -> Result<Vec<u8>, Error> {
    match format {
        Format::Jsonl => {
            let mut out = Vec::new();
            for row in rows {
                serde_json::to_writer(&mut out, &Line::of(row)).map_err(internal)?;
                out.push(b'\n');
            }
            Ok(out)
        }
        Format::Csv => csv_table::records(|csv| rows.iter().try_for_each(|row| csv.write_record(cells(row)))),
    }
}

fn internal(error: impl ToString) -> Error {
    Error::Internal(error.to_string())
}

/// A row as it is exported; times are RFC 3339 in UTC.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    chain: &'a str,
    seq: u64,
    at: String,
    actor: Option<String>,
    #[serde(flatten)]
    who: Who<'a>,
    credential: Option<&'a str>,
    credential_id: Option<&'a str>,
    action: &'a str,
    target: &'a str,
    outcome: &'a str,
    count: u64,
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Whom<'a>>,
    detail: &'a RawValue,
    hash: String,
}

#[derive(Debug, Serialize)]
struct Who<'a> {
    name: Option<&'a str>,
    email: Option<&'a str>,
    address: Option<&'a str>,
    user_agent: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Whom<'a> {
    id: Option<String>,
    name: Option<&'a str>,
    email: Option<&'a str>,
}

impl<'a> Line<'a> {
    pub fn of(row: &'a Listed) -> Self {
        let entry = &row.entry;
        let Person {
            name,
            email,
            address,
            user_agent,
            ..
        } = &row.actor;
        Self {
            chain: &entry.chain,
            seq: entry.seq,
            at: entry.at.to_string(),
            actor: entry.actor.map(|id| id.to_string()),
            who: Who {
                name: name.as_deref(),
                email: email.as_deref(),
                address: address.as_deref(),
                user_agent: user_agent.as_deref(),
            },
            credential: entry.credential.as_deref(),
            credential_id: entry.credential_id.as_deref(),
            action: &entry.action,
            target: &entry.target,
            outcome: &entry.outcome,
            count: entry.count,
            request_id: entry.request_id.as_deref(),
            subject: row.subject.as_ref().map(|person| Whom {
                id: person.principal.map(|id| id.to_string()),
                name: person.name.as_deref(),
                email: person.email.as_deref(),
            }),
            // What somebody has damaged is left to verifying to find.
            detail: serde_json::from_str(&entry.detail).unwrap_or(RawValue::NULL),
            hash: hex::encode(&entry.hash),
        }
    }
}

const COLUMNS: [&str; 17] = [
    "chain",
    "seq",
    "at",
    "actor",
    "name",
    "email",
    "address",
    "credential",
    "credential_id",
    "action",
    "words",
    "target",
    "outcome",
    "count",
    "request_id",
    "detail",
    "hash",
];

fn cells(row: &Listed) -> Vec<String> {
    let entry = &row.entry;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let all = [
        entry.chain.clone(),
        entry.seq.to_string(),
        entry.at.to_string(),
        entry.actor.map(|id| id.to_string()).unwrap_or_default(),
        text(&row.actor.name),
        text(&row.actor.email),
        text(&row.actor.address),
        text(&entry.credential),
        text(&entry.credential_id),
        entry.action.clone(),
        in_words(&entry.action).to_owned(),
        entry.target.clone(),
        entry.outcome.clone(),
        entry.count.to_string(),
        text(&entry.request_id),
        entry.detail.clone(),
        hex::encode(&entry.hash),
    ];
    all.iter().map(|text| csv_table::cell(text)).collect()
}
