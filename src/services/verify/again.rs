//! One finished run executed again, and each segment's calls, fuel and end held against what was recorded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::nothing::{Beyond, Nothing};
use super::{Compared, Differs, Verdict, cut, outside};
use crate::domain::call::fingerprint;
use crate::domain::chat::ChatRequest;
use crate::domain::failure::EndReason;
use crate::domain::hex;
use crate::domain::journal::is_erased;
use crate::domain::manifest::RuntimeKind;
use crate::domain::run::RunState;
use crate::runtime::components::ComponentDigest;
use crate::runtime::engine::{LinkedGuest, World};
use crate::runtime::exchange::{Place, Used};
use crate::runtime::ports::{Port, RecordedEntry, Stop};
use crate::runtime::segment::{self, Begin, End, Event, Report, RunError, Script, Wake};
use crate::runtime::{self, Aspect};
use crate::services::agents::version_of_segment;
use crate::services::runs::Whole;
use crate::services::versions::LoadedVersion;
use crate::services::{App, Error};
use crate::store::journal::Made;
use crate::store::segments::Past;
use crate::store::{self, journal, payloads, segments};

/// Fuel beyond what a stopped segment had used, within which its stop is taken to lie: more than lies between two yields.
const STOPPED_FUEL_SLACK: u64 = 50_000_000;

pub(super) struct Again<'a> {
    app: &'a App,
    whole: Whole,
    until: Instant,
    compared: Compared,
}

/// What the journal holds of a segment.
struct Kept {
    state: Option<Vec<u8>>,
    recorded: Vec<RecordedEntry>,
    made: Vec<Made>,
}

/// What comes after a segment.
enum After {
    Segment { state: Option<Vec<u8>>, event: Option<Event> },
    End,
}

/// Why a verification does not go on.
enum Halt {
    Found(Verdict),
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Verdict> for Halt {
    fn from(verdict: Verdict) -> Self {
        Self::Found(verdict)
    }
}

/// What is not there any more makes a run unverifiable; what the database does is an error.
fn gone(what: &'static str) -> impl FnOnce(store::Error) -> Halt {
    move |error| match error {
        store::Error::NotFound => Verdict::Unverifiable(format!("{what} is no longer there")).into(),
        other => Halt::Failed(other.into()),
    }
}

fn unverifiable(why: impl Into<String>) -> Halt {
    Verdict::Unverifiable(why.into()).into()
}

impl<'a> Again<'a> {
    pub(super) fn new(app: &'a App, whole: Whole, within: Duration) -> Self {
        Self {
            app,
            whole,
            until: Instant::now() + within,
            compared: Compared::default(),
        }
    }

