//! The client for one server that the operator or an admin named, such as a model provider. Its connections are kept; nothing is redirected.
//! Where the operator named it, its address may be private; where an organization did, each address is vetted like those of agents.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::client::CONNECT_TIMEOUT;
use super::vetter::Vetter;
use super::{Error, builder};

/// Bytes of a whole streamed answer.
const STREAM_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection to one origin; cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream {
    client: reqwest::Client,
    base: Url,
    connect: Duration,
    /// Of one that an organization named.
    vetter: Option<Vetter>,
}

/// Why no answer came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct NoAnswer {
    pub error: Error,
    /// Whether the other side may have received the request all the same.
    pub sent: bool,
}

impl From<Error> for NoAnswer {
    fn from(error: Error) -> Self {
        Self { error, sent: false }
    }
}

impl Upstream {
    /// A server that the operator named: it may be anywhere.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `base_url` is no web address.
    pub fn new(base_url: &str) -> Result<Self, Error> {
        Self::build(base_url, CONNECT_TIMEOUT, None)
    }

    /// A server that the operator named, with its own time to connect.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `base_url` is no web address.
    pub fn connecting_within(base_url: &str, connect: Duration) -> Result<Self, Error> {
        Self::build(base_url, connect, None)
    }

    /// A server that an organization named: only addresses that its agents could reach, and `http://` only to what the operator opened.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `base_url` is no web address; [`Error::Denied`] where it is an address that is not to be reached.
    pub fn vetted(base_url: &str, connect: Duration, vetter: Vetter) -> Result<Self, Error> {
        Self::build(base_url, connect, Some(vetter))
    }

    fn build(base_url: &str, connect: Duration, vetter: Option<Vetter>) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Invalid(format!("base_url {base_url} {why}"));
        let mut base = Url::parse(base_url).map_err(|_| wrong("cannot be read"))?;
        if !["http", "https"].contains(&base.scheme()) {
            return Err(wrong("is not a web address"));
        }
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        let mut builder = builder().connect_timeout(connect);
        if let Some(vetter) = &vetter {
            // A literal address is never looked up.
            vetter.vet_literal(&base)?;
            builder = builder.dns_resolver(Arc::new(vetter.resolver(&base)));
        }
        Ok(Self {
            client: builder.build().map_err(|error| Error::of_reqwest(error, base_url))?,
            base,
            connect,
            vetter,
        })
    }

    pub fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// The host, with its port where that is not the usual one.
    pub fn authority(&self) -> &str {
        self.base.authority()
    }

    /// Looks whether the host may be reached, without asking it anything.
    ///
    /// # Errors
    /// [`Error::Denied`] with what its address is; [`Error::Unavailable`] where it has none.
    pub async fn check(&self) -> Result<(), Error> {
        match &self.vetter {
            Some(vetter) => vetter.vet(&self.base).await,
            None => Ok(()),
        }
    }

    /// Posts JSON to `path` below the base and waits for the head of the answer.
    ///
    /// # Errors
    /// No connection, or no head within `first_byte`.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], json: Vec<u8>, first_byte: Duration) -> Result<Stream, NoAnswer> {
        self.send(Method::POST, path, headers, Some(json), first_byte).await
    }

    /// Gets `path` below the base and waits for the head of the answer.
    ///
    /// # Errors
    /// As [`Upstream::post`].
    pub async fn get(&self, path: &str, headers: &[(&str, &str)], first_byte: Duration) -> Result<Stream, NoAnswer> {
        self.send(Method::GET, path, headers, None, first_byte).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        json: Option<Vec<u8>>,
        first_byte: Duration,
    ) -> Result<Stream, NoAnswer> {
        let url = self.base.join(path).map_err(|error| Error::Invalid(error.to_string()))?;
        if url.origin() != self.base.origin() {
            return Err(Error::Denied(format!("{path} leads away from {}", self.host())).into());
        }
        let mut map = HeaderMap::new();
        map.insert(reqwest::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if json.is_some() {
            map.insert(reqwest::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in headers {
            let wrong = |_| Error::Invalid(format!("the header {name} holds what no header may"));
            let mut value = HeaderValue::from_str(value).map_err(wrong)?;
            value.set_sensitive(true);
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Error::Invalid(format!("“{name}” is no header's name")))?;
            map.insert(name, value);
        }
        let mut sending = self.client.request(method, url).headers(map);
        if let Some(json) = json {
            sending = sending.body(json);
        }
        let response = tokio::time::timeout(first_byte, sending.send())
            .await
            .map_err(|_| NoAnswer {
                error: Error::Timeout(format!("{} sent nothing for {} ms", self.host(), first_byte.as_millis())),
                sent: true,
            })?
            .map_err(|error| self.no_answer(error))?;
        Ok(Stream {
            response,
            host: self.host().to_owned(),
            bytes: 0,
        })
    }

    fn no_answer(&self, error: reqwest::Error) -> NoAnswer {
        if !error.is_connect() {
            let sent = !error.is_builder();
            return NoAnswer {
                error: Error::of_reqwest(error, self.host()),
                sent,
            };
        }
        if let Some(denied) = Vetter::denial(&error) {
            return denied.into();
        }
        if error.is_timeout() {
            let text = format!(
                "cannot connect to {}: no connection within {} ms",
                self.host(),
                self.connect.as_millis()
            );
            return Error::Unavailable(text).into();
        }
        Error::of_reqwest(error, self.host()).into()
    }
}

/// An answer that is still arriving.
#[derive(Debug)]
pub struct Stream {
    response: reqwest::Response,
    host: String,
    bytes: usize,
}

impl Stream {
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header's value where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The next bytes, or `None` after the last.
    ///
    /// # Errors
    /// A broken connection, silence for `idle`, or more than an answer may have.
    pub async fn chunk(&mut self, idle: Duration) -> Result<Option<Vec<u8>>, Error> {
        let chunk = tokio::time::timeout(idle, self.response.chunk())
            .await
            .map_err(|_| Error::Timeout(format!("{} fell silent for {} ms", self.host, idle.as_millis())))?
            .map_err(|error| Error::of_reqwest(error, &self.host))?;
        let Some(chunk) = chunk else { return Ok(None) };
        self.bytes += chunk.len();
        if self.bytes > STREAM_BYTES_MAX {
            return Err(Error::LimitExceeded(format!(
                "{} sent more than {STREAM_BYTES_MAX} bytes",
                self.host
            )));
        }
        Ok(Some(chunk.into()))
    }

    /// The rest of the answer, cut at `bytes_max`.
    ///
    /// # Errors
    /// As [`Stream::chunk`].
    pub async fn text(&mut self, bytes_max: usize, idle: Duration) -> Result<String, Error> {
        let mut body = Vec::new();
        while body.len() < bytes_max
            && let Some(chunk) = self.chunk(idle).await?
        {
            body.extend(chunk);
        }
        body.truncate(bytes_max);
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}
