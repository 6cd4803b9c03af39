//! Runs that fail, are paused, are tried again: what is done a second time, and what is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use agentstation::domain::journal::EntryView;
use agentstation::domain::run::RunState;
use agentstation::services::runs;
use serde_json::{Value, json};

use crate::support::agents::{Ended, script};
use crate::support::site::{Reply, Site};
use crate::support::{TestStation, journal};

/// Remembers, asks, remembers.
const ASKER: &str = "export default async function run(input, station) {
  await station.memory.put('before', 1);
  const response = await station.http.send({ method: input.method ?? 'GET', url: input.url });
  await station.memory.put('after', 1);
  return response.status;
}";
const QUICK: &str = "[retry]\nattempts = 4\nbase-ms = 1\n";

/// A site that hangs up on its first `failures` requests.
async fn failing_site(failures: usize) -> Site {
    let asked = AtomicUsize::new(0);
    Site::start(move |_| {
        if asked.fetch_add(1, Ordering::SeqCst) < failures {
            Reply::HangUp
        } else {
            Reply::Text("done".to_owned())
        }
    })
    .await
}

fn capabilities(site: &Site, methods: &str, more: &str) -> String {
    format!("[capabilities]\nmemory = true\nhttp = [{}]\n", site.grant(methods, more))
}

fn markers(ended: &Ended) -> Vec<Value> {
    let retried = |entry: &&EntryView| entry.kind == "run.retried";
    let entries = ended.entries.iter().filter(retried);
    entries.map(|entry| serde_json::from_str(entry.meta.get()).unwrap()).collect()
}

fn versions(station: &TestStation) -> Vec<i64> {
    let db = journal::open(station.directory());
    let memory = journal::memory(&db, "production");
    memory.into_values().map(|(_, version, _)| version).collect()
}

#[tokio::test]
async fn a_run_goes_on_from_the_call_that_failed_when_that_passes() {
    let site = failing_site(2).await;
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let extra = format!("{QUICK}{}", capabilities(&site, "\"GET\"", ""));
    let agent = station.publish(script("asker", &extra, ASKER)).await;
    let ended = station.run(&agent, &json!({ "url": site.url("/") })).await;
    let told = markers(&ended);
    assert_eq!(told.len(), 2, "{}", ended.error);
    assert_eq!(
        (&told[1]["attempt"], &told[1]["of"], &told[1]["reason"]),
        (&json!(3), &json!(4), &json!("unavailable"))
    );
    assert_eq!((ended.run.attempt, ended.run.tries), (2, 2));
    assert_eq!(ended.succeeded(), json!(200));
    assert_eq!(site.asked().len(), 3);
    assert_eq!(versions(&station), [1, 1], "what came before is not done again");
}

#[tokio::test]
async fn when_the_tries_are_used_up_the_run_is_a_dead_letter() {
    let site = failing_site(usize::MAX).await;
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let extra = format!("{QUICK}{}", capabilities(&site, "\"GET\"", ""));
    let agent = station.publish(script("asker", &extra, ASKER)).await;
    let ended = station.run(&agent, &json!({ "url": site.url("/") })).await.because("agent_error");
    assert!(ended.message().contains("tried 4 times"), "{}", ended.message());
    assert_eq!(site.asked().len(), 4);
    assert!(ended.run.dead);
    let listed = station.owner().get("/api/v1/dead-letters").await.expect(200).json();
    assert_eq!(listed["items"][0]["id"], json!(ended.run.id.to_string()));
}

#[tokio::test]
async fn the_stations_own_tries_hold_where_nobody_says_otherwise() {
    let site = failing_site(usize::MAX).await;
    let station = TestStation::builder()
        .outbound(Site::reachable())
        .setting("AGENTSTATION_RUNS_RETRY_ATTEMPTS", "3")
        .setting("AGENTSTATION_RUNS_RETRY_BASE_MS", "1")
        .start()
        .await;
    let agent = station.publish(script("asker", &capabilities(&site, "\"GET\"", ""), ASKER)).await;
    station.run(&agent, &json!({ "url": site.url("/") })).await.because("agent_error");
    assert_eq!(site.asked().len(), 3);
    let body = json!({ "agent": "asker", "input": { "url": site.url("/") }, "retry": { "attempts": 1 } });
    station.owner().post("/api/v1/runs?wait=30", &body).await.expect(200);
    assert_eq!(site.asked().len(), 4, "who starts it has the last word");
}

