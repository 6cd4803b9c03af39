//! The ledger's lines of a range as a file: CSV for spreadsheets, JSON for programs; a page in memory at a time.

use std::collections::VecDeque;

use serde::Serialize;

use crate::domain::failure::codes;
use crate::domain::id::OrgId;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::domain::time::Timestamp;
use crate::services::access::require;
use crate::services::{App, Error, audit, csv_table};
use crate::store::dashboard::{self, Filter, Line};
use crate::store::{Store, audit as log};

/// Lines that are read at a time.
const PAGE: u32 = 1_000;

codes! {
    /// What kind of file.
    Format {
        Csv = "csv",
        /// One list.
        Json = "json",
    }
}

/// Where an export goes on: after this line, or nowhere.
enum Next {
    Begin,
    After(Timestamp, String),
    End,
    Done,
}

/// An export under way.
pub struct Export {
    store: Store,
    org: OrgId,
    filter: Filter,
    from: Timestamp,
    to: Timestamp,
    format: Format,
    next: Next,
    is_first: bool,
    ready: VecDeque<Vec<u8>>,
}

/// Begins an export of the lines that count between two times, which is itself written to the audit log first.
///
/// # Errors
/// `Forbidden`.
pub async fn begin_export(
    app: &App,
    actor: &Actor,
    filter: Filter,
    (from, to): (Timestamp, Timestamp),
    format: Format,
    origin: Origin,
) -> Result<Export, Error> {
    require(actor, Permission::CostsRead, actor.org, "what was spent")?;
    let target = filter
        .workspace
        .map_or_else(|| "organization".to_owned(), |workspace| workspace.to_string());
    let detail = serde_json::json!({ "format": format, "from": from.to_string(), "to": to.to_string() });
    let record = audit::of(actor, "costs.export", &target, origin).detail(detail);
    let now = app.clock.now();
    app.store.write(move |tx| log::record(tx, record, now)).await?;
    let mut ready = VecDeque::new();
    match format {
        Format::Csv => ready.push_back(csv_table::records(|csv| csv.write_record(COLUMNS))?),
        Format::Json => ready.push_back(b"[".to_vec()),
    }
    Ok(Export {
        store: app.store.clone(),
        org: actor.org,
        filter,
        from,
        to,
        format,
        next: Next::Begin,
        is_first: true,
        ready,
    })
}

impl Export {
    /// The next part of the file; none at its end.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Ok(Some(part));
            }
            let after = match std::mem::replace(&mut self.next, Next::Done) {
                Next::Begin => None,
                Next::After(at, id) => Some((at, id)),
                Next::End => {
                    if self.format == Format::Json {
                        self.ready.push_back(b"\n]\n".to_vec());
                    }
                    continue;
                }
                Next::Done => return Ok(None),
            };
            let (org, filter, to) = (self.org, self.filter.clone(), self.to);
            let from = after.as_ref().map_or(self.from, |(at, _)| *at);
            let lines = self
                .store
                .read(move |reader| dashboard::lines(reader, org, &filter, (from, to), after.as_ref(), PAGE))
                .await?;
            self.next = match lines.last() {
                Some(last) if lines.len() == PAGE as usize => Next::After(last.at, last.id.clone()),
                _ => Next::End,
            };
            if !lines.is_empty() {
                let part = self.part(&lines)?;
                self.ready.push_back(part);
            }
        }
    }

    fn part(&mut self, lines: &[Line]) -> Result<Vec<u8>, Error> {
        match self.format {
            Format::Csv => csv_table::records(|csv| lines.iter().try_for_each(|line| csv.write_record(cells(line)))),
            Format::Json => {
                let mut out = Vec::new();
                for line in lines {
                    out.extend_from_slice(if self.is_first { b"\n" } else { b",\n" });
                    self.is_first = false;
                    serde_json::to_writer(&mut out, &Written::of(line)).map_err(internal)?;
                }
                Ok(out)
            }
        }
    }
}

fn internal(error: impl ToString) -> Error {
    Error::Internal(error.to_string())
}

/// A line as programs get it; times are RFC 3339 in UTC.
#[derive(Debug, Serialize)]
struct Written<'a> {
    id: &'a str,
    at: String,
    settled_at: Option<String>,
    workspace: &'a str,
    environment: &'a str,
    run: &'a str,
    agent: &'a str,
    principal: &'a str,
    key: &'a str,
    segment: u32,
    call: u32,
    sub: u32,
    #[serde(rename = "try")]
    tries: u32,
    kind: &'a str,
    provider: &'a str,
    provider_name: &'a str,
    model: &'a str,
    corrects: Option<&'a str>,
    state: &'a str,
    reserved_micros: u64,
    cost_micros: i64,
    estimated: bool,
    input_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    output_tokens: u64,
    quantity: u64,
}

impl<'a> Written<'a> {
    fn of(line: &'a Line) -> Self {
        Self {
            id: &line.id,
            at: line.at.to_string(),
            settled_at: line.settled_at.map(|at| at.to_string()),
            workspace: &line.workspace,
            environment: &line.environment,
            run: &line.run,
            agent: &line.agent,
            principal: &line.principal,
            key: &line.key,
            segment: line.segment,
            call: line.call,
            sub: line.sub,
            tries: line.tries,
            kind: &line.kind,
            provider: &line.provider,
            provider_name: &line.provider_name,
            model: &line.model,
            corrects: line.corrects.as_deref(),
            state: &line.state,
            reserved_micros: line.reserved_micros,
            cost_micros: line.cost_micros,
            estimated: line.estimated,
            input_tokens: line.input_tokens,
            cache_read_tokens: line.cache_read_tokens,
            cache_write_tokens: line.cache_write_tokens,
            output_tokens: line.output_tokens,
            quantity: line.quantity,
        }
    }
}

const COLUMNS: [&str; 27] = [
    "id",
    "at",
    "settled_at",
    "workspace",
    "environment",
    "run",
    "agent",
    "principal",
    "key",
    "segment",
    "call",
    "sub",
    "try",
    "kind",
    "provider",
    "provider_name",
    "model",
    "corrects",
    "state",
    "reserved_micros",
    "cost_micros",
    "estimated",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "quantity",
];

fn cells(line: &Line) -> [String; 27] {
    [
        line.id.clone(),
        line.at.to_string(),
        line.settled_at.map(|at| at.to_string()).unwrap_or_default(),
        line.workspace.clone(),
        csv_table::cell(&line.environment),
        line.run.clone(),
        line.agent.clone(),
        line.principal.clone(),
        line.key.clone(),
        line.segment.to_string(),
        line.call.to_string(),
        line.sub.to_string(),
        line.tries.to_string(),
        line.kind.clone(),
        csv_table::cell(&line.provider),
        csv_table::cell(&line.provider_name),
        csv_table::cell(&line.model),
        line.corrects.clone().unwrap_or_default(),
        line.state.clone(),
        line.reserved_micros.to_string(),
        // A number, also where it is below zero: of a correction.
        line.cost_micros.to_string(),
        line.estimated.to_string(),
        line.input_tokens.to_string(),
        line.cache_read_tokens.to_string(),
        line.cache_write_tokens.to_string(),
        line.output_tokens.to_string(),
        line.quantity.to_string(),
    ]
}
