//! Forking runs: the same up to an entry without anything being done again, live after it, and with a world of its own.

use agentstation::domain::id::RunId;
use agentstation::domain::journal::{EntryView, Phase};
use agentstation::domain::origin::Origin;
use agentstation::domain::permission::Permission;
use agentstation::domain::run::RunState;
use agentstation::services::fork::{self, Fork};
use agentstation::services::verify::{self, Outcome};
use agentstation::services::{Error, runs};
use serde_json::{Value, json};

use crate::approvals::pending_of;
use crate::replay::models;
use crate::support::TestStation;
use crate::support::agents::{Ended, script};
use crate::support::site::{Reply, Site};

async fn station() -> TestStation {
    TestStation::builder().models(models()).outbound(Site::reachable()).start().await
}

fn from(run: RunId, seq: u64) -> Fork {
    Fork {
        run,
        seq,
        response: None,
        allow_writes: false,
    }
}

async fn try_fork(station: &TestStation, fork: Fork) -> Result<RunId, Error> {
    fork::fork(&station.app, &station.actor().await, fork, Origin::default())
        .await
        .map(|run| run.id)
}

async fn forked(station: &TestStation, fork: Fork) -> Ended {
    let id = try_fork(station, fork).await.unwrap();
    station.end(id).await
}

