//! Starting, watching and stopping runs.

use std::time::Duration;

use super::access::require;
use super::agents::{self, AgentRef};
use super::dispatcher;
use super::feed::Subscription;
use super::sessions::{self, Sender};
use super::{App, Error, FieldError, executor, plans, waits};
use crate::domain::call::ArtifactInfo;
use crate::domain::contact::RunHost;
use crate::domain::hex;
use crate::domain::id::{AgentId, OrgId, RunId, VersionId};
use crate::domain::journal::EntryView;
use crate::domain::limits::{AgentLimits, INPUT_BYTES_MAX, PAGE_MAX};
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Credential, Permission};
use crate::domain::retry::RetryChange;
use crate::domain::run::{Environment, PRIORITY_MAX, PRIORITY_MIN, RunState, Trigger};
use crate::store::idempotency::{self, Begun};
use crate::store::ledger::Payer;
use crate::store::runs::{Filter, NewRun, Run};
use crate::store::{Scope, artifacts, audit, journal, payloads, run_hosts, runs};

/// What to run.
#[derive(Clone, Debug)]
pub struct StartRun {
    pub agent: AgentRef,
    /// The newest where none is named.
    pub version: Option<semver::Version>,
    /// JSON.
    pub input: String,
    pub trigger: Trigger,
    /// The first message to it, for a run that one talks with.
    pub message: Option<String>,
    /// From [`PRIORITY_MIN`] to [`PRIORITY_MAX`]; of an organization's queue the higher goes first.
    pub priority: i32,
    /// What is to hold for its retries in place of what the agent and the station say.
    pub retry: RetryChange,
    /// The most that it and the runs below it may cost, in micro-dollars; its manifest may say less.
    pub budget_micros: Option<u64>,
}

/// An idempotency key, to be kept with the run that its request starts, in one transaction.
pub struct StartKey {
    pub route: String,
    pub key: String,
    pub request_hash: [u8; 32],
    /// Status and body that whoever asks again is given.
    pub answer: fn(&Run) -> (u16, Vec<u8>),
}

/// What a start with a key came to.
pub enum Started {
    Now {
        whole: Box<Whole>,
        /// The answer that was kept with the key, where there is one.
        kept: Option<Vec<u8>>,
    },
    /// The key was used before.
    Before(Begun),
}

/// What queuing a run came to.
enum Queued {
    /// With the answer that was kept for its key.
    New(Option<Vec<u8>>),
    Before(Begun),
}

const WHAT: &str = "the run";
/// Where counting runs for a page ends.
const COUNT_MAX: u32 = 100_000;

const fn scope(actor: &Actor) -> Scope {
    Scope {
        org: actor.org,
        workspace: actor.workspace,
    }
}

/// The version that a start names, by agent and number.
async fn resolve(app: &App, actor: &Actor, start: &StartRun) -> Result<VersionId, Error> {
    let agent = agents::look_up(app, actor, &start.agent).await?;
    match &start.version {
        None => Ok(agent.latest_version_id),
        Some(wanted) if *wanted == agent.latest_version => Ok(agent.latest_version_id),
        Some(wanted) => Ok(agents::look_up_version(app, actor, agent.id, wanted).await?.id),
    }
}

/// Queues a run. When this returns, the run is durable.
///
/// # Errors
/// `NotFound` for the agent or version, `Invalid` with the fields that do not fit, `PlanLimit` where the queue or the store is full.
pub async fn start(app: &App, actor: &Actor, start: StartRun) -> Result<RunId, Error> {
    let id = RunId::new(app.clock.now());
    enqueue(app, actor, start, id, None).await?;
    Ok(id)
}

/// Queues a run and waits for its end, at most `within`. Who may start a run may see how it ended.
///
/// # Errors
/// As [`start`].
pub async fn start_and_wait(app: &App, actor: &Actor, start: StartRun, within: Duration) -> Result<Whole, Error> {
    match start_once(app, actor, start, None, within).await? {
        Started::Now { whole, .. } => Ok(*whole),
        Started::Before(_) => Err(Error::Internal("a start without a key was made before".to_owned())),
    }
}

