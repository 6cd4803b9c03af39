//! Verifying finished runs: the same, the same as far as it goes, or where it differs and how.

use agentstation::domain::id::RunId;
use agentstation::domain::origin::Origin;
use agentstation::services::verify::{self, Outcome, Verified};
use agentstation::services::{Error, runs};
use serde_json::{Value, json};

use crate::approvals::pending_of;
use crate::replay::{example, models};
use crate::sessions::said;
use crate::support::TestStation;
use crate::support::agents::{Ended, script};
use crate::support::journal;
use crate::support::program::Place;
use crate::support::site::{Reply, Site};

const HELLO: &str = "export default function run(input) { return { hello: input.name ?? 'world' }; }";

async fn station() -> TestStation {
    TestStation::builder().models(models()).outbound(Site::reachable()).start().await
}

async fn verified(station: &TestStation, id: RunId) -> Verified {
    verify::verify(&station.app, &station.actor().await, id, verify::WITHIN, Origin::default())
        .await
        .unwrap()
}

#[track_caller]
fn assert_identical(what: &str, found: &Verified) {
    assert_eq!(found.result, Outcome::Identical, "{what}: {} {:?}", found.text, found.difference);
    assert!(found.fuel_compared, "{what}");
}

fn change(station: &TestStation, sql: &str, id: RunId) {
    let changed = journal::open(station.directory()).execute(sql, [id.to_string()]).unwrap();
    assert_eq!(changed, 1, "{sql}");
}

#[tokio::test]
async fn every_example_is_identical() {
    let station = station().await;
    for name in [
        "access-log-digest",
        "csv-report",
        "log-redactor",
        "prime-search",
        "release-notes",
        "ticket-triage",
    ] {
        let (upload, input) = example(name);
        let agent = station.publish(upload).await;
        let ended = station.run(&agent, &input).await;
        assert_eq!(ended.reason(), "", "{name}: {}", ended.error);
        let calls = ended
            .entries
            .iter()
            .filter_map(|entry| entry.call)
            .max()
            .map_or(0, |call| u64::from(call) + 1);
        let found = verified(&station, ended.run.id).await;
        assert_identical(name, &found);
        assert_eq!(found.calls, calls, "{name}");
    }
}

#[tokio::test]
async fn a_run_that_read_the_web_is_identical_and_nothing_is_sent_again() {
    let site = Site::start(|_| Reply::Text("<html><h1>News</h1><p>The end</p></html>".to_owned())).await;
    let station = station().await;
    let (mut upload, mut input) = example("page-watch");
    upload.manifest = upload.manifest.replace("example.com", &site.address.to_string());
    input["url"] = json!(site.url("/"));
    let agent = station.publish(upload).await;
    let ended = station.run(&agent, &input).await;
    let asked = site.asked().len();
    let id = ended.run.id;
    ended.succeeded();
    assert_identical("page-watch", &verified(&station, id).await);
    assert_eq!(site.asked().len(), asked);
}

#[tokio::test]
async fn a_chain_of_segments_is_identical_and_a_changed_state_is_found() {
    let source = "export default async function run(input, station) {
      const count = (station.state?.count ?? 0) + 1;
      await station.artifacts.put('count.txt', `${count}`);
      if (count === 4) return { count, text: await (await station.artifacts.get('count.txt')).text() };
      return station.next({ count }, { wake: count % 2 ? 'now' : { at: station.clock.now() } });
    }";
    let station = station().await;
    let agent = station.publish(script("chain", "", source)).await;
    let id = station.run(&agent, &json!({})).await.run.id;
    let found = verified(&station, id).await;
    assert_identical("a chain", &found);
    assert_eq!(found.segments, 4);
    change(
        &station,
        "UPDATE segments SET state_hash = (SELECT state_hash FROM segments s WHERE s.run_id = ?1 AND s.segment = 1) WHERE run_id = ?1 AND segment = 2",
        id,
    );
    let found = verified(&station, id).await;
    let difference = found.difference.unwrap();
    assert_eq!((difference.segment, difference.what.as_str()), (1, "state"));
    assert_ne!(difference.recorded, difference.now);
}

