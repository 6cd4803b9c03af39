//! What a script sees of waiting: decisions, messages, children, and whichever comes first.

use agentstation::domain::limits::PAGE_MAX;
use agentstation::domain::wait::{ApprovalState, Verb};
use agentstation::services::approvals;
use serde_json::{Value, json};

use crate::support::TestStation;
use crate::support::agents::script;
use crate::support::site::{Reply, Site};

/// How many approvals were decided.
async fn decisions(station: &TestStation) -> usize {
    let actor = station.actor().await;
    let list = approvals::list(&station.app, &actor, ApprovalState::Decided, None, PAGE_MAX)
        .await
        .unwrap();
    list.len()
}

#[tokio::test]
async fn an_approval_of_a_request_lets_exactly_that_request_through() {
    let site = Site::start(|_| Reply::Text("taken".to_owned())).await;
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let grant = format!("[capabilities]\nhttp = [{{ host = \"{}\", methods = [\"POST\"] }}]\n", site.address);
    let source = "export default async function run(input, station) {
      const requests = [
        { url: input.url, body: { lamps: 4 }, headers: { 'x-order': 7, Accept: 'text/plain' } },
        { url: input.url, method: 'post', body: new Uint8Array([0xff, 0, 1]), timeoutMs: 5000 },
        { url: input.url, method: 'POST', body: 'plain' },
        { url: input.url, method: 'POST' },
      ];
      const answers = [];
      for (const request of requests) {
        const decision = await station.approvals.request({ action: 'http.send', arguments: request, reason: 'to order' });
        answers.push([decision.verb, decision.approved, decision.reason, (await station.http.send(request)).text()]);
      }
      return answers;
    }";
    let agent = station.publish(script("orderer", &grant, source)).await;
    let run = station.begin(&agent, &json!({ "url": site.url("/orders") })).await;
    for _ in 0..4 {
        let approval = station.until_asked(run).await;
        assert_eq!(approval.action, "http.send");
        station.decide(&approval, Verb::Approve, None).await;
    }
    let output = station.end(run).await.succeeded();
    for answer in output.as_array().unwrap() {
        assert_eq!(answer, &json!(["approve", true, "because", "taken"]));
    }
    assert_eq!(decisions(&station).await, 4, "no request was asked about again");
}

#[tokio::test]
async fn an_edited_request_can_be_sent_as_it_was_decided() {
    let site = Site::start(|_| Reply::Text("taken".to_owned())).await;
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let grant = format!("[capabilities]\nhttp = [{{ host = \"{}\", methods = [\"POST\"] }}]\n", site.address);
    let source = "export default async function run(input, station) {
      const decision = await station.approvals.request({
        action: 'http.send', reason: 'to order', verbs: ['approve', 'edit', 'deny'],
        arguments: { url: input.url, body: { lamps: 4 } },
      });
      await station.http.send(decision.arguments);
      return decision;
    }";
    let agent = station.publish(script("orderer", &grant, source)).await;
    let run = station.begin(&agent, &json!({ "url": site.url("/orders") })).await;
    let approval = station.until_asked(run).await;
    let mut edited: Value = serde_json::from_str(&approval.arguments).unwrap();
    assert_eq!(edited["body"], json!({ "text": "{\"lamps\":4}" }));
    edited["body"] = json!({ "text": "{\"lamps\":2}" });
    // One that an object cannot hold twice.
    edited["headers"].as_array_mut().unwrap().extend([
        json!({ "name": "x-note", "value": "one" }),
        json!({ "name": "x-note", "value": "two" }),
    ]);
    station.decide(&approval, Verb::Edit, Some(edited)).await;
    let decision = station.end(run).await.succeeded();
    assert_eq!((&decision["verb"], &decision["approved"]), (&json!("edit"), &json!(true)));
    assert_eq!(decision["arguments"]["body"], "{\"lamps\":2}");
    assert_eq!(decisions(&station).await, 1, "the edited request was not asked about again");
}

