//! Verifying a finished run: it is executed again, segment by segment, with no outside world, and held against its journal.
//!
//! It takes no slot that live runs need: one run is verified at a time, in the sandbox's own place for it, on the agents' threads.

mod again;
mod nothing;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::again::Again;
use super::access::require;
use super::{App, Error, audit, runs};
use crate::domain::failure::{EndReason, codes};
use crate::domain::id::{PrincipalId, RunId};
use crate::domain::journal::{NewEntry, Payload, kind};
use crate::domain::limits::PAGE_MAX;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::domain::time::Timestamp;
use crate::store::journal;
use crate::store::runs::Run;

/// How long one verification may take where the caller names nothing else.
pub const WITHIN: Duration = Duration::from_mins(1);
/// How long a verification waits for the one before it.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Of a finished run, how many of its last entries are looked at for a result.
const LAST_ENTRIES: u64 = 50;
/// Of either side of a difference, what is told.
const SIDE_BYTES_MAX: usize = 16 * 1024;

codes! {
    /// What verifying a run came to.
    Outcome {
        Identical = "identical",
        /// As far as the run can be repeated: it ended for a reason from outside.
        IdenticalUpTo = "identical_up_to",
        Differs = "differs",
        /// It could not be held against its journal: something of it is gone, or there was no time.
        Unverifiable = "unverifiable",
    }
}

/// The first place where a run did something else than its journal says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differs {
    pub segment: u32,
    /// Of a call: its ordinal in the segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<u32>,
    /// The entry that recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// `call`, `arguments`, `request`, `fuel`, `end`, `state`, `wake`, `output` or `error`.
    pub what: String,
    pub recorded: String,
    pub now: String,
}

/// The result of a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    pub result: Outcome,
    /// In words.
    pub text: String,
    /// Of `identical_up_to`: how the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Differs>,
    /// How many were executed again.
    pub segments: u32,
    /// Recorded calls that were made again, alike.
    pub calls: u64,
    /// Whether the engine is the one that recorded, so that fuel could be compared.
    pub fuel_compared: bool,
    pub duration_ms: u64,
}

/// How far the comparison came, before it is put in words.
pub(super) enum Verdict {
    Identical,
    UpTo(EndReason),
    Differs(Differs),
    Unverifiable(String),
}

/// Executes a finished run again and says whether it does what its journal says. The result is noted on the run's timeline.
///
/// # Errors
/// `NotFound`; `Conflict` where the run has not finished; `Busy` where others are being verified or the station stops.
pub async fn verify(app: &App, actor: &Actor, id: RunId, within: Duration, origin: Origin) -> Result<Verified, Error> {
    require(actor, Permission::RunsCancel, actor.org, "the run")?;
    let whole = runs::read_whole(app, actor, id).await?;
    let state = whole.run.state;
    if !state.is_terminal() {
        return Err(Error::Conflict(format!(
            "the run is {state}; only a run that has finished can be verified"
        )));
    }
    let began = Instant::now();
    let (again_app, actor_name) = (app.clone(), actor.name.clone());
    // On the agents' threads, and to its end also where the caller has gone away.
    let checked = app.agents_runtime().spawn(async move {
        let app = again_app;
        let verifying = &app.components.sandbox().verifying;
        let Ok(Ok(_place)) = tokio::time::timeout(WAIT_MAX, verifying.acquire()).await else {
            return Err(Error::Busy("other runs are being verified; try again in a moment".to_owned()));
        };
        let stopping = app.shutdown().clone();
        tokio::select! {
            checked = Again::new(&app, whole, within).run() => checked,
            () = stopping.cancelled() => Err(Error::Busy("the station stops; verify the run when it serves again".to_owned())),
        }
    });
    let (verdict, compared) = checked.await.map_err(|error| Error::Internal(error.to_string()))??;
    let verified = Verified::new(verdict, &compared, began.elapsed());
    record(app, actor, actor_name, id, &verified, origin).await?;
    Ok(verified)
}

/// A result that a run's timeline holds.
pub struct Noted {
    pub verified: Verified,
    pub by: Option<PrincipalId>,
    pub at: Timestamp,
}

/// The newest result on a finished run's timeline, where one stands among its last entries.
///
/// # Errors
/// `NotFound`.
pub async fn newest(app: &App, actor: &Actor, run: &Run) -> Result<Option<Noted>, Error> {
    if !run.state.is_terminal() {
        return Ok(None);
    }
    let last = runs::events(app, actor, run.id, run.last_seq.saturating_sub(LAST_ENTRIES), PAGE_MAX).await?;
    let Some(noted) = last.iter().rev().find(|entry| entry.kind == kind::RUN_VERIFIED) else {
        return Ok(None);
    };
    let whole = runs::event(app, actor, run.id, noted.seq).await?;
    let verified = whole.response.and_then(|text| serde_json::from_str(text.get()).ok());
    Ok(verified.map(|verified| Noted {
        verified,
        by: noted.actor,
        at: Timestamp::from_ms(noted.at),
    }))
}

