//! Puts a station together for a command: the one of the data directory, or a throw-away one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use super::{embedded, say};
use crate::config::Config;
use crate::config::master_key::{self, KeySource};
use crate::config::settings;
use crate::domain::permission::Actor;
use crate::domain::time::{SharedClock, SystemClock};
use crate::llm::{Model, Models, Scripted};
use crate::net;
use crate::services::App;
use crate::services::app::Parts;
use crate::services::setup::{self, FirstOwner};
use crate::services::users;
use crate::store::{self, Store, Synchronous};

/// The model that agents ask for where they say nothing else.
const DEFAULT_MODEL: &str = "default";
/// Who owns a throw-away station.
pub const OWNER: &str = "you@station.local";

/// A station and somebody who may do everything in it.
pub struct Station {
    pub app: App,
    pub actor: Actor,
    /// The owner's.
    pub password: String,
    directory: tempfile::TempDir,
}

impl Station {
    /// Stops it and deletes its directory.
    pub async fn close(self) {
        self.app.stop().await;
        if let Err(error) = self.directory.close() {
            say(&format!("agentstation: a temporary directory could not be deleted: {error}"));
        }
    }
}

pub fn clock() -> SharedClock {
    Arc::new(SystemClock)
}

/// Opens the store of the data directory.
pub fn store(config: &Config) -> anyhow::Result<Store> {
    Ok(Store::open(options(config), clock())?)
}

/// Opens the store of the data directory; where a station is serving it, for reading only.
pub async fn store_or_beside(config: &Config) -> anyhow::Result<Store> {
    match Store::open(options(config), clock()) {
        Err(store::Error::Locked(_)) => Ok(Store::open_beside(options(config), clock()).await?),
        opened => Ok(opened?),
    }
}

fn options(config: &Config) -> store::Options {
    let synchronous = match config.store.synchronous {
        settings::Synchronous::Full => Synchronous::Full,
        settings::Synchronous::Normal => Synchronous::Normal,
    };
    store::Options {
        synchronous,
        readers: config.store.readers,
        on_fatal: Some(Arc::new(|why| {
            tracing::error!(
                why,
                "the disk failed; the station stops so that nothing is acknowledged that is not kept"
            );
            std::process::abort();
        })),
        ..store::Options::new(config.data.clone())
    }
}

/// The station of the data directory. Nothing runs yet.
pub async fn permanent(config: Config, store: Store, own_address: Option<SocketAddr>) -> anyhow::Result<App> {
    let models = Models::from_settings(&config.models)?;
    let cache_dir = Some(config.cache_dir());
    let master_key = config.master_key().clone();
    assemble(config, clock(), store, models, cache_dir, master_key, own_address).await
}

async fn assemble(
    config: Config,
    clock: SharedClock,
    store: Store,
    models: Models,
    cache_dir: Option<PathBuf>,
    master_key: KeySource,
    own_address: Option<SocketAddr>,
) -> anyhow::Result<App> {
    let client = net::Client::new(net::Policy {
        open_cidrs: config.outbound.open_cidrs.clone(),
        allow_http: config.outbound.allow_http,
        own_addresses: own_address.into_iter().collect(),
    });
    let executable = std::env::current_exe().context("this program cannot find its own file, which it needs to compile agents")?;
    Ok(App::new(Parts {
        config,
        clock,
        store,
        models,
        client,
        master_key,
        executable,
        cache_dir,
    })
    .await?)
}

/// A throw-away station that takes runs at once. Without a configured model, answers come from the built-in script.
pub async fn temporary(config: Config) -> anyhow::Result<Station> {
    temporary_by(config, clock()).await
}

/// The same, by a clock of the caller's.
pub async fn temporary_by(config: Config, clock: SharedClock) -> anyhow::Result<Station> {
    let directory = tempfile::Builder::new()
        .prefix("agentstation-")
        .tempdir()
        .context("a temporary directory cannot be made")?;
    let options = store::Options {
        synchronous: Synchronous::Off,
        ..store::Options::new(directory.path())
    };
    let store = Store::open(options, Arc::clone(&clock))?;
    let mut models = Models::from_settings(&config.models)?;
    if models.names().next().is_none() {
        let scripted = Scripted::parse(&embedded::scripted_rules()).context("the built-in answers")?;
        models.insert(DEFAULT_MODEL, Model::free(Arc::new(scripted), "scripted"));
    }
    let cache_dir = config.runtime.cache.clone().or_else(crate::config::user_cache_dir);
    // A key of its own, which goes away with all that it sealed.
    let master_key = KeySource::File(directory.path().join(master_key::FILE));
    let app = assemble(config, clock, store, models, cache_dir, master_key, None).await?;
    app.start().await?;
    let password = crate::crypto::token::new()?;
    let owner = FirstOwner {
        email: OWNER.to_owned(),
        name: "You".to_owned(),
        password: password.clone(),
        org_slug: None,
    };
    setup::without_browser(&app, owner).await?;
    let actor = users::local_actor(&app, OWNER, None).await?;
    Ok(Station {
        app,
        actor,
        password,
        directory,
    })
}
