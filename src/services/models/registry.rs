//! Providers and aliases in memory, read anew after each change, so that finding a model waits for nothing.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::super::{App, Error};
use crate::config::settings::ApiKey;
use crate::domain::id::{OrgId, ProviderId, SecretId, WorkspaceId};
use crate::domain::provider::Link;
use crate::llm::{Made, Server};
use crate::net;
use crate::store::providers::Stored;
use crate::store::{Store, aliases, providers};

/// A provider that can be asked.
pub struct Held {
    pub id: ProviderId,
    pub enabled: bool,
    /// Its key, which is opened for each call.
    pub key: Option<SecretId>,
    /// Or why it cannot be asked.
    pub server: Result<Arc<Server>, String>,
    version: u32,
}

#[derive(Default)]
struct Snapshot {
    station: HashMap<String, Arc<Held>>,
    orgs: HashMap<(OrgId, String), Arc<Held>>,
    aliases: HashMap<(WorkspaceId, String), Vec<Link>>,
}

/// What is stored, as of the last change.
#[derive(Default)]
pub struct Registry {
    snapshot: RwLock<Arc<Snapshot>>,
    /// One reads anew at a time, so that what was read later stays.
    reading: tokio::sync::Mutex<()>,
}

impl Registry {
    /// Reads what is stored.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load(store: &Store, client: &net::Client) -> Result<Self, Error> {
        let registry = Self::default();
        registry.reload(store, client).await?;
        Ok(registry)
    }

    /// Reads anew what is stored. Providers that did not change keep their lines.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn reload(&self, store: &Store, client: &net::Client) -> Result<(), Error> {
        let _reading = self.reading.lock().await;
        let (stored, aliases) = store.read(|reader| Ok((providers::all(reader)?, aliases::all(reader)?))).await?;
        let before = self.current();
        let mut after = Snapshot::default();
        for stored in stored {
            let known = match stored.org {
                None => before.station.get(&stored.name),
                Some(org) => before.orgs.get(&(org, stored.name.clone())),
            };
            let held = match known.filter(|known| known.id == stored.id && known.version == stored.version) {
                Some(known) => Arc::clone(known),
                None => Arc::new(hold(&stored, client)),
            };
            match stored.org {
                None => after.station.insert(stored.name, held),
                Some(org) => after.orgs.insert((org, stored.name), held),
            };
        }
        for alias in aliases {
            after.aliases.insert((alias.workspace, alias.name), alias.chain);
        }
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        Ok(())
    }

    fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The chain of an alias.
    pub fn chain(&self, workspace: WorkspaceId, name: &str) -> Option<Vec<Link>> {
        self.current().aliases.get(&(workspace, name.to_owned())).cloned()
    }

    /// The names of a workspace's aliases.
    pub fn names(&self, workspace: WorkspaceId) -> Vec<String> {
        let current = self.current();
        let of_workspace = current.aliases.keys().filter(|(known, _)| *known == workspace);
        of_workspace.map(|(_, name)| name.clone()).collect()
    }

    /// The organization's provider of this name, else the station's.
    pub fn provider(&self, org: OrgId, name: &str) -> Option<Arc<Held>> {
        let current = self.current();
        let own = current.orgs.get(&(org, name.to_owned()));
        own.or_else(|| current.station.get(name)).cloned()
    }
}

fn hold(stored: &Stored, client: &net::Client) -> Held {
    Held {
        id: stored.id,
        enabled: stored.enabled,
        key: stored.key,
        server: server(stored, client).map(Arc::new),
        version: stored.version,
    }
}

/// The server that a row describes. What an organization names is reached by the rules that hold for its agents.
pub fn server(stored: &Stored, client: &net::Client) -> Result<Server, String> {
    let made = Made {
        kind: stored.kind,
        preset: &stored.preset,
        name: &stored.name,
        base_url: &stored.base_url,
        rules: &stored.rules,
        free: stored.free,
        limits: stored.limits,
    };
    Server::new(&made, ApiKey::None, stored.org.map(|_| client.vetter()))
}

/// Looks whether a provider may be where its row says. A name that cannot be looked up now is no mistake.
///
/// # Errors
/// What is wrong with its address, as a sentence.
pub async fn reach(app: &App, stored: &Stored) -> Result<(), String> {
    let server = server(stored, &app.client)?;
    match server.check().await {
        Err(net::Error::Denied(why) | net::Error::Invalid(why)) => Err(why),
        // Whether the operator opened it is not known, and a key would be readable on the way.
        Err(net::Error::Unavailable(why)) if stored.org.is_some() && stored.base_url.starts_with("http://") => Err(format!(
            "{why}, and http:// is for addresses that the operator has opened: use https://"
        )),
        Ok(()) | Err(_) => Ok(()),
    }
}