    pub(super) async fn run(mut self) -> Result<(Verdict, Compared), Error> {
        match self.segments().await {
            Ok(()) => Ok((Verdict::Identical, self.compared)),
            Err(Halt::Found(verdict)) => Ok((verdict, self.compared)),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    async fn segments(&mut self) -> Result<(), Halt> {
        let (org, id) = (self.whole.run.org, self.whole.run.id);
        if is_erased(&self.whole.input) || self.whole.output.as_deref().is_some_and(is_erased) {
            return Err(unverifiable("its input or output was erased"));
        }
        let all = self
            .app
            .store
            .read(move |reader| segments::list(reader, org, id))
            .await
            .map_err(Error::from)?;
        let in_force: Vec<Past> = all.into_iter().filter(|past| !past.abandoned).collect();
        self.compared.fuel = in_force.iter().all(|past| past.segment.engine == self.app.engine_fingerprint);
        if in_force.is_empty() {
            // It ended before it ever began.
            let reason = self.whole.run.reason.unwrap_or(EndReason::Cancelled);
            return Err(Verdict::UpTo(reason).into());
        }
        let mut next = in_force.iter().skip(1);
        for past in &in_force {
            let after = match next.next() {
                Some(next) => After::Segment {
                    state: self.state(next).await?,
                    event: event(next),
                },
                None => After::End,
            };
            self.segment(past, after).await?;
            self.compared.segments += 1;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn state(&self, past: &Past) -> Result<Option<Vec<u8>>, Halt> {
        let Some(hash) = past.segment.state_hash else { return Ok(None) };
        let org = self.whole.run.org;
        let read = self.app.store.read(move |reader| payloads::bytes(reader, org, &hash)).await;
        Ok(Some(read.map_err(gone("the state of a segment"))?))
    }

    async fn segment(&mut self, past: &Past, after: After) -> Result<(), Halt> {
        let kept = self.kept(past).await?;
        check_requests(past.segment.segment, &kept)?;
        let begin = self.begin(past, &kept, &after).await?;
        let nothing = Arc::new(Nothing::new(self.app, self.whole.run.org, past.segment.started_at));
        let port = Arc::clone(&nothing) as Arc<dyn Port>;
        let report = segment::execute(self.app.components.sandbox(), begin, port, Stop::default()).await;
        if let Some(why) = nothing.lost() {
            return Err(unverifiable(why));
        }
        if Instant::now() >= self.until {
            return Err(unverifiable("it takes longer to execute again than a verification may"));
        }
        self.compare(past, &kept, after, &report, nothing.beyond())
    }

    async fn kept(&self, past: &Past) -> Result<Kept, Halt> {
        let (org, id, number) = (self.whole.run.org, self.whole.run.id, past.segment.segment);
        let read = self.app.store.read(move |reader| {
            let recorded = journal::recorded(reader, org, id, number)?;
            Ok((recorded, journal::made(reader, org, id, number)?))
        });
        let (recorded, made) = read.await.map_err(gone("a part of its journal"))?;
        let recorded: Vec<RecordedEntry> = recorded.into_iter().map(RecordedEntry::from).collect();
        for entry in &recorded {
            if entry.response.as_deref().is_some_and(is_erased) {
                return Err(unverifiable(format!(
                    "the result of call {} ({}) in segment {number} was erased",
                    entry.call, entry.kind
                )));
            }
        }
        Ok(Kept {
            state: self.state(past).await?,
            recorded,
            made,
        })
    }

    async fn version(&self, past: &Past) -> Result<Arc<LoadedVersion>, Halt> {
        version_of_segment(self.app, &self.whole.run, &past.segment).await?.ok_or_else(|| {
            unverifiable(format!(
                "the version of the agent that segment {} was executed with is no longer there",
                past.segment.segment
            ))
        })
    }

    async fn guest(&self, digest: ComponentDigest, kind: RuntimeKind) -> Result<LinkedGuest, Halt> {
        let (app, org) = (self.app, self.whole.run.org);
        let linked = match kind {
            RuntimeKind::Javascript => app.javascript(digest).await,
            RuntimeKind::Component => {
                let bytes = async || {
                    app.blob(org, digest)
                        .await
                        .map_err(|error| runtime::Error::Refused(format!("its code is missing: {error}")))
                };
                app.components.get(digest, World::Agent, bytes).await
            }
        };
        linked.map_err(|error| match error {
            runtime::Error::Internal(text) => Halt::Failed(Error::Internal(text)),
            refused if self.whole.run.reason == Some(EndReason::VersionDrift) => {
                tracing::debug!(%refused, "the code that was refused then is refused again");
                Verdict::UpTo(EndReason::VersionDrift).into()
            }
            refused => unverifiable(format!("its code can no longer be executed: {refused}")),
        })
    }

    async fn begin(&self, past: &Past, kept: &Kept, after: &After) -> Result<Begin, Halt> {
        let version = self.version(past).await?;
        let manifest = &version.version.manifest;
        let guest = self.guest(past.segment.component_digest, manifest.runtime).await?;
        let mut limits = manifest.limits;
        let stopped = matches!(self.whole.run.reason, Some(EndReason::Cancelled | EndReason::Deadline));
        let same_engine = past.segment.engine == self.app.engine_fingerprint;
        if stopped && same_engine && matches!(after, After::End) {
            // It need not compute on for as long as its fuel lasts: where it was stopped is known well enough.
            let used = kept.recorded.iter().map(|entry| entry.fuel).max().unwrap_or(0);
            let used = used.max(past.fuel.unwrap_or(0));
            limits.fuel = limits.fuel.min(used.saturating_add(STOPPED_FUEL_SLACK));
        }
        Ok(Begin {
            guest,
            script: version.source.as_ref().map(|source| Script {
                name: manifest.entry.clone(),
                source: Arc::clone(source),
            }),
            input: self.whole.input.clone(),
            state: kept.state.clone(),
            event: event(past),
            seed: past.segment.seed,
            started_at: past.segment.started_at,
            place: Place {
                attempt: 0,
                segment: past.segment.segment,
            },
            limits,
            used: Used::default(),
            time_left: self.until.saturating_duration_since(Instant::now()),
            recorded: kept.recorded.clone(),
            compare_fuel: same_engine,
        })
    }

    /// Holds what happened now against what was recorded.
    fn compare(&mut self, past: &Past, kept: &Kept, after: After, report: &Report, beyond: Option<Beyond>) -> Result<(), Halt> {
        let number = past.segment.segment;
        let last = matches!(after, After::End);
        let stopped = if last {
            self.whole.run.reason.filter(|reason| outside(*reason).is_some())
        } else {
            None
        };
        if let Some(found) = &report.difference
            && !(found.aspect == Aspect::Missing && beyond.is_some())
        {
            self.compared.calls += u64::from(found.call);
            return Err(difference(number, kept, found).into());
        }
        let beyond = beyond.or_else(|| report.unwritten.first().map(Beyond::of));
        self.compared.calls += distinct_calls(kept);
        if let Some(beyond) = beyond {
            return Err(match stopped {
                Some(reason) => Verdict::UpTo(reason),
                None => went_on(number, kept, beyond),
            }
            .into());
        }
        match self.compare_end(past, &after, &report.end) {
            // What it ended with is the same; whether it took the same fuel to get there shows on the same engine only.
            None if past.segment.engine != self.app.engine_fingerprint => Ok(()),
            None => match past.fuel {
                Some(fuel) if fuel != report.fuel && stopped.is_none() => {
                    Err(end_differs(number, "fuel", fuel.to_string(), report.fuel.to_string()).into())
                }
                _ => Ok(()),
            },
            Some(_) if stopped.is_some() => Err(stopped.map_or(Verdict::Identical, Verdict::UpTo).into()),
            Some(found) => Err(Verdict::Differs(found).into()),
        }
    }

    fn compare_end(&self, past: &Past, after: &After, end: &End) -> Option<Differs> {
        let number = past.segment.segment;
        let differs = |what: &str, recorded: String, now: String| {
            Some(Differs {
                segment: number,
                call: None,
                sub: None,
                seq: None,
                what: String::from(what),
                recorded: cut(recorded),
                now: cut(now),
            })
        };
        let run = &self.whole.run;
        match (after, end) {
            (After::Segment { state, event }, End::Next { state: now, wake }) => {
                let then = state.as_deref().unwrap_or_default();
                if then != now.as_slice() {
                    return differs("state", readable(then), readable(now));
                }
                if same_wake(event.as_ref(), *wake) {
                    return None;
                }
                differs("wake", wake_words(event.as_ref()), format!("{wake:?}").to_lowercase())
            }
            (After::Segment { .. }, other) => differs("end", "another segment follows".to_owned(), end_words(other)),
            (After::End, End::Done { output }) if run.state == RunState::Succeeded => {
                let then = self.whole.output.as_deref().unwrap_or_default();
                if then == output {
                    None
                } else {
                    differs("output", then.to_owned(), output.clone())
                }
            }
            (After::End, End::Failed { reason, error }) if run.reason == Some(*reason) => {
                let then: Option<RunError> = run.error.as_deref().and_then(|text| serde_json::from_str(text).ok());
                // The engine's own words for a trap are its own.
                let words_may_differ = *reason == EndReason::Trap && past.segment.engine != self.app.engine_fingerprint;
                if words_may_differ || then.as_ref() == Some(error) {
                    return None;
                }
                let now = serde_json::to_string(error).unwrap_or_default();
                differs("error", run.error.clone().unwrap_or_default(), now)
            }
            (After::End, other) => differs("end", self.ended(), end_words(other)),
        }
    }

    /// How the run ended, as recorded.
    fn ended(&self) -> String {
        let run = &self.whole.run;
        match (&run.reason, &run.error) {
            (Some(reason), Some(error)) => format!("{}: {reason} {error}", run.state),
            (Some(reason), None) => format!("{}: {reason}", run.state),
            (None, _) => format!("{}: {}", run.state, self.whole.output.as_deref().unwrap_or_default()),
        }
    }
}

fn event(past: &Past) -> Option<Event> {
    past.segment.event.as_deref().and_then(|text| serde_json::from_str(text).ok())
}

fn distinct_calls(kept: &Kept) -> u64 {
    kept.recorded.iter().map(|entry| u64::from(entry.call) + 1).max().unwrap_or(0)
}

fn same_wake(event: Option<&Event>, wake: Wake) -> bool {
    match (event, wake) {
        (None, Wake::Now) | (Some(Event::Message(_)), Wake::Message) => true,
        (Some(Event::Timer { due_ms }), Wake::At(at)) => u64::try_from(at.as_ms()).unwrap_or(0) == *due_ms,
        _ => false,
    }
}

fn wake_words(event: Option<&Event>) -> String {
    match event {
        None => "now".to_owned(),
        Some(Event::Message(_)) => "message".to_owned(),
        Some(Event::Timer { due_ms }) => format!("at({due_ms})"),
    }
}

fn end_words(end: &End) -> String {
    match end {
        End::Done { output } => format!("succeeded: {output}"),
        End::Next { .. } => "another segment follows".to_owned(),
        End::Failed { reason, error } => format!("failed: {reason} {}", serde_json::to_string(error).unwrap_or_default()),
        End::Left(_) => "it goes on".to_owned(),
    }
}

/// Text where it is text, else hexadecimal.
fn readable(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| hex::encode(bytes), str::to_owned)
}

fn end_differs(segment: u32, what: &str, recorded: String, now: String) -> Verdict {
    Verdict::Differs(Differs {
        segment,
        call: None,
        sub: None,
        seq: None,
        what: what.to_owned(),
        recorded,
        now,
    })
}

fn made_at(kept: &Kept, call: u32, sub: Option<u32>) -> Option<&Made> {
    kept.made
        .iter()
        .rfind(|made| made.call == Some(call) && (sub.is_none() || made.sub == sub))
}

fn side(kind: &str, arguments: Option<&str>) -> String {
    cut(arguments.map_or_else(|| kind.to_owned(), |arguments| format!("{kind} {arguments}")))
}

/// A difference in a call that was recorded.
fn difference(segment: u32, kept: &Kept, found: &runtime::Difference) -> Verdict {
    let made = made_at(kept, found.call, found.sub);
    let recorded = made.map_or_else(|| found.recorded.clone(), |made| side(&made.kind, made.request.as_deref()));
    let arguments = found.arguments.as_deref();
    let kind = made.map_or("", |made| made.kind.as_str());
    let (what, recorded, now) = match found.aspect {
        Aspect::Function => ("call", recorded, side(&found.now, arguments)),
        Aspect::Arguments => ("arguments", recorded, side(kind, arguments)),
        Aspect::Fuel => ("fuel", found.recorded.clone(), found.now.clone()),
        Aspect::Count => ("call", found.recorded.clone(), format!("{} at once", found.now)),
        Aspect::Missing => ("call", recorded, found.now.clone()),
    };
    Verdict::Differs(Differs {
        segment,
        call: Some(found.call),
        sub: found.sub,
        seq: made.map(|made| made.seq),
        what: what.to_owned(),
        recorded,
        now,
    })
}

/// A call where the journal has none, or has no result of it.
fn went_on(segment: u32, kept: &Kept, beyond: Beyond) -> Verdict {
    let made = made_at(kept, beyond.call, beyond.sub);
    Verdict::Differs(Differs {
        segment,
        call: Some(beyond.call),
        sub: beyond.sub,
        seq: made.map(|made| made.seq),
        what: "call".to_owned(),
        recorded: made.map_or_else(
            || "nothing: the journal of the segment ends before it".to_owned(),
            |made| format!("{} was begun, and no result of it is recorded", made.kind),
        ),
        now: side(&beyond.kind, beyond.arguments.as_deref()),
    })
}

/// Whether the arguments that the timeline shows are those of the recorded fingerprints.
fn check_requests(segment: u32, kept: &Kept) -> Result<(), Halt> {
    for made in &kept.made {
        let (Some(request), Some(print), Some(call)) = (&made.request, made.fingerprint, made.call) else {
            continue;
        };
        let whole = matches!(made.kind.as_str(), "models.chat" | "http.send" | "tools.call")
            || made.kind.starts_with("memory.")
            || made.kind.starts_with("artifacts.");
        if !whole {
            continue;
        }
        if is_erased(request) {
            return Err(unverifiable(format!(
                "the arguments of call {call} ({}) in segment {segment} were erased",
                made.kind
            )));
        }
        // A chat's messages are stored apart and put together in another order.
        let canonical = match made.kind.as_str() {
            "models.chat" => serde_json::from_str::<ChatRequest>(request)
                .ok()
                .and_then(|chat| serde_json::to_string(&chat).ok()),
            _ => Some(request.clone()),
        };
        let shown = canonical.map(|text| fingerprint(&made.kind, &text));
        if shown != Some(print) {
            return Err(Verdict::Differs(Differs {
                segment,
                call: Some(call),
                sub: made.sub,
                seq: Some(made.seq),
                what: "request".to_owned(),
                recorded: side(&made.kind, Some(request)),
                now: format!("{} with arguments whose fingerprint is {}", made.kind, hex::encode(&print)),
            })
            .into());
        }
    }
    Ok(())
}
