//! Writes that a person decides about first: the policy's rule, the leave for one exact call, and what is done with other arguments.

use agentstation::domain::run::RunState;
use agentstation::domain::wait::{ApprovalKind, Verb};
use serde_json::{Value, json};

use crate::support::TestStation;
use crate::support::agents::script;
use crate::support::site::{Reply, Site};

const SENDER: &str = "export default async function run(input, station) {
  const send = async (body) => {
    try { return (await station.http.send({ method: 'POST', url: `${input.url}/${body}`, body })).status; } catch (error) { return `${error.code}: ${error.message}`; }
  };
  return Promise.all(input.bodies.map(send));
}";

async fn site() -> Site {
    Site::start(|_| Reply::Text("done".to_owned())).await
}

async fn station() -> TestStation {
    TestStation::builder().outbound(Site::reachable()).start().await
}

#[tokio::test]
async fn a_write_that_cannot_be_repeated_waits_for_a_person() {
    let (site, station) = (site().await, station().await);
    let grant = site.grant("\"POST\"", "");
    let agent = station
        .publish(script("sender", &format!("[capabilities]\nhttp = [{grant}]\n"), SENDER))
        .await;
    let id = station
        .begin(&agent, &json!({ "url": site.url("/order"), "bodies": ["forty"] }))
        .await;
    let asked = station.until_asked(id).await;
    assert_eq!((asked.kind, asked.action.as_str()), (ApprovalKind::Action, "http.send"));
    let arguments: Value = serde_json::from_str(&asked.arguments).unwrap();
    assert_eq!(arguments["body"], json!({ "text": "forty" }));
    assert!(site.asked().is_empty());
    station.decide(&asked, Verb::Approve, None).await;
    assert_eq!(station.end(id).await.succeeded(), json!([200]));
    assert_eq!(site.asked().len(), 1);
}

#[tokio::test]
async fn an_edit_sends_the_edited_request_and_a_denial_none() {
    let (site, station) = (site().await, station().await);
    let grant = site.grant("\"POST\"", "");
    let agent = station
        .publish(script("sender", &format!("[capabilities]\nhttp = [{grant}]\n"), SENDER))
        .await;
    let id = station
        .begin(&agent, &json!({ "url": site.url("/order"), "bodies": ["forty"] }))
        .await;
    let asked = station.until_asked(id).await;
    let mut edited: Value = serde_json::from_str(&asked.arguments).unwrap();
    edited["url"] = json!(site.url("/order/four"));
    station.decide(&asked, Verb::Edit, Some(edited)).await;
    assert_eq!(station.end(id).await.succeeded(), json!([200]));
    assert_eq!(site.asked()[0].path, "/order/four");

    let id = station
        .begin(&agent, &json!({ "url": site.url("/order"), "bodies": ["forty"] }))
        .await;
    let asked = station.until_asked(id).await;
    let mut elsewhere: Value = serde_json::from_str(&asked.arguments).unwrap();
    elsewhere["url"] = json!("https://example.com/");
    station.decide(&asked, Verb::Edit, Some(elsewhere)).await;
    let output = station.end(id).await.succeeded();
    assert!(
        output[0].as_str().unwrap().starts_with("denied"),
        "an edit reaches no host that was not granted: {output}"
    );

    let id = station
        .begin(&agent, &json!({ "url": site.url("/order"), "bodies": ["forty"] }))
        .await;
    let asked = station.until_asked(id).await;
    station.decide(&asked, Verb::Deny, None).await;
    let output = station.end(id).await.succeeded();
    assert_eq!(output[0], "denied: Ana denied this: because");
    assert_eq!(site.asked().len(), 1);
}

#[tokio::test]
async fn writes_made_together_are_decided_one_by_one_and_survive_a_restart() {
    let (site, station) = (site().await, station().await);
    let grant = site.grant("\"POST\"", "");
    let agent = station
        .publish(script("sender", &format!("[capabilities]\nhttp = [{grant}]\n"), SENDER))
        .await;
    let id = station
        .begin(&agent, &json!({ "url": site.url("/order"), "bodies": ["one", "two"] }))
        .await;
    let first = station.until_asked(id).await;
    station.decide(&first, Verb::Approve, None).await;
    site.until_asked(1).await;
    let second = station.until_asked(id).await;
    let data = station.stop().await;
    let station = TestStation::builder().outbound(Site::reachable()).data(data).start().await;
    station.decide(&second, Verb::Approve, None).await;
    assert_eq!(station.end(id).await.succeeded(), json!([200, 200]));
    let mut paths: Vec<_> = site.asked().into_iter().map(|asked| asked.path).collect();
    paths.sort();
    assert_eq!(paths, ["/order/one", "/order/two"], "each was sent once");
}

#[tokio::test]
async fn leave_given_beforehand_is_for_one_exact_call() {
    let (site, station) = (site().await, station().await);
    let grant = site.grant("\"POST\"", "");
    let source = "export default async function run(input, station) {
      const request = { method: 'POST', url: input.url, body: { chairs: 4 } };
      const decision = await station.approvals.request({ action: 'http.send', arguments: request, reason: 'chairs' });
      const sent = await station.http.send(request);
      const again = await station.http.send(request);
      return [decision.verb, sent.status, again.status];
    }";
    let agent = station
        .publish(script("sender", &format!("[capabilities]\nhttp = [{grant}]\n"), source))
        .await;
    let id = station.begin(&agent, &json!({ "url": site.url("/order") })).await;
    let asked = station.until_asked(id).await;
    assert_eq!((asked.kind, asked.reason.as_str()), (ApprovalKind::Action, "chairs"));
    station.decide(&asked, Verb::Approve, None).await;
    site.until_asked(1).await;
    let second = station.until_asked(id).await;
    assert_ne!(second.id, asked.id, "the leave was used up");
    assert_eq!(second.rule, "default.ask-before-writes");
    station.decide(&second, Verb::Approve, None).await;
    assert_eq!(station.end(id).await.succeeded(), json!(["approve", 200, 200]));
}

#[tokio::test]
async fn a_grant_that_never_asks_and_a_read_go_out_at_once() {
    let (site, station) = (site().await, station().await);
    let grant = site.grant("\"GET\", \"POST\"", ", approval = \"never\"");
    let agent = station
        .publish(script("sender", &format!("[capabilities]\nhttp = [{grant}]\n"), SENDER))
        .await;
    let id = station.begin(&agent, &json!({ "url": site.url("/"), "bodies": ["x"] })).await;
    let ended = station.end(id).await;
    assert_eq!(ended.run.state, RunState::Succeeded);
    assert_eq!(ended.succeeded(), json!([200]));
}
