//! What the web layer was configured with, in the form in which it is asked.

use std::net::IpAddr;

use url::{Origin, Url};

use crate::config::cidr::Cidr;
use crate::config::settings::{PublicUrl, Server};

/// Requests that one key, session or address may make in a minute.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    pub api_reads: u32,
    pub api_writes: u32,
    pub sign_ins: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            api_reads: 60_000,
            api_writes: 60_000,
            sign_ins: 10,
        }
    }
}

/// The web layer's settings; one for all workers.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where people reach the station, if that is not where it listens.
    pub public_url: Option<PublicUrl>,
    pub trusted_proxies: Vec<Cidr>,
    pub rates: Rates,
}

impl From<&Server> for Settings {
    fn from(server: &Server) -> Self {
        Self {
            public_url: server.public_url.clone(),
            trusted_proxies: server.trusted_proxies.clone(),
            rates: Rates::default(),
        }
    }
}

impl Settings {
    /// Whether browsers reach the station over TLS.
    pub fn is_secure(&self) -> bool {
        self.public_url.as_ref().is_some_and(PublicUrl::is_https)
    }

    pub fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|range| range.contains(ip))
    }

    /// Whether a page of `origin` is ours, for a request sent to `host`.
    pub fn is_own_origin(&self, origin: &str, host: &str) -> bool {
        let Ok(origin) = Url::parse(origin) else { return false };
        if let Some(public) = &self.public_url {
            return origin.origin().ascii_serialization() == public.as_str();
        }
        matches!(origin.origin(), Origin::Tuple(scheme, ..) if scheme == "http" || scheme == "https")
            && Url::parse(&format!("{}://{host}", origin.scheme())).is_ok_and(|own| own.origin() == origin.origin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_public_address_the_origin_must_be_the_host_itself() {
        let settings = Settings::default();
        assert!(settings.is_own_origin("http://127.0.0.1:8700", "127.0.0.1:8700"));
        assert!(settings.is_own_origin("https://station.example", "station.example"));
        assert!(!settings.is_own_origin("http://127.0.0.1:9000", "127.0.0.1:8700"));
        assert!(!settings.is_own_origin("null", "127.0.0.1:8700"));
        assert!(!settings.is_own_origin("http://evil.example", "127.0.0.1:8700"));
    }

    #[test]
    fn with_a_public_address_only_that_origin_is_ours() {
        let settings = Settings {
            public_url: Some("https://station.example/".to_owned().try_into().unwrap()),
            ..Settings::default()
        };
        assert!(settings.is_own_origin("https://station.example", "10.0.0.5:8700"));
        assert!(!settings.is_own_origin("http://station.example", "station.example"));
    }
}
