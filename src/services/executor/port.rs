//! One run's side of the world: what the sandbox asks for, done with store, models and network.

mod outside;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::super::Error;
use super::super::agents::load_version;
use super::super::app::App;
use super::super::feed::Publisher;
use super::super::redaction::Pieces;
use super::super::waits;
use super::super::warm::{Fence, KEPT_FOR, Place};
use super::begin::Batch;
use super::caller::{Caller, Rights};
use super::children::{Asked, Startable};
use super::secrets::RunSecrets;
use super::under_way::{UnderWay, try_of};
use super::{effects, money, summary};
use crate::domain::call::{Call, CallResult};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::hex;
use crate::domain::id::RunId;
use crate::domain::journal::{NewEntry, Payload, Phase};
use crate::domain::money::dollars;
use crate::domain::run::{Hold, RunState};
use crate::domain::time::Timestamp;
use crate::net::Trail;
use crate::runtime::exchange::Used;
use crate::runtime::ports::{Begun, Intended, PendingCall, Performed, Port, PortError, Stop, Woken};
use crate::store::runs::{self, Claimed, Touched};
use crate::store::segments::Segment;
use crate::store::{self, Tx, agents, approvals, budgets, journal, run_hosts, waits as rows};
use crate::telemetry::crash_point::CrashPoint;

impl From<store::Error> for PortError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Fenced => Self::Fenced,
            store::Error::Held | store::Error::OverBudget(_) => Self::Held,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

pub(super) struct RunPort {
    app: App,
    caller: Caller,
    rights: Rights,
    secrets: Arc<RunSecrets>,
    publisher: Arc<Publisher>,
    /// Of the current turn.
    used: Arc<Mutex<Used>>,
    /// Where the run's sums stood when the turn began.
    base: Used,
    active: Arc<ActiveTime>,
    fence: Fence,
    stop: Stop,
    place: Mutex<Option<Place>>,
    /// Whom the requests that are under way have reached, by call and place among those made at once.
    trails: Mutex<HashMap<(u32, u32), Trail>>,
    /// Model calls that were sent and have no result yet.
    under_way: UnderWay,
    /// How often money had come back when calls were last begun.
    came_back: AtomicU64,
}

/// What came of looking at the calls that wait.
enum Looked {
    WentOn(Woken),
    /// The run has no slot any more; these still wait.
    Parked(Vec<(usize, PendingCall)>),
}

/// How long a run has been executing, which is not how long it has been waiting.
pub(super) struct ActiveTime {
    /// Until it last began.
    before: Mutex<Duration>,
    since: Mutex<Option<Instant>>,
}

impl ActiveTime {
    pub(super) fn new(before: Duration) -> Self {
        Self {
            before: Mutex::new(before),
            since: Mutex::new(Some(Instant::now())),
        }
    }

