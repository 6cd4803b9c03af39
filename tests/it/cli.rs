//! The command line: data on stdout, everything else on stderr, exit codes that scripts can trust.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::program::Place;
use crate::support::site::{Reply, Site};
use crate::support::{OWNER_EMAIL, PASSWORD, manifest};

const HELLO: &str =
    "export default function run(input, station) { station.timeline.info('saying hello'); return { hello: input.name ?? 'world' }; }";

/// The path of an example's folder.
fn example(name: &str) -> String {
    format!("{}/examples/agents/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Copies an example, its manifest changed by `change`.
fn copy_example(place: &Place, name: &str, change: impl Fn(String) -> String) -> String {
    for entry in fs::read_dir(example(name)).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            let file = entry.file_name().into_string().unwrap();
            let bytes = fs::read(entry.path()).unwrap();
            let bytes = if file == "agent.toml" {
                change(String::from_utf8(bytes).unwrap()).into_bytes()
            } else {
                bytes
            };
            place.write(&format!("{name}/{file}"), bytes);
        }
    }
    name.to_owned()
}

/// The whole shape of `run -o json`.
#[track_caller]
fn assert_shape(printed: &Value) {
    let fields: Vec<&String> = printed.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["duration_ms", "error", "id", "output", "reason", "state", "usage"]);
    assert!(printed["id"].as_str().unwrap().starts_with("run_"));
    assert!(printed["duration_ms"].is_u64() || printed["state"] == "waiting");
    for count in ["fuel", "input_tokens", "output_tokens", "cost_micros"] {
        assert!(printed["usage"][count].is_u64(), "{printed}");
    }
}

// ---- run ---------------------------------------------------------------------------------------------------------

/// What people say to an example that asks them: flags, and lines of stdin.
fn company(example: &str) -> (&'static [&'static str], &'static str) {
    match example {
        "order-desk" => (&["--approve-all"], ""),
        "concierge" => (&[], "Please bring two towels.\nlist\nbye\n"),
        "researcher" => (&[], "Which routes are too short?\nfinish\n"),
        _ => (&[], ""),
    }
}

#[tokio::test]
async fn every_example_runs_on_its_sample() {
    let site = Site::start(|_| Reply::Text("<h1>Hello</h1>".to_owned())).await;
    let place = Place::new();
    place.write("agentstation.toml", "[outbound]\nopen_cidrs = [\"127.0.0.0/8\"]\n");
    let names: Vec<String> = fs::read_dir("examples/agents")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    // All of them first: some start others.
    for name in &names {
        copy_example(&place, name, |manifest| manifest.replace("example.com", &site.address.to_string()));
    }
    for name in &names {
        let mut input: Value = serde_json::from_str(&fs::read_to_string(format!("{}/sample.json", example(name))).unwrap()).unwrap();
        if name == "page-watch" {
            input["url"] = json!(site.url("/"));
        }
        let input = place.write("input.json", input.to_string());
        let (flags, stdin) = company(name);
        let args = [&["run", name, "--input-file", input.to_str().unwrap(), "-o", "json"], flags].concat();
        let ran = place.run_with(&args, stdin).await.expect(0);
        let printed = ran.json();
        assert_shape(&printed);
        assert_eq!(
            (&printed["state"], &printed["reason"], &printed["error"]),
            (&json!("succeeded"), &Value::Null, &Value::Null),
            "{name}"
        );
        assert!(printed["output"].is_object(), "{name}");
        assert!(printed["usage"]["fuel"].as_u64().unwrap() > 0, "{name}");
        assert!(!ran.stderr.is_empty(), "{name} has a timeline");
    }
    assert!(names.len() >= 12);
}

