//! The real program, killed and started again on the same data.

mod cycles;
mod invariants;
mod outside;
mod person;
mod workload;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::support::program::{Place, Serving};
use crate::support::site::{Reply, Site};
use crate::support::{Http, OWNER_EMAIL, PASSWORD, journal, manifest};

const SETTINGS: &str = "[outbound]\nopen_cidrs = [\"127.0.0.0/8\"]\n\n[models.default]\nprovider = \"scripted\"\n";
const WORKSPACE: &str = "/api/v1/orgs/default/workspaces/default";

async fn publish(client: &Http, extra: &str, source: &str) {
    let manifest = format!("{}{extra}", manifest("worker", "1.0.0"));
    let fields: [(&str, &[u8]); 2] = [("manifest", manifest.as_bytes()), ("code", source.as_bytes())];
    client.upload(&format!("{WORKSPACE}/agents"), &fields).await.expect(201);
}

async fn begin(client: &Http, input: Value) -> String {
    let started = client
        .post(&format!("{WORKSPACE}/runs"), &json!({ "agent": "worker", "input": input }))
        .await
        .expect(202)
        .json();
    started["id"].as_str().unwrap().to_owned()
}

async fn events(client: &Http, run: &str) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all.last().map_or(0, |event| event["seq"].as_u64().unwrap());
        let page = client
            .get(&format!("/api/v1/runs/{run}/events?after={after}&limit=500"))
            .await
            .expect(200)
            .json();
        let items = page["items"].as_array().unwrap().clone();
        if items.is_empty() {
            return all;
        }
        all.extend(items);
    }
}

/// Waits until the run has ended.
async fn end(client: &Http, run: &str) -> Value {
    let ended = async {
        loop {
            let body = client.get(&format!("/api/v1/runs/{run}")).await.expect(200).json();
            if body.get("finished_at").is_some_and(|at| !at.is_null()) {
                return body;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), ended)
        .await
        .expect("the run ends in time")
}

/// What of the guest's lane is there more than once, but for intents that were repeated.
fn repeated(events: &[Value]) -> Vec<&Value> {
    let mut seen = BTreeSet::new();
    let guest = events.iter().filter(|event| event["lane"] == "guest" && event["phase"] != "start");
    guest
        .filter(|event| {
            !seen.insert(format!(
                "{}/{}/{}/{}",
                event["segment"], event["call"], event["sub"], event["phase"]
            ))
        })
        .collect()
}

#[tokio::test]
async fn a_station_that_is_killed_again_and_again_does_everything_once() {
    const SILENT_AT: [usize; 3] = [2, 9, 17];
    let count = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&count);
    let site = Site::start(move |request| {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        if SILENT_AT.contains(&number) {
            Reply::Silence
        } else {
            Reply::Text(format!("answer to {}", request.path))
        }
    })
    .await;
    let source = "export default async function run(input, station) {
      const answers = [];
      for (let i = 0; i < 16; i += 1) {
        station.timeline.info(`round ${i}`);
        const before = (await station.memory.get('count')) ?? 0;
        const [response] = await Promise.all([station.http.get(`${input.url}/${i}`), station.memory.put('count', before + 1)]);
        await station.artifacts.put(`answer-${i}.txt`, response.text());
        answers.push((await station.models.chat(`What is ${i}?`)).content);
      }
      return { count: await station.memory.get('count'), artifacts: (await station.artifacts.list()).length, answers: answers.length };
    }";
    let place = Place::new();
    place.write("agentstation.toml", SETTINGS);
    let key = place.init().await;
    let mut serving = place.serve().await;
    let extra = format!(
        "[capabilities]\nmemory = true\nmodels = [\"default\"]\nhttp = [{}]\n",
        site.grant("\"GET\"", "")
    );
    publish(&serving.client(&key), &extra, source).await;
    let run = begin(&serving.client(&key), json!({ "url": site.url("") })).await;
    let mut known: Vec<Value> = Vec::new();
    for silent in SILENT_AT {
        site.until_asked(silent + 1).await;
        let now = events(&serving.client(&key), &run).await;
        assert_eq!(now[..known.len()], known, "what was shown before is still there");
        known = now;
        serving.kill().await;
        serving = place.serve().await;
    }
    let client = serving.client(&key);
    let body = end(&client, &run).await;
    assert_eq!(body["state"], "succeeded", "{body}");
    assert_eq!(body["output"], json!({ "count": 16, "artifacts": 16, "answers": 16 }));
    let events = events(&client, &run).await;
    assert_eq!(events[..known.len()], known);
    assert_eq!(repeated(&events), Vec::<&Value>::new());
    assert_eq!(events.iter().filter(|event| event["kind"] == "run.recovered").count(), 3);
    assert_eq!(site.asked().len(), 16 + 3, "only what was under way was asked again");
    assert!(serving.terminate().await.success());
    let db = journal::open(&place.path().join("agentstation-data"));
    assert_eq!(
        journal::memory(&db, "production")["count"].1,
        16,
        "its version says how often it was put"
    );
}

/// Waits until a run's journal has this many entries.
async fn until_entries(client: &Http, run: &str, entries: u64) {
    while client.get(&format!("/api/v1/runs/{run}")).await.expect(200).json()["entries"]
        .as_u64()
        .unwrap()
        < entries
    {
        tokio::task::yield_now().await;
    }
}

