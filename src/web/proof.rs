//! What a connection that stays open was opened with, so that it can be looked at again while it lasts.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::cookies;
use crate::domain::id::OrgId;
use crate::domain::permission::{Access, Permission, Resource, authorize};
use crate::services::auth::{Auth, Standing, Tenant};

/// Rights are looked at again this often, and whenever somebody's may have changed.
const RECHECK_EVERY: Duration = Duration::from_mins(1);

/// A credential that lets its bearer read an organization's runs.
pub struct Proof {
    credential: Credential,
    org: OrgId,
    auth: Auth,
    changed: watch::Receiver<u64>,
    recheck_at: Instant,
}

enum Credential {
    /// A session's token.
    Session(String),
    Key(String),
    Nothing,
}

impl Proof {
    pub fn of(request: &HttpRequest, auth: &Auth, org: OrgId) -> Self {
        let bearer = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '));
        let credential = match bearer {
            Some((_, key)) => Credential::Key(key.trim().to_owned()),
            None => cookies::session(request).map_or(Credential::Nothing, Credential::Session),
        };
        Self {
            credential,
            org,
            auth: auth.clone(),
            changed: auth.revoked(),
            recheck_at: Instant::now() + RECHECK_EVERY,
        }
    }

    /// Waits until it lets its bearer in no longer. Dropping the future loses nothing.
    pub async fn ended(&mut self) {
        loop {
            // A change and the minute both are a reason to look again.
            _ = timeout_at(self.recheck_at, self.changed.changed()).await;
            self.recheck_at = Instant::now() + RECHECK_EVERY;
            if !self.holds().await {
                return;
            }
        }
    }

    /// Whether it does now. Where the store does not answer, it does not.
    async fn holds(&self) -> bool {
        let tenant = Tenant::org(self.org.to_string());
        let found = match &self.credential {
            Credential::Session(token) => self.auth.session(token, tenant).await,
            Credential::Key(key) => self.auth.api_key(key, tenant).await,
            Credential::Nothing => return false,
        };
        match found {
            Ok(Some(bearer)) => match bearer.standing {
                Standing::Member(actor) => authorize(&actor, Permission::RunsRead, Resource { org: self.org }) == Access::Allow,
                Standing::Foreign | Standing::Homeless => false,
            },
            Ok(None) | Err(_) => false,
        }
    }
}