#[tokio::test]
async fn what_a_run_asks_is_decided_by_a_flag_and_by_nobody_else() {
    let place = Place::new();
    let (folder, sample) = (example("order-desk"), format!("{}/sample.json", example("order-desk")));
    let run = ["run", &folder, "--input-file", &sample];
    let approved = place.run(&[&run[..], &["--approve-all"]].concat()).await.expect(0);
    assert_eq!(approved.json()["placed"], true);
    assert!(
        approved.stderr.contains("place-order") && approved.stderr.contains("Kontor & Sohn"),
        "{}",
        approved.stderr
    );
    let denied = place.run(&[&run[..], &["--deny-all"]].concat()).await.expect(0);
    assert_eq!(denied.json()["placed"], false);
    // Nobody sits at this stdin, so a line on it decides nothing.
    let undecided = place.run_with(&run, "a\n").await.expect(1);
    assert_eq!(undecided.stdout, "");
    assert!(
        undecided.stderr.contains("place-order") && undecided.stderr.contains("--approve-all"),
        "{}",
        undecided.stderr
    );
    place.run(&[&run[..], &["--approve-all", "--deny-all"]].concat()).await.expect(2);
}

#[tokio::test]
async fn a_session_reads_a_line_for_each_message_and_prints_its_replies() {
    let place = Place::new();
    place.write(
        "echo.js",
        "export function onMessage(message, station) {
           station.state.count = (station.state.count ?? 0) + 1;
           if (message.text === 'bye') return station.done({ count: station.state.count });
           return `${station.state.count}: ${message.text}`;
         }",
    );
    let ran = place.run_with(&["run", "echo.js"], "one\n\ntwo\nbye\nnever read\n").await.expect(0);
    assert!(ran.stdout.starts_with("1: one\n2: two\n{"), "{}", ran.stdout);
    let json = place
        .run_with(&["run", "echo.js", "-o", "json"], "one\nbye\n")
        .await
        .expect(0)
        .json();
    assert_shape(&json);
    assert_eq!(json["output"], json!({ "count": 2 }));
    // Without more messages it is left as it is: it could go on.
    let open = place.run_with(&["run", "echo.js"], "one\n").await.expect(0);
    assert_eq!(open.stdout, "1: one\n");
    let open = place.run_with(&["run", "echo.js", "-o", "json"], "").await.expect(0).json();
    assert_eq!((&open["state"], &open["output"]), (&json!("waiting"), &Value::Null));
}