    pub(super) fn total(&self) -> Duration {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *self.before.lock().unwrap_or_else(PoisonError::into_inner);
        before + since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn pause(&self) {
        let total = self.total();
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = total;
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn go_on(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl RunPort {
    pub(super) fn new(
        app: &App,
        run: &Claimed,
        segment: &Segment,
        (rights, secrets): (Rights, Arc<RunSecrets>),
        publisher: Arc<Publisher>,
        active: Arc<ActiveTime>,
        (fence, stop): (Fence, Stop),
    ) -> Self {
        let asked: Option<Asked> = segment.ask.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let caller = Caller {
            org: run.org,
            workspace: run.workspace,
            environment: run.environment.clone(),
            agent: run.agent_id,
            agent_name: rights.own.version.manifest.name.clone(),
            started_by: run.started_by,
            key: run.key.clone(),
            run: run.id,
            fence: run.fence,
            segment: segment.segment,
            depth: run.depth,
            forked_from: run.forked_from,
            ask_writes: run.ask_writes,
            quota: asked.map(|asked| asked.quota),
        };
        let base = Used {
            calls: run.turn_calls,
            journal_bytes: run.turn_bytes,
        };
        let used = Arc::new(Mutex::new(Used {
            calls: run.calls,
            journal_bytes: run.journal_bytes,
        }));
        Self {
            app: app.clone(),
            caller,
            rights,
            secrets,
            publisher,
            used,
            base,
            active,
            fence,
            stop,
            place: Mutex::new(None),
            trails: Mutex::default(),
            under_way: UnderWay::default(),
            came_back: AtomicU64::new(0),
        }
    }

    /// Whose calls these are, under the fence that holds now.
    fn caller(&self) -> Caller {
        Caller {
            fence: self.fence.get(),
            ..self.caller.clone()
        }
    }

    /// Reads what has come of the calls that wait; where nothing has, parks the run, in the same transaction.
    async fn look_or_park(&self, waiting: Vec<(usize, PendingCall)>) -> Result<Looked, PortError> {
        let now = self.app.clock.now();
        let startable = self.startable(waiting.iter().map(|(_, pending)| pending)).await?;
        let (app, caller, rights) = (self.app.clone(), self.caller(), self.rights.clone());
        let active_ms = u64::try_from(self.active.total().as_millis()).unwrap_or(u64::MAX);
        let looked = self
            .app
            .store
            .write(move |tx| {
                let mut touched = Vec::new();
                waits::fire_due(tx, now, &mut touched)?;
                let mut batch = Batch::new(&app, &caller, &rights, now, Vec::new());
                batch.startable = startable;
                let mut woken = Woken::default();
                for (place, pending) in waiting {
                    match batch.wake(tx, &pending)? {
                        Some(begun) => woken.went_on.push((place, begun)),
                        None => woken.still.push((place, pending)),
                    }
                }
                if woken.went_on.is_empty() {
                    rows::await_only(tx, caller.org, caller.run, &Batch::awaited(&woken.still))?;
                    runs::park_inside(tx, caller.org, caller.run, caller.fence, active_ms)?;
                    CrashPoint::InPark.pass();
                    return Ok(Err((woken.still, touched)));
                }
                batch.touched = touched;
                let written = write(tx, batch)?;
                Ok(Ok((woken, written)))
            })
            .await;
        let looked = self.held_where_over(looked).await?;
        match looked {
            Ok((woken, written)) => {
                pass_after_intent(woken.went_on.iter().map(|(_, begun)| begun));
                self.announce(written);
                Ok(Looked::WentOn(woken))
            }
            Err((still, touched)) => {
                CrashPoint::InPark.pass();
                waits::announce(&self.app, &touched);
                self.app.feed.announce(self.caller.run, 0, Some(RunState::Waiting));
                self.app.dispatcher.timer_changed();
                Ok(Looked::Parked(still))
            }
        }
    }

    /// Gives the slot up and keeps the instance for a moment. Returns whether the run goes on with it, under a new fence.
    async fn kept_warm(&self) -> bool {
        let (run, dispatcher) = (self.caller.run, &self.app.dispatcher);
        let Some(place) = dispatcher.warm.place(self.app.slots() as usize) else {
            return false;
        };
        // Kept until the instance is gone, unless that gets a slot again.
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        let mut woken = dispatcher
            .warm
            .keep(run, self.caller.segment, self.fence.clone(), self.stop.clone());
        dispatcher.release(run, self.fence.get());
        self.active.pause();
        let heard = match tokio::time::timeout(KEPT_FOR, &mut woken).await {
            Ok(heard) => heard.is_ok(),
            // Who has taken it in this moment says so at once.
            Err(_) => !dispatcher.warm.remove(run, &self.fence) && woken.await.is_ok(),
        };
        self.active.go_on();
        if heard {
            *self.place.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        heard
    }

    /// Holds the run where what was to be written found a budget used up that holds runs. It is looked at again in the transaction that
    /// holds: where there is money again meanwhile, the run is only given back, and asks again at once.
    async fn held_where_over<T>(&self, written: Result<T, store::Error>) -> Result<T, PortError> {
        let over = match written {
            Err(store::Error::OverBudget(over)) => over,
            other => return Ok(other?),
        };
        let (caller, now) = (self.caller(), self.app.clock.now());
        let held = self.app.store.write(move |tx| {
            let Some(budget) = budgets::is_still_over(tx, &over, now)? else { return Ok(None) };
            let text = format!(
                "the budget “{}” of {} is used up; it goes on when that is raised or begins anew",
                budget.name,
                dollars(budget.limit_at(now))
            );
            let meta = json!({ "hold": Hold::Budget, "budget": budget.id, "name": budget.name, "wanted_micros": over.wanted_micros, "message": text });
            let seq = runs::holds::by_budget(tx, caller.org, (caller.run, caller.fence), budget.id, meta, now)?;
            if seq.is_some() {
                budgets::alerts::after_hold(tx, &budget, &over, now)?;
            }
            Ok(seq.map(|seq| (seq, budget.window(now).ends)))
        });
        if let Some((seq, ends)) = held.await? {
            self.app.feed.announce(self.caller.run, seq, None);
            if let Some(ends) = ends {
                self.app.money.held_until(ends);
                self.app.dispatcher.timer_changed();
            }
        }
        Err(PortError::Held)
    }

    /// What the run has used in this turn, as the journal has it.
    pub(super) fn used(&self) -> Used {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        Used {
            calls: used.calls.saturating_sub(self.base.calls),
            journal_bytes: used.journal_bytes.saturating_sub(self.base.journal_bytes),
        }
    }

    /// What the whole run has used.
    pub(super) fn used_in_all(&self) -> Used {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, written: Written) {
        if let Some(appended) = &written.appended {
            self.appended(appended);
        }
        waits::announce(&self.app, &written.touched);
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

    /// Finds the agents that calls want to start, with their input checked, before the transaction that starts them.
    async fn startable(
        &self,
        calls: impl Iterator<Item = &PendingCall> + Send,
    ) -> Result<HashMap<u32, Result<Startable, Failure>>, PortError> {
        let mut found = HashMap::new();
        for pending in calls {
            if let Call::AgentsStart { agent, input } = &pending.call {
                found.insert(pending.entry.sub.unwrap_or(0), self.find_child(agent, input).await?);
            }
        }
        Ok(found)
    }

    async fn find_child(&self, name: &str, input: &str) -> Result<Result<Startable, Failure>, PortError> {
        let unavailable = |error: Error| PortError::Unavailable(error.to_string());
        let (scope, name) = (self.caller.scope(), name.to_owned());
        let missing = format!("this station has no agent “{name}”");
        let agent = self
            .app
            .store
            .read(move |reader| agents::find_by_name(reader, scope, &name))
            .await?;
        let Some(agent) = agent else {
            return Ok(Err(Failure::new(FailureCode::NotFound, missing)));
        };
        let loaded = load_version(&self.app, self.caller.org, agent.latest_version_id)
            .await
            .map_err(unavailable)?;
        let invalid = |text: String| Ok(Err(Failure::new(FailureCode::Invalid, text)));
        let value: serde_json::Value = match serde_json::from_str(input) {
            Ok(value) => value,
            Err(error) => return invalid(format!("the input is no JSON: {error}")),
        };
        if let Err(error) = loaded.check_input(&value) {
            return invalid(format!("the input does not fit: {error}"));
        }
        Ok(Ok(Startable {
            id: RunId::new(self.app.clock.now()),
            version: loaded.version.clone(),
            input: input.to_owned(),
        }))
    }
}

/// What a transaction of calls did.
struct Written {
    appended: Option<journal::Appended>,
    touched: Vec<Touched>,
}

/// Writes what a batch gathered.
///
/// # Errors
/// [`store::Error::Held`] where the run's starter may not have it any more: then nothing of the batch is done.
fn write(tx: &Tx<'_>, batch: Batch<'_>) -> Result<Written, store::Error> {
    let Batch {
        caller,
        now,
        entries,
        artifacts,
        approvals: asked,
        touched,
        ..
    } = batch;
    let mut appended = None;
    if !entries.is_empty() {
        let written = journal::append(tx, caller.org, caller.run, Some(caller.fence), &entries)?;
        if written.holds.contains(Hold::PrincipalRemoved) {
            return Err(store::Error::Held);
        }
        for (index, info, body) in artifacts {
            effects::put_artifact(tx, caller, &info, &body, written.first_seq + index as u64, now)?;
        }
        for (index, mut approval) in asked {
            approval.seq = written.first_seq + index as u64;
            approvals::insert(tx, caller.scope(), &approval, now)?;
        }
        appended = Some(written);
    }
    Ok(Written { appended, touched })
}

fn intents<'a>(begun: impl Iterator<Item = &'a Begun>) -> Vec<&'a Intended> {
    begun
        .filter_map(|begun| match begun {
            Begun::Intended(intended) => Some(intended),
            _ => None,
        })
        .collect()
}

fn pass_after_intent<'a>(begun: impl Iterator<Item = &'a Begun>) {
    if !intents(begun).is_empty() {
        CrashPoint::AfterIntent.pass();
    }
}

impl Port for RunPort {
    fn now(&self) -> Timestamp {
        self.app.clock.now()
    }

    fn enqueue(&self, mut entries: Vec<NewEntry>) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            self.secrets.clean_entries(&mut entries);
            let caller = self.caller();
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

    fn begin(&self, mut before: Vec<NewEntry>, mut calls: Vec<PendingCall>) -> BoxFuture<'_, Result<Vec<Begun>, PortError>> {
        Box::pin(async move {
            self.secrets.clean_entries(&mut before);
            for call in &mut calls {
                self.secrets.clean_call(call);
            }
            let startable = self.startable(calls.iter()).await?;
            let computed = self.computed(&calls).await;
            self.came_back.store(self.app.money.count(), Ordering::Relaxed);
            CrashPoint::BeforeIntent.pass();
            let now = self.now();
            let (app, caller, rights) = (self.app.clone(), self.caller(), self.rights.clone());
            let written = self
                .app
                .store
                .write(move |tx| {
                    let mut batch = Batch::new(&app, &caller, &rights, now, before);
                    batch.startable = startable;
                    batch.computed = computed;
                    let begun = calls
                        .into_iter()
                        .map(|pending| batch.begin(tx, pending))
                        .collect::<Result<Vec<_>, _>>()?;
                    let written = write(tx, batch)?;
                    Ok((begun, written))
                })
                .await;
            let (begun, written) = self.held_where_over(written).await?;
            pass_after_intent(begun.iter());
            self.announce(written);
            Ok(begun)
        })
    }

    fn wait(&self, waiting: Vec<(usize, PendingCall)>) -> BoxFuture<'_, Result<Woken, PortError>> {
        Box::pin(async move {
            let mut waiting = waiting;
            loop {
                match self.look_or_park(waiting).await? {
                    Looked::WentOn(woken) => return Ok(woken),
                    Looked::Parked(still) if self.kept_warm().await => waiting = still,
                    Looked::Parked(_) => return Err(PortError::Parked),
                }
            }
        })
    }

    fn in_line(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let asked = self.came_back.load(Ordering::Relaxed);
            tokio::select! {
                () = self.app.money.since(asked) => {}
                () = self.stop.stopped() => {}
                () = tokio::time::sleep(money::IN_LINE_RECHECK) => {}
            }
        })
    }

    fn perform<'a>(&'a self, intended: &'a Intended) -> BoxFuture<'a, Performed> {
        Box::pin(async move {
            let entry = &intended.pending.entry;
            match &intended.pending.call {
                Call::HttpSend(request) => self.send(&intended.pending, request).await,
                Call::ModelsChat(request) => {
                    let (segment, call, sub) = (entry.segment, entry.call.unwrap_or(0), entry.sub);
                    let tries = intended.tries;
                    let (redactor, pieces) = (self.secrets.redactor(), Mutex::new(Pieces::default()));
                    let show = |text: &str| {
                        let shown = pieces.lock().unwrap_or_else(PoisonError::into_inner).push(&redactor, text);
                        if let Some(text) = shown {
                            self.publisher.delta(segment, call, sub, tries, &text);
                        }
                    };
                    let progress = self.under_way.begin(intended);
                    self.secrets
                        .clean(effects::chat(&self.app, &self.caller, request, intended.reserved_micros, &progress, &show).await)
                }
                Call::ToolsCall { name, arguments } => self.perform_tool(&intended.pending, name, arguments).await,
                other => {
                    let text = format!("{} has no effect outside this station", other.function());
                    Performed::free(CallResult::Failed(Failure::new(FailureCode::Unsupported, text)))
                }
            }
        })
    }

    fn finish(&self, intended: Intended, mut performed: Performed, at: Timestamp) -> BoxFuture<'_, Result<CallResult, PortError>> {
        Box::pin(async move {
            let ended = try_of(&intended);
            let Intended {
                pending,
                tries,
                reserved_micros,
            } = intended;
            let PendingCall { call, mut entry, .. } = pending;
            self.under_way.end(ended, &mut performed.charged);
            let (due, spent) = money::due(&self.app, self.caller.scope(), &call, reserved_micros, &performed, at);
            entry.at = at;
            entry.phase = Phase::End;
            entry.request = None;
            entry.meta = summary::of_result(&call, &performed.result, spent.as_ref());
            entry.response = Some(Payload::Json(performed.result.to_json()));
            let key = money::try_key(&entry, tries);
            let (segment, ordinal, sub) = (entry.segment, key.call, entry.sub);
            let caller = self.caller();
            let reached = self.reached(&entry);
            CrashPoint::AfterEffect.pass();
            let written = self
                .app
                .store
                .write(move |tx| {
                    // Money is settled whatever the fence says.
                    money::settle(tx, &caller, &key, due, at)?;
                    for contact in reached {
                        run_hosts::count(tx, caller.org, caller.run, &contact, at)?;
                    }
                    match journal::append(tx, caller.org, caller.run, Some(caller.fence), &[entry]) {
                        Ok(appended) => Ok(Some(appended)),
                        Err(store::Error::Fenced) => Ok(None),
                        Err(error) => Err(error),
                    }
                })
                .await?;
            self.app.money.came_back();
            CrashPoint::AfterResult.pass();
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
