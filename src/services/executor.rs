//! Executes claimed runs, segment by segment, and gives their calls their effects: the sandbox's ports over store, models and network.

mod begin;
mod caller;
mod children;
mod claim;
mod decisions;
mod effects;
mod port;
mod retry;
mod summary;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use self::caller::Rights;
pub use self::children::Asked;
pub use self::claim::{Work, claim};
use self::claim::{new_segment, segment_started};
pub use self::decisions::granted_call;
use self::port::ActiveTime;
use self::port::RunPort;
use super::Error;
use super::app::App;
use super::feed::Publisher;
use super::versions::LoadedVersion;
use super::warm::Fence;
use crate::domain::call::{CallResult, Reply};
use crate::domain::failure::{EndReason, Failure, FailureCode};
use crate::domain::journal::{NewEntry, kind};
use crate::domain::limits::{AgentLimits, RUN_CALLS_MAX, RUN_JOURNAL_BYTES_MAX};
use crate::domain::manifest::RuntimeKind;
use crate::domain::run::{RunState, WakeOn};
use crate::domain::wait::Answer;
use crate::runtime;
use crate::runtime::components::ComponentDigest;
use crate::runtime::engine::{LinkedGuest, World};
use crate::runtime::exchange::{Place, Used};
use crate::runtime::ports::{Port, PortError, RecordedEntry, Stop, StopReason};
use crate::runtime::segment::{self, Begin, End, Left, RunError, Script, Wake};
use crate::store::runs::{Claimed, Parked, Touched};
use crate::store::segments::Segment;
use crate::store::{self, Tx, journal, messages, payloads, runs, segments, waits};
use crate::telemetry::crash_point::CrashPoint;