#[tokio::test]
async fn a_host_that_keeps_failing_is_not_asked_for_a_while() {
    const STUBBORN: &str = "export default async function run(input, station) {
      let last;
      for (let i = 0; i < 25; i++) {
        try { await station.http.send({ method: 'GET', url: input.url }); } catch (error) { last = error; }
      }
      return { code: last.code, message: last.message, retryable: last.retryable };
    }";
    let site = failing_site(usize::MAX).await;
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let agent = station
        .publish(script("stubborn", &capabilities(&site, "\"GET\"", ""), STUBBORN))
        .await;
    let output = station.run(&agent, &json!({ "url": site.url("/") })).await.succeeded();
    assert_eq!((&output["code"], &output["retryable"]), (&json!("unavailable"), &json!(true)));
    assert!(output["message"].as_str().unwrap().contains("too many calls"), "{output}");
    assert_eq!(site.asked().len(), 20);
}

#[tokio::test]
async fn a_write_with_a_key_is_tried_again_under_the_same_key() {
    let site = failing_site(1).await;
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let more = ", idempotency-header = \"X-Key\", approval = \"never\"";
    let extra = format!("{QUICK}{}", capabilities(&site, "\"POST\"", more));
    let agent = station.publish(script("asker", &extra, ASKER)).await;
    let ended = station.run(&agent, &json!({ "url": site.url("/"), "method": "POST" })).await;
    assert_eq!(ended.succeeded(), json!(200));
    let keys: Vec<String> = site.asked().iter().map(|asked| asked.header("x-key").to_owned()).collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1], "the first may have arrived");
    assert_eq!(keys[0].len(), 64);
}

#[tokio::test]
async fn a_write_without_a_key_that_may_have_happened_is_not_tried_again_by_itself() {
    let site = failing_site(1).await;
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let extra = format!("{QUICK}{}", capabilities(&site, "\"POST\"", ", approval = \"never\""));
    let agent = station.publish(script("asker", &extra, ASKER)).await;
    let ended = station
        .run(&agent, &json!({ "url": site.url("/"), "method": "POST" }))
        .await
        .because("agent_error");
    assert!(ended.message().contains("may have been carried out"), "{}", ended.message());
    assert_eq!(site.asked().len(), 1);
}

#[tokio::test]
async fn what_was_written_after_the_failed_call_is_not_written_twice() {
    const REGRETS: &str = "export default async function run(input, station) {
      try { await station.http.send({ method: 'GET', url: input.url }); }
      catch (error) { await station.memory.put('noted', 1); throw error; }
    }";
    let site = failing_site(usize::MAX).await;
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let extra = format!("{QUICK}{}", capabilities(&site, "\"GET\"", ""));
    let agent = station.publish(script("regrets", &extra, REGRETS)).await;
    let ended = station.run(&agent, &json!({ "url": site.url("/") })).await.because("agent_error");
    assert!(ended.message().contains("memory.put came after"), "{}", ended.message());
    assert_eq!(site.asked().len(), 1);
    let (owner, id) = (station.owner(), ended.run.id);
    let refused = owner.post(&format!("/api/v1/runs/{id}/retry"), &json!({})).await.expect(409).json();
    assert!(refused["detail"].as_str().unwrap().contains("memory.put"), "{refused}");
    let refused = owner
        .post(&format!("/api/v1/runs/{id}/start-over"), &json!({}))
        .await
        .expect(409)
        .json();
    assert_eq!(refused["errors"][0]["message"], json!("memory.put noted"));
    let over = owner
        .post(&format!("/api/v1/runs/{id}/start-over"), &json!({ "repeat_writes": true }))
        .await
        .expect(202)
        .json();
    assert_ne!(over["id"], json!(id.to_string()));
    assert!(!runs::get(&station.app, &station.actor().await, id).await.unwrap().dead);
}

#[tokio::test]
async fn a_person_has_a_dead_letter_tried_again() {
    let site = failing_site(1).await;
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let agent = station.publish(script("asker", &capabilities(&site, "\"GET\"", ""), ASKER)).await;
    let ended = station.run(&agent, &json!({ "url": site.url("/") })).await.because("agent_error");
    assert_eq!(site.asked().len(), 1, "once, unless somebody says otherwise");
    let (owner, id) = (station.owner(), ended.run.id);
    let retried = owner.post(&format!("/api/v1/runs/{id}/retry"), &json!({})).await.expect(202).json();
    assert_eq!(retried["dead"], json!(false));
    let ended = station.end(id).await;
    assert_eq!(ended.succeeded(), json!(200));
    assert_eq!(site.asked().len(), 2);
    assert_eq!(versions(&station), [1, 1]);
    let again = owner.post(&format!("/api/v1/runs/{id}/retry"), &json!({})).await.expect(409).json();
    assert!(again["detail"].as_str().unwrap().contains("succeeded"), "{again}");
}

