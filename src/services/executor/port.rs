//! One run's side of the world: what the sandbox asks for, done with store, models and network.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use sha2::{Digest as _, Sha256};

use super::super::app::App;
use super::super::feed::Publisher;
use super::super::versions::LoadedVersion;
use super::{effects, summary};
use crate::domain::call::{Call, CallResult, EffectClass, Reply};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::hex;
use crate::domain::id::{AgentId, OrgId, RunId, WorkspaceId};
use crate::domain::journal::{NewEntry, Payload, Phase};
use crate::domain::manifest::Capabilities;
use crate::domain::money::Usage;
use crate::domain::policy::{self, Decision};
use crate::domain::run::Environment;
use crate::domain::time::Timestamp;
use crate::runtime::exchange::Used;
use crate::runtime::ports::{Intended, PendingCall, Performed, Port, PortError, Resumed};
use crate::store::runs::Claimed;
use crate::store::{self, journal, ledger};

impl From<store::Error> for PortError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Fenced => Self::Fenced,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// Whose calls these are; goes into every transaction.
#[derive(Clone)]
pub(super) struct Caller {
    pub org: OrgId,
    pub workspace: WorkspaceId,
    pub environment: Environment,
    pub agent: AgentId,
    pub run: RunId,
    pub fence: u64,
}

pub(super) struct RunPort {
    app: App,
    caller: Caller,
    version: Arc<LoadedVersion>,
    publisher: Arc<Publisher>,
    used: Arc<Mutex<Used>>,
}

impl RunPort {
    pub(super) fn new(app: &App, run: &Claimed, version: &Arc<LoadedVersion>, publisher: Arc<Publisher>) -> Self {
        let caller = Caller {
            org: run.org,
            workspace: run.workspace,
            environment: run.environment.clone(),
            agent: run.agent_id,
            run: run.id,
            fence: run.fence,
        };
        let used = Arc::new(Mutex::new(Used {
            calls: run.calls,
            journal_bytes: run.journal_bytes,
        }));
        Self {
            app: app.clone(),
            caller,
            version: Arc::clone(version),
            publisher,
            used,
        }
    }

    /// What the run has used, as the journal has it.
    pub(super) fn used(&self) -> Used {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn granted(&self) -> &Capabilities {
        &self.version.version.manifest.capabilities
    }

    fn appended(&self, appended: &journal::Appended) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Used {
            calls: appended.calls,
            journal_bytes: appended.journal_bytes,
        };
        self.app.feed.announce(self.caller.run, appended.last_seq, None);
    }

    /// The key under which a write that can be repeated is repeated: H(run, segment, call, sub, generation).
    fn idempotency_key(&self, entry: &NewEntry, generation: u32) -> String {
        let mut hash = Sha256::new();
        hash.update(self.caller.run.as_bytes());
        for part in [entry.segment, entry.call.unwrap_or(0), entry.sub.unwrap_or(0), generation] {
            hash.update(part.to_be_bytes());
        }
        hex::encode(&hash.finalize())
    }

    fn reservation(&self, pending: &PendingCall, tries: u32, now: Timestamp) -> Option<ledger::Reservation> {
        let Call::ModelsChat(request) = &pending.call else { return None };
        let model = self.app.models.get(&request.model)?;
        Some(ledger::Reservation {
            run: self.caller.run,
            agent: self.caller.agent,
            environment: self.caller.environment.clone(),
            segment: pending.entry.segment,
            call: pending.entry.call.unwrap_or(0),
            sub: pending.entry.sub.unwrap_or(0),
            tries,
            provider: model.provider().to_owned(),
            model: model.provider_model.clone(),
            reserved_micros: model.worst_case_micros(request),
            at: now,
        })
    }

    /// The reply to a write that may or may not have happened before a crash, where nobody has said which.
    fn unknown_outcome() -> Failure {
        let text =
            "the station stopped while this request was under way. It may or may not have reached the host, so it was not sent again";
        Failure::new(FailureCode::Unavailable, text)
    }
}