#[track_caller]
fn refused(done: Result<RunId, Error>, word: &str) {
    match done {
        Err(Error::Conflict(why)) => assert!(why.contains(word), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// The entry with the answer of the `nth` call of this kind.
#[track_caller]
fn answered(ended: &[EntryView], kind: &str, nth: usize) -> u64 {
    let mut found = ended.iter().filter(|entry| entry.kind == kind && entry.phase != Phase::Start);
    found.nth(nth).unwrap_or_else(|| panic!("no {kind} {nth}")).seq
}

async fn assert_verified(station: &TestStation, id: RunId) {
    let found = verify::verify(&station.app, &station.actor().await, id, verify::WITHIN, Origin::default())
        .await
        .unwrap();
    assert_eq!(found.result, Outcome::Identical, "{} {:?}", found.text, found.difference);
}

/// Reads three pages, with chance and time between them, and adds up what they say.
const READER: &str = "export default async function run(input, station) {
  const chance = [String(station.random.u64())], times = [station.clock.now()];
  let sum = 0;
  for (const path of ['a', 'b', 'c']) {
    sum += Number(await (await station.http.get(`${input.url}${path}`)).text());
    await station.artifacts.put('sum.txt', `${sum}`);
    chance.push(String(station.random.u64()));
    times.push(station.clock.now());
  }
  const stored = await (await station.artifacts.get('sum.txt')).text();
  return { sum, stored, chance, times };
}";

async fn reader(station: &TestStation, site: &Site) -> Ended {
    let extra = format!("[capabilities]\nhttp = [{}]\n", site.grant("\"GET\"", ""));
    let agent = station.publish(script("reader", &extra, READER)).await;
    let ended = station.run(&agent, &json!({ "url": site.url("/") })).await;
    assert_eq!(ended.output.as_ref().unwrap()["sum"], 6, "{}", ended.error);
    ended
}

async fn numbers() -> Site {
    Site::start(|asked| {
        let number = match asked.path.as_str() {
            "/a" => 1,
            "/b" => 2,
            _ => 3,
        };
        Reply::Text(number.to_string())
    })
    .await
}

#[tokio::test]
async fn a_fork_repeats_nothing_and_goes_on_live() {
    let site = numbers().await;
    let station = station().await;
    let whole = reader(&station, &site).await;
    let at = answered(&whole.entries, "http.send", 1);
    let fork = forked(&station, from(whole.run.id, at)).await;
    assert_eq!(site.asked().len(), 4, "only the third page is read again");
    assert_eq!((fork.run.forked_from, fork.run.forked_seq), (Some(whole.run.id), Some(at)));
    let (then, now) = (whole.output.unwrap(), fork.output.clone().unwrap());
    assert_eq!((&now["sum"], &now["stored"]), (&json!(6), &json!("6")));
    assert_eq!(now["chance"], then["chance"], "the seed is the same");
    assert_eq!(now["times"][1], then["times"][1], "time is the same up to there");
    assert_eq!(fork.entries[0].kind, "run.forked");
    let copied: Vec<_> = whole
        .entries
        .iter()
        .filter(|entry| entry.call.is_some() && entry.seq <= at)
        .collect();
    for (then, now) in copied.iter().zip(&fork.entries[2..]) {
        assert_eq!(
            (then.at, &then.kind, then.call, then.phase),
            (now.at, &now.kind, now.call, now.phase)
        );
    }
    assert!(fork.entries.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
    assert_verified(&station, fork.run.id).await;
    assert_verified(&station, whole.run.id).await;
}

#[tokio::test]
async fn an_edited_answer_is_what_the_fork_goes_on_with() {
    let site = numbers().await;
    let station = station().await;
    let whole = reader(&station, &site).await;
    let at = answered(&whole.entries, "http.send", 1);
    let entry = station.entry(whole.run.id, at).await;
    let mut response: Value = serde_json::from_str(entry.response.unwrap().get()).unwrap();
    response["ok"]["http"]["body"] = json!({ "text": "40" });
    let path = format!("/api/v1/runs/{}/fork", whole.run.id);
    let body = json!({ "seq": at, "response": response });
    let answer = station.owner().post(&path, &body).await.expect(202).json();
    assert_eq!((&answer["forked_seq"], &answer["ask_writes"]), (&json!(at), &json!(true)));
    let fork = station.end(answer["id"].as_str().unwrap().parse().unwrap()).await;
    assert_eq!(fork.output.as_ref().unwrap()["sum"], 44);
    assert_eq!(fork.output.as_ref().unwrap()["stored"], "44");
    assert_verified(&station, fork.run.id).await;

    let page = station
        .browser()
        .await
        .get(&format!("/runs/{}", fork.run.id))
        .await
        .expect(200)
        .body;
    assert!(
        page.contains("Forked from run") && page.contains(&whole.run.id.to_string()),
        "{page}"
    );
    assert!(
        page.contains("&#34;text&#34;: &#34;40&#34;") || page.contains("&quot;text&quot;: &quot;40&quot;"),
        "{page}"
    );
}

#[tokio::test]
async fn an_answer_of_another_shape_is_refused() {
    let site = numbers().await;
    let station = station().await;
    let whole = reader(&station, &site).await;
    let (sent, put) = (
        answered(&whole.entries, "http.send", 0),
        answered(&whole.entries, "artifacts.put", 0),
    );
    let path = format!("/api/v1/runs/{}/fork", whole.run.id);
    for (seq, response) in [
        (sent, json!({ "ok": { "memory_version": 3 } })),
        (sent, json!({ "ok": { "http": { "status": "200" } } })),
        (
            sent,
            json!({ "ok": { "http": { "status": 200, "headers": [], "url": "", "body": { "base64": "?" } } } }),
        ),
        (sent, json!(7)),
        (put, json!({ "failed": { "code": "denied", "message": "no", "retryable": false } })),
    ] {
        let answer = station
            .owner()
            .post(&path, &json!({ "seq": seq, "response": response }))
            .await
            .expect(422);
        assert_eq!(answer.json()["errors"][0]["pointer"], "/response", "{}", answer.body);
    }
    let failed = json!({ "failed": { "code": "timeout", "message": "no answer", "retryable": true } });
    let answer = station
        .owner()
        .post(&path, &json!({ "seq": sent, "response": failed }))
        .await
        .expect(202)
        .json();
    station
        .end(answer["id"].as_str().unwrap().parse().unwrap())
        .await
        .because("agent_error");
}

#[tokio::test]
async fn artifacts_are_as_they_were_at_the_entry() {
    let site = numbers().await;
    let station = station().await;
    let whole = reader(&station, &site).await;
    let source = answered(&whole.entries, "artifacts.put", 0);
    let mut fork = from(whole.run.id, source);
    // The next answer fails in the fork, so that nothing is written after it.
    let at = answered(&whole.entries, "http.send", 1);
    fork.seq = at;
    fork.response = Some(json!({ "failed": { "code": "timeout", "message": "no answer", "retryable": true } }).to_string());
    let ended = forked(&station, fork).await.because("agent_error");
    let (_, body) = runs::artifact(&station.app, &station.actor().await, ended.run.id, "sum.txt".to_owned())
        .await
        .unwrap();
    assert_eq!(body, b"1");
}

/// Remembers, forgets and finds.
const REMEMBERING: &str = "export default async function run(input, station) {
  const { memory } = station;
  await memory.put('kept', 'before');
  await memory.put('gone', 'before');
  station.timeline.info('here');
  const kept = await memory.getEntry('kept');
  await memory.put('kept', 'after', { ifVersion: kept.version });
  await memory.delete('gone');
  await memory.put('new', 'after');
  return (await memory.list()).entries.map(({ key, value, version }) => [key, value, version]);
}";

#[tokio::test]
async fn a_fork_remembers_apart_and_a_fork_of_a_fork_too() {
    let station = station().await;
    let agent = station
        .publish(script("remembering", "[capabilities]\nmemory = true\n", REMEMBERING))
        .await;
    let whole = station.run(&agent, &json!({})).await;
    assert_eq!(whole.output, Some(json!([["kept", "after", 2], ["new", "after", 1]])));
    let here = answered(&whole.entries, "log", 0);
    let one = forked(&station, from(whole.run.id, here)).await;
    assert_eq!(
        one.output,
        Some(json!([["kept", "after", 3], ["new", "after", 2]])),
        "it goes on from what lies beneath"
    );
    assert_eq!(one.run.environment.as_str(), format!("production/fork:{}", one.run.id));
    let two = forked(&station, from(one.run.id, answered(&one.entries, "log", 0))).await;
    assert_eq!(two.output, Some(json!([["kept", "after", 4], ["new", "after", 3]])));
    assert_eq!(two.run.forked_from, Some(one.run.id));
    let again = station.run(&agent, &json!({})).await;
    assert_eq!(
        again.output,
        Some(json!([["kept", "after", 4], ["new", "after", 2]])),
        "nobody else sees what forks remember"
    );
    for id in [one.run.id, two.run.id] {
        assert_verified(&station, id).await;
    }
}

#[tokio::test]
async fn a_later_segment_forks_with_its_state() {
    let source = "export default async function run(input, station) {
      const seen = [...(station.state?.seen ?? []), String(station.random.u64())];
      await station.artifacts.put(`${seen.length}.txt`, 'x');
      station.timeline.info('on');
      return seen.length === 3 ? { seen, files: (await station.artifacts.list()).length } : station.next({ seen }, { wake: 'now' });
    }";
    let station = station().await;
    let agent = station.publish(script("chain", "", source)).await;
    let whole = station.run(&agent, &json!({})).await;
    let begun = whole
        .entries
        .iter()
        .find(|entry| entry.kind == "segment.started" && entry.segment == 1)
        .unwrap()
        .seq;
    for at in [begun, answered(&whole.entries, "log", 1)] {
        let fork = forked(&station, from(whole.run.id, at)).await;
        let (then, now) = (whole.output.clone().unwrap(), fork.output.unwrap());
        assert_eq!(now["seen"].as_array().unwrap()[..2], then["seen"].as_array().unwrap()[..2]);
        assert_ne!(now["seen"][2], then["seen"][2], "a segment of its own has its own seed");
        assert_eq!(now["files"], 3, "what the first segment wrote is there");
        assert_verified(&station, fork.run.id).await;
    }
}

#[tokio::test]
async fn a_fork_asks_before_it_writes_unless_that_is_lifted() {
    let site = numbers().await;
    let station = station().await;
    let source = "export default async function run(input, station) {
      station.timeline.info('here');
      return (await station.http.post(input.url, { body: 'x' })).status;
    }";
    let extra = format!("[capabilities]\nhttp = [{}]\n", site.grant("\"POST\"", ", approval = \"never\""));
    let agent = station.publish(script("writing", &extra, source)).await;
    let whole = station.run(&agent, &json!({ "url": site.url("/") })).await;
    assert_eq!((whole.output.clone(), site.asked().len()), (Some(json!(200)), 1), "{}", whole.error);
    let here = answered(&whole.entries, "log", 0);

    let asking = try_fork(&station, from(whole.run.id, here)).await.unwrap();
    let pending = pending_of(&station.owner(), &asking.to_string()).await;
    assert_eq!(
        (&pending["action"], site.asked().len()),
        (&json!("http.send"), 1),
        "nothing is sent before a person agrees"
    );
    let path = format!("/api/v1/approvals/{}/decision", pending["id"].as_str().unwrap());
    station.owner().post(&path, &json!({ "decision": "approve" })).await.expect(200);
    assert_eq!(station.end(asking).await.output, Some(json!(200)));
    assert_eq!(site.asked().len(), 2);
    assert_verified(&station, asking).await;

    let lifted = Fork {
        allow_writes: true,
        ..from(whole.run.id, here)
    };
    assert_eq!(forked(&station, lifted).await.output, Some(json!(200)));
    assert_eq!(site.asked().len(), 3);
}

