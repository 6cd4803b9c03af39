//! `station.models.runTools`: a model with tools, until it has an answer or there is a reason to stop.

use std::sync::Arc;

use agentstation::domain::money::Price;
use agentstation::domain::wait::Verb;
use agentstation::llm::{Model, Models, Scripted};
use serde_json::{Value, json};

use crate::support::agents::{Ended, script};
use crate::support::site::{Reply, Site};
use crate::support::{TestStation, journal};

/// Two tools in the script itself.
const OWN_TOOLS: &str = "
  const tools = [
    { name: 'add', description: 'Adds', parameters: { type: 'object' }, run: async ({ a, b }) => {
        await station.memory.put(`sum/${a}`, a + b);
        return { sum: a + b };
      } },
    { name: 'fail', run() { throw new StationError('no such table', { code: 'not_found' }); } },
    { name: 'long', run: () => 'x'.repeat(30_000) },
  ];";

/// An agent that loops with its own tools, and what the options add.
fn looping(options: &str) -> String {
    format!(
        "export default async function run(input, station) {{ {OWN_TOOLS}
           const steps = [];
           try {{
             const result = await station.models.runTools({{ instructions: 'You compute.', input: input.task ?? 'begin', tools, onStep: (each) => {{ steps.push(each.toolCalls.length); }}, {options} }});
             return {{ ...result, steps }};
           }} catch (error) {{
             return {{ code: error.code, message: error.message, stopped: error.result?.stopped, turns: error.result?.turns, told: error.result?.messages.filter((each) => each.role === 'user').length }};
           }}
         }}"
    )
}

/// A model that answers by these rules; a thousand tokens cost a tenth of a dollar.
fn models(rules: &str) -> Models {
    let mut model = Model::free(Arc::new(Scripted::parse(rules).unwrap()), "scripted");
    model.price = Price {
        input_micros: 100_000_000,
        output_micros: 100_000_000,
        ..Price::default()
    };
    let mut models = Models::default();
    models.insert("default", model);
    models
}

async fn ended(rules: &str, options: &str) -> Ended {
    let station = TestStation::builder().models(models(rules)).start().await;
    let agent = station
        .publish(script(
            "looper",
            "[capabilities]\nmodels = [\"default\"]\nmemory = true\n",
            &looping(options),
        ))
        .await;
    station.run(&agent, &json!({})).await
}

/// What the agent returned.
async fn looped(rules: &str, options: &str) -> Value {
    ended(rules, options).await.succeeded()
}

const SUMS: &str = r#"
[[rule]]
after_tool = "add"
reply = "3 and 7"
[[rule]]
tool_calls = [{ name = "add", arguments = { a = 1, b = 2 } }, { name = "add", arguments = { a = 3, b = 4 } }]
"#;

