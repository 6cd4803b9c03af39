//! The effects of calls: in our own database within a transaction, and outside it.

use std::time::{Duration, Instant};

use super::super::app::{App, Callee};
use super::super::plans;
use super::caller::{Caller, Rights};
use crate::domain::call::{ArtifactInfo, Body, Call, CallResult, HttpHeader, HttpRequest, HttpResponse, Reply};
use crate::domain::chat::{ChatRequest, Show};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::OrgId;
use crate::domain::limits::{ARTIFACTS_PER_RUN_MAX, HTTP_BODY_BYTES_MAX};
use crate::domain::policy;
use crate::domain::time::Timestamp;
use crate::llm;
use crate::net;
use crate::runtime::ports::{PendingCall, Performed};
use crate::store::{self, Tx, artifacts, blobs, memory};

/// Time that a request may take where the agent names none.
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// Does a call whose effect is in our own database. What the agent did wrong is its failure; what the database did is an error.
pub(super) fn local(tx: &Tx<'_>, caller: &Caller, pending: &PendingCall, now: Timestamp) -> Result<CallResult, store::Error> {
    let scope = memory::Scope {
        org: caller.org,
        agent: caller.agent,
        environment: &caller.environment,
    };
    let reply = match &pending.call {
        Call::MemoryGet { key } => memory::get(tx, scope, key).map(Reply::MemoryEntry),
        Call::MemoryPut { key, value, if_version } => memory::put(tx, scope, key, value, *if_version, now).map(Reply::MemoryVersion),
        Call::MemoryDelete { key, if_version } => memory::delete(tx, scope, key, *if_version, now).map(Reply::MemoryDeleted),
        Call::MemoryList { prefix, after, limit } => memory::list(tx, scope, prefix, after.as_deref(), *limit).map(Reply::MemoryPage),
        Call::MemorySearch { query, prefix, limit } => memory::search(tx, scope, query, prefix, *limit).map(Reply::MemoryPage),
        Call::ArtifactsPut(info) => check_artifact(tx, caller, info).map(|()| Reply::Artifact(info.clone())),
        Call::ArtifactsGet { name } => artifacts::find(tx, caller.org, caller.run, name).map(Reply::ArtifactFound),
        Call::ArtifactsList {} => artifacts::list(tx, caller.org, caller.run).map(Reply::Artifacts),
        _ => {
            return Err(store::Error::Internal(format!("{} is not local", pending.call.function()).into()));
        }
    };
    match reply {
        Ok(reply) => Ok(CallResult::Ok(reply)),
        Err(store::Error::Conflict(text)) => Ok(CallResult::Failed(Failure::new(FailureCode::Conflict, text))),
        Err(store::Error::Limit(text) | store::Error::Plan(text)) => Ok(CallResult::Failed(Failure::new(FailureCode::LimitExceeded, text))),
        Err(error) => Err(error),
    }
}

fn check_artifact(tx: &Tx<'_>, caller: &Caller, info: &ArtifactInfo) -> Result<(), store::Error> {
    let existing = artifacts::list(tx, caller.org, caller.run)?;
    if existing.len() >= ARTIFACTS_PER_RUN_MAX as usize && !existing.iter().any(|known| known.name == info.name) {
        return Err(store::Error::Limit(format!("a run may have {ARTIFACTS_PER_RUN_MAX} artifacts")));
    }
    plans::check_bytes(tx, caller.org, usize::try_from(info.bytes).unwrap_or(usize::MAX))
}

/// Stores what [`local`] has accepted, once the entry's number is known.
pub(super) fn put_artifact(
    tx: &Tx<'_>,
    caller: &Caller,
    info: &ArtifactInfo,
    body: &[u8],
    seq: u64,
    now: Timestamp,
) -> Result<(), store::Error> {
    let digest = blobs::put(tx, caller.org, body, now)?;
    artifacts::put(tx, caller.org, caller.run, info, digest, seq, now)
}

/// Sends a request to a granted host.
pub(super) async fn http(app: &App, org: OrgId, rights: &Rights, request: &HttpRequest, key: Option<(String, String)>) -> Performed {
    // The placeholder itself must never leave: the other side would take it for the secret.
    if let Some(name) = policy::secrets_of(request).first() {
        let text = format!("the request names the secret “{name}”, and the station has no such secret to put there; nothing was sent");
        return Performed::free(CallResult::Failed(Failure::new(FailureCode::NotFound, text)));
    }
    Performed::free(match send(app, org, rights, request, key).await {
        Ok(response) => CallResult::Ok(Reply::Http(response)),
        Err(failure) => CallResult::Failed(failure),
    })
}

