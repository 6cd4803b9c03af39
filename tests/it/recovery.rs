//! What becomes of a call that was under way when the station stopped, by the class of its effect.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentstation::domain::money::Price;
use agentstation::domain::wait::{ApprovalKind, Verb};
use agentstation::llm::{Model, Models, Scripted};
use serde_json::{Value, json};

use crate::support::agents::{Ended, script};
use crate::support::site::{Reply, Site};
use crate::support::{TestStation, journal};

/// Makes one request and says what came of it.
const SENDER: &str = "export default async function run(input, station) {
  await station.memory.put('before', 1);
  const send = () => station.http.send({ method: input.method, url: input.url, body: input.method === 'GET' ? undefined : 'body' });
  try {
    const [response, version] = input.together ? await Promise.all([send(), station.memory.put('beside', 1)]) : [await send(), 1];
    return { status: response.status, version };
  } catch (error) { return { code: error.code, message: error.message, retryable: error.retryable }; }
}";

/// Stops a station while a request is under way, starts it again, and returns how the run ended and the keys the site was sent.
async fn interrupted(method: &str, header: &str, together: bool) -> (Ended, Vec<String>) {
    let silent = Arc::new(AtomicBool::new(true));
    let is_silent = Arc::clone(&silent);
    let site = Site::start(move |_| {
        if is_silent.load(Ordering::SeqCst) {
            Reply::Silence
        } else {
            Reply::Text("done".to_owned())
        }
    })
    .await;
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let grant = site.grant(&format!("\"{method}\""), &format!("{header}, approval = \"never\""));
    let agent = station
        .publish(script(
            "sender",
            &format!("[capabilities]\nmemory = true\nhttp = [{grant}]\n"),
            SENDER,
        ))
        .await;
    let id = station
        .begin(&agent, &json!({ "method": method, "url": site.url("/"), "together": together }))
        .await;
    site.until_asked(1).await;
    let data = station.stop().await;
    let active = "SELECT active_ms > 0 AND fuel = 0 FROM runs WHERE id = ?1";
    assert!(
        journal::open(data.path())
            .query_row(active, [id.to_string()], |row| row.get::<_, bool>(0))
            .unwrap()
    );
    silent.store(false, Ordering::SeqCst);
    let station = TestStation::builder().outbound(Site::reachable()).data(data).start().await;
    let ended = station.end(id).await;
    let asked = site.asked();
    assert!(asked.iter().all(|asked| asked.method == method && asked.path == "/"));
    let db = journal::open(station.directory());
    let versions: Vec<i64> = journal::memory(&db, "production")
        .into_values()
        .map(|(_, version, _)| version)
        .collect();
    assert!(
        versions.iter().all(|&version| version == 1),
        "nothing was remembered twice: {versions:?}"
    );
    (ended, asked.iter().map(|asked| asked.header("x-key").to_owned()).collect())
}

const NAMES_ITS_HEADER: &str = ", idempotency-header = \"X-Key\"";

#[tokio::test]
async fn a_read_is_sent_again() {
    for together in [false, true] {
        let (ended, keys) = interrupted("GET", NAMES_ITS_HEADER, together).await;
        assert_eq!(ended.succeeded(), json!({ "status": 200, "version": 1 }));
        assert_eq!(keys, ["", ""]);
    }
}

#[tokio::test]
async fn a_write_with_a_key_is_sent_again_under_the_same_key() {
    for method in ["POST", "PUT", "DELETE"] {
        let (ended, keys) = interrupted(method, NAMES_ITS_HEADER, false).await;
        assert_eq!(ended.succeeded(), json!({ "status": 200, "version": 1 }), "{method}");
        assert_eq!(keys.len(), 2, "{method}");
        assert_eq!(keys[0], keys[1], "{method}");
        assert_eq!(keys[0].len(), 64, "{method}");
    }
}

#[tokio::test]
async fn a_put_without_a_key_is_sent_again() {
    let (ended, keys) = interrupted("PUT", "", true).await;
    assert_eq!(ended.succeeded(), json!({ "status": 200, "version": 1 }));
    assert_eq!(keys, ["", ""]);
}

