//! The JSON API as a program uses it.

use std::time::Duration;

use agentstation::domain::id::RunId;
use agentstation::domain::permission::Permission;
use agentstation::domain::time::Timestamp;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::{Http, TestStation, manifest};

const ECHO: &str = "export default function run(input, station) { console.log('hello'); return { got: input }; }";
const SCHEMA: &str = r#"{"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}"#;
/// Never returns; it has the fuel for a long time.
const LOOPS: &str = "export default function run() { for (;;) {} }";

async fn upload(http: &Http, name: &str, code: &str) -> Value {
    let manifest = manifest(name, "1.0.0");
    let fields = [("manifest", manifest.as_bytes()), ("code", code.as_bytes())];
    http.upload("/api/v1/agents", &fields).await.expect(201).json()
}

async fn upload_slow(http: &Http) -> Value {
    let manifest = format!("{}[limits]\nfuel = 1_000_000_000_000\n", manifest("slow", "1.0.0"));
    let fields = [("manifest", manifest.as_bytes()), ("code", LOOPS.as_bytes())];
    http.upload("/api/v1/agents", &fields).await.expect(201).json()
}

#[tokio::test]
async fn an_agent_is_uploaded_run_and_read_back() {
    let station = TestStation::start().await;
    let http = station.owner();
    let uploaded = upload(&http, "echo", ECHO).await;
    let id = uploaded["agent"]["id"].as_str().unwrap();

    let run = http
        .post("/api/v1/runs?wait=30", &json!({"agent": "echo", "input": {"a": 1}}))
        .await
        .expect(200)
        .json();
    assert_eq!(run["state"], "succeeded", "{run}");
    assert_eq!(run["output"], json!({"got": {"a": 1}}));
    assert_eq!(run["agent_id"], id);
    let run_id = run["id"].as_str().unwrap();

    let shown = http.get(&format!("/api/v1/runs/{run_id}")).await.expect(200);
    assert_eq!(shown.json()["input"], json!({"a": 1}));
    let etag = shown.header("etag").to_owned();
    http.with("if-none-match", &etag)
        .get(&format!("/api/v1/runs/{run_id}"))
        .await
        .expect(304);

    let events = http.get(&format!("/api/v1/runs/{run_id}/events?limit=2")).await.expect(200).json();
    assert_eq!(events["items"].as_array().unwrap().len(), 2);
    let rest = http
        .get(&format!("/api/v1/runs/{run_id}/events?after={}", events["next"]))
        .await
        .expect(200)
        .json();
    let kinds: Vec<&str> = rest["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["kind"].as_str().unwrap())
        .collect();
    assert!(kinds.contains(&"log"), "{kinds:?}");
    assert_eq!(kinds.last(), Some(&"run.finished"));
    let last = rest["items"].as_array().unwrap().last().unwrap()["seq"].as_u64().unwrap();
    http.get(&format!("/api/v1/runs/{run_id}/events/{last}")).await.expect(200);
    http.get(&format!("/api/v1/runs/{run_id}/events/{}", last + 1)).await.expect(404);

    let by_id = http
        .post("/api/v1/runs?wait=30", &json!({"agent": id, "version": "1.0.0"}))
        .await
        .expect(200)
        .json();
    assert_eq!(by_id["output"], json!({"got": {}}));
    let unknown = http
        .post("/api/v1/runs", &json!({"agent": id, "version": "9.0.0"}))
        .await
        .expect(404);
    assert_eq!(unknown.problem(), "not_found");
}

#[tokio::test]
async fn versions_are_listed_immutable_and_their_code_comes_back() {
    let station = TestStation::start().await;
    let http = station.owner();
    upload(&http, "echo", ECHO).await;
    let next = manifest("echo", "1.1.0");
    let fields = [
        ("manifest", next.as_bytes()),
        ("code", ECHO.as_bytes()),
        ("readme", b"# Hi".as_slice()),
    ];
    http.upload("/api/v1/agents/echo/versions", &fields).await.expect(201);
    let again = http.upload("/api/v1/agents/echo/versions", &fields).await.expect(409);
    assert_eq!(again.problem(), "already_exists");
    let versions = http.get("/api/v1/agents/echo/versions").await.expect(200).json();
    let numbers: Vec<&str> = versions["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["version"].as_str().unwrap())
        .collect();
    assert_eq!(numbers, ["1.1.0", "1.0.0"]);
    let version = http.get("/api/v1/agents/echo/versions/1.1.0").await.expect(200);
    assert_eq!(version.json()["readme"], "# Hi");
    let etag = version.header("etag").to_owned();
    http.with("if-none-match", &etag)
        .get("/api/v1/agents/echo/versions/1.1.0")
        .await
        .expect(304);
    let code = http.get("/api/v1/agents/echo/versions/1.1.0/code").await.expect(200);
    assert_eq!(code.body, ECHO);
    assert_eq!(code.header("content-type"), "application/octet-stream");
    assert!(code.header("content-disposition").starts_with("attachment"));
    assert_eq!(http.get("/api/v1/agents/echo").await.expect(200).json()["latest_version"], "1.1.0");
}

#[tokio::test]
async fn a_wrong_agent_is_refused_with_the_place_and_nothing_is_stored() {
    let station = TestStation::start().await;
    let http = station.owner();
    let manifest = manifest("broken", "1.0.0");
    let fields = [
        ("manifest", manifest.as_bytes()),
        ("code", b"export default function run( {\n".as_slice()),
    ];
    let refused = http.upload("/api/v1/agents", &fields).await.expect(422);
    assert_eq!(refused.problem(), "agent_rejected");
    let place = &refused.json()["errors"][0];
    assert_eq!(place["file"], "agent.js", "{place}");
    assert!(place["line"].as_u64().unwrap() >= 1, "{place}");
    http.get("/api/v1/agents/broken").await.expect(404);

    let checked = http.upload("/api/v1/agents/check", &fields).await.expect(200).json();
    assert_eq!(checked["ok"], false);
    let missing = http
        .upload("/api/v1/agents", &[("manifest", manifest.as_bytes())])
        .await
        .expect(422);
    assert_eq!(missing.json()["errors"][0]["pointer"], "/code");
    let unknown = http.upload("/api/v1/agents", &[("nonsense", b"x")]).await.expect(422);
    assert_eq!(unknown.problem(), "invalid");
}

#[tokio::test]
async fn input_that_does_not_fit_names_the_field() {
    let station = TestStation::start().await;
    let http = station.owner();
    let manifest = format!("{}input = \"input.schema.json\"\n", manifest("strict", "1.0.0"));
    let fields = [
        ("manifest", manifest.as_bytes()),
        ("code", ECHO.as_bytes()),
        ("input", SCHEMA.as_bytes()),
    ];
    http.upload("/api/v1/agents", &fields).await.expect(201);
    let refused = http
        .post("/api/v1/runs", &json!({"agent": "strict", "input": {"text": 3}}))
        .await
        .expect(422);
    assert_eq!(refused.problem(), "invalid");
    assert_eq!(refused.json()["errors"][0]["pointer"], "/text");
    assert_eq!(http.get("/api/v1/runs").await.json()["items"], json!([]));
}

#[tokio::test]
async fn an_idempotency_key_starts_one_run_and_answers_twice() {
    let station = TestStation::start().await;
    let http = station.owner();
    upload(&http, "echo", ECHO).await;
    let keyed = http.with("idempotency-key", "\"order-7\"");
    let body = json!({"agent": "echo", "input": {"n": 7}});
    let first = keyed.post("/api/v1/runs", &body).await.expect(202);
    let second = keyed.post("/api/v1/runs", &body).await.expect(202);
    assert_eq!(first.body, second.body);
    assert_eq!(second.header("idempotency-replayed"), "true");
    let other = keyed
        .post("/api/v1/runs", &json!({"agent": "echo", "input": {"n": 8}}))
        .await
        .expect(422);
    assert_eq!(other.problem(), "idempotency_mismatch");
    assert_eq!(http.get("/api/v1/runs").await.json()["items"].as_array().unwrap().len(), 1);

    // What failed and did nothing may be tried again under the same key.
    let failing = http.with("idempotency-key", "order-8");
    failing.post("/api/v1/runs", &json!({"agent": "no-such"})).await.expect(404);
    failing.post("/api/v1/runs", &body).await.expect(202);
    let long = http
        .with("idempotency-key", &"k".repeat(256))
        .post("/api/v1/runs", &body)
        .await
        .expect(400);
    assert_eq!(long.problem(), "bad_request");
}

#[tokio::test]
async fn a_request_while_the_first_with_its_key_waits_is_told_which_run_it_started() {
    let station = TestStation::start().await;
    let http = station.owner();
    upload_slow(&http).await;
    let keyed = http.with("idempotency-key", "slow-1");
    let body = json!({"agent": "slow"});
    let waiting = {
        let (keyed, body) = (keyed.clone(), body.clone());
        tokio::spawn(async move { keyed.post("/api/v1/runs?wait=60", &body).await })
    };
    let run = first_run(&http, "running").await;
    let meanwhile = keyed.post("/api/v1/runs?wait=60", &body).await.expect(202).json();
    assert_eq!(meanwhile["id"], json!(run));
    http.post(&format!("/api/v1/runs/{run}/cancel"), &json!({})).await.expect(202);
    let answered = waiting.await.unwrap().expect(200).json();
    assert_eq!(answered["state"], "cancelled");
}

#[tokio::test]
async fn every_post_is_done_once_for_its_key() {
    let station = TestStation::start().await;
    let http = station.owner();
    let manifest = manifest("echo", "1.0.0");
    let fields: [(&str, &[u8]); 2] = [("manifest", manifest.as_bytes()), ("code", ECHO.as_bytes())];
    let keyed = http.with("idempotency-key", "upload-1");
    // The parts of an upload are told apart by a boundary, which is part of the body: sent again, it is the same.
    let (content_type, body) = crate::support::http::multipart(&fields);
    let post = async || {
        keyed
            .send(reqwest::Method::POST, "/api/v1/agents", Some(&content_type), body.clone())
            .await
    };
    let (first, second) = (post().await.expect(201), post().await.expect(201));
    assert_eq!(first.body, second.body);
    assert_eq!(
        (first.header("idempotency-replayed"), second.header("idempotency-replayed")),
        ("", "true")
    );

    upload_slow(&http).await;
    let run = http.post("/api/v1/runs", &json!({"agent": "slow"})).await.expect(202).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let keyed = http.with("idempotency-key", "act-1");
    for act in ["pause", "resume", "cancel"] {
        let path = format!("/api/v1/runs/{run}/{act}");
        let (first, second) = (
            keyed.post(&path, &json!({})).await.expect(202),
            keyed.post(&path, &json!({})).await.expect(202),
        );
        assert_eq!(first.body, second.body, "{act}");
        assert_eq!(second.header("idempotency-replayed"), "true", "{act}");
    }
    // A refusal does not keep the key: the same request may be made again.
    let path = format!("/api/v1/runs/{run}/retry");
    assert_eq!(keyed.post(&path, &json!({})).await.expect(409).problem(), "conflict");
    assert_eq!(keyed.post(&path, &json!({})).await.expect(409).problem(), "conflict");
    // Who may not is not shown what was answered before.
    let narrow = station
        .nobody()
        .bearer(&station.scoped_key(&[Permission::RunsRead]).await)
        .with("idempotency-key", "act-1");
    narrow.post(&format!("/api/v1/runs/{run}/cancel"), &json!({})).await.expect(403);
}

#[tokio::test]
async fn a_key_that_a_stopped_station_left_at_work_is_answered_with_what_to_do() {
    let station = TestStation::start().await;
    let http = station.owner();
    let keyed = http.with("idempotency-key", "lost-1");
    keyed.post("/api/v1/dead-letters/discard", &json!({"runs": []})).await.expect(200);
    // As if the process had been killed between the work and its answer.
    let db = crate::support::journal::open(station.directory());
    let changed = db
        .execute("UPDATE idempotency_keys SET status = NULL, created_at = 1 WHERE key = 'lost-1'", [])
        .unwrap();
    assert_eq!(changed, 1);
    let told = keyed.post("/api/v1/dead-letters/discard", &json!({"runs": []})).await.expect(409);
    assert_eq!(told.problem(), "idempotency_in_progress");
    assert!(told.json()["hint"].as_str().unwrap().contains("with a new key"), "{}", told.body);
}

/// The id of the newest run once it is in `state`.
async fn first_run(http: &Http, state: &str) -> String {
    let looking = async {
        loop {
            let runs = http.get(&format!("/api/v1/runs?state={state}")).await.expect(200).json();
            if let Some(id) = runs["items"][0]["id"].as_str() {
                return id.to_owned();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looking)
        .await
        .expect("a run gets there")
}

#[tokio::test]
async fn a_running_agent_is_cancelled_and_only_once() {
    let station = TestStation::start().await;
    let http = station.owner();
    upload_slow(&http).await;
    let queued = http.post("/api/v1/runs", &json!({"agent": "slow"})).await.expect(202).json();
    let path = format!("/api/v1/runs/{}", queued["id"].as_str().unwrap());
    first_run(&http, "running").await;
    http.post(&format!("{path}/cancel"), &json!({})).await.expect(202);
    first_run(&http, "cancelled").await;
    let ended = http.get(&path).await.expect(200).json();
    assert_eq!(ended["reason"], "cancelled");
    assert_eq!(
        http.post(&format!("{path}/cancel"), &json!({})).await.expect(409).problem(),
        "conflict"
    );
}

#[tokio::test]
async fn pages_of_runs_have_no_gaps_and_no_doubles() {
    let station = TestStation::start().await;
    let http = station.owner();
    upload(&http, "echo", ECHO).await;
    let mut made = Vec::new();
    for n in 0..7 {
        let run = http
            .post("/api/v1/runs?wait=30", &json!({"agent": "echo", "input": n}))
            .await
            .expect(200)
            .json();
        made.push(run["id"].as_str().unwrap().to_owned());
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = http
            .get(&format!("/api/v1/runs?limit=3&agent=echo{cursor}"))
            .await
            .expect(200)
            .json();
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|run| run["id"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    made.sort();
    seen.reverse();
    let mut sorted = seen.clone();
    sorted.sort();
    assert_eq!(sorted, made);
    assert_eq!(seen, sorted, "the newest first");
    assert_eq!(http.get("/api/v1/runs?limit=0").await.expect(422).problem(), "invalid");
    assert_eq!(http.get("/api/v1/runs?nonsense=1").await.expect(400).problem(), "bad_request");
    assert_eq!(http.get("/api/v1/runs?cursor=nonsense").await.expect(422).problem(), "invalid");
}

#[tokio::test]
async fn the_long_addresses_name_ones_own_workspace_or_nothing() {
    let station = TestStation::start().await;
    let http = station.owner();
    upload(&http, "echo", ECHO).await;
    let actor = station.actor().await;
    for (org, workspace) in [
        ("default".to_owned(), "default".to_owned()),
        (actor.org.to_string(), actor.workspace.to_string()),
    ] {
        let base = format!("/api/v1/orgs/{org}/workspaces/{workspace}");
        http.get(&format!("{base}/agents/echo")).await.expect(200);
        http.post(&format!("{base}/runs"), &json!({"agent": "echo"})).await.expect(202);
    }
    for base in ["/api/v1/orgs/other/workspaces/default", "/api/v1/orgs/default/workspaces/other"] {
        assert_eq!(http.get(&format!("{base}/agents")).await.expect(404).problem(), "not_found");
        assert_eq!(
            http.post(&format!("{base}/runs"), &json!({"agent": "echo"}))
                .await
                .expect(404)
                .problem(),
            "not_found"
        );
    }
}

#[tokio::test]
async fn a_missing_and_a_malformed_id_look_the_same() {
    let station = TestStation::start().await;
    let http = station.owner();
    let missing = RunId::new(Timestamp::from_ms(1)).to_string();
    let mut bodies = Vec::new();
    for id in [missing.as_str(), "run_1", "../../etc/passwd", "agt_x"] {
        for tail in ["", "/events", "/stream", "/artifacts"] {
            let answer = http
                .get(&format!("/api/v1/runs/{}{tail}", id.replace('/', "%2F")))
                .await
                .expect(404);
            let mut body = answer.json();
            body["instance"] = Value::Null;
            bodies.push(body);
        }
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
}

#[tokio::test]
async fn an_event_stream_replays_follows_and_goes_on_where_it_was_left() {
    let station = TestStation::start().await;
    let http = station.owner();
    upload(&http, "echo", ECHO).await;
    let run = http.post("/api/v1/runs", &json!({"agent": "echo"})).await.expect(202).json();
    let path = format!("/api/v1/runs/{}/stream", run["id"].as_str().unwrap());
    let all = read_stream(&http, &path).await;
    let ids: Vec<u64> = all.iter().filter_map(|event| event.0).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    let names: Vec<&str> = all.iter().map(|event| event.1.as_str()).collect();
    assert_eq!(names.first(), Some(&"status"));
    assert_eq!(names.last(), Some(&"end"));
    assert!(all.iter().all(|(id, name, _)| id.is_some() == (name == "event")));
    assert!(all.iter().any(|(_, name, data)| name == "run" && data["state"] == "succeeded"));

    let rest = read_stream(&http.with("last-event-id", "2"), &path).await;
    let ids_of_rest: Vec<u64> = rest.iter().filter_map(|event| event.0).collect();
    assert_eq!(ids_of_rest, ids[2..]);
}

/// Id, name and data of every event until the stream ends.
async fn read_stream(http: &Http, path: &str) -> Vec<(Option<u64>, String, Value)> {
    let response = http.open(path).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.bytes_stream();
    let mut text = String::new();
    let reading = async {
        while let Some(chunk) = body.next().await {
            text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reading)
        .await
        .expect("the stream ends");
    let line = |block: &str, name: &str| block.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
    text.split("\n\n")
        .filter(|block| block.contains("event: "))
        .map(|block| {
            let id = line(block, "id: ").map(|id| id.parse().unwrap());
            let data = serde_json::from_str(&line(block, "data: ").unwrap()).unwrap();
            (id, line(block, "event: ").unwrap(), data)
        })
        .collect()
}

#[tokio::test]
async fn artifacts_come_back_as_files_that_run_nowhere() {
    const WRITES: &str = "export default async function run(input, station) {
        await station.artifacts.put('page.html', '<script>alert(1)</script>', 'text/html');
        await station.artifacts.put('report.csv', 'a,b\\n1,2\\n', 'text/csv');
        return 'done';
    }";
    let station = TestStation::start().await;
    let http = station.owner();
    upload(&http, "writer", WRITES).await;
    let run = http
        .post("/api/v1/runs?wait=30", &json!({"agent": "writer"}))
        .await
        .expect(200)
        .json();
    assert_eq!(run["state"], "succeeded", "{run}");
    let base = format!("/api/v1/runs/{}/artifacts", run["id"].as_str().unwrap());
    let list = http.get(&base).await.expect(200).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let csv = http.get(&format!("{base}/report.csv")).await.expect(200);
    assert_eq!(
        (csv.header("content-type"), csv.body.as_str()),
        ("text/csv; charset=utf-8", "a,b\n1,2\n")
    );
    let html = http.get(&format!("{base}/page.html")).await.expect(200);
    assert_eq!(html.header("content-type"), "application/octet-stream");
    for file in [&csv, &html] {
        assert!(file.header("content-disposition").starts_with("attachment"));
        assert_eq!(file.header("content-security-policy"), "sandbox; default-src 'none'");
    }
    http.get(&format!("{base}/missing")).await.expect(404);
}

#[tokio::test]
async fn health_and_readiness_need_nothing() {
    let station = TestStation::start().await;
    station.nobody().get("/healthz").await.expect(200);
    station.nobody().get("/readyz").await.expect(200);
}
