//! The way out: one guarded client for agents, one for the servers an operator named.
//!
//! The only place that knows reqwest and lettre. [`Client`] checks scheme, grant, address, every redirect and every size;
//! [`Upstream`] talks to exactly one configured origin, which may be private; [`mail`] hands letters to one server.

mod address;
pub mod breaker;
mod client;
mod content;
pub mod mail;
pub mod sse;
#[cfg(test)]
pub(crate) mod test_server;
mod tls;
mod trail;
mod upstream;
mod vetter;

pub use self::client::{Allow, Client, Lookup, Policy, Request, Response};
pub use self::trail::Trail;
pub use self::upstream::{NoAnswer, Stream, Upstream};
pub use self::vetter::Vetter;
use crate::domain::failure::{Failure, FailureCode};

/// Why nothing came back, in words for the one who asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Not granted, or not an address that agents may reach.
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    LimitExceeded(String),
    #[error("{0}")]
    Timeout(String),
    /// No such name, no connection, or an answer that broke off.
    #[error("{0}")]
    Unavailable(String),
}

impl Error {
    pub const fn code(&self) -> FailureCode {
        match self {
            Self::Invalid(_) => FailureCode::Invalid,
            Self::Denied(_) => FailureCode::Denied,
            Self::LimitExceeded(_) => FailureCode::LimitExceeded,
            Self::Timeout(_) => FailureCode::Timeout,
            Self::Unavailable(_) => FailureCode::Unavailable,
        }
    }

    /// What reqwest says, without the address, which may hold what is not for logs.
    fn of_reqwest(error: reqwest::Error, host: &str) -> Self {
        if error.is_builder() {
            return Self::Invalid(format!("the request cannot be sent: {}", innermost(&error.without_url())));
        }
        if error.is_timeout() {
            return Self::Timeout(format!("{host} took too long"));
        }
        let doing = if error.is_connect() {
            "cannot connect to"
        } else {
            "lost the connection to"
        };
        Self::Unavailable(format!("{doing} {host}: {}", innermost(&error.without_url())))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Timeout(_) | Error::Unavailable(_) => Self::retryable(error.code(), error.to_string()),
            _ => Self::new(error.code(), error.to_string()),
        }
    }
}

/// The cause at the end of the chain: the others only say that there is one.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// What both clients have in common.
fn builder() -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(client::CONNECT_TIMEOUT)
        .user_agent(concat!("agentstation/", env!("CARGO_PKG_VERSION")));
    match tls::config() {
        Some(tls) => builder.tls_backend_preconfigured(tls),
        None => builder,
    }
}

#[cfg(test)]
mod tests;
