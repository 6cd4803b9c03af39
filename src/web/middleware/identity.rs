//! Finds out who asks: an API key, a session, or nobody. What may be done is decided by [`crate::web::extract::Authorized`].

use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, web};

use crate::domain::error::ErrorCode;
use crate::domain::id::SessionId;
use crate::domain::permission::Actor;
use crate::services::audit;
use crate::web::context::Context;
use crate::web::cookies;
use crate::web::extract::Denied;
use crate::web::problem::Problem;
use crate::web::state::State;

/// Who asks; in the extensions of every request that reaches a handler.
#[derive(Clone, Debug)]
pub enum Identity {
    Nobody,
    /// A key that is damaged, unknown, expired or revoked: the answer is the same for all.
    BadKey,
    Known(Rc<Known>),
}

/// Someone who proved who they are.
#[derive(Debug)]
pub struct Known {
    pub actor: Arc<Actor>,
    /// Of a browser.
    pub session: Option<SessionId>,
    /// What rates are counted by: the key's or the session's id.
    pub credential: String,
}

impl Identity {
    pub fn of(request: &HttpRequest) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or(Self::Nobody)
    }

    pub fn known(&self) -> Option<&Rc<Known>> {
        match self {
            Self::Known(known) => Some(known),
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

/// A refusal for want of a permission is in the audit log before it is answered.
async fn record_denial(response: &ServiceResponse<BoxBody>) {
    let request = response.request();
    let denied = request.extensions().get::<Denied>().copied();
    let identity = Identity::of(request);
    let (Some(Denied(permission)), Some(known), Some(state)) = (denied, identity.known(), request.app_data::<web::Data<State>>()) else {
        return;
    };
    if let Err(error) = audit::denied(&state.app, &known.actor, permission, Context::request_id(request)).await {
        tracing::error!(%error, "a refusal could not be written to the audit log");
    }
}

/// Static files and health checks are the same for everyone.
fn needs_identity(path: &str) -> bool {
    !["/static/", "/healthz", "/readyz"].iter().any(|prefix| path.starts_with(prefix))
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
        return Ok(match state.app.auth.api_key(key).await? {
            Some(found) => Identity::Known(Rc::new(Known {
                actor: found.actor,
                session: None,
                credential: found.key_id,
            })),
            None => Identity::BadKey,
        });
    }
    let Some(token) = cookies::session(request.request()) else {
        return Ok(Identity::Nobody);
    };
    Ok(match state.app.auth.session(&token).await? {
        Some(found) => Identity::Known(Rc::new(Known {
            actor: found.actor,
            session: Some(found.session),
            credential: found.session.to_string(),
        })),
        None => Identity::Nobody,
    })
}

fn bearer(header: &header::HeaderValue) -> Option<&str> {
    let (scheme, key) = header.to_str().ok()?.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}