/// As [`start_and_wait`], once for the key of the request.
///
/// # Errors
/// As [`start`].
pub async fn start_once(app: &App, actor: &Actor, start: StartRun, key: Option<StartKey>, within: Duration) -> Result<Started, Error> {
    require(actor, Permission::RunsStart, actor.org, "the agent")?;
    if let Some(StartKey {
        route, key, request_hash, ..
    }) = &key
    {
        let (org, route, key, hash) = (actor.org, route.clone(), key.clone(), *request_hash);
        // Asked again, it is answered as before even where the agent has changed or gone meanwhile.
        let found = app
            .store
            .read(move |reader| idempotency::find(reader, org, &route, &key, &hash))
            .await?;
        if let Some(begun) = found {
            return Ok(Started::Before(begun));
        }
    }
    let id = RunId::new(app.clock.now());
    // Before the run exists, so that its end is not missed however soon it comes.
    let mut subscription = app.feed.subscribe(id);
    let kept = match enqueue(app, actor, start, id, key).await? {
        Queued::New(kept) => kept,
        Queued::Before(begun) => return Ok(Started::Before(begun)),
    };
    if !within.is_zero() {
        until_ended(app, &mut subscription, within).await;
    }
    let whole = Box::new(read_whole(app, actor, id).await?);
    Ok(Started::Now { whole, kept })
}

/// Whether they may start such a run, and whether it keeps the limits; returns its input.
fn checked(actor: &Actor, start: &StartRun) -> Result<serde_json::Value, Error> {
    require(actor, Permission::RunsStart, actor.org, "the agent")?;
    if let Some(text) = &start.message {
        require(actor, Permission::RunsMessage, actor.org, "the agent")?;
        sessions::check("/message", text)?;
    }
    if start.input.len() > INPUT_BYTES_MAX {
        return Err(Error::TooLarge(format!(
            "the input is {} bytes, the limit is {INPUT_BYTES_MAX}",
            start.input.len()
        )));
    }
    if !(PRIORITY_MIN..=PRIORITY_MAX).contains(&start.priority) {
        return Err(Error::field(
            "/priority",
            format!(
                "the priority must be between {PRIORITY_MIN} and {PRIORITY_MAX}, not {}",
                start.priority
            ),
        ));
    }
    if start.budget_micros.is_some_and(|micros| micros > AgentLimits::CEILING.cost_micros) {
        return Err(Error::field(
            "/budget_micros",
            format!("a run's budget is at most {} micro-dollars", AgentLimits::CEILING.cost_micros),
        ));
    }
    if let Some((key, message)) = start.retry.problem() {
        return Err(Error::field(&format!("/retry/{}", key.replace('-', "_")), message));
    }
    serde_json::from_str(&start.input).map_err(|error| {
        Error::Invalid(vec![FieldError {
            pointer: String::new(),
            message: format!("the input is no JSON: {error}"),
        }])
    })
}

/// Queues a run, and keeps the key of its request in the same transaction.
async fn enqueue(app: &App, actor: &Actor, start: StartRun, id: RunId, key: Option<StartKey>) -> Result<Queued, Error> {
    let input = checked(actor, &start)?;
    let version_id = resolve(app, actor, &start).await?;
    let version = agents::load_version(app, actor.org, version_id).await?;
    version.check_input(&input)?;
    let now = app.clock.now();
    let new = NewRun {
        id,
        environment: Environment::default(),
        agent_id: version.version.agent_id,
        version_id,
        agent_name: version.version.manifest.name.clone(),
        agent_version: version.version.version.to_string(),
        trigger: start.trigger,
        started_by: actor.principal,
        started_by_name: actor.name.clone(),
        priority: start.priority,
        input: start.input,
        retry: serde_json::to_string(&start.retry).unwrap_or_else(|_| "{}".to_owned()),
        pinned: start.version.is_some(),
        session: start.message.is_some(),
        budget_micros: start
            .budget_micros
            .into_iter()
            .chain(version.version.manifest.limits.cost_budget())
            .min(),
        key: if actor.credential == Credential::ApiKey {
            actor.credential_id.clone().unwrap_or_default()
        } else {
            String::new()
        },
        parent: None,
    };
    let sender = Sender {
        org: actor.org,
        principal: actor.principal,
        name: actor.name.clone(),
    };
    let message = start.message;
    let scope = scope(actor);
    // A task of its own: what was claimed is started even where the caller has gone away meanwhile.
    let app = app.clone();
    let queued = tokio::spawn(async move {
        // Where a slot is free, the run is claimed in the transaction that queues it: one wait for the disk less.
        let slot = dispatcher::reserve(&app);
        let noting = app.clone();
        let (slot, claimed, touched, queued) = app
            .store
            .write(move |tx| {
                if let Some(key) = &key {
                    match idempotency::begin(tx, scope.org, &key.route, &key.key, &key.request_hash, now)? {
                        Begun::New => {}
                        before => return Ok((slot, Vec::new(), Vec::new(), Queued::Before(before))),
                    }
                }
                plans::check_queue(tx, scope.org)?;
                plans::check_bytes(tx, scope.org, new.input.len())?;
                // Who was removed a moment ago starts nothing.
                if !runs::holds::may_have_runs(tx, scope.org, new.started_by)? {
                    return Err(crate::store::Error::NotFound);
                }
                runs::insert(tx, scope, &new, now)?;
                if new.session {
                    executor::note_session(tx, &noting, &Payer::of(scope, &new), 0, now)?;
                }
                if let Some(text) = &message {
                    sessions::keep(tx, &sender, id, 0, text, now)?;
                }
                let mut kept = None;
                if let Some(key) = &key {
                    let (status, body) = (key.answer)(&runs::get(tx, scope.org, id)?);
                    idempotency::finish(tx, scope.org, &key.route, &key.key, status, &body)?;
                    kept = Some(body);
                }
                let mut touched = Vec::new();
                let claimed = slot.as_ref().map(|slot| slot.claim(tx, &mut touched)).transpose()?;
                Ok((slot, claimed.unwrap_or_default(), touched, Queued::New(kept)))
            })
            .await?;
        waits::announce(&app, &touched);
        if matches!(queued, Queued::Before(_)) {
            return Ok(queued);
        }
        // The head of the queue is this run, unless others wait.
        if claimed.first().is_none_or(|work| work.run.id != id) {
            app.dispatcher.queued();
        }
        if let Some(slot) = slot {
            slot.fill(claimed);
        }
        Ok(queued)
    });
    queued.await.map_err(|error| Error::Internal(error.to_string()))?
}

