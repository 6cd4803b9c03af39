//! Secrets in the requests of a run: put in where a binding covers it, and taken out of everything that comes back.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use url::Url;

use super::caller::{Caller, Rights};
use crate::config::secret::Secret;
use crate::domain::call::{ArtifactInfo, Body, Call, CallResult, HttpHeader, HttpRequest, Reply};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::hex;
use crate::domain::id::{OrgId, RunId, SecretId};
use crate::domain::journal::{NewEntry, Payload};
use crate::domain::placeholder::{self, Part};
use crate::domain::policy;
use crate::domain::secret::{Binding, Purpose};
use crate::runtime::ports::{PendingCall, Performed};
use crate::runtime::segment::RunError;
use crate::services::redaction::Redactor;
use crate::services::{App, Error, secrets as values};
use crate::store::secrets as rows;

/// Between two notes of when a secret was last sent.
const TOUCH_EVERY: Duration = Duration::from_mins(1);
/// Headers that go with a redirect to another host.
const TRAVELLING_HEADERS: [&str; 2] = ["accept", "user-agent"];

/// What a run has sent, and looks for from then on.
pub(super) struct RunSecrets {
    org: OrgId,
    run: RunId,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    redactor: Arc<Redactor>,
    /// Of the secrets that it looks for: which versions.
    versions: BTreeSet<(SecretId, u32)>,
    /// Why what the run has sent cannot be looked for.
    trouble: Option<String>,
}

/// A request with its secrets, and where it may go with them.
pub(super) struct Filled<'a> {
    pub(super) request: Cow<'a, HttpRequest>,
    agent: String,
    /// Of each secret in it.
    bindings: Vec<Vec<Binding>>,
    origin: Option<url::Origin>,
}

impl Filled<'_> {
    /// Whether there is a secret in it.
    pub(super) const fn carries(&self) -> bool {
        !self.bindings.is_empty()
    }

    /// Whether what it carries may go to this address. To another host nothing of it goes, see `net::Client`.
    pub(super) fn may_go(&self, method: &str, url: &Url) -> bool {
        self.origin.as_ref() != Some(&url.origin()) || self.bindings.iter().all(|all| covered(all, &self.agent, method, url))
    }
}

fn covered(bindings: &[Binding], agent: &str, method: &str, url: &Url) -> bool {
    bindings.iter().any(|binding| binding.covers(agent, method, url))
}

/// Where in a request a secret stands decides how its characters are written there.
#[derive(Clone, Copy)]
enum Written {
    Plain,
    InJson,
    InForm,
}

impl Written {
    /// In the body, as its content type says.
    fn in_body(request: &HttpRequest) -> Self {
        let header = request
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("content-type"));
        let media = header.map(|header| header.value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        match media.as_deref() {
            Some("application/x-www-form-urlencoded") => Self::InForm,
            Some(media) if media == "application/json" || media.ends_with("+json") => Self::InJson,
            _ => Self::Plain,
        }
    }

    fn write(self, value: &str) -> String {
        match self {
            Self::Plain => value.to_owned(),
            Self::InForm => url::form_urlencoded::byte_serialize(value.as_bytes()).collect(),
            Self::InJson => {
                let quoted = serde_json::to_string(value).unwrap_or_default();
                quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
            }
        }
    }
}

fn host_and_path(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{host}{port}{}", url.path())
}

fn refused(code: FailureCode, text: impl Into<String>) -> Failure {
    Failure::new(code, format!("{}; nothing was sent", text.into()))
}