#[tokio::test]
async fn tools_of_one_reply_run_together_and_their_results_go_back() {
    let ended = ended(SUMS, "").await;
    // What was asked together was sent together: two starts stand before the first end.
    let puts: Vec<_> = ended.entries.iter().filter(|entry| entry.kind == "memory.put").collect();
    assert_eq!(puts.len(), 2);
    let together = ended.entries.iter().any(|entry| entry.kind == "calls.all");
    assert!(together || puts[0].call == puts[1].call, "{puts:?}");
    let steps: Vec<String> = ended
        .entries
        .iter()
        .filter(|entry| entry.kind == "step" && entry.phase.as_str() == "start")
        .map(|entry| entry.meta.get().to_owned())
        .collect();
    assert!(
        steps[0].contains("Turn 1") && steps[1].contains("add ×2") && steps[2].contains("Turn 2"),
        "{steps:?}"
    );
    let output = ended.succeeded();
    assert_eq!((&output["output"], &output["stopped"]), (&json!("3 and 7"), &json!("done")));
    assert_eq!(
        (&output["turns"], &output["toolCalls"], &output["steps"]),
        (&json!(2), &json!(2), &json!([2, 0]))
    );
    let results: Vec<_> = output["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|each| each["role"] == "tool")
        .collect();
    assert_eq!(
        (&results[0]["content"], &results[1]["content"]),
        (&json!("{\"sum\":3}"), &json!("{\"sum\":7}"))
    );
    assert_eq!(output["messages"][0], json!({ "role": "system", "content": "You compute." }));
    assert!(
        output["costMicros"].as_u64().unwrap() > 0 && output["usage"]["inputTokens"].as_u64().unwrap() > 0,
        "{output}"
    );
}

#[tokio::test]
async fn what_fails_goes_back_to_the_model() {
    let rules = r#"
[[rule]]
after_tool = "long"
reply = "so be it"
[[rule]]
tool_calls = [{ name = "fail" }, { name = "nowhere" }, { name = "long" }]
"#;
    let output = looped(rules, "").await;
    let results: Vec<&str> = output["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|each| each["role"] == "tool")
        .map(|each| each["content"].as_str().unwrap())
        .collect();
    assert_eq!(results[0], "Error (not_found): no such table");
    assert_eq!(
        results[1],
        "Error (not_found): there is no tool \"nowhere\"; you have add, fail, long"
    );
    assert!(
        results[2].len() < 20_200 && results[2].ends_with("[cut: 10000 of 30000 characters are left out; ask for less, or for a part]")
    );
    assert_eq!(output["output"], "so be it");
}

/// Asks for something else each time it is told what came of the last.
const ENDLESS: &str = r#"
[[rule]]
after_tool = "add"
tool_calls = [{ name = "long" }]
[[rule]]
after_tool = "long"
tool_calls = [{ name = "fail" }]
[[rule]]
user = "last turn"
reply = "this is all I have"
[[rule]]
tool_calls = [{ name = "add", arguments = { a = 1, b = 2 } }]
"#;

#[tokio::test]
async fn the_last_turn_is_for_the_answer() {
    let output = looped(ENDLESS, "maxTurns: 4").await;
    assert_eq!(
        (&output["stopped"], &output["turns"], &output["toolCalls"]),
        (&json!("turns"), &json!(4), &json!(3))
    );
    assert_eq!(output["output"], "this is all I have");
}

#[tokio::test]
async fn money_ends_the_loop_with_what_there_is() {
    let output = looped(ENDLESS, "maxCostMicros: 3000").await;
    assert_eq!(output["stopped"], "cost");
    let spent = output["costMicros"].as_u64().unwrap();
    assert!(spent >= 3000 && output["turns"].as_u64().unwrap() < 4, "{output}");
    // Nothing is left open: the messages can be gone on with.
    let messages = output["messages"].as_array().unwrap();
    let asked: usize = messages.iter().filter_map(|each| each["toolCalls"].as_array()).map(Vec::len).sum();
    assert_eq!(asked, messages.iter().filter(|each| each["role"] == "tool").count());
}

#[tokio::test]
async fn the_same_call_with_the_same_result_is_stuck() {
    let rules = "[[rule]]\ntool_calls = [{ name = \"add\", arguments = { a = 1, b = 2 } }]\n";
    let output = looped(rules, "").await;
    assert_eq!(output["code"], "agent_error");
    assert_eq!(output["message"], "stuck: add gave the same result 5 times in a row");
    assert_eq!(
        (&output["stopped"], &output["turns"], &output["told"]),
        (&json!("stuck"), &json!(5), &json!(2))
    );
    let sooner = looped(rules, "maxRepeats: 2").await;
    assert_eq!(
        (&sooner["message"], &sooner["turns"]),
        (&json!("stuck: add gave the same result 3 times in a row"), &json!(3))
    );
}

#[tokio::test]
async fn the_same_failing_call_is_stuck() {
    let output = looped("[[rule]]\ntool_calls = [{ name = \"fail\" }]\n", "").await;
    assert_eq!(output["message"], "stuck: fail failed 4 times in a row with the same arguments");
}

#[tokio::test]
async fn going_to_and_fro_is_stuck() {
    let rules = r#"
[[rule]]
after_tool = "add"
tool_calls = [{ name = "long" }]
[[rule]]
tool_calls = [{ name = "add", arguments = { a = 1, b = 2 } }]
"#;
    let output = looped(rules, "").await;
    assert_eq!(
        output["message"],
        "stuck: it goes to and fro between the same two calls, for 6 turns"
    );
    assert!(output["turns"].as_u64().unwrap() > 6, "it was told first: {output}");
}

#[tokio::test]
async fn replies_with_nothing_in_them_are_stuck() {
    let output = looped("[[rule]]\nreply = \" \"\n", "").await;
    assert_eq!(
        (&output["message"], &output["turns"]),
        (&json!("stuck: 3 replies in a row were empty"), &json!(3))
    );
}

#[tokio::test]
async fn a_model_that_is_told_that_it_is_stuck_may_find_a_way() {
    let rules = r#"
[[rule]]
user = "You repeat yourself: add gave the same result 4 times"
reply = "then it is 3"
[[rule]]
tool_calls = [{ name = "add", arguments = { a = 1, b = 2 } }]
"#;
    let output = looped(rules, "").await;
    assert_eq!(
        (&output["output"], &output["stopped"], &output["turns"]),
        (&json!("then it is 3"), &json!("done"), &json!(5))
    );
}

#[tokio::test]
async fn an_answer_gets_its_form_after_the_tools() {
    let rules = r#"
[[rule]]
user = "Now give this answer as JSON"
json = '{ "sum": 3 }'
[[rule]]
after_tool = "add"
reply = "It is three."
[[rule]]
tool_calls = [{ name = "add", arguments = { a = 1, b = 2 } }]
"#;
    let output = looped(
        rules,
        "responseSchema: { type: 'object', properties: { sum: { type: 'integer' } } }",
    )
    .await;
    assert_eq!(
        (&output["json"], &output["stopped"], &output["turns"]),
        (&json!({ "sum": 3 }), &json!("done"), &json!(3))
    );
}

#[tokio::test]
async fn a_call_that_is_wrong_says_so_at_once() {
    for (options, said) in [
        ("tols: []", "does not know \"tols\""),
        ("maxTurns: -1", "maxTurns must be a whole number"),
        ("tools: [{ name: 'a b', run() {} }]", "name must be 1 to 64 of"),
        ("tools: [{ name: 'a' }]", "run must be a function"),
    ] {
        let output = looped(SUMS, options).await;
        assert!(output["message"].as_str().unwrap().contains(said), "{output}");
    }
}

// ---- people, and stations that stop ----------------------------------------------------------------------------

const ORDERS: &str = r#"
[[rule]]
after_tool = "order"
reply = "done what could be done"
[[rule]]
tool_calls = [{ name = "order", arguments = { lamps = 4 } }]
"#;

/// Runs an agent whose tool sends what a person is asked about, and returns what the tool's result was and how often it was sent.
async fn decided(verb: Verb) -> (Value, usize) {
    let site = Site::start(|_| Reply::Text("taken".to_owned())).await;
    let station = TestStation::builder()
        .models(models(ORDERS))
        .outbound(Site::reachable())
        .start()
        .await;
    let source = "export default (input, station) => station.models.runTools({
      input: 'order four lamps',
      tools: [{ name: 'order', run: async (body) => (await station.http.post(input.url, body)).text() }],
    })";
    let grant = format!("[capabilities]\nmodels = [\"default\"]\nhttp = [{}]\n", site.grant("\"POST\"", ""));
    let agent = station.publish(script("orderer", &grant, source)).await;
    let run = station.begin(&agent, &json!({ "url": site.url("/orders") })).await;
    let asked = station.until_asked(run).await;
    assert_eq!(site.asked().len(), 0, "nothing is sent before somebody has decided");
    station.decide(&asked, verb, None).await;
    let output = station.end(run).await.succeeded();
    assert_eq!(output["output"], "done what could be done");
    let result = output["messages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|each| each["role"] == "tool")
        .unwrap();
    (result["content"].clone(), site.asked().len())
}

#[tokio::test]
async fn a_tool_waits_for_a_person_and_goes_on() {
    assert_eq!(decided(Verb::Approve).await, (json!("taken"), 1));
}

#[tokio::test]
async fn the_model_hears_why_a_person_said_no() {
    let (result, sent) = decided(Verb::Deny).await;
    assert_eq!(sent, 0);
    let result = result.as_str().unwrap();
    assert!(
        result.starts_with("Error (denied): Ana denied this") && result.ends_with("because"),
        "{result}"
    );
}

/// Runs an agent with a tool of the station before which a person is asked, and returns what the model was told.
async fn asked_about_a_tool(verb: Verb) -> Value {
    let rules = "[[rule]]\nafter_tool = \"calculator\"\nreply = \"as you say\"\n[[rule]]\ntool_calls = [{ name = \"calculator\", arguments = { expression = \"6 * 7\" } }]\n";
    let station = TestStation::builder().models(models(rules)).start().await;
    let source = "export default (input, station) => station.models.runTools({ input: 'compute', tools: ['calculator'] })";
    let granted = "[capabilities]\nmodels = [\"default\"]\ntools = [\"calculator\"]\nask = [\"calculator\"]\n";
    let agent = station.publish(script("asks", granted, source)).await;
    let run = station.begin(&agent, &json!({})).await;
    let asked = station.until_asked(run).await;
    station.decide(&asked, verb, None).await;
    let output = station.end(run).await.succeeded();
    assert_eq!(output["output"], "as you say");
    output["messages"][2]["content"].clone()
}

#[tokio::test]
async fn a_tool_of_the_station_waits_for_a_person_where_the_manifest_says_so() {
    let result = asked_about_a_tool(Verb::Approve).await;
    assert!(result.as_str().unwrap().contains("42"), "{result}");
    let refused = asked_about_a_tool(Verb::Deny).await;
    assert!(
        refused.as_str().unwrap().starts_with("Error (denied): Ana denied this"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_tool_that_is_not_granted_is_said_before_anything_is_paid() {
    let station = TestStation::builder().models(models(SUMS)).start().await;
    let source = "export default (input, station) => station.models.runTools({ input: 'compute', tools: ['calculator', 'http_request'] })";
    let granted = "[capabilities]\nmodels = [\"default\"]\ntools = [\"calculator\"]\n";
    let agent = station.publish(script("wants", granted, source)).await;
    let ended = station.run(&agent, &json!({})).await.because("denied");
    assert!(
        ended.message().contains("\"http_request\"") && ended.message().contains("granted are calculator"),
        "{}",
        ended.message()
    );
    assert_eq!(ended.run.cost_micros, 0);
}

#[tokio::test]
async fn a_loop_that_was_interrupted_goes_on_where_it_was() {
    let slow = SUMS.replace("reply = \"3 and 7\"", "reply = \"3 and 7\"\ntokens_per_second = 0.01");
    let station = TestStation::builder().models(models(&slow)).start().await;
    let agent = station
        .publish(script(
            "looper",
            "[capabilities]\nmodels = [\"default\"]\nmemory = true\n",
            &looping(""),
        ))
        .await;
    let run = station.begin(&agent, &json!({})).await;
    // The tools have run, and the model is thinking about what came of them.
    let asked = |entries: &[agentstation::domain::journal::EntryView]| {
        entries
            .iter()
            .filter(|entry| entry.kind == "models.chat" && entry.phase.as_str() == "start")
            .count()
    };
    while asked(&station.entries(run).await) < 2 {
        station.until_entry(run, |entry| entry.kind == "memory.put").await;
        tokio::task::yield_now().await;
    }
    let data = station.stop().await;
    let station = TestStation::builder().models(models(SUMS)).data(data).start().await;
    let output = station.end(run).await.succeeded();
    assert_eq!(
        (&output["output"], &output["turns"], &output["toolCalls"]),
        (&json!("3 and 7"), &json!(2), &json!(2))
    );
    let db = journal::open(station.directory());
    let versions: Vec<i64> = journal::memory(&db, "production")
        .into_values()
        .map(|(_, version, _)| version)
        .collect();
    assert_eq!(versions, [1, 1], "no tool did its work twice");
}
