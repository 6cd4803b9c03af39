//! The station's tools from a real agent: what they answer, what they are held to, and whom the run reached.

use std::io::Write as _;

use agentstation::domain::call::Call;
use agentstation::domain::wait::{ApprovalKind, Verb};
use serde_json::{Value, json};

use crate::support::TestStation;
use crate::support::agents::{Ended, script};
use crate::support::site::{Asked, Reply, Site};

/// Uses one tool after the other; each answers what came of it.
pub const USER: &str = "export default async function run(input, station) {
  const out = [];
  for (const [name, given] of input.uses) {
    try { out.push(await station.tools.call(name, given)); } catch (error) { out.push(`${error.code}: ${error.message}`); }
  }
  return { tools: (await station.tools.describe()).map((tool) => tool.name), out };
}";

const ALL: &str = "tools = [\"http_request\", \"json_query\", \"text_search\", \"markdown_to_text\", \"html_to_text\", \"calculator\", \"memory_get\", \"memory_put\", \"memory_search\"]";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn packed(body: &[u8]) -> Reply {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    Reply::Raw([head.as_bytes(), body].concat())
}

async fn site() -> Site {
    Site::start(|asked: &Asked| match asked.path.as_str() {
        "/v1/page" => Reply::Text("<h1>Lamps</h1><p>Four are <b>lit</b>.</p>".to_owned()),
        "/v1/away" => Site::redirect(302, "/admin"),
        "/v1/on" => Site::redirect(302, "/v1/page"),
        "/v1/packed" => packed(&gzip("the same ".repeat(50).as_bytes())),
        "/v1/bomb" => packed(&gzip(&vec![b' '; 4 * 1024 * 1024])),
        _ => Reply::Text("other".to_owned()),
    })
    .await
}

async fn station() -> TestStation {
    TestStation::builder().outbound(Site::reachable()).start().await
}

async fn use_tools(station: &TestStation, capabilities: &str, uses: Value) -> Ended {
    let agent = station
        .publish(script("user", &format!("[capabilities]\n{capabilities}\n"), USER))
        .await;
    station.run(&agent, &json!({ "uses": uses })).await
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("it is {value}"))
}

#[tokio::test]
async fn an_agent_uses_each_tool_and_the_run_says_whom_it_reached() {
    let (site, station) = (site().await, station().await);
    let grant = site.grant("\"GET\"", ", path = \"/v1\"");
    let uses = json!([
        ["http_request", { "url": site.url("/v1/on"), "as_text": true }],
        ["http_request", { "url": site.url("/v1/packed") }],
        ["json_query", { "json": { "a": [1, 2, 3] }, "query": "$.a[?@ > 1]" }],
        ["text_search", { "text": "one\ntwo", "pattern": "TWO" }],
        ["markdown_to_text", { "markdown": "**bold**" }],
        ["html_to_text", { "html": "<p>a</p><script>b</script>" }],
        ["calculator", { "expression": "0.1 + 0.2" }],
        ["memory_put", { "key": "lamps", "value": "four" }],
        ["memory_get", { "key": "lamps" }],
        ["memory_search", { "query": "four" }],
    ]);
    let ended = use_tools(&station, &format!("memory = true\nhttp = [{grant}]\n{ALL}"), uses).await;
    let (run, entries) = (ended.run.id, ended.entries.clone());
    let output = ended.succeeded();
    assert_eq!(output["tools"].as_array().unwrap().len(), 9);
    let out = &output["out"];
    assert_eq!(
        (&out[0]["status"], &out[0]["body"]),
        (&json!(200), &json!("Lamps\n\nFour are lit."))
    );
    assert_eq!(out[0]["url"], site.url("/v1/page"), "after the redirect");
    assert_eq!(out[1]["body"], "the same ".repeat(50));
    assert_eq!(out[2]["values"], json!([2, 3]));
    assert_eq!(out[3]["matches"], json!([{ "line": 2, "text": "two" }]));
    assert_eq!(
        (&out[4]["text"], &out[5]["text"], &out[6]["value"]),
        (&json!("bold"), &json!("a"), &json!("0.3"))
    );
    assert_eq!(
        (&out[7]["version"], &out[8]["value"], &out[9]["count"]),
        (&json!(1), &json!("four"), &json!(1))
    );
    let used: Vec<Value> = entries
        .iter()
        .filter(|entry| entry.kind == "tools.call")
        .map(|entry| serde_json::from_str::<Value>(entry.meta.get()).unwrap())
        .collect();
    assert_eq!(used.len(), 12, "two requests begin and end, the others are done at once");
    assert!(used.iter().all(|meta| meta["tool"].is_string()), "{used:?}");
    let hosts = station.owner().get(&format!("/api/v1/runs/{run}/hosts")).await.expect(200).json();
    let host = &hosts["items"][0];
    assert_eq!(
        (&host["host"], &host["requests"], &host["writes"]),
        (&json!(site.address.to_string()), &json!(3), &json!(0))
    );
    assert!(
        host["sent_bytes"].as_u64().unwrap() > 0 && host["received_bytes"].as_u64().unwrap() > 0,
        "{host}"
    );
    let page = station.browser().await.get(&format!("/runs/{run}")).await.expect(200);
    assert!(page.body.contains("<h2>Hosts</h2>") && page.body.contains(&site.address.to_string()));
}

