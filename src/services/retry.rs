//! Whether a segment that failed is tried again from the call that failed, and what speaks against it.

use std::time::Duration;

use serde_json::json;

use super::App;
use crate::domain::call::{CallResult, EffectClass};
use crate::domain::failure::{EndReason, Failure, FailureCode};
use crate::domain::id::{OrgId, RunId};
use crate::domain::journal::{Lane, NewEntry, kind};
use crate::domain::retry::{RetryChange, RetryPolicy};
use crate::domain::supersede::{InForce, Standing};
use crate::domain::time::Timestamp;
use crate::store::{self, Reader, journal};

/// Writes named in a refusal.
const WRITES_NAMED_MAX: usize = 5;

/// The call that a run failed at, as the journal has it.
pub(super) struct FailedCall {
    pub call: u32,
    /// Of its failed parts, one that would only fail again where there is one.
    pub failure: Failure,
    /// A write without a key that may have happened although it failed.
    pub may_have_happened: bool,
    /// What was done after it.
    pub writes_after: Vec<Standing>,
}

/// Finds the last call that failed with `code` and still holds.
pub(super) fn failed_call(
    reader: &Reader<'_>,
    org: OrgId,
    run: RunId,
    segment: u32,
    code: FailureCode,
) -> Result<Option<FailedCall>, store::Error> {
    let in_force = InForce::of(journal::steps(reader, org, run, segment)?);
    let Some((call, parts)) = in_force.failed(code) else {
        return Ok(None);
    };
    let mut found: Option<Failure> = None;
    let mut may_have_happened = false;
    for part in parts {
        let Some(failure) = failure_of(reader, org, run, part)? else {
            continue;
        };
        may_have_happened |= part.class == Some(EffectClass::WriteOnce) && failure.retry_after_ms.is_none();
        found = Some(match found {
            None => failure,
            // All of them are made again: none may be one that would only fail again, and the latest time holds.
            Some(known) => Failure {
                retry_after_ms: known.retry_after_ms.max(failure.retry_after_ms),
                ..if known.retryable { failure } else { known }
            },
        });
    }
    Ok(found.map(|failure| FailedCall {
        call,
        failure,
        may_have_happened,
        writes_after: in_force.writes_after(call).into_iter().cloned().collect(),
    }))
}

fn failure_of(reader: &Reader<'_>, org: OrgId, run: RunId, part: &Standing) -> Result<Option<Failure>, store::Error> {
    let Some(seq) = part.end else { return Ok(None) };
    let entry = journal::get(reader, org, run, seq)?;
    let text = journal::payload_text(reader, org, &entry.response)?;
    Ok(text
        .and_then(|text| serde_json::from_str::<CallResult>(&text).ok())
        .and_then(|result| match result {
            CallResult::Failed(failure) => Some(failure),
            CallResult::Ok(_) => None,
        }))
}

/// What is to become of a segment whose agent let a failure through.
pub(super) enum Verdict {
    Again {
        call: u32,
        after: Duration,
    },
    /// It fails; the text says why it is not tried again, where that is not plain.
    Fails(Option<String>),
}

/// Judges a failure after `tries` automatic tries.
pub(super) fn judge(failed: Option<&FailedCall>, policy: &RetryPolicy, tries: u32, random: u64) -> Verdict {
    let Some(failed) = failed else { return Verdict::Fails(None) };
    let Some(after) = policy.delay(tries, &failed.failure, random) else {
        return Verdict::Fails((tries > 0).then(|| format!("It was tried {} times.", tries + 1)));
    };
    if failed.may_have_happened {
        let why = "It is not tried again by itself: the request that failed may have been carried out, and would be sent a second time.";
        return Verdict::Fails(Some(why.to_owned()));
    }
    if failed.writes_after.is_empty() {
        Verdict::Again { call: failed.call, after }
    } else {
        let writes = named(&failed.writes_after);
        Verdict::Fails(Some(format!(
            "It is not tried again by itself: {writes} came after the call that failed, and would be done a second time."
        )))
    }
}

/// “http.send and memory.put”.
pub(super) fn named(writes: &[Standing]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for write in writes {
        if !names.contains(&write.kind.as_str()) {
            names.push(&write.kind);
        }
    }
    let more = names.len().saturating_sub(WRITES_NAMED_MAX);
    names.truncate(WRITES_NAMED_MAX);
    if more > 0 {
        format!("{} and {more} more", names.join(", "))
    } else {
        names.join(" and ")
    }
}

/// The policy that holds for a run: the station's, with what its agent and its starter say otherwise.
pub(super) fn policy(app: &App, agent: &RetryChange, starter: &str) -> RetryPolicy {
    let starter: RetryChange = serde_json::from_str(starter).unwrap_or_default();
    app.config.runs.retry().with(agent).with(&starter)
}

/// The entry from which on the failed call, and those after it, no longer hold.
pub(super) fn marker(now: Timestamp, attempt: u32, segment: u32, call: u32, meta: serde_json::Value) -> NewEntry {
    NewEntry {
        lane: Lane::Guest,
        attempt,
        segment,
        call: Some(call),
        fingerprint: Some([0; 16]),
        fuel: Some(0),
        ..NewEntry::station(now, kind::RUN_RETRIED, meta)
    }
}

/// Why a person's retry of a run that ended so would only end so again.
pub(super) fn futile(reason: Option<EndReason>, code: Option<FailureCode>) -> Option<String> {
    let reason = reason?;
    match (reason, code) {
        (EndReason::BudgetExhausted, _) => None,
        (EndReason::AgentError, Some(FailureCode::Invalid | FailureCode::LimitExceeded)) => {
            Some("The call that failed would be made again with the same arguments, and be refused again. Correct the agent, then start it over.".to_owned())
        }
        (EndReason::AgentError, Some(code)) if code != FailureCode::AgentError => None,
        (EndReason::AgentError, _) => Some(
            "The agent itself gave up, and on the same answers it would give up again. Correct the agent or its input, then start it over."
                .to_owned(),
        ),
        (EndReason::Deadline, _) => {
            Some("Its time is used up, and a retry goes on where it stood. Raise limits.run_seconds, then start it over.".to_owned())
        }
        (reason, _) => Some(format!("A retry would only end in the same way. {} Then start it over.", reason.explain())),
    }
}

/// What the timeline says of an automatic retry.
pub(super) fn told(attempt: u32, of: u32, after: Duration, failure: &Failure) -> serde_json::Value {
    json!({
        "attempt": attempt,
        "of": of,
        "delay_ms": u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
        "reason": failure.code,
        "message": failure.message.chars().take(200).collect::<String>(),
    })
}
