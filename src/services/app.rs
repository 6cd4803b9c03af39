//! The composition root: everything a use case needs, put together once.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::auth::Auth;
use super::dispatcher::{self, Dispatcher};
use super::feed::Feed;
use super::mail::Mail;
use super::models::Registry;
use super::sealing::Sealing;
use super::supervisor::Supervisor;
use super::versions::Versions;
use super::warm::Warm;
use super::{Error, audit, channels, executor, housekeeping, javascript, mail, master_key, policy, prices, purge};
use crate::config::Config;
use crate::config::master_key::KeySource;
use crate::domain::id::{NodeId, OrgId};
use crate::domain::time::{SharedClock, Timestamp};
use crate::llm::Models;
use crate::net;
use crate::net::breaker::Breakers;
use crate::runtime::compile::Compiler;
use crate::runtime::components::ComponentDigest;
use crate::runtime::engine::{LinkedGuest, World};
use crate::runtime::{self, Components, Sandbox};
use crate::store::{Store, blobs, runtime_components};

/// Below the writer thread and the web workers, so that computing guests never freeze a page.
const AGENT_NICENESS: i32 = 5;
const AGENT_STACK_BYTES: usize = 4 << 20;
/// Time that runs get to reach their next call when the station stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);
const TASKS_WITHIN: Duration = Duration::from_secs(5);

/// How to put a station together.
pub struct Parts {
    pub config: Config,
    pub clock: SharedClock,
    pub store: Store,
    pub models: Models,
    pub client: net::Client,
    /// Where the key that seals secrets is, or is put.
    pub master_key: KeySource,
    /// The program that compile children are started from.
    pub executable: PathBuf,
    /// Where compiled code is kept.
    pub cache_dir: Option<PathBuf>,
}

/// Whom the station calls, as far as failing is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Callee {
    /// A server of models, for all.
    Provider(String),
    /// A host, for one organization's agents.
    Host(OrgId, String),
}

impl std::fmt::Display for Callee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Provider(name) | Self::Host(_, name) => f.write_str(name),
        }
    }
}

/// The station's parts; clones share them.
#[derive(Clone)]
pub struct App(Arc<Inner>);

pub struct Inner {
    pub config: Config,
    pub clock: SharedClock,
    pub store: Store,
    /// Of the settings.
    pub models: Models,
    /// Providers and aliases that people have set.
    pub registry: Registry,
    pub client: net::Client,
    /// Of model providers, and of hosts for each organization.
    pub breakers: Breakers<Callee>,
    pub auth: Auth,
    /// The key that seals secrets.
    pub sealing: Sealing,
    pub feed: Feed,
    pub mail: Mail,
    pub dispatcher: Dispatcher,
    pub supervisor: Supervisor,
    pub components: Components,
    pub versions: Versions,
    pub policies: policy::Held,
    /// What is known of money beside the database.
    pub money: executor::Money,
    /// What models cost.
    pub prices: prices::Prices,
    pub purge: purge::Bell,
    /// This start of the process, as leases name it.
    pub node: NodeId,
    /// When this process began.
    pub started_at: Timestamp,
    pub engine_fingerprint: String,
    pub javascript_digest: ComponentDigest,
    /// Mebibytes that running agents may still take together.
    pub memory_mib: MemoryBudget,
    agents: AgentsRuntime,
}

impl Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// What all running agents may take together; a run is admitted with the most that its manifest allows it.
pub struct MemoryBudget {
    free_mib: Semaphore,
    all_mib: u32,
}

impl MemoryBudget {
    fn new(bytes: u64) -> Self {
        let all_mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX >> 4).max(1);
        Self {
            free_mib: Semaphore::new(all_mib as usize),
            all_mib,
        }
    }

    /// Waits until `bytes` are free, for which instances that only wait are thrown away. An agent that wants more than there is runs alone.
    ///
    /// # Errors
    /// Never: the budget is not closed.
    pub async fn admit(&self, bytes: u64, warm: &Warm) -> Result<SemaphorePermit<'_>, Error> {
        let mib = u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX).min(self.all_mib);
        let mut wanted = std::pin::pin!(self.free_mib.acquire_many(mib));
        // What only waits makes room first.
        loop {
            match futures_util::poll!(&mut wanted) {
                Poll::Ready(permit) => return permit.map_err(|error| Error::Internal(error.to_string())),
                Poll::Pending if warm.drop_oldest() => tokio::task::yield_now().await,
                Poll::Pending => return wanted.await.map_err(|error| Error::Internal(error.to_string())),
            }
        }
    }
}

/// Guests' own threads.
struct AgentsRuntime(Option<tokio::runtime::Runtime>, tokio::runtime::Handle);