/// Executes a run from its current segment until it ends, parks, or is left.
pub async fn execute(app: &App, work: Work, stop: Stop, fence: Fence) {
    let id = work.run.id;
    let span = tracing::info_span!("run", run_id = %id, org = %work.run.org);
    let org = work.run.org;
    let result = tracing::Instrument::instrument(Execution::new(app, work, stop, fence.clone()).run(), span).await;
    match result {
        Ok(()) | Err(Halt::Left) => {}
        Err(Halt::Lost) => tracing::info!(run_id = %id, "another start of this run has taken over"),
        Err(Halt::Failed(error)) => {
            tracing::error!(run_id = %id, %error, "this run cannot go on for now; it is queued again");
            // If this fails too, the lease runs out and the run is found again.
            _ = app.store.write(move |tx| runs::requeue(tx, org, id, fence.get())).await;
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
    fence: Fence,
    publisher: Arc<Publisher>,
    used: Used,
    /// Of the whole run.
    fuel: u64,
    /// Of the current segment, once it has been executed.
    segment_fuel: u64,
    /// Of the whole run.
    active: Duration,
}

impl<'a> Execution<'a> {
    fn new(app: &'a App, work: Work, stop: Stop, fence: Fence) -> Self {
        let Work {
            run,
            segment,
            input,
            state,
            resumed,
        } = work;
        let publisher = Arc::new(app.feed.publish(run.id));
        let used = Used {
            calls: run.calls.saturating_sub(run.turn_calls),
            journal_bytes: run.journal_bytes.saturating_sub(run.turn_bytes),
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
            fence,
            publisher,
            used,
            fuel,
            segment_fuel: 0,
            active,
        }
    }

    async fn run(mut self) -> Result<(), Halt> {
        self.app.feed.announce(self.run.id, 0, Some(RunState::Running));
        let rights = self.rights().await?;
        let limits = self.limits(&rights);
        if self.run.calls > RUN_CALLS_MAX || self.run.journal_bytes > RUN_JOURNAL_BYTES_MAX {
            let text =
                format!("over all its turns it made more than {RUN_CALLS_MAX} calls or recorded more than {RUN_JOURNAL_BYTES_MAX} bytes");
            return self.finish(Vec::new(), failed(EndReason::JournalLimit, text)).await;
        }
        if self.question_is_gone().await? {
            return self.abandon(Vec::new(), "nobody waits for its answer any more".to_owned()).await;
        }
        loop {
            // A segment that neither computes long nor makes a call would never notice.
            if let Some(why) = self.stopped(limits) {
                return match why {
                    StopReason::End(reason) => self.finish(Vec::new(), failed(reason, reason.explain().to_owned())).await,
                    StopReason::Shutdown | StopReason::Hold => self.leave(Vec::new(), Left::Requeue).await,
                    StopReason::Abandon => self.abandon(Vec::new(), "its quota of time is used up".to_owned()).await,
                };
            }
            let guest = match self.guest(&rights.own).await {
                Ok(guest) => guest,
                Err(runtime::Error::Internal(text)) => return Err(Halt::Failed(Error::Internal(text))),
                Err(refused) => return self.finish(Vec::new(), failed(EndReason::VersionDrift, refused.to_string())).await,
            };
            let begin = self.begin(&rights.own, limits, guest).await?;
            let admitted = self.app.memory_mib.admit(limits.memory_bytes, &self.app.dispatcher.warm).await?;
            let active = Arc::new(ActiveTime::new(self.active));
            let port = Arc::new(RunPort::new(
                self.app,
                &self.run,
                &self.segment,
                rights.clone(),
                Arc::clone(&self.publisher),
                Arc::clone(&active),
                (self.fence.clone(), self.stop.clone()),
            ));
            let report = segment::execute(
                self.app.components.sandbox(),
                begin,
                Arc::clone(&port) as Arc<dyn Port>,
                self.stop.clone(),
            )
            .await;
            drop(admitted);
            self.active = active.total();
            // Where it waited, another claim may have let it go on.
            self.run.fence = self.fence.get();
            self.fuel += report.fuel;
            self.segment_fuel = report.fuel;
            self.used = port.used();
            let in_all = port.used_in_all();
            (self.run.calls, self.run.journal_bytes) = (in_all.calls, in_all.journal_bytes);
            let unwritten = report.unwritten;
            match report.end {
                End::Left(Left::Port(PortError::Parked)) => return Ok(()),
                End::Left(Left::Abandon(why)) => return self.abandon(unwritten, why).await,
                End::Left(left) => return self.leave(unwritten, left).await,
                End::Failed {
                    reason: EndReason::FuelExhausted,
                    ..
                } if self.fuel_is_quota(rights.limits().fuel) => {
                    return self.abandon(unwritten, "its quota of fuel is used up".to_owned()).await;
                }
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
                End::Failed { reason, error } => return self.fail(&rights.own, unwritten, reason, error).await,
            }
        }
    }

    /// What the run may do: what its version grants, within what those of the runs above it grant.
    async fn rights(&self) -> Result<Rights, Halt> {
        let own = super::agents::load_version(self.app, self.run.org, self.run.version_id).await?;
        let mut above = Vec::new();
        if self.run.parent.is_some() {
            let (org, id) = (self.run.org, self.run.id);
            let chain = self.app.store.read(move |reader| runs::chain(reader, org, id)).await?;
            for run in chain.into_iter().skip(1) {
                above.push(super::agents::load_version(self.app, org, run.version_id).await?);
            }
        }
        Ok(Rights { own, above })
    }

    fn asked(&self) -> Option<Asked> {
        self.segment.ask.as_deref().and_then(|text| serde_json::from_str(text).ok())
    }

    /// Whether who asked for this segment waits no more: the quota of time was used up, or the asker has ended.
    async fn question_is_gone(&self) -> Result<bool, Halt> {
        let Some(asked) = self.asked() else { return Ok(false) };
        let org = self.run.org;
        let wait = self
            .app
            .store
            .read(move |reader| waits::find(reader, org, asked.run, asked.key))
            .await?;
        Ok(wait.is_none_or(|wait| wait.signal.is_some()))
    }

    fn limits(&self, rights: &Rights) -> AgentLimits {
        let limits = rights.limits();
        match self.asked().and_then(|asked| asked.quota.fuel) {
            Some(fuel) => AgentLimits {
                fuel: fuel.min(limits.fuel),
                ..limits
            },
            None => limits,
        }
    }

    /// Whether it was the quota of a question that ended the segment, and not the agent's own limit.
    fn fuel_is_quota(&self, limit: u64) -> bool {
        self.asked().and_then(|asked| asked.quota.fuel).is_some_and(|fuel| fuel < limit)
    }

    fn turn_active(&self) -> Duration {
        self.active.saturating_sub(Duration::from_millis(self.run.turn_ms))
    }

    /// Why the next segment is not to begin.
    fn stopped(&self, limits: AgentLimits) -> Option<StopReason> {
        let late = self.turn_active() >= Duration::from_secs(limits.run_seconds);
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

    async fn begin(&mut self, version: &LoadedVersion, limits: AgentLimits, guest: LinkedGuest) -> Result<Begin, Halt> {
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
            time_left: Duration::from_secs(limits.run_seconds).saturating_sub(self.turn_active()),
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

    /// Ends the segment: begins the next, or parks the run until it is to begin. Returns whether to go on at once.
    async fn next(&mut self, unwritten: Vec<NewEntry>, fuel: u64, state: Vec<u8>, wake: Wake) -> Result<bool, Halt> {
        let now = self.app.clock.now();
        let (app, run, totals, ended) = (self.app.clone(), self.run.clone(), self.totals(), self.segment.segment);
        let asked = self.asked();
        let next = ended.saturating_add(1);
        let state_kept = state.clone();
        CrashPoint::BetweenSegments.pass();
        let (segment, seq, touched) = self
            .app
            .store
            .write(move |tx| {
                let hash = payloads::put_bytes(tx, run.org, &state)?;
                let outcome = match wake {
                    Wake::Now => json!("next"),
                    Wake::Message => json!({ "wake_on": "message" }),
                    Wake::At(at) => json!({ "wake_at": at.as_ms() }),
                };
                let mut touched = Vec::new();
                if let Some(asked) = &asked {
                    answer(tx, &run, ended, asked, None, &mut touched)?;
                }
                let mut entries = unwritten;
                entries.push(NewEntry {
                    attempt: run.attempt,
                    segment: ended,
                    ..NewEntry::station(
                        now,
                        kind::SEGMENT_ENDED,
                        json!({ "segment": ended, "fuel": fuel, "outcome": outcome }),
                    )
                });
                let goes_on = matches!(wake, Wake::Now);
                if goes_on {
                    entries.push(segment_started(&run, next, now));
                }
                let appended = journal::append(tx, run.org, run.id, Some(run.fence), &entries)?;
                if waits::count(tx, run.org, run.id, ended)? > 0 {
                    runs::forget_waits(tx, run.org, run.id, now)?;
                }
                segments::finish(tx, run.org, run.id, ended, fuel, now)?;
                runs::advance(tx, run.org, run.id, run.fence, next, totals)?;
                let (wake_on, wake_at) = match wake {
                    Wake::Now => {
                        let new = new_segment(&app, &run, next, now, None, Some(hash))?;
                        return Ok((Some(segments::insert(tx, run.org, run.id, &new)?), appended.last_seq, touched));
                    }
                    Wake::At(at) => (WakeOn::Timer, Some(at)),
                    Wake::Message => (WakeOn::Message, None),
                };
                let parked = Parked {
                    wake_on,
                    wake_at,
                    state_hash: Some(hash),
                };
                runs::park(tx, run.org, run.id, run.fence, parked)?;
                if wake_on == WakeOn::Message {
                    runs::mark_session(tx, run.org, run.id)?;
                    if messages::waiting_count(tx, run.org, run.id, 1)? > 0 {
                        messages::wake(tx, run.org, run.id)?;
                        touched.push(Touched {
                            state: Some(RunState::Queued),
                            ..Touched::entry(run.id, appended.last_seq)
                        });
                    }
                }
                Ok((None, appended.last_seq, touched))
            })
            .await?;
        CrashPoint::BetweenSegments.pass();
        let Some(segment) = segment else {
            CrashPoint::InPark.pass();
            self.app.feed.announce(self.run.id, seq, Some(RunState::Waiting));
            super::waits::announce(self.app, &touched);
            self.app.dispatcher.timer_changed();
            return Ok(false);
        };
        self.app.feed.announce(self.run.id, seq, None);
        super::waits::announce(self.app, &touched);
        self.segment = segment;
        self.state = Some(state_kept);
        self.resumed = false;
        self.segment_fuel = 0;
        self.run.segment = next;
        Ok(true)
    }

    /// Gives the segment up because the quota of the question it answers is used up.
    async fn abandon(&mut self, unwritten: Vec<NewEntry>, why: String) -> Result<(), Halt> {
        let now = self.app.clock.now();
        let (run, totals, segment, asked) = (self.run.clone(), self.totals(), self.segment.segment, self.asked());
        let (seq, touched) = self
            .app
            .store
            .write(move |tx| {
                let mut touched = Vec::new();
                if !unwritten.is_empty() {
                    journal::append(tx, run.org, run.id, Some(run.fence), &unwritten)?;
                }
                runs::advance(tx, run.org, run.id, run.fence, segment, totals)?;
                let seq = super::waits::abandon(tx, run.org, run.id, segment, Some(run.fence), &why, now)?;
                if let Some(asked) = asked {
                    let outcome = CallResult::Failed(Failure::new(FailureCode::QuotaExhausted, format!("the child was stopped: {why}")));
                    super::waits::complete(tx, run.org, asked.run, asked.key, &outcome, &mut touched)?;
                }
                Ok((seq, touched))
            })
            .await?;
        self.app.feed.announce(self.run.id, seq, Some(RunState::Waiting));
        super::waits::announce(self.app, &touched);
        self.app.dispatcher.queued();
        Ok(())
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
        let asked = self.asked();
        let (seq, touched) = self
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
                let mut touched = Vec::new();
                if let (Some(asked), RunState::Succeeded) = (&asked, finished.state) {
                    answer(tx, &run, segment, asked, finished.output.clone(), &mut touched)?;
                }
                runs::finish(tx, run.org, run.id, run.fence, &finished, now, &mut touched)?;
                Ok((appended.last_seq, touched))
            })
            .await?;
        self.app.feed.announce(self.run.id, seq, Some(state));
        super::waits::announce(self.app, &touched);
        Ok(())
    }

    /// Gives the run back so that another start finds it at once.
    async fn leave(&mut self, unwritten: Vec<NewEntry>, left: Left) -> Result<(), Halt> {
        match left {
            Left::Port(PortError::Fenced) => return Err(Halt::Lost),
            Left::Port(PortError::Unavailable(text) | PortError::QuotaExhausted(text)) => return Err(Halt::Failed(Error::Internal(text))),
            Left::Port(PortError::Parked) => return Ok(()),
            Left::Abandon(why) => return self.abandon(unwritten, why).await,
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

/// Gives the question that a segment answered its answer.
fn answer(
    tx: &Tx<'_>,
    run: &Claimed,
    segment: u32,
    asked: &Asked,
    output: Option<String>,
    touched: &mut Vec<Touched>,
) -> Result<(), store::Error> {
    let replies = journal::replies(tx, run.org, run.id, segment)?;
    let answer = Answer {
        text: replies.join("\n"),
        output,
    };
    super::waits::complete(tx, run.org, asked.run, asked.key, &CallResult::Ok(Reply::Answer(answer)), touched).map(drop)
}

impl From<journal::Recorded> for RecordedEntry {
    fn from(entry: journal::Recorded) -> Self {
        let journal::Recorded {
            at,
            call,
            sub,
            phase,
            kind,
            class,
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
            class,
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
