//! What hostile and broken agents meet: each limit ends the run under its own name, and the station goes on.

use agentstation::domain::origin::Origin;
use agentstation::domain::run::RunState;
use agentstation::llm::{Model, Models, Scripted};
use agentstation::services::{Error, runs};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::support::agents::{component, script};
use crate::support::{TestStation, guest, journal};

const LITTLE_FUEL: &str = "[limits]\nfuel = 100_000_000\n";
const LOOP: &str = "export default function run() { for (;;); }";
const HELLO: &str = "export default function run(input) { return { hello: input.name ?? null }; }";

/// Runs one script to its end.
async fn run(manifest: &str, source: &str) -> crate::support::agents::Ended {
    let station = TestStation::start().await;
    let agent = station.publish(script("guest", manifest, source)).await;
    station.run(&agent, &json!({})).await
}

/// Runs one component to its end.
async fn run_component(manifest: &str, code: Vec<u8>) -> crate::support::agents::Ended {
    let station = TestStation::start().await;
    let agent = station.publish(component("guest", manifest, code)).await;
    station.run(&agent, &json!({ "text": "hello" })).await
}

/// Whether a station still takes an agent and runs it.
async fn assert_answers(station: &TestStation) {
    let agent = station.publish(script("hello", "", HELLO)).await;
    let output = station.run(&agent, &json!({ "name": "Ana" })).await.succeeded();
    assert_eq!(output, json!({ "hello": "Ana" }));
}

// ---- limits of scripts -------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_loop_without_end_uses_up_its_fuel() {
    let ended = run(LITTLE_FUEL, LOOP).await.because("fuel_exhausted");
    assert!(ended.message().contains("limits.fuel = 100000000"), "{}", ended.message());
    assert!(ended.run.fuel >= 100_000_000);
}

#[tokio::test]
async fn a_long_run_meets_its_deadline_and_others_run_meanwhile() {
    let station = TestStation::start().await;
    let hello = station.publish(script("hello", "", HELLO)).await;
    station.run(&hello, &json!({})).await.succeeded();
    let looping = station
        .publish(script("looping", "[limits]\nfuel = 1_000_000_000_000\nrun_seconds = 1\n", LOOP))
        .await;
    let long = station.begin(&looping, &json!({})).await;
    station.until_entry(long, |entry| entry.kind == "segment.started").await;
    let quick = station.run(&hello, &json!({})).await;
    let long = station.end(long).await.because("deadline");
    assert_eq!(quick.run.state, RunState::Succeeded);
    assert!(quick.run.finished_at < long.run.finished_at, "the quick run was first");
}

#[tokio::test]
async fn a_recursion_without_end_overflows_the_stack() {
    run(
        "",
        "const deeper = (n) => 1 + deeper(n + 1);\nexport default function run() { return deeper(0); }",
    )
    .await
    .because("stack_overflow");
}

#[tokio::test]
async fn a_script_that_keeps_too_much_meets_the_memory_limit() {
    run(
        "",
        "export default function run() { const kept = []; for (;;) kept.push(new Uint8Array(1 << 20)); }",
    )
    .await
    .because("memory_limit");
}

#[tokio::test]
async fn a_script_that_logs_without_end_meets_the_journal_limit() {
    let source = "export default function run(input, station) { for (;;) station.timeline.info('x'.repeat(4000)); }";
    let ended = run("[limits]\njournal_bytes = 100_000\n", source).await.because("journal_limit");
    assert!(ended.message().contains("journal_bytes"), "{}", ended.message());
    let ended = run("[limits]\ncalls = 50\n", source).await.because("journal_limit");
    assert_eq!(ended.entries.iter().filter(|entry| entry.kind == "log").count(), 50);
}

// ---- limits of components ----------------------------------------------------------------------------------------

