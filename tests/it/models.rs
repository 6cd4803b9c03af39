//! Providers, aliases and calls of models through the real station: what they cost, who answers, and what goes wrong.

mod pages;

use agentstation::domain::id::RunId;
use agentstation::domain::run::RunState;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::agents::script;
use crate::support::http::{Answer, Http};
use crate::support::provider::{Call, ModelServer, Sent, answer, models, silent, stream};
use crate::support::site::Site;
use crate::support::{TestStation, journal};

const PROVIDERS: &str = "/api/v1/orgs/default/providers";
const ALIASES: &str = "/api/v1/orgs/default/workspaces/default/models";
const KEY: &str = "sk-test-0123456789abcdef";

/// Asks once and tells what came of it.
const ASKER: &str = "export default async function run(input, station) {
  try {
    const reply = await station.models.chat({ model: input.model ?? 'default', messages: [{ role: 'user', content: 'Hi' }], maxOutputTokens: 400, ...input.more });
    return { content: reply.content, usage: reply.usage, costMicros: reply.usage.costMicros };
  } catch (error) {
    return { code: error.code, message: error.message };
  }
}";

async fn station() -> TestStation {
    TestStation::builder().outbound(Site::reachable()).start().await
}

async fn send(http: &Http, method: Method, path: &str, body: &Value) -> Answer {
    http.send(method, path, Some("application/json"), body.to_string().into_bytes())
        .await
}

async fn add(http: &Http, name: &str, preset: &str, base_url: &str) -> Value {
    let body = json!({ "name": name, "preset": preset, "base_url": base_url, "key": KEY });
    http.post(PROVIDERS, &body).await.expect(201).json()
}

async fn alias(http: &Http, name: &str, chain: Value) -> Answer {
    send(http, Method::PUT, &format!("{ALIASES}/{name}"), &json!({ "chain": chain })).await
}

fn recorded(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/recorded/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn good(text: &str) -> Sent {
    let delta = json!({ "choices": [{ "delta": { "content": text }, "finish_reason": "stop" }] });
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 10, "completion_tokens": 5 } });
    stream(format!("data: {delta}\n\ndata: {usage}\n\ndata: [DONE]\n\n").as_bytes(), 1 << 20)
}

async fn asker(station: &TestStation) -> agentstation::domain::agent::Agent {
    station
        .publish(script("asker", "[capabilities]\nmodels = [\"default\", \"two/gpt-4o\"]\n", ASKER))
        .await
}

#[tokio::test]
async fn a_key_goes_in_and_never_comes_out_and_moves_to_no_other_server() {
    let station = station().await;
    let http = station.owner();
    let made = http
        .post(PROVIDERS, &json!({ "name": "openai", "preset": "openai", "key": KEY }))
        .await
        .expect(201);
    assert!(!made.body.contains(KEY), "{}", made.body);
    let provider = made.json();
    assert_eq!(
        (&provider["has_key"], &provider["base_url"]),
        (&json!(true), &json!("https://api.openai.com/v1"))
    );
    let one = format!("{PROVIDERS}/{}", provider["id"].as_str().unwrap());
    for path in [PROVIDERS, &one] {
        assert!(!http.get(path).await.expect(200).body.contains(KEY));
    }
    let moved = json!({ "base_url": "https://evil.example.com/v1" });
    let refused = send(&http, Method::PATCH, &one, &moved).await.expect(422);
    assert!(refused.body.contains("/key"), "{}", refused.body);
    let path_only = json!({ "base_url": "https://api.openai.com/v2", "limits": { "concurrency": 3 } });
    let changed = send(&http, Method::PATCH, &one, &path_only).await.expect(200).json();
    assert_eq!(
        (&changed["has_key"], &changed["limits"]["concurrency"], &changed["version"]),
        (&json!(true), &json!(3), &json!(2))
    );
    let stale = http.with("if-match", "\"1\"");
    send(&stale, Method::PATCH, &one, &json!({ "enabled": false })).await.expect(409);
    let removed = send(&http, Method::PATCH, &one, &json!({ "remove_key": true }))
        .await
        .expect(200)
        .json();
    assert_eq!(removed["has_key"], false);
    // Neither the file nor its log holds it in the clear.
    let data = station.directory();
    for name in ["agentstation.db", "agentstation.db-wal"] {
        let bytes = std::fs::read(data.join(name)).unwrap_or_default();
        assert!(!bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()), "{name}");
    }
    station.stop().await;
}

