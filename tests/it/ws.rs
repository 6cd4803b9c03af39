//! The socket of a run's timeline.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::{TestStation, manifest};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const LOGS: &str = "export default function run(input) { for (let i = 0; i < 300; i++) console.log('line ' + i); return 1; }";
const LOOPS: &str = "export default function run() { for (;;) {} }";

async fn open(station: &TestStation, path: &str, headers: &[(&'static str, &str)]) -> Result<Socket, u16> {
    let mut request = format!("ws://{}{path}", station.address).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

async fn next(socket: &mut Socket) -> Message {
    tokio::time::timeout(Duration::from_secs(20), socket.next())
        .await
        .expect("in time")
        .expect("open")
        .unwrap()
}

/// Every message up to the close, and its code and reason.
async fn read_all(socket: &mut Socket) -> (Vec<Value>, CloseCode, String) {
    let mut messages = Vec::new();
    loop {
        match next(socket).await {
            Message::Text(text) => messages.push(serde_json::from_str(&text).unwrap()),
            Message::Close(Some(frame)) => return (messages, frame.code, frame.reason.to_string()),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn seqs(messages: &[Value]) -> Vec<u64> {
    messages
        .iter()
        .filter(|m| m["type"] == "event")
        .map(|m| m["seq"].as_u64().unwrap())
        .collect()
}

async fn start(station: &TestStation, code: &str, wait: u32) -> String {
    let manifest = format!("{}[limits]\nfuel = 1_000_000_000_000\n", manifest("watched", "1.0.0"));
    let http = station.owner();
    http.upload("/api/v1/agents", &[("manifest", manifest.as_bytes()), ("code", code.as_bytes())])
        .await
        .expect(201);
    let run = http
        .post(&format!("/api/v1/runs?wait={wait}"), &json!({"agent": "watched"}))
        .await
        .json();
    run["id"].as_str().unwrap_or_else(|| panic!("{run}")).to_owned()
}

fn bearer(station: &TestStation) -> String {
    format!("Bearer {}", station.key)
}

#[tokio::test]
async fn a_finished_run_is_replayed_in_order_then_synced_and_closed() {
    let station = TestStation::start().await;
    let run = start(&station, LOGS, 60).await;
    let auth = bearer(&station);
    let mut socket = open(&station, &format!("/ws/runs/{run}"), &[("authorization", &auth)])
        .await
        .unwrap();
    let (messages, code, _) = read_all(&mut socket).await;
    let all = seqs(&messages);
    assert!(all.len() > 300, "{}", all.len());
    assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>());
    assert_eq!(messages[0], json!({"type": "status", "state": "replaying"}));
    assert_eq!(messages.last().unwrap(), &json!({"type": "status", "state": "synced"}));
    let header = messages.iter().find(|m| m["type"] == "run").unwrap();
    assert_eq!(header["state"], "succeeded");
    assert_eq!(code, CloseCode::Normal);

    // Cut in the middle, it goes on without gap or double.
    let mut second = open(&station, &format!("/ws/runs/{run}?after={}", all[149]), &[("authorization", &auth)])
        .await
        .unwrap();
    let (rest, ..) = read_all(&mut second).await;
    assert_eq!(seqs(&rest), all[150..]);
}

#[tokio::test]
async fn a_live_run_is_followed_to_its_end() {
    let station = TestStation::start().await;
    let run = start(&station, LOOPS, 0).await;
    let auth = bearer(&station);
    let mut socket = open(&station, &format!("/ws/runs/{run}"), &[("authorization", &auth)])
        .await
        .unwrap();
    while !matches!(next(&mut socket).await, Message::Text(text) if text.contains("synced")) {}
    station
        .owner()
        .post(&format!("/api/v1/runs/{run}/cancel"), &json!({}))
        .await
        .expect(202);
    let (messages, code, _) = read_all(&mut socket).await;
    assert!(
        messages.iter().any(|m| m["type"] == "event" && m["kind"] == "run.finished"),
        "{messages:?}"
    );
    assert!(
        messages.iter().any(|m| m["type"] == "run" && m["state"] == "cancelled"),
        "{messages:?}"
    );
    assert_eq!(code, CloseCode::Normal);
}

#[tokio::test]
async fn only_our_own_pages_and_keys_may_open_one() {
    let station = TestStation::start().await;
    let run = start(&station, LOGS, 60).await;
    let path = format!("/ws/runs/{run}");
    let cookie = station.browser().await.cookie().unwrap();
    let own = format!("http://{}", station.address);
    assert_eq!(open(&station, &path, &[]).await.unwrap_err(), 401);
    assert_eq!(open(&station, &path, &[("cookie", &cookie)]).await.unwrap_err(), 403);
    let evil = [("cookie", cookie.as_str()), ("origin", "https://evil.example")];
    assert_eq!(open(&station, &path, &evil).await.unwrap_err(), 403);
    assert!(open(&station, &path, &[("cookie", &cookie), ("origin", &own)]).await.is_ok());
    let auth = bearer(&station);
    assert_eq!(
        open(&station, "/ws/runs/run_1", &[("authorization", &auth)]).await.unwrap_err(),
        404
    );
}

#[tokio::test]
async fn one_person_may_open_only_so_many() {
    let station = TestStation::start().await;
    let run = start(&station, LOOPS, 0).await;
    let (path, auth) = (format!("/ws/runs/{run}"), bearer(&station));
    let mut sockets = Vec::new();
    for _ in 0..8 {
        sockets.push(open(&station, &path, &[("authorization", &auth)]).await.unwrap());
    }
    assert_eq!(open(&station, &path, &[("authorization", &auth)]).await.unwrap_err(), 429);
    drop(sockets.pop());
    let again = async { while open(&station, &path, &[("authorization", &auth)]).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), again)
        .await
        .expect("a place is free again");
    station
        .owner()
        .post(&format!("/api/v1/runs/{run}/cancel"), &json!({}))
        .await
        .expect(202);
}

#[tokio::test]
async fn a_client_that_talks_is_hung_up_on_and_a_ping_is_answered() {
    let station = TestStation::start().await;
    let run = start(&station, LOOPS, 0).await;
    let (path, auth) = (format!("/ws/runs/{run}"), bearer(&station));
    let mut socket = open(&station, &path, &[("authorization", &auth)]).await.unwrap();
    socket.send(Message::Ping(b"there?".to_vec().into())).await.unwrap();
    while !matches!(next(&mut socket).await, Message::Pong(bytes) if bytes.as_ref() == b"there?") {}
    socket.send(Message::Text("hello".into())).await.unwrap();
    let (_, code, _) = read_all(&mut socket).await;
    assert_eq!(code, CloseCode::Policy);
    station
        .owner()
        .post(&format!("/api/v1/runs/{run}/cancel"), &json!({}))
        .await
        .expect(202);
}

#[tokio::test]
async fn at_shutdown_the_client_is_told_where_to_go_on() {
    let station = TestStation::start().await;
    let run = start(&station, LOOPS, 0).await;
    let auth = bearer(&station);
    let mut socket = open(&station, &format!("/ws/runs/{run}"), &[("authorization", &auth)])
        .await
        .unwrap();
    let mut last = 0;
    loop {
        let Message::Text(text) = next(&mut socket).await else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        last = message["seq"].as_u64().unwrap_or(last);
        if message["kind"] == "segment.started" {
            break;
        }
    }
    station.app.shutdown().cancel();
    let (rest, code, reason) = read_all(&mut socket).await;
    let last = seqs(&rest).last().copied().unwrap_or(last);
    assert_eq!(code, CloseCode::Away);
    assert_eq!(reason, format!("the station stops; go on after {last}"));
    station.stop().await;
}
