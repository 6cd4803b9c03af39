//! What a run does outside itself: requests, with a note of whom they reach, and tools.

use std::collections::HashMap;
use std::sync::PoisonError;

use super::RunPort;
use crate::domain::call::{Call, CallResult, HttpRequest, Reply};
use crate::domain::contact::Contact;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::journal::NewEntry;
use crate::domain::policy;
use crate::net::Trail;
use crate::runtime::ports::{PendingCall, Performed, Resumed};
use crate::services::executor::effects;
use crate::services::tools;

/// A call, and its place among those made at once.
fn place(entry: &NewEntry) -> (u32, u32) {
    (entry.call.unwrap_or(0), entry.sub.unwrap_or(0))
}

impl RunPort {
    /// What granted tools answer that touch nothing, by their call's place among those made at once. Computed before the transaction that
    /// decides about them and journals it.
    pub(super) async fn computed(&self, calls: &[PendingCall]) -> HashMap<u32, Result<String, Failure>> {
        let mut found = HashMap::new();
        for pending in calls.iter().filter(|pending| pending.resumed == Resumed::No) {
            if let Call::ToolsCall { name, arguments } = &pending.call
                && self.rights.granted().tools.contains(name)
                && let Some(answer) = tools::computed(name, arguments).await
            {
                found.insert(pending.entry.sub.unwrap_or(0), answer);
            }
        }
        found
    }

    pub(super) async fn send(&self, pending: &PendingCall, request: &HttpRequest) -> Performed {
        let key = policy::idempotency_header(self.rights.granted(), &pending.call)
            .map(|header| (header.to_owned(), self.idempotency_key(&pending.entry, pending.generation)));
        let trail = Trail::default();
        // It is read when the call has ended, even if it is given up before.
        self.trails
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(place(&pending.entry), trail.clone());
        effects::http(&self.app, &self.caller, &self.rights, &self.secrets, request, key, &trail).await
    }

    /// Whom a call has reached that has ended.
    pub(super) fn reached(&self, entry: &NewEntry) -> Vec<Contact> {
        let mut trails = self.trails.lock().unwrap_or_else(PoisonError::into_inner);
        trails.remove(&place(entry)).unwrap_or_default().contacts()
    }

    /// Does what a tool stands for, or what it computes, where that was asked about first.
    pub(super) async fn perform_tool(&self, pending: &PendingCall, name: &str, arguments: &serde_json::Value) -> Performed {
        if let Some(Call::HttpSend(request)) = pending.call.stands_for() {
            let performed = self.send(pending, &request).await;
            return Performed {
                result: tools::result_of(arguments, performed.result),
                ..performed
            };
        }
        Performed::free(match tools::computed(name, arguments).await {
            Some(Ok(answer)) => CallResult::Ok(Reply::ToolResult(answer)),
            Some(Err(failure)) => CallResult::Failed(failure),
            None => CallResult::Failed(Failure::new(
                FailureCode::Invalid,
                format!("{name} cannot be used with these arguments"),
            )),
        })
    }
}