/// What was compared.
#[derive(Default)]
pub(super) struct Compared {
    pub segments: u32,
    pub calls: u64,
    pub fuel: bool,
}

impl Verified {
    fn new(verdict: Verdict, compared: &Compared, took: Duration) -> Self {
        let (mut reason, mut difference) = (None, None);
        let did = format!(
            "the same {} in {}",
            plural(compared.calls, "call"),
            plural(u64::from(compared.segments), "segment")
        );
        let fuel = if compared.fuel { ", the same fuel" } else { "" };
        let (result, text) = match verdict {
            Verdict::Identical => (
                Outcome::Identical,
                format!("Executed again with no outside world, it made {did}{fuel} and ended the same."),
            ),
            Verdict::UpTo(why) => {
                reason = Some(why);
                let text = format!(
                    "Executed again with no outside world, it made {did}, up to where it ended: {}.",
                    outside(why).unwrap_or("for a reason from outside")
                );
                (Outcome::IdenticalUpTo, text)
            }
            Verdict::Differs(found) => {
                let place = found.call.map_or_else(String::new, |call| format!(", call {call}"));
                let text = format!("It differs at segment {}{place}: {}.", found.segment, words(&found.what));
                difference = Some(found);
                (Outcome::Differs, text)
            }
            Verdict::Unverifiable(why) => (Outcome::Unverifiable, format!("It cannot be verified: {why}.")),
        };
        Self {
            result,
            text,
            reason,
            difference,
            segments: compared.segments,
            calls: compared.calls,
            fuel_compared: compared.fuel,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Flat, so that a long text is cut and the rest kept.
    fn meta(&self, by: &str) -> Value {
        let mut meta = json!({
            "result": self.result, "text": self.text, "reason": self.reason, "calls": self.calls, "segments": self.segments, "by": by,
        });
        if let (Some(object), Some(found)) = (meta.as_object_mut(), &self.difference) {
            object.insert("at_segment".to_owned(), json!(found.segment));
            object.insert("at_call".to_owned(), json!(found.call));
            object.insert("at_seq".to_owned(), json!(found.seq));
            object.insert("recorded".to_owned(), json!(found.recorded));
            object.insert("now".to_owned(), json!(found.now));
        }
        meta
    }
}

fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn words(what: &str) -> &'static str {
    match what {
        "call" => "another call is made than was recorded",
        "arguments" => "the call is made with other arguments",
        "request" => "the recorded arguments are not those that the call was made with",
        "fuel" => "the fuel used is another",
        "state" => "the state for the next segment is another",
        "wake" => "it would go on with something else",
        "output" => "the output is another",
        "error" => "the error is another",
        _ => "it ends in another way",
    }
}

/// Of how a run ended, what executing it again cannot repeat, and why.
pub(super) const fn outside(reason: EndReason) -> Option<&'static str> {
    match reason {
        EndReason::Cancelled => Some("someone stopped it"),
        EndReason::Deadline => Some("its time was up, and time is not measured again"),
        EndReason::BudgetExhausted => Some("a person's budget was used up"),
        EndReason::JournalLimit => Some("it had recorded as much as it may"),
        EndReason::StackOverflow => Some("its stack was full, and how deep a stack goes depends on the machine"),
        EndReason::VersionDrift => Some("what it was built for was no longer in the station"),
        EndReason::FuelExhausted
        | EndReason::MemoryLimit
        | EndReason::Trap
        | EndReason::AgentError
        | EndReason::Denied
        | EndReason::Nondeterminism => None,
    }
}

/// A text, cut to what is told of one side.
pub(super) fn cut(mut text: String) -> String {
    if text.len() > SIDE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(SIDE_BYTES_MAX));
        text.push('…');
    }
    text
}

/// Notes the result on the run's timeline and in the audit log. A store that is open for reading only keeps neither.
async fn record(app: &App, actor: &Actor, by: String, id: RunId, verified: &Verified, origin: Origin) -> Result<(), Error> {
    if app.store.is_read_only() {
        return Ok(());
    }
    let (org, now) = (actor.org, app.clock.now());
    let entry = NewEntry {
        actor: Some(actor.principal),
        response: serde_json::to_string(verified).ok().map(Payload::Json),
        ..NewEntry::station(now, kind::RUN_VERIFIED, verified.meta(&by))
    };
    let record = audit::of(actor, "run.verify", &id.to_string(), origin);
    let appended = app
        .store
        .write(move |tx| {
            let appended = journal::append(tx, org, id, None, &[entry])?;
            crate::store::audit::record(tx, record, now)?;
            Ok(appended)
        })
        .await?;
    app.feed.announce(id, appended.last_seq, None);
    Ok(())
}