#[tokio::test]
async fn an_abandoned_segment_is_skipped() {
    let source = "export default function run(input, station) {
      const count = (station.state?.count ?? 0) + 1;
      return count === 3 ? count : station.next({ count }, { wake: 'now' });
    }";
    let station = station().await;
    let agent = station.publish(script("chain", "", source)).await;
    let id = station.run(&agent, &json!({})).await.run.id;
    // As if the second had been given up and the third begun with what it began with.
    change(&station, "UPDATE segments SET abandoned = 1 WHERE run_id = ?1 AND segment = 1", id);
    change(
        &station,
        "UPDATE segments SET state_hash = (SELECT state_hash FROM segments s WHERE s.run_id = ?1 AND s.segment = 1) WHERE run_id = ?1 AND segment = 2",
        id,
    );
    let found = verified(&station, id).await;
    assert_eq!(found.segments, 1, "{}", found.text);
    assert_eq!(
        found.difference.unwrap().what,
        "end",
        "the third now goes on to another, and its fuel is never compared"
    );
}

#[tokio::test]
async fn a_failure_is_identical_with_its_reason_and_words() {
    let station = station().await;
    for (reason, extra, source) in [
        (
            "agent_error",
            "",
            "export default function run() { throw new StationError('no more', { code: 'conflict' }); }",
        ),
        (
            "fuel_exhausted",
            "[limits]\nfuel = 100_000_000\n",
            "export default function run() { for (;;) {} }",
        ),
        (
            "memory_limit",
            "",
            "export default function run() { const kept = []; for (;;) kept.push(new Uint8Array(1 << 20)); }",
        ),
    ] {
        let agent = station.publish(script(&reason.replace('_', "-"), extra, source)).await;
        let ended = station.run(&agent, &json!({})).await.because(reason);
        assert_identical(reason, &verified(&station, ended.run.id).await);
    }
}

/// A run that asks a silent site and is stopped meanwhile.
async fn stopped(station: &TestStation, site: &Site) -> Ended {
    let source = "export default async function run(input, station) {
      await station.memory.put('asked', 1);
      const text = await (await station.http.get(input.url)).text();
      return text;
    }";
    let extra = format!("[capabilities]\nmemory = true\nhttp = [{}]\n", site.grant("\"GET\"", ""));
    let agent = station.publish(script("asking", &extra, source)).await;
    let id = station.begin(&agent, &json!({ "url": site.url("/") })).await;
    site.until_asked(1).await;
    runs::cancel(&station.app, &station.actor().await, id, Origin::default())
        .await
        .unwrap();
    station.end(id).await.because("cancelled")
}

#[tokio::test]
async fn a_stopped_run_is_identical_up_to_that() {
    let site = Site::start(|_| Reply::Silence).await;
    let station = station().await;
    let ended = stopped(&station, &site).await;
    let found = verified(&station, ended.run.id).await;
    assert_eq!(
        (found.result, found.reason.unwrap().as_str()),
        (Outcome::IdenticalUpTo, "cancelled"),
        "{} {:?}",
        found.text,
        found.difference
    );
}

#[tokio::test]
async fn what_was_stopped_from_outside_is_identical_up_to_that() {
    let station = station().await;
    for (reason, extra, source) in [
        (
            "deadline",
            "[limits]\nfuel = 1_000_000_000_000\nrun_seconds = 1\n",
            "export default function run() { for (;;) {} }",
        ),
        (
            "journal_limit",
            "[limits]\ncalls = 5\n",
            "export default function run(input, station) { for (;;) station.timeline.info('again'); }",
        ),
        (
            "stack_overflow",
            "",
            "const deeper = (n) => 1 + deeper(n + 1);\nexport default function run() { return deeper(0); }",
        ),
    ] {
        let agent = station.publish(script(&reason.replace('_', "-"), extra, source)).await;
        let ended = station.run(&agent, &json!({})).await.because(reason);
        let found = verified(&station, ended.run.id).await;
        let same = found.result == Outcome::IdenticalUpTo && found.reason.is_some_and(|found| found.as_str() == reason);
        assert!(same || found.result == Outcome::Identical, "{reason}: {found:?}");
    }
}

