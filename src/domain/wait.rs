//! What a run may wait for, and what comes of it: decisions, messages, answers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::CallResult;
use super::failure::codes;
use super::id::{MessageId, RunId};

codes! {
    /// What a person may answer to an approval.
    Verb {
        Approve = "approve",
        /// Approve with other arguments.
        Edit = "edit",
        Deny = "deny",
        /// Of a write with unknown outcome: it happened, and this is what it answered.
        Happened = "happened",
        /// Of a write with unknown outcome: it did not happen; send it again.
        SendAgain = "send_again",
        /// Of a write with unknown outcome: the call fails.
        Fail = "fail",
    }
}

codes! {
    /// Why a decision is asked for.
    ApprovalKind {
        /// The policy, or the agent beforehand, wants leave for one exact call.
        Action = "action",
        /// The agent has a question.
        Question = "question",
        /// The station stopped while a write was under way, and does not know whether it happened.
        UnknownOutcome = "unknown_outcome",
    }
}

codes! {
    ApprovalState {
        Pending = "pending",
        Decided = "decided",
        /// Nobody decided in time.
        Expired = "expired",
        /// What asked is no longer there.
        Withdrawn = "withdrawn",
    }
}

codes! {
    /// What it means when nobody has decided in time.
    OnTimeout {
        Cancel = "cancel",
        Deny = "deny",
    }
}

/// A decision that an agent asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalRequest {
    pub action: String,
    pub arguments: Value,
    pub reason: String,
    pub verbs: Vec<Verb>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    pub on_timeout: OnTimeout,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub verb: Verb,
    /// As edited, where they were.
    pub arguments: Value,
    pub reason: String,
    /// The name of who decided; empty where time did.
    pub by: String,
}

/// A message to a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub id: MessageId,
    pub text: String,
    pub sender: String,
    pub sent_ms: u64,
}

/// The most that one answer of a child may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// From the question to the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
}

/// A question to a child run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskRequest {
    pub run: RunId,
    pub message: String,
    pub quota: Quota,
}

/// What a child answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its replies, joined by line ends.
    pub text: String,
    /// JSON, where it ended with this answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// Something to wait for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    Timer { ms: u64 },
    Approval(ApprovalRequest),
    Message,
    Child { run: RunId },
    Ask(AskRequest),
}

/// The first of several waits that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    pub handle: Handle,
    pub outcome: Box<CallResult>,
}

/// An open wait, by the call that opened it: its ordinal times [`super::limits::CALLS_AT_ONCE_MAX`], plus its place among those made at once.
pub type Handle = u32;
