//! Alerts: what people are told stands on their page by their role, and goes out through channels until it has arrived or is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use agentstation::domain::notification::Tone;
use agentstation::domain::permission::Role;
use agentstation::domain::time::{Clock as _, SimClock, Timestamp};
use agentstation::store::notifications::{self, New};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::site::Site;
use crate::support::smtp::Smtp;
use crate::support::{Browser, PASSWORD, TestStation};

const CHANNELS: &str = "/api/v1/orgs/default/channels";

/// A program that takes what is posted to it, and answers with a status.
struct Receiver {
    address: std::net::SocketAddr,
    status: Arc<AtomicU16>,
    got: watch::Receiver<Vec<(String, String)>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let status = Arc::new(AtomicU16::new(200));
        let (put, got) = watch::channel(Vec::new());
        let answer = Arc::clone(&status);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut all = Vec::new();
                let mut chunk = [0; 4096];
                let (head, body) = loop {
                    let n = stream.read(&mut chunk).await.unwrap_or(0);
                    all.extend_from_slice(&chunk[..n]);
                    let text = String::from_utf8_lossy(&all).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else {
                        if n == 0 {
                            break (String::new(), String::new());
                        }
                        continue;
                    };
                    let length = head
                        .lines()
                        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned))
                        .and_then(|length| length.parse().ok())
                        .unwrap_or(0);
                    if body.len() >= length || n == 0 {
                        break (head.to_owned(), body.to_owned());
                    }
                };
                put.send_modify(|got| got.push((head, body)));
                let status = answer.load(Ordering::SeqCst);
                let reply = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                _ = stream.write_all(reply.as_bytes()).await;
            }
        });
        Self { address, status, got }
    }

    fn url(&self) -> String {
        format!("http://{}/hooks/verysecretpath", self.address)
    }

    async fn until(&mut self, count: usize) -> (String, Value) {
        let got = tokio::time::timeout(Duration::from_secs(20), self.got.wait_for(|got| got.len() >= count))
            .await
            .expect("it was not posted to")
            .unwrap();
        let (head, body) = got[count - 1].clone();
        (head, serde_json::from_str(&body).unwrap())
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map_or("", |(_, value)| value)
}

async fn tell(station: &TestStation, min_role: Role, title: &str) {
    let (org, now) = (station.actor().await.org, station.app.clock.now());
    let new = New {
        org,
        min_role,
        tone: Tone::Wait,
        title: title.to_owned(),
        body: "Of $10.00, $8.00 is spent.".to_owned(),
        link: "/costs".to_owned(),
    };
    station.app.store.write(move |tx| notifications::add(tx, &new, now)).await.unwrap();
}

async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..400 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it did not come to that");
}

async fn channel(station: &TestStation, id: &str) -> Value {
    station.owner().get(&format!("{CHANNELS}/{id}")).await.expect(200).json()
}

#[tokio::test]
async fn people_see_what_their_role_may_and_mark_it_as_read() {
    let station = TestStation::start().await;
    tell(&station, Role::Viewer, "Budget “all” is at 80 %").await;
    tell(&station, Role::Admin, "An alert did not arrive").await;
    let mut owner = station.browser().await;
    let page = owner.get("/notifications").await.expect(200);
    assert!(page.body.contains("at 80 %") && page.body.contains("did not arrive"));
    assert!(page.body.contains("2<span class=\"sr-only\"> unread"), "{}", page.body);
    let newest = crate::support::http::between(&page.body, "name=\"up_to\" value=\"", "\"")
        .unwrap()
        .to_owned();
    let email = station.user(Role::Operator).await;
    let mut operator = Browser::sign_in(station.address, &email, PASSWORD).await;
    let theirs = operator.get("/notifications").await.expect(200);
    assert!(theirs.body.contains("at 80 %") && !theirs.body.contains("did not arrive"));
    // What comes after the page was made stays unread.
    tell(&station, Role::Viewer, "Budget “all” is at 90 %").await;
    let done = owner.submit("/notifications/read", &[("up_to", &newest)]).await;
    assert_eq!(done.status, 303, "{}", done.body);
    let page = owner.get("/notifications").await.expect(200);
    assert!(page.body.contains("1<span class=\"sr-only\"> unread"), "{}", page.body);
    let listed = station
        .owner()
        .get("/api/v1/orgs/default/notifications?limit=2")
        .await
        .expect(200)
        .json();
    assert_eq!(listed["items"][0]["read"], false);
    assert_eq!(listed["items"][1]["read"], true);
    let next = listed["next"].as_str().unwrap();
    let rest = station
        .owner()
        .get(&format!("/api/v1/orgs/default/notifications?cursor={next}"))
        .await
        .expect(200)
        .json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
}

