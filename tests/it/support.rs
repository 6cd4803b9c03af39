//! A whole station in this process: the real server on a free port, the real store in a directory that goes away.

pub mod agents;
pub mod authenticator;
pub mod guest;
pub mod http;
pub mod journal;
pub mod orgs;
pub mod program;
pub mod provider;
pub mod site;
pub mod smtp;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use agentstation::config::{Config, Overrides};
use agentstation::domain::origin::Origin;
use agentstation::domain::permission::{Actor, Permission, Role};
use agentstation::domain::time::{Clock, SharedClock, SystemClock};
use agentstation::llm::Models;
use agentstation::net;
use agentstation::services::app::Parts;
use agentstation::services::keys::NewKey;
use agentstation::services::setup::FirstOwner;
use agentstation::services::users::NewUser;
use agentstation::services::{App, keys, setup, users};
use agentstation::store::{Options, Store, Synchronous};
use agentstation::web::server;
use agentstation::web::settings::{Rates, Settings};
use agentstation::web::state::State;
use tempfile::TempDir;

pub use self::http::{Browser, Http};

/// Compiled code, kept from test to test.
pub const CODE_CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/code-cache");
pub const OWNER_EMAIL: &str = "ana@example.com";
pub const PASSWORD: &str = "seven quiet lighthouses";

/// How a test wants its station.
pub struct Builder {
    clock: SharedClock,
    settings: Settings,
    owner: bool,
    models: Models,
    outbound: net::Policy,
    data: Option<TempDir>,
    environment: Vec<(String, String)>,
}

impl Builder {
    /// The time comes from `clock`.
    pub fn clock(self, clock: Arc<impl Clock>) -> Self {
        Self { clock, ..self }
    }

    pub fn settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Nobody has set it up yet.
    pub fn without_owner(self) -> Self {
        Self { owner: false, ..self }
    }

    /// Agents may ask these.
    pub fn models(self, models: Models) -> Self {
        Self { models, ..self }
    }

    /// What agents reach beyond public addresses.
    pub fn outbound(self, outbound: net::Policy) -> Self {
        Self { outbound, ..self }
    }

    /// A setting, by its variable.
    pub fn setting(mut self, variable: &str, value: &str) -> Self {
        self.environment.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// The data of a station that was closed.
    pub fn data(self, data: TempDir) -> Self {
        Self { data: Some(data), ..self }
    }

    pub async fn start(self) -> TestStation {
        let dir = self.data.unwrap_or_else(|| tempfile::tempdir().unwrap());
        let overrides = Overrides {
            data: Some(dir.path().to_owned()),
            ..Overrides::default()
        };
        let config = Config::load(&overrides, &self.environment).unwrap().without_retries();
        let options = Options {
            synchronous: Synchronous::Normal,
            ..Options::new(dir.path())
        };
        let store = Store::open(options, Arc::clone(&self.clock)).unwrap();
        let parts = Parts {
            master_key: config.master_key().clone(),
            config,
            clock: self.clock,
            store,
            models: self.models,
            client: net::Client::new(self.outbound),
            executable: PathBuf::from(env!("CARGO_BIN_EXE_agentstation")),
            // One for all tests: the JavaScript runtime takes seconds to compile.
            cache_dir: Some(PathBuf::from(CODE_CACHE)),
        };
        let app = App::new(parts).await.unwrap();
        app.start().await.unwrap();
        let key = if self.owner { Some(owner_key(&app).await) } else { None };
        let listener = server::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let state = State::new(app.clone(), self.settings);
        let (address, thread) = server::run_on_own_thread(listener, state, 1).unwrap();
        TestStation {
            app,
            address,
            key: key.unwrap_or_default(),
            thread: Some(thread),
            dir: Some(dir),
        }
    }
}

/// A new key of the owner's, who is made where there is none.
async fn owner_key(app: &App) -> String {
    if setup::is_needed(app).await.unwrap() {
        let owner = FirstOwner {
            email: OWNER_EMAIL.to_owned(),
            name: "Ana".to_owned(),
            password: PASSWORD.to_owned(),
            org_slug: None,
        };
        setup::without_browser(app, owner).await.unwrap();
    }
    let actor = users::local_actor(app, OWNER_EMAIL, None).await.unwrap();
    key_of(app, &actor, None).await
}

async fn key_of(app: &App, actor: &Actor, scopes: Option<Vec<Permission>>) -> String {
    let new = NewKey {
        name: "test".to_owned(),
        scopes,
        lasts: keys::LASTS_DEFAULT,
    };
    keys::create(app, actor, new, Origin::default()).await.unwrap()
}

/// A running station with an owner and their API key.
pub struct TestStation {
    pub app: App,
    pub address: SocketAddr,
    /// The owner's, with all rights.
    pub key: String,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    dir: Option<TempDir>,
}

impl TestStation {
    pub fn builder() -> Builder {
        Builder {
            clock: Arc::new(SystemClock),
            settings: Settings::default(),
            owner: true,
            models: Models::default(),
            outbound: net::Policy::default(),
            data: None,
            environment: Vec::new(),
        }
    }

    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A client without credentials.
    pub fn nobody(&self) -> Http {
        Http::new(self.address)
    }