/// Remembers what it was told, one after the other, and adds it up.
const ADDING: &str = "export default async function run(input, station) {
  let sum = 0;
  for (const n of input.numbers) {
    await station.memory.put(`n/${n}`, n * 2);
    sum += await station.memory.get(`n/${n}`);
  }
  return { sum };
}";

async fn adding(station: &TestStation) -> Ended {
    let agent = station.publish(script("adding", "[capabilities]\nmemory = true\n", ADDING)).await;
    let ended = station.run(&agent, &json!({ "numbers": [1, 2, 3] })).await;
    assert_eq!(ended.output, Some(json!({ "sum": 12 })));
    ended
}

#[tokio::test]
async fn a_conversation_that_was_stopped_is_identical_up_to_that() {
    let source = "export async function onMessage(message, station) {
      station.state.count = (station.state.count ?? 0) + 1;
      return `${station.state.count}: ${message.text}`;
    }";
    let station = station().await;
    station.publish(script("parrot", "", source)).await;
    let owner = station.owner();
    let started = owner
        .post("/api/v1/runs", &json!({ "agent": "parrot", "message": "one" }))
        .await
        .expect(202)
        .json();
    let run = started["id"].as_str().unwrap();
    said(&owner, run, 2).await;
    owner
        .post(&format!("/api/v1/runs/{run}/messages"), &json!({ "text": "two" }))
        .await
        .expect(202);
    said(&owner, run, 4).await;
    station.until_waiting(run).await;
    owner.post(&format!("/api/v1/runs/{run}/cancel"), &Value::Null).await.expect(202);
    let id = run.parse().unwrap();
    station.end(id).await.because("cancelled");
    let found = verified(&station, id).await;
    assert_eq!(found.result, Outcome::IdenticalUpTo, "{} {:?}", found.text, found.difference);
    assert!(found.segments >= 1 && found.calls >= 1, "{found:?}");
}

#[tokio::test]
async fn waiting_for_time_people_and_children_is_identical() {
    let station = station().await;
    station.publish(script("child", "", HELLO)).await;
    let source = "export default async function run(input, station) {
      const before = station.clock.now();
      await station.clock.sleep(30);
      const [child, timer] = [await station.waits.child(await station.agents.start('child', { name: 'Bo' })), await station.waits.timer(600000)];
      const first = await station.waits.any([timer, child]);
      const { verb } = await station.approvals.request({ action: 'go-on', arguments: {}, reason: 'for the test', verbs: ['approve', 'deny'] });
      return { slept: station.clock.now() > before, hello: first.value.hello, verb };
    }";
    let agent = station
        .publish(script("waiting", "[capabilities]\nagents = [\"child\"]\n", source))
        .await;
    let id = station.begin(&agent, &json!({})).await;
    let asked = pending_of(&station.owner(), &id.to_string()).await;
    let path = format!("/api/v1/approvals/{}/decision", asked["id"].as_str().unwrap());
    station.owner().post(&path, &json!({ "decision": "approve" })).await.expect(200);
    let ended = station.end(id).await;
    assert_eq!(
        ended.output,
        Some(json!({ "slept": true, "hello": "Bo", "verb": "approve" })),
        "{}",
        ended.error
    );
    assert_identical("waiting", &verified(&station, id).await);
}

#[tokio::test]
async fn fuel_is_compared_on_the_engine_that_recorded_it_only() {
    let station = station().await;
    let id = adding(&station).await.run.id;
    change(
        &station,
        "UPDATE segments SET engine = 'another', fuel = fuel + 1 WHERE run_id = ?1",
        id,
    );
    let found = verified(&station, id).await;
    assert_eq!((found.result, found.fuel_compared), (Outcome::Identical, false), "{}", found.text);
}

