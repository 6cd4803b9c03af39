//! The client that agents use. A name is looked up once, every address it has is vetted, and the connection goes to
//! exactly those; a redirect starts over. No connection is used twice, so tenants never share one.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::Method;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use url::{Host, Url};

use super::address::{self, Reach};
use super::content::{self, Body, Encoding};
use super::trail::Trail;
use super::vetter::Vetter;
use super::{Error, builder};
use crate::config::cidr::Cidr;
use crate::domain::contact::Contact;
use crate::domain::limits::{HTTP_BODY_BYTES_MAX, HTTP_HEADERS_MAX, HTTP_REDIRECTS_MAX};

/// For the look-up of a name, and again for the connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two pieces of an answer that has begun.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const URL_BYTES_MAX: usize = 8 * 1024;
/// Bytes of all headers, either way.
const HEADER_BYTES_MAX: usize = 64 * 1024;
const RESPONSE_HEADERS_MAX: usize = 2 * HTTP_HEADERS_MAX;
const METHODS: [&str; 7] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];

/// What the operator allows beyond public addresses over TLS.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    pub open_cidrs: Vec<Cidr>,
    /// Allows plain HTTP to public addresses; opened ranges always allow it.
    pub allow_http: bool,
    /// Where the station listens: never reachable, opened or not.
    pub own_addresses: Vec<SocketAddr>,
}

/// Finds the addresses of a name.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Whether a method may be used at an address; asked for every hop.
pub type Allow<'a> = &'a (dyn Fn(&str, &Url) -> bool + Send + Sync);

/// One request, before anything about it is believed.
pub struct Request<'a> {
    pub method: &'a str,
    pub url: &'a str,
    pub headers: &'a [(String, String)],
    pub body: Option<Vec<u8>>,
    /// For everything: look-ups, redirects, the last byte.
    pub timeout: Duration,
    /// Bytes of the response's body, after it is unpacked.
    pub body_bytes_max: usize,
    pub allow: Allow<'a>,
    /// Of a request that carries secrets: whether they may go to an address with a method; asked for every hop that still carries them. Such a
    /// request goes over TLS, or in the plain to an address that the operator opened, whatever else is allowed.
    pub secrets: Option<Allow<'a>>,
    /// Where to note whom it reaches.
    pub trail: &'a Trail,
}

/// What came back from the last hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// In the order of arrival, names in lower case, without cookies and what concerns the connection or the encoding.
    pub headers: Vec<(String, String)>,
    /// Unpacked.
    pub body: Vec<u8>,
    pub final_url: String,
    /// Redirects followed.
    pub hops: u32,
}