#[tokio::test]
async fn what_is_not_granted_is_refused_and_wrong_arguments_are_named() {
    let (site, station) = (site().await, station().await);
    let grant = site.grant("\"GET\"", ", path = \"/v1\"");
    let uses = json!([
        ["http_request", { "url": site.url("/admin") }],
        ["http_request", { "url": site.url("/v1/%2e%2e/admin") }],
        ["http_request", { "url": site.url("/v1/..%2fadmin") }],
        ["http_request", { "url": site.url("/v1/away") }],
        ["http_request", { "url": site.url("/v1/page"), "method": "POST" }],
        ["http_request", { "url": site.url("/v1/bomb") }],
        ["http_request", { "url": 7 }],
        ["http_request", { "url": site.url("/v1/page"), "headers": { "host": "evil.example" } }],
        ["calculator", { "expression": "1" }],
        ["memory_put", { "key": "a", "value": "b" }],
        ["rm", {}],
    ]);
    let capabilities = format!("http = [{grant}]\ntools = [\"http_request\", \"memory_put\", \"rm\"]");
    let ended = use_tools(&station, &capabilities, uses).await;
    let run = ended.run.id;
    let output = ended.succeeded();
    assert_eq!(
        output["tools"],
        json!(["http_request", "memory_put"]),
        "what the station does not have is not described"
    );
    let out = &output["out"];
    for (i, code, says) in [
        (0, "denied", "/v1"),
        (1, "denied", "/v1"),
        (2, "denied", "/v1"),
        (3, "denied", "/admin"),
        (4, "denied", "POST"),
        (5, "limit_exceeded", "100 times"),
        (6, "invalid", "/url"),
        (7, "invalid", "host"),
        (8, "denied", "calculator"),
        (9, "denied", "memory"),
        (10, "not_found", "rm"),
    ] {
        let said = text(&out[i]);
        assert!(said.starts_with(&format!("{code}: ")) && said.contains(says), "{i}: {said}");
    }
    assert!(
        site.asked()
            .iter()
            .all(|asked| asked.path.starts_with("/v1/") && !asked.path.contains("admin"))
    );
    let hosts = station.owner().get(&format!("/api/v1/runs/{run}/hosts")).await.expect(200).json();
    assert_eq!(
        hosts["items"][0]["requests"], 2,
        "the redirect that was refused and the bomb count: {hosts}"
    );
    station
        .owner()
        .get("/api/v1/runs/run_00000000000000000000000000/hosts")
        .await
        .expect(404);
}

#[tokio::test]
async fn a_tool_asks_first_where_the_manifest_or_the_write_wants_it_and_goes_on_with_the_edit() {
    let (site, station) = (site().await, station().await);
    let grant = site.grant("\"GET\", \"POST\"", "");
    let capabilities = format!("[capabilities]\nhttp = [{grant}]\ntools = [\"http_request\", \"calculator\"]\nask = [\"calculator\"]\n");
    let agent = station.publish(script("user", &capabilities, USER)).await;
    let uses = json!([
        ["calculator", { "expression": "1 + 1" }],
        ["http_request", { "url": site.url("/v1/order"), "method": "POST", "body": "4" }],
        ["calculator", { "wrong": true }],
    ]);
    let run = station.begin(&agent, &json!({ "uses": uses })).await;
    let asked = station.until_asked(run).await;
    assert_eq!(
        (asked.kind, asked.action.as_str(), asked.rule.as_str()),
        (ApprovalKind::Action, "tools.call", "manifest.ask")
    );
    let refused = Call::of_action("tools.call", &json!({ "name": "calculator", "arguments": { "nonsense": 1 } }));
    assert!(refused.unwrap_err().contains("calculator does not take"));
    let edited = json!({ "name": "calculator", "arguments": { "expression": "2 + 2" } });
    station.decide(&asked, Verb::Edit, Some(edited)).await;
    let asked = station.until_asked(run).await;
    assert_eq!(
        (asked.action.as_str(), asked.rule.as_str()),
        ("tools.call", "default.ask-before-writes")
    );
    assert!(site.asked().is_empty(), "nothing is sent before");
    station.decide(&asked, Verb::Approve, None).await;
    let ended = station.end(run).await;
    let output = ended.succeeded();
    let out = &output["out"];
    assert_eq!((&out[0]["value"], &out[1]["status"]), (&json!("4"), &json!(200)));
    assert!(
        text(&out[2]).starts_with("invalid: "),
        "nobody is asked about what cannot be done: {out}"
    );
    assert_eq!(site.asked().len(), 1);
    let hosts = station.owner().get(&format!("/api/v1/runs/{run}/hosts")).await.expect(200).json();
    assert_eq!(hosts["items"][0]["writes"], 1);
}

