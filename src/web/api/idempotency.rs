//! `Idempotency-Key`: a POST sent again with the same key and body is answered as the first time and done once.
//!
//! The first status and body are kept once the work has begun, failures of our own included; what was refused before it began lets the key
//! go. A key whose first request never ended because the process was killed is answered with what to do: what may have happened is not done
//! again. Starting a run keeps key and run in one transaction instead, so that there is no such gap. What is shown once, such as a new API
//! key, is not kept: asked again, the answer is without it.

use actix_web::body::{BoxBody, MessageBody, to_bytes_limited};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, HttpResponse, web};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::domain::error::ErrorCode;
use crate::domain::limits::{CODE_BYTES_MAX, JSON_BODY_BYTES_MAX};
use crate::domain::permission::{Access, Actor, Resource, authorize};
use crate::store::idempotency::{self, Begun};
use crate::web::context::Context;
use crate::web::extract::{Needs, body};
use crate::web::middleware::identity::Identity;
use crate::web::middleware::shell::Shaped;
use crate::web::problem::{PROBLEM_JSON, Problem};
use crate::web::state::State;

pub const HEADER: &str = "idempotency-key";
/// Says that an answer is that of an earlier request.
const REPLAYED: &str = "idempotency-replayed";
const KEY_CHARS_MAX: usize = 255;
/// An upload with everything that goes with it.
const BODY_BYTES_MAX: usize = CODE_BYTES_MAX + 2 * JSON_BODY_BYTES_MAX;
/// Of an answer that is kept.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Around a POST that needs `needs`: done once for its key; without a key, simply done.
pub async fn once<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
    needs: Needs,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let begun = if request.method() == Method::POST && request.headers().contains_key(HEADER) {
        begin(&mut request, needs).await
    } else {
        Ok(First::Unkeyed)
    };
    match begun {
        Err(problem) => Ok(request.error_response(problem)),
        Ok(First::Unkeyed) => next.call(request).await.map(ServiceResponse::map_into_boxed_body),
        Ok(First::Before(answer)) => Ok(request.into_response(answer)),
        Ok(First::Now(claim)) => {
            let response = next.call(request).await?.map_into_boxed_body();
            claim.settle(response).await
        }
    }
}

/// Left in an answer that has something in it that is shown once: what is kept in its place.
pub struct ShownOnce(pub Vec<u8>);

/// An answer with something that is shown once, and what it is without.
pub fn shown_once(status: StatusCode, whole: &impl Serialize, without: &impl Serialize) -> HttpResponse {
    let mut answer = HttpResponse::build(status).json(whole);
    let without = serde_json::to_vec(without).unwrap_or_default();
    answer.extensions_mut().insert(ShownOnce(without));
    answer
}

enum First {
    /// Without a key, or by nobody who may.
    Unkeyed,
    Before(HttpResponse),
    Now(Claim),
}

/// A key whose first request is at work.
struct Claim {
    state: web::Data<State>,
    actor: std::sync::Arc<Actor>,
    route: String,
    key: String,
}

async fn begin(request: &mut ServiceRequest, needs: Needs) -> Result<First, Problem> {
    let (Some(state), Some(known)) = (
        request.app_data::<web::Data<State>>().cloned(),
        Identity::of(request.request()).known().cloned(),
    ) else {
        return Ok(First::Unkeyed);
    };
    let actor = std::sync::Arc::clone(&known.actor);
    // Who may not is refused by the handler, and is not shown what it once answered.
    if let Needs::Permission(permission) | Needs::Proved(permission) = needs
        && authorize(&actor, permission, Resource { org: actor.org }) != Access::Allow
    {
        return Ok(First::Unkeyed);
    }
    let Some(key) = key(request.request())? else {
        return Ok(First::Unkeyed);
    };
    let bytes = body::read(request.take_payload(), BODY_BYTES_MAX).await?;
    let hash = request_hash(request.request(), &bytes);
    request.set_payload(Payload::from(web::Bytes::from(bytes)));
    let route = route(&request.match_pattern().unwrap_or_default(), &actor);
    let (org, now) = (actor.org, state.app.clock.now());
    let names = (route.clone(), key.clone());
    let begun = state
        .app
        .store
        .write(move |tx| idempotency::begin(tx, org, &names.0, &names.1, &hash, now))
        .await
        .map_err(crate::services::Error::from)?;
    match begun {
        Begun::New => Ok(First::Now(Claim { state, actor, route, key })),
        before => again(&state, before).map(First::Before),
    }
}

impl Claim {
    async fn settle(self, response: ServiceResponse<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
        let status = response.status();
        if status.is_success() {
            let (request, mut response) = response.into_parts();
            let without = response.extensions_mut().remove::<ShownOnce>();
            let (head, body) = response.into_parts();
            let bytes = to_bytes_limited(body, ANSWER_BYTES_MAX)
                .await
                .map_err(Problem::internal)?
                .map_err(Problem::internal)?;
            self.keep(status, without.map_or_else(|| bytes.to_vec(), |ShownOnce(without)| without))
                .await;
            return Ok(ServiceResponse::new(request, head.set_body(bytes).map_into_boxed_body()));
        }
        let problem = response.response().error().and_then(|error| error.as_error::<Problem>());
        let context = Context::get(response.request());
        match (problem, context) {
            (Some(problem), Some(context)) if status == StatusCode::INTERNAL_SERVER_ERROR => {
                let body = serde_json::to_vec(&problem.body(context.id)).unwrap_or_default();
                self.keep(status, body).await;
            }
            // It was refused before anything was done.
            _ => self.release().await,
        }
        Ok(response)
    }