    /// A client with the owner's key.
    pub fn owner(&self) -> Http {
        self.nobody().bearer(&self.key)
    }

    /// The owner's browser, signed in.
    pub async fn browser(&self) -> Browser {
        Browser::sign_in(self.address, OWNER_EMAIL, PASSWORD).await
    }

    /// Where its data is.
    pub fn directory(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// The owner as an actor.
    pub async fn actor(&self) -> Actor {
        users::local_actor(&self.app, OWNER_EMAIL, None).await.unwrap()
    }

    /// Somebody else of this role, with this password: [`PASSWORD`].
    pub async fn user(&self, role: Role) -> String {
        let email = format!("{role}@example.com");
        let new = NewUser {
            email: email.clone(),
            name: role.to_string(),
            password: PASSWORD.to_owned(),
        };
        users::create(&self.app, &self.actor().await, new, role, Origin::default())
            .await
            .unwrap();
        email
    }

    /// Somebody of this address and role, made by the owner, whose address is `by`; with [`PASSWORD`].
    pub async fn user_named(&self, email: &str, role: Role, by: &str) -> String {
        let new = NewUser {
            email: email.to_owned(),
            name: email.split('@').next().unwrap().to_owned(),
            password: PASSWORD.to_owned(),
        };
        let owner = users::local_actor(&self.app, by, None).await.unwrap();
        users::create(&self.app, &owner, new, role, Origin::default()).await.unwrap();
        email.to_owned()
    }

    /// A new key of the owner's with only these scopes.
    pub async fn scoped_key(&self, scopes: &[Permission]) -> String {
        key_of(&self.app, &self.actor().await, Some(scopes.to_vec())).await
    }

    /// Stops the server and the station, and waits for both. Leaves the data.
    pub async fn stop(mut self) -> TempDir {
        self.app.stop().await;
        let thread = self.thread.take().unwrap();
        tokio::task::spawn_blocking(move || thread.join().unwrap().unwrap()).await.unwrap();
        self.dir.take().unwrap()
    }
}

impl Drop for TestStation {
    fn drop(&mut self) {
        self.app.supervisor.stopping().cancel();
    }
}

/// Settings for a test that asks more in a minute than anybody would.
pub fn unhurried() -> Settings {
    const PLENTY: u32 = 10_000_000;
    Settings {
        rates: Rates {
            sign_in: PLENTY,
            read: PLENTY,
            write: PLENTY,
            run_start: PLENTY,
            upload: PLENTY,
            stream: PLENTY,
            address_factor: 1,
        },
        ..Settings::default()
    }
}

/// A JavaScript agent's manifest.
pub fn manifest(name: &str, version: &str) -> String {
    format!("name = \"{name}\"\nversion = \"{version}\"\nsummary = \"For a test\"\nruntime = \"javascript\"\nentry = \"agent.js\"\n")
}