#[tokio::test]
async fn there_is_no_fork_where_something_is_open() {
    let site = Site::start(|_| Reply::Silence).await;
    let station = station().await;
    let source = "export default async function run(input, station) {
      station.timeline.info('before');
      await Promise.all([station.random.u64(), station.http.get(input.url), station.http.get(input.url)]);
    }";
    let extra = format!("[capabilities]\nhttp = [{}]\n", site.grant("\"GET\"", ""));
    let agent = station.publish(script("open", &extra, source)).await;
    let id = station.begin(&agent, &json!({ "url": site.url("/") })).await;
    site.until_asked(2).await;
    let entries = station.entries(id).await;
    let intent = entries.iter().rfind(|entry| entry.kind == "http.send").unwrap().seq;
    refused(try_fork(&station, from(id, intent)).await, "no result yet");
    refused(try_fork(&station, from(id, 1)).await, "the station's own");
    assert!(matches!(try_fork(&station, from(id, 10_000)).await, Err(Error::NotFound(_))));
    let before = answered(&entries, "log", 0);
    let fork = try_fork(&station, from(id, before)).await.unwrap();
    site.until_asked(4).await;
    for id in [id, fork] {
        runs::cancel(&station.app, &station.actor().await, id, Origin::default())
            .await
            .unwrap();
        station.end(id).await.because("cancelled");
    }
}

