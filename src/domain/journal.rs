//! The entries of a run's journal.

use serde::{Deserialize, Serialize};

use super::call::EffectClass;
use super::failure::codes;
use super::id::PrincipalId;
use super::time::Timestamp;

codes! {
    /// Who wrote an entry: the station on its own, or on behalf of a guest's call. Replay reads only `guest`.
    Lane {
        Station = "station",
        Guest = "guest",
    }
}

codes! {
    /// Which part of a call an entry is.
    Phase {
        /// The intent, before the effect.
        Start = "start",
        /// The result.
        End = "end",
        /// Intent and result in one, or something without duration.
        Point = "point",
    }
}

/// Kinds that the station itself writes. A guest call's kind is its function's name; what an agent emits is `emit`.
pub mod kind {
    pub const RUN_CREATED: &str = "run.created";
    pub const RUN_STARTED: &str = "run.started";
    pub const RUN_RECOVERED: &str = "run.recovered";
    pub const RUN_CANCEL_REQUESTED: &str = "run.cancel-requested";
    pub const RUN_FINISHED: &str = "run.finished";
    pub const SEGMENT_STARTED: &str = "segment.started";
    pub const SEGMENT_ENDED: &str = "segment.ended";
    /// The segment's quota was used up: what it did stays on the timeline, and replay ignores it.
    pub const SEGMENT_ABANDONED: &str = "segment.abandoned";
    /// A person or the API holds the run, or lets it go on.
    pub const RUN_PAUSED: &str = "run.paused";
    pub const RUN_RESUMED: &str = "run.resumed";
    /// Somebody took the place of the starter, who may not have runs any more.
    pub const RUN_ADOPTED: &str = "run.adopted";
    /// In the guest's lane: what was recorded of this call's failures, and of the calls after it, no longer holds.
    pub const RUN_RETRIED: &str = "run.retried";
    /// A limit is near.
    pub const LIMIT_NEAR: &str = "limit.near";
    pub const RUN_VERIFIED: &str = "run.verified";
    /// The first entry of a fork: where it comes from, and whether a response was edited.
    pub const RUN_FORKED: &str = "run.forked";
    pub const APPROVAL_REQUESTED: &str = "approval.requested";
    /// One of several people has said what they think.
    pub const APPROVAL_VOTED: &str = "approval.voted";
    pub const APPROVAL_DECIDED: &str = "approval.decided";
    pub const APPROVAL_EXPIRED: &str = "approval.expired";
    pub const APPROVAL_WITHDRAWN: &str = "approval.withdrawn";
    /// A message came in; its text is the request.
    pub const MESSAGE_RECEIVED: &str = "message.received";
    /// A child has ended, or has answered a question.
    pub const CHILD_FINISHED: &str = "child.finished";
    pub const CHILD_ANSWERED: &str = "child.answered";
}

/// Who may see an entry: 0 for members who may read the run; bit 0 spectators, bits 1 to 31 seats.
pub type Audience = u32;

/// An entry that is yet to be written; the store gives it its `seq`.
#[derive(Clone, Debug)]
pub struct NewEntry {
    pub at: Timestamp,
    pub lane: Lane,
    pub attempt: u32,
    pub segment: u32,
    /// Ordinal of the guest's call in its segment.
    pub call: Option<u32>,
    /// Ordinal within `calls.all`.
    pub sub: Option<u32>,
    pub phase: Phase,
    pub kind: String,
    pub class: Option<EffectClass>,
    /// Of function and arguments, see [`super::call::fingerprint`].
    pub fingerprint: Option<[u8; 16]>,
    /// Fuel that the segment had used when the guest made the call.
    pub fuel: Option<u64>,
    /// The innermost open step, by the ordinal of the call that opened it.
    pub step: Option<u32>,
    pub actor: Option<PrincipalId>,
    pub audience: Audience,
    /// A JSON object of at most `META_BYTES_MAX`: what a list shows without opening the payloads.
    pub meta: serde_json::Value,
    pub request: Option<Payload>,
    pub response: Option<Payload>,
}

impl NewEntry {
    /// An entry of the station's own.
    pub fn station(at: Timestamp, kind: &str, meta: serde_json::Value) -> Self {
        Self {
            at,
            lane: Lane::Station,
            attempt: 0,
            segment: 0,
            call: None,
            sub: None,
            phase: Phase::Point,
            kind: kind.to_owned(),
            class: None,
            fingerprint: None,
            fuel: None,
            step: None,
            actor: None,
            audience: 0,
            meta,
            request: None,
            response: None,
        }
    }

