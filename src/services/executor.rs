//! Executes claimed runs, segment by segment, and gives their calls their effects: the sandbox's ports over store, models and network.

mod claim;
mod effects;
mod port;
mod retry;
mod summary;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

pub use self::claim::{Work, claim};
use self::claim::{new_segment, segment_started};
use self::port::RunPort;
use super::Error;
use super::app::App;
use super::feed::Publisher;
use super::versions::LoadedVersion;
use crate::domain::failure::{EndReason, FailureCode};
use crate::domain::journal::{NewEntry, kind};
use crate::domain::limits::AgentLimits;
use crate::domain::manifest::RuntimeKind;
use crate::domain::run::RunState;
use crate::runtime;
use crate::runtime::components::ComponentDigest;
use crate::runtime::engine::{LinkedGuest, World};
use crate::runtime::exchange::{Place, Used};
use crate::runtime::ports::{Port, PortError, RecordedEntry, Stop, StopReason};
use crate::runtime::segment::{self, Begin, End, Event, Left, RunError, Script, Wake};
use crate::store::runs::Claimed;
use crate::store::segments::Segment;
use crate::store::{self, journal, payloads, runs, segments};

/// Executes a run from its current segment until it ends, parks, or is left.
pub async fn execute(app: &App, work: Work, stop: Stop) {
    let id = work.run.id;
    let span = tracing::info_span!("run", run_id = %id, org = %work.run.org);
    let fence = work.run.fence;
    let org = work.run.org;
    let result = tracing::Instrument::instrument(Execution::new(app, work, stop).run(), span).await;
    match result {
        Ok(()) | Err(Halt::Left) => {}
        Err(Halt::Lost) => tracing::info!(run_id = %id, "another start of this run has taken over"),
        Err(Halt::Failed(error)) => {
            tracing::error!(run_id = %id, %error, "this run cannot go on for now; it is queued again");
            // If this fails too, the lease runs out and the run is found again.
            _ = app.store.write(move |tx| runs::requeue(tx, org, id, fence)).await;
        }
    }
}

/// Why a run is no longer executed here although it did not end.
enum Halt {
    /// On purpose: the station stops, or the run is held.
    Left,
    /// Another start holds it.
    Lost,
    Failed(Error),
}

impl From<store::Error> for Halt {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Fenced => Self::Lost,
            other => Self::Failed(other.into()),
        }
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

struct Execution<'a> {
    app: &'a App,
    run: Claimed,
    segment: Segment,
    input: String,
    state: Option<Vec<u8>>,
    resumed: bool,
    stop: Stop,
    publisher: Arc<Publisher>,
    used: Used,
    /// Of the whole run.
    fuel: u64,
    /// Of the current segment, once it has been executed.
    segment_fuel: u64,
    active: Duration,
}

impl<'a> Execution<'a> {
    fn new(app: &'a App, work: Work, stop: Stop) -> Self {
        let Work {
            run,
            segment,
            input,
            state,
            resumed,
        } = work;
        let publisher = Arc::new(app.feed.publish(run.id));
        let used = Used {
            calls: run.calls,
            journal_bytes: run.journal_bytes,
        };
        let (fuel, active) = (run.fuel, Duration::from_millis(run.active_ms));
        Self {
            app,
            run,
            segment,
            input,
            state,
            resumed,
            stop,
            publisher,
            used,
            fuel,
            segment_fuel: 0,
            active,
        }
    }

    async fn run(mut self) -> Result<(), Halt> {
        self.app.feed.announce(self.run.id, 0, Some(RunState::Running));
        let version = super::agents::load_version(self.app, self.run.org, self.run.version_id).await?;
        let port = Arc::new(RunPort::new(self.app, &self.run, &version, Arc::clone(&self.publisher)));
        loop {
            // A segment that neither computes long nor makes a call would never notice.
            if let Some(why) = self.stopped(version.version.manifest.limits) {
                return match why {
                    StopReason::End(reason) => self.finish(Vec::new(), failed(reason, reason.explain().to_owned())).await,
                    StopReason::Shutdown | StopReason::Hold => self.leave(Vec::new(), Left::Requeue).await,
                };
            }
            let guest = match self.guest(&version).await {
                Ok(guest) => guest,
                Err(runtime::Error::Internal(text)) => return Err(Halt::Failed(Error::Internal(text))),
                Err(refused) => return self.finish(Vec::new(), failed(EndReason::VersionDrift, refused.to_string())).await,
            };
            let begin = self.begin(&version, guest).await?;
            let admitted = self.app.memory_mib.admit(version.version.manifest.limits.memory_bytes).await?;
            let began = Instant::now();
            let report = segment::execute(
                self.app.components.sandbox(),
                begin,
                Arc::clone(&port) as Arc<dyn Port>,
                self.stop.clone(),
            )
            .await;
            drop(admitted);
            self.active += began.elapsed();
            self.fuel += report.fuel;
            self.segment_fuel = report.fuel;
            self.used = port.used();
            let unwritten = report.unwritten;
            match report.end {
                End::Left(left) => return self.leave(unwritten, left).await,
                End::Next { state, wake } => {
                    if !self.next(unwritten, report.fuel, state, wake).await? {
                        return Ok(());
                    }
                }
                End::Done { output } => {
                    return self
                        .finish(
                            unwritten,
                            Final {
                                state: RunState::Succeeded,
                                reason: None,
                                error: None,
                                output: Some(output),
                            },
                        )
                        .await;
                }
                End::Failed { reason, error } => return self.fail(&version, unwritten, reason, error).await,
            }
        }
    }