#[tokio::test]
async fn a_changed_journal_differs_at_the_right_place_with_both_sides() {
    let station = station().await;
    let id = adding(&station).await.run.id;
    assert_identical("adding", &verified(&station, id).await);

    // The second answer says something else: the run ends with something else.
    let response = "UPDATE journal SET response = replace(response, '\"4\"', '\"5\"') WHERE run_id = ?1 AND lane = 'guest' AND call = 3";
    change(&station, response, id);
    let found = verified(&station, id).await;
    let difference = found.difference.clone().unwrap();
    assert_eq!(found.result, Outcome::Differs);
    assert_eq!((difference.what.as_str(), difference.call), ("output", None), "{difference:?}");
    assert_eq!(
        (difference.recorded.as_str(), difference.now.as_str()),
        (r#"{"sum":12}"#, r#"{"sum":13}"#)
    );
    change(
        &station,
        "UPDATE journal SET response = replace(response, '\"5\"', '\"4\"') WHERE run_id = ?1 AND lane = 'guest' AND call = 3",
        id,
    );

    // The arguments that are shown are not those of the call.
    let request = "UPDATE journal SET request = replace(request, 'n/2', 'n/9') WHERE run_id = ?1 AND lane = 'guest' AND call = 2";
    change(&station, request, id);
    let difference = verified(&station, id).await.difference.unwrap();
    assert_eq!((difference.what.as_str(), difference.call), ("request", Some(2)), "{difference:?}");
    assert!(difference.recorded.contains("n/9"));
    change(
        &station,
        "UPDATE journal SET request = replace(request, 'n/9', 'n/2') WHERE run_id = ?1 AND lane = 'guest' AND call = 2",
        id,
    );

    // What the call was recorded with is of other arguments altogether.
    let print = "UPDATE journal SET request = NULL, fingerprint = x'00112233445566778899aabbccddeeff' WHERE run_id = ?1 AND lane = 'guest' AND call = 4";
    change(&station, print, id);
    let found = verified(&station, id).await;
    let difference = found.difference.clone().unwrap();
    assert_eq!(
        (difference.segment, difference.call, difference.what.as_str()),
        (0, Some(4), "arguments")
    );
    assert!(difference.now.contains("n/3"), "{difference:?}");
    assert_eq!(found.calls, 4, "the calls before it are alike");

    // The function is another.
    change(
        &station,
        "UPDATE journal SET kind = 'artifacts.list' WHERE run_id = ?1 AND lane = 'guest' AND call = 4",
        id,
    );
    let difference = verified(&station, id).await.difference.unwrap();
    assert_eq!((difference.call, difference.what.as_str()), (Some(4), "call"));
    assert!(
        difference.recorded.starts_with("artifacts.list") && difference.now.starts_with("memory.put"),
        "{difference:?}"
    );
}

#[tokio::test]
async fn a_journal_that_lost_its_end_or_its_fuel_differs() {
    let station = station().await;
    let id = adding(&station).await.run.id;
    change(&station, "UPDATE segments SET fuel = fuel + 1 WHERE run_id = ?1", id);
    assert_eq!(verified(&station, id).await.difference.unwrap().what, "fuel");
    change(
        &station,
        "DELETE FROM journal WHERE run_id = ?1 AND lane = 'guest' AND call = 5",
        id,
    );
    let difference = verified(&station, id).await.difference.unwrap();
    assert_eq!((difference.call, difference.what.as_str()), (Some(5), "call"));
    assert!(difference.recorded.starts_with("nothing"), "{difference:?}");
    assert!(difference.now.contains("n/3"), "{difference:?}");
}

#[tokio::test]
async fn what_was_erased_cannot_be_verified() {
    let station = station().await;
    let id = adding(&station).await.run.id;
    let erased = "UPDATE journal SET response = '{\"erased\":true,\"hash\":\"00\"}' WHERE run_id = ?1 AND lane = 'guest' AND call = 1";
    change(&station, erased, id);
    let found = verified(&station, id).await;
    assert_eq!(found.result, Outcome::Unverifiable);
    assert!(found.text.contains("call 1 (memory.get) in segment 0 was erased"), "{}", found.text);
}

#[tokio::test]
async fn a_live_run_gets_its_slot_while_another_is_verified() {
    let site = Site::start(|_| Reply::Silence).await;
    let station = station().await;
    let looping = script(
        "looping",
        "[limits]\nfuel = 20_000_000_000\n",
        "export default function run() { for (;;) {} }",
    );
    let looping = station.publish(looping).await;
    let long = station.run(&looping, &json!({})).await.because("fuel_exhausted").run.id;
    let source = "export default async function run(input, station) { return (await station.http.get(input.url)).text(); }";
    let asking = station
        .publish(script(
            "asking",
            &format!("[capabilities]\nhttp = [{}]\n", site.grant("\"GET\"", "")),
            source,
        ))
        .await;
    let (app, actor) = (station.app.clone(), station.actor().await);
    let verifying = tokio::spawn(async move { verify::verify(&app, &actor, long, verify::WITHIN, Origin::default()).await });
    let slots = station.app.slots() as usize;
    let mut live = Vec::new();
    for _ in 0..slots {
        live.push(station.begin(&asking, &json!({ "url": site.url("/") })).await);
    }
    site.until_asked(slots).await;
    let still_at_it = !verifying.is_finished();
    for id in live {
        runs::cancel(&station.app, &station.actor().await, id, Origin::default())
            .await
            .unwrap();
        station.end(id).await.because("cancelled");
    }
    assert!(
        still_at_it,
        "every slot was taken by a live run while the verification was under way"
    );
    assert_identical("looping", &verifying.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_run_under_way_is_refused_and_time_is_limited() {
    let site = Site::start(|_| Reply::Silence).await;
    let station = station().await;
    let source = "export default async function run(input, station) { return (await station.http.get(input.url)).text(); }";
    let extra = format!("[capabilities]\nhttp = [{}]\n", site.grant("\"GET\"", ""));
    let agent = station.publish(script("asking", &extra, source)).await;
    let id = station.begin(&agent, &json!({ "url": site.url("/") })).await;
    site.until_asked(1).await;
    let answer = station.owner().post(&format!("/api/v1/runs/{id}/verify"), &Value::Null).await;
    assert_eq!(answer.expect(409).problem(), "conflict");
    runs::cancel(&station.app, &station.actor().await, id, Origin::default())
        .await
        .unwrap();
    station.end(id).await;

    let looping = script(
        "looping",
        "[limits]\nfuel = 5_000_000_000\n",
        "export default function run() { for (;;) {} }",
    );
    let long = station.publish(looping).await;
    let long = station.run(&long, &json!({})).await.because("fuel_exhausted").run.id;
    let within = std::time::Duration::from_millis(30);
    let found = verify::verify(&station.app, &station.actor().await, long, within, Origin::default())
        .await
        .unwrap();
    assert_eq!(found.result, Outcome::Unverifiable, "{}", found.text);
}

#[tokio::test]
async fn the_api_the_timeline_and_the_page_tell_the_result() {
    let station = station().await;
    let id = adding(&station).await.run.id;
    let answer = station
        .owner()
        .post(&format!("/api/v1/runs/{id}/verify"), &Value::Null)
        .await
        .expect(200)
        .json();
    assert_eq!((&answer["result"], &answer["calls"]), (&json!("identical"), &json!(6)));
    let entries = station.entries(id).await;
    let noted = entries
        .iter()
        .find(|entry| entry.kind == "run.verified")
        .expect("noted on the timeline");
    let meta: Value = serde_json::from_str(noted.meta.get()).unwrap();
    assert_eq!((&meta["result"], &meta["by"]), (&json!("identical"), &json!("Ana")));

    let mut browser = station.browser().await;
    let page = browser.get(&format!("/runs/{id}")).await.expect(200).body;
    assert!(page.contains("Verified: identical."), "{page}");
    change(
        &station,
        "UPDATE journal SET kind = 'artifacts.list' WHERE run_id = ?1 AND lane = 'guest' AND call = 4",
        id,
    );
    browser.submit(&format!("/runs/{id}/verify"), &[]).await.expect(303);
    let page = browser.get(&format!("/runs/{id}")).await.expect(200).body;
    assert!(
        page.contains("Verified: it differs.") && page.contains("It differs at segment 0, call 4"),
        "{page}"
    );
}

#[tokio::test]
async fn others_runs_and_those_without_leave_are_refused() {
    use agentstation::domain::permission::Permission;
    let station = station().await;
    let id = adding(&station).await.run.id;
    let reader = station.scoped_key(&[Permission::RunsRead]).await;
    let path = format!("/api/v1/runs/{id}/verify");
    station.nobody().bearer(&reader).post(&path, &Value::Null).await.expect(403);
    let nobody = station
        .owner()
        .post("/api/v1/runs/run_01kaj5q3y0e8wavk8q3n4x5y6z/verify", &Value::Null)
        .await;
    nobody.expect(404);
    let mut other = station.actor().await;
    other.org = agentstation::domain::id::OrgId::new(station.app.clock.now());
    let refused = verify::verify(&station.app, &other, id, verify::WITHIN, Origin::default()).await;
    assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
}

#[tokio::test]
async fn the_command_line_verifies_beside_a_serving_station_and_without_one() {
    let station = station().await;
    let id = adding(&station).await.run.id;
    let noted = async |station: &TestStation| {
        station
            .entries(id)
            .await
            .iter()
            .filter(|entry| entry.kind == "run.verified")
            .count()
    };
    let place = Place::new();
    let (run, data) = (id.to_string(), station.directory().to_str().unwrap().to_owned());

    let beside = place.run(&["run", "verify", &run, "--data", &data, "-o", "json"]).await.expect(0);
    assert_eq!(beside.json()["result"], "identical");
    assert!(beside.stderr.contains("/verify"), "it names the API: {}", beside.stderr);
    assert_eq!(noted(&station).await, 0);

    let dir = station.stop().await;
    let data = dir.path().to_str().unwrap();
    let alone = place.run(&["run", "verify", &run, "--data", data]).await.expect(0);
    assert_eq!(alone.stdout, "identical\n");
    let missing = place
        .run(&["run", "verify", "run_01kaj5q3y0e8wavk8q3n4x5y6z", "--data", data])
        .await
        .expect(1);
    assert!(missing.stderr.contains("was not found"), "{}", missing.stderr);
    journal::open(dir.path())
        .execute(
            "UPDATE journal SET kind = 'artifacts.list' WHERE run_id = ?1 AND lane = 'guest' AND call = 4",
            [&run],
        )
        .unwrap();
    let differs = place.run(&["run", "verify", &run, "--data", data]).await.expect(1);
    assert!(
        differs.stdout.starts_with("differs\nrecorded: artifacts.list"),
        "{}",
        differs.stdout
    );

    let station = TestStation::builder().data(dir).start().await;
    assert_eq!(noted(&station).await, 2);
}

#[tokio::test]
async fn run_still_takes_a_path_and_a_folder_may_be_called_verify() {
    let place = Place::new();
    place.write("verify/agent.js", HELLO);
    place.write("verify/agent.toml", crate::support::manifest("hello", "1.0.0"));
    let ran = place
        .run(&["run", "./verify", "--input", r#"{"name":"Bo"}"#, "-o", "json"])
        .await
        .expect(0);
    assert_eq!(ran.json()["output"], json!({ "hello": "Bo" }));
    place.run(&["run"]).await.expect(2);
    place.run(&["run", "verify"]).await.expect(2);
}
