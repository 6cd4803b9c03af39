//! Money of replies that break off: what went by is guessed and paid for, never more than was set aside for it.

use agentstation::domain::run::RunState;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{ASKER, make_budget, number, spent, start};
use crate::support::agents::script;
use crate::support::provider::{ModelServer, Sent, broken, silent, stream};
use crate::support::site::Site;
use crate::support::{Http, TestStation, journal};

const PROVIDERS: &str = "/api/v1/orgs/default/providers";
const ALIAS: &str = "/api/v1/orgs/default/workspaces/default/models/default";
const GRANT: &str = "[capabilities]\nmodels = [\"default\"]\n";
/// At $10 for a million tokens, 100 tokens of output and a few of input can cost this and a little more.
const CALL_MICROS: u64 = 1_000;

async fn station() -> TestStation {
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    station.publish(script("asker", GRANT, ASKER)).await;
    station
}

/// Has the alias `default` stand for these servers, in order.
async fn set_chain(http: &Http, servers: &[(&str, &str, &ModelServer)]) {
    let mut chain = Vec::new();
    for (name, model, server) in servers {
        let body = json!({ "name": name, "preset": "openai", "base_url": server.url("/v1"), "key": "sk-test-0123456789abcdef" });
        http.post(PROVIDERS, &body).await.expect(201);
        chain.push(json!({ "provider": name, "model": model }));
    }
    let body = json!({ "chain": chain }).to_string().into_bytes();
    http.send(reqwest::Method::PUT, ALIAS, Some("application/json"), body)
        .await
        .expect(200);
}

fn words(bytes: usize) -> Vec<u8> {
    let delta = json!({ "choices": [{ "delta": { "content": "abcd".repeat(bytes / 4) } }] });
    format!("data: {delta}\n\n").into_bytes()
}

fn whole(text: &str, tokens: u64) -> Sent {
    let delta = json!({ "choices": [{ "delta": { "content": text }, "finish_reason": "stop" }] });
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 10, "completion_tokens": tokens } });
    stream(format!("data: {delta}\n\ndata: {usage}\n\ndata: [DONE]\n\n").as_bytes(), 1 << 20)
}

/// Lines of calls that were neither guessed within what was reserved for them nor, never sent, cost nothing.
fn wrong(db: &Connection) -> u64 {
    let fits = "(state = 'settled' AND estimated = 1 AND cost_micros > 0 AND cost_micros <= reserved_micros) OR (state = 'released' AND cost_micros = 0)";
    number(db, &format!("SELECT count(*) FROM ledger WHERE kind = 'model' AND NOT ({fits})"))
}

fn guessed(db: &Connection) -> u64 {
    number(db, "SELECT count(*) FROM ledger WHERE estimated = 1")
}

/// Looks at a budget's window until it is told to stop; returns the most that was spent and reserved at any one time.
fn watch(station: &TestStation) -> (tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<u64>) {
    let directory = station.directory().to_owned();
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let looking = tokio::task::spawn_blocking(move || {
        let db = journal::open(&directory);
        let mut most = 0;
        while stopped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
            let sql = "SELECT COALESCE(max(spent_micros + reserved_micros), 0) FROM budget_windows";
            most = most.max(number(&db, sql));
            std::thread::park_timeout(std::time::Duration::from_millis(2));
        }
        most
    });
    (stop, looking)
}

#[tokio::test]
async fn streams_that_break_are_guessed_within_what_was_reserved_for_them() {
    let station = station().await;
    let http = station.owner();
    // Every third says more than it may.
    let server = ModelServer::start(|_, turn| broken(&words([8, 120, 8_000][turn % 3]))).await;
    set_chain(&http, &[("one", "gpt-4o", &server)]).await;
    let limit = 5 * CALL_MICROS;
    make_budget(&http, limit, "fail", json!({})).await;
    let (stop, looking) = watch(&station);
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(start(&http, "asker", json!({ "calls": 10 }), None).await);
    }
    for id in &ids {
        let run = super::end(&http, id).await;
        let codes = run["output"].as_object().unwrap_or_else(|| panic!("{run}"));
        assert_eq!(codes.values().filter_map(Value::as_u64).sum::<u64>(), 10, "{run}");
        assert!(!codes.contains_key("ok"), "{run}");
    }
    stop.send(()).unwrap();
    let most = looking.await.unwrap();
    assert!(most <= limit, "{most} of {limit}");
    let db = journal::open(station.directory());
    assert_eq!(wrong(&db), 0);
    assert!(guessed(&db) >= 5, "{}", guessed(&db));
    let at_most = "SELECT count(*) FROM ledger WHERE estimated = 1 AND cost_micros = reserved_micros";
    assert!(number(&db, at_most) > 0, "what says too much costs all that was reserved");
    let spent = spent(&db);
    assert!(
        spent <= limit && spent == number(&db, "SELECT spent_micros FROM budget_windows"),
        "{spent}"
    );
    station.stop().await;
}

