//! Where a request came from, for the audit log.

use std::net::IpAddr;

/// What is known of the request that an action is part of; nothing where the station acts by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    pub request_id: Option<String>,
    /// The client's, behind a trusted proxy the one that the proxy saw.
    pub address: Option<IpAddr>,
    pub user_agent: Option<String>,
}
