//! A durable station in a directory that goes away, with the measured agent in it.

use std::path::PathBuf;
use std::sync::Arc;

use agentstation::config::{Config, Overrides};
use agentstation::domain::permission::Actor;
use agentstation::domain::retry::RetryChange;
use agentstation::domain::run::Trigger;
use agentstation::domain::time::SystemClock;
use agentstation::llm::Models;
use agentstation::net;
use agentstation::services::agents::{self, AgentRef, Target, Upload};
use agentstation::services::app::{App, Parts};
use agentstation::services::runs::StartRun;
use agentstation::services::setup::{self, FirstOwner};
use agentstation::services::users;
use agentstation::store::{Options, Store};
use tempfile::TempDir;

use crate::guest;

pub struct Station {
    pub app: App,
    pub actor: Actor,
    pub agent: AgentRef,
    _dir: TempDir,
}

const OWNER: &str = "bench@station.local";

impl Station {
    /// With an agent that makes `calls` calls.
    pub async fn start(calls: u32) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let overrides = Overrides {
            data: Some(dir.path().to_owned()),
            ..Overrides::default()
        };
        let config = Config::load(&overrides, &[("AGENTSTATION_RUNTIME_SLOTS".to_owned(), "64".to_owned())]).expect("settings");
        let clock = Arc::new(SystemClock);
        let store = Store::open(Options::new(dir.path()), clock.clone()).expect("a store");
        let app = App::new(Parts {
            config,
            clock,
            store,
            models: Models::default(),
            client: net::Client::new(net::Policy::default()),
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
        let manifest = format!(
            "name = \"bench\"\nversion = \"1.0.0\"\nsummary = \"Remembers\"\nruntime = \"component\"\nentry = \"agent.wasm\"\n\
             [capabilities]\nmemory = true\n[limits]\ncalls = {}\njournal_bytes = 100000000\n",
            calls + 10
        );
        let upload = Upload {
            manifest,
            code: guest::component(calls),
            ..Upload::default()
        };
        let (agent, _) = agents::create(&app, &actor, upload, Target::New, None)
            .await
            .expect("the agent is stored");
        Self {
            app,
            actor,
            agent: AgentRef::Id(agent.id),
            _dir: dir,
        }
    }

    pub fn run(&self) -> StartRun {
        StartRun {
            agent: self.agent.clone(),
            version: None,
            input: "{}".to_owned(),
            trigger: Trigger::Api,
            message: None,
            priority: 0,
            retry: RetryChange::default(),
        }
    }
}