/// Whether the other side did not do its part.
fn is_trouble(failure: &Failure) -> bool {
    failure.retryable
        && matches!(
            failure.code,
            FailureCode::Unavailable | FailureCode::Timeout | FailureCode::ProviderError
        )
}

/// The failure of a call that is not made because so many before it failed.
fn resting(whom: &str, wait: Duration) -> Failure {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let text = format!("too many calls to {whom} have failed; the station makes none for another {seconds} s");
    Failure::refused_for(FailureCode::Unavailable, wait, text)
}

fn host_of(url: &str) -> String {
    let Ok(url) = url::Url::parse(url) else { return String::new() };
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

async fn send(
    app: &App,
    org: OrgId,
    rights: &Rights,
    request: &HttpRequest,
    key: Option<(String, String)>,
) -> Result<HttpResponse, Failure> {
    let body = match &request.body {
        None => None,
        Some(body) => Some(
            body.to_bytes()
                .ok_or_else(|| Failure::new(FailureCode::Invalid, "the body is damaged"))?,
        ),
    };
    let mut headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|header| (header.name.clone(), header.value.clone()))
        .collect();
    if let Some((name, value)) = key {
        // The station's key is the one that a repeated write carries again.
        headers.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
        headers.push((name, value));
    }
    // A redirect may change the method to GET; each hop is asked for as it would be sent.
    // The first was decided about before it was intended.
    let first = url::Url::parse(&request.url).ok();
    let is_first = |method: &str, url: &url::Url| Some(url) == first.as_ref() && method.eq_ignore_ascii_case(&request.method);
    let allow = |method: &str, url: &url::Url| {
        if is_first(method, url) {
            rights.reach(url, method)
        } else {
            rights.follow(url, method)
        }
    };
    let timeout = request.timeout_ms.map_or(HTTP_TIMEOUT, |ms| Duration::from_millis(u64::from(ms)));
    let wanted = net::Request {
        method: &request.method,
        url: &request.url,
        headers: &headers,
        body,
        timeout,
        body_bytes_max: HTTP_BODY_BYTES_MAX,
        allow: &allow,
    };
    let host = host_of(&request.url);
    let admitted = app
        .breakers
        .admit(Callee::Host(org, host.clone()))
        .map_err(|wait| resting(&host, wait))?;
    let sent = app.client.send(wanted).await.map_err(Failure::from);
    match &sent {
        Ok(response) => admitted.ended(response.status >= 500),
        Err(failure) if is_trouble(failure) => admitted.ended(true),
        Err(_) => admitted.unsent(),
    }
    let response = sent?;
    Ok(HttpResponse {
        status: response.status,
        headers: response
            .headers
            .into_iter()
            .map(|(name, value)| HttpHeader { name, value })
            .collect(),
        body: Body::from_bytes(response.body),
        url: response.final_url,
    })
}

/// Asks a model. `show` gets each piece of text, where the agent wants it shown.
pub(super) async fn chat(app: &App, request: &ChatRequest, show: &(dyn Fn(&str) + Send + Sync)) -> Performed {
    let Some(model) = app.models.get(&request.model) else {
        let text = format!(
            "this station has no model “{}”; the operator adds it under [models.{}]",
            request.model, request.model
        );
        return Performed::free(CallResult::Failed(Failure::new(FailureCode::Unsupported, text)));
    };
    let began = Instant::now();
    let mut first = None;
    let shown = request.show != Show::None;
    let mut deltas = |text: &str| {
        first.get_or_insert_with(|| began.elapsed());
        if shown {
            show(text);
        }
    };
    let admitted = match app.breakers.admit(Callee::Provider(model.endpoint().to_owned())) {
        Ok(admitted) => admitted,
        Err(wait) => return Performed::free(CallResult::Failed(resting(model.endpoint(), wait))),
    };
    let answer = model.chat(request, &mut deltas).await;
    match &answer {
        Ok(_) => admitted.ended(false),
        Err(failed) if is_trouble(&failed.failure) => admitted.ended(true),
        Err(_) => admitted.unsent(),
    }
    let first_token_ms = first.map(|after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    match answer {
        Ok(llm::Answer { reply, estimated }) => Performed {
            usage: Some(reply.usage),
            result: CallResult::Ok(Reply::Chat(reply)),
            estimated,
            first_token_ms,
        },
        Err(llm::Failed { failure, usage, estimated }) => Performed {
            result: CallResult::Failed(failure),
            usage: Some(usage),
            estimated,
            first_token_ms,
        },
    }
}