impl Drop for AgentsRuntime {
    fn drop(&mut self) {
        // Waiting for guests here could block an async task.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl App {
    /// Puts a station together. Nothing runs yet; see [`App::start`].
    ///
    /// # Errors
    /// The sandbox cannot be made, or the store not be written.
    pub async fn new(parts: Parts) -> Result<Self, Error> {
        let Parts {
            config,
            clock,
            store,
            models,
            client,
            master_key,
            executable,
            cache_dir,
        } = parts;
        let sandbox = Sandbox::new(config.runtime.slots)?;
        let engine_fingerprint = sandbox.fingerprint();
        let components = Components::new(sandbox, Compiler::new(executable), cache_dir.as_deref())?;
        let javascript_digest = javascript::digest()?;
        keep_javascript(&store, &clock, javascript_digest).await?;
        let agents = agents_runtime()?;
        let memory_mib = MemoryBudget::new(config.runtime.memory_bytes);
        let auth = Auth::new(store.clone(), clock.clone(), &config.security).await?;
        let sealing = Sealing::find(&master_key, &store).await?;
        let mail = Mail::new(&config.mail)?;
        let breakers = Breakers::new(clock.clone());
        let prices = prices::Prices::load(&store).await?;
        let registry = Registry::load(&store, &client).await?;
        let started_at = clock.now();
        let node = NodeId::new(clock.now());
        Ok(Self(Arc::new(Inner {
            config,
            clock,
            store,
            models,
            registry,
            client,
            breakers,
            auth,
            sealing,
            feed: Feed::default(),
            mail,
            dispatcher: Dispatcher::default(),
            supervisor: Supervisor::default(),
            components,
            versions: Versions::default(),
            policies: policy::Held::default(),
            money: executor::Money::default(),
            prices,
            purge: purge::Bell::default(),
            node,
            started_at,
            engine_fingerprint,
            javascript_digest,
            memory_mib,
            agents,
        })))
    }

    /// Queues what an earlier process left behind and begins to take runs from the queue.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn start(&self) -> Result<(), Error> {
        dispatcher::recover(self).await?;
        let app = self.clone();
        self.supervisor.spawn("dispatcher", move |stop| dispatcher::run(app.clone(), stop));
        let app = self.clone();
        self.supervisor
            .spawn("housekeeping", move |stop| housekeeping::run(app.clone(), stop));
        if master_key::unfinished(&self.store).await?.is_some() {
            let app = self.clone();
            self.supervisor
                .spawn("master key", move |_| master_key::finish_in_background(app.clone()));
        }
        let app = self.clone();
        self.supervisor.spawn("alerts", move |stop| channels::run(app.clone(), stop));
        if self.mail.is_configured() {
            let app = self.clone();
            self.supervisor.spawn("mail", move |stop| mail::run(app.clone(), stop));
        }
        Ok(())
    }

    /// Runs go back to the queue at their next call, and tasks end.
    pub async fn drain(&self) {
        self.supervisor.stopping().cancel();
        if !self.dispatcher.drain(DRAIN_WITHIN).await {
            tracing::warn!("some runs did not reach a call in time; they go on from their journal at the next start");
        }
        if !self.supervisor.stop(TASKS_WITHIN).await {
            tracing::warn!(tasks = ?self.supervisor.names(), "some background tasks did not end in time");
        }
    }

    /// Closes the store. Nothing may be asked of the station any more.
    pub async fn close(&self) {
        if !self.store.is_read_only()
            && let Err(error) = audit::log_heads(self).await
        {
            tracing::warn!(%error, "no audit checkpoint was logged");
        }
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the store did not close cleanly; the next start recovers it");
        }
    }

    /// Drains, then closes.
    pub async fn stop(&self) {
        self.drain().await;
        self.close().await;
    }

    /// Cancelled when the station stops.
    pub fn shutdown(&self) -> &CancellationToken {
        self.supervisor.stopping()
    }

    /// How people reach the station, for links that it hands out: from the settings, never from a request.
    pub fn public_origin(&self) -> String {
        self.config.server.origin()
    }

    /// Runs that may execute at one time.
    pub fn slots(&self) -> u32 {
        self.components.sandbox().slots()
    }

    /// Where guests execute.
    pub fn agents_runtime(&self) -> &tokio::runtime::Handle {
        &self.agents.1
    }

    /// The JavaScript runtime of this digest, the built-in one or an older one that a segment is pinned to.
    ///
    /// # Errors
    /// Its bytes are gone, or it no longer fits the host.
    pub async fn javascript(&self, digest: ComponentDigest) -> Result<LinkedGuest, runtime::Error> {
        let bytes = async || {
            if digest == self.javascript_digest {
                return javascript::component();
            }
            let gone = |error| runtime::Error::Refused(format!("the JavaScript runtime that it began with is gone: {error}"));
            self.store
                .read(move |reader| runtime_components::body(reader, &digest))
                .await
                .map_err(gone)
        };
        self.components.get(digest, World::JavascriptRuntime, bytes).await
    }

    /// The bytes of a blob.
    ///
    /// # Errors
    /// It is not there.
    pub async fn blob(&self, org: OrgId, digest: [u8; 32]) -> Result<Vec<u8>, Error> {
        Ok(self.store.read(move |reader| blobs::get(reader, org, &digest)).await?)
    }
}

/// Old segments are pinned to the runtime they began with, so it is kept when the program is upgraded.
async fn keep_javascript(store: &Store, clock: &SharedClock, digest: ComponentDigest) -> Result<(), Error> {
    let known = store.read(move |reader| runtime_components::exists(reader, &digest)).await?;
    if !known {
        let body = javascript::component()?;
        let now = clock.now();
        store
            .write(move |tx| runtime_components::insert(tx, &digest, "javascript", &body, now))
            .await?;
    }
    Ok(())
}

fn agents_runtime() -> Result<AgentsRuntime, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("agents")
        .thread_stack_size(AGENT_STACK_BYTES)
        .on_thread_start(|| {
            // On Linux this is the thread's own niceness. Where it is refused, guests compete as equals.
            _ = rustix::process::nice(AGENT_NICENESS);
        })
        .enable_all()
        .build()
        .map_err(|error| Error::Internal(format!("threads for agents cannot be had: {error}")))?;
    let handle = runtime.handle().clone();
    Ok(AgentsRuntime(Some(runtime), handle))
}