#[tokio::test]
async fn an_organizations_provider_reaches_no_inside_address_and_the_stations_own_may() {
    let station = TestStation::start().await;
    let server = ModelServer::start(|_, _| models(&["tiny"])).await;
    let http = station.owner();
    for address in [
        server.url("/v1"),
        "http://169.254.169.254/v1".to_owned(),
        "https://localhost/v1".to_owned(),
        "http://example.com/v1".to_owned(),
    ] {
        let body = json!({ "name": "inside", "preset": "other", "base_url": address });
        let refused = http.post(PROVIDERS, &body).await.expect(422);
        assert!(refused.body.contains("/base_url"), "{address}: {}", refused.body);
    }
    let body = json!({ "name": "inside", "preset": "ollama", "base_url": server.url("/v1") });
    let made = http.post("/api/v1/station/providers", &body).await.expect(201).json();
    let test = format!("/api/v1/station/providers/{}/test", made["id"].as_str().unwrap());
    let tested = http.post(&test, &json!({})).await.expect(200).json();
    assert_eq!(
        (&tested["ok"], &tested["provider"]["models"]),
        (&json!(true), &json!(["tiny"])),
        "{tested}"
    );
    assert!(server.asked()[0].line.starts_with("GET /v1/models"));
    station.stop().await;
}

#[tokio::test]
async fn a_test_of_a_connection_says_what_to_do() {
    let station = station().await;
    let http = station.owner();
    let server = ModelServer::start(|call: &Call, _| {
        let key_error = r#"{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}"#;
        match call.line.as_str() {
            "GET /v1/models" => models(&["b", "a"]),
            "GET /locked/v1/models" => answer("401 Unauthorized", "", key_error),
            "GET /page/v1/models" => answer("200 OK", "content-type: text/html\r\n", "<html>"),
            _ => answer("404 Not Found", "", ""),
        }
    })
    .await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut at = 0;
    for (base, word) in [
        (server.url("/v1"), ""),
        (server.url(""), "/v1"),
        (server.url("/locked/v1"), "does not take the key"),
        (server.url("/page/v1"), "not where the API begins"),
        (format!("http://{nobody}/v1"), "host.docker.internal"),
    ] {
        at += 1;
        let made = add(&http, &format!("p{at}"), "other", &base).await;
        let path = format!("{PROVIDERS}/{}/test", made["id"].as_str().unwrap());
        let tested = http.post(&path, &json!({})).await.expect(200).json();
        assert_eq!(tested["ok"], word.is_empty(), "{base}: {tested}");
        assert!(tested["hint"].as_str().unwrap_or_default().contains(word), "{base}: {tested}");
        if word.is_empty() {
            assert_eq!(tested["provider"]["models"], json!(["a", "b"]));
            assert!(tested["provider"]["models_at"].is_i64());
        }
    }
    station.stop().await;
}

