//! The effects of calls: in our own database within a transaction, and outside it.

mod chat;
mod http;

use std::time::Duration;

use super::super::{plans, tools};
use super::caller::Caller;
use crate::domain::call::{ArtifactInfo, Call, CallResult, Reply};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::limits::ARTIFACTS_PER_RUN_MAX;
use crate::domain::time::Timestamp;
use crate::store::{self, Tx, artifacts, blobs, memory};

pub(super) use self::chat::chat;
pub(super) use self::http::http;

/// Does a call whose effect is in our own database. What the agent did wrong is its failure; what the database did is an error.
pub(super) fn local(tx: &Tx<'_>, caller: &Caller, call: &Call, now: Timestamp) -> Result<CallResult, store::Error> {
    if let (Call::ToolsCall { arguments, .. }, Some(behind)) = (call, call.stands_for()) {
        return Ok(tools::result_of(arguments, local(tx, caller, &behind, now)?));
    }
    let scope = memory::Scope {
        org: caller.org,
        agent: caller.agent,
        environment: &caller.environment,
    };
    let reply = match call {
        Call::MemoryGet { key } => memory::get(tx, scope, key).map(Reply::MemoryEntry),
        Call::MemoryPut { key, value, if_version } => memory::put(tx, scope, key, value, *if_version, now).map(Reply::MemoryVersion),
        Call::MemoryDelete { key, if_version } => memory::delete(tx, scope, key, *if_version, now).map(Reply::MemoryDeleted),
        Call::MemoryList { prefix, after, limit } => memory::list(tx, scope, prefix, after.as_deref(), *limit).map(Reply::MemoryPage),
        Call::MemorySearch { query, prefix, limit } => memory::search(tx, scope, query, prefix, *limit).map(Reply::MemoryPage),
        Call::ArtifactsPut(info) => check_artifact(tx, caller, info).map(|()| Reply::Artifact(info.clone())),
        Call::ArtifactsGet { name } => artifacts::find(tx, caller.org, caller.run, name).map(Reply::ArtifactFound),
        Call::ArtifactsList {} => artifacts::list(tx, caller.org, caller.run).map(Reply::Artifacts),
        _ => {
            return Err(store::Error::Internal(format!("{} is not local", call.function()).into()));
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