/// Why a request cannot carry the secrets that it names, wherever they are bound to.
fn misplaced(request: &HttpRequest) -> Option<Failure> {
    let names = |text: &str| placeholder::secrets(text).next().is_some();
    let wrong = |text: &str| Some(refused(FailureCode::Invalid, text));
    if names(&request.url) {
        return wrong("a secret in the address would be read by whoever logs addresses: put it into a header or the body");
    }
    if request.headers.iter().any(|header| names(&header.name)) {
        return wrong("the name of a header cannot hold a secret");
    }
    let travels = |header: &&HttpHeader| TRAVELLING_HEADERS.iter().any(|name| header.name.eq_ignore_ascii_case(name));
    if request.headers.iter().filter(travels).any(|header| names(&header.value)) {
        return wrong("the headers Accept and User-Agent follow redirects to other hosts and cannot hold a secret");
    }
    if let Some(body @ Body::Base64(_)) = &request.body
        && names(&String::from_utf8_lossy(&body.to_bytes().unwrap_or_default()))
    {
        return wrong("only a body of text can hold a secret");
    }
    None
}

impl RunSecrets {
    /// What the run has sent before, so that a restart forgets nothing.
    pub(super) async fn load(app: &App, org: OrgId, run: RunId) -> Result<Self, Error> {
        let mine = Self {
            org,
            run,
            known: Mutex::default(),
        };
        mine.look_for_all(app).await?;
        Ok(mine)
    }

    /// Reads which secrets the run has sent, and looks for every version of them that there is.
    async fn look_for_all(&self, app: &App) -> Result<(), Error> {
        let (org, run) = (self.org, self.run);
        let found = app.store.read(move |reader| {
            let versions = rows::searched_for(reader, org, run)?;
            let all = versions
                .into_iter()
                .map(|(id, number)| Ok(((id, number), rows::version(reader, id, number)?)));
            all.collect::<Result<Vec<_>, _>>()
        });
        let found = found.await?;
        let versions: BTreeSet<_> = found.iter().map(|(key, _)| *key).collect();
        if versions.is_subset(&self.known().versions) {
            return Ok(());
        }
        let mut secrets: Vec<(String, Secret)> = self.known().redactor.secrets().to_vec();
        let mut trouble = None;
        for ((id, number), stored) in found {
            match values::value(app, id, number, &stored).await {
                Ok(value) => secrets.push((stored.name, value)),
                Err(error) => trouble = Some(error.to_string()),
            }
        }
        let redactor = Arc::new(Redactor::new(secrets));
        let mut known = self.known();
        known.redactor = redactor;
        known.versions.extend(versions);
        known.trouble = trouble;
        Ok(())
    }

    /// Looks for these as well: what a variable or a file holds may have changed since.
    fn look_for(&self, sent: &[(String, Secret)]) {
        let mut known = self.known();
        let all = known.redactor.secrets();
        if sent.iter().any(|(_, value)| !all.iter().any(|(_, known)| known == value)) {
            known.redactor = Arc::new(Redactor::new(all.iter().chain(sent).cloned()));
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn redactor(&self) -> Arc<Redactor> {
        Arc::clone(&self.known().redactor)
    }

    /// Puts the secrets in that a request names. Refused before anything is sent where they cannot stand there, where no binding lets
    /// this agent send them to this address, or where their values are not there.
    pub(super) async fn fill<'a>(
        &self,
        app: &App,
        caller: &Caller,
        rights: &Rights,
        request: &'a HttpRequest,
    ) -> Result<Filled<'a>, Failure> {
        if let Some(trouble) = self.known().trouble.clone() {
            let text = format!("the run has sent secrets that can no longer be looked for in answers: {trouble}");
            return Err(refused(FailureCode::Unavailable, text));
        }
        let names = policy::secrets_of(request);
        let mut filled = Filled {
            request: Cow::Borrowed(request),
            agent: caller.agent_name.clone(),
            bindings: Vec::new(),
            origin: None,
        };
        if names.is_empty() {
            return Ok(filled);
        }
        let url =
            Url::parse(&request.url).map_err(|error| refused(FailureCode::Invalid, format!("the address cannot be read: {error}")))?;
        if let Some(failure) = misplaced(request) {
            return Err(failure);
        }
        let mut known: Vec<(String, Secret)> = Vec::new();
        for name in names {
            let (value, bindings) = self.find(app, caller, rights, &name, &request.method, &url).await?;
            known.push((name, value));
            filled.bindings.push(bindings);
        }
        // Whatever is sent is looked for in what comes back, its earlier and later versions as well.
        let unavailable = |error: Error| refused(FailureCode::Unavailable, error.to_string());
        self.look_for_all(app).await.map_err(unavailable)?;
        self.look_for(&known);
        let put = |text: &str, written: Written| -> String {
            let parts = placeholder::parts(text).into_iter().map(|part| match part {
                Part::Text(text) => Cow::Borrowed(text),
                Part::Secret(name) => {
                    let value = known
                        .iter()
                        .find(|(known, _)| known == name)
                        .map_or("", |(_, value)| value.expose());
                    Cow::Owned(written.write(value))
                }
            });
            parts.collect()
        };
        let mut sent = request.clone();
        for header in &mut sent.headers {
            header.value = put(&header.value, Written::Plain);
        }
        if let Some(Body::Text(text)) = &sent.body {
            sent.body = Some(Body::Text(put(text, Written::in_body(request))));
        }
        filled.request = Cow::Owned(sent);
        filled.origin = Some(url.origin());
        Ok(filled)
    }