    /// Bytes that count against a run's journal limit: payloads, summary, and the row itself.
    pub fn journal_bytes(&self) -> u64 {
        const ROW: usize = 96;
        let payload = |p: &Option<Payload>| p.as_ref().map_or(0, Payload::len);
        (ROW + self.kind.len() + payload(&self.request) + payload(&self.response)) as u64
    }
}

/// JSON bytes of a request or a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    Json(String),
    /// A chat request: its messages are stored one by one, so that a long conversation is stored once.
    Chat {
        /// The request without its messages, a JSON object.
        head: String,
        /// Each message, JSON.
        messages: Vec<String>,
    },
}

impl Payload {
    pub fn len(&self) -> usize {
        match self {
            Self::Json(text) => text.len(),
            Self::Chat { head, messages } => head.len() + messages.iter().map(String::len).sum::<usize>(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole as one JSON text.
    pub fn to_json(&self) -> String {
        match self {
            Self::Json(text) => text.clone(),
            Self::Chat { head, messages } => {
                let body = head.trim().trim_start_matches('{').trim_end_matches('}');
                let comma = if body.is_empty() { "" } else { "," };
                format!("{{\"messages\":[{}]{comma}{body}}}", messages.join(","))
            }
        }
    }
}

/// An entry as it was written.
#[derive(Clone, Debug)]
pub struct Entry {
    pub seq: u64,
    pub at: Timestamp,
    pub lane: Lane,
    pub attempt: u32,
    pub segment: u32,
    pub call: Option<u32>,
    pub sub: Option<u32>,
    pub phase: Phase,
    pub kind: String,
    pub class: Option<EffectClass>,
    pub fingerprint: Option<[u8; 16]>,
    pub fuel: Option<u64>,
    pub step: Option<u32>,
    pub actor: Option<PrincipalId>,
    pub audience: Audience,
    /// A JSON object, as text.
    pub meta: String,
    pub request: PayloadRef,
    pub response: PayloadRef,
}

/// Whether a payload was erased: `{"erased": …, "hash": …}` stands in its place.
pub fn is_erased(payload: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(payload).is_ok_and(|value| value.get("erased").is_some() && value.get("hash").is_some())
}

/// Where an entry's payload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadRef {
    None,
    /// In the entry, JSON.
    Inline(String),
    /// Beside the journal, under this hash.
    Stored {
        hash: [u8; 32],
        bytes: u64,
    },
}

/// One entry as clients get it: REST, SSE and WebSocket alike.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EntryView {
    pub seq: u64,
    /// Milliseconds since 1970 UTC.
    pub at: i64,
    pub lane: Lane,
    pub attempt: u32,
    pub segment: u32,
    pub call: Option<u32>,
    pub sub: Option<u32>,
    pub phase: Phase,
    pub kind: String,
    pub class: Option<EffectClass>,
    pub fuel: Option<u64>,
    pub step: Option<u32>,
    pub actor: Option<PrincipalId>,
    pub audience: Audience,
    pub meta: Box<serde_json::value::RawValue>,
    /// The request where it is small.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Box<serde_json::value::RawValue>>,
    /// The response where it is small.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Box<serde_json::value::RawValue>>,
    /// Bytes of the request, 0 where there is none; the text is at `…/events/{seq}` where it is not here.
    pub request_bytes: u64,
    pub response_bytes: u64,
}

impl From<&Entry> for EntryView {
    fn from(entry: &Entry) -> Self {
        let inline = |payload: &PayloadRef| match payload {
            PayloadRef::Inline(text) => serde_json::value::RawValue::from_string(text.clone()).ok(),
            PayloadRef::None | PayloadRef::Stored { .. } => None,
        };
        let bytes = |payload: &PayloadRef| match payload {
            PayloadRef::None => 0,
            PayloadRef::Inline(text) => text.len() as u64,
            PayloadRef::Stored { bytes, .. } => *bytes,
        };
        Self {
            seq: entry.seq,
            at: entry.at.as_ms(),
            lane: entry.lane,
            attempt: entry.attempt,
            segment: entry.segment,
            call: entry.call,
            sub: entry.sub,
            phase: entry.phase,
            kind: entry.kind.clone(),
            class: entry.class,
            fuel: entry.fuel,
            step: entry.step,
            actor: entry.actor,
            audience: entry.audience,
            meta: serde_json::value::RawValue::from_string(entry.meta.clone()).unwrap_or_default(),
            request: inline(&entry.request),
            response: inline(&entry.response),
            request_bytes: bytes(&entry.request),
            response_bytes: bytes(&entry.response),
        }
    }
}
