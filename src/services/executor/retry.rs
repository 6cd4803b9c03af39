//! What an agent's failure comes to: another try of the segment a while later, or the run's end.

use serde_json::json;

use super::super::retry::{self, Verdict};
use super::super::versions::LoadedVersion;
use super::{Execution, Final, Halt};
use crate::domain::failure::EndReason;
use crate::domain::journal::NewEntry;
use crate::domain::retry::{OUTSIDE, RetryPolicy};
use crate::domain::run::RunState;
use crate::runtime::segment::RunError;
use crate::store::{journal, runs};

impl Execution<'_> {
    /// Ends the run as failed, or has its segment tried again where what failed lies outside and may pass.
    pub(super) async fn fail(
        &mut self,
        version: &LoadedVersion,
        unwritten: Vec<NewEntry>,
        reason: EndReason,
        mut error: RunError,
    ) -> Result<(), Halt> {
        if let Some(secrets) = &self.secrets {
            secrets.clean_error(&mut error);
        }
        let Some(code) = error.code.filter(|code| reason == EndReason::AgentError && OUTSIDE.contains(code)) else {
            return self.finish(unwritten, Final::of(reason, error)).await;
        };
        let (org, id, segment) = (self.run.org, self.run.id, self.segment.segment);
        let failed = self
            .app
            .store
            .read(move |reader| retry::failed_call(reader, org, id, segment, code))
            .await?;
        let policy = retry::policy(self.app, &version.version.manifest.retry, &self.run.retry);
        match retry::judge(failed.as_ref(), &policy, self.run.tries, random()?) {
            Verdict::Again { call, after } => {
                let failure = failed.map(|failed| failed.failure);
                self.try_again(unwritten, &policy, call, after, failure, &error).await
            }
            Verdict::Fails(why) => {
                if let Some(why) = why {
                    error.message = format!("{}. {why}", error.message.trim_end_matches('.'));
                }
                self.finish(unwritten, Final::of(reason, error)).await
            }
        }
    }

    async fn try_again(
        &mut self,
        unwritten: Vec<NewEntry>,
        policy: &RetryPolicy,
        call: u32,
        after: std::time::Duration,
        failure: Option<crate::domain::failure::Failure>,
        error: &RunError,
    ) -> Result<(), Halt> {
        let now = self.app.clock.now();
        // Its time counts; its fuel is counted by the start that goes on from the segment's beginning.
        let totals = runs::Totals {
            fuel: self.fuel.saturating_sub(self.segment_fuel),
            ..self.totals()
        };
        let next = self.run.tries.saturating_add(2);
        let meta = failure.map_or_else(|| json!({}), |failure| retry::told(next, policy.attempts, after, &failure));
        tracing::info!(call, attempt = next, of = policy.attempts, delay = ?after, error = %error.message, "this run is tried again later");
        let marker = retry::marker(now, self.run.attempt, self.segment.segment, call, meta);
        let (run, error) = (self.run.clone(), serde_json::to_string(error).unwrap_or_default());
        let seq = self
            .app
            .store
            .write(move |tx| {
                let mut entries = unwritten;
                entries.push(marker);
                let appended = journal::append(tx, run.org, run.id, Some(run.fence), &entries)?;
                runs::retry::later(tx, run.org, run.id, run.fence, now.plus(after), &error, totals)?;
                Ok(appended.last_seq)
            })
            .await?;
        self.app.feed.announce(self.run.id, seq, Some(RunState::Waiting));
        self.app.dispatcher.timer_changed();
        Ok(())
    }
}

fn random() -> Result<u64, Halt> {
    getrandom::u64().map_err(|error| Halt::Failed(super::Error::Internal(error.to_string())))
}