#[tokio::test]
async fn a_component_returns_its_output() {
    let code = guest::component(&guest::done(r#"{"done":true}"#), &format!("i32.const {}", guest::RESULT));
    assert_eq!(run_component("", code).await.succeeded(), json!({ "done": true }));
}

#[tokio::test]
async fn a_bare_module_is_made_into_a_component() {
    let code = guest::module(&guest::done("1"), &format!("i32.const {}", guest::RESULT));
    assert_eq!(run_component("", code).await.succeeded(), json!(1));
}

#[tokio::test]
async fn a_component_that_loops_uses_up_its_fuel() {
    run_component(LITTLE_FUEL, guest::component("", "(loop $on (br $on)) unreachable"))
        .await
        .because("fuel_exhausted");
}

#[tokio::test]
async fn a_component_that_recurses_overflows_the_stack() {
    let code = guest::component(
        "(func $deeper (param i64) (result i64) (i64.add (call $deeper (local.get 0)) (i64.const 1)))",
        "(drop (call $deeper (i64.const 1))) unreachable",
    );
    run_component("", code).await.because("stack_overflow");
}

#[tokio::test]
async fn a_component_that_grows_without_end_meets_the_memory_limit() {
    let ended = run_component(
        "",
        guest::component("", "(loop $on (drop (memory.grow (i32.const 16))) (br $on)) unreachable"),
    )
    .await;
    assert!(ended.because("memory_limit").message().contains("limits.memory_bytes"));
}

#[tokio::test]
async fn an_instruction_that_stops_it_is_a_trap() {
    let ended = run_component("", guest::component("", "unreachable")).await.because("trap");
    assert!(ended.message().contains("unreachable"), "{}", ended.message());
}

#[tokio::test]
async fn an_output_that_is_no_json_is_the_agents_error() {
    for garbage in ["{\"half\":", "", "NaN", "\u{feff}{}", "{} {}"] {
        let code = guest::component(&guest::done(garbage), &format!("i32.const {}", guest::RESULT));
        let ended = run_component("", code).await.because("agent_error");
        assert!(ended.message().contains("no JSON"), "{}", ended.message());
    }
}

#[tokio::test]
async fn a_result_outside_of_its_memory_or_its_type_is_a_trap() {
    let beyond = format!(
        "(i32.store (i32.const {}) (i32.const -16)) (i32.store (i32.const {}) (i32.const 1000)) i32.const {}",
        guest::RESULT + 16,
        guest::RESULT + 20,
        guest::RESULT
    );
    let unknown = format!(
        "(i32.store8 (i32.const {}) (i32.const 9)) i32.const {}",
        guest::RESULT,
        guest::RESULT
    );
    let no_text = guest::done("\u{1}").replace("\\01", "\\ff");
    let cases = [
        (String::new(), beyond),
        (String::new(), unknown),
        (no_text, format!("i32.const {}", guest::RESULT)),
    ];
    let station = TestStation::start().await;
    for (i, (fields, body)) in cases.into_iter().enumerate() {
        let agent = station
            .publish(component(&format!("guest-{i}"), "", guest::component(&fields, &body)))
            .await;
        station.run(&agent, &json!({})).await.because("trap");
    }
    assert_answers(&station).await;
}

// ---- failures ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_uncaught_error_names_file_line_and_stack() {
    let source =
        "function inner(input) {\n  return input.missing.field;\n}\nexport default function run(input) {\n  return inner(input);\n}\n";
    let ended = run("", source).await.because("agent_error");
    assert_eq!(ended.error["file"], "agent.js");
    assert_eq!(ended.error["line"], 2);
    assert!(ended.error["column"].as_u64().unwrap() > 1);
    let stack = ended.error["stack"].as_str().unwrap();
    assert!(stack.contains("inner") && stack.contains("agent.js:5"), "{stack}");
    assert!(ended.message().contains("TypeError"), "{}", ended.message());
}

#[tokio::test]
async fn a_refusal_that_is_let_through_ends_the_run_as_denied() {
    for (source, what) in [
        ("station.memory.put('key', 1)", "memory"),
        ("station.models.chat('hello')", "model"),
        ("station.http.get('https://example.com/')", "example.com"),
    ] {
        let ended = run(
            "",
            &format!("export default async function run(input, station) {{ await {source}; }}"),
        )
        .await
        .because("denied");
        assert!(ended.message().contains(what), "{}", ended.message());
        assert_eq!(ended.error["code"], "denied");
    }
}

#[tokio::test]
async fn a_refusal_that_is_caught_is_an_answer() {
    let source = "export default async function run(input, station) { try { await station.memory.get('key'); } catch (error) { return { code: error.code }; } }";
    assert_eq!(run("", source).await.succeeded(), json!({ "code": "denied" }));
}

#[tokio::test]
async fn an_input_that_does_not_fit_the_schema_names_its_fields() {
    let station = TestStation::start().await;
    let mut upload = script("guest", "", HELLO);
    upload.manifest = upload.manifest.replace("entry", "input = \"input.schema.json\"\nentry");
    upload.input_schema = Some(
        json!({ "type": "object", "required": ["name"], "properties": { "name": { "type": "string" }, "age": { "type": "integer" } } })
            .to_string(),
    );
    let agent = station.publish(upload).await;
    let Err(Error::Invalid(fields)) = station.try_begin(&agent, &json!({ "name": 7, "age": "old" })).await else {
        panic!("the input was taken");
    };
    let pointers: Vec<&str> = fields.iter().map(|field| field.pointer.as_str()).collect();
    assert!(pointers.contains(&"/name") && pointers.contains(&"/age"), "{fields:?}");
    let Err(Error::Invalid(fields)) = station.try_begin(&agent, &json!({})).await else {
        panic!("the input was taken");
    };
    assert!(fields[0].message.contains("name"), "{fields:?}");
    station.run(&agent, &json!({ "name": "Ana" })).await.succeeded();
}

#[tokio::test]
async fn an_unknown_agent_or_version_is_not_found() {
    use agentstation::services::agents::AgentRef;
    let station = TestStation::start().await;
    station.publish(script("guest", "", HELLO)).await;
    for (agent, version) in [("nobody", None), ("guest", Some(semver::Version::new(9, 9, 9)))] {
        let start = runs::StartRun {
            agent: AgentRef::Name(agent.to_owned()),
            version,
            input: "{}".to_owned(),
            trigger: agentstation::domain::run::Trigger::Api,
            message: None,
            priority: 0,
            retry: agentstation::domain::retry::RetryChange::default(),
            budget_micros: None,
        };
        let refused = runs::start(&station.app, &station.actor().await, start).await;
        assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
    }
}

// ---- stopping ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_computing_run_is_cancelled() {
    let station = TestStation::start().await;
    let agent = station.publish(script("guest", "[limits]\nfuel = 1_000_000_000_000\n", LOOP)).await;
    let id = station.begin(&agent, &json!({})).await;
    station.until_entry(id, |entry| entry.kind == "segment.started").await;
    runs::cancel(&station.app, &station.actor().await, id, Origin::default())
        .await
        .unwrap();
    let ended = station.end(id).await.because("cancelled");
    assert_eq!(ended.run.state, RunState::Cancelled);
    assert_answers(&station).await;
}

