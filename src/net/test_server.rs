//! A web server for tests: it answers each request with the next prepared bytes, and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What to do with one request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// These bytes, then the connection ends.
    Bytes(Vec<u8>),
    /// These bytes, then silence on an open connection.
    Hang(Vec<u8>),
}

/// A whole answer with its length.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Answer {
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    Answer::Bytes((head + body).into_bytes())
}

/// An answer that streams `body` until the connection ends; `whole` sends the mark of its end.
pub(crate) fn stream(body: &str, whole: bool) -> Answer {
    let end = if whole { "0\r\n\r\n" } else { "" };
    Answer::Bytes(
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{:x}\r\n{body}\r\n{end}",
            body.len()
        )
        .into_bytes(),
    )
}

pub(crate) struct TestServer {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl TestServer {
    /// Answers in order; the last answer is repeated.
    pub async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read_request(&mut stream).await;
                let turn = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(request);
                    seen.len() - 1
                };
                match answers.get(turn).or(answers.last()).cloned() {
                    Some(Answer::Bytes(bytes)) => {
                        stream.write_all(&bytes).await.unwrap_or_default();
                        stream.shutdown().await.unwrap_or_default();
                    }
                    Some(Answer::Hang(bytes)) => {
                        stream.write_all(&bytes).await.unwrap_or_default();
                        tokio::spawn(async move {
                            let mut rest = [0; 64];
                            while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
                        });
                    }
                    None => {}
                }
            }
        });
        Self { address, asked }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far, heads and bodies.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// The body of one request as JSON.
    pub fn asked_json(&self, turn: usize) -> serde_json::Value {
        let asked = self.asked();
        let (_, body) = asked[turn].split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return text;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&chunk[..read]),
            _ => return text,
        }
    }
}
