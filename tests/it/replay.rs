//! Replay equivalence: a run that is interrupted anywhere ends as the run that was not.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use agentstation::domain::agent::Agent;
use agentstation::domain::money::Price;
use agentstation::domain::time::{Clock, SimClock, Timestamp};
use agentstation::llm::{Model, Models, Scripted};
use agentstation::services::agents::Upload;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::TestStation;
use crate::support::agents::{Ended, script};
use crate::support::journal::{self, Copy, Recorded};
use crate::support::site::{Reply, Site};

/// Interruptions tried of a long run.
const MOST: usize = 24;
const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);

/// Answers at once from the examples' script.
pub(crate) fn models() -> Models {
    let rules = fs::read_to_string("examples/scripted.toml").unwrap();
    let at_once: Vec<&str> = rules.lines().filter(|line| !line.starts_with("tokens_per_second")).collect();
    let mut model = Model::free(Arc::new(Scripted::parse(&at_once.join("\n")).unwrap()), "scripted");
    model.price = Price {
        input_micros: 1_000_000,
        output_micros: 2_000_000,
        ..Price::default()
    };
    let mut models = Models::default();
    models.insert("default", model);
    models
}

async fn station(clock: Arc<impl Clock>, data: Option<TempDir>) -> TestStation {
    let builder = TestStation::builder().clock(clock).models(models()).outbound(Site::reachable());
    match data {
        Some(data) => builder.data(data).start().await,
        None => builder.start().await,
    }
}

/// Runs an agent, remembering what it takes to take the run apart.
async fn record(station: &TestStation, agent: &Agent, input: &Value) -> (Ended, Recorded) {
    let before = journal::memory(&journal::open(station.directory()), "production");
    let ended = station.run(agent, input).await;
    let recorded = Recorded::take(station, ended.run.id, before).await;
    (ended, recorded)
}

/// Leaves copies of a run behind at many entries, starts a station that finds them, and holds each against the whole run.
async fn assert_same_from_anywhere(what: &str, station: TestStation, clock: Arc<impl Clock>, whole: &Ended, recorded: &Recorded) {
    let data = station.stop().await;
    let db = journal::open(data.path());
    let copies: Vec<Copy> = recorded.interruptions(MOST).into_iter().map(|at| recorded.copy(&db, at)).collect();
    drop(db);
    let station = self::station(clock, Some(data)).await;
    let db = journal::open(station.directory());
    for copy in copies {
        let at = format!("{what}, interrupted at {}", copy.interruption);
        let ended = station.end(copy.id).await;
        assert_eq!(
            (ended.run.state, ended.run.reason),
            (whole.run.state, whole.run.reason),
            "{at}: {}",
            ended.error
        );
        assert_eq!(ended.output, whole.output, "{at}");
        assert_eq!(ended.error, whole.error, "{at}");
        let id = copy.id.to_string();
        assert_eq!(journal::lines(&db, &id), recorded.lines, "{at}");
        assert_eq!(journal::memory(&db, &copy.environment), recorded.after, "{at}");
        assert_eq!(journal::artifacts(&db, &id), recorded.artifacts, "{at}");
        assert!(journal::ledger(&db, &id).iter().all(|line| line.0 == "settled"), "{at}");
    }
    station.stop().await;
}

// ---- the examples ------------------------------------------------------------------------------------------------

pub(crate) fn example(name: &str) -> (Upload, Value) {
    let read = |file: &str| fs::read_to_string(format!("examples/agents/{name}/{file}")).unwrap();
    let manifest = read("agent.toml");
    let entry = if manifest.contains("agent.wasm") {
        "agent.wasm"
    } else {
        "agent.js"
    };
    let upload = Upload {
        manifest,
        code: fs::read(format!("examples/agents/{name}/{entry}")).unwrap(),
        input_schema: Some(read("input.schema.json")),
        ..Upload::default()
    };
    (upload, serde_json::from_str(&read("sample.json")).unwrap())
}

async fn assert_example(name: &str) {
    let clock = SimClock::at(NOW);
    let station = station(Arc::clone(&clock), None).await;
    let (upload, input) = example(name);
    let agent = station.publish(upload).await;
    let (whole, recorded) = record(&station, &agent, &input).await;
    assert_eq!(whole.reason(), "", "{name}: {}", whole.error);
    assert_same_from_anywhere(name, station, clock, &whole, &recorded).await;
}

#[tokio::test]
async fn the_examples_end_the_same_from_anywhere() {
    for name in [
        "access-log-digest",
        "csv-report",
        "expense-check",
        "log-redactor",
        "prime-search",
        "release-notes",
        "research-brief",
        "ticket-triage",
    ] {
        assert_example(name).await;
    }
}

