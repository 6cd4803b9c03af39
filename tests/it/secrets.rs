//! Secrets: sent where they are bound, found nowhere afterwards, and sealed by keys that can be replaced.

mod planted;
mod rotation;

use std::path::Path;

use agentstation::domain::permission::{Permission, Role};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::agents::script;
use crate::support::site::Site;
use crate::support::{Http, TestStation};

const SECRET: &str = "sk-live/Qz7+pR\"9=x&Yw_0123456789";
const HEADER: &str = "hdr-4f9a8b7c6d5e4f3a2b1c";

fn hex(text: &str) -> String {
    agentstation::domain::hex::encode(text.as_bytes())
}

fn each_byte(text: &str, write: impl Fn(u8) -> String) -> String {
    text.bytes().map(write).collect()
}

fn escaped(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap().to_owned()
}

fn url_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// How a planted secret may be written somewhere.
fn traces(secret: &str) -> Vec<String> {
    let mut all = vec![
        secret.to_owned(),
        hex(secret),
        hex(secret).to_uppercase(),
        escaped(secret),
        url_encoded(secret),
    ];
    for shift in 0..3 {
        let around = [vec![b'x'; shift], secret.as_bytes().to_vec()].concat();
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&around);
            // Without what depends on the bytes beside it.
            all.push(text.get(3..text.len() - 2).unwrap().to_owned());
        }
    }
    all.push(each_byte(secret, |byte| format!("\\u{byte:04x}")));
    all
}

#[track_caller]
fn has_none(what: &str, bytes: &[u8], secrets: &[&str]) {
    for trace in secrets.iter().flat_map(|secret| traces(secret)) {
        let found = bytes.windows(trace.len()).any(|window| window == trace.as_bytes());
        assert!(!found, "{what} has {trace}");
    }
}

/// A server that sends back whatever it is sent, written in every way; and one request's head and body at a time.
async fn echo() -> (std::net::SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, asked) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            let mut chunk = [0; 4096];
            let whole = loop {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = head
                        .lines()
                        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
                    if body.len() >= length.unwrap_or(0) {
                        break text;
                    }
                }
                match stream.read(&mut chunk).await {
                    Ok(read) if read > 0 => bytes.extend_from_slice(&chunk[..read]),
                    _ => break text,
                }
            };
            let path = whole.split(' ').nth(1).unwrap_or_default().to_owned();
            let answer = answer(&path, &whole);
            _ = seen.send(whole);
            _ = stream.write_all(&answer).await;
        }
    });
    (address, asked)
}

fn answer(path: &str, asked: &str) -> Vec<u8> {
    let sent = asked.lines().find_map(|line| line.strip_prefix("x-key: ")).unwrap_or_default();
    let line = |status: &str, headers: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    match path {
        "/redirect" => line(
            "302 Found",
            &format!("location: /landing?key={}&hex={}\r\n", url_encoded(sent), hex(sent)),
            b"",
        ),
        "/away" => line("302 Found", &format!("location: https://{}.evil.test/\r\n", hex(sent)), b""),
        "/binary" => line(
            "200 OK",
            "",
            &[b"\xff\x00", sent.as_bytes(), b"\xfe\xff", SECRET.as_bytes(), b"\x80"].concat(),
        ),
        "/error" => line("500 Wrong", "", format!("the key {sent} is wrong").as_bytes()),
        _ => {
            let mut text = format!("{asked}\n");
            for value in [sent, SECRET, HEADER] {
                for shift in 0..3 {
                    let around = [&b"ab"[..shift.min(2)], value.as_bytes()].concat();
                    text.push_str(&[STANDARD.encode(&around), URL_SAFE.encode(&around), String::new()].join(" "));
                }
                let unicode = each_byte(value, |byte| format!("\\u{byte:04x}"));
                let html = each_byte(value, |byte| format!("&#{byte};"));
                let pairs = [
                    hex(value),
                    hex(value).to_uppercase(),
                    url_encoded(value),
                    escaped(value),
                    unicode,
                    html,
                ];
                text.push_str(&pairs.join(" "));
            }
            line(
                "200 OK",
                &format!("x-echo: {sent}\r\nx-echo-hex: {}\r\nset-cookie: key={sent}\r\n", hex(sent)),
                text.as_bytes(),
            )
        }
    }
}

/// One whose policy lets writes go without a question, whatever an agent has besides.
async fn station() -> TestStation {
    let station = TestStation::builder()
        .outbound(Site::reachable())
        .setting("AGENTSTATION_OUTBOUND_OPEN_CIDRS", "127.0.0.0/8")
        .setting("AGENTSTATION_SECRET_OUTSIDE", "outside-0123456789")
        .start()
        .await;
    allow_writes(&station.owner()).await;
    station
}