/// The guarded client; cheap to clone.
#[derive(Clone)]
pub struct Client {
    reach: Arc<Reach>,
    allow_http: bool,
    lookup: Lookup,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl Client {
    pub fn new(policy: Policy) -> Self {
        Self {
            reach: Arc::new(Reach {
                open: policy.open_cidrs,
                own: policy.own_addresses,
            }),
            allow_http: policy.allow_http,
            lookup: Arc::new(|host| Box::pin(system_lookup(host))),
        }
    }

    /// The same client with another way to find addresses.
    #[must_use]
    pub fn with_lookup(self, lookup: Lookup) -> Self {
        Self { lookup, ..self }
    }

    /// What vets the addresses of a server that an organization named, by the same rules.
    pub fn vetter(&self) -> Vetter {
        Vetter::new(Arc::clone(&self.reach), Arc::clone(&self.lookup))
    }

    /// Sends a request and follows at most [`HTTP_REDIRECTS_MAX`] redirects, each checked like the first address.
    ///
    /// # Errors
    /// What stopped it. Of a refused request nothing was sent; of a refused redirect the hops before it were.
    pub async fn send(&self, request: Request<'_>) -> Result<Response, Error> {
        let timeout = request.timeout;
        let all = self.follow(request);
        tokio::time::timeout(timeout, all)
            .await
            .unwrap_or_else(|_| Err(Error::Timeout(format!("no answer within {} ms", timeout.as_millis()))))
    }

    async fn follow(&self, request: Request<'_>) -> Result<Response, Error> {
        let mut hop = Hop::first(&request)?;
        let mut hops = 0;
        loop {
            let response = self.once(&hop, &request).await?;
            match hop.next(&response)? {
                Some(_) if hops == HTTP_REDIRECTS_MAX => {
                    return Err(Error::LimitExceeded(format!("more than {HTTP_REDIRECTS_MAX} redirects")));
                }
                Some(next) => hop = next,
                None => return read(response, &hop, hops, &request).await,
            }
            hops += 1;
        }
    }

    async fn once(&self, hop: &Hop, request: &Request<'_>) -> Result<reqwest::Response, Error> {
        let host = hop.host();
        if !(request.allow)(hop.method.as_str(), &hop.url) {
            return Err(Error::Denied(format!(
                "{} {}{} is not granted: add it to capabilities.http in the manifest",
                hop.method,
                host_and_port(&hop.url),
                hop.url.path()
            )));
        }
        let secrets = request.secrets.filter(|_| hop.is_callers);
        if let Some(may_carry) = secrets
            && !may_carry(hop.method.as_str(), &hop.url)
        {
            return Err(Error::Denied(format!(
                "a secret in this request is not bound to {} {}{}",
                hop.method,
                host_and_port(&hop.url),
                hop.url.path()
            )));
        }
        let addresses = self.vetted(&hop.url, secrets.is_some()).await?;
        let pinned = Pinned {
            host: host.to_owned(),
            addresses: addresses.clone(),
        };
        let client = builder()
            .http1_only()
            .http1_max_headers(RESPONSE_HEADERS_MAX)
            .pool_max_idle_per_host(0)
            .dns_resolver(pinned)
            .build()
            .map_err(|error| Error::of_reqwest(error, host))?;
        let mut sending = client.request(hop.method.clone(), hop.url.clone()).headers(hop.headers.clone());
        if let Some(body) = &hop.body {
            sending = sending.body(body.clone());
        }
        request.trail.begin(hop.contact());
        let response = sending.send().await.map_err(|error| Error::of_reqwest(error, host))?;
        request.trail.receive(header_bytes(response.headers()));
        if response.remote_addr().is_none_or(|peer| !addresses.contains(&peer)) {
            return Err(Error::Denied(format!("{host} answered from an address that was not vetted")));
        }
        Ok(response)
    }

    /// Every address of the host; all of them must be reachable.
    async fn vetted(&self, url: &Url, has_secrets: bool) -> Result<Vec<SocketAddr>, Error> {
        let port = url.port_or_known_default().unwrap_or(443);
        let plain = url.scheme() == "http" && (has_secrets || !self.allow_http);
        let (host, found, inside) = match url.host() {
            Some(Host::Ipv4(literal)) => (literal.to_string(), vec![IpAddr::V4(literal)], false),
            Some(Host::Ipv6(literal)) => (literal.to_string(), vec![IpAddr::V6(literal)], false),
            Some(Host::Domain(name)) => {
                let found = tokio::time::timeout(CONNECT_TIMEOUT, (self.lookup)(name.to_owned()))
                    .await
                    .map_err(|_| Error::Timeout(format!("the look-up of {name} took too long")))?
                    .map_err(|error| Error::Unavailable(format!("cannot find {name}: {error}")))?;
                (name.to_owned(), found, address::is_inside_name(name))
            }
            None => return Err(Error::Invalid("the address has no host".to_owned())),
        };
        if found.is_empty() {
            return Err(Error::Unavailable(format!("{host} has no address")));
        }
        let addresses: Vec<SocketAddr> = found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        for &address in &addresses {
            if let Err(what) = self.reach.vet(address, inside || plain) {
                return Err(refusal(&host, what, plain));
            }
        }
        Ok(addresses)
    }
}

pub(super) fn refusal(host: &str, what: &str, plain: bool) -> Error {
    if plain && what == address::NOT_OPENED {
        return Error::Denied(format!(
            "http:// to {host} is refused because anyone on the way could read it: use https://"
        ));
    }
    Error::Denied(format!(
        "{host} is {what}, and agents reach public addresses only; the operator may open a range in outbound.open_cidrs"
    ))
}

async fn system_lookup(host: String) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
}