#[tokio::test]
async fn alerts_go_to_programs_signed_and_to_chats_in_their_words() {
    let (mut plain, mut chat) = (Receiver::start().await, Receiver::start().await);
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let owner = station.owner();
    let made = owner
        .post(CHANNELS, &json!({ "name": "pager", "kind": "webhook", "address": plain.url() }))
        .await
        .expect(201)
        .json();
    let key = made["signing_key"].as_str().unwrap().to_owned();
    assert_eq!(made["target"], plain.address.to_string());
    let slack = json!({ "name": "chat", "kind": "slack", "address": chat.url() });
    owner.post(CHANNELS, &slack).await.expect(201);
    assert_eq!(owner.post(CHANNELS, &slack).await.json()["code"], "already_exists");
    tell(&station, Role::Viewer, "Budget <all> is at 80 %").await;

    let (head, body) = plain.until(1).await;
    assert_eq!(
        (&body["type"], &body["data"]["title"]),
        (&json!("notification.created"), &json!("Budget <all> is at 80 %"))
    );
    assert!(body["data"]["link"].as_str().unwrap().ends_with("/costs"));
    let (id, seconds) = (header(&head, "webhook-id"), header(&head, "webhook-timestamp"));
    let raw = plain.got.borrow()[0].1.clone();
    let signature = agentstation::crypto::webhook::sign(&key, id, seconds.parse().unwrap(), raw.as_bytes()).unwrap();
    assert_eq!(header(&head, "webhook-signature"), signature);
    let (head, body) = chat.until(1).await;
    assert!(body["text"].as_str().unwrap().contains("Budget &lt;all&gt; is at 80 %"), "{body}");
    assert_eq!(header(&head, "webhook-signature"), "");

    // The address is in no answer, no page and no log of what was done.
    let mut browser = station.browser().await;
    let audit = owner.get("/api/v1/orgs/default/audit").await.expect(200).body;
    for text in [owner.get(CHANNELS).await.body, browser.get("/settings/alerts").await.body, audit] {
        assert!(!text.contains("verysecretpath") && !text.contains("whsec_"));
    }
    let id = made["id"].as_str().unwrap().to_owned();
    until(async || channel(&station, &id).await["last_at"].as_i64()).await;
    assert_eq!(channel(&station, &id).await["last_error"], Value::Null);
}

#[tokio::test]
async fn what_does_not_arrive_is_tried_again_after_a_restart_too_and_given_up_in_the_end() {
    let mut receiver = Receiver::start().await;
    receiver.status.store(500, Ordering::SeqCst);
    let clock = SimClock::at(Timestamp::from_ms(1_793_096_400_000));
    let station = TestStation::builder()
        .clock(clock.clone())
        .outbound(Site::reachable())
        .start()
        .await;
    let body = json!({ "name": "pager", "kind": "webhook", "address": receiver.url() });
    let made = station.owner().post(CHANNELS, &body).await.expect(201).json();
    let id = made["id"].as_str().unwrap().to_owned();
    tell(&station, Role::Viewer, "first").await;
    receiver.until(1).await;
    until(async || {
        let error = channel(&station, &id).await["last_error"].as_str().map(str::to_owned);
        error.filter(|error| error.contains("status 500") && !error.contains("verysecretpath"))
    })
    .await;
    let data = station.stop().await;
    let station = TestStation::builder()
        .clock(clock.clone())
        .data(data)
        .outbound(Site::reachable())
        .start()
        .await;
    for (tries, wait) in [(2, 30), (3, 300), (4, 1_800), (5, 7_200)] {
        clock.advance(Duration::from_secs(wait));
        let (_, body) = receiver.until(tries).await;
        assert_eq!(body["data"]["title"], "first");
        // The next time counts from when this one was written down.
        let now = clock.now().as_ms();
        until(async || channel(&station, &id).await["last_at"].as_i64().filter(|at| *at == now)).await;
    }
    let told = until(async || {
        let listed = station.owner().get("/api/v1/orgs/default/notifications").await.expect(200).json();
        listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|item| item["title"].as_str().unwrap().contains("did not reach"))
            .cloned()
    })
    .await;
    assert!(told["body"].as_str().unwrap().contains("after 5 tries"), "{told}");
    // What could not be sent is not sent as an alert about itself.
    clock.advance(Duration::from_hours(5));
    receiver.status.store(200, Ordering::SeqCst);
    tell(&station, Role::Viewer, "second").await;
    let (_, body) = receiver.until(6).await;
    assert_eq!(body["data"]["title"], "second");
}