#[tokio::test]
async fn a_run_is_cancelled_while_a_model_answers_and_the_money_is_settled() {
    let station = TestStation::builder().models(slow_model()).start().await;
    let source = "export default async function run(input, station) { return (await station.models.chat('hello')).content; }";
    let agent = station
        .publish(script("guest", "[capabilities]\nmodels = [\"default\"]\n", source))
        .await;
    let id = station.begin(&agent, &json!({})).await;
    station.until_entry(id, |entry| entry.kind == "models.chat").await;
    runs::cancel(&station.app, &station.actor().await, id, Origin::default())
        .await
        .unwrap();
    let ended = station.end(id).await.because("cancelled");
    let call: Vec<&str> = ended
        .entries
        .iter()
        .filter(|entry| entry.kind == "models.chat")
        .map(|entry| entry.phase.as_str())
        .collect();
    assert_eq!(call, ["start", "end"]);
}

/// Says one word in a hundred seconds.
fn slow_model() -> Models {
    let rules = Scripted::parse("[[rule]]\nreply = \"one two three\"\ntokens_per_second = 0.01\n").unwrap();
    let mut models = Models::default();
    models.insert("default", Model::free(Arc::new(rules), "scripted"));
    models
}

#[tokio::test]
async fn a_run_that_is_cancelled_in_the_moment_it_begins_to_wait_does_not_wait() {
    let station = TestStation::start().await;
    let source = "export default async function run(input, station) {
      for (let i = 0; i < 200; i += 1) await station.artifacts.list();
      return station.next({}, { wake: { at: station.clock.now() + 3_600_000 } });
    }";
    let agent = station.publish(script("guest", "", source)).await;
    let id = station.begin(&agent, &json!({})).await;
    station.until_entry(id, |entry| entry.kind == "artifacts.list").await;
    // As if it came after the last call: the run's task has not heard of it.
    let db = journal::open(station.directory());
    assert_eq!(
        db.execute(
            "UPDATE runs SET cancel_requested = 1 WHERE id = ?1 AND state = 'running'",
            [id.to_string()]
        )
        .unwrap(),
        1
    );
    station.end(id).await.because("cancelled");
}

