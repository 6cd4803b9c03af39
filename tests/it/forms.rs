//! Agents made by filling in a form: the page without JavaScript, what it makes, and the way out of it.

use std::fs;
use std::sync::Arc;

use agentstation::domain::manifest::Manifest;
use agentstation::llm::{Model, Models, Scripted};
use agentstation::services::agents;
use serde_json::{Value, json};

use crate::support::http::between;
use crate::support::{Browser, TestStation};

/// What somebody fills in, without what a test says otherwise.
const FILLED: [(&str, &str); 12] = [
    ("name", "sorter"),
    ("version", "0.1.0"),
    ("summary", "Sorts tickets"),
    ("instructions", "You sort tickets.\r\nAnswer with one \"word\"."),
    ("model", "default"),
    ("field.0.name", ""),
    ("field.0.title", "Ticket"),
    ("field.0.kind", "long-text"),
    ("field.0.required", "yes"),
    ("turns", "5"),
    ("dollars", "0.25"),
    ("output_tokens", "200"),
];

fn models() -> Models {
    let rules =
        "[[rule]]\nsystem = 'You sort tickets'\nuser = 'broken'\nreply = \"bug\"\n[[rule]]\nsystem = 'in German'\nreply = \"Fehler\"\n";
    let mut models = Models::default();
    models.insert("default", Model::free(Arc::new(Scripted::parse(rules).unwrap()), "scripted"));
    models
}

async fn station() -> (TestStation, Browser) {
    let station = TestStation::builder().models(models()).start().await;
    let mut browser = station.browser().await;
    browser.get("/agents/new?mode=form").await.expect(200);
    (station, browser)
}

/// The form with some fields otherwise, and the button that is pressed.
fn filled<'a>(other: &[(&'a str, &'a str)], button: &'a str) -> Vec<(&'a str, &'a str)> {
    let kept = FILLED
        .into_iter()
        .filter(|(name, _)| !other.iter().any(|(changed, _)| changed == name));
    kept.chain(other.iter().copied()).chain([("do", button)]).collect()
}

async fn manifest(station: &TestStation, name: &str) -> Manifest {
    let actor = station.actor().await;
    let agent = agents::find(&station.app, &actor, &agents::AgentRef::parse(name)).await.unwrap();
    let latest = agents::version_by_number(&station.app, &actor, agent.id, &agent.latest_version)
        .await
        .unwrap();
    latest.manifest
}

async fn run(station: &TestStation, name: &str, input: &Value) -> Value {
    let actor = station.actor().await;
    let agent = agents::find(&station.app, &actor, &agents::AgentRef::parse(name)).await.unwrap();
    station.run(&agent, input).await.succeeded()
}

#[tokio::test]
async fn a_form_makes_an_agent_that_runs_and_opens_again_as_it_was() {
    let (station, mut browser) = station().await;
    let stored = browser.submit("/agents/new/form", &filled(&[], "save")).await.expect(303);
    assert_eq!(stored.header("location"), "/agents/sorter?done=stored");
    let output = run(&station, "sorter", &json!({ "ticket": "It is broken" })).await;
    assert_eq!(
        (&output["answer"], &output["stopped"], &output["turns"]),
        (&json!("bug"), &json!("done"), &json!(1))
    );

    let page = browser.get("/agents/sorter/versions/new").await.expect(200);
    for shown in [
        "value=\"0.1.1\"",
        "value=\"Ticket\"",
        "You sort tickets.\nAnswer with one &#34;word&#34;.",
        "value=\"0.25\"",
        "readonly",
    ] {
        assert!(page.body.contains(shown), "{shown} in {}", page.body);
    }
    let changed = [
        ("version", "0.1.1"),
        ("instructions", "You sort tickets in German."),
        ("field.0.name", "ticket"),
    ];
    browser
        .submit("/agents/sorter/versions/form", &filled(&changed, "run"))
        .await
        .expect(303);
    let now = manifest(&station, "sorter").await;
    assert_eq!((now.version.to_string(), now.form.unwrap().turns), ("0.1.1".to_owned(), 5));
    assert_eq!(run(&station, "sorter", &json!({ "ticket": "?" })).await["answer"], "Fehler");
    let versions = browser.get("/agents/sorter?tab=versions").await.expect(200);
    assert!(versions.body.contains("0.1.1") && versions.body.contains("0.1.0"));
}

