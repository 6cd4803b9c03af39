//! The pages as a browser without JavaScript uses them.

use std::time::Duration;

use agentstation::domain::permission::Role;
use agentstation::domain::time::{SimClock, Timestamp};
use agentstation::services::runs;
use serde_json::json;

use crate::support::{Browser, PASSWORD, TestStation, manifest};

const ECHO: &str = "export default function run(input) { return input; }";
const SCHEMA: &str = r#"{"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}"#;

async fn written(browser: &mut Browser, name: &str) {
    browser.get("/agents/new").await.expect(200);
    let manifest = format!("{}input = \"input.schema.json\"\n", manifest(name, "0.1.0"));
    let fields = [
        ("mode", b"write".as_slice()),
        ("manifest", manifest.as_bytes()),
        ("code", ECHO.as_bytes()),
        ("input", SCHEMA.as_bytes()),
        ("readme", b"# Title\n\n<script>alert(1)</script>"),
    ];
    let stored = browser.upload("/agents/new", &fields).await.expect(303);
    assert_eq!(stored.header("location"), format!("/agents/{name}?done=stored"));
}

#[tokio::test]
async fn an_agent_is_written_run_and_watched_without_javascript() {
    let clock = SimClock::at(Timestamp::from_ms(1_790_000_000_000));
    let station = TestStation::builder().clock(clock.clone()).start().await;
    let mut browser = station.browser().await;
    let empty = browser.get("/").await.expect(200);
    assert!(empty.body.contains("No agents yet"));
    let editor = browser.get("/agents/new").await.expect(200);
    assert!(editor.body.contains("export default"), "the starter is there");
    written(&mut browser, "parrot").await;

    let page = browser.get("/agents/parrot").await.expect(200);
    assert!(page.body.contains("<h2>Title</h2>"));
    assert!(!page.body.contains("<script>alert"), "a readme runs nothing");
    for tab in ["summary", "versions", "manifest", "source", "runs"] {
        browser.get(&format!("/agents/parrot?tab={tab}")).await.expect(200);
    }
    let source = browser.get("/agents/parrot?tab=source").await.expect(200);
    assert!(source.body.contains("return input"));

    browser.get("/agents/parrot/run").await.expect(200);
    let refused = browser
        .submit("/agents/parrot/run", &[("input", "{\"text\": 5}"), ("version", "0.1.0")])
        .await
        .expect(422);
    assert!(refused.body.contains("data-path=\"/text\""), "{}", refused.body);
    assert!(refused.body.contains("&#34;text&#34;: 5"), "what was typed stays");
    let started = browser
        .submit(
            "/agents/parrot/run",
            &[("input", "{\"text\": \"<b>hi</b>\"}"), ("version", "0.1.0")],
        )
        .await
        .expect(303);
    let path = started.header("location").to_owned();
    let id = path.strip_prefix("/runs/").unwrap();
    let actor = station.actor().await;
    let ended = runs::wait(&station.app, &actor, id.parse().unwrap(), Duration::from_secs(20))
        .await
        .unwrap();
    assert_eq!(ended.state.as_str(), "succeeded");
    let run = browser.get(&path).await.expect(200);
    assert!(
        run.body.contains("run.finished") && run.body.contains("&#60;b&#62;hi"),
        "{}",
        run.body
    );
    for list in ["/runs", "/runs?state=succeeded&agent=parrot&since=1h", "/agents?q=par", "/"] {
        let page = browser.get(list).await.expect(200);
        assert!(page.body.contains("parrot"), "{list}");
    }
    // Sums are kept for a moment.
    clock.advance(Duration::from_secs(10));
    let agents = browser.get("/agents").await.expect(200);
    assert!(agents.body.contains("100<span class=\"unit\">%</span>"), "{}", agents.body);
    assert!(browser.get("/runs?state=failed").await.expect(200).body.contains("No run matches"));
}

#[tokio::test]
async fn a_refused_agent_keeps_what_was_typed_and_shows_the_line() {
    let station = TestStation::start().await;
    let mut browser = station.browser().await;
    browser.get("/agents/new").await.expect(200);
    let manifest = manifest("wrong", "0.1.0");
    let code = b"export default function run( {\n".as_slice();
    let fields = [("mode", b"write".as_slice()), ("manifest", manifest.as_bytes()), ("code", code)];
    let refused = browser.upload("/agents/new", &fields).await.expect(422);
    assert!(refused.body.contains("data-file=\"agent.js\""), "{}", refused.body);
    assert!(refused.body.contains("export default function run( {"));
    assert!(refused.body.contains("name = &#34;wrong&#34;"));
    browser.get("/agents/wrong").await.expect(404);
}

