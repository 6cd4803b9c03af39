//! A server of models: it remembers what it was asked, and answers with prepared bytes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Call {
    /// Method and path.
    pub line: String,
    pub head: String,
    pub body: Value,
}

pub struct ModelServer {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Call>>>,
}

/// What is sent, and whether the connection then stays open in silence.
pub struct Sent {
    pub bytes: Vec<u8>,
    pub hangs: bool,
}

impl ModelServer {
    /// Answers each request with what `answer` makes of it and of how many came before.
    pub async fn start(answer: impl Fn(&Call, usize) -> Sent + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Call>>> = Arc::default();
        let (seen, answer) = (Arc::clone(&asked), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                tokio::spawn(async move {
                    let Some(call) = read(&mut stream).await else { return };
                    let turn = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(call.clone());
                        seen.len() - 1
                    };
                    let sent = answer(&call, turn);
                    // A client that has gone is no concern of the server's.
                    _ = stream.write_all(&sent.bytes).await;
                    if sent.hangs {
                        let mut rest = [0; 64];
                        while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
                    }
                    _ = stream.shutdown().await;
                });
            }
        });
        Self { address, asked }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn asked(&self) -> Vec<Call> {
        self.asked.lock().unwrap().clone()
    }

    /// Requests for a reply.
    pub fn chats(&self) -> Vec<Call> {
        self.asked().into_iter().filter(|call| call.line.starts_with("POST")).collect()
    }
}

async fn read(stream: &mut TcpStream) -> Option<Call> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(Call {
                    line: head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned(),
                    head: head.to_ascii_lowercase(),
                    body: serde_json::from_str(body).unwrap_or(Value::Null),
                });
            }
        }
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&chunk[..read]),
            _ => return None,
        }
    }
}

/// A whole answer.
pub fn answer(status: &str, headers: &str, body: &str) -> Sent {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    Sent {
        bytes: text.into_bytes(),
        hangs: false,
    }
}

/// A list of models.
pub fn models(names: &[&str]) -> Sent {
    let data: Vec<Value> = names.iter().map(|name| json!({ "id": name, "object": "model" })).collect();
    let body = json!({ "object": "list", "data": data }).to_string();
    answer("200 OK", "content-type: application/json\r\n", &body)
}

/// A stream of events, in pieces of `size` bytes.
pub fn stream(body: &[u8], size: usize) -> Sent {
    let mut bytes =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n".to_vec();
    for piece in body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        bytes.extend(piece);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    Sent { bytes, hangs: false }
}

/// A stream that falls silent after `body`.
pub fn silent(body: &[u8]) -> Sent {
    let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_vec();
    bytes.extend(body);
    Sent { bytes, hangs: true }
}

/// A stream that breaks off after `body`, in the middle of what was announced.
pub fn broken(body: &[u8]) -> Sent {
    let mut bytes =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n".to_vec();
    bytes.extend(format!("{:x}\r\n", body.len() + 100).into_bytes());
    bytes.extend(body);
    Sent { bytes, hangs: false }
}