#[tokio::test]
async fn what_is_chosen_stands_in_the_manifest() {
    let (station, mut browser) = station().await;
    let chosen = [
        ("tool", "http_request"),
        ("tool", "memory_get"),
        ("ask", "http_request"),
        ("ask", "calculator"),
        ("host.0.host", "shop.example.com"),
        ("host.0.method", "GET"),
        ("host.0.method", "POST"),
        ("host.0.path", "/v1"),
        ("host.0.approval", "never"),
        ("host.1.host", ""),
        ("secrets", "shop-key, other-key"),
        ("field.1.name", ""),
        ("field.1.title", "How many?"),
        ("field.1.kind", "number"),
    ];
    browser.submit("/agents/new/form", &filled(&chosen, "save")).await.expect(303);
    let manifest = manifest(&station, "sorter").await;
    let granted = &manifest.capabilities;
    assert_eq!(granted.tools, ["http_request", "memory_get", "memory_put", "memory_search"]);
    assert_eq!(granted.ask, ["http_request"], "nobody is asked about what is not used");
    assert!(granted.memory);
    assert_eq!(granted.secrets, ["shop-key", "other-key"]);
    let [host] = granted.http.as_slice() else {
        panic!("{:?}", granted.http)
    };
    assert_eq!(
        (host.host.as_str(), host.path.as_str(), host.methods.join(" ").as_str()),
        ("shop.example.com", "/v1", "GET POST")
    );
    assert_eq!(host.approval.as_str(), "never");
    let form = manifest.form.unwrap();
    assert_eq!((form.turns, form.output_tokens), (5, Some(200)));
    let names: Vec<_> = form
        .fields
        .iter()
        .map(|field| (field.name.as_str(), field.kind.as_str(), field.required))
        .collect();
    assert_eq!(names, [("ticket", "long-text", true), ("how_many", "number", false)]);
}

#[tokio::test]
async fn rows_come_and_go_and_nothing_that_was_typed_is_lost() {
    let (_station, mut browser) = station().await;
    let typed = [
        ("host.0.host", "one.example"),
        ("host.0.method", "PUT"),
        ("host.1.host", "two.example"),
    ];
    let more = browser.submit("/agents/new/form", &filled(&typed, "add-host")).await.expect(200);
    assert!(
        more.body.contains("name=\"host.2.host\"") && more.body.contains("value=\"one.example\""),
        "{}",
        more.body
    );
    let less = browser
        .submit("/agents/new/form", &filled(&typed, "remove-host:0"))
        .await
        .expect(200);
    assert!(!less.body.contains("one.example") && less.body.contains("name=\"host.0.host\" value=\"two.example\""));
    let fields = browser.submit("/agents/new/form", &filled(&[], "add-field")).await.expect(200);
    assert!(fields.body.contains("name=\"field.1.title\"") && fields.body.contains("value=\"Ticket\""));
    browser.submit("/agents/new/form", &filled(&[], "remove-host:99")).await.expect(200);
}

#[tokio::test]
async fn what_is_wrong_is_said_and_nothing_is_stored() {
    let (station, mut browser) = station().await;
    for (other, said) in [
        (("name", "Not A Name"), "must be 1 to 64"),
        (("instructions", " "), "Say what the agent is to do"),
        (("version", "one"), "three numbers with dots"),
        (("turns", "1"), "between 2 and 200"),
        (("turns", "many"), "is a whole number"),
        (("dollars", "-3"), "an amount in dollars"),
        (("host.0.host", "https://x"), "is no host"),
        (("summary", ""), "Say in one sentence"),
        (("model", ""), "Choose a model"),
    ] {
        let methods = ("host.0.method", "GET");
        let refused = browser
            .submit("/agents/new/form", &filled(&[other, methods], "save"))
            .await
            .expect(422);
        assert!(
            refused.body.contains("Nothing was stored") && refused.body.contains(said),
            "{said}: {}",
            refused.body
        );
    }
    let checked = browser.submit("/agents/new/form", &filled(&[], "check")).await.expect(200);
    assert!(checked.body.contains("Nothing wrong found"), "{}", checked.body);
    let empty = station.owner().get("/api/v1/agents").await.expect(200).json();
    assert_eq!(empty["items"], json!([]));
    browser.submit("/agents/new/form", &filled(&[], "save")).await.expect(303);
    let taken = browser.submit("/agents/new/form", &filled(&[], "save")).await.expect(409);
    assert!(taken.body.contains("Nothing was stored"), "{}", taken.body);
}

