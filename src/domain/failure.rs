//! Why a call failed, as an agent may catch it, and why a run ended.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable text of the code.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The code with this text.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($code => Some(Self::$variant),)* _ => None }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as ::serde::Deserialize>::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| <D::Error as ::serde::de::Error>::custom(format!("unknown code {text:?}")))
            }
        }
    };
}
pub(crate) use codes;

codes! {
    /// What a call's failure is, for the agent that made it.
    FailureCode {
        /// Not granted by the manifest, or refused by policy.
        Denied = "denied",
        NotFound = "not_found",
        /// The version asked for is not the one there.
        Conflict = "conflict",
        /// The call's own arguments are wrong.
        Invalid = "invalid",
        /// A named limit is passed.
        LimitExceeded = "limit_exceeded",
        Timeout = "timeout",
        RateLimited = "rate_limited",
        /// The other side cannot be reached, or its answer broke off.
        Unavailable = "unavailable",
        /// The model provider refused or answered nonsense.
        ProviderError = "provider_error",
        BudgetExhausted = "budget_exhausted",
        QuotaExhausted = "quota_exhausted",
        Cancelled = "cancelled",
        /// This station or provider cannot do it.
        Unsupported = "unsupported",
        /// The agent's own failure.
        AgentError = "agent_error",
    }
}

/// A failed call, live or replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    pub code: FailureCode,
    pub message: String,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// How long the other side, or the station for it, refuses calls without doing them; where it is set, nothing was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Messages of failures are cut to this many bytes.
pub const FAILURE_MESSAGE_BYTES_MAX: usize = 2048;

impl Failure {
    /// A failure that the same call would meet again.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > FAILURE_MESSAGE_BYTES_MAX {
            let end = message.floor_char_boundary(FAILURE_MESSAGE_BYTES_MAX);
            message.truncate(end);
            message.push('…');
        }
        Self {
            code,
            message,
            retryable: false,
            retry_after_ms: None,
        }
    }

    /// A failure that may pass.
    pub fn retryable(code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            retryable: true,
            ..Self::new(code, message)
        }
    }

    /// A call that was refused before anything was done, and that may be made again after `wait`.
    pub fn refused_for(code: FailureCode, wait: std::time::Duration, message: impl Into<String>) -> Self {
        Self {
            retry_after_ms: Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            ..Self::retryable(code, message)
        }
    }
}

codes! {
    /// Why a run failed or was cancelled.
    EndReason {
        FuelExhausted = "fuel_exhausted",
        MemoryLimit = "memory_limit",
        StackOverflow = "stack_overflow",
        Deadline = "deadline",
        JournalLimit = "journal_limit",
        Trap = "trap",
        AgentError = "agent_error",
        Denied = "denied",
        BudgetExhausted = "budget_exhausted",
        Nondeterminism = "nondeterminism",
        VersionDrift = "version_drift",
        Cancelled = "cancelled",
    }
}

impl EndReason {
    /// What it means and what to do next, for the person who reads the run's page.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::FuelExhausted => "It used up its fuel. Give it less to do, or raise limits.fuel in the manifest.",
            Self::MemoryLimit => "It asked for more memory than it may have. Raise limits.memory_bytes, or keep less at once.",
            Self::StackOverflow => "It called too deep. Look for a recursion that does not end.",
            Self::Deadline => "It ran longer than it may. Raise limits.run_seconds, or split the work into segments.",
            Self::JournalLimit => "It recorded more than it may. Log less, or raise limits.journal_bytes or limits.calls.",
            Self::Trap => "It hit an instruction that stops it: usually a panic or a failed assertion in the agent.",
            Self::AgentError => "The agent gave up and said why.",
            Self::Denied => "It did something it was not granted, and did not handle the refusal.",
            Self::BudgetExhausted => "The money it may spend is used up.",
            Self::Nondeterminism => "On replay it made another call than before, so the station stopped it.",
            Self::VersionDrift => "What it was built for is no longer in this station. Upload the agent again.",
            Self::Cancelled => "Someone stopped it.",
        }
    }

    /// How a run ends when the agent lets this failure through.
    pub const fn of_failure(code: FailureCode) -> Self {
        match code {
            FailureCode::Denied => Self::Denied,
            FailureCode::BudgetExhausted => Self::BudgetExhausted,
            _ => Self::AgentError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back() {
        for &code in FailureCode::ALL {
            assert_eq!(FailureCode::parse(code.as_str()), Some(code));
        }
        for &reason in EndReason::ALL {
            assert_eq!(EndReason::parse(reason.as_str()), Some(reason));
            assert!(!reason.explain().is_empty());
        }
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let failure = Failure::new(FailureCode::Invalid, "é".repeat(FAILURE_MESSAGE_BYTES_MAX));
        assert!(failure.message.len() <= FAILURE_MESSAGE_BYTES_MAX + '…'.len_utf8());
    }
}
