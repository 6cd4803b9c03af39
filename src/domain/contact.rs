//! Whom a run reached outside.

use super::time::Timestamp;

/// One hop of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// With its port where that is not the usual one.
    pub host: String,
    /// Whether it can change something there.
    pub is_write: bool,
    /// Bytes of address, headers and body.
    pub sent_bytes: u64,
    /// Bytes of headers and body of the answer, as they came over the line.
    pub received_bytes: u64,
}

/// A host, and what a run exchanged with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunHost {
    pub host: String,
    pub requests: u64,
    /// Of these, those that can change something there.
    pub writes: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

/// Hosts that are kept of one run; what goes to others is counted together, as [`OTHER_HOSTS`].
pub const HOSTS_PER_RUN_MAX: u32 = 500;
pub const OTHER_HOSTS: &str = "other hosts";