/// The text of an area of the editor.
fn area(page: &str, name: &str) -> String {
    let found = between(page, &format!("name=\"{name}\" data-editor"), "</textarea>").unwrap();
    let text = found.split_once('>').unwrap().1;
    text.replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&#38;", "&")
        .replace("&#60;", "<")
        .replace("&#62;", ">")
}

#[tokio::test]
async fn a_form_is_turned_into_code_that_does_the_same() {
    let (station, mut browser) = station().await;
    browser.submit("/agents/new/form", &filled(&[], "save")).await.expect(303);
    let changed = [("version", "0.2.0"), ("field.0.name", "ticket")];
    let editor = browser
        .submit("/agents/sorter/versions/form", &filled(&changed, "code"))
        .await
        .expect(200);
    assert!(
        editor.body.contains("action=\"/agents/sorter/versions/new\""),
        "the editor saves where versions are saved"
    );
    let (manifest_text, code, schema) = (
        area(&editor.body, "manifest"),
        area(&editor.body, "code"),
        area(&editor.body, "input"),
    );
    assert!(
        !manifest_text.contains("[form]") && code.starts_with("const INSTRUCTIONS"),
        "{manifest_text}\n{code}"
    );
    let fields = [
        ("mode", b"write".as_slice()),
        ("manifest", manifest_text.as_bytes()),
        ("code", code.as_bytes()),
        ("input", schema.as_bytes()),
    ];
    browser.upload("/agents/sorter/versions/new", &fields).await.expect(303);
    assert!(manifest(&station, "sorter").await.form.is_none());
    assert_eq!(run(&station, "sorter", &json!({ "ticket": "It is broken" })).await["answer"], "bug");
    // From now on its versions are written.
    let page = browser.get("/agents/sorter/versions/new").await.expect(200);
    assert!(page.body.contains("data-editor=\"javascript\""));
}

#[tokio::test]
async fn a_source_that_the_form_did_not_make_is_taken_with_a_warning() {
    let (station, mut browser) = station().await;
    browser.submit("/agents/new/form", &filled(&[], "save")).await.expect(303);
    let manifest = manifest(&station, "sorter").await;
    let form = manifest.form.clone().unwrap();
    let (text, made, schema) = (manifest.text(), form.source(&manifest), form.input_schema());
    let http = station.owner();
    let check = async |code: &str| {
        let fields = [
            ("manifest", text.as_bytes()),
            ("code", code.as_bytes()),
            ("input", schema.as_bytes()),
        ];
        http.upload("/api/v1/agents/check", &fields).await.expect(200).json()
    };
    assert_eq!(check(&made).await["findings"], json!([]));
    let found = check(&made.replace("maxTurns: 5", "maxTurns: 50")).await;
    assert_eq!(
        (&found["findings"][0]["severity"], &found["findings"][0]["file"]),
        (&json!("warning"), &json!("agent.js")),
        "{found}"
    );
    // The API takes the same files as the page makes.
    let raised = text.replace("\"0.1.0\"", "\"0.1.1\"");
    let fields = [
        ("manifest", raised.as_bytes()),
        ("code", made.as_bytes()),
        ("input", schema.as_bytes()),
    ];
    http.upload("/api/v1/agents/sorter/versions", &fields).await.expect(201);
}

#[test]
fn examples_with_a_form_are_what_their_form_makes() {
    let mut forms = 0;
    for folder in fs::read_dir("examples/agents").unwrap() {
        let folder = folder.unwrap().path();
        let manifest = Manifest::parse(&fs::read_to_string(folder.join("agent.toml")).unwrap()).unwrap();
        let Some(form) = &manifest.form else { continue };
        forms += 1;
        let made = [
            (manifest.entry.clone(), form.source(&manifest)),
            (manifest.input.clone().unwrap(), form.input_schema()),
        ];
        for (file, text) in made {
            let path = folder.join(file);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&path, &text).unwrap();
            }
            let there = fs::read_to_string(&path).unwrap();
            assert_eq!(there, text, "{}: run this test with UPDATE_GOLDEN=1", path.display());
        }
    }
    assert!(forms > 0, "one of them shows a form");
}