    /// Why the next segment is not to begin.
    fn stopped(&self, limits: AgentLimits) -> Option<StopReason> {
        let late = self.active >= Duration::from_secs(limits.run_seconds);
        self.stop.reason().or_else(|| late.then_some(StopReason::End(EndReason::Deadline)))
    }

    async fn guest(&self, version: &LoadedVersion) -> Result<LinkedGuest, runtime::Error> {
        let digest: ComponentDigest = self.segment.component_digest;
        let (app, org) = (self.app, self.run.org);
        match version.version.manifest.runtime {
            RuntimeKind::Javascript => app.javascript(digest).await,
            RuntimeKind::Component => {
                let bytes = async || {
                    app.blob(org, digest)
                        .await
                        .map_err(|error| runtime::Error::Refused(format!("its code is missing: {error}")))
                };
                app.components.get(digest, World::Agent, bytes).await
            }
        }
    }

    async fn begin(&mut self, version: &LoadedVersion, guest: LinkedGuest) -> Result<Begin, Halt> {
        let (org, id, number) = (self.run.org, self.run.id, self.segment.segment);
        let recorded = if self.resumed {
            let recorded = self
                .app
                .store
                .read(move |reader| journal::recorded(reader, org, id, number))
                .await?;
            recorded.into_iter().map(RecordedEntry::from).collect()
        } else {
            Vec::new()
        };
        let limits = version.version.manifest.limits;
        let script = version.source.as_ref().map(|source| Script {
            name: version.version.manifest.entry.clone(),
            source: Arc::clone(source),
        });
        Ok(Begin {
            guest,
            script,
            input: self.input.clone(),
            state: self.state.take(),
            event: self.segment.event.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            seed: self.segment.seed,
            started_at: self.segment.started_at,
            place: Place {
                attempt: self.run.attempt,
                segment: number,
            },
            limits,
            used: self.used,
            time_left: Duration::from_secs(limits.run_seconds).saturating_sub(self.active),
            recorded,
            compare_fuel: self.segment.engine == self.app.engine_fingerprint,
        })
    }

