//! Finds out who asks: an API key, a session, or nobody. What may be done is decided by [`crate::web::extract::Authorized`].

use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, web};

use crate::domain::error::ErrorCode;
use crate::domain::id::{PrincipalId, SessionId};
use crate::domain::permission::Actor;
use crate::domain::time::Timestamp;
use crate::services::audit::{self, Denial};
use crate::services::auth::{Bearer, Standing, Tenant};
use crate::web::context::Context;
use crate::web::cookies;
use crate::web::csp_reports;
use crate::web::problem::Problem;
use crate::web::state::State;

/// Who asks; in the extensions of every request that reaches a handler.
#[derive(Clone, Debug)]
pub enum Identity {
    Nobody,
    /// A key that is damaged, unknown, expired or revoked: the answer is the same for all.
    BadKey,
    Known(Rc<Known>),
    /// Someone who is nothing where the request wants to go.
    Stranger(Rc<Stranger>),
}

/// Someone who proved who they are.
#[derive(Debug)]
pub struct Known {
    pub actor: Arc<Actor>,
    /// Of a browser.
    pub session: Option<SessionId>,
    /// What rates are counted by: the key's or the session's id.
    pub credential: String,
    /// When the person behind a session last proved who they are.
    pub proved_at: Option<Timestamp>,
}

/// Someone who proved who they are, and is no member of the organization that the request names, or of any.
#[derive(Debug)]
pub struct Stranger {
    pub principal: PrincipalId,
    pub name: String,
    pub session: Option<SessionId>,
    pub credential: String,
    pub proved_at: Option<Timestamp>,
    /// Whether the request names an organization or workspace; otherwise this is a member of none.
    pub foreign: bool,
}

impl Identity {
    pub fn of(request: &HttpRequest) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or(Self::Nobody)
    }

    pub fn known(&self) -> Option<&Rc<Known>> {
        match self {
            Self::Known(known) => Some(known),
            Self::Nobody | Self::BadKey | Self::Stranger(_) => None,
        }
    }

    /// What rates are counted by; none for those who did not prove who they are.
    pub fn credential(&self) -> Option<&str> {
        match self {
            Self::Known(known) => Some(&known.credential),
            Self::Stranger(stranger) => Some(&stranger.credential),
            Self::Nobody | Self::BadKey => None,
        }
    }
}

/// The middleware; see [`actix_web::middleware::from_fn`].
pub async fn identity<B: MessageBody + 'static>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<BoxBody>, Error> {
    if !needs_identity(request.path()) {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    }
    match find(&request).await {
        Ok(identity) => {
            if let Identity::Known(known) = &identity {
                tracing::Span::current().record("org", tracing::field::display(known.actor.org));
            }
            request.extensions_mut().insert(identity);
            let response = next.call(request).await?.map_into_boxed_body();
            record_denial(&response).await;
            Ok(response)
        }
        Err(problem) => Ok(request.error_response(problem)),
    }
}

/// A refusal is in the audit log before it is answered.
async fn record_denial(response: &ServiceResponse<BoxBody>) {
    let request = response.request();
    let Some(state) = request.app_data::<web::Data<State>>() else {
        return;
    };
    let denial = request.extensions().get::<Denial>().copied();
    let route = format!("{} {}", request.method(), request.match_pattern().unwrap_or_default());
    let origin = Context::origin(request);
    let written = match (denial, Identity::of(request)) {
        (Some(denial), Identity::Known(known)) => audit::denied(&state.app, &known.actor, denial, &route, origin).await,
        (_, Identity::Stranger(stranger)) if stranger.foreign && response.status() == StatusCode::NOT_FOUND => {
            let is_key = stranger.session.is_none();
            audit::denied_stranger(&state.app, stranger.principal, &stranger.credential, is_key, &route, origin).await
        }
        _ => return,
    };
    if let Err(error) = written {
        tracing::error!(%error, "a refusal could not be written to the audit log");
    }
}

/// Static files, health checks and browsers' reports are the same for everyone.
fn needs_identity(path: &str) -> bool {
    !["/static/", "/healthz", "/readyz", csp_reports::PATH]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

async fn find(request: &ServiceRequest) -> Result<Identity, Problem> {
    let Some(state) = request.app_data::<web::Data<State>>().cloned() else {
        return Ok(Identity::Nobody);
    };
    if let Some(header) = request.headers().get(header::AUTHORIZATION) {
        let key = bearer(header).ok_or_else(|| {
            Problem::new(
                ErrorCode::Unauthenticated,
                "The Authorization header is not of the form “Bearer <key>”.",
            )
        })?;
        let bearer = state.app.auth.api_key(key, named(request.path())).await?;
        return Ok(bearer.map_or(Identity::BadKey, of_bearer));
    }
    let Some(token) = cookies::session(request.request()) else {
        return Ok(Identity::Nobody);
    };
    let bearer = state.app.auth.session(&token, named(request.path())).await?;
    Ok(bearer.map_or(Identity::Nobody, of_bearer))
}

fn of_bearer(bearer: Bearer) -> Identity {
    match bearer.standing {
        Standing::Member(actor) => Identity::Known(Rc::new(Known {
            actor,
            session: bearer.session,
            credential: bearer.credential_id,
            proved_at: bearer.proved_at,
        })),
        standing => Identity::Stranger(Rc::new(Stranger {
            principal: bearer.principal,
            name: bearer.name,
            session: bearer.session,
            credential: bearer.credential_id,
            proved_at: bearer.proved_at,
            foreign: matches!(standing, Standing::Foreign),
        })),
    }
}

/// The organization and the workspace that an address of the API names.
fn named(path: &str) -> Tenant {
    let mut parts = path.strip_prefix("/api/v1/orgs/").unwrap_or_default().split('/');
    let mut name = || parts.next().filter(|part| !part.is_empty());
    let org = name().map(str::to_owned);
    let workspace = if name() == Some("workspaces") {
        name().map(str::to_owned)
    } else {
        None
    };
    Tenant {
        org,
        workspace,
        ..Tenant::default()
    }
}

fn bearer(header: &header::HeaderValue) -> Option<&str> {
    let (scheme, key) = header.to_str().ok()?.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}
