//! The client for one server that the operator named, such as a model provider. Its address may be private; its
//! connections are kept; nothing is redirected.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::{Error, builder};

/// Bytes of a whole streamed answer.
const STREAM_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection to one origin; cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream {
    client: reqwest::Client,
    base: Url,
}

impl Upstream {
    /// # Errors
    /// [`Error::Invalid`] where `base_url` is no web address.
    pub fn new(base_url: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Invalid(format!("base_url {base_url} {why}"));
        let mut base = Url::parse(base_url).map_err(|_| wrong("cannot be read"))?;
        if !["http", "https"].contains(&base.scheme()) {
            return Err(wrong("is not a web address"));
        }
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        Ok(Self {
            client: builder().build().map_err(|error| Error::of_reqwest(error, base_url))?,
            base,
        })
    }

    pub fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// The host, with its port where that is not the usual one.
    pub fn authority(&self) -> &str {
        self.base.authority()
    }

    /// Posts JSON to `path` below the base and waits for the head of the answer.
    ///
    /// # Errors
    /// No connection, or no head within `first_byte`.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], json: Vec<u8>, first_byte: Duration) -> Result<Stream, Error> {
        let url = self.base.join(path).map_err(|error| Error::Invalid(error.to_string()))?;
        if url.origin() != self.base.origin() {
            return Err(Error::Denied(format!("{path} leads away from {}", self.host())));
        }
        let mut map = HeaderMap::new();
        map.insert(reqwest::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        map.insert(reqwest::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in headers {
            let wrong = |_| Error::Invalid(format!("the header {name} holds what no header may"));
            let mut value = HeaderValue::from_str(value).map_err(wrong)?;
            value.set_sensitive(true);
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Error::Invalid(format!("“{name}” is no header's name")))?;
            map.insert(name, value);
        }
        let sending = self.client.post(url).headers(map).body(json).send();
        let response = tokio::time::timeout(first_byte, sending)
            .await
            .map_err(|_| Error::Timeout(format!("{} sent nothing for {} s", self.host(), first_byte.as_secs())))?
            .map_err(|error| Error::of_reqwest(error, self.host()))?;
        Ok(Stream {
            response,
            host: self.host().to_owned(),
            bytes: 0,
        })
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
            .map_err(|_| Error::Timeout(format!("{} fell silent for {} s", self.host, idle.as_secs())))?
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
