//! What is known of a request before anything else is done with it.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;
use actix_web::dev::ServiceRequest;
use actix_web::http::header;

use crate::domain::id::RequestId;
use crate::domain::origin::Origin;

use super::settings::Settings;

/// Of what a client says it is, what is kept.
const USER_AGENT_CHARS_MAX: usize = 200;

/// Facts about a request; it is in the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    pub id: RequestId,
    /// The client's address, behind a trusted proxy the one that the proxy saw.
    pub client: IpAddr,
    /// Whether a person reads the answer in a browser.
    pub html: bool,
}

impl Context {
    pub fn of(request: &ServiceRequest, id: RequestId, settings: &Settings) -> Self {
        let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip());
        let forwarded = request.headers().get("x-forwarded-for").and_then(|value| value.to_str().ok());
        Self {
            id,
            client: client_address(peer, forwarded, |ip| settings.trusts(ip)),
            html: wants_html(request),
        }
    }

    /// The context that the shell put into every request.
    pub fn get(request: &HttpRequest) -> Option<Self> {
        use actix_web::HttpMessage as _;
        request.extensions().get::<Self>().copied()
    }

    /// Where the request came from, for the audit log.
    pub fn origin(request: &HttpRequest) -> Origin {
        let user_agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let context = Self::get(request);
        Origin {
            request_id: context.map(|context| context.id.to_string()),
            address: context.map(|context| context.client),
            user_agent: user_agent.map(|text| text.chars().take(USER_AGENT_CHARS_MAX).collect()),
        }
    }
}

fn wants_html(request: &ServiceRequest) -> bool {
    if is_for_programs(request.path()) {
        return false;
    }
    request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

/// Paths whose answers are never a page.
pub fn is_for_programs(path: &str) -> bool {
    ["/api/", "/ws/", "/healthz", "/readyz", "/csp-reports"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

/// The nearest address that no trusted proxy stands at: proxies append, so it is read from the right.
fn client_address(peer: IpAddr, forwarded: Option<&str>, trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    let mut client = peer;
    for hop in forwarded.unwrap_or_default().rsplit(',') {
        if !trusted(client) {
            break;
        }
        match hop.trim().parse() {
            Ok(ip) => client = ip,
            Err(_) => break,
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &str) -> String {
        let trusted = |ip: IpAddr| ip.to_string().starts_with("10.");
        client_address(peer.parse().unwrap(), Some(forwarded), trusted).to_string()
    }

    #[test]
    fn a_forwarded_address_counts_only_behind_a_trusted_proxy() {
        assert_eq!(client("9.9.9.9", "1.1.1.1"), "9.9.9.9");
        assert_eq!(client("10.0.0.1", "1.1.1.1"), "1.1.1.1");
        assert_eq!(client("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2"), "1.1.1.1");
        assert_eq!(client("10.0.0.1", "nonsense"), "10.0.0.1");
    }
}