#[tokio::test]
async fn aliases_name_known_providers_in_order_and_hold_them_in_place() {
    let station = station().await;
    let http = station.owner();
    let server = ModelServer::start(|_, _| good("hello")).await;
    let made = add(&http, "one", "other", &server.url("/v1")).await;
    let wrong = alias(
        &http,
        "default",
        json!([{ "provider": "nobody", "model": "m" }, { "provider": "one", "model": "" }]),
    )
    .await
    .expect(422);
    assert!(
        wrong.body.contains("/chain/0/provider") && wrong.body.contains("/chain/1/model"),
        "{}",
        wrong.body
    );
    alias(&http, "default", json!([])).await.expect(422);
    let link = json!([{ "provider": "one", "model": "m" }]);
    let set = alias(&http, "default", link.clone()).await.expect(200);
    assert_eq!((set.header("etag"), &set.json()["chain"]), ("\"1\"", &link));
    let stale = http.with("if-match", "\"7\"");
    alias(&stale, "default", link.clone()).await.expect(409);
    assert_eq!(http.get(ALIASES).await.expect(200).json()["items"][0]["name"], "default");
    let one = format!("{PROVIDERS}/{}", made["id"].as_str().unwrap());
    assert!(
        http.send(Method::DELETE, &one, None, vec![])
            .await
            .expect(409)
            .body
            .contains("default")
    );
    http.send(Method::DELETE, &format!("{ALIASES}/default"), None, vec![])
        .await
        .expect(204);
    http.send(Method::DELETE, &one, None, vec![]).await.expect(204);
    http.get(&one).await.expect(404);
    station.stop().await;
}

#[tokio::test]
async fn a_call_costs_the_hand_worked_figure_in_either_dialect() {
    let station = station().await;
    let http = station.owner();
    let server = ModelServer::start(|call: &Call, _| {
        let name = if call.line.ends_with("/v1/messages") {
            "anthropic/text.sse"
        } else {
            "openai/text.sse"
        };
        stream(&recorded(name), 5)
    })
    .await;
    add(&http, "two", "openai", &server.url("/v1")).await;
    add(&http, "claude", "anthropic", &server.url("")).await;
    let agent = asker(&station).await;
    // Named with its provider, without an alias.
    let said = station.run(&agent, &json!({ "model": "two/gpt-4o" })).await.succeeded();
    // 600 * 2.5 + 400 * 1.25 + 200 * 10 micro-dollars: $0.004.
    assert_eq!(
        (&said["costMicros"], &said["content"]),
        (&json!(4_000), &json!("Grüße – こんにちは 🌍")),
        "{said}"
    );
    alias(
        &http,
        "default",
        json!([{ "provider": "claude", "model": "claude-sonnet-4-5-20250929" }]),
    )
    .await
    .expect(200);
    let ended = station.run(&agent, &json!({})).await;
    let run = ended.run.id;
    let said = ended.succeeded();
    // 600 * 3 + 400 * 0.3 + 100 * 3.75 + 200 * 15 micro-dollars.
    assert_eq!(said["costMicros"], 5_295, "{said}");
    let (provider, model, input, read, write, output, cost, estimated) = line(&station, run);
    assert_eq!((provider.as_str(), model.as_str()), ("anthropic", "claude-sonnet-4-5-20250929"));
    assert_eq!((input, read, write, output, cost, estimated), (600, 400, 100, 200, 5_295, false));
    let head = &server.chats()[1].head;
    assert!(head.contains(&format!("x-api-key: {KEY}")) && server.chats()[0].head.contains(&format!("authorization: bearer {KEY}")));
    station.stop().await;
}

type Line = (String, String, u64, u64, u64, u64, u64, bool);

/// The ledger's settled line of a run's only model call.
fn line(station: &TestStation, run: RunId) -> Line {
    let db = journal::open(station.directory());
    let sql =
        "SELECT provider, model, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, cost_micros, estimated FROM ledger
        WHERE run_id = ?1 AND kind = 'model'";
    db.query_row(sql, [run.to_string()], |row| {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
            row.get(6)?,
            row.get(7)?,
        ))
    })
    .unwrap()
}