/// Stops a station while an unkeyed write is under way, and decides about it after the restart.
async fn decided(verb: Verb, arguments: Option<Value>) -> (Value, usize) {
    let silent = Arc::new(AtomicBool::new(true));
    let is_silent = Arc::clone(&silent);
    let site = Site::start(move |_| {
        if is_silent.load(Ordering::SeqCst) {
            Reply::Silence
        } else {
            Reply::Text("done".to_owned())
        }
    })
    .await;
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let grant = site.grant("\"POST\"", ", approval = \"never\"");
    let agent = station
        .publish(script(
            "sender",
            &format!("[capabilities]\nmemory = true\nhttp = [{grant}]\n"),
            SENDER,
        ))
        .await;
    let id = station
        .begin(&agent, &json!({ "method": "POST", "url": site.url("/"), "together": true }))
        .await;
    site.until_asked(1).await;
    let data = station.stop().await;
    silent.store(false, Ordering::SeqCst);
    let station = TestStation::builder().outbound(Site::reachable()).data(data).start().await;
    let asked = station.until_asked(id).await;
    assert_eq!(asked.kind, ApprovalKind::UnknownOutcome);
    assert_eq!(asked.verbs, [Verb::Happened, Verb::SendAgain, Verb::Fail]);
    assert!(asked.reason.contains("may have arrived"), "{}", asked.reason);
    assert_eq!(site.asked().len(), 1, "nothing is sent before someone has decided");
    station.decide(&asked, verb, arguments).await;
    (station.end(id).await.succeeded(), site.asked().len())
}

#[tokio::test]
async fn a_write_without_a_key_is_not_repeated_until_a_person_says_what_happened() {
    let answer = json!({ "status": 201, "headers": [], "body": { "text": "made" }, "url": "http://example.com/" });
    assert_eq!(
        decided(Verb::Happened, Some(answer)).await,
        (json!({ "status": 201, "version": 1 }), 1)
    );
    assert_eq!(decided(Verb::SendAgain, None).await, (json!({ "status": 200, "version": 1 }), 2));
    let (output, sent) = decided(Verb::Fail, None).await;
    assert_eq!(
        (&output["code"], &output["retryable"], sent),
        (&json!("unavailable"), &json!(false), 1)
    );
    assert!(
        output["message"].as_str().unwrap().contains("not known whether it happened"),
        "{output}"
    );
}

fn models(tokens_per_second: f64) -> Models {
    let rules = format!("[[rule]]\nreply = \"one two three\"\ntokens_per_second = {tokens_per_second}\n");
    let mut model = Model::free(Arc::new(Scripted::parse(&rules).unwrap()), "scripted");
    model.price = Price {
        input_micros: 1_000_000,
        output_micros: 1_000_000,
        ..Price::default()
    };
    let mut models = Models::default();
    models.insert("default", model);
    models
}

#[tokio::test]
async fn a_model_is_asked_again_and_the_lost_try_is_paid_in_full() {
    let station = TestStation::builder().models(models(0.01)).start().await;
    let source = "export default async function run(input, station) { return (await station.models.chat('hello')).content; }";
    let agent = station
        .publish(script("asker", "[capabilities]\nmodels = [\"default\"]\n", source))
        .await;
    let id = station.begin(&agent, &json!({})).await;
    station.until_entry(id, |entry| entry.kind == "models.chat").await;
    let data = station.stop().await;
    let station = TestStation::builder().models(models(0.0)).data(data).start().await;
    let ended = station.end(id).await;
    let ledger = journal::ledger(&journal::open(station.directory()), &id.to_string());
    let [lost, answered] = ledger.as_slice() else {
        panic!("{ledger:?}")
    };
    assert_eq!((lost.0.as_str(), lost.1, lost.3), ("settled", lost.2, true));
    assert_eq!((answered.0.as_str(), answered.3), ("settled", false));
    assert!(0 < answered.1 && answered.1 < answered.2, "{answered:?}");
    assert_eq!(ended.run.cost_micros, u64::try_from(lost.1 + answered.1).unwrap());
    assert_eq!(ended.succeeded(), Value::from("one two three"));
}