#[tokio::test]
async fn a_new_version_begins_with_the_number_raised() {
    let station = TestStation::start().await;
    let mut browser = station.browser().await;
    written(&mut browser, "parrot").await;
    let page = browser.get("/agents/parrot/versions/new").await.expect(200);
    assert!(page.body.contains("version = &#34;0.1.1&#34;"), "{}", page.body);
    let next = format!("{}input = \"input.schema.json\"\n", manifest("parrot", "0.1.1"));
    let fields = [
        ("mode", b"write".as_slice()),
        ("manifest", next.as_bytes()),
        ("code", ECHO.as_bytes()),
        ("input", SCHEMA.as_bytes()),
    ];
    browser.upload("/agents/parrot/versions/new", &fields).await.expect(303);
    assert!(browser.get("/agents/parrot").await.expect(200).body.contains("0.1.1"));
    let again = browser.get("/agents/parrot/versions/new").await.expect(200);
    assert!(again.body.contains("0.1.2"));
    browser.upload("/agents/parrot/versions/new", &fields).await.expect(409);
}

#[tokio::test]
async fn the_editor_checks_while_one_types() {
    let station = TestStation::start().await;
    let mut browser = station.browser().await;
    browser.get("/agents/new").await.expect(200);
    let body = json!({"manifest": manifest("x", "1.0.0"), "code": "export default 1 +", "filename": "agent.js", "input": ""});
    let http = browser
        .http()
        .with("sec-fetch-site", "same-origin")
        .with("x-form-token", &browser.form_token);
    let found = http.post("/agents/check", &body).await.expect(200).json();
    assert_eq!(found["findings"][0]["file"], "agent.js", "{found}");
}

#[tokio::test]
async fn people_see_only_what_they_may_do() {
    let station = TestStation::start().await;
    written(&mut station.browser().await, "parrot").await;
    let viewer = station.user(Role::Viewer).await;
    let mut browser = Browser::sign_in(station.address, &viewer, PASSWORD).await;
    let page = browser.get("/agents/parrot").await.expect(200);
    assert!(!page.body.contains("/agents/parrot/run\"") && !page.body.contains("versions/new"));
    let refused = browser.get("/agents/parrot/run").await.expect(403);
    assert!(
        refused.body.contains("Not allowed") && refused.body.contains("req_"),
        "{}",
        refused.body
    );
    browser.submit("/agents/parrot/run", &[("input", "{}")]).await.expect(403);
}

#[tokio::test]
async fn what_is_not_there_is_a_page_that_says_so() {
    let station = TestStation::start().await;
    let mut browser = station.browser().await;
    for path in ["/nonsense", "/agents/none", "/runs/run_1", "/static/none.js"] {
        let answer = browser.get(path).await.expect(404);
        assert!(answer.header("content-type").starts_with("text/html"), "{path}");
        assert!(answer.body.contains("Not found"), "{path}");
    }
}

#[tokio::test]
async fn files_with_their_hash_are_kept_and_others_asked_for_again() {
    let station = TestStation::start().await;
    let mut browser = station.browser().await;
    let page = browser.get("/sign-in").await;
    drop(page);
    let page = station.nobody().with("accept", "text/html").get("/sign-in").await.expect(200);
    let (_, rest) = page.body.split_once("/static/").unwrap();
    let hashed = format!("/static/{}", rest.split(['"', '#']).next().unwrap());
    let file = browser.get(&hashed).await.expect(200);
    assert!(file.header("cache-control").contains("immutable"), "{hashed}");
    let plain = browser.get("/static/css/base.css").await.expect(200);
    assert_eq!(plain.header("cache-control"), "public, no-cache");
    let etag = plain.header("etag").to_owned();
    browser
        .http()
        .with("if-none-match", &etag)
        .get("/static/css/base.css")
        .await
        .expect(304);
}

#[tokio::test]
async fn dead_letters_are_counted_tried_again_and_put_away_without_javascript() {
    let station = TestStation::start().await;
    let source = "export default function run() { throw new Error('no luck'); }";
    let agent = station.publish(crate::support::agents::script("unlucky", "", source)).await;
    let mut browser = station.browser().await;
    let empty = browser.get("/dead-letters").await.expect(200);
    assert!(empty.body.contains("No dead letters"));
    let (first, second) = (
        station.run(&agent, &json!({})).await.run.id,
        station.run(&agent, &json!({})).await.run.id,
    );
    let listed = browser.get("/dead-letters").await.expect(200);
    assert!(
        listed.body.contains("no luck") && listed.body.contains("waiting: </span>2"),
        "{}",
        listed.body
    );
    let refused = browser
        .submit("/dead-letters", &[("act", "requeue"), ("run", &first.to_string())])
        .await
        .expect(200);
    assert!(refused.body.contains("it would give up again"), "{}", refused.body);
    let ids = [first.to_string(), second.to_string()];
    let fields = [("act", "discard"), ("run", ids[0].as_str()), ("run", ids[1].as_str())];
    let away = browser.submit("/dead-letters", &fields).await.expect(200);
    assert!(away.body.contains("No dead letters"), "{}", away.body);
    browser.get(&format!("/runs/{first}/start-over")).await.expect(200);
    let over = browser
        .submit(&format!("/runs/{first}/start-over"), &[("repeat_writes", "false")])
        .await
        .expect(303);
    assert!(over.header("location").starts_with("/runs/run_"));
    let page = browser.get(&format!("/runs/{first}")).await.expect(200);
    assert!(page.body.contains("Start over") && page.body.contains("Try again"));
}