async fn allow_writes(http: &Http) {
    let rule = json!({ "id": "writes", "effect": "allow", "what": { "http": { "hosts": ["*"], "methods": ["PUT", "POST"] } } });
    let body = json!({ "rules": [rule] }).to_string().into_bytes();
    http.send(Method::PUT, "/api/v1/orgs/default/policy", Some("application/json"), body)
        .await
        .expect(200);
}

const SECRETS: &str = "/api/v1/orgs/default/secrets";

fn binding(host: &std::net::SocketAddr) -> Value {
    json!([{ "agents": ["*"], "host": host.to_string() }])
}

async fn set(http: &Http, path: &str, name: &str, value: &str, bindings: Value) -> Value {
    http.post(path, &json!({ "name": name, "value": value, "bindings": bindings }))
        .await
        .expect(201)
        .json()
}

fn grants(address: &std::net::SocketAddr, secrets: &str) -> String {
    format!(
        "[capabilities]\nmemory = true\nsecrets = [{secrets}]\nhttp = [{{ host = \"{address}\", methods = [\"GET\", \"PUT\", \"POST\"], approval = \"never\" }}]\n"
    )
}

async fn files_have_none(directory: &Path, secrets: &[&str]) {
    for name in ["agentstation.db", "agentstation.db-wal"] {
        if let Ok(bytes) = std::fs::read(directory.join(name)) {
            has_none(name, &bytes, secrets);
        }
    }
}

/// Sends one request, and says what came of it.
const SEND: &str = "export default async function run(input, station) {
  try { return { status: (await station.http.send(input)).status }; }
  catch (error) { return { code: error.code, message: error.message }; }
}";

#[tokio::test]
async fn a_secret_goes_where_a_binding_and_the_manifest_let_it_and_nowhere_else() {
    let (address, mut asked) = echo().await;
    let station = station().await;
    let http = station.owner();
    let base = format!("http://{address}");
    let bound = json!([{ "agents": ["sender"], "host": address.to_string(), "methods": ["GET", "PUT"], "path_prefix": "/api/" }]);
    set(&http, SECRETS, "token", HEADER, bound).await;
    set(&http, SECRETS, "unbound", "unbound-0123456", json!([])).await;
    let sender = station
        .publish(script("sender", &grants(&address, "\"token\", \"unbound\", \"missing\""), SEND))
        .await;
    let other = station.publish(script("other", &grants(&address, "\"token\""), SEND)).await;
    let without = station.publish(script("without", &grants(&address, ""), SEND)).await;
    let header = |name: &str, value: &str| json!([[name, value]]);
    let get = |path: &str, headers: Value| json!({ "method": "GET", "url": format!("{base}{path}"), "headers": headers });
    let token = header("Authorization", "Bearer {{secret:token}}");
    let sent = station.run(&sender, &get("/api/x", token.clone())).await.succeeded();
    assert_eq!(sent["status"], 200, "{sent}");
    assert!(asked.recv().await.unwrap().contains(&format!("authorization: Bearer {HEADER}")));
    let body = json!({ "method": "PUT", "url": format!("{base}/api/x"), "headers": header("Content-Type", "application/x-www-form-urlencoded"), "body": "k={{secret:token}}" });
    assert_eq!(station.run(&sender, &body).await.succeeded()["status"], 200);
    assert!(asked.recv().await.unwrap().ends_with(&format!("k={HEADER}")));
    for (agent, request, code, says) in [
        (&other, get("/api/x", token.clone()), "denied", "not bound"),
        (&without, get("/api/x", token.clone()), "denied", "manifest grants no secret"),
        (&sender, get("/other", token.clone()), "denied", "not bound"),
        (&sender, get("/api/../other", token.clone()), "denied", "not bound"),
        (
            &sender,
            json!({ "method": "POST", "url": format!("{base}/api/x"), "headers": token }),
            "denied",
            "not bound",
        ),
        (&sender, get("/api/x", header("x", "{{secret:unbound}}")), "denied", "not bound"),
        (
            &sender,
            get("/api/x", header("x", "{{secret:missing}}")),
            "not-found",
            "no secret “missing”",
        ),
        (&sender, get("/api/x?k={{secret:token}}", json!([])), "invalid", "in the address"),
        (
            &sender,
            get("/api/x", header("user-agent", "{{secret:token}}")),
            "invalid",
            "User-Agent",
        ),
        (
            &sender,
            get("/api/x", header("{{secret:token}}", "x")),
            "invalid",
            "name of a header",
        ),
    ] {
        let said = station.run(agent, &request).await.succeeded();
        let (found, message) = (
            said["code"].as_str().unwrap_or_default(),
            said["message"].as_str().unwrap_or_default(),
        );
        assert_eq!(found.replace('_', "-"), code, "{request} {said}");
        assert!(message.contains(says) && !message.contains(HEADER), "{request} {said}");
    }
    assert!(asked.try_recv().is_err(), "nothing was sent of what was refused");
    station.stop().await;
}