    /// The value that is sent now, noted as sent by this run.
    async fn find(
        &self,
        app: &App,
        caller: &Caller,
        rights: &Rights,
        name: &str,
        method: &str,
        url: &Url,
    ) -> Result<(Secret, Vec<Binding>), Failure> {
        if !rights.grants_secret(name) {
            let text = format!("the manifest grants no secret “{name}”; add it to capabilities.secrets");
            return Err(refused(FailureCode::Denied, text));
        }
        let (scope, wanted) = (caller.scope(), name.to_owned());
        let found = app.store.read(move |reader| {
            let own = rows::named(reader, Some(scope.org), Some(scope.workspace), Purpose::Agents, &wanted)?;
            let found = match own {
                Some(own) => Some(own),
                None => rows::named(reader, Some(scope.org), None, Purpose::Agents, &wanted)?,
            };
            let Some(secret) = found else { return Ok(None) };
            let version = rows::version(reader, secret.id, secret.current)?;
            Ok(Some((secret, version)))
        });
        let unavailable = |error: &dyn std::fmt::Display| {
            let text = format!("the secret “{name}” cannot be had: {error}");
            refused(FailureCode::Unavailable, text)
        };
        let found = found.await.map_err(|error| unavailable(&error))?;
        let Some((secret, version)) = found else {
            let text = format!("the station has no secret “{name}” for this workspace: an admin sets it on the page Settings, Secrets");
            return Err(refused(FailureCode::NotFound, text));
        };
        if !covered(&secret.bindings, &caller.agent_name, method, url) {
            let text = format!(
                "the secret “{name}” is not bound to {} {} for the agent “{}”: an admin binds it on the page Settings, Secrets",
                method.to_ascii_uppercase(),
                host_and_path(url),
                caller.agent_name
            );
            return Err(refused(FailureCode::Denied, text));
        }
        let value = values::value(app, secret.id, secret.current, &version)
            .await
            .map_err(|error| unavailable(&error))?;
        let (org, run, id, number, now) = (self.org, self.run, secret.id, secret.current, app.clock.now());
        let noted = app.store.write(move |tx| {
            rows::note_use(tx, org, run, id, number)?;
            rows::touch(tx, id, now.minus(TOUCH_EVERY), now)
        });
        noted.await.map_err(|error| unavailable(&error))?;
        Ok((value, secret.bindings))
    }

    /// Takes what was sent out of what a call came to.
    pub(super) fn clean(&self, performed: Performed) -> Performed {
        let redactor = self.redactor();
        Performed {
            result: clean_result(&redactor, performed.result),
            ..performed
        }
    }

    pub(super) fn clean_text(&self, text: String) -> String {
        self.redactor().text(&text).unwrap_or(text)
    }

    pub(super) fn clean_error(&self, error: &mut RunError) {
        error.message = self.clean_text(std::mem::take(&mut error.message));
        error.stack = error.stack.take().map(|stack| self.clean_text(stack));
    }