/// Waits until a run has ended, the time is up, or the station stops.
async fn until_ended(app: &App, subscription: &mut Subscription, within: Duration) {
    let ended = async { while !subscription.changed().await.state.is_some_and(RunState::is_terminal) {} };
    tokio::select! {
        () = ended => {}
        () = tokio::time::sleep(within) => {}
        () = app.shutdown().cancelled() => {}
    }
}

/// Waits until the run has ended, at most `within`, and returns it as it is then.
///
/// # Errors
/// `NotFound`.
pub async fn wait(app: &App, actor: &Actor, id: RunId, within: Duration) -> Result<Run, Error> {
    let mut subscription = app.feed.subscribe(id);
    let run = get(app, actor, id).await?;
    if run.state.is_terminal() {
        return Ok(run);
    }
    until_ended(app, &mut subscription, within).await;
    get(app, actor, id).await
}

/// # Errors
/// `NotFound`.
pub async fn get(app: &App, actor: &Actor, id: RunId) -> Result<Run, Error> {
    require(actor, Permission::RunsRead, actor.org, WHAT)?;
    read(app, actor.org, id).await
}

/// The run as it is, for those who may change it: they are shown what they changed.
pub(super) async fn read(app: &App, org: OrgId, id: RunId) -> Result<Run, Error> {
    Ok(app.store.read(move |reader| runs::get(reader, org, id)).await?)
}

/// A run with its input and, where it has one, its output; JSON both.
pub struct Whole {
    pub run: Run,
    pub input: String,
    pub output: Option<String>,
}

/// # Errors
/// `NotFound`.
pub async fn whole(app: &App, actor: &Actor, id: RunId) -> Result<Whole, Error> {
    require(actor, Permission::RunsRead, actor.org, WHAT)?;
    read_whole(app, actor, id).await
}

pub(super) async fn read_whole(app: &App, actor: &Actor, id: RunId) -> Result<Whole, Error> {
    let org = actor.org;
    let read = app.store.read(move |reader| {
        let run = runs::get(reader, org, id)?;
        let input = payloads::text(reader, org, &run.input_hash)?;
        let output = run.output_hash.map(|hash| payloads::text(reader, org, &hash)).transpose()?;
        Ok(Whole { run, input, output })
    });
    Ok(read.await?)
}

/// The run's input and, where it has one, its output; JSON both.
///
/// # Errors
/// `NotFound`.
pub async fn texts(app: &App, actor: &Actor, id: RunId) -> Result<(String, Option<String>), Error> {
    let whole = whole(app, actor, id).await?;
    Ok((whole.input, whole.output))
}

