//! Conversations over the API: posting, reading both ways, and starting with a first message.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::agents::script;
use crate::support::{Http, TestStation};

const ECHO: &str = "export async function onMessage(message, station) {
  station.state.count = (station.state.count ?? 0) + 1;
  if (message.text === 'bye') return station.done({ messages: station.state.count });
  return `${station.state.count}: ${message.text}`;
}";

/// Waits until so much was said in a run.
pub async fn said(http: &Http, run: &str, count: usize) -> Vec<Value> {
    let found = async {
        loop {
            let all = http.get(&format!("/api/v1/runs/{run}/messages?limit=500")).await.expect(200).json();
            let items = all["items"].as_array().unwrap().clone();
            if items.len() >= count {
                return items;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), found)
        .await
        .expect("so much is said in time")
}

async fn post(http: &Http, run: &str, text: &str) -> Value {
    http.post(&format!("/api/v1/runs/{run}/messages"), &json!({ "text": text }))
        .await
        .expect(202)
        .json()
}

#[tokio::test]
async fn a_chat_starts_with_one_request_and_goes_on_message_by_message() {
    let station = TestStation::start().await;
    station.publish(script("parrot", "", ECHO)).await;
    let owner = station.owner();
    let started = owner
        .post("/api/v1/runs", &json!({"agent": "parrot", "message": "Hello"}))
        .await
        .expect(202)
        .json();
    let run = started["id"].as_str().unwrap();
    assert_eq!(started["session"], true);
    let heard = said(&owner, run, 2).await;
    assert_eq!((&heard[0]["direction"], &heard[0]["text"]), (&json!("received"), &json!("Hello")));
    assert_eq!(heard[0]["sender"], "Ana");
    assert_eq!((&heard[1]["direction"], &heard[1]["text"]), (&json!("replied"), &json!("1: Hello")));
    let shown = station.until_waiting(run).await;
    assert_eq!(shown["waiting_for"], json!([{"kind": "message"}]));

    let long = "lamp ".repeat(400);
    let posted = post(&owner, run, &long).await;
    let heard = said(&owner, run, 4).await;
    assert_eq!(heard[2]["id"], posted["id"]);
    assert_eq!(heard[2]["seq"], posted["seq"]);
    assert_eq!(heard[2]["text"], long, "a long text is whole");
    assert_eq!(heard[3]["text"], format!("2: {long}"));
    let after = heard[1]["seq"].as_u64().unwrap();
    let rest = owner
        .get(&format!("/api/v1/runs/{run}/messages?after={after}&limit=1"))
        .await
        .expect(200)
        .json();
    assert_eq!((&rest["items"][0]["id"], &rest["next"]), (&posted["id"], &posted["seq"]));
    let sessions = owner.get("/api/v1/sessions").await.expect(200).json();
    assert_eq!(sessions["items"][0]["id"], run);

    post(&owner, run, "bye").await;
    let ended = station.end(run.parse().unwrap()).await.succeeded();
    assert_eq!(ended, json!({"messages": 3}));
    let refused = owner
        .post(&format!("/api/v1/runs/{run}/messages"), &json!({"text": "still there?"}))
        .await
        .expect(409);
    assert!(refused.json()["detail"].as_str().unwrap().contains("ended"), "{}", refused.body);
}

#[tokio::test]
async fn an_empty_message_starts_nothing() {
    let station = TestStation::start().await;
    station.publish(script("parrot", "", ECHO)).await;
    let owner = station.owner();
    let refused = owner
        .post("/api/v1/runs", &json!({"agent": "parrot", "message": "  "}))
        .await
        .expect(422);
    assert_eq!(refused.json()["errors"][0]["pointer"], "/message", "{}", refused.body);
    assert_eq!(owner.get("/api/v1/runs").await.expect(200).json()["items"], json!([]));
    owner.get("/api/v1/runs/run_1/messages").await.expect(404);
    owner.get("/api/v1/runs/run_1/children").await.expect(404);
}

#[tokio::test]
async fn a_run_shows_the_runs_that_it_has_started() {
    let station = TestStation::start().await;
    station
        .publish(script("child", "", "export default function run(input) { return input; }"))
        .await;
    let parent = "export default async function run(input, station) { return await station.agents.run('child', { n: 1 }); }";
    let agent = station
        .publish(script("parent", "[capabilities]\nagents = [\"child\"]\n", parent))
        .await;
    let ended = station.run(&agent, &json!({})).await;
    let (id, owner) = (ended.run.id, station.owner());
    assert_eq!(ended.succeeded(), json!({"n": 1}));
    let children = owner.get(&format!("/api/v1/runs/{id}/children")).await.expect(200).json();
    let child = &children["items"][0];
    assert_eq!((&child["agent"], &child["state"]), (&json!("child"), &json!("succeeded")));
    let path = format!("/api/v1/runs/{}", child["id"].as_str().unwrap());
    let child = owner.get(&path).await.expect(200).json();
    assert_eq!((&child["parent"], &child["depth"]), (&json!(id.to_string()), &json!(1)));
    assert_eq!(child["trigger"], "parent");
}

#[tokio::test]
async fn a_conversation_goes_on_by_forms_until_its_run_ends() {
    let station = TestStation::start().await;
    station.publish(script("parrot", "", ECHO)).await;
    let owner = station.owner();
    let mut browser = station.browser().await;
    assert!(browser.get("/sessions").await.expect(200).body.contains("No conversations yet"));
    let choose = browser.get("/sessions/new").await.expect(200);
    assert!(choose.body.contains("/sessions/new?agent=parrot"), "{}", choose.body);
    browser.get("/sessions/new?agent=parrot").await.expect(200);
    browser.get("/sessions/new?agent=nobody").await.expect(404);
    let wrong = [("agent", "parrot"), ("message", "Hello"), ("input", "{")];
    let refused = browser.submit("/sessions/new", &wrong).await.expect(422);
    assert!(
        refused.body.contains("nothing was started") && refused.body.contains(">Hello</textarea>"),
        "{}",
        refused.body
    );
    let hello = [("agent", "parrot"), ("message", "**Hello** <b>you</b>"), ("input", "")];
    let started = browser.submit("/sessions/new", &hello).await.expect(303);
    let path = started.header("location").to_owned();
    let run = path.strip_prefix("/sessions/").unwrap();
    said(&owner, run, 2).await;
    let page = browser.get(&path).await.expect(200);
    assert!(
        page.body.contains("1: <strong>Hello</strong> &lt;b&gt;you"),
        "replies are Markdown: {}",
        page.body
    );
    assert!(
        page.body.contains("**Hello** &#60;b&#62;you"),
        "what people write is text: {}",
        page.body
    );
    assert!(browser.get("/sessions").await.expect(200).body.contains(&path));

    let posted = browser.submit(&path, &[("text", "bye")]).await.expect(303);
    assert_eq!(posted.header("location"), format!("{path}#end"));
    station.end(run.parse().unwrap()).await;
    let page = browser.get(&path).await.expect(200);
    assert!(page.body.contains("This conversation has ended") && !page.body.contains("data-post"));
    let late = browser.submit(&path, &[("text", "still there?")]).await.expect(409);
    assert!(late.body.contains("takes no messages"), "{}", late.body);
}

#[tokio::test]
async fn a_long_conversation_is_read_backwards_page_by_page() {
    let station = TestStation::start().await;
    station.publish(script("parrot", "", ECHO)).await;
    let owner = station.owner();
    let body = json!({"agent": "parrot", "message": "number 0"});
    let run = owner.post("/api/v1/runs", &body).await.expect(202).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for n in 1..55 {
        post(&owner, &run, &format!("number {n}")).await;
    }
    let all = said(&owner, &run, 110).await;
    let mut browser = station.browser().await;
    let newest = browser.get(&format!("/sessions/{run}")).await.expect(200);
    assert!(
        newest.body.contains(">number 54<") && !newest.body.contains(">number 0<"),
        "the newest stand on the first page"
    );
    let before = all[10]["seq"].as_u64().unwrap();
    let link = format!("/sessions/{run}?before={before}");
    assert!(newest.body.contains(&link), "{link}");
    let earlier = browser.get(&link).await.expect(200);
    assert!(earlier.body.contains(">number 0<") && !earlier.body.contains(">number 54<"));
}