// ---- segments and calls ------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_run_goes_on_in_the_next_segment_with_its_state() {
    let source = "export default function run(input, station) {
      const seen = [...(station.state?.seen ?? []), station.event];
      if (seen.length === 1) return station.next({ seen }, { wake: 'now' });
      if (seen.length === 2) return station.next({ seen }, { wake: { at: station.clock.now() + 1 } });
      return { seen };
    }";
    let station = TestStation::start().await;
    let agent = station.publish(script("guest", "", source)).await;
    let ended = station.run(&agent, &json!({})).await;
    assert_eq!(ended.run.segment, 2);
    assert_eq!(
        journal::fuel_of_segments(&journal::open(station.directory()), &ended.run.id.to_string()),
        ended.run.fuel
    );
    let started: Vec<u32> = ended
        .entries
        .iter()
        .filter(|entry| entry.kind == "segment.started")
        .map(|entry| entry.segment)
        .collect();
    assert_eq!(started, [0, 1, 2]);
    let output = ended.succeeded();
    assert_eq!(output["seen"][0], Value::Null);
    assert_eq!(output["seen"][1], Value::Null);
    assert_eq!(output["seen"][2]["type"], "timer");
}

#[tokio::test]
async fn a_run_that_only_begins_segments_is_stopped_like_any_other() {
    let station = TestStation::start().await;
    let source = "export default function run(input, station) { return station.next((station.state ?? 0) + 1, { wake: 'now' }); }";
    let hasty = station.publish(script("hasty", "[limits]\nrun_seconds = 1\n", source)).await;
    station.run(&hasty, &json!({})).await.because("deadline");
    let patient = station.publish(script("patient", "", source)).await;
    let id = station.begin(&patient, &json!({})).await;
    station.until_entry(id, |entry| entry.segment > 3).await;
    runs::cancel(&station.app, &station.actor().await, id, Origin::default())
        .await
        .unwrap();
    station.end(id).await.because("cancelled");
}

#[tokio::test]
async fn calls_made_together_are_recorded_as_parts_of_one() {
    let source = "export default async function run(input, station) {
      const [one, two, three] = await Promise.all([station.memory.put('a', 1), station.memory.put('b', 2), station.artifacts.put('c.txt', 'c')]);
      return [one, two, three.name, await station.memory.get('b')];
    }";
    let ended = run("[capabilities]\nmemory = true\n", source).await;
    let parts: Vec<(&str, Option<u32>, Option<u32>)> = ended
        .entries
        .iter()
        .filter(|entry| entry.call.is_some())
        .map(|entry| (entry.kind.as_str(), entry.call, entry.sub))
        .collect();
    assert_eq!(
        parts,
        [
            ("memory.put", Some(0), Some(0)),
            ("memory.put", Some(0), Some(1)),
            ("artifacts.put", Some(0), Some(2)),
            ("memory.get", Some(1), None),
        ]
    );
    assert_eq!(ended.succeeded(), json!([1, 1, "c.txt", 2]));
}

#[tokio::test]
async fn artifacts_have_limits_that_an_agent_may_catch() {
    let source = "export default async function run(input, station) {
      const codes = [];
      const attempt = async (work) => { try { await work(); codes.push('ok'); } catch (error) { codes.push(error.code); } };
      await attempt(() => station.artifacts.put('', 'x'));
      await attempt(() => station.artifacts.put('../escape.txt', 'x'));
      await attempt(() => station.artifacts.put('big.bin', new Uint8Array(33 << 20)));
      for (let i = 0; i < 256; i += 64) await Promise.all(Array.from({ length: 64 }, (_, at) => station.artifacts.put(`${i + at}.txt`, 'x')));
      await attempt(() => station.artifacts.put('one-more.txt', 'x'));
      await attempt(() => station.artifacts.put('0.txt', 'replaced'));
      return { codes, count: (await station.artifacts.list()).length };
    }";
    let output = run("[limits]\nmemory_bytes = 200_000_000\nfuel = 20_000_000_000\n", source)
        .await
        .succeeded();
    assert_eq!(
        output,
        json!({ "codes": ["invalid", "invalid", "limit_exceeded", "limit_exceeded", "ok"], "count": 256 })
    );
}