#[tokio::test]
async fn there_is_no_fork_where_a_person_is_yet_to_decide_or_a_child_is_not_read() {
    let station = station().await;
    let child = "export default function run() { return 'read'; }";
    station.publish(script("child", "", child)).await;
    let source = "export default async function run(input, station) {
      const child = await station.agents.start('child', {});
      station.timeline.info('started');
      const handle = await station.waits.child(child);
      station.timeline.info('listening');
      const read = (await station.waits.any([handle])).value;
      station.timeline.info('read');
      const asked = await station.approvals.request({ action: 'go-on', arguments: {}, reason: 'for the test', verbs: ['approve', 'deny'] });
      return { read, verb: asked.verb };
    }";
    let agent = station
        .publish(script("parent", "[capabilities]\nagents = [\"child\"]\n", source))
        .await;
    let id = station.begin(&agent, &json!({})).await;
    station
        .until_entry(id, |entry| entry.kind == "approvals.request" || entry.kind == "run.finished")
        .await;
    let entries = station.entries(id).await;
    refused(
        try_fork(&station, from(id, answered(&entries, "log", 0))).await,
        "has not been read",
    );
    let asks = entries
        .iter()
        .find(|entry| entry.kind == "approvals.request")
        .map(|entry| entry.seq);
    refused(try_fork(&station, from(id, asks.unwrap())).await, "yet to decide");
    let fork = try_fork(&station, from(id, answered(&entries, "log", 2))).await.unwrap();
    let asked = pending_of(&station.owner(), &fork.to_string()).await;
    assert_eq!(asked["action"], "go-on");
    for id in [id, fork] {
        runs::cancel(&station.app, &station.actor().await, id, Origin::default())
            .await
            .unwrap();
        station.end(id).await.because("cancelled");
    }
}