/// Runs from the newest on, before the run `before`.
///
/// # Errors
/// The actor may not read runs.
pub async fn list(app: &App, actor: &Actor, filter: Filter, before: Option<RunId>, limit: u32) -> Result<Vec<Run>, Error> {
    require(actor, Permission::RunsRead, actor.org, WHAT)?;
    let scope = scope(actor);
    Ok(app
        .store
        .read(move |reader| runs::list(reader, scope, &filter, before, limit.clamp(1, PAGE_MAX)))
        .await?)
}

/// How many runs an agent has had, counted no further than [`COUNT_MAX`].
///
/// # Errors
/// The actor may not read runs.
pub async fn count(app: &App, actor: &Actor, agent: AgentId) -> Result<u64, Error> {
    require(actor, Permission::RunsRead, actor.org, WHAT)?;
    let org = actor.org;
    Ok(app
        .store
        .read(move |reader| runs::count_of_agent(reader, org, agent, COUNT_MAX))
        .await?)
}

/// Stops a run: at once where it is queued or waiting, at its next host call or fuel yield where it runs.
///
/// # Errors
/// `NotFound`; `Conflict` where it has ended.
pub async fn cancel(app: &App, actor: &Actor, id: RunId, origin: Origin) -> Result<Run, Error> {
    require(actor, Permission::RunsCancel, actor.org, WHAT)?;
    let (org, principal, now) = (actor.org, actor.principal, app.clock.now());
    let record = super::audit::of(actor, "run.cancel", &id.to_string(), origin);
    let touched = app
        .store
        .write(move |tx| {
            let mut touched = Vec::new();
            runs::request_cancel(tx, org, id, principal, now, &mut touched)?;
            audit::record(tx, record, now)?;
            Ok(touched)
        })
        .await?;
    waits::announce(app, &touched);
    let run = get(app, actor, id).await?;
    if run.state.is_terminal() {
        app.dispatcher.forget(id);
    }
    Ok(run)
}

/// Entries after `after`, in order.
///
/// # Errors
/// `NotFound`.
pub async fn events(app: &App, actor: &Actor, id: RunId, after: u64, limit: u32) -> Result<Vec<EntryView>, Error> {
    require(actor, Permission::RunsRead, actor.org, WHAT)?;
    let org = actor.org;
    let page = app
        .store
        .read(move |reader| journal::page(reader, org, id, after, limit.clamp(1, PAGE_MAX)))
        .await?;
    Ok(page.iter().map(EntryView::from).collect())
}

/// One entry with its whole request and response.
///
/// # Errors
/// `NotFound`.
pub async fn event(app: &App, actor: &Actor, id: RunId, seq: u64) -> Result<EntryView, Error> {
    require(actor, Permission::RunsRead, actor.org, WHAT)?;
    let org = actor.org;
    let read = app.store.read(move |reader| {
        let entry = journal::get(reader, org, id, seq)?;
        let request = journal::payload_text(reader, org, &entry.request)?;
        let response = journal::payload_text(reader, org, &entry.response)?;
        Ok((entry, request, response))
    });
    let (entry, request, response) = read.await?;
    let raw = |text: Option<String>| text.and_then(|text| serde_json::value::RawValue::from_string(text).ok());
    Ok(EntryView {
        request: raw(request),
        response: raw(response),
        ..EntryView::from(&entry)
    })
}

/// # Errors
/// `NotFound`.
pub async fn artifacts(app: &App, actor: &Actor, id: RunId) -> Result<Vec<ArtifactInfo>, Error> {
    get(app, actor, id).await?;
    let org = actor.org;
    Ok(app.store.read(move |reader| artifacts::list(reader, org, id)).await?)
}

/// The hosts that a run contacted, redirects included.
///
/// # Errors
/// `NotFound`.
pub async fn hosts(app: &App, actor: &Actor, id: RunId) -> Result<Vec<RunHost>, Error> {
    get(app, actor, id).await?;
    let org = actor.org;
    Ok(app.store.read(move |reader| run_hosts::list(reader, org, id)).await?)
}

/// # Errors
/// `NotFound`.
pub async fn artifact(app: &App, actor: &Actor, id: RunId, name: String) -> Result<(ArtifactInfo, Vec<u8>), Error> {
    get(app, actor, id).await?;
    let org = actor.org;
    let info = app
        .store
        .read(move |reader| artifacts::find(reader, org, id, &name))
        .await?
        .ok_or(Error::NotFound("the artifact"))?;
    let digest = info
        .digest
        .strip_prefix("sha256:")
        .and_then(hex::decode)
        .ok_or(Error::NotFound("the artifact"))?;
    let body = app.blob(actor.org, digest).await?;
    Ok((info, body))
}