impl Port for RunPort {
    fn now(&self) -> Timestamp {
        self.app.clock.now()
    }

    fn decide(&self, call: &Call) -> Decision {
        policy::decide(self.granted(), call)
    }

    fn class(&self, call: &Call) -> EffectClass {
        policy::effect_class(self.granted(), call)
    }

    fn enqueue(&self, entries: Vec<NewEntry>) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let caller = self.caller.clone();
            let pending = self
                .app
                .store
                .enqueue(move |tx| journal::append(tx, caller.org, caller.run, Some(caller.fence), &entries))
                .await?;
            let (feed, run) = (self.app.feed.clone(), self.caller.run);
            let used = Arc::clone(&self.used);
            tokio::spawn(async move {
                // A failure shows at the run's next durable write, which comes after this one.
                if let Ok(appended) = pending.await {
                    *used.lock().unwrap_or_else(PoisonError::into_inner) = Used {
                        calls: appended.calls,
                        journal_bytes: appended.journal_bytes,
                    };
                    feed.announce(run, appended.last_seq, None);
                }
            });
            Ok(())
        })
    }

    fn begin(
        &self,
        before: Vec<NewEntry>,
        local: Vec<PendingCall>,
        outside: Vec<(PendingCall, EffectClass, Resumed)>,
    ) -> BoxFuture<'_, Result<(Vec<CallResult>, Vec<Intended>), PortError>> {
        Box::pin(async move {
            let now = self.now();
            let caller = self.caller.clone();
            let mut reserved = Vec::new();
            let mut intended = Vec::with_capacity(outside.len());
            for (mut pending, class, resumed) in outside {
                let withheld = resumed == Resumed::OpenIntent && class == EffectClass::WriteOnce;
                let rule = match self.decide(&pending.call) {
                    Decision::Allow(rule) | Decision::Ask(rule) | Decision::Deny(rule, _) => rule,
                };
                pending.entry.phase = Phase::Start;
                pending.entry.class = Some(class);
                pending.entry.meta = summary::of_intent(&pending.call, rule);
                let tries = pending.entry.attempt;
                reserved.extend(self.reservation(&pending, tries, now));
                intended.push(Intended { pending, tries, withheld });
            }
            let intents: Vec<NewEntry> = intended.iter().map(|intended| intended.pending.entry.clone()).collect();
            let (results, appended) = self
                .app
                .store
                .write(move |tx| {
                    let mut entries = before;
                    let mut results = Vec::with_capacity(local.len());
                    let mut put = Vec::new();
                    for pending in local {
                        let done = effects::local(tx, &caller, &pending, now)?;
                        let mut entry = pending.entry;
                        entry.phase = Phase::Point;
                        entry.class = Some(EffectClass::Local);
                        entry.meta = summary::of_result(&pending.call, &done, None);
                        entry.response = Some(Payload::Json(done.to_json()));
                        if let CallResult::Ok(Reply::Artifact(info)) = &done {
                            put.push((entries.len(), info.clone(), pending.body.unwrap_or_default()));
                        }
                        entries.push(entry);
                        results.push(done);
                    }
                    entries.extend(intents);
                    let appended = journal::append(tx, caller.org, caller.run, Some(caller.fence), &entries)?;
                    for (index, info, body) in put {
                        effects::put_artifact(tx, &caller, &info, &body, appended.first_seq + index as u64, now)?;
                    }
                    for reservation in &reserved {
                        ledger::settle_lost_tries(tx, caller.org, reservation)?;
                        ledger::reserve(tx, caller.org, caller.workspace, reservation)?;
                    }
                    Ok((results, appended))
                })
                .await?;
            self.appended(&appended);
            Ok((results, intended))
        })
    }

    fn perform<'a>(&'a self, intended: &'a Intended) -> BoxFuture<'a, Performed> {
        Box::pin(async move {
            let entry = &intended.pending.entry;
            match &intended.pending.call {
                _ if intended.withheld => Performed::free(CallResult::Failed(Self::unknown_outcome())),
                Call::HttpSend(request) => {
                    let key = policy::idempotency_header(self.granted(), &intended.pending.call)
                        .map(|header| (header.to_owned(), self.idempotency_key(entry, intended.pending.generation)));
                    effects::http(&self.app, self.caller.org, self.granted(), request, key).await
                }
                Call::ModelsChat(request) => {
                    let (segment, call, sub) = (entry.segment, entry.call.unwrap_or(0), entry.sub);
                    let tries = intended.tries;
                    let show = |text: &str| self.publisher.delta(segment, call, sub, tries, text);
                    effects::chat(&self.app, request, &show).await
                }
                other => {
                    let text = format!("{} has no effect outside this station", other.function());
                    Performed::free(CallResult::Failed(Failure::new(FailureCode::Unsupported, text)))
                }
            }
        })
    }

    fn finish(&self, intended: Intended, performed: Performed, at: Timestamp) -> BoxFuture<'_, Result<CallResult, PortError>> {
        Box::pin(async move {
            let Intended { pending, tries, .. } = intended;
            let PendingCall { call, mut entry, .. } = pending;
            let settlement = self.settlement(&call, &performed);
            entry.at = at;
            entry.phase = Phase::End;
            entry.request = None;
            entry.meta = summary::of_result(&call, &performed.result, settlement.as_ref());
            entry.response = Some(Payload::Json(performed.result.to_json()));
            let key = ledger::TryKey {
                run: self.caller.run,
                segment: entry.segment,
                call: entry.call.unwrap_or(0),
                sub: entry.sub.unwrap_or(0),
                tries,
            };
            let (segment, ordinal, sub) = (entry.segment, key.call, entry.sub);
            let caller = self.caller.clone();
            let is_chat = matches!(call, Call::ModelsChat(_));
            let written = self
                .app
                .store
                .write(move |tx| {
                    if is_chat {
                        // Money is settled whatever the fence says.
                        let settled = settlement.map(|spent| ledger::Settlement {
                            usage: spent.usage,
                            cost_micros: spent.cost_micros,
                            estimated: spent.estimated,
                            at,
                        });
                        ledger::settle(tx, caller.org, &key, settled.as_ref(), at)?;
                    }
                    match journal::append(tx, caller.org, caller.run, Some(caller.fence), &[entry]) {
                        Ok(appended) => Ok(Some(appended)),
                        Err(store::Error::Fenced) => Ok(None),
                        Err(error) => Err(error),
                    }
                })
                .await?;
            self.publisher.done(segment, ordinal, sub);
            let appended = written.ok_or(PortError::Fenced)?;
            self.appended(&appended);
            Ok(performed.result)
        })
    }

    fn artifact_bytes(&self, digest: &str) -> BoxFuture<'_, Result<Vec<u8>, PortError>> {
        let digest = digest.strip_prefix("sha256:").and_then(hex::decode);
        Box::pin(async move {
            let digest = digest.ok_or_else(|| PortError::Unavailable("the journal names no digest".to_owned()))?;
            self.app
                .blob(self.caller.org, digest)
                .await
                .map_err(|error| PortError::Unavailable(error.to_string()))
        })
    }
}

impl RunPort {
    /// What a model call is settled at. A call that was given up is settled at its full reservation, which is all that is known.
    fn settlement(&self, call: &Call, performed: &Performed) -> Option<summary::Spent> {
        let Call::ModelsChat(request) = call else { return None };
        let model = self.app.models.get(&request.model)?;
        let (usage, cost_micros) = match performed.usage {
            Some(usage) => (usage, model.price.cost_micros(usage)),
            None if performed.estimated => (Usage::default(), model.worst_case_micros(request)),
            None => (Usage::default(), 0),
        };
        Some(summary::Spent {
            usage,
            cost_micros,
            estimated: performed.estimated,
            first_token_ms: performed.first_token_ms,
        })
    }
}
