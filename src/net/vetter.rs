//! Vets where connections to a server go that an organization named, and that are kept.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use url::{Host, Url};

use super::Error;
use super::address::{self, Reach};
use super::client::{Lookup, refusal};

/// Vets the addresses of one server whose connections are kept: at each look-up, so that a name that moves inside is refused.
#[derive(Clone)]
pub struct Vetter {
    reach: Arc<Reach>,
    lookup: Lookup,
}

impl fmt::Debug for Vetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vetter").field("reach", &self.reach).finish_non_exhaustive()
    }
}

/// A refusal on its way through the connector, which knows errors as boxes only.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(Error);

impl Vetter {
    pub(super) const fn new(reach: Arc<Reach>, lookup: Lookup) -> Self {
        Self { reach, lookup }
    }

    /// Whether an address that is written as a number may be reached; names are vetted where they are looked up.
    ///
    /// # Errors
    /// [`Error::Denied`]
    pub(super) fn vet_literal(&self, url: &Url) -> Result<(), Error> {
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
            _ => return Ok(()),
        };
        self.vet_found(url, &ip.to_string(), vec![ip], false).map(drop)
    }

    /// # Errors
    /// [`Error::Denied`], or [`Error::Unavailable`] where the name has no address.
    pub(super) async fn vet(&self, url: &Url) -> Result<(), Error> {
        match url.host() {
            Some(Host::Domain(name)) => self.look_up(url, name).await.map(drop),
            _ => self.vet_literal(url),
        }
    }

    async fn look_up(&self, url: &Url, name: &str) -> Result<Vec<SocketAddr>, Error> {
        let found = (self.lookup)(name.to_owned())
            .await
            .map_err(|error| Error::Unavailable(format!("cannot find {name}: {error}")))?;
        self.vet_found(url, name, found, address::is_inside_name(name))
    }

    fn vet_found(&self, url: &Url, host: &str, found: Vec<IpAddr>, inside: bool) -> Result<Vec<SocketAddr>, Error> {
        let (port, plain) = (url.port_or_known_default().unwrap_or(443), url.scheme() == "http");
        if found.is_empty() {
            return Err(Error::Unavailable(format!("{host} has no address")));
        }
        let addresses: Vec<SocketAddr> = found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        for &address in &addresses {
            if let Err(what) = self.reach.vet(address, inside || plain) {
                return Err(refusal(host, what, plain));
            }
        }
        Ok(addresses)
    }

    pub(super) fn resolver(&self, url: &Url) -> Vetting {
        Vetting {
            vetter: self.clone(),
            url: url.clone(),
        }
    }

    /// What this refused, within an error of a connection.
    pub(super) fn denial(error: &reqwest::Error) -> Option<Error> {
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(one) = cause {
            if let Some(Refused(error)) = one.downcast_ref() {
                return Some(error.clone());
            }
            cause = one.source();
        }
        None
    }
}

/// Looks names up for one server and vets what is found.
pub(super) struct Vetting {
    vetter: Vetter,
    url: Url,
}

impl reqwest::dns::Resolve for Vetting {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let (vetter, url) = (self.vetter.clone(), self.url.clone());
        Box::pin(async move {
            let found = vetter.look_up(&url, name.as_str()).await;
            found
                .map(|addresses| -> reqwest::dns::Addrs { Box::new(addresses.into_iter()) })
                .map_err(|error| -> Box<dyn std::error::Error + Send + Sync> { Box::new(Refused(error)) })
        })
    }
}