#[tokio::test]
async fn a_question_comes_back_with_what_was_said() {
    let station = TestStation::start().await;
    let source = "export default (input, station) => station.approvals.request({
      action: 'choose', arguments: { colours: ['red', 'blue'] }, reason: 'Which one?', verbs: ['edit', 'deny'],
    });";
    let agent = station.publish(script("asker", "", source)).await;
    for (verb, arguments, expected) in [
        (Verb::Edit, Some(json!({ "colours": ["blue"] })), json!({ "colours": ["blue"] })),
        (Verb::Deny, None, json!({ "colours": ["red", "blue"] })),
    ] {
        let run = station.begin(&agent, &json!({})).await;
        let approval = station.until_asked(run).await;
        assert_eq!(approval.verbs, [Verb::Edit, Verb::Deny]);
        station.decide(&approval, verb, arguments).await;
        let decision = station.end(run).await.succeeded();
        assert_eq!((&decision["verb"], &decision["arguments"]), (&json!(verb), &expected));
        assert_eq!(decision["approved"], json!(verb == Verb::Edit));
        assert!(!decision["by"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_message_is_received_with_its_sender_or_not_at_all() {
    let station = TestStation::start().await;
    let source = "export default async function run(input, station) {
      const none = await station.inbox.receive({ timeoutMs: 1 });
      await station.reply('Your name?');
      return { none: none === undefined, message: await station.inbox.receive() };
    }";
    let agent = station.publish(script("listener", "", source)).await;
    let run = station.begin(&agent, &json!({})).await;
    station.until_entry(run, |entry| entry.kind == "inbox.reply").await;
    station.say(run, "Ada").await;
    let output = station.end(run).await.succeeded();
    let message = &output["message"];
    assert_eq!((&output["none"], &message["text"]), (&json!(true), &json!("Ada")));
    assert!(message["id"].as_str().unwrap().starts_with("msg_"), "{message}");
    assert!(message["sentMs"].as_u64().unwrap() > 0 && !message["sender"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn a_session_replies_with_what_it_returns_and_ends_when_it_is_done() {
    let station = TestStation::start().await;
    let source = "export function onMessage(message, station) {
      station.state.heard = [...(station.state.heard ?? []), message];
      if (message.text === 'bye') return station.done(station.state);
      return message.text === 'hush' ? '' : `You said ${message.text}.`;
    }";
    let agent = station.publish(script("parrot", "", source)).await;
    let run = station.begin(&agent, &json!({ "message": "hello" })).await;
    for text in ["hush", "bye"] {
        station.say(run, text).await;
    }
    let ended = station.end(run).await;
    let replies = ended.entries.iter().filter(|entry| entry.kind == "inbox.reply").count();
    assert_eq!(replies, 1, "an empty text is no reply");
    let output = ended.succeeded();
    let heard: Vec<_> = output["heard"].as_array().unwrap().iter().map(|message| &message["text"]).collect();
    assert_eq!(heard, ["hello", "hush", "bye"]);
    assert_eq!(output["heard"][0]["sender"], "", "the first came with the input");
    assert_ne!(output["heard"][1]["sender"], "");
}

#[tokio::test]
async fn the_first_of_several_waits_counts_and_a_failed_one_says_which_it_was() {
    let station = TestStation::start().await;
    station
        .publish(script(
            "child",
            "",
            "export default (input) => { if (input.fail) throw new Error('no'); return { twice: input.n * 2 }; }",
        ))
        .await;
    let source = "export default async function run(input, station) {
      const { agents, waits } = station;
      const twice = await agents.run('child', { n: 4 });
      const [good, bad] = await Promise.all([agents.start('child', { n: 1 }), agents.start('child', { fail: true })]);
      const [timer, first, second] = await Promise.all([waits.timer(600_000), waits.child(good), waits.child(bad)]);
      const open = new Map([[first, 'good'], [second, 'bad']]);
      const seen = {};
      while (open.size > 0) {
        try {
          const { handle, value } = await waits.any([...open.keys(), timer]);
          seen[open.get(handle)] = value;
          open.delete(handle);
        } catch (error) {
          seen[open.get(error.handle)] = error instanceof StationError;
          open.delete(error.handle);
        }
      }
      const late = await waits.any([timer], { timeoutMs: 1 });
      await waits.close(timer);
      const failed = await agents.run('child', { fail: true }).catch((error) => error.code);
      return { twice, seen, late: late === undefined, failed };
    }";
    let agent = station
        .publish(script("parent", "[capabilities]\nagents = [\"child\"]\n", source))
        .await;
    let output = station.run(&agent, &json!({})).await.succeeded();
    assert_eq!(output["twice"], json!({ "twice": 8 }));
    assert_eq!(output["seen"], json!({ "good": { "twice": 2 }, "bad": true }));
    assert_eq!(output["late"], true);
    assert!(output["failed"].is_string(), "{output}");
}

#[tokio::test]
async fn a_wait_of_the_wrong_shape_is_refused_by_name() {
    let station = TestStation::start().await;
    let careless = [
        ("station.clock.sleep('long')", "station.clock.sleep milliseconds"),
        ("station.approvals.request({ action: 'x' })", "station.approvals.request reason"),
        (
            "station.approvals.request({ action: 'x', reason: '', verbs: ['maybe'] })",
            "approve, edit, deny",
        ),
        (
            "station.approvals.request({ action: 'http.send', reason: '', arguments: { uri: 'x' } })",
            "\"uri\"",
        ),
        ("station.inbox.receive({ timeout: 1 })", "\"timeout\""),
        ("station.agents.ask('run', 'x', { fule: 1 })", "\"fule\""),
        ("station.waits.any([])", "at least one handle"),
        ("setTimeout(() => {}, 1)", "station.clock.sleep"),
    ];
    for (at, (call, message)) in careless.into_iter().enumerate() {
        let source = format!("export default async (input, station) => {{ await {call}; }};");
        let agent = station.publish(script(&format!("careless-{at}"), "", &source)).await;
        let ended = station.run(&agent, &json!({})).await.because("agent_error");
        assert!(ended.message().contains(message), "{call}: {}", ended.message());
    }
}
