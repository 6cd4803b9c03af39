//! A server of models on this machine that speaks OpenAI's chat completions, for what a call costs beside its model.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const REPLY: &str = "data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"hello\"},\"finish_reason\":null}]}\n\n\
data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}}\n\n\
data: [DONE]\n\n";

/// Serves until the program ends; returns where its API begins. Each reply begins after `thinks`.
pub async fn start(thinks: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, thinks));
        }
    });
    format!("http://{address}/v1")
}

/// Answers one request after the other on a connection.
async fn serve(mut stream: TcpStream, thinks: Duration) {
    _ = stream.set_nodelay(true);
    let mut bytes = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        while let Some(length) = whole(&bytes) {
            bytes.drain(..length);
            if !thinks.is_zero() {
                tokio::time::sleep(thinks).await;
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n",
                REPLY.len()
            );
            if stream
                .write_all([head.as_bytes(), REPLY.as_bytes()].concat().as_slice())
                .await
                .is_err()
            {
                return;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&chunk[..read]),
            _ => return,
        }
    }
}

/// The length of the first request, once all of it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let length = head + length.unwrap_or(0);
    (bytes.len() >= length).then_some(length)
}
