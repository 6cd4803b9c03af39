//! The outside of a run that is executed again: there is none. A call that its journal does not answer is a difference.

use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;

use crate::domain::call::CallResult;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::hex;
use crate::domain::id::OrgId;
use crate::domain::journal::NewEntry;
use crate::domain::time::Timestamp;
use crate::runtime::ports::{Begun, Intended, PendingCall, Performed, Port, PortError, Woken};
use crate::services::App;

/// A call beyond what was recorded.
#[derive(Clone, Debug)]
pub(super) struct Beyond {
    pub call: u32,
    pub sub: Option<u32>,
    pub kind: String,
    /// JSON, where it has arguments.
    pub arguments: Option<String>,
}

impl Beyond {
    pub(super) fn of(entry: &NewEntry) -> Self {
        Self {
            call: entry.call.unwrap_or(0),
            sub: entry.sub,
            kind: entry.kind.clone(),
            arguments: entry.request.as_ref().map(crate::domain::journal::Payload::to_json),
        }
    }
}

/// Answers nothing, and remembers what was asked first.
pub(super) struct Nothing {
    app: App,
    org: OrgId,
    now: Timestamp,
    beyond: Mutex<Option<Beyond>>,
    /// Of an artifact whose bytes are gone.
    lost: Mutex<Option<String>>,
}

const NO_OUTSIDE: &str = "there is no outside while a run is verified";

impl Nothing {
    pub(super) fn new(app: &App, org: OrgId, now: Timestamp) -> Self {
        Self {
            app: app.clone(),
            org,
            now,
            beyond: Mutex::default(),
            lost: Mutex::default(),
        }
    }

    /// The first call that the journal did not answer.
    pub(super) fn beyond(&self) -> Option<Beyond> {
        self.beyond.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the journal names and the station no longer has.
    pub(super) fn lost(&self) -> Option<String> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refuse(&self, asked: Option<&NewEntry>) -> PortError {
        if let Some(entry) = asked {
            self.beyond
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert_with(|| Beyond::of(entry));
        }
        PortError::Unavailable(NO_OUTSIDE.to_owned())
    }
}

impl Port for Nothing {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn enqueue(&self, entries: Vec<NewEntry>) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(std::future::ready(Err(self.refuse(entries.first()))))
    }

    fn begin(&self, before: Vec<NewEntry>, calls: Vec<PendingCall>) -> BoxFuture<'_, Result<Vec<Begun>, PortError>> {
        let made = calls.first().map(|pending| &pending.entry);
        Box::pin(std::future::ready(Err(self.refuse(before.first().or(made)))))
    }

    fn wait(&self, waiting: Vec<(usize, PendingCall)>) -> BoxFuture<'_, Result<Woken, PortError>> {
        let made = waiting.first().map(|(_, pending)| &pending.entry);
        Box::pin(std::future::ready(Err(self.refuse(made))))
    }

    fn perform<'a>(&'a self, _: &'a Intended) -> BoxFuture<'a, Performed> {
        let failure = Failure::new(FailureCode::Denied, NO_OUTSIDE);
        Box::pin(std::future::ready(Performed::free(CallResult::Failed(failure))))
    }

    fn finish(&self, intended: Intended, _: Performed, _: Timestamp) -> BoxFuture<'_, Result<CallResult, PortError>> {
        Box::pin(std::future::ready(Err(self.refuse(Some(&intended.pending.entry)))))
    }

    fn artifact_bytes(&self, digest: &str) -> BoxFuture<'_, Result<Vec<u8>, PortError>> {
        let hash = digest.strip_prefix("sha256:").and_then(hex::decode);
        let digest = digest.to_owned();
        Box::pin(async move {
            let read = match hash {
                Some(hash) => self.app.blob(self.org, hash).await.map_err(|error| error.to_string()),
                None => Err("the journal names no digest".to_owned()),
            };
            read.map_err(|why| {
                let text = format!("the artifact {digest} is no longer there: {why}");
                self.lost
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert_with(|| text.clone());
                PortError::Unavailable(text)
            })
        })
    }
}
