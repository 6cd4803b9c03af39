//! A web site that agents reach: it remembers what it was asked, and answers as the test says, or not at all.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use agentstation::net::Policy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    /// The whole head.
    head: String,
}

impl Asked {
    /// A header's value; empty where it was not sent.
    pub fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value)
    }
}

pub enum Reply {
    Text(String),
    /// A whole answer, head and body.
    Raw(Vec<u8>),
    /// The same, after a while.
    Late(std::time::Duration, String),
    /// The connection stays open and nothing comes.
    Silence,
    /// The connection is closed without an answer.
    HangUp,
}

pub struct Site {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    count: watch::Receiver<usize>,
}

impl Site {
    pub async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (counted, count) = watch::channel(0);
        let (seen, answer) = (Arc::clone(&asked), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answer, counted) = (Arc::clone(&seen), Arc::clone(&answer), counted.clone());
                tokio::spawn(async move {
                    serve(stream, |request| {
                        seen.lock().unwrap().push(request.clone());
                        counted.send_modify(|count| *count += 1);
                        answer(request)
                    })
                    .await;
                });
            }
        });
        Self { address, asked, count }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until it was asked this often.
    pub async fn until_asked(&self, times: usize) {
        let mut count = self.count.clone();
        let reached = count.wait_for(|count| *count >= times);
        tokio::time::timeout(std::time::Duration::from_secs(30), reached)
            .await
            .expect("it is asked in time")
            .unwrap();
    }

    /// A redirect to this address.
    pub fn redirect(status: u16, to: &str) -> Reply {
        Reply::Raw(format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").into_bytes())
    }

    /// Lets agents reach this machine.
    pub fn reachable() -> Policy {
        Policy {
            open_cidrs: vec!["127.0.0.0/8".parse().unwrap()],
            allow_http: true,
            own_addresses: Vec::new(),
        }
    }

    /// The line of a manifest's capabilities that grants this site.
    pub fn grant(&self, methods: &str, more: &str) -> String {
        format!("{{ host = \"{}\", methods = [{methods}]{more} }}", self.address)
    }
}

async fn serve(mut stream: TcpStream, answer: impl Fn(&Asked) -> Reply) {
    let Some(request) = read(&mut stream).await else { return };
    match answer(&request) {
        Reply::Text(text) => say(&mut stream, &text).await,
        Reply::Raw(bytes) => _ = stream.write_all(&bytes).await,
        Reply::Late(after, text) => {
            tokio::time::sleep(after).await;
            say(&mut stream, &text).await;
        }
        Reply::HangUp => {}
        Reply::Silence => {
            let mut rest = [0; 64];
            while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
        }
    }
}

async fn say(stream: &mut TcpStream, text: &str) {
    let whole = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    // A client that has gone is no concern of the site's.
    _ = stream.write_all(whole.as_bytes()).await;
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
            if body.len() >= length.unwrap_or(0) {
                let mut words = head.split(' ');
                return Some(Asked {
                    method: words.next()?.to_owned(),
                    path: words.next()?.to_owned(),
                    head: head.to_owned(),
                });
            }
        }
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&chunk[..read]),
            _ => return None,
        }
    }
}
