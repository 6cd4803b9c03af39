//! How a segment ends: the next begins, the run parks, the segment is given up, the run is left or finished. One transaction each.

use serde_json::json;

use super::children::Asked;
use super::claim::{new_segment, segment_started};
use super::{Execution, Halt, money};
use crate::domain::call::{CallResult, Reply};
use crate::domain::failure::{EndReason, Failure, FailureCode};
use crate::domain::journal::{NewEntry, kind};
use crate::domain::run::{RunState, WakeOn};
use crate::domain::wait::Answer;
use crate::runtime::ports::PortError;
use crate::runtime::segment::{Left, RunError, Wake};
use crate::services::{Error, waits as waiting};
use crate::store::ledger::Payer;
use crate::store::runs::{Claimed, Parked, Touched};
use crate::store::{self, Tx, journal, messages, payloads, runs, segments, waits};
use crate::telemetry::crash_point::CrashPoint;

/// Whose money a run's is.
fn payer(run: &Claimed) -> Payer {
    Payer {
        org: run.org,
        workspace: run.workspace,
        environment: run.environment.clone(),
        run: run.id,
        agent: run.agent_id,
        principal: run.started_by,
        key: run.key.clone(),
    }
}

impl Execution<'_> {
    pub(super) fn totals(&self) -> runs::Totals {
        runs::Totals {
            fuel: self.fuel,
            active_ms: u64::try_from(self.active.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Ends the segment: begins the next, or parks the run until it is to begin. Returns whether to go on at once.
    pub(super) async fn next(&mut self, unwritten: Vec<NewEntry>, fuel: u64, state: Vec<u8>, wake: Wake) -> Result<bool, Halt> {
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
                money::note_fuel(tx, &app, &payer(&run), (ended, run.attempt), fuel, now)?;
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
                    if runs::mark_session(tx, run.org, run.id)? {
                        money::note_session(tx, &app, &payer(&run), ended, now)?;
                    }
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
            waiting::announce(self.app, &touched);
            self.app.dispatcher.timer_changed();
            return Ok(false);
        };
        self.app.feed.announce(self.run.id, seq, None);
        waiting::announce(self.app, &touched);
        self.segment = segment;
        self.state = Some(state_kept);
        self.resumed = false;
        self.segment_fuel = 0;
        self.run.segment = next;
        Ok(true)
    }

    /// Gives the segment up because the quota of the question it answers is used up.
    pub(super) async fn abandon(&mut self, unwritten: Vec<NewEntry>, why: String) -> Result<(), Halt> {
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
                let seq = waiting::abandon(tx, run.org, run.id, segment, Some(run.fence), &why, now)?;
                if let Some(asked) = asked {
                    let outcome = CallResult::Failed(Failure::new(FailureCode::QuotaExhausted, format!("the child was stopped: {why}")));
                    waiting::complete(tx, run.org, asked.run, asked.key, &outcome, &mut touched)?;
                }
                Ok((seq, touched))
            })
            .await?;
        self.app.feed.announce(self.run.id, seq, Some(RunState::Waiting));
        waiting::announce(self.app, &touched);
        self.app.dispatcher.queued();
        Ok(())
    }

    pub(super) async fn finish(&mut self, unwritten: Vec<NewEntry>, mut end: Final) -> Result<(), Halt> {
        if let Some(secrets) = &self.secrets {
            end.output = end.output.map(|output| secrets.clean_text(output));
            if let Some(error) = &mut end.error {
                secrets.clean_error(error);
            }
        }
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
        let (app, asked) = (self.app.clone(), self.asked());
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
                money::note_fuel(tx, &app, &payer(&run), (segment, run.attempt), fuel, now)?;
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
        waiting::announce(self.app, &touched);
        Ok(())
    }

    /// Gives the run back so that another start finds it at once.
    pub(super) async fn leave(&mut self, unwritten: Vec<NewEntry>, left: Left) -> Result<(), Halt> {
        match left {
            Left::Port(PortError::Fenced) => return Err(Halt::Lost),
            Left::Port(PortError::Unavailable(text)) => return Err(Halt::Failed(Error::Internal(text))),
            Left::Port(PortError::Parked) => return Ok(()),
            Left::Abandon(why) => return self.abandon(unwritten, why).await,
            Left::Port(PortError::Held) | Left::Requeue => {}
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
    waiting::complete(tx, run.org, asked.run, asked.key, &CallResult::Ok(Reply::Answer(answer)), touched).map(drop)
}

/// How a run ends.
pub(super) struct Final {
    pub state: RunState,
    pub reason: Option<EndReason>,
    pub error: Option<RunError>,
    pub output: Option<String>,
}

impl Final {
    pub(super) fn of(reason: EndReason, error: RunError) -> Self {
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

pub(super) fn failed(reason: EndReason, message: String) -> Final {
    Final::of(reason, RunError::new(message))
}
