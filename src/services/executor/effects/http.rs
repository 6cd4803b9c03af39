//! HTTP requests of agents: through the one guarded client, to what is granted.

use std::time::Duration;

use super::super::caller::{Caller, Rights};
use super::super::secrets::{Filled, RunSecrets};
use super::{is_trouble, resting};
use crate::domain::call::{Body, CallResult, HttpHeader, HttpRequest, HttpResponse, Reply};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::OrgId;
use crate::domain::limits::HTTP_BODY_BYTES_MAX;
use crate::net::{self, Trail};
use crate::runtime::ports::Performed;
use crate::services::app::{App, Callee};

/// Time that a request may take where the agent names none.
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a request to a granted host; `trail` gets whom it reaches. Secrets are put in last, and taken out of what comes back first.
pub(in super::super) async fn http(
    app: &App,
    caller: &Caller,
    rights: &Rights,
    secrets: &RunSecrets,
    request: &HttpRequest,
    key: Option<(String, String)>,
    trail: &Trail,
) -> Performed {
    let sent = match secrets.fill(app, caller, rights, request).await {
        Ok(filled) => send(app, caller.org, rights, &filled, key, trail).await,
        Err(failure) => Err(failure),
    };
    secrets.clean(Performed::free(match sent {
        Ok(response) => CallResult::Ok(Reply::Http(response)),
        Err(failure) => CallResult::Failed(failure),
    }))
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
    filled: &Filled<'_>,
    key: Option<(String, String)>,
    trail: &Trail,
) -> Result<HttpResponse, Failure> {
    let request: &HttpRequest = &filled.request;
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
    let may_carry = |method: &str, url: &url::Url| filled.may_go(method, url);
    let timeout = request.timeout_ms.map_or(HTTP_TIMEOUT, |ms| Duration::from_millis(u64::from(ms)));
    let wanted = net::Request {
        method: &request.method,
        url: &request.url,
        headers: &headers,
        body,
        timeout,
        body_bytes_max: HTTP_BODY_BYTES_MAX,
        allow: &allow,
        secrets: filled.carries().then_some(&may_carry),
        trail,
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