#[tokio::test]
async fn runs_that_are_cancelled_in_the_middle_of_streams_leave_nothing_reserved() {
    let station = station().await;
    let http = station.owner();
    let server = ModelServer::start(|_, turn| silent(&words([40, 8_000][turn % 2]))).await;
    set_chain(&http, &[("one", "gpt-4o", &server)]).await;
    let limit = 12 * CALL_MICROS;
    make_budget(&http, limit, "fail", json!({})).await;
    let (stop, looking) = watch(&station);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(start(&http, "asker", json!({ "calls": 6 }), None).await);
    }
    let under_way = async {
        while server.chats().len() < 4 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), under_way).await.unwrap();
    for id in &ids {
        http.post(&format!("/api/v1/runs/{id}/cancel"), &json!({})).await;
    }
    for id in &ids {
        station.until_state(id.parse().unwrap(), RunState::Cancelled).await;
    }
    stop.send(()).unwrap();
    let most = looking.await.unwrap();
    assert!(most <= limit, "{most} of {limit}");
    let db = journal::open(station.directory());
    assert_eq!(wrong(&db), 0);
    assert!(guessed(&db) >= 4, "{}", guessed(&db));
    assert!(spent(&db) <= limit);
    assert_eq!(number(&db, "SELECT reserved_micros FROM budget_windows"), 0);
    station.stop().await;
}

#[tokio::test]
async fn each_model_that_is_paid_for_a_call_has_a_line_of_its_own() {
    let station = station().await;
    let http = station.owner();
    let breaks = ModelServer::start(|_, _| broken(&words(40))).await;
    let works = ModelServer::start(|_, _| whole("here it is", 20)).await;
    set_chain(&http, &[("breaks", "gpt-4o", &breaks), ("works", "gpt-4o-mini", &works)]).await;
    make_budget(&http, CALL_MICROS * 2, "fail", json!({})).await;
    // Where a part of the reply was shown, no other model is asked.
    let id = start(&http, "asker", json!({ "calls": 1, "show": "none" }), None).await;
    let run = super::end(&http, &id).await;
    assert_eq!(run["output"], json!({ "ok": 1 }), "{run}");
    let db = journal::open(station.directory());
    let sql = "SELECT try, provider_name, state, estimated, output_tokens, cost_micros FROM ledger WHERE kind = 'model' ORDER BY try";
    let mut statement = db.prepare(sql).unwrap();
    type Line = (u32, String, String, bool, u32, u32);
    let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Line> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
    };
    let lines: Vec<Line> = statement.query_map([], read).unwrap().map(Result::unwrap).collect();
    let first = lines[0].0;
    // "hello" is two tokens, forty bytes are ten: 5 and 100 micro-dollars; then, of the cheaper model, 1.5 and 12.
    let line = |tries: u32, name: &str, guessed: bool, tokens: u32, cost: u32| {
        (first + tries, name.to_owned(), "settled".to_owned(), guessed, tokens, cost)
    };
    assert_eq!(lines, [line(0, "breaks", true, 10, 105), line(1, "works", false, 20, 14)]);
    let reserved = number(&db, "SELECT sum(reserved_micros) FROM ledger");
    assert!(spent(&db) <= reserved, "{reserved}");
    assert_eq!(run["usage"]["cost_micros"], json!(119), "{run}");
    assert_eq!(number(&db, "SELECT spent_micros FROM budget_windows"), 119);
    station.stop().await;
}
