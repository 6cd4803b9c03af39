//! A station in a directory that goes away, with the measured agents in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentstation::config::{Config, Overrides};
use agentstation::domain::origin::Origin;
use agentstation::domain::permission::Actor;
use agentstation::domain::retry::RetryChange;
use agentstation::domain::run::Trigger;
use agentstation::domain::time::SystemClock;
use agentstation::llm::{Model, Models, Scripted};
use agentstation::net;
use agentstation::services::agents::{self, AgentRef, Target, Upload};
use agentstation::services::app::{App, Parts};
use agentstation::services::runs::StartRun;
use agentstation::services::setup::{self, FirstOwner};
use agentstation::services::users;
use agentstation::store::{DATABASE_FILE, Options, Store, Synchronous};
use tempfile::TempDir;

use crate::guest;

pub struct Station {
    pub app: App,
    pub actor: Actor,
    /// What [`Station::run`] starts.
    pub agent: AgentRef,
    /// Nothing where the directory is someone else's.
    _dir: Option<TempDir>,
}

const OWNER: &str = "bench@station.local";

impl Station {
    /// With an agent that makes `calls` calls.
    pub async fn start(calls: u32) -> Self {
        Self::start_with(calls, Synchronous::Full).await
    }

    /// The same, with commits that go as far as this.
    pub async fn start_with(calls: u32, synchronous: Synchronous) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let station = Self::open(dir.path(), synchronous, calls).await;
        Self {
            _dir: Some(dir),
            ..station
        }
    }

    /// In a new directory that stays.
    pub async fn open(dir: &Path, synchronous: Synchronous, calls: u32) -> Self {
        let overrides = Overrides {
            data: Some(dir.to_owned()),
            ..Overrides::default()
        };
        let config = Config::load(&overrides, &[("AGENTSTATION_RUNTIME_SLOTS".to_owned(), "64".to_owned())]).expect("settings");
        let clock = Arc::new(SystemClock);
        let options = Options {
            synchronous,
            ..Options::new(dir)
        };
        let store = Store::open(options, clock.clone()).expect("a store");
        let mut models = Models::default();
        let scripted = Arc::new(Scripted::default());
        models.insert("default", Model::free(scripted, "scripted"));
        let here = net::Policy {
            open_cidrs: vec!["127.0.0.0/8".parse().expect("addresses")],
            ..net::Policy::default()
        };
        let app = App::new(Parts {
            master_key: config.master_key().clone(),
            config,
            clock,
            store,
            models,
            client: net::Client::new(here),
            executable: PathBuf::from(env!("CARGO_BIN_EXE_agentstation")),
            cache_dir: None,
        })
        .await
        .expect("a station");
        app.start().await.expect("it starts");
        let owner = FirstOwner {
            email: OWNER.to_owned(),
            name: "Bench".to_owned(),
            password: "seven quiet lighthouses".to_owned(),
            org_slug: None,
        };
        setup::without_browser(&app, owner).await.expect("an owner");
        let actor = users::local_actor(&app, OWNER, None).await.expect("the owner");
        let code = guest::component(calls);
        let agent = publish(&app, &actor, "bench", "component", "", code).await;
        Self {
            app,
            actor,
            agent,
            _dir: None,
        }
    }

    /// Adds an agent that is a component.
    pub async fn component(&self, name: &str, code: Vec<u8>) -> AgentRef {
        publish(&self.app, &self.actor, name, "component", "", code).await
    }

    /// Adds an agent that is a script; `capabilities` are lines of its manifest.
    pub async fn script(&self, name: &str, capabilities: &str, source: &str) -> AgentRef {
        publish(&self.app, &self.actor, name, "javascript", capabilities, source.as_bytes().to_vec()).await
    }

    pub fn run(&self) -> StartRun {
        run_of(&self.agent, "{}".to_owned())
    }

    /// A connection of its own to the database, to count and weigh.
    pub fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.app.store.data_dir().join(DATABASE_FILE)).expect("the database")
    }
}

/// A run of this agent, with this input.
pub fn run_of(agent: &AgentRef, input: String) -> StartRun {
    StartRun {
        agent: agent.clone(),
        version: None,
        input,
        trigger: Trigger::Api,
        message: None,
        priority: 0,
        retry: RetryChange::default(),
        budget_micros: None,
    }
}

async fn publish(app: &App, actor: &Actor, name: &str, runtime: &str, capabilities: &str, code: Vec<u8>) -> AgentRef {
    let entry = if runtime == "javascript" { "agent.js" } else { "agent.wasm" };
    let manifest = format!(
        "name = \"{name}\"\nversion = \"1.0.0\"\nsummary = \"Is measured\"\nruntime = \"{runtime}\"\nentry = \"{entry}\"\n\
         [capabilities]\nmemory = true\n{capabilities}[limits]\ncalls = 20000\njournal_bytes = 100000000\nfuel = 100_000_000_000\n"
    );
    let upload = Upload {
        manifest,
        code,
        ..Upload::default()
    };
    let (agent, _) = agents::create(app, actor, upload, Target::New, Origin::default())
        .await
        .expect("the agent is stored");
    AgentRef::Id(agent.id)
}
