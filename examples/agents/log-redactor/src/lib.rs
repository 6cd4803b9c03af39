//! An agent as a component: takes personal data and secrets out of a log.
//!
//! The same value always becomes the same mark (`[email-1]`), so that the log still tells its story. What was found is
//! counted on the timeline and over all runs in memory; the clean log is kept as an artifact.

mod scan;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use abi::agentstation::agent::{artifacts, memory, timeline};
use abi::{Failure, Guest, Outcome, Start};
use scan::Kind;

#[expect(clippy::too_many_arguments, reason = "generated")]
mod abi {
    wit_bindgen::generate!({ path: "../../../wit", world: "agent" });
}

/// Lines between two progress reports.
const PROGRESS_LINES: usize = 2_000;

/// The key under which totals over all runs are remembered.
const TOTALS_KEY: &str = "totals";

/// How often totals are written again when another run came in between.
const TRIES_MAX: u32 = 5;

struct Agent;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    log: String,
    #[serde(default)]
    keep: Vec<Kind>,
}

#[derive(Serialize)]
struct Output {
    lines: usize,
    changed_lines: usize,
    /// How often each kind was found, and how many different values there were.
    found: BTreeMap<Kind, Found>,
    /// Over all runs of this agent.
    totals: BTreeMap<Kind, u64>,
    artifact: String,
}

#[derive(Default, Serialize)]
struct Found {
    times: u64,
    distinct: u64,
}

impl Guest for Agent {
    fn run(start: Start) -> Result<Outcome, Failure> {
        let input: Input = serde_json::from_str(&start.input).map_err(|error| invalid(&error.to_string()))?;

        let redacted = step("Redact", || Ok(redact(&input)))?;
        for (kind, found) in &redacted.found {
            let fields = format!("{{\"times\":{},\"distinct\":{}}}", found.times, found.distinct);
            timeline::log(timeline::Level::Info, &format!("Found {}", kind.words()), Some(&fields));
        }

        let artifact = step("Keep the clean log", || {
            artifacts::put(&artifacts::PutRequest {
                name: "clean.log".to_owned(),
                content_type: "text/plain".to_owned(),
                body: redacted.text.into_bytes(),
                extra: None,
            })
        })?;
        let totals = step("Add to the totals", || add_to_totals(&redacted.found))?;

        let output = Output {
            lines: redacted.lines,
            changed_lines: redacted.changed_lines,
            found: redacted.found,
            totals,
            artifact: artifact.name,
        };
        serde_json::to_string(&output)
            .map(Outcome::Done)
            .map_err(|error| invalid(&error.to_string()))
    }
}

struct Redacted {
    text: String,
    lines: usize,
    changed_lines: usize,
    found: BTreeMap<Kind, Found>,
}

fn redact(input: &Input) -> Redacted {
    let total = input.log.lines().count();
    let mut marks: BTreeMap<(Kind, String), u64> = BTreeMap::new();
    let mut redacted = Redacted {
        text: String::with_capacity(input.log.len()),
        lines: total,
        changed_lines: 0,
        found: BTreeMap::new(),
    };

    for (at, line) in input.log.lines().enumerate() {
        let mut rest = 0;
        for span in scan::find(line).into_iter().filter(|span| !input.keep.contains(&span.kind)) {
            let (Some(before), Some(value)) = (line.get(rest..span.start), line.get(span.start..span.end)) else {
                continue;
            };
            let found = redacted.found.entry(span.kind).or_default();
            found.times += 1;
            let number = *marks.entry((span.kind, value.to_lowercase())).or_insert_with(|| {
                found.distinct += 1;
                found.distinct
            });
            redacted.text.push_str(before);
            redacted.text.push_str(&format!("[{}-{number}]", span.kind.name()));
            rest = span.end;
        }
        redacted.changed_lines += usize::from(rest > 0);
        redacted.text.push_str(line.get(rest..).unwrap_or_default());
        redacted.text.push('\n');
        if (at + 1) % PROGRESS_LINES == 0 || at + 1 == total {
            report(at + 1, total);
        }
    }
    redacted
}

#[expect(clippy::cast_precision_loss, reason = "a log has fewer than 2^53 lines")]
fn report(done: usize, total: usize) {
    timeline::progress(&timeline::ProgressUpdate {
        done: done as f64,
        total: total as f64,
        message: "lines".to_owned(),
        extra: None,
    });
}

/// Adds to what is remembered. Another run may do the same at once: the version tells, and we read again.
fn add_to_totals(found: &BTreeMap<Kind, Found>) -> Result<BTreeMap<Kind, u64>, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        let entry = memory::get(TOTALS_KEY)?;
        let mut totals: BTreeMap<Kind, u64> = entry
            .as_ref()
            .and_then(|entry| serde_json::from_str(&entry.value).ok())
            .unwrap_or_default();
        for (kind, found) in found {
            *totals.entry(*kind).or_default() += found.times;
        }
        let value = serde_json::to_string(&totals).map_err(|error| invalid(&error.to_string()))?;
        let if_version = Some(entry.map_or(0, |entry| entry.version));
        match memory::put(&memory::PutRequest {
            key: TOTALS_KEY.to_owned(),
            value,
            if_version,
            extra: None,
        }) {
            Ok(_) => return Ok(totals),
            Err(failure) if failure.code == "conflict" && tries < TRIES_MAX => {}
            Err(failure) => return Err(failure),
        }
    }
}

fn step<T>(name: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let step = timeline::step_start(name);
    let result = work();
    timeline::step_end(step, result.is_err());
    result
}

fn invalid(message: &str) -> Failure {
    Failure {
        code: "invalid".to_owned(),
        message: message.to_owned(),
        retryable: false,
    }
}

abi::export!(Agent with_types_in abi);