#[tokio::test]
async fn a_watched_page_is_reported_the_same_from_anywhere() {
    let changed = Arc::new(AtomicBool::new(false));
    let page = Arc::clone(&changed);
    let site = Site::start(move |_| {
        let news = if page.load(Ordering::SeqCst) {
            "<p>Something new</p>"
        } else {
            "<p>Something old</p>"
        };
        Reply::Text(format!("<html><h1>News</h1>{news}<p>The end</p></html>"))
    })
    .await;
    let clock = SimClock::at(NOW);
    let station = station(Arc::clone(&clock), None).await;
    let (mut upload, mut input) = example("page-watch");
    upload.manifest = upload.manifest.replace("example.com", &site.address.to_string());
    input["url"] = json!(site.url("/"));
    let agent = station.publish(upload).await;
    assert_eq!(station.run(&agent, &input).await.succeeded()["first"], true);
    changed.store(true, Ordering::SeqCst);
    let (whole, recorded) = record(&station, &agent, &input).await;
    assert_eq!(whole.output.as_ref().unwrap()["changed"], true, "{}", whole.error);
    assert_same_from_anywhere("page-watch", station, clock, &whole, &recorded).await;
}

#[tokio::test]
async fn a_chain_of_segments_ends_the_same_from_anywhere() {
    let source = "export default async function run(input, station) {
      const count = (station.state?.count ?? 0) + 1;
      station.timeline.info(`segment ${count}`);
      await station.memory.put(`count/${count}`, { count });
      await station.artifacts.put('count.txt', `${count}`);
      if (count === 4) return { count, woken: station.event, all: (await station.memory.list()).entries.length };
      return station.next({ count }, { wake: count % 2 ? 'now' : { at: station.clock.now() } });
    }";
    let clock = SimClock::at(NOW);
    let station = station(Arc::clone(&clock), None).await;
    let agent = station.publish(script("chain", "[capabilities]\nmemory = true\n", source)).await;
    let (whole, recorded) = record(&station, &agent, &json!({})).await;
    assert_eq!(whole.run.segment, 3, "{}", whole.error);
    assert_same_from_anywhere("a chain", station, clock, &whole, &recorded).await;
}

#[tokio::test]
async fn a_run_with_tools_ends_the_same_from_anywhere() {
    let site = echo().await;
    let clock = SimClock::at(NOW);
    let station = station(Arc::clone(&clock), None).await;
    let grant = site.grant("\"GET\"", "");
    let tools = "tools = [\"http_request\", \"calculator\", \"memory_put\", \"memory_get\", \"text_search\"]";
    let extra = format!("[capabilities]\nmemory = true\nhttp = [{grant}]\n{tools}\n");
    let source = "export default async function run(input, station) {
      const { call, describe } = station.tools;
      const names = (await describe()).map((tool) => tool.name);
      const [page, sum, put] = await Promise.all([
        call('http_request', { url: input.url }), call('calculator', { expression: '1/3 + 1' }), call('memory_put', { key: 'page', value: 'x' }),
      ]);
      const found = await call('text_search', { text: page.body, pattern: 'asked' });
      const wrong = await call('calculator', { expression: '1/0' }).catch((error) => error.code);
      const denied = await call('html_to_text', { html: '' }).catch((error) => error.code);
      return { names, sum, put, found, wrong, denied, kept: await call('memory_get', { key: 'page' }) };
    }";
    let agent = station.publish(script("toolbox", &extra, source)).await;
    let (whole, recorded) = record(&station, &agent, &json!({ "url": site.url("/a") })).await;
    let output = whole.output.clone().unwrap_or_default();
    assert_eq!(
        (&output["wrong"], &output["denied"], &output["found"]["count"]),
        (&json!("invalid"), &json!("denied"), &json!(1)),
        "{}",
        whole.error
    );
    assert_same_from_anywhere("an agent with tools", station, clock, &whole, &recorded).await;
}

#[tokio::test]
async fn a_run_that_fails_fails_the_same_from_anywhere() {
    let source = "export default async function run(input, station) {
      await Promise.all([station.memory.put('a', 1), station.memory.put('b', 2)]);
      await station.step('Deeper', async () => { await station.memory.get('a'); throw new StationError('no more', { code: 'conflict' }); });
    }";
    let clock = SimClock::at(NOW);
    let station = station(Arc::clone(&clock), None).await;
    let agent = station.publish(script("failing", "[capabilities]\nmemory = true\n", source)).await;
    let (whole, recorded) = record(&station, &agent, &json!({})).await;
    assert_eq!((whole.reason(), &whole.error["code"]), ("agent_error", &json!("conflict")));
    assert_same_from_anywhere("a failure", station, clock, &whole, &recorded).await;
}

