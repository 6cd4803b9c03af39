//! Typed ids: a prefix that says what it is, and a UUID v7 in 26 characters that sort by time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::time::Timestamp;

/// Crockford's alphabet in lower case: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ENCODED_LEN: usize = 26;

/// A text that is not an id of the wanted kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an id of the form {prefix}_…")]
pub struct ParseIdError {
    prefix: &'static str,
}

fn encode(value: u128) -> String {
    (0..ENCODED_LEN)
        .rev()
        .filter_map(|i| {
            let index = usize::try_from((value >> (5 * i)) & 31).ok()?;
            ALPHABET.get(index).map(|&c| char::from(c))
        })
        .collect()
}

fn decode(text: &str) -> Option<u128> {
    if text.len() != ENCODED_LEN {
        return None;
    }
    text.bytes().try_fold(0_u128, |value, byte| {
        let digit = ALPHABET.iter().position(|&c| c == byte)?;
        value.checked_mul(32)?.checked_add(digit as u128)
    })
}

fn new_v7(now: Timestamp) -> Uuid {
    let ms = u64::try_from(now.as_ms()).unwrap_or(0);
    let seconds = ms / 1000;
    let nanos = u32::try_from(ms % 1000).unwrap_or(0) * 1_000_000;
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What every such id begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id, made at `now`.
            pub fn new(now: Timestamp) -> Self {
                Self(new_v7(now))
            }

            /// The least id that could have been made at `time`.
            pub fn earliest(time: Timestamp) -> Self {
                let ms = u128::try_from(time.as_ms()).unwrap_or(0);
                Self(Uuid::from_u128(ms << 80))
            }

            /// The id without its prefix.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, encode(self.0.as_u128()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.strip_prefix($prefix)
                    .and_then(|rest| rest.strip_prefix('_'))
                    .and_then(decode)
                    .map(|value| Self(Uuid::from_u128(value)))
                    .ok_or(ParseIdError { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A tenant.
    OrgId = "org";
    /// A team's project in an organization.
    WorkspaceId = "ws";
    /// Who acts: a user or a service.
    PrincipalId = "prn";
    /// A registry entry; never reused.
    AgentId = "agt";
    /// One immutable version of an agent.
    VersionId = "ver";
    /// One execution of one agent.
    RunId = "run";
    /// A decision asked of people.
    ApprovalId = "apr";
    /// A message to a run.
    MessageId = "msg";
    /// A browser's sign-in.
    SessionId = "ses";
    /// A link with which a person joins an organization.
    InvitationId = "inv";
    /// A person's passkey.
    PasskeyId = "pky";
    /// A server of language models.
    ProviderId = "prv";
    /// What a model costs from a date on.
    PriceId = "prc";
    SecretId = "sec";
    /// A key that seals secrets.
    DataKeyId = "dek";
    /// A limit on money over a time.
    BudgetId = "bud";
    /// Something that people are told.
    NotificationId = "ntf";
    /// Where notifications go beside the station.
    ChannelId = "chn";
    /// A line of the ledger.
    LedgerId = "led";
    /// One request to the server, as quoted in errors and logs.
    RequestId = "req";
    /// One start of the process, as leases name it.
    NodeId = "nod";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_and_parses_back() {
        let id = RunId::new(Timestamp::from_ms(1_763_700_000_123));
        let text = id.to_string();
        assert!(text.starts_with("run_"), "{text}");
        assert_eq!(text.len(), 4 + ENCODED_LEN);
        assert_eq!(text.parse::<RunId>(), Ok(id));
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let id = RunId::new(Timestamp::from_ms(5)).to_string();
        assert!(id.parse::<AgentId>().is_err());
        assert!("run_".parse::<RunId>().is_err());
        assert!("run_ilou0000000000000000000000".parse::<RunId>().is_err());
        assert!("run_zzzzzzzzzzzzzzzzzzzzzzzzzz".parse::<RunId>().is_err());
    }

    #[test]
    fn ids_sort_by_the_time_they_were_made() {
        let older = RunId::new(Timestamp::from_ms(1_000)).to_string();
        let newer = RunId::new(Timestamp::from_ms(2_000)).to_string();
        assert!(older < newer);
    }
}
