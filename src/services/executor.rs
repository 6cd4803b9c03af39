//! Executes claimed runs, segment by segment, and gives their calls their effects: the sandbox's ports over store, models and network.

mod begin;
mod caller;
mod children;
mod claim;
mod decisions;
mod effects;
mod ending;
mod money;
mod policing;
mod port;
mod retry;
mod secrets;
mod summary;
mod under_way;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use self::caller::Rights;
pub use self::children::Asked;
pub use self::claim::{Work, claim};
pub use self::decisions::granted_call;
use self::ending::{Final, failed};
pub use self::money::Money;
pub(super) use self::money::note_session;
use self::port::ActiveTime;
use self::port::RunPort;
use self::secrets::RunSecrets;
use super::Error;
use super::app::App;
use super::feed::Publisher;
use super::versions::LoadedVersion;
use super::warm::Fence;
use crate::domain::failure::EndReason;
use crate::domain::journal::{NewEntry, kind};
use crate::domain::limits::{AgentLimits, RUN_CALLS_MAX, RUN_JOURNAL_BYTES_MAX};
use crate::domain::manifest::RuntimeKind;
use crate::domain::run::RunState;
use crate::runtime;
use crate::runtime::components::ComponentDigest;
use crate::runtime::engine::{LinkedGuest, World};
use crate::runtime::exchange::{Place, Used};
use crate::runtime::ports::{Port, PortError, RecordedEntry, Stop, StopReason};
use crate::runtime::segment::{self, Begin, End, Left, Script};
use crate::store::runs::Claimed;
use crate::store::segments::Segment;
use crate::store::{self, journal, runs, waits};

/// Before a run that the station could not serve is queued again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

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
            // What failed is most likely the disk: give it a moment. If this fails too, the lease runs out and the run is found again.
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
            let now = app.clock.now();
            let requeued = app.store.write(move |tx| {
                runs::requeue(tx, org, id, fence.get())?;
                let message =
                    "The station could not go on with this run. What it did is kept; its segment is executed again from the journal.";
                let entry = NewEntry::station(now, kind::RUN_RECOVERED, json!({ "message": message }));
                Ok(journal::append(tx, org, id, None, &[entry])?.last_seq)
            });
            if let Ok(seq) = requeued.await {
                app.feed.announce(id, seq, Some(RunState::Queued));
            }
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
    /// What the run has sent; known once it executes.
    secrets: Option<Arc<RunSecrets>>,
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
            secrets: None,
            used,
            fuel,
            segment_fuel: 0,
            active,
        }
    }

    async fn run(mut self) -> Result<(), Halt> {
        self.app.feed.announce(self.run.id, 0, Some(RunState::Running));
        let rights = self.rights().await?;
        let secrets = Arc::new(RunSecrets::load(self.app, self.run.org, self.run.id).await?);
        self.secrets = Some(Arc::clone(&secrets));
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
                (rights.clone(), Arc::clone(&secrets)),
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
            let mut unwritten = report.unwritten;
            secrets.clean_entries(&mut unwritten);
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
                End::Failed {
                    reason: EndReason::BudgetExhausted,
                    error,
                } if self.asked().is_some_and(|asked| asked.quota.cost_micros.is_some()) => {
                    return self.abandon(unwritten, error.message).await;
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
        Ok(Rights::new(own, above))
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
        let wit = self.segment.wit_version.as_str();
        if !runtime::WIT_VERSIONS.contains(&wit) {
            let text = format!(
                "it was begun with version {wit} of the agents' interface, which this station no longer has; upload the agent again, built for {}, and start the run over",
                runtime::WIT_VERSION
            );
            return Err(runtime::Error::Refused(text));
        }
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