// ---- any sequence of calls ---------------------------------------------------------------------------------------

/// Does a list of operations and says what each answered.
const INTERPRETER: &str = r#"
export default async function run(input, station) {
  const { memory, artifacts, timeline } = station;
  const attempt = async (operation) => {
    try { return (await one(operation)) ?? null; } catch (error) { return { failed: error.code ?? String(error) }; }
  };
  const one = async ([kind, a, b, c]) => {
    switch (kind) {
      case "put": return memory.put(a, b, c === null ? {} : { ifVersion: c });
      case "get": return memory.getEntry(a);
      case "delete": return memory.delete(a);
      case "list": return memory.list({ prefix: a, limit: 2 });
      case "search": return memory.search(a);
      case "save": return artifacts.put(a, b);
      case "load": return (await artifacts.get(a))?.text();
      case "files": return artifacts.list();
      case "log": return timeline.info(a, { at: station.clock.now() });
      case "emit": return timeline.emit("counted", { a });
      case "random": return String(station.random.u64());
      case "now": { const now = station.clock.now(); timeline.debug(`now ${now}`); return now; }
      case "chat": return (await station.models.chat(a)).content;
      case "fetch": return (await station.http.get(input.url + a)).text();
      case "forbidden": return station.http.get("https://example.com/");
      case "step": return station.step(a, async () => { const all = []; for (const each of b) all.push(await attempt(each)); return all; });
      case "all": return Promise.all(a.map(attempt));
    }
  };
  const answers = [];
  for (const operation of input.operations) answers.push(await attempt(operation));
  return answers;
}
"#;

fn call() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec!["a", "b", "a/c"]);
    let name = prop::sample::select(vec!["one.txt", "two.json"]);
    let text = prop::sample::select(vec![String::new(), "x".to_owned(), "long ".repeat(200), "„ü“ 🦀".to_owned()]);
    prop_oneof![
        4 => (key.clone(), text.clone(), prop::option::of(0..3_u64)).prop_map(|(key, text, version)| json!(["put", key, text, version])),
        3 => key.clone().prop_map(|key| json!(["get", key])),
        1 => key.clone().prop_map(|key| json!(["delete", key])),
        1 => key.clone().prop_map(|key| json!(["list", key])),
        1 => Just(json!(["search", "LONG"])),
        2 => (name.clone(), text.clone()).prop_map(|(name, text)| json!(["save", name, text])),
        1 => name.prop_map(|name| json!(["load", name])),
        1 => Just(json!(["files"])),
        2 => text.clone().prop_map(|text| json!(["chat", text + "?"])),
        2 => key.prop_map(|key| json!(["fetch", format!("/{key}")])),
        1 => Just(json!(["forbidden"])),
        1 => text.prop_map(|text| json!(["log", text])),
        1 => Just(json!(["emit", 7])),
        1 => Just(json!(["random"])),
        2 => Just(json!(["now"])),
    ]
}

fn operations() -> impl Strategy<Value = Vec<Value>> {
    let operation = call().prop_recursive(2, 12, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|all| json!(["step", "A step", all])),
            prop::collection::vec(inner, 1..5).prop_map(|all| json!(["all", all])),
        ]
    });
    prop::collection::vec(operation, 1..10)
}

fn interpreter(site: &Site) -> Upload {
    let extra = format!(
        "[capabilities]\nmemory = true\nmodels = [\"default\"]\nhttp = [{}]\n",
        site.grant("\"GET\"", "")
    );
    script("interpreter", &extra, INTERPRETER)
}

async fn echo() -> Site {
    Site::start(|asked| Reply::Text(format!("you asked for {}", asked.path))).await
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Tries a property on generated lists of operations, the same in every run of the tests.
fn for_any_operations(cases: u32, property: impl AsyncFn(Vec<Value>)) {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 60,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(
        config,
        prop::test_runner::TestRng::deterministic_rng(prop::test_runner::RngAlgorithm::ChaCha),
    );
    let runtime = runtime();
    let tried = runner.run(&operations(), |operations| {
        let property = std::panic::AssertUnwindSafe(|| runtime.block_on(property(operations)));
        std::panic::catch_unwind(property).map_err(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            TestCaseError::fail(text.unwrap_or_default())
        })
    });
    if let Err(error) = tried {
        panic!("{error}");
    }
}

#[test]
fn any_sequence_of_calls_ends_the_same_from_anywhere() {
    for_any_operations(12, async |operations| {
        let site = echo().await;
        let clock = SimClock::at(NOW);
        let station = station(Arc::clone(&clock), None).await;
        let agent = station.publish(interpreter(&site)).await;
        let input = json!({ "url": site.url(""), "operations": operations });
        let (whole, recorded) = record(&station, &agent, &input).await;
        assert_eq!(whole.reason(), "", "{}", whole.error);
        assert_same_from_anywhere("any sequence", station, clock, &whole, &recorded).await;
    });
}