#[tokio::test]
async fn only_who_may_forks_and_only_who_may_decide_lifts_the_asking() {
    let site = numbers().await;
    let station = station().await;
    let whole = reader(&station, &site).await;
    let at = answered(&whole.entries, "http.send", 0);
    let path = format!("/api/v1/runs/{}/fork", whole.run.id);
    let key = station.scoped_key(&[Permission::RunsRead]).await;
    station.nobody().bearer(&key).post(&path, &json!({ "seq": at })).await.expect(403);
    let key = station.scoped_key(&[Permission::RunsCancel]).await;
    let may = station.nobody().bearer(&key);
    may.post(&path, &json!({ "seq": at, "allow_writes": true })).await.expect(403);
    let answer = may
        .with("idempotency-key", "one")
        .post(&path, &json!({ "seq": at }))
        .await
        .expect(202)
        .json();
    let again = may
        .with("idempotency-key", "one")
        .post(&path, &json!({ "seq": at }))
        .await
        .expect(202)
        .json();
    assert_eq!(answer["id"], again["id"]);
    assert_eq!(
        station.end(answer["id"].as_str().unwrap().parse().unwrap()).await.run.state,
        RunState::Succeeded
    );
}

#[tokio::test]
async fn the_page_forks_without_a_script_and_says_what_forking_is() {
    let site = numbers().await;
    let station = station().await;
    let whole = reader(&station, &site).await;
    let (id, at) = (whole.run.id, answered(&whole.entries, "http.send", 0));
    let mut browser = station.browser().await;
    let page = browser.get(&format!("/runs/{id}")).await.expect(200).body;
    assert!(page.contains(&format!("/runs/{id}/fork?seq={at}")), "{page}");
    let form = browser.get(&format!("/runs/{id}/fork?seq={at}")).await.expect(200).body;
    assert!(
        form.contains("Playback is another thing") && form.contains("What http.send answered"),
        "{form}"
    );
    let seq = at.to_string();
    let wrong = browser
        .submit(&format!("/runs/{id}/fork"), &[("seq", &seq), ("response", "{")])
        .await
        .expect(422)
        .body;
    assert!(wrong.contains("this is no answer of http.send"), "{wrong}");
    let sent = browser
        .submit(&format!("/runs/{id}/fork"), &[("seq", &seq), ("response", "")])
        .await
        .expect(303);
    let fork: RunId = sent.header("location").strip_prefix("/runs/").unwrap().parse().unwrap();
    assert_eq!(station.end(fork).await.output.unwrap()["sum"], 6);
    let intent = whole.entries.iter().find(|entry| entry.kind == "http.send").unwrap().seq;
    let page = browser.get(&format!("/runs/{id}/fork?seq={intent}")).await.expect(200).body;
    assert!(page.contains("There can be no fork here"), "{page}");
}
