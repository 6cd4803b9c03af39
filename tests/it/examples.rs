//! The examples that wait for others: each goes on as if nothing had been, when the station is stopped in the middle.

use agentstation::domain::id::RunId;
use agentstation::domain::run::RunState;
use agentstation::domain::wait::Verb;
use agentstation::services::runs;
use serde_json::json;

use crate::replay::{example, models};
use crate::support::TestStation;

/// A station with the examples' answers, and another like it on the same data.
async fn station() -> TestStation {
    TestStation::builder().models(models()).start().await
}

async fn restarted(station: TestStation) -> TestStation {
    let data = station.stop().await;
    TestStation::builder().models(models()).data(data).start().await
}

/// The text of an artifact.
async fn artifact(station: &TestStation, run: RunId, name: &str) -> String {
    let (_, body) = runs::artifact(&station.app, &station.actor().await, run, name.to_owned())
        .await
        .unwrap();
    String::from_utf8(body).unwrap()
}

#[tokio::test]
async fn the_order_desk_places_what_was_decided() {
    let station = station().await;
    let (upload, input) = example("order-desk");
    let agent = station.publish(upload).await;
    let run = station.begin(&agent, &input).await;
    let asked = station.until_asked(run).await;
    assert!(
        asked.reason.contains("2289.60") && asked.action == "place-order",
        "{}",
        asked.reason
    );
    let station = restarted(station).await;
    let fewer = json!({ "supplier": "Kontor & Sohn", "quantities": { "Desk lamp": 2 } });
    station.decide(&asked, Verb::Edit, Some(fewer)).await;
    let output = station.end(run).await.succeeded();
    assert_eq!((&output["placed"], &output["total"]), (&json!(true), &json!("79.80")));
    assert!(artifact(&station, run, "order.json").await.contains("Desk lamp"));

    // The supplier is known now: what is small goes there without a question, what is large does not.
    let small = json!({ "supplier": "Kontor & Sohn", "lines": "1 x Desk lamp @ 39.90" });
    assert_eq!(station.run(&agent, &small).await.succeeded()["approvedBy"], json!(null));
    let run = station.begin(&agent, &input).await;
    let asked = station.until_asked(run).await;
    station.decide(&asked, Verb::Deny, None).await;
    assert_eq!(station.end(run).await.succeeded()["placed"], false);
}

#[tokio::test]
async fn the_order_desk_refuses_an_edit_that_is_no_order() {
    let station = station().await;
    let (upload, input) = example("order-desk");
    let agent = station.publish(upload).await;
    for quantities in [json!({ "Helicopter": 1 }), json!({ "Desk lamp": 1.5 }), json!({})] {
        let run = station.begin(&agent, &input).await;
        let asked = station.until_asked(run).await;
        station.decide(&asked, Verb::Edit, Some(json!({ "quantities": quantities }))).await;
        station.end(run).await.because("agent_error");
    }
}

#[tokio::test]
async fn the_reminder_comes_after_a_restart() {
    let station = station().await;
    let (upload, _) = example("reminder");
    let agent = station.publish(upload).await;
    let run = station
        .begin(&agent, &json!({ "text": "Water the plants", "in": "1s", "repeat": 2 }))
        .await;
    station.until_state(run, RunState::Waiting).await;
    let station = restarted(station).await;
    assert_eq!(station.end(run).await.succeeded()["reminded"], 2);
    assert!(artifact(&station, run, "reminder.md").await.starts_with("Water the plants\n"));
}

#[tokio::test]
async fn the_concierge_remembers_across_restarts() {
    let mut station = station().await;
    let (upload, input) = example("concierge");
    let agent = station.publish(upload).await;
    let run = station.begin(&agent, &input).await;
    let said = ["Please bring two towels.", "And I would like a taxi at nine.", "forget 1", "list"];
    for (replies, text) in said.into_iter().enumerate() {
        station.until_replies(run, replies + 1).await;
        station = restarted(station).await;
        station.say(run, text).await;
    }
    station.say(run, "bye").await;
    let output = station.end(run).await.succeeded();
    assert_eq!(output["guest"], "Ingrid");
    let requests: Vec<_> = output["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|request| &request["text"])
        .collect();
    assert_eq!(requests, ["And I would like a taxi at nine."]);
    assert!(artifact(&station, run, "requests.md").await.contains("of Ingrid"));
}

#[tokio::test]
async fn the_research_lead_gathers_its_researchers_after_a_restart() {
    let station = station().await;
    station.publish(example("researcher").0).await;
    let (upload, input) = example("research-lead");
    let agent = station.publish(upload).await;
    let run = station.begin(&agent, &input).await;
    station.until_entry(run, |entry| entry.kind == "waits.open").await;
    let station = restarted(station).await;
    let output = station.end(run).await.succeeded();
    assert_eq!((&output["findings"], &output["missing"]), (&json!(10), &json!([])));
    assert_eq!(output["answeredBy"], "charging time");
    let report = artifact(&station, run, "report.md").await;
    for topic in ["## charging time", "## routes at night", "## cost"] {
        assert!(report.contains(topic), "{report}");
    }
}

#[tokio::test]
async fn the_research_brief_names_its_sources_and_remembers() {
    let station = station().await;
    let (upload, input) = example("research-brief");
    let agent = station.publish(upload).await;
    let ended = station.run(&agent, &input).await;
    let tools: Vec<_> = ended
        .entries
        .iter()
        .filter(|entry| entry.kind == "tools.call")
        .map(|entry| entry.meta.get().to_owned())
        .collect();
    for name in ["memory_search", "html_to_text", "text_search", "calculator", "memory_put"] {
        assert!(tools.iter().any(|meta| meta.contains(name)), "{name} in {tools:?}");
    }
    let run = ended.run.id;
    let output = ended.succeeded();
    assert_eq!(
        (&output["stopped"], &output["turns"], &output["toolCalls"]),
        (&json!("done"), &json!(4), &json!(8))
    );
    assert_eq!(output["sources"], json!([1, 2, 3]));
    let brief = artifact(&station, run, "brief.md").await;
    assert!(brief.contains("5,195.52 EUR") && brief.contains("3. Passengers"), "{brief}");
    let kept = station.run(&agent, &input).await;
    let found = kept
        .entries
        .iter()
        .find(|entry| entry.kind == "tools.call" && entry.meta.get().contains("memory_search"));
    assert!(found.is_some(), "the next one looks at what was kept");
    // The sums that the model quotes are the calculator's.
    let sums: Vec<String> = kept.succeeded()["brief"].as_str().unwrap().lines().map(str::to_owned).collect();
    assert!(sums.iter().any(|line| line.contains("4,272.00 EUR")), "{sums:?}");
    let nothing = station.run(&agent, &json!({ "question": "What is there to read?" })).await;
    assert!(nothing.because("agent_error").message().contains("nothing to read"));
}
