//! `Idempotency-Key`: a POST sent again with the same key and body is answered as the first time and done once.
//!
//! A key whose first request never ended (the process was killed) stays in progress until it is forgotten: what may have
//! happened is not done again.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::domain::error::ErrorCode;
use crate::domain::permission::Actor;
use crate::store::idempotency::{self, Begun};
use crate::web::problem::Problem;
use crate::web::state::State;

pub const HEADER: &str = "idempotency-key";
/// Says that an answer is that of an earlier request.
const REPLAYED: &str = "idempotency-replayed";
const KEY_CHARS_MAX: usize = 255;

/// A JSON answer that can be given again.
pub struct Answer {
    status: StatusCode,
    body: String,
}

impl Answer {
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self {
            status,
            body: serde_json::to_string(body).unwrap_or_default(),
        }
    }

    fn respond(self) -> HttpResponse {
        HttpResponse::build(self.status).content_type("application/json").body(self.body)
    }
}

/// Does `work` once for the request's key; without a key, simply does it.
///
/// # Errors
/// `idempotency_mismatch`, `idempotency_in_progress`, or what `work` fails with; a failure lets go of the key.
pub async fn once(
    state: &State,
    actor: &Actor,
    request: &HttpRequest,
    route: &'static str,
    body: &[u8],
    work: impl Future<Output = Result<Answer, Problem>>,
) -> Result<HttpResponse, Problem> {
    let Some(key) = key(request)? else {
        return work.await.map(Answer::respond);
    };
    // A key is its principal's own: nobody else can learn what it was used for.
    let route = format!("{route} {}", actor.principal);
    let hash = request_hash(request, body);
    let (org, now) = (actor.org, state.app.clock.now());
    let begun = {
        let (route, key) = (route.clone(), key.clone());
        state
            .app
            .store
            .write(move |tx| idempotency::begin(tx, org, &route, &key, &hash, now))
            .await
            .map_err(crate::services::Error::from)?
    };
    match begun {
        Begun::New => {}
        Begun::Mismatch => {
            return Err(Problem::new(
                ErrorCode::IdempotencyMismatch,
                "This Idempotency-Key came before with another request. Use a new key for a new request.",
            ));
        }
        Begun::InProgress => {
            return Err(Problem::new(
                ErrorCode::IdempotencyInProgress,
                "The first request with this Idempotency-Key has not ended yet. Ask again in a moment.",
            ));
        }
        Begun::Done { status, body } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            return Ok(HttpResponse::build(status)
                .insert_header((REPLAYED, "true"))
                .content_type("application/json")
                .body(body));
        }
    }
    let done = work.await;
    let outcome = done
        .as_ref()
        .ok()
        .map(|answer| (answer.status.as_u16(), answer.body.clone().into_bytes()));
    let settled = state
        .app
        .store
        .write(move |tx| match &outcome {
            Some((status, body)) => idempotency::finish(tx, org, &route, &key, *status, body),
            None => idempotency::release(tx, org, &route, &key),
        })
        .await;
    if let Err(error) = settled {
        // The work is done and is answered; asked again, the key is still in progress.
        tracing::warn!(%error, "an idempotency key could not be settled");
    }
    done.map(Answer::respond)
}

fn key(request: &HttpRequest) -> Result<Option<String>, Problem> {
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
    if text.is_empty() || text.len() > KEY_CHARS_MAX {
        return Err(wrong());
    }
    Ok(Some(text.to_owned()))
}

fn request_hash(request: &HttpRequest, body: &[u8]) -> [u8; 32] {
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