/// Answers for one name with the addresses that were vetted, so that nothing is looked up a second time.
struct Pinned {
    host: String,
    addresses: Vec<SocketAddr>,
}

impl reqwest::dns::Resolve for Pinned {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let answer: Result<reqwest::dns::Addrs, Box<dyn std::error::Error + Send + Sync>> = if name.as_str() == self.host {
            Ok(Box::new(self.addresses.clone().into_iter()))
        } else {
            Err("another name than the one that was vetted".into())
        };
        Box::pin(std::future::ready(answer))
    }
}

/// One request on the way through redirects.
#[derive(Clone, Debug)]
struct Hop {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    /// Whether it carries what the caller gave, which stays with the first origin.
    is_callers: bool,
}

impl Hop {
    fn contact(&self) -> Contact {
        let body = self.body.as_ref().map_or(0, Vec::len);
        Contact {
            host: host_and_port(&self.url),
            is_write: !matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS),
            sent_bytes: (self.url.as_str().len() + header_bytes(&self.headers) + body) as u64,
            received_bytes: 0,
        }
    }

    fn first(request: &Request<'_>) -> Result<Self, Error> {
        let method = request.method.to_ascii_uppercase();
        if !METHODS.contains(&method.as_str()) {
            return Err(Error::Invalid(format!(
                "“{}” is no method: use one of {}",
                request.method,
                METHODS.join(", ")
            )));
        }
        if request.body.as_ref().is_some_and(|body| body.len() > HTTP_BODY_BYTES_MAX) {
            return Err(Error::LimitExceeded(format!("the body is larger than {HTTP_BODY_BYTES_MAX} bytes")));
        }
        let url = Url::parse(request.url).map_err(|error| Error::Invalid(format!("the address cannot be read: {error}")))?;
        Ok(Self {
            method: Method::from_bytes(method.as_bytes()).map_err(|error| Error::Invalid(error.to_string()))?,
            url: checked(url)?,
            headers: request_headers(request.headers)?,
            body: request.body.clone(),
            is_callers: true,
        })
    }

    fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Where a redirect leads, or `None` where the response is the answer.
    fn next(&self, response: &reqwest::Response) -> Result<Option<Self>, Error> {
        let status = response.status().as_u16();
        let Some(location) = response
            .headers()
            .get(header::LOCATION)
            .filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308))
        else {
            return Ok(None);
        };
        let wrong = || Error::Unavailable(format!("{} sent a redirect that cannot be read", self.host()));
        let location = std::str::from_utf8(location.as_bytes()).map_err(|_| wrong())?;
        let url = checked(self.url.join(location).map_err(|_| wrong())?)?;
        if self.url.scheme() == "https" && url.scheme() == "http" {
            return Err(Error::Denied(format!("{} redirects from https:// to http://", self.host())));
        }
        let becomes_get = match status {
            303 => self.method != Method::HEAD,
            301 | 302 => self.method == Method::POST,
            _ => false,
        };
        let mut next = Self { url, ..self.clone() };
        if becomes_get {
            next.method = Method::GET;
            next.body = None;
        }
        if next.url.origin() != self.url.origin() {
            if !matches!(next.method, Method::GET | Method::HEAD | Method::OPTIONS) {
                return Err(Error::Denied(format!(
                    "{} redirects a {} to {}: what it carries goes to the granted host only",
                    self.host(),
                    self.method,
                    host_and_port(&next.url)
                )));
            }
            next.body = None;
            next.is_callers = false;
            next.headers = [header::ACCEPT, header::USER_AGENT]
                .into_iter()
                .filter_map(|name| Some((name.clone(), self.headers.get(name)?.clone())))
                .collect();
        }
        if next.body.is_none() {
            next.headers.remove(header::CONTENT_TYPE);
        }
        next.headers
            .insert(header::ACCEPT_ENCODING, HeaderValue::from_static(content::ACCEPTED));
        Ok(Some(next))
    }
}