    fn totals(&self) -> runs::Totals {
        runs::Totals {
            fuel: self.fuel,
            active_ms: u64::try_from(self.active.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Ends the segment and begins the next, in one transaction. Returns whether to go on at once.
    async fn next(&mut self, unwritten: Vec<NewEntry>, fuel: u64, state: Vec<u8>, wake: Wake) -> Result<bool, Halt> {
        let wake_at = match wake {
            Wake::Now => None,
            Wake::At(at) => Some(at),
            Wake::Message => {
                let error = RunError {
                    code: Some(FailureCode::Unsupported),
                    ..RunError::new("it waits for a message, and runs of this station take none; return its result instead")
                };
                self.finish(unwritten, Final::of(EndReason::AgentError, error)).await?;
                return Ok(false);
            }
        };
        let now = self.app.clock.now();
        let (app, run, totals, ended) = (self.app.clone(), self.run.clone(), self.totals(), self.segment.segment);
        let next = ended.saturating_add(1);
        let state_kept = state.clone();
        let (segment, seq) = self
            .app
            .store
            .write(move |tx| {
                let event = wake_at.map(|at| Event::Timer {
                    due_ms: u64::try_from(at.as_ms()).unwrap_or(0),
                });
                let hash = payloads::put_bytes(tx, run.org, &state)?;
                let mut entries = unwritten;
                let outcome = wake_at.map_or_else(|| json!("next"), |at| json!({ "wake_at": at.as_ms() }));
                entries.push(NewEntry {
                    attempt: run.attempt,
                    segment: ended,
                    ..NewEntry::station(
                        now,
                        kind::SEGMENT_ENDED,
                        json!({ "segment": ended, "fuel": fuel, "outcome": outcome }),
                    )
                });
                entries.push(segment_started(&run, next, now));
                let appended = journal::append(tx, run.org, run.id, Some(run.fence), &entries)?;
                segments::finish(tx, run.org, run.id, ended, fuel, now)?;
                let segment = segments::insert(
                    tx,
                    run.org,
                    run.id,
                    &new_segment(&app, &run, next, now, event.as_ref(), Some(hash))?,
                )?;
                runs::advance(tx, run.org, run.id, run.fence, next, totals)?;
                if let Some(at) = wake_at {
                    runs::park(tx, run.org, run.id, run.fence, Some(at))?;
                }
                Ok((segment, appended.last_seq))
            })
            .await?;
        let parked = wake_at.is_some();
        self.app.feed.announce(self.run.id, seq, parked.then_some(RunState::Waiting));
        if parked {
            self.app.dispatcher.timer_changed();
            return Ok(false);
        }
        self.segment = segment;
        self.state = Some(state_kept);
        self.resumed = false;
        self.segment_fuel = 0;
        self.run.segment = next;
        Ok(true)
    }

    async fn finish(&mut self, unwritten: Vec<NewEntry>, end: Final) -> Result<(), Halt> {
        let now = self.app.clock.now();
        let (run, totals, segment, fuel) = (self.run.clone(), self.totals(), self.segment.segment, self.segment_fuel);
        let meta = json!({
            "state": end.state,
            "reason": end.reason,
            "message": end.error.as_ref().map(|error| error.message.chars().take(300).collect::<String>()),
            "fuel": totals.fuel,
            "active_ms": totals.active_ms,
        });
        let state = end.state;
        let seq = self
            .app
            .store
            .write(move |tx| {
                let mut entries = unwritten;
                entries.push(NewEntry {
                    attempt: run.attempt,
                    segment,
                    ..NewEntry::station(now, kind::RUN_FINISHED, meta)
                });
                let appended = journal::append(tx, run.org, run.id, Some(run.fence), &entries)?;
                segments::finish(tx, run.org, run.id, segment, fuel, now)?;
                let error = end.error.as_ref().and_then(|error| serde_json::to_string(error).ok());
                let finished = runs::Finish {
                    state: end.state,
                    reason: end.reason,
                    error,
                    output: end.output,
                    totals,
                };
                runs::finish(tx, run.org, run.id, run.fence, &finished, now)?;
                Ok(appended.last_seq)
            })
            .await?;
        self.app.feed.announce(self.run.id, seq, Some(state));
        Ok(())
    }

    /// Gives the run back so that another start finds it at once.
    async fn leave(&mut self, unwritten: Vec<NewEntry>, left: Left) -> Result<(), Halt> {
        match left {
            Left::Port(PortError::Fenced) => return Err(Halt::Lost),
            Left::Port(PortError::Unavailable(text)) => return Err(Halt::Failed(Error::Internal(text))),
            Left::Requeue => {}
        }
        // Its time counts; its fuel is counted by the start that goes on from the segment's beginning.
        let totals = runs::Totals {
            fuel: self.fuel.saturating_sub(self.segment_fuel),
            ..self.totals()
        };
        let run = self.run.clone();
        self.app
            .store
            .write(move |tx| {
                runs::advance(tx, run.org, run.id, run.fence, run.segment, totals)?;
                if !unwritten.is_empty() {
                    journal::append(tx, run.org, run.id, Some(run.fence), &unwritten)?;
                }
                runs::requeue(tx, run.org, run.id, run.fence)
            })
            .await?;
        self.app.feed.announce(self.run.id, 0, Some(RunState::Queued));
        Err(Halt::Left)
    }
}

impl From<journal::Recorded> for RecordedEntry {
    fn from(entry: journal::Recorded) -> Self {
        let journal::Recorded {
            at,
            call,
            sub,
            phase,
            kind,
            fingerprint,
            fuel,
            response,
        } = entry;
        Self {
            at,
            call,
            sub,
            phase,
            kind,
            fingerprint,
            fuel,
            response,
        }
    }
}

/// How a run ends.
struct Final {
    state: RunState,
    reason: Option<EndReason>,
    error: Option<RunError>,
    output: Option<String>,
}

impl Final {
    fn of(reason: EndReason, error: RunError) -> Self {
        let state = if reason == EndReason::Cancelled {
            RunState::Cancelled
        } else {
            RunState::Failed
        };
        Self {
            state,
            reason: Some(reason),
            error: Some(error),
            output: None,
        }
    }
}

fn failed(reason: EndReason, message: String) -> Final {
    Final::of(reason, RunError::new(message))
}