    async fn keep(self, status: StatusCode, body: Vec<u8>) {
        store(&self.state, self.actor.org, self.route, self.key, status, body).await;
    }

    async fn release(self) {
        let (org, route, key) = (self.actor.org, self.route, self.key);
        let released = self
            .state
            .app
            .store
            .write(move |tx| idempotency::release(tx, org, &route, &key))
            .await;
        if let Err(error) = released {
            tracing::warn!(%error, "an idempotency key could not be let go");
        }
    }
}

/// Keeps a later answer in place of the first, for a request that was waited for.
pub async fn keep(state: &State, actor: &Actor, route: String, key: String, status: StatusCode, body: &impl Serialize) {
    let body = serde_json::to_vec(body).unwrap_or_default();
    store(state, actor.org, route, key, status, body).await;
}

async fn store(state: &State, org: crate::domain::id::OrgId, route: String, key: String, status: StatusCode, body: Vec<u8>) {
    let settled = state
        .app
        .store
        .write(move |tx| idempotency::finish(tx, org, &route, &key, status.as_u16(), &body))
        .await;
    if let Err(error) = settled {
        // The work is done and is answered; asked again, the key is still in progress.
        tracing::warn!(%error, "an idempotency key could not be settled");
    }
}

/// The answer to a request whose key was used before.
///
/// # Errors
/// `idempotency_mismatch`, `idempotency_in_progress`.
pub fn again(state: &State, begun: Begun) -> Result<HttpResponse, Problem> {
    match begun {
        Begun::Mismatch => Err(Problem::new(
            ErrorCode::IdempotencyMismatch,
            "This Idempotency-Key came before with another request. Use a new key for a new request.",
        )),
        Begun::InProgress { since } if since < state.app.started_at => Err(Problem::new(
            ErrorCode::IdempotencyInProgress,
            "The station stopped while the first request with this Idempotency-Key was at work, and cannot say whether it was done.",
        )
        .hint("Look whether it was done. If it was not, send it again with a new key.")),
        Begun::New | Begun::InProgress { .. } => Err(Problem::new(
            ErrorCode::IdempotencyInProgress,
            "The first request with this Idempotency-Key has not ended yet. Ask again in a moment.",
        )),
        Begun::Done { status, body } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            let kind = if status.is_success() { "application/json" } else { PROBLEM_JSON };
            let mut answer = HttpResponse::build(status)
                .insert_header((REPLAYED, "true"))
                .content_type(kind)
                .body(body);
            answer.extensions_mut().insert(Shaped);
            Ok(answer)
        }
    }
}

/// What a key is kept under. A key is its principal's own: nobody else can learn what it was used for.
pub fn route(name: &str, actor: &Actor) -> String {
    format!("{name} {}", actor.principal)
}

/// The request's key, where it has one.
///
/// # Errors
/// `bad_request` where it is none.
pub fn key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get(HEADER) else {
        return Ok(None);
    };
    let wrong = || {
        Problem::new(
            ErrorCode::BadRequest,
            format!("Idempotency-Key must be 1 to {KEY_CHARS_MAX} printable ASCII characters."),
        )
    };
    let text = value.to_str().map_err(|_| wrong())?.trim();
    // The draft writes it as a structured string, in quotes; most clients do not.
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if text.is_empty() || text.len() > KEY_CHARS_MAX || !printable {
        return Err(wrong());
    }
    Ok(Some(text.to_owned()))
}

/// Tells requests apart that came with one key.
pub fn request_hash(request: &HttpRequest, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(request.path().as_bytes());
    hash.update([0]);
    hash.update(request.query_string().as_bytes());
    hash.update([0]);
    hash.update(body);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn read(value: &str) -> Result<Option<String>, Problem> {
        key(&TestRequest::default().insert_header((HEADER, value)).to_http_request())
    }

    #[test]
    fn a_key_may_stand_in_quotes_and_has_a_most() {
        assert_eq!(read("\"abc\"").unwrap().as_deref(), Some("abc"));
        assert_eq!(read("abc").unwrap().as_deref(), Some("abc"));
        assert!(read("").is_err());
        assert!(read(&"k".repeat(KEY_CHARS_MAX)).is_ok());
        assert!(read(&"k".repeat(KEY_CHARS_MAX + 1)).is_err());
    }

    #[test]
    fn another_body_or_query_is_another_request() {
        let request = |uri: &str| TestRequest::with_uri(uri).to_http_request();
        let hash = request_hash(&request("/a?x=1"), b"{}");
        assert_eq!(hash, request_hash(&request("/a?x=1"), b"{}"));
        assert_ne!(hash, request_hash(&request("/a?x=2"), b"{}"));
        assert_ne!(hash, request_hash(&request("/a?x=1"), b"{ }"));
    }
}
