//! Limits with names. Those an agent may lower or raise are in [`AgentLimits`]; the rest hold for the whole station.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bytes of an uploaded component or script.
pub const CODE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a JavaScript agent's source.
pub const SOURCE_BYTES_MAX: usize = 1024 * 1024;
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024;
pub const README_BYTES_MAX: usize = 256 * 1024;
pub const INPUT_SCHEMA_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a run's input.
pub const INPUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a run's output.
pub const OUTPUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the state that one segment leaves to the next.
pub const STATE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of one call's request or response, but for artifacts.
pub const PAYLOAD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Payloads of at most this many bytes stand in the journal row itself.
pub const PAYLOAD_INLINE_BYTES_MAX: usize = 512;
/// Bytes of an entry's summary.
pub const META_BYTES_MAX: usize = 1024;
pub const ARTIFACT_BYTES_MAX: usize = 32 * 1024 * 1024;
pub const ARTIFACTS_PER_RUN_MAX: u32 = 256;
/// Bytes of one stored chunk of a blob.
pub const BLOB_CHUNK_BYTES: usize = 256 * 1024;
pub const MEMORY_KEY_BYTES_MAX: usize = 256;
pub const MEMORY_VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Keys that one agent may remember in one environment.
pub const MEMORY_KEYS_MAX: u32 = 100_000;
pub const MEMORY_PAGE_MAX: u32 = 200;
/// Calls in one `calls.all`.
pub const CALLS_AT_ONCE_MAX: usize = 64;
/// Bytes of a log line, progress message, step name or emitted datum.
pub const LOG_BYTES_MAX: usize = 8 * 1024;
pub const STEP_NAME_BYTES_MAX: usize = 120;
pub const STEP_DEPTH_MAX: usize = 32;
/// Bytes of an outbound HTTP body, either way.
pub const HTTP_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
pub const HTTP_REDIRECTS_MAX: u32 = 5;
pub const HTTP_HEADERS_MAX: usize = 64;
/// Output tokens of a chat that names no cap.
pub const OUTPUT_TOKENS_DEFAULT: u32 = 4096;
/// Entries or rows in one page of a list.
pub const PAGE_MAX: u32 = 500;
pub const PAGE_DEFAULT: u32 = 50;
/// Deltas kept in memory for one run, in bytes.
pub const DELTA_RING_BYTES: usize = 64 * 1024;
/// Bytes of a request's JSON body, but for uploads.
pub const JSON_BODY_BYTES_MAX: usize = INPUT_BYTES_MAX + 64 * 1024;
pub const NAME_BYTES_MAX: usize = 64;
/// How long a deleted organization can be restored.
pub const ORG_GRACE: Duration = Duration::from_hours(14 * 24);
/// Runs that may wait in one organization's queue.
pub const QUEUED_RUNS_MAX: u32 = 10_000;

/// Milliseconds of the longest wait: a year.
pub const WAIT_MS_MAX: u64 = 366 * 24 * 3600 * 1000;
/// Waits that one segment may have open.
pub const WAITS_OPEN_MAX: u32 = 256;
/// How long a decision is waited for where nobody says: a week.
pub const APPROVAL_MS_DEFAULT: u64 = 7 * 24 * 3600 * 1000;
/// Bytes of an approval's action and of its reason.
pub const ACTION_BYTES_MAX: usize = 120;
pub const REASON_BYTES_MAX: usize = 8 * 1024;
/// Bytes of an approval's arguments.
pub const ARGUMENTS_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a message or a reply.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Messages that a run may have waiting.
pub const MESSAGES_WAITING_MAX: u32 = 1_000;
/// Runs above a run: its parent, its parent's parent, and so on.
pub const CHILD_DEPTH_MAX: u32 = 8;
/// Children that one run may start.
pub const CHILDREN_MAX: u32 = 1_000;
/// How often one agent may stand in a chain of parents: bounds agents that start each other.
pub const SAME_AGENT_IN_CHAIN_MAX: usize = 3;
/// Calls and journal bytes of a run over all its turns; a turn has the agent's own limits.
pub const RUN_CALLS_MAX: u64 = 10_000_000;
pub const RUN_JOURNAL_BYTES_MAX: u64 = 10 << 30;

/// What one run of an agent may use. Every field has a default and a ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentLimits {
    /// Instructions of a segment, in wasmtime's fuel.
    pub fuel: u64,
    /// All linear memories and tables of an instance.
    pub memory_bytes: u64,
    /// One host call, in milliseconds.
    pub call_ms: u64,
    /// The whole run while it is not waiting, in seconds.
    pub run_seconds: u64,
    /// Host calls of a run, timeline calls included.
    pub calls: u64,
    /// Bytes that a run may add to the journal.
    pub journal_bytes: u64,
    /// What a run and the runs below it may cost, in micro-dollars; the ceiling is as good as none.
    pub cost_micros: u64,
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self {
            fuel: 2_000_000_000,
            memory_bytes: 64 << 20,
            call_ms: 60_000,
            run_seconds: 300,
            calls: 10_000,
            journal_bytes: 20 << 20,
            cost_micros: Self::CEILING.cost_micros,
        }
    }
}

impl AgentLimits {
    /// The most that a manifest may ask for.
    pub const CEILING: Self = Self {
        fuel: 1_000_000_000_000,
        memory_bytes: 256 << 20,
        call_ms: 600_000,
        run_seconds: 86_400,
        calls: 100_000,
        journal_bytes: 200 << 20,
        cost_micros: 1_000_000_000_000,
    };
    /// The least that lets anything run.
    pub const FLOOR: Self = Self {
        fuel: 1_000_000,
        memory_bytes: 2 << 20,
        call_ms: 10,
        run_seconds: 1,
        calls: 1,
        journal_bytes: 4 << 10,
        cost_micros: 0,
    };

    /// What a run may cost, in micro-dollars, where the limit is less than the ceiling.
    pub fn cost_budget(&self) -> Option<u64> {
        Some(self.cost_micros).filter(|&micros| micros < Self::CEILING.cost_micros)
    }

    /// The lesser of each limit.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        Self {
            fuel: self.fuel.min(other.fuel),
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            call_ms: self.call_ms.min(other.call_ms),
            run_seconds: self.run_seconds.min(other.run_seconds),
            calls: self.calls.min(other.calls),
            journal_bytes: self.journal_bytes.min(other.journal_bytes),
            cost_micros: self.cost_micros.min(other.cost_micros),
        }
    }

    /// Name, value, floor and ceiling of each limit, for checks and tables.
    pub fn fields(&self) -> [(&'static str, u64, u64, u64); 7] {
        let (low, high) = (Self::FLOOR, Self::CEILING);
        [
            ("fuel", self.fuel, low.fuel, high.fuel),
            ("memory_bytes", self.memory_bytes, low.memory_bytes, high.memory_bytes),
            ("call_ms", self.call_ms, low.call_ms, high.call_ms),
            ("run_seconds", self.run_seconds, low.run_seconds, high.run_seconds),
            ("calls", self.calls, low.calls, high.calls),
            ("journal_bytes", self.journal_bytes, low.journal_bytes, high.journal_bytes),
            ("cost_micros", self.cost_micros, low.cost_micros, high.cost_micros),
        ]
    }
}