    pub(super) fn clean_entries(&self, entries: &mut [NewEntry]) {
        let redactor = self.redactor();
        if !redactor.is_empty() {
            for entry in entries {
                clean_entry(&redactor, entry);
            }
        }
    }

    /// Takes what was sent out of a call that has its effect in our own database, or shows it to people or a model.
    pub(super) fn clean_call(&self, pending: &mut PendingCall) {
        let redactor = self.redactor();
        if redactor.is_empty() {
            return;
        }
        clean_entry(&redactor, &mut pending.entry);
        let clean = |text: &mut String| {
            if let Some(clean) = redactor.text(text) {
                *text = clean;
            }
        };
        match &mut pending.call {
            Call::MemoryPut { key, value, .. } => {
                clean(key);
                clean(value);
            }
            Call::InboxReply { text } => clean(text),
            Call::AgentsStart { input, .. } => clean(input),
            Call::ArtifactsPut(info) => {
                if let Some(body) = pending.body.as_deref().and_then(|body| redactor.bytes(body)) {
                    *info = ArtifactInfo {
                        bytes: body.len() as u64,
                        digest: digest_of(&body),
                        ..info.clone()
                    };
                    pending.body = Some(body);
                }
            }
            Call::HttpSend(_) | Call::ModelsChat(_) => {
                let function = pending.call.function();
                let cleaned = redactor.text(&pending.call.to_json());
                let value = cleaned.and_then(|json| serde_json::from_str(&json).ok());
                if let Some(Ok(call)) = value.map(|value| Call::of_action(function, &value)) {
                    pending.call = call;
                }
            }
            _ => {}
        }
    }
}

fn digest_of(body: &[u8]) -> String {
    use sha2::Digest as _;
    format!("sha256:{}", hex::encode(&sha2::Sha256::digest(body)))
}

fn clean_failure(redactor: &Redactor, failure: Failure) -> Failure {
    match redactor.text(&failure.message) {
        Some(message) => Failure { message, ..failure },
        None => failure,
    }
}

fn clean_result(redactor: &Redactor, result: CallResult) -> CallResult {
    if redactor.is_empty() {
        return result;
    }
    let text = |text: String| redactor.text(&text).unwrap_or(text);
    match result {
        CallResult::Failed(failure) => CallResult::Failed(clean_failure(redactor, failure)),
        CallResult::Ok(Reply::Http(mut response)) => {
            for header in &mut response.headers {
                header.name = text(std::mem::take(&mut header.name));
                header.value = text(std::mem::take(&mut header.value));
            }
            response.url = text(response.url);
            let body = response.body.to_bytes().and_then(|body| redactor.bytes(&body));
            if let Some(body) = body {
                response.body = Body::from_bytes(body);
            }
            CallResult::Ok(Reply::Http(response))
        }
        CallResult::Ok(reply) => {
            let result = CallResult::Ok(reply);
            let Some(clean) = redactor.text(&result.to_json()) else {
                return result;
            };
            serde_json::from_str(&clean).unwrap_or_else(|_| {
                let text = "the answer held a secret in a way that could not be taken out of it";
                CallResult::Failed(Failure::new(FailureCode::Invalid, text))
            })
        }
    }
}

fn clean_entry(redactor: &Redactor, entry: &mut NewEntry) {
    if let Some(clean) = redactor.text(&entry.meta.to_string()) {
        entry.meta = serde_json::from_str(&clean).unwrap_or_else(|_| serde_json::json!({}));
    }
    for payload in [&mut entry.request, &mut entry.response].into_iter().flatten() {
        let clean = |text: &mut String| {
            if let Some(clean) = redactor.text(text) {
                *text = clean;
            }
        };
        match payload {
            Payload::Json(text) => clean(text),
            Payload::Chat { head, messages } => {
                clean(head);
                messages.iter_mut().for_each(clean);
            }
        }
    }
}