#[tokio::test]
async fn a_workspaces_own_secret_goes_first_and_a_new_value_is_sent_from_the_next_call() {
    let (address, mut asked) = echo().await;
    let station = station().await;
    let http = station.owner();
    set(&http, SECRETS, "token", "of-the-organization", binding(&address)).await;
    let source = "export async function onMessage(message, station) {
      const answer = await station.http.send({ method: 'GET', url: message.text, headers: [['x-key', '{{secret:token}}']] });
      await station.inbox.reply(answer.text().slice(0, 300));
    }";
    let agent = station.publish(script("talker", &grants(&address, "\"token\""), source)).await;
    let id = station.begin(&agent, &json!({})).await;
    let url = format!("http://{address}/echo");
    station.say(id, &url).await;
    assert!(asked.recv().await.unwrap().contains("x-key: of-the-organization"));
    let own = "/api/v1/orgs/default/workspaces/default/secrets";
    let secret = set(&http, own, "token", "of-the-workspace", binding(&address)).await;
    station.until_replies(id, 1).await;
    station.say(id, &url).await;
    assert!(asked.recv().await.unwrap().contains("x-key: of-the-workspace"));
    station.until_replies(id, 2).await;
    let place = format!("{own}/{}", secret["id"].as_str().unwrap());
    let rotated = http
        .post(&format!("{place}/rotate"), &json!({ "value": "of-the-workspace-2" }))
        .await
        .expect(200)
        .json();
    assert_eq!(rotated["current_version"], 2);
    station.say(id, &url).await;
    assert!(asked.recv().await.unwrap().contains("x-key: of-the-workspace-2"));
    let replies = station.until_replies(id, 3).await;
    assert!(replies.iter().all(|reply| !reply.contains("of-the-")), "{replies:?}");
    // The version that is sent cannot be destroyed, an old one can, once.
    let destroy = async |number: u32| {
        http.send(Method::DELETE, &format!("{place}/versions/{number}"), None, Vec::new())
            .await
    };
    assert_eq!(destroy(2).await.problem(), "conflict");
    destroy(1).await.expect(204);
    destroy(1).await.expect(404);
    let shown = http.get(&place).await.expect(200);
    assert!(
        shown.json()["history"][1]["destroyed_at"].is_i64() && !shown.body.contains("of-the-"),
        "{}",
        shown.body
    );
    station.stop().await;
}

#[tokio::test]
async fn a_change_made_from_an_older_state_and_what_does_not_fit_are_refused() {
    let station = station().await;
    let http = station.owner();
    let secret = set(&http, SECRETS, "token", "a-value-of-bytes", json!([])).await;
    let place = format!("{SECRETS}/{}", secret["id"].as_str().unwrap());
    let tag = http.get(&place).await.expect(200).header("etag").to_owned();
    let patch = async |http: &Http, body: Value| {
        let body = body.to_string().into_bytes();
        http.send(Method::PATCH, &place, Some("application/json"), body).await
    };
    let stale = http.with("If-Match", &tag);
    patch(&stale, json!({ "note": "one" })).await.expect(200);
    assert_eq!(patch(&stale, json!({ "note": "two" })).await.problem(), "conflict");
    assert_eq!(http.get(&place).await.json()["note"], "one");
    for wrong in [
        json!({ "bindings": [{ "agents": [], "host": "example.com" }] }),
        json!({ "bindings": [{ "agents": ["*"], "host": "https://example.com" }] }),
        json!({ "bindings": [{ "agents": ["*"], "host": "example.com", "methods": ["FETCH"] }] }),
        json!({ "bindings": [{ "agents": ["*"], "host": "example.com", "path_prefix": "v1" }] }),
        json!({ "note": "two\nlines" }),
    ] {
        assert_eq!(patch(&http, wrong.clone()).await.problem(), "invalid", "{wrong}");
    }
    for wrong in [
        json!({ "name": "token", "value": "a-value-of-bytes" }),
        json!({ "name": "short", "value": "1234567" }),
        json!({ "name": "long", "value": "x".repeat(8193) }),
        json!({ "name": "a name", "value": "a-value-of-bytes" }),
        json!({ "name": "none" }),
        json!({ "name": "two", "value": "a-value-of-bytes", "env": "AGENTSTATION_SECRET_OUTSIDE" }),
        json!({ "name": "file", "file": "token" }),
    ] {
        let refused = http.post(SECRETS, &wrong).await;
        assert!(
            ["invalid", "already_exists", "forbidden"].contains(&refused.problem().as_str()),
            "{wrong}: {}",
            refused.body
        );
    }
    assert_eq!(http.get(SECRETS).await.json()["items"].as_array().unwrap().len(), 1);
    http.send(Method::DELETE, &place, None, Vec::new()).await.expect(204);
    http.get(&place).await.expect(404);
    station.stop().await;
}

