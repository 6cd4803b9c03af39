//! HTTP clients of tests: one with a key or nothing, and one that is a browser.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON, status {}: {}", self.status, self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self
    }

    /// The `code` of a problem, whose shape is checked.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.body);
        let body = self.json();
        for field in ["type", "title", "detail", "instance", "code"] {
            assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{field} in {body}");
        }
        assert_eq!(body["status"].as_u64(), Some(u64::from(self.status.as_u16())));
        body["code"].as_str().unwrap().to_owned()
    }
}

/// A client that sends what it is told.
#[derive(Clone)]
pub struct Http {
    client: reqwest::Client,
    pub address: SocketAddr,
    headers: HeaderMap,
}

impl Http {
    pub fn new(address: SocketAddr) -> Self {
        // Another test may have been first.
        _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self {
            client,
            address,
            headers: HeaderMap::new(),
        }
    }

    pub fn bearer(&self, key: &str) -> Self {
        self.with("authorization", &format!("Bearer {key}"))
    }

    /// The same client with one header more.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut next = self.clone();
        next.headers
            .insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap());
        next
    }

    pub async fn send(&self, method: Method, path: &str, content_type: Option<&str>, body: Vec<u8>) -> Answer {
        self.attempt(method, path, content_type, body).await.unwrap()
    }

    /// The same with a server that may be gone before it has answered.
    pub async fn attempt(&self, method: Method, path: &str, content_type: Option<&str>, body: Vec<u8>) -> Result<Answer, reqwest::Error> {
        let mut request = self
            .client
            .request(method, format!("http://{}{path}", self.address))
            .headers(self.headers.clone());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let response = request.body(body).send().await?;
        Ok(Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: String::from_utf8_lossy(&response.bytes().await?).into_owned(),
        })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, Vec::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some("application/json"), body.to_string().into_bytes())
            .await
    }

    pub async fn upload(&self, path: &str, fields: &[(&str, &[u8])]) -> Answer {
        let (content_type, body) = multipart(fields);
        self.send(Method::POST, path, Some(&content_type), body).await
    }

    /// Streams an answer's body.
    pub async fn open(&self, path: &str) -> reqwest::Response {
        let request = self
            .client
            .get(format!("http://{}{path}", self.address))
            .headers(self.headers.clone());
        request.send().await.unwrap()
    }
}

/// `multipart/form-data` of these fields.
pub fn multipart(fields: &[(&str, &[u8])]) -> (String, Vec<u8>) {
    const BOUNDARY: &str = "a-boundary-of-the-tests";
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend_from_slice(format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n").as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), body)
}

/// A client with cookies that sends forms as a browser on our own pages does.
pub struct Browser {
    http: Http,
    cookies: BTreeMap<String, String>,
    pub form_token: String,
}

impl Browser {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            http: Http::new(address).with("accept", "text/html"),
            cookies: BTreeMap::new(),
            form_token: String::new(),
        }
    }

    /// A browser in which somebody has signed in.
    pub async fn sign_in(address: SocketAddr, email: &str, password: &str) -> Self {
        let mut browser = Self::new(address);
        browser.get("/sign-in").await.expect(200);
        let entered = browser
            .submit("/sign-in", &[("email", email), ("password", password), ("next", "/")])
            .await;
        assert_eq!(entered.status, StatusCode::SEE_OTHER, "{}", entered.body);
        browser.get("/").await.expect(200);
        browser
    }

    /// The plain client, with this browser's cookies.
    pub fn http(&self) -> Http {
        match self.cookie() {
            Some(cookie) => self.http.with("cookie", &cookie),
            None => self.http.clone(),
        }
    }

    pub fn cookie(&self) -> Option<String> {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        let answer = self.http().get(path).await;
        self.learn(&answer);
        answer
    }

    /// Sends a form, with the token of the page before.
    pub async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.append_pair("form_token", &self.form_token);
        for (name, value) in fields {
            body.append_pair(name, value);
        }
        let http = self.http().with("sec-fetch-site", "same-origin");
        let content_type = Some("application/x-www-form-urlencoded");
        let answer = http.send(Method::POST, path, content_type, body.finish().into_bytes()).await;
        self.learn(&answer);
        answer
    }

    /// Sends a form with files.
    pub async fn upload(&mut self, path: &str, fields: &[(&str, &[u8])]) -> Answer {
        let token = self.form_token.clone();
        let mut all = vec![("form_token", token.as_bytes())];
        all.extend_from_slice(fields);
        let answer = self.http().with("sec-fetch-site", "same-origin").upload(path, &all).await;
        self.learn(&answer);
        answer
    }

    fn learn(&mut self, answer: &Answer) {
        for cookie in answer.headers.get_all("set-cookie") {
            let text = cookie.to_str().unwrap();
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        if let Some(token) = between(&answer.body, "name=\"form_token\" value=\"", "\"") {
            token.clone_into(&mut self.form_token);
        }
    }
}

/// What stands in `text` between two marks, the first time.
pub fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}
