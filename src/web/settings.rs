//! What the web layer was configured with, in the form in which it is asked.

use std::net::IpAddr;

use url::{Host, Origin, Url};

use super::connections::Patience;
use crate::config::Settings as Config;
use crate::config::cidr::Cidr;
use crate::config::settings::PublicUrl;
pub use crate::config::settings::Rates;

/// The web layer's settings; one for all workers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where people reach the station, if that is not where it listens.
    pub public_url: Option<PublicUrl>,
    pub trusted_proxies: Vec<Cidr>,
    /// Whether any name may lead here: the operator said that this network is to be trusted.
    pub any_host: bool,
    pub rates: Rates,
    /// Connections at one time.
    pub connections: u32,
    pub connections_per_address: u32,
    pub patience: Patience,
}

impl Default for Settings {
    fn default() -> Self {
        Self::from(&Config::default())
    }
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        let server = &config.server;
        Self {
            public_url: server.public_url.clone(),
            trusted_proxies: server.trusted_proxies.clone(),
            any_host: server.public_url.is_none() && (server.insecure_listen || !server.listen.ip().is_loopback()),
            rates: config.rates,
            connections: server.connections,
            connections_per_address: server.connections_per_address,
            patience: Patience::default(),
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

    /// Whether a request that asks for `host` (a name and maybe a port) is meant for this station. Another name in front of
    /// our address is a proxy that was set up wrongly, or a page of a stranger whose name leads here (DNS rebinding).
    ///
    /// On the machine itself the loopback addresses are right as well.
    pub fn is_own_host(&self, host: &str, from_here: bool) -> bool {
        let scheme = self
            .public_url
            .as_ref()
            .map_or("http", |url| if url.is_https() { "https" } else { "http" });
        let Ok(asked) = Url::parse(&format!("{scheme}://{host}/")) else {
            return false;
        };
        // What is no bare host and port parses as something else, too.
        if asked.path() != "/" || !asked.username().is_empty() || asked.query().is_some() || asked.fragment().is_some() {
            return false;
        }
        if self.any_host || (from_here && is_loopback(&asked)) {
            return true;
        }
        match &self.public_url {
            Some(public) => asked.origin().ascii_serialization() == public.as_str(),
            None => is_loopback(&asked),
        }
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

/// Whether the address names this machine only.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name == "localhost" || name.ends_with(".localhost")
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(public_url: &str) -> Settings {
        Settings {
            public_url: Some(public_url.to_owned().try_into().unwrap()),
            ..Settings::default()
        }
    }

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
        let settings = behind("https://station.example/");
        assert!(settings.is_own_origin("https://station.example", "10.0.0.5:8700"));
        assert!(!settings.is_own_origin("http://station.example", "station.example"));
    }

    #[test]
    fn a_station_of_one_machine_answers_to_names_of_that_machine_only() {
        let settings = Settings::default();
        for host in ["127.0.0.1:8700", "localhost", "LOCALHOST:8700", "[::1]:8700", "station.localhost"] {
            assert!(settings.is_own_host(host, true), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8700",
            "192.168.1.5:8700",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            "evil.example/@127.0.0.1",
            "x@127.0.0.1",
            "127.0.0.1#",
            "127.0.0.1?",
        ] {
            assert!(!settings.is_own_host(host, true), "{host}");
        }
    }

    #[test]
    fn with_a_public_address_only_that_host_is_ours_but_for_the_machine_itself() {
        let settings = behind("https://station.example");
        assert!(settings.is_own_host("station.example", false));
        assert!(settings.is_own_host("STATION.example:443", false));
        assert!(!settings.is_own_host("station.example:8443", false));
        assert!(!settings.is_own_host("evil.example", true));
        assert!(settings.is_own_host("127.0.0.1:8700", true));
        assert!(!settings.is_own_host("127.0.0.1:8700", false));
    }

    #[test]
    fn on_a_network_that_is_trusted_any_name_leads_here() {
        let settings = Settings {
            any_host: true,
            ..Settings::default()
        };
        assert!(settings.is_own_host("station.lan:8700", false));
        assert!(!settings.is_own_host("a b", false));
    }
}
