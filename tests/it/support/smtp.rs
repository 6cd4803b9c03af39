//! A mail server that keeps what it is given.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const ARRIVES_WITHIN: Duration = Duration::from_secs(30);

/// A letter as it came.
#[derive(Debug)]
pub struct Letter {
    pub to: String,
    /// Head and text, soft line breaks of quoted-printable undone.
    pub text: String,
}

impl Letter {
    /// The first address in it that begins like this.
    pub fn link(&self, start: &str) -> String {
        let mut words = self.text.split_whitespace();
        let found = words.find(|word| word.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start} in {}", self.text)).to_owned()
    }
}

pub struct Smtp {
    pub address: SocketAddr,
    letters: mpsc::UnboundedReceiver<Letter>,
    answers: Arc<Mutex<VecDeque<&'static str>>>,
}

impl Smtp {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (send, letters) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(VecDeque::new()));
        let next = Arc::clone(&answers);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, send.clone(), Arc::clone(&next)));
            }
        });
        Self { address, letters, answers }
    }

    /// What the next letter is answered with instead of being taken.
    pub fn refuse_next(&self, answer: &'static str) {
        self.answers.lock().unwrap().push_back(answer);
    }

    /// The next letter that arrives.
    pub async fn letter(&mut self) -> Letter {
        tokio::time::timeout(ARRIVES_WITHIN, self.letters.recv())
            .await
            .expect("in time")
            .unwrap()
    }

    /// Whether none has arrived that was not read yet.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// The settings that lead here.
    pub fn settings(&self) -> [(&'static str, String); 4] {
        [
            ("AGENTSTATION_MAIL_HOST", "127.0.0.1".to_owned()),
            ("AGENTSTATION_MAIL_PORT", self.address.port().to_string()),
            ("AGENTSTATION_MAIL_TLS", "none".to_owned()),
            ("AGENTSTATION_MAIL_FROM", "Station <station@example.com>".to_owned()),
        ]
    }
}

async fn serve(stream: TcpStream, letters: mpsc::UnboundedSender<Letter>, answers: Arc<Mutex<VecDeque<&'static str>>>) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut to = String::new();
    _ = write.write_all(b"220 mail.test ready\r\n").await;
    while let Ok(Some(line)) = lines.next_line().await {
        let upper = line.to_uppercase();
        let answer = if upper.starts_with("RCPT TO:") {
            to = line.split(['<', '>']).nth(1).unwrap().to_owned();
            "250 ok"
        } else if upper == "DATA" {
            _ = write.write_all(b"354 go on\r\n").await;
            let mut text = String::new();
            while let Ok(Some(line)) = lines.next_line().await {
                if line == "." {
                    break;
                }
                match line.strip_suffix('=') {
                    Some(soft) => text.push_str(soft),
                    None => text.extend([line.as_str(), "\n"]),
                }
            }
            let refusal = answers.lock().unwrap().pop_front();
            if refusal.is_none() {
                _ = letters.send(Letter {
                    to: to.clone(),
                    text: text.replace("=3D", "="),
                });
            }
            refusal.unwrap_or("250 taken as 42")
        } else if upper == "QUIT" {
            "221 bye"
        } else {
            "250 ok"
        };
        if write.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() || upper == "QUIT" {
            return;
        }
    }
}
