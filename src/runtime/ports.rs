//! What the sandbox needs from outside, implemented by `services::executor`.

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::domain::call::{Call, CallResult, EffectClass};
use crate::domain::failure::EndReason;
use crate::domain::journal::NewEntry;
use crate::domain::money::Charged;
use crate::domain::time::Timestamp;

/// Why the outside could not do its part. The run is left as it is, to go on from its journal.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PortError {
    /// Another start of the run holds it now.
    #[error("another start of this run has taken over")]
    Fenced,
    /// The run is held: none of the calls was begun.
    #[error("the run is held")]
    Held,
    #[error("{0}")]
    Unavailable(String),
    /// The run waits for someone else and is no longer in memory; it goes on by replay.
    #[error("the run is parked")]
    Parked,
}

/// A call that is about to be made, with the entry that will record it.
#[derive(Debug)]
pub struct PendingCall {
    pub call: Call,
    /// The body of an artifact that is put; calls carry only its digest.
    pub body: Option<Vec<u8>>,
    /// `phase`, `meta`, `request` and `response` are the port's to fill.
    pub entry: NewEntry,
    /// Tells calls apart that had the same number in the segment before and after a retry.
    pub generation: u32,
    pub resumed: Resumed,
}

/// What a recorded but unfinished call means on recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// The first time this call is made.
    No,
    /// Its intent is in the journal, its result is not: the station stopped in between.
    OpenIntent,
    /// It is in the journal that it waits.
    Waiting,
}

/// A call whose intent is durable.
#[derive(Debug)]
pub struct Intended {
    pub pending: PendingCall,
    /// Names this try's reservation in the ledger.
    pub tries: u32,
    /// The most that it may cost, which is kept for it.
    pub reserved_micros: u64,
}

/// How far a call got in one transaction.
#[derive(Debug)]
pub enum Begun {
    /// It is done; when its answer counts as delivered.
    Answered(CallResult, Timestamp),
    /// Its effect is outside and is to be performed now.
    Intended(Intended),
    /// Someone else completes it.
    Waiting(PendingCall),
    /// It was not begun: others have reserved the money that it may cost. To be asked for again when something was settled.
    InLine(PendingCall),
}

/// What came of waiting: calls by the places they were given with.
#[derive(Debug, Default)]
pub struct Woken {
    pub went_on: Vec<(usize, Begun)>,
    pub still: Vec<(usize, PendingCall)>,
}

/// One run's side of the world.
pub trait Port: Send + Sync + 'static {
    fn now(&self) -> Timestamp;

    /// Puts entries in line to be written, in order, before anything asked for later. Does not wait until they are durable.
    fn enqueue(&self, entries: Vec<NewEntry>) -> BoxFuture<'_, Result<(), PortError>>;

    /// In one durable transaction: writes `before`, decides by the policies of this moment, answers what they refuse, does the local calls
    /// with their entries, opens what is waited for, and writes the intents of the others. In the order of the calls.
    fn begin(&self, before: Vec<NewEntry>, calls: Vec<PendingCall>) -> BoxFuture<'_, Result<Vec<Begun>, PortError>>;

    /// Waits until one of the calls goes on; gives up the run's slot meanwhile.
    ///
    /// # Errors
    /// [`PortError::Parked`] where the instance is to be dropped.
    fn wait(&self, waiting: Vec<(usize, PendingCall)>) -> BoxFuture<'_, Result<Woken, PortError>>;

    /// Waits until calls in line have a reason to ask again: money came back, the run is to stop, or some time has passed.
    fn in_line(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Does the effect of an intended call. Never fails to answer: what goes wrong is the call's failure. Dropping the future gives the
    /// effect up; then [`Port::finish`] is called with the failure that the guest gets.
    fn perform<'a>(&'a self, intended: &'a Intended) -> BoxFuture<'a, Performed>;

    /// Writes the result of an intended call and settles what it cost. Returns when it is durable.
    fn finish(&self, intended: Intended, performed: Performed, at: Timestamp) -> BoxFuture<'_, Result<CallResult, PortError>>;

    /// The bytes of an artifact.
    fn artifact_bytes(&self, digest: &str) -> BoxFuture<'_, Result<Vec<u8>, PortError>>;
}

/// The outcome of an effect, with what it used as far as is known.
#[derive(Debug)]
pub struct Performed {
    pub result: CallResult,
    pub charged: Charged,
    /// From the start of a streamed reply to its first text.
    pub first_token_ms: Option<u64>,
}

impl Performed {
    /// A result that cost nothing.
    pub const fn free(result: CallResult) -> Self {
        Self {
            result,
            charged: Charged::Nothing,
            first_token_ms: None,
        }
    }
}

/// Stops a run from outside: the first reason given holds, but that a hold gives way to any other.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    why: Arc<OnceLock<StopReason>>,
    /// Cancelled by every reason, a hold included.
    any: CancellationToken,
}

/// Why a run is stopped from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The run ends so.
    End(EndReason),
    /// The station stops: the run is left to go on from its journal.
    Shutdown,
    /// The run is held: it is left like that, once the call that is under way has its result.
    Hold,
    /// The quota of the question that the segment answers is used up.
    Abandon,
}

impl Stop {
    pub fn stop(&self, reason: StopReason) {
        if reason != StopReason::Hold {
            // The first reason holds; a later one changes nothing.
            _ = self.why.set(reason);
            self.token.cancel();
        }
        self.any.cancel();
    }

    pub fn reason(&self) -> Option<StopReason> {
        if self.token.is_cancelled() {
            self.why.get().copied()
        } else {
            self.any.is_cancelled().then_some(StopReason::Hold)
        }
    }

    pub async fn stopped(&self) {
        self.any.cancelled().await;
    }

    /// Resolves where a call that is under way is to be given up: a hold waits for its result.
    pub async fn interrupted(&self) {
        self.token.cancelled().await;
    }
}

/// A recorded guest entry, as replay reads it.
#[derive(Clone, Debug)]
pub struct RecordedEntry {
    pub at: Timestamp,
    pub call: u32,
    pub sub: Option<u32>,
    pub phase: crate::domain::journal::Phase,
    pub kind: String,
    pub class: Option<EffectClass>,
    pub fingerprint: [u8; 16],
    pub fuel: u64,
    /// The result, JSON of [`CallResult`].
    pub response: Option<String>,
}