const BUSY: &str = "export default async function run(input, station) {
  for (let i = 0; i < input.rounds; i += 1) {
    const entry = await station.memory.getEntry('count');
    await station.memory.put('count', i, { ifVersion: entry?.version ?? 0 });
  }
  return station.memory.getEntry('count').then((entry) => ({ value: entry.value, version: entry.version }));
}";

#[tokio::test]
async fn a_station_that_is_killed_while_it_writes_loses_nothing_it_has_shown() {
    const ROUNDS: u64 = 300;
    let place = Place::new();
    place.write("agentstation.toml", SETTINGS);
    let key = place.init().await;
    let mut serving = place.serve().await;
    publish(&serving.client(&key), "[capabilities]\nmemory = true\n", BUSY).await;
    let run = begin(&serving.client(&key), json!({ "rounds": ROUNDS })).await;
    for entries in [20, 150, 380] {
        until_entries(&serving.client(&key), &run, entries).await;
        let known = events(&serving.client(&key), &run).await;
        serving.kill().await;
        serving = place.serve().await;
        assert_eq!(events(&serving.client(&key), &run).await[..known.len()], known);
    }
    let client = serving.client(&key);
    let body = end(&client, &run).await;
    assert_eq!(body["output"], json!({ "value": ROUNDS - 1, "version": ROUNDS }), "{body}");
    assert_eq!(repeated(&events(&client, &run).await), Vec::<&Value>::new());
}

/// A place whose station has begun a run that waits for a site that says nothing.
async fn waiting_for(site: &Site) -> (Place, Serving, String, String) {
    let place = Place::new();
    place.write("agentstation.toml", SETTINGS);
    let key = place.init().await;
    let serving = place.serve().await;
    let extra = format!("[capabilities]\nhttp = [{}]\n", site.grant("\"GET\"", ""));
    publish(
        &serving.client(&key),
        &extra,
        "export default (input, station) => station.http.get(input.url).then((response) => response.text());",
    )
    .await;
    let run = begin(&serving.client(&key), json!({ "url": site.url("/") })).await;
    site.until_asked(1).await;
    (place, serving, key, run)
}

#[tokio::test]
async fn a_station_that_is_told_to_stop_puts_its_runs_back_and_ends_well() {
    let count = AtomicUsize::new(0);
    let site = Site::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Silence,
        _ => Reply::Text("at last".to_owned()),
    })
    .await;
    let (place, serving, key, run) = waiting_for(&site).await;
    assert_eq!(serving.terminate().await.code(), Some(0));
    let serving = place.serve().await;
    let body = end(&serving.client(&key), &run).await;
    assert_eq!(
        (&body["state"], &body["output"]),
        (&json!("succeeded"), &json!("at last")),
        "{body}"
    );
    let events = events(&serving.client(&key), &run).await;
    assert!(
        events.iter().all(|event| event["kind"] != "run.recovered"),
        "nothing was left behind"
    );
    assert!(
        serving.log().lines().all(|line| serde_json::from_str::<Value>(line).is_ok()),
        "{}",
        serving.log()
    );
}

#[tokio::test]
async fn a_second_signal_stops_it_at_once_and_loses_nothing() {
    let count = AtomicUsize::new(0);
    let site = Site::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Silence,
        _ => Reply::Text("at last".to_owned()),
    })
    .await;
    let (place, serving, key, run) = waiting_for(&site).await;
    // A request that never ends keeps the server from stopping by itself for a while.
    let mut half = tokio::net::TcpStream::connect(serving.address).await.unwrap();
    let request = format!(
        "POST /api/v1/runs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{{"
    );
    half.write_all(request.as_bytes()).await.unwrap();
    serving.signal();
    let told = async {
        while !serving.log().contains("signal again to stop at once") {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), told)
        .await
        .expect("it says that it stops");
    assert_eq!(serving.terminate().await.code(), Some(130));
    let serving = place.serve().await;
    let body = end(&serving.client(&key), &run).await;
    assert_eq!(
        (&body["state"], &body["output"]),
        (&json!("succeeded"), &json!("at last")),
        "{body}"
    );
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused() {
    let place = Place::new();
    place.init().await;
    let serving = place.serve().await;
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["key", "create", "--user", OWNER_EMAIL]] {
        let refused = place.run(command).await.expect(1);
        assert_eq!(refused.stdout, "");
        assert!(
            refused.stderr.contains("agentstation-data") && refused.stderr.contains("another"),
            "{}",
            refused.stderr
        );
    }
    Http::new(serving.address).get("/healthz").await.expect(200);
    serving.kill().await;
    place
        .run_with(
            &[
                "user",
                "create",
                "--email",
                "bo@example.com",
                "--role",
                "viewer",
                "--password-stdin",
            ],
            &format!("{PASSWORD}\n"),
        )
        .await
        .expect(0);
}

#[tokio::test]
async fn a_station_that_was_killed_at_its_first_start_can_be_set_up() {
    let place = Place::new();
    place.serve().await.kill().await;
    let serving = place.serve().await;
    assert!(serving.client("none").get("/readyz").await.status.is_success());
    serving.kill().await;
    let key = place.init().await;
    let serving = place.serve().await;
    serving.client(&key).get(&format!("{WORKSPACE}/agents")).await.expect(200);
}