#[tokio::test]
async fn a_receiver_that_is_gone_disables_its_channel() {
    let mut receiver = Receiver::start().await;
    receiver.status.store(410, Ordering::SeqCst);
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let body = json!({ "name": "pager", "kind": "slack", "address": receiver.url() });
    let id = station.owner().post(CHANNELS, &body).await.expect(201).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    tell(&station, Role::Viewer, "first").await;
    receiver.until(1).await;
    until(async || (channel(&station, &id).await["enabled"] == false).then_some(())).await;
    let page = station.browser().await.get("/notifications").await.expect(200);
    assert!(page.body.contains("Alerts no longer go to “pager”"), "{}", page.body);
}

#[tokio::test]
async fn mail_goes_to_an_address_and_is_refused_without_a_server() {
    let station = TestStation::start().await;
    let mail = json!({ "name": "us", "kind": "mail", "address": "team@example.com" });
    assert_eq!(station.owner().post(CHANNELS, &mail).await.json()["code"], "conflict");
    let mut smtp = Smtp::start().await;
    let mut builder = TestStation::builder();
    for (variable, value) in smtp.settings() {
        builder = builder.setting(variable, &value);
    }
    let station = builder.start().await;
    station.owner().post(CHANNELS, &mail).await.expect(201);
    tell(&station, Role::Viewer, "Budget “all” is at 80 %").await;
    let letter = smtp.letter().await;
    assert_eq!(letter.to, "team@example.com");
    assert!(
        letter.text.contains("Of $10.00, $8.00 is spent.") && letter.text.contains("/costs"),
        "{}",
        letter.text
    );
}

#[tokio::test]
async fn channels_are_changed_by_the_version_that_was_read_and_tested_without_reaching_inside() {
    let station = TestStation::start().await;
    let owner = station.owner();
    for (body, pointer) in [
        (json!({ "name": "", "kind": "slack", "address": "https://a.example/x" }), "/name"),
        (json!({ "name": "a", "kind": "slack", "address": "ftp://a.example/x" }), "/address"),
        (
            json!({ "name": "a", "kind": "webhook", "address": "https://u:p@a.example/x" }),
            "/address",
        ),
        (json!({ "name": "a", "kind": "pigeon", "address": "https://a.example/x" }), "/kind"),
    ] {
        let answer = owner.post(CHANNELS, &body).await;
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{}", answer.body);
    }
    let inside = json!({ "name": "inside", "kind": "webhook", "address": "http://127.0.0.1:9/x" });
    let id = owner.post(CHANNELS, &inside).await.expect(201).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let tested = owner.post(&format!("{CHANNELS}/{id}/test"), &json!({})).await.expect(200).json();
    assert!(tested["last_error"].as_str().unwrap().contains("public addresses only"), "{tested}");
    let path = format!("{CHANNELS}/{id}");
    let patch = async |tag: &str, body: Value| {
        let http = owner.with("if-match", tag);
        http.send(
            reqwest::Method::PATCH,
            &path,
            Some("application/json"),
            body.to_string().into_bytes(),
        )
        .await
    };
    assert_eq!(patch("\"7\"", json!({ "enabled": false })).await.json()["code"], "conflict");
    let changed = patch("\"1\"", json!({ "enabled": false, "name": "off" })).await.expect(200);
    assert_eq!(changed.header("etag"), "\"2\"");
    let mut browser = station.browser().await;
    let page = browser.get("/settings/alerts").await.expect(200);
    assert!(page.body.contains("disabled") && page.body.contains("Remove “off”?"));
    let removed = browser.submit(&format!("/settings/alerts/{id}/remove"), &[]).await;
    assert_eq!(removed.status, 303, "{}", removed.body);
    owner.get(&path).await.expect(404);
}