#[tokio::test]
async fn stdout_is_the_output_and_stderr_the_timeline() {
    let place = Place::new();
    place.write("hello.js", HELLO);
    let ran = place.run(&["run", "hello.js", "--input", r#"{"name":"Ana"}"#]).await.expect(0);
    assert_eq!(ran.json(), json!({ "hello": "Ana" }));
    assert!(ran.stderr.contains("saying hello"), "{}", ran.stderr);
    assert!(!ran.stderr.contains('\u{1b}'), "no colours where nobody looks");
    let from_stdin = place
        .run_with(&["run", "hello.js", "--input-file", "-"], r#"{"name":"Bo"}"#)
        .await
        .expect(0);
    assert_eq!(from_stdin.json(), json!({ "hello": "Bo" }));
    assert_eq!(place.run(&["run", "hello.js"]).await.expect(0).json(), json!({ "hello": "world" }));
}

#[tokio::test]
async fn a_failed_run_exits_with_1_and_says_why() {
    let place = Place::new();
    place.write(
        "broken.js",
        "export default function run() {\n  throw new Error('no more paper');\n}\n",
    );
    let ran = place.run(&["run", "broken.js"]).await.expect(1);
    assert_eq!(ran.stdout, "");
    assert!(
        ran.stderr.contains("no more paper") && ran.stderr.contains("broken.js:2"),
        "{}",
        ran.stderr
    );
    let printed = place.run(&["run", "broken.js", "-o", "json"]).await.expect(1).json();
    assert_shape(&printed);
    assert_eq!(
        (&printed["state"], &printed["reason"], &printed["output"]),
        (&json!("failed"), &json!("agent_error"), &Value::Null)
    );
    assert_eq!(
        (&printed["error"]["file"], &printed["error"]["line"]),
        (&json!("broken.js"), &json!(2))
    );
}

#[tokio::test]
async fn a_bare_script_has_no_capability() {
    let place = Place::new();
    for (call, what) in [
        ("station.memory.get('a')", "memory"),
        ("station.models.chat('hello')", "default"),
        ("station.http.get('https://example.com/')", "example.com"),
    ] {
        place.write("curious.js", format!("export default (input, station) => {call};"));
        let printed = place.run(&["run", "curious.js", "-o", "json"]).await.expect(1).json();
        assert_eq!(printed["reason"], "denied", "{printed}");
        assert!(printed["error"]["message"].as_str().unwrap().contains(what), "{printed}");
    }
}

#[tokio::test]
async fn an_input_that_does_not_fit_is_refused_by_field() {
    let place = Place::new();
    let refused = place
        .run(&["run", &example("prime-search"), "--input", r#"{"limit":"many"}"#])
        .await
        .expect(1);
    assert_eq!(refused.stdout, "");
    assert!(refused.stderr.contains("/limit: "), "{}", refused.stderr);
    place.run(&["run", &example("prime-search"), "--input", "{"]).await.expect(1);
}

#[tokio::test]
async fn artifacts_are_written_where_asked() {
    let place = Place::new();
    place.write(
        "writer.js",
        "export default async (input, station) => { await station.artifacts.put('note.txt', 'noted'); };",
    );
    let ran = place.run(&["run", "writer.js", "--artifacts", "out/here"]).await.expect(0);
    assert_eq!(fs::read_to_string(place.path().join("out/here/note.txt")).unwrap(), "noted");
    assert_eq!(ran.stdout.trim(), "null");
}

#[tokio::test]
async fn wrong_usage_exits_with_2_and_prints_nothing_on_stdout() {
    let place = Place::new();
    for args in [
        &[][..],
        &["fly"],
        &["run"],
        &["run", "a.js", "--input", "{}", "--input-file", "b"],
        &["run", "a.js", "-o", "yaml"],
        &["serve", "--listen", "nowhere"],
        &["init", "--email", "ana@example.com"],
        &["key", "create"],
    ] {
        let refused = place.run(args).await.expect(2);
        assert_eq!(refused.stdout, "", "{args:?}");
        assert!(
            refused.stderr.contains("Usage") || refused.stderr.contains("usage") || refused.stderr.contains("--help"),
            "{args:?}: {}",
            refused.stderr
        );
    }
    for args in [["--help"], ["--version"]] {
        let shown = place.run(&args).await.expect(0);
        assert!(shown.stdout.contains("agentstation") && shown.stderr.is_empty());
    }
}

#[tokio::test]
async fn what_is_no_agent_is_refused_in_words() {
    let place = Place::new();
    place.write("empty/readme.txt", "");
    place.write("notes.txt", "");
    place.write("fake.wasm", "not wasm");
    for (path, text) in [
        ("missing.js", "missing.js"),
        ("empty", "agent.toml"),
        ("notes.txt", ".js or .wasm"),
        ("fake.wasm", "no WebAssembly"),
    ] {
        let refused = place.run(&["run", path]).await.expect(1);
        assert!(
            refused.stdout.is_empty() && refused.stderr.contains(text),
            "{path}: {}",
            refused.stderr
        );
    }
}

// ---- check -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_check_prints_a_line_for_each_finding() {
    let place = Place::new();
    place.write("good/agent.toml", manifest("good", "1.0.0"));
    place.write("good/agent.js", HELLO);
    let good = place.run(&["agent", "check", "good"]).await.expect(0);
    assert!(good.stdout.is_empty() && good.stderr.contains("good 1.0.0"), "{good:?}");
    assert_eq!(
        place.run(&["agent", "check", "good", "-o", "json"]).await.expect(0).json(),
        json!([])
    );

    place.write("bad/agent.toml", manifest("bad", "1.0.0"));
    place.write("bad/agent.js", "export default function run() {\n  return 1 +;\n}\n");
    let bad = place.run(&["agent", "check", "bad"]).await.expect(1);
    assert!(
        bad.stdout.starts_with("agent.js:2:") && bad.stdout.contains(": error: "),
        "{}",
        bad.stdout
    );
    let findings = place.run(&["agent", "check", "bad", "-o", "json"]).await.expect(1).json();
    assert_eq!(
        (&findings[0]["file"], &findings[0]["line"], &findings[0]["severity"]),
        (&json!("agent.js"), &json!(2), &json!("error"))
    );

    place.write("worse/agent.toml", manifest("Worse", "1.0.0") + "[limits]\nfuel = 1\n");
    place.write("worse/agent.js", HELLO);
    let worse = place.run(&["agent", "check", "worse"]).await.expect(1);
    assert_eq!(worse.stdout.lines().count(), 2, "{}", worse.stdout);
    assert!(
        worse.stdout.contains("agent.toml:1:1: error: name") && worse.stdout.contains("agent.toml:7:1: error: limits.fuel"),
        "{}",
        worse.stdout
    );
}

#[tokio::test]
async fn every_example_passes_its_check() {
    let place = Place::new();
    for entry in fs::read_dir("examples/agents").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let said = place.run(&["agent", "check", &example(&name)]).await.expect(0).stdout;
        // An example may be one whose writes a person decides about.
        let others: Vec<_> = said.lines().filter(|line| !line.contains("warning: it has private data")).collect();
        assert!(others.is_empty(), "{name}: {said}");
    }
}

// ---- setting up --------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_owner_and_keys_are_made_without_a_browser() {
    let place = Place::new();
    let key = place.init().await;
    assert!(key.starts_with("as_") || key.contains('_'), "{key}");
    assert!(!key.contains(char::is_whitespace));
    let again = place
        .run_with(
            &["init", "--email", "eve@example.com", "--password-stdin"],
            &format!("{PASSWORD}\n"),
        )
        .await
        .expect(1);
    assert_eq!(again.stdout, "");
    let create = [
        "user",
        "create",
        "--email",
        "bo@example.com",
        "--role",
        "operator",
        "--password-stdin",
    ];
    assert_eq!(place.run_with(&create, &format!("{PASSWORD}\n")).await.expect(0).stdout, "");
    assert_eq!(place.run_with(&create, &format!("{PASSWORD}\n")).await.expect(1).stdout, "");
    let limited = place
        .run(&[
            "key",
            "create",
            "--user",
            "bo@example.com",
            "--scopes",
            "runs:read,runs:start",
            "-o",
            "json",
        ])
        .await
        .expect(0);
    assert_eq!(limited.json()["user"], "bo@example.com");
    assert!(limited.json()["key"].as_str().is_some_and(|key| !key.is_empty()));
    for args in [
        ["--user", "nobody@example.com", "--name", "x"],
        ["--user", OWNER_EMAIL, "--scopes", "fly"],
        ["--user", OWNER_EMAIL, "--org", "elsewhere"],
    ] {
        let refused = place.run(&[&["key", "create"][..], &args].concat()).await.expect(1);
        assert!(refused.stdout.is_empty() && !refused.stderr.is_empty(), "{args:?}");
    }
}

#[tokio::test]
async fn a_password_comes_from_stdin_and_must_be_good() {
    let place = Place::new();
    for password in ["", "\n", "short\n", "password\n"] {
        let refused = place
            .run_with(&["init", "--email", OWNER_EMAIL, "--password-stdin"], password)
            .await
            .expect(1);
        assert!(
            refused.stdout.is_empty() && refused.stderr.contains("password"),
            "{password:?}: {}",
            refused.stderr
        );
    }
    place.init().await;
}

// ---- looking -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_doctor_looks_at_a_new_and_at_a_used_place() {
    let place = Place::new();
    let new = place.run(&["doctor"]).await.expect(0);
    assert!(
        new.stdout
            .lines()
            .all(|line| line.starts_with("ok ") || line.starts_with("warning ")),
        "{}",
        new.stdout
    );
    place.init().await;
    let used = place.run(&["doctor", "-o", "json"]).await.expect(0).json();
    let looked_at: Vec<&str> = used.as_array().unwrap().iter().map(|line| line["what"].as_str().unwrap()).collect();
    for what in [
        "settings",
        "data directory",
        "disk",
        "engine",
        "models",
        "integrity",
        "pragmas",
        "size",
        "master key",
        "sealing",
        "mail",
    ] {
        assert!(looked_at.contains(&what), "{looked_at:?}");
    }
    let database = place.path().join("agentstation-data").join(agentstation::store::DATABASE_FILE);
    damage(&database);
    let damaged = place.run(&["doctor"]).await.expect(1);
    assert!(damaged.stdout.contains("PROBLEM"), "{}", damaged.stdout);
}

/// Overwrites the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0x5a);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn the_api_document_is_printed_as_json() {
    let document = Place::new().run(&["openapi"]).await.expect(0);
    assert!(document.json()["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(document.stderr.is_empty());
}

#[tokio::test]
async fn the_settings_are_printed_with_their_sources() {
    let place = Place::new();
    place.write("agentstation.toml", "[runtime]\nslots = 3\n");
    let printed = place
        .run(&["serve", "--print-config", "--listen", "127.0.0.1:9999"])
        .await
        .expect(0);
    let settings: toml::Table = printed.stdout.parse().unwrap();
    assert_eq!(settings["runtime"]["slots"].as_integer(), Some(3));
    assert_eq!(settings["server"]["listen"].as_str(), Some("127.0.0.1:9999"));
    let line = |key: &str| {
        printed
            .stdout
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        line("slots").contains("agentstation.toml") && line("listen").contains("--listen"),
        "{}",
        printed.stdout
    );
    assert!(
        line("cache").contains("AGENTSTATION_RUNTIME_CACHE") && line("readers").contains("default"),
        "{}",
        printed.stdout
    );
    assert!(!place.path().join("agentstation-data").exists(), "printing makes nothing");
}

#[tokio::test]
async fn an_unknown_setting_is_an_error_with_its_line() {
    let place = Place::new();
    place.write(
        "agentstation.toml",
        "[runtime]\nslots = 3\n\n[server]\nlisten_on = \"127.0.0.1:1\"\n",
    );
    for command in [&["serve"][..], &["doctor"], &["run", "a.js"]] {
        let refused = place.run(command).await.expect(1);
        assert!(refused.stdout.is_empty());
        assert!(
            refused.stderr.contains("agentstation.toml") && refused.stderr.contains("line 5") && refused.stderr.contains("listen_on"),
            "{}",
            refused.stderr
        );
    }
}

#[tokio::test]
async fn a_station_that_others_could_overhear_does_not_start() {
    let place = Place::new();
    let refused = place.run(&["serve", "--listen", "0.0.0.0:0"]).await.expect(1);
    assert!(
        refused.stderr.contains("insecure_listen") && refused.stdout.is_empty(),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn people_and_keys_are_listed_changed_and_removed_from_the_shell() {
    let place = Place::new();
    let key = place.init().await;
    let create = [
        "user",
        "create",
        "--email",
        "bo@example.com",
        "--role",
        "operator",
        "--password-stdin",
    ];
    place.run_with(&create, &format!("{PASSWORD}\n")).await.expect(0);
    let made = place
        .run(&["key", "create", "--user", "bo@example.com", "--name", "bo's"])
        .await
        .expect(0);
    let id = made.stdout.split('_').nth(2).unwrap().get(..12).unwrap().to_owned();
    place.run(&["user", "role", "bo@example.com", "builder"]).await.expect(0);
    place.run(&["user", "role", OWNER_EMAIL, "viewer"]).await.expect(1);
    let listed = place.run(&["user", "list"]).await.expect(0).stdout;
    assert!(listed.contains("owner") && listed.contains("builder   bo@example.com"), "{listed}");
    let keys = place.run(&["key", "list"]).await.expect(0).stdout;
    assert!(keys.contains(&id) && keys.contains("bo's") && !keys.contains(key.trim()), "{keys}");
    place.run(&["key", "revoke", &id]).await.expect(0);
    place.run(&["key", "revoke", &id]).await.expect(1);
    place.run(&["user", "remove", "bo@example.com"]).await.expect(0);
    place.run(&["user", "remove", OWNER_EMAIL]).await.expect(1);
    let lines = place.run(&["user", "list", "-o", "json"]).await.expect(0).stdout;
    let only: Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!(only["email"], OWNER_EMAIL);
}
