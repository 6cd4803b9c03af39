//! What can go wrong with a use case, by what the caller can do about it.

use std::time::Duration;

use serde::Serialize;

use crate::crypto;
use crate::domain::manifest::Finding;
use crate::domain::permission::Permission;
use crate::store;

/// One field of an input and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON pointer into the input; empty for the whole.
    pub pointer: String,
    pub message: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} was not found")]
    NotFound(&'static str),
    #[error("this needs the permission {0}")]
    Forbidden(Permission),
    /// Whoever asks may do such things, but not this one; the text says why.
    #[error("{0}")]
    Refused(String),
    /// Nobody is told whether the account or the password was wrong.
    #[error("the e-mail address or the password is wrong")]
    WrongCredentials,
    /// Too many failed tries; how long to wait.
    #[error("too many failed tries; wait {} seconds", .0.as_secs())]
    RateLimited(Duration),
    #[error("some fields do not fit")]
    Invalid(Vec<FieldError>),
    /// An agent's files are wrong.
    #[error("the agent was not stored: {}", .0.first().map_or_else(String::new, ToString::to_string))]
    Rejected(Vec<Finding>),
    #[error("{0}")]
    Conflict(String),
    /// It would do these again.
    #[error("it would do again what was done: {}", .0.join("; "))]
    WouldRepeat(Vec<String>),
    #[error("{0}")]
    AlreadyExists(String),
    /// The organization's plan does not include more of it.
    #[error("{0}")]
    PlanLimit(String),
    #[error("{0}")]
    TooLarge(String),
    /// It may work a moment later.
    #[error("{0}")]
    Busy(String),
    /// What it needs is sealed, and the station's key is not there.
    #[error("{0}")]
    Sealed(String),
    #[error("the disk has no room")]
    StorageFull,
    /// The text is for the log, not for the user.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// One wrong field.
    pub fn field(pointer: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError {
            pointer: pointer.to_owned(),
            message: message.into(),
        }])
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NotFound => Self::NotFound("what was asked for"),
            store::Error::Conflict(what) => Self::Conflict(what),
            store::Error::Exists(what) => Self::AlreadyExists(what),
            store::Error::Limit(what) => Self::TooLarge(what),
            store::Error::Plan(what) => Self::PlanLimit(what),
            store::Error::Busy => Self::Busy("the station is writing more than it can; try again in a moment".to_owned()),
            store::Error::Full => Self::StorageFull,
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<crypto::Error> for Error {
    fn from(error: crypto::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<crate::runtime::Error> for Error {
    fn from(error: crate::runtime::Error) -> Self {
        Self::Internal(error.to_string())
    }
}
