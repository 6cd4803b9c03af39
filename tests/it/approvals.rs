//! Approvals over the API: what waits, deciding it once, and what the run makes of it.

use std::time::Duration;

use agentstation::domain::permission::{Permission, Role};
use serde_json::{Value, json};

use crate::support::agents::script;
use crate::support::{Http, TestStation};

const ORDER: &str = "export default async function run(input, station) {
  const decision = await station.approvals.request({
    action: 'place-order', arguments: { lamps: 4 }, reason: 'The **first** order', verbs: ['approve', 'edit', 'deny'], timeoutMs: 3600000, onTimeout: 'deny',
  });
  return { verb: decision.verb, lamps: decision.arguments.lamps, reason: decision.reason, by: decision.by };
}";

async fn waits(station: &TestStation) -> (Http, String, Value) {
    let agent = station.publish(script("orders", "", ORDER)).await;
    let run = station.begin(&agent, &json!({})).await;
    let owner = station.owner();
    let pending = pending_of(&owner, &run.to_string()).await;
    (owner, run.to_string(), pending)
}

/// The approval that a run waits for.
pub async fn pending_of(http: &Http, run: &str) -> Value {
    let found = async {
        loop {
            let all = http.get(&format!("/api/v1/runs/{run}/approvals")).await.expect(200).json();
            let items = all["items"].as_array().unwrap();
            if let Some(item) = items.iter().find(|item| item["state"] == "pending") {
                return item.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), found)
        .await
        .expect("the run asks in time")
}

#[tokio::test]
async fn a_run_waits_for_a_person_and_goes_on_with_what_was_decided() {
    let station = TestStation::start().await;
    let (owner, run, pending) = waits(&station).await;
    let id = pending["id"].as_str().unwrap();
    assert_eq!(pending["action"], "place-order");
    assert_eq!(pending["arguments"], json!({"lamps": 4}));
    assert_eq!(pending["kind"], "question");
    assert_eq!((&pending["run"], &pending["agent"]), (&json!(run), &json!("orders")));
    assert_eq!(pending["on_timeout"], "deny");
    assert!(pending["due_at"].as_i64().unwrap() > pending["created_at"].as_i64().unwrap());
    let queue = owner.get("/api/v1/approvals?state=pending").await.expect(200).json();
    assert_eq!(queue["items"][0]["id"], id);
    assert_eq!(owner.get(&format!("/api/v1/approvals/{id}")).await.expect(200).json(), pending);

    let shown = station.until_waiting(&run).await;
    assert_eq!(shown["waiting_for"][0]["kind"], "approval", "{shown}");
    assert_eq!(shown["waiting_for"][0]["approval"], id);

    let body = json!({"decision": "edit", "reason": "Two will do", "arguments": {"lamps": 2}});
    let decided = owner
        .post(&format!("/api/v1/approvals/{id}/decision"), &body)
        .await
        .expect(200)
        .json();
    assert_eq!(decided["state"], "decided");
    assert_eq!(decided["decision"]["decision"], "edit");
    assert_eq!(decided["decision"]["by_name"], "Ana");
    let ended = station.end(run.parse().unwrap()).await.succeeded();
    assert_eq!(ended, json!({"verb": "edit", "lamps": 2, "reason": "Two will do", "by": "Ana"}));
    let queue = owner.get("/api/v1/approvals").await.expect(200).json();
    assert_eq!(queue["items"], json!([]));
    let past = owner.get("/api/v1/approvals?state=decided").await.expect(200).json();
    assert_eq!(past["items"][0]["id"], id);
}

#[tokio::test]
async fn the_first_decision_holds_and_the_second_is_told_who_made_it() {
    let station = TestStation::start().await;
    let (owner, run, pending) = waits(&station).await;
    let path = format!("/api/v1/approvals/{}/decision", pending["id"].as_str().unwrap());
    owner
        .post(&path, &json!({"decision": "deny", "reason": "Too dear"}))
        .await
        .expect(200);
    let second = owner.post(&path, &json!({"decision": "approve"})).await.expect(409);
    assert_eq!(second.problem(), "conflict");
    assert!(second.json()["detail"].as_str().unwrap().contains("Ana"), "{}", second.body);
    let ended = station.end(run.parse().unwrap()).await.succeeded();
    assert_eq!(ended["verb"], "deny");
}

#[tokio::test]
async fn a_decision_sent_twice_under_one_key_is_made_once() {
    let station = TestStation::start().await;
    let (owner, _, pending) = waits(&station).await;
    let path = format!("/api/v1/approvals/{}/decision", pending["id"].as_str().unwrap());
    let keyed = owner.with("idempotency-key", "once");
    let first = keyed.post(&path, &json!({"decision": "approve"})).await.expect(200);
    let again = keyed.post(&path, &json!({"decision": "approve"})).await.expect(200);
    assert_eq!(first.json(), again.json());
    assert_eq!(again.header("idempotency-replayed"), "true");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_decides_nothing() {
    let station = TestStation::start().await;
    let (owner, run, pending) = waits(&station).await;
    let path = format!("/api/v1/approvals/{}/decision", pending["id"].as_str().unwrap());
    for body in [
        json!({"decision": "perhaps"}),
        json!({"decision": "send_again"}),
        json!({"decision": "edit"}),
        json!({"decision": "deny", "reason": "x".repeat(9000)}),
    ] {
        let refused = owner.post(&path, &body).await.expect(422);
        assert_eq!(refused.problem(), "invalid", "{body}");
    }
    let still = owner.get(&format!("/api/v1/runs/{run}/approvals")).await.expect(200).json();
    assert_eq!(still["items"][0]["state"], "pending");
    for path in ["/api/v1/approvals/apr_1", "/api/v1/runs/run_1/approvals"] {
        owner.get(path).await.expect(404);
    }
    owner.get("/api/v1/approvals?state=odd").await.expect(422);
}

#[tokio::test]
async fn a_key_that_may_read_approvals_may_not_decide_them() {
    let station = TestStation::start().await;
    let (_, _, pending) = waits(&station).await;
    let id = pending["id"].as_str().unwrap();
    let reader = station.nobody().bearer(&station.scoped_key(&[Permission::ApprovalsRead]).await);
    reader.get(&format!("/api/v1/approvals/{id}")).await.expect(200);
    let refused = reader
        .post(&format!("/api/v1/approvals/{id}/decision"), &json!({"decision": "approve"}))
        .await
        .expect(403);
    assert_eq!(refused.problem(), "forbidden");
    let viewer = station.user(Role::Viewer).await;
    let mut browser = crate::support::Browser::sign_in(station.address, &viewer, crate::support::PASSWORD).await;
    let page = browser.get("/approvals").await.expect(200);
    assert!(
        page.body.contains("place-order") && !page.body.contains("value=\"approve\""),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn the_queue_is_decided_by_forms_and_says_who_was_first() {
    let station = TestStation::start().await;
    let (owner, run, pending) = waits(&station).await;
    let id = pending["id"].as_str().unwrap();
    let mut browser = station.browser().await;
    let queue = browser.get("/approvals").await.expect(200);
    assert!(queue.body.contains("The <strong>first</strong> order"), "{}", queue.body);
    assert!(queue.body.contains("then it counts as denied"));
    assert!(queue.body.contains("<span class=\"badge\">1"), "the rail counts it");
    let path = format!("/approvals/{id}");

    let unreadable = [("decision", "edit"), ("place", "queue"), ("arguments", "{\"lamps\": 2")];
    let refused = browser.submit(&path, &unreadable).await.expect(422);
    assert!(
        refused.body.contains("this is no JSON") && refused.body.contains("{&#34;lamps&#34;: 2<"),
        "{}",
        refused.body
    );

    let denied = browser
        .submit(&path, &[("decision", "deny"), ("place", "run"), ("reason", "Too dear")])
        .await
        .expect(303);
    assert_eq!(denied.header("location"), format!("/runs/{run}"));
    let late = browser
        .submit(&path, &[("decision", "approve"), ("place", "queue")])
        .await
        .expect(409);
    assert!(
        late.body.contains("Somebody was first") && late.body.contains("Denied by Ana"),
        "{}",
        late.body
    );
    assert_eq!(station.end(run.parse().unwrap()).await.succeeded()["reason"], "Too dear");
    let past = browser.get("/approvals?state=decided").await.expect(200);
    assert!(past.body.contains("Denied by Ana") && past.body.contains(id), "{}", past.body);
    assert!(browser.get("/approvals").await.expect(200).body.contains("Nothing waits for you"));
    assert_eq!(
        owner.get(&format!("/api/v1/approvals/{id}")).await.json()["decision"]["reason"],
        "Too dear"
    );
}

#[tokio::test]
async fn the_runs_page_has_the_card_and_says_what_it_waits_for() {
    let station = TestStation::start().await;
    let (_, run, pending) = waits(&station).await;
    station.until_waiting(&run).await;
    let mut browser = station.browser().await;
    let page = browser.get(&format!("/runs/{run}")).await.expect(200);
    assert!(page.body.contains("waits for a decision"), "{}", page.body);
    let card = format!("data-approval=\"{}\"", pending["id"].as_str().unwrap());
    assert!(page.body.contains(&card) && page.body.contains("name=\"place\" value=\"run\""));
}