#[tokio::test]
async fn private_data_foreign_words_and_a_way_out_make_every_write_ask() {
    let (site, station) = (site().await, station().await);
    let grant = site.grant("\"GET\", \"PUT\"", ", approval = \"never\"");
    let capabilities = format!("[capabilities]\nmemory = true\nhttp = [{grant}]\ntools = [\"http_request\"]\n");
    let agent = station.publish(script("user", &capabilities, USER)).await;
    let uses = json!([["http_request", { "url": site.url("/a") }], ["http_request", { "url": site.url("/a"), "method": "PUT" }]]);
    let run = station.begin(&agent, &json!({ "uses": uses })).await;
    let asked = station.until_asked(run).await;
    assert_eq!(asked.rule, "default.trifecta");
    assert_eq!(site.asked().len(), 1, "reading goes ahead");
    station.decide(&asked, Verb::Deny, None).await;
    assert!(text(&station.end(run).await.succeeded()["out"][1]).starts_with("denied: "));

    let owner = station.owner();
    let shown = owner.get("/api/v1/agents/user").await.expect(200).json();
    assert_eq!(shown["trifecta"]["complete"], true, "{shown}");
    let put = shown["policy"]
        .as_array()
        .unwrap()
        .iter()
        .find(|said| text(&said["what"]).starts_with("PUT"))
        .unwrap();
    assert_eq!((&put["effect"], &put["rule"]), (&json!("ask"), &json!("default.trifecta")));
    let manifest = format!("{}{capabilities}", crate::support::manifest("other", "1.0.0"));
    let fields: [(&str, &[u8]); 2] = [("manifest", manifest.as_bytes()), ("code", USER.as_bytes())];
    let checked = owner.upload("/api/v1/agents/check", &fields).await.expect(200).json();
    assert_eq!(
        (&checked["ok"], &checked["findings"][0]["severity"]),
        (&json!(true), &json!("warning")),
        "{checked}"
    );
    assert!(text(&checked["findings"][0]["message"]).contains("what it remembers"), "{checked}");
    let page = station.browser().await.get("/agents/user").await.expect(200);
    assert!(page.body.contains("A person decides about its writes"));
}

#[tokio::test]
async fn a_name_whose_address_changes_is_not_followed_inside() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use agentstation::net::{Client, Policy, Request, Trail};

    let site = site().await;
    let looked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&looked);
    // Vetted at one address, a second look-up would give another.
    let client = Client::new(Policy {
        open_cidrs: vec!["127.0.0.1/32".parse().unwrap()],
        ..Policy::default()
    })
    .with_lookup(Arc::new(move |_| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let address = if first { "127.0.0.1" } else { "10.0.0.1" };
        Box::pin(async move { Ok(vec![address.parse().unwrap()]) })
    }));
    let url = format!("http://rebinding.example.com:{}/v1/page", site.address.port());
    let trail = Trail::default();
    let request = || Request {
        method: "GET",
        url: &url,
        headers: &[],
        body: None,
        timeout: std::time::Duration::from_secs(10),
        body_bytes_max: 1024,
        allow: &|_, _| true,
        secrets: None,
        trail: &trail,
    };
    client.send(request()).await.unwrap();
    assert_eq!(looked.load(Ordering::SeqCst), 1, "what was vetted is what is connected to");
    let refused = client.send(request()).await.unwrap_err().to_string();
    assert!(refused.contains("private"), "{refused}");
    assert_eq!((site.asked().len(), trail.contacts().len()), (1, 1));
}