#[tokio::test]
async fn only_a_station_admin_points_a_secret_to_the_stations_machine() {
    let (address, mut asked) = echo().await;
    let station = station().await;
    let admin = station.user(Role::Admin).await;
    let mut theirs = crate::support::Browser::sign_in(station.address, &admin, crate::support::PASSWORD).await;
    let fields = [
        ("name", "outside"),
        ("for", "org"),
        ("source", "env"),
        ("place", "AGENTSTATION_SECRET_OUTSIDE"),
        ("agents", "*"),
        ("host", "evil.test"),
    ];
    theirs.submit("/settings/secrets", &fields).await.expect(403);
    let own = station.nobody().bearer(
        &station
            .scoped_key(&[Permission::SecretsManage, Permission::SecretsRead, Permission::StationManage])
            .await,
    );
    let new = json!({ "name": "outside", "env": "AGENTSTATION_SECRET_OUTSIDE", "bindings": binding(&address) });
    let made = own.post(SECRETS, &new).await.expect(201).json();
    assert_eq!(
        (made["source"].as_str(), made["place"].as_str()),
        (Some("env"), Some("AGENTSTATION_SECRET_OUTSIDE"))
    );
    // Nor does an admin of the organization send what it points to elsewhere.
    let id = made["id"].as_str().unwrap();
    let fields = [
        ("version", "1"),
        ("note", ""),
        ("agents", "*"),
        ("host", "evil.test"),
        ("methods", ""),
        ("path", ""),
    ];
    theirs.submit(&format!("/settings/secrets/{id}"), &fields).await.expect(403);
    let agent = station.publish(script("sender", &grants(&address, "\"outside\""), SEND)).await;
    let request = json!({ "method": "GET", "url": format!("http://{address}/x"), "headers": [["x-key", "{{secret:outside}}"]] });
    assert_eq!(station.run(&agent, &request).await.succeeded()["status"], 200);
    assert!(asked.recv().await.unwrap().contains("x-key: outside-0123456789"));
    files_have_none(station.directory(), &["outside-0123456789"]).await;
    station.stop().await;
}

#[tokio::test]
async fn without_the_master_key_calls_with_secrets_say_which_key_is_missing_and_others_go_on() {
    let (address, _asked) = echo().await;
    let station = station().await;
    set(&station.owner(), SECRETS, "token", HEADER, binding(&address)).await;
    let agent = station.publish(script("sender", &grants(&address, "\"token\""), SEND)).await;
    let expected = station.app.sealing.key().unwrap().fingerprint();
    let data = station.stop().await;
    let key = data.path().join("master.key");
    std::fs::remove_file(&key).unwrap();
    let station = TestStation::builder()
        .data(data)
        .outbound(Site::reachable())
        .setting("AGENTSTATION_OUTBOUND_OPEN_CIDRS", "127.0.0.0/8")
        .start()
        .await;
    let request = |value: &str| json!({ "method": "GET", "url": format!("http://{address}/x"), "headers": [["x-key", value]] });
    assert_eq!(station.run(&agent, &request("none")).await.succeeded()["status"], 200);
    let said = station.run(&agent, &request("{{secret:token}}")).await.succeeded();
    let message = said["message"].as_str().unwrap();
    assert!(message.contains(&expected) && message.contains(key.to_str().unwrap()), "{message}");
    let page = station.browser().await.get("/settings/secrets").await.expect(200).body;
    assert!(
        page.contains(&expected) && page.contains(key.to_str().unwrap()) && page.contains(">token<"),
        "{page}"
    );
    let refused = station
        .owner()
        .post(SECRETS, &json!({ "name": "new", "value": "a-value-of-bytes" }))
        .await;
    assert!(refused.body.contains(&expected), "{}", refused.body);
    station.stop().await;
}