/// A clock that is a millisecond later each time somebody looks.
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

#[test]
fn the_time_that_an_agent_was_told_is_told_again() {
    for_any_operations(8, async |operations| {
        let site = echo().await;
        let clock = Arc::new(Ticking(AtomicI64::new(NOW.as_ms())));
        let station = station(Arc::clone(&clock), None).await;
        let agent = station.publish(interpreter(&site)).await;
        let input = json!({ "url": site.url(""), "operations": operations });
        let (whole, recorded) = record(&station, &agent, &input).await;
        assert_eq!(whole.reason(), "", "{}", whole.error);
        let data = station.stop().await;
        let db = journal::open(data.path());
        let copies: Vec<Copy> = recorded.interruptions(MOST).into_iter().map(|at| recorded.copy(&db, at)).collect();
        drop(db);
        let station = self::station(clock, Some(data)).await;
        for copy in copies {
            // Logs carry the time, so that another time would be another call than the recorded one.
            let ended = station.end(copy.id).await;
            assert_eq!(ended.reason(), "", "interrupted at {}: {}", copy.interruption, ended.error);
        }
        station.stop().await;
    });
}

// ---- journals that do not fit ------------------------------------------------------------------------------------

/// What becomes of a run whose journal was altered by `sql` after its last call.
async fn altered(sql: &str) -> Ended {
    let source = "export default async function run(input, station) {
      await station.memory.put('a', 1);
      await station.memory.put('b', 2);
      return (await station.memory.list()).entries.length;
    }";
    let clock = SimClock::at(NOW);
    let station = station(Arc::clone(&clock), None).await;
    let agent = station.publish(script("steady", "[capabilities]\nmemory = true\n", source)).await;
    let (_, recorded) = record(&station, &agent, &json!({})).await;
    let data = station.stop().await;
    let db = journal::open(data.path());
    let last = recorded.interruptions(usize::MAX).into_iter().next_back().unwrap();
    let copy = recorded.copy(&db, last);
    assert!(db.execute(sql, [copy.id.to_string()]).unwrap() > 0);
    drop(db);
    let station = self::station(clock, Some(data)).await;
    station.end(copy.id).await
}

#[tokio::test]
async fn other_arguments_than_the_recorded_ones_end_the_run_and_both_are_named() {
    let ended = altered("UPDATE journal SET fingerprint = zeroblob(16) WHERE run_id = ?1 AND call = 1")
        .await
        .because("nondeterminism");
    assert!(
        ended
            .message()
            .contains("call 1: recorded memory.put with arguments 00000000000000000000000000000000, now "),
        "{}",
        ended.message()
    );
}

#[tokio::test]
async fn another_call_than_the_recorded_one_ends_the_run_and_both_are_named() {
    let ended = altered("UPDATE journal SET kind = 'memory.get' WHERE run_id = ?1 AND call = 0")
        .await
        .because("nondeterminism");
    assert!(
        ended.message().contains("recorded memory.get, now memory.put"),
        "{}",
        ended.message()
    );
}

#[tokio::test]
async fn other_fuel_than_the_recorded_ends_the_run_on_the_same_engine_only() {
    let ended = altered("UPDATE journal SET fuel = fuel + 1 WHERE run_id = ?1 AND call = 2")
        .await
        .because("nondeterminism");
    assert!(ended.message().contains("fuel"), "{}", ended.message());
    let other_engine = "UPDATE segments SET engine = 'another' WHERE run_id = ?1";
    assert_eq!(altered(other_engine).await.succeeded(), json!(2));
}

#[tokio::test]
async fn a_run_that_ends_before_its_recorded_calls_is_told_apart() {
    let ended = altered(
        "INSERT INTO journal (run_id, seq, at, lane, attempt, segment, call, phase, kind, fingerprint, fuel)
         SELECT run_id, 1000, at, lane, attempt, segment, 3, phase, kind, fingerprint, fuel FROM journal WHERE run_id = ?1 AND call = 2",
    )
    .await
    .because("nondeterminism");
    assert!(
        ended.message().contains("ended after 3 calls, 4 were recorded"),
        "{}",
        ended.message()
    );
}

#[tokio::test]
async fn a_runtime_that_is_gone_is_version_drift() {
    let ended = altered("UPDATE segments SET component_digest = zeroblob(32) WHERE run_id = ?1")
        .await
        .because("version_drift");
    assert!(ended.message().contains("gone"), "{}", ended.message());
}
