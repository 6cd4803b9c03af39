//! What a connection that stays open was opened with, so that it can be looked at again while it lasts.

use actix_web::HttpRequest;
use actix_web::http::header;

use super::cookies;
use crate::domain::permission::{Access, Actor, Permission, Resource, authorize};
use crate::services::auth::Auth;

/// A session's token or an API key.
pub enum Proof {
    Session(String),
    Key(String),
    Nothing,
}

impl Proof {
    pub fn of(request: &HttpRequest) -> Self {
        let bearer = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '));
        match bearer {
            Some((_, key)) => Self::Key(key.trim().to_owned()),
            None => cookies::session(request).map_or(Self::Nothing, Self::Session),
        }
    }

    /// Whether it still lets its bearer read runs. Where the store does not answer, it does not.
    pub async fn holds(&self, auth: &Auth) -> bool {
        let may_read = |actor: &Actor| authorize(actor, Permission::RunsRead, Resource { org: actor.org }) == Access::Allow;
        match self {
            Self::Session(token) => auth
                .session(token)
                .await
                .is_ok_and(|found| found.is_some_and(|found| may_read(&found.actor))),
            Self::Key(key) => auth
                .api_key(key)
                .await
                .is_ok_and(|found| found.is_some_and(|found| may_read(&found.actor))),
            Self::Nothing => false,
        }
    }
}