// ---- uploads -----------------------------------------------------------------------------------------------------

/// What an upload is refused with; nothing of it is stored.
async fn refusal(station: &TestStation, upload: agentstation::services::agents::Upload) -> agentstation::domain::manifest::Finding {
    let Err(Error::Rejected(findings)) = station.try_publish(upload).await else {
        panic!("it was taken");
    };
    let stored = agentstation::services::agents::list(&station.app, &station.actor().await, None, None, 10)
        .await
        .unwrap();
    assert!(stored.is_empty());
    findings.into_iter().next().unwrap()
}

#[tokio::test]
async fn hostile_uploads_are_refused_with_the_reason_and_the_station_goes_on() {
    let whole = guest::component("", "unreachable");
    let nested = format!("{}{}", "(block ".repeat(4_000), ")".repeat(4_000));
    let module = |text: &str| wat::parse_str(text).unwrap();
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("truncated", whole[..whole.len() / 2].to_vec(), "cut off"),
        ("empty", Vec::new(), "no WebAssembly"),
        ("text", b"#!/bin/sh\nrm -rf /\n".to_vec(), "no WebAssembly"),
        (
            "elf",
            std::fs::read(env!("CARGO_BIN_EXE_agentstation")).unwrap()[..4096].to_vec(),
            "machine code",
        ),
        (
            "wasi",
            module("(component (import \"wasi:cli/environment@0.2.0\" (instance)))"),
            "wasi:cli/environment@0.2.0",
        ),
        ("plain module", module("(module (func (export \"run\")))"), "does not export `run`"),
        ("no run", module("(component)"), "does not export `run`"),
        ("bomb", module(&format!("(module (func {nested}))")), "nested"),
        ("bomb in an agent", guest::module("", &format!("{nested} unreachable")), "nested"),
    ];
    let station = TestStation::start().await;
    for (what, code, reason) in cases {
        let finding = refusal(&station, component("guest", "", code)).await;
        assert_eq!(finding.file, "agent.wasm", "{what}");
        assert!(finding.message.contains(reason), "{what}: {}", finding.message);
    }
    assert_answers(&station).await;
}

#[tokio::test]
async fn a_manifests_mistakes_are_shown_with_their_line() {
    let station = TestStation::start().await;
    let manifest = crate::support::manifest("guest", "1.0.0");
    let cases = [
        (manifest.replace("name = \"guest\"", "name = \"My Agent\""), 1, "my-agent"),
        (manifest.replace("1.0.0", "one"), 2, ""),
        (manifest.replace("\"javascript\"", "\"python\""), 4, "python"),
        (manifest.replace("agent.js", "../agent.js"), 5, "entry"),
        (format!("{manifest}[limits]\nfule = 1\n"), 7, "fule"),
        (format!("{manifest}[limits]\nfuel = 1\n"), 7, "fuel"),
        (
            format!("{manifest}[capabilities]\nhttp = [{{ host = \"https://example.com\" }}]\n"),
            7,
            "without https://",
        ),
        (format!("{manifest}this is no toml\n"), 6, ""),
    ];
    for (manifest, line, text) in cases {
        let finding = refusal(
            &station,
            agentstation::services::agents::Upload {
                manifest: manifest.clone(),
                code: HELLO.into(),
                ..Default::default()
            },
        )
        .await;
        assert_eq!((finding.file.as_str(), finding.line), ("agent.toml", line), "{manifest}{finding}");
        assert!(finding.message.contains(text), "{finding}");
    }
}

#[tokio::test]
async fn a_scripts_syntax_error_is_shown_with_its_line() {
    let station = TestStation::start().await;
    let finding = refusal(
        &station,
        script("guest", "", "export default function run() {\n  return {\n    a: 1,,\n  };\n}\n"),
    )
    .await;
    assert_eq!((finding.file.as_str(), finding.line), ("agent.js", 3), "{finding}");
    let finding = refusal(
        &station,
        script("guest", "", "const a = 1;\nawait import('fs');\nexport default function ("),
    )
    .await;
    assert_eq!(finding.file, "agent.js", "{finding}");
}