#[tokio::test]
async fn what_would_only_end_in_the_same_way_is_not_tried_again() {
    let station = TestStation::start().await;
    let owner = station.owner();
    let sources = [
        ("gives-up", "export default function run() { throw new Error('no'); }", "gave up"),
        ("loops", "export default function run() { for (;;) {} }", "fuel"),
    ];
    let mut ids = Vec::new();
    for (name, source, why) in sources {
        let agent = station.publish(script(name, "[limits]\nfuel = 50_000_000\n", source)).await;
        let ended = station.run(&agent, &json!({})).await;
        let refused = owner
            .post(&format!("/api/v1/runs/{}/retry", ended.run.id), &json!({}))
            .await
            .expect(409)
            .json();
        assert!(refused["detail"].as_str().unwrap().contains(why), "{refused}");
        ids.push(ended.run.id.to_string());
    }
    let body = json!({ "runs": [ids[0], "run_00000000000000000000000000"] });
    let bulk = owner.post("/api/v1/dead-letters/discard", &body).await.expect(200).json();
    assert_eq!(
        (&bulk["items"][0]["state"], &bulk["items"][1]["code"]),
        (&json!("failed"), &json!("not_found"))
    );
    let listed = owner.get("/api/v1/dead-letters").await.expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    owner
        .post(&format!("/api/v1/runs/{}/discard", ids[1]), &json!({}))
        .await
        .expect(202);
    owner
        .post(&format!("/api/v1/runs/{}/discard", ids[1]), &json!({}))
        .await
        .expect(409);
}

#[tokio::test]
async fn a_paused_run_stops_at_its_next_call_and_goes_on_when_resumed() {
    const POLLS: &str = "export default async function run(input, station) {
      for (let i = 0; ; i++) {
        const response = await station.http.send({ method: 'GET', url: input.url });
        if (response.text() === 'go') return 'went';
      }
    }";
    let go = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&go);
    let site = Site::start(move |_| Reply::Text(if gone.load(Ordering::SeqCst) { "go" } else { "no" }.to_owned())).await;
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let agent = station.publish(script("polls", &capabilities(&site, "\"GET\"", ""), POLLS)).await;
    let id = station.begin(&agent, &json!({ "url": site.url("/") })).await;
    site.until_asked(3).await;
    let owner = station.owner();
    let paused = owner.post(&format!("/api/v1/runs/{id}/pause"), &json!({})).await.expect(202).json();
    assert_eq!((&paused["state"], &paused["holds"]), (&json!("paused"), &json!(["pause"])));
    station.until_state(id, RunState::Queued).await;
    let asked = site.asked().len();
    let listed = owner.get("/api/v1/runs?state=paused").await.expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(owner.get("/api/v1/runs?state=queued").await.expect(200).json()["items"], json!([]));
    // Nobody takes it although slots are free.
    station.app.dispatcher.queued();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(site.asked().len(), asked);
    go.store(true, Ordering::SeqCst);
    owner.post(&format!("/api/v1/runs/{id}/resume"), &json!({})).await.expect(202);
    let ended = station.end(id).await;
    let kinds: Vec<&str> = ended.entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert!(kinds.contains(&"run.paused") && kinds.contains(&"run.resumed"), "{kinds:?}");
    assert_eq!(ended.succeeded(), json!("went"));
    assert_eq!(site.asked().len(), asked + 1, "what was answered is not asked again");
    owner.post(&format!("/api/v1/runs/{id}/pause"), &json!({})).await.expect(409);
}

#[tokio::test]
async fn a_paused_run_can_be_cancelled() {
    let site = Site::start(|_| Reply::Text("no".to_owned())).await;
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let source =
        "export default async function run(input, station) { for (;;) await station.http.send({ method: 'GET', url: input.url }); }";
    let agent = station.publish(script("polls", &capabilities(&site, "\"GET\"", ""), source)).await;
    let id = station.begin(&agent, &json!({ "url": site.url("/") })).await;
    site.until_asked(1).await;
    let owner = station.owner();
    owner.post(&format!("/api/v1/runs/{id}/pause"), &json!({})).await.expect(202);
    owner.post(&format!("/api/v1/runs/{id}/cancel"), &json!({})).await.expect(202);
    station.end(id).await.because("cancelled");
}

#[tokio::test]
async fn a_priority_or_retry_out_of_range_is_named() {
    let station = TestStation::start().await;
    station.publish(script("plain", "", "export default () => 1")).await;
    let owner = station.owner();
    for (extra, pointer) in [
        (json!({ "priority": 11 }), "/priority"),
        (json!({ "retry": { "attempts": 0 } }), "/retry/attempts"),
        (json!({ "retry": { "on": ["denied"] } }), "/retry/on"),
    ] {
        let mut body = json!({ "agent": "plain" });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let refused = owner.post("/api/v1/runs", &body).await.expect(422).json();
        assert_eq!(refused["errors"][0]["pointer"], json!(pointer), "{refused}");
    }
    let started = owner
        .post("/api/v1/runs", &json!({ "agent": "plain", "priority": -3 }))
        .await
        .expect(202)
        .json();
    assert_eq!(started["priority"], json!(-3));
}