/// The address in its one form: web scheme, no user, no trailing dot, no fragment.
fn checked(mut url: Url) -> Result<Url, Error> {
    if !["http", "https"].contains(&url.scheme()) {
        return Err(Error::Invalid(format!("“{}:” is not a web address: use https://", url.scheme())));
    }
    if url.as_str().len() > URL_BYTES_MAX {
        return Err(Error::LimitExceeded(format!("the address is longer than {URL_BYTES_MAX} bytes")));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::Invalid(
            "a user name or password in the address is refused: send it in a header".to_owned(),
        ));
    }
    if let Some(Host::Domain(name)) = url.host()
        && name.ends_with('.')
    {
        let name = name.trim_end_matches('.').to_owned();
        url.set_host(Some(&name))
            .map_err(|_| Error::Invalid("the address has no host".to_owned()))?;
    }
    url.set_fragment(None);
    Ok(url)
}

fn request_headers(given: &[(String, String)]) -> Result<HeaderMap, Error> {
    if given.len() > HTTP_HEADERS_MAX || given.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > HEADER_BYTES_MAX {
        return Err(Error::LimitExceeded(format!(
            "more than {HTTP_HEADERS_MAX} headers, or {HEADER_BYTES_MAX} bytes of them"
        )));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Error::Invalid(format!("“{name}” is no header's name")))?;
        if is_ours(&name) {
            return Err(Error::Invalid(format!("the header {name} is set by the station")));
        }
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| Error::Invalid(format!("the header {name} holds a line break or another control character")))?;
        headers.append(name, value);
    }
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(content::ACCEPTED));
    Ok(headers)
}

/// Headers that say how the message is framed or where it goes.
fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("proxy-")
        || matches!(
            name,
            "host"
                | "content-length"
                | "transfer-encoding"
                | "connection"
                | "keep-alive"
                | "upgrade"
                | "te"
                | "trailer"
                | "expect"
                | "accept-encoding"
                | "http2-settings"
        )
}

async fn read(mut response: reqwest::Response, hop: &Hop, hops: u32, request: &Request<'_>) -> Result<Response, Error> {
    let host = hop.host();
    let encoding = Encoding::of(response.headers(), host)?;
    let is_packed = encoding != Encoding::Identity;
    let headers: Vec<(String, String)> = response
        .headers()
        .iter()
        .filter(|(name, _)| match name.as_str() {
            "set-cookie" | "connection" | "keep-alive" | "transfer-encoding" | "upgrade" | "trailer" => false,
            // They are about what came over the line.
            "content-encoding" | "content-length" => !is_packed,
            _ => true,
        })
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    if header_bytes(response.headers()) > HEADER_BYTES_MAX {
        return Err(Error::LimitExceeded(format!(
            "the answer's headers are larger than {HEADER_BYTES_MAX} bytes"
        )));
    }
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok());
    if hop.method != Method::HEAD && announced.is_some_and(|length| length > request.body_bytes_max) {
        return Err(Error::LimitExceeded(format!(
            "the answer is larger than {} bytes",
            request.body_bytes_max
        )));
    }
    let mut body = Body::new(encoding, host, request.body_bytes_max);
    loop {
        let chunk = tokio::time::timeout(IDLE_TIMEOUT, response.chunk())
            .await
            .map_err(|_| Error::Timeout(format!("{host} fell silent for {} s", IDLE_TIMEOUT.as_secs())))?
            .map_err(|error| Error::of_reqwest(error, host))?;
        let Some(chunk) = chunk else { break };
        request.trail.receive(chunk.len());
        body.take(&chunk)?;
    }
    Ok(Response {
        status: response.status().as_u16(),
        headers,
        body: body.finish()?,
        final_url: hop.url.to_string(),
        hops,
    })
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