#[tokio::test]
async fn the_next_model_answers_where_the_first_does_not_and_one_without_money_is_not_asked_again() {
    let station = station().await;
    let http = station.owner();
    let broke = ModelServer::start(|_, _| {
        answer(
            "429 Too Many Requests",
            "retry-after: 1\r\n",
            r#"{"error":{"code":"insufficient_quota","message":"m"}}"#,
        )
    })
    .await;
    let busy = ModelServer::start(|_, _| answer("503 Service Unavailable", "x-should-retry: false\r\n", "")).await;
    let works = ModelServer::start(|_, _| good("from the third")).await;
    for (name, server) in [("broke", &broke), ("busy", &busy), ("works", &works)] {
        let body = json!({ "name": name, "preset": "vllm", "base_url": server.url("/v1") });
        http.post(PROVIDERS, &body).await.expect(201);
    }
    let chain = |names: &[&str]| {
        Value::from(
            names
                .iter()
                .map(|name| json!({ "provider": name, "model": "m" }))
                .collect::<Vec<_>>(),
        )
    };
    alias(&http, "default", chain(&["broke", "busy", "works"])).await.expect(200);
    let agent = asker(&station).await;
    let said = station.run(&agent, &json!({})).await.succeeded();
    assert_eq!(said["content"], "from the third");
    assert_eq!((broke.asked().len(), busy.asked().len(), works.asked().len()), (1, 1, 1));
    // Where none answers, each says why.
    alias(&http, "default", chain(&["broke", "busy"])).await.expect(200);
    let said = station.run(&agent, &json!({})).await.succeeded();
    let message = said["message"].as_str().unwrap();
    assert_eq!(said["code"], "unavailable");
    assert!(
        message.contains("m of broke") && message.contains("no money") && message.contains("m of busy"),
        "{message}"
    );
    // One that keeps failing rests, and is not waited for: twenty failures are enough.
    alias(&http, "default", chain(&["busy", "works"])).await.expect(200);
    for _ in 0..20 {
        station.run(&agent, &json!({})).await.succeeded();
    }
    let asked = busy.asked().len();
    assert_eq!(asked, 20, "two before and eighteen now, then it rests");
    station.stop().await;
}

#[tokio::test]
async fn what_has_no_price_and_is_not_free_is_not_asked() {
    let station = station().await;
    let http = station.owner();
    let server = ModelServer::start(|_, _| good("hello")).await;
    add(&http, "one", "other", &server.url("/v1")).await;
    alias(&http, "default", json!([{ "provider": "one", "model": "unheard-of" }]))
        .await
        .expect(200);
    let agent = asker(&station).await;
    let said = station.run(&agent, &json!({})).await.succeeded();
    assert_eq!(said["code"], "unsupported");
    assert!(said["message"].as_str().unwrap().contains("Settings → Prices"), "{said}");
    assert!(server.asked().is_empty());
    let price =
        json!({ "provider": "one", "model": "unheard-*", "prices": { "input_micros": 1_000_000, "output_micros": 2_000_000 }, "from": 0 });
    http.post("/api/v1/orgs/default/prices", &price).await.expect(201);
    let said = station.run(&agent, &json!({})).await.succeeded();
    assert_eq!(said["costMicros"], 20, "{said}");
    station.stop().await;
}

#[tokio::test]
async fn a_run_that_is_cancelled_under_way_keeps_what_was_used() {
    let station = station().await;
    let http = station.owner();
    let server = ModelServer::start(|_, _| {
        let delta = json!({ "choices": [{ "delta": { "content": "Good day to everybody" } }] });
        silent(format!("data: {delta}\n\n").as_bytes())
    })
    .await;
    add(&http, "two", "openai", &server.url("/v1")).await;
    alias(&http, "default", json!([{ "provider": "two", "model": "gpt-4o" }]))
        .await
        .expect(200);
    let agent = asker(&station).await;
    let run = station.begin(&agent, &json!({ "more": { "show": "timeline" } })).await;
    let mut stream = http.open(&format!("/api/v1/runs/{run}/stream")).await;
    let mut seen = String::new();
    while !seen.contains("Good day") {
        seen.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
    }
    http.post(&format!("/api/v1/runs/{run}/cancel"), &json!({})).await;
    station.until_state(run, RunState::Cancelled).await;
    let (provider, model, input, _, _, output, cost, estimated) = line(&station, run);
    assert_eq!((provider.as_str(), model.as_str(), estimated), ("openai", "gpt-4o", true));
    // "Hi" and 21 bytes, four to a token; $2.50 and $10 for a million.
    assert_eq!((input, output, cost), (1, 6, 63));
    station.stop().await;
}
