use std::time::Duration;

use serde_json::{Value, json};

use crate::domain::chat::{ChatMessage, ChatRequest, ChatRole, ChatTool, FinishReason, ToolCall};
use crate::domain::failure::FailureCode;
use crate::domain::provider::ProviderKind;
use crate::llm::test_support::{ask_server, message, request};
use crate::llm::{Answer, Failed};
use crate::net::test_server::{TestServer, answer, stream};

async fn ask_for(server: &TestServer, request: &ChatRequest) -> (Result<Answer, Failed>, String) {
    ask_server(ProviderKind::Anthropic, server, request, Duration::from_secs(10)).await
}

fn events(all: &[Value]) -> String {
    let line = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    all.iter().map(line).collect()
}

/// A reply of one block.
fn block(block: &Value, deltas: &[Value], stop_reason: &str) -> String {
    let mut all = vec![
        json!({ "type": "message_start", "message": { "model": "claude", "content": [], "usage": { "input_tokens": 10, "output_tokens": 1 } } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": block }),
    ];
    for delta in deltas {
        all.push(json!({ "type": "content_block_delta", "index": 0, "delta": delta }));
    }
    all.push(json!({ "type": "content_block_stop", "index": 0 }));
    all.push(json!({ "type": "message_delta", "delta": { "stop_reason": stop_reason }, "usage": { "output_tokens": 5 } }));
    all.push(json!({ "type": "message_stop" }));
    events(&all)
}

fn hello() -> String {
    let delta = json!({ "type": "text_delta", "text": "Good day" });
    block(&json!({ "type": "text", "text": "" }), &[delta], "end_turn")
}

fn tool(name: &str) -> ChatTool {
    ChatTool {
        name: name.to_owned(),
        description: "Looks".to_owned(),
        parameters: "{\"type\":\"object\"}".to_owned(),
    }
}

#[tokio::test]
async fn a_conversation_is_told_in_its_words() {
    let server = TestServer::start(vec![stream(&hello(), true)]).await;
    let mut asked = request();
    asked.messages = vec![
        message(ChatRole::System, "Be brief."),
        message(ChatRole::User, "Look."),
        ChatMessage {
            tool_calls: vec![
                ToolCall {
                    id: "call 1".to_owned(),
                    name: "look".to_owned(),
                    arguments: "{\"at\":\"sky\"}".to_owned(),
                },
                ToolCall {
                    id: "b".to_owned(),
                    name: "look".to_owned(),
                    arguments: "broken".to_owned(),
                },
            ],
            ..message(ChatRole::Assistant, "I look. ")
        },
        ChatMessage {
            tool_call_id: Some("call 1".to_owned()),
            ..message(ChatRole::Tool, "blue")
        },
        ChatMessage {
            tool_call_id: Some("b".to_owned()),
            ..message(ChatRole::Tool, "none")
        },
        message(ChatRole::User, "And?"),
        message(ChatRole::System, "In English."),
    ];
    asked.tools = vec![tool("look")];
    asked.tool_choice = Some("required".to_owned());
    asked.temperature = Some(1.5);
    asked.stop = vec!["END".to_owned()];
    let (outcome, text) = ask_for(&server, &asked).await;
    let reply = outcome.unwrap().reply;
    assert_eq!(
        (reply.content.as_str(), text.as_str(), reply.model.as_str()),
        ("Good day", "Good day", "claude")
    );
    assert_eq!(
        server.asked_json(0),
        json!({
            "model": "big-model", "max_tokens": 100, "stream": true, "temperature": 1.0, "stop_sequences": ["END"],
            "system": "Be brief.\n\nIn English.",
            "messages": [
                { "role": "user", "content": [{ "type": "text", "text": "Look." }] },
                { "role": "assistant", "content": [
                    { "type": "text", "text": "I look." },
                    { "type": "tool_use", "id": "call_1", "name": "look", "input": { "at": "sky" } },
                    { "type": "tool_use", "id": "b", "name": "look", "input": { "arguments": "broken" } },
                ] },
                { "role": "user", "content": [
                    { "type": "tool_result", "tool_use_id": "call_1", "content": "blue" },
                    { "type": "tool_result", "tool_use_id": "b", "content": "none" },
                    { "type": "text", "text": "And?" },
                ] },
            ],
            "tools": [{ "name": "look", "description": "Looks", "input_schema": { "type": "object" } }],
            "tool_choice": { "type": "any" },
        })
    );
    let head = server.asked()[0].to_ascii_lowercase();
    assert!(
        head.starts_with("post /v1/messages ") && head.contains("x-api-key: sk-secret") && head.contains("anthropic-version: 2023-06-01")
    );
}

#[tokio::test]
async fn a_reply_that_fits_a_schema_comes_as_a_call_and_looks_like_a_reply() {
    let tool_use = json!({ "type": "tool_use", "id": "t", "name": "station_reply", "input": {} });
    let piece = |text: &str| json!({ "type": "input_json_delta", "partial_json": text });
    let server = TestServer::start(vec![
        stream(&block(&tool_use, &[piece("{\"a\":"), piece("1}")], "tool_use"), true),
        stream(&block(&tool_use, &[piece("{\"value\":[1,2]}")], "tool_use"), true),
    ])
    .await;
    let mut asked = request();
    asked.response_schema = Some("{\"type\":\"object\",\"required\":[\"a\"]}".to_owned());
    let (outcome, text) = ask_for(&server, &asked).await;
    let reply = outcome.unwrap().reply;
    assert_eq!(
        (reply.content.as_str(), text.as_str(), reply.finish),
        ("{\"a\":1}", "{\"a\":1}", FinishReason::Stop)
    );
    assert!(reply.tool_calls.is_empty());
    let body = server.asked_json(0);
    assert_eq!(body["tools"][0]["input_schema"]["required"], json!(["a"]));
    assert_eq!(
        body["tool_choice"],
        json!({ "type": "tool", "name": "station_reply", "disable_parallel_tool_use": true })
    );
    // Arguments are an object: what is none is put into one, and what it refers to moves along.
    let server_two = TestServer::start(vec![stream(&block(&tool_use, &[piece("{\"value\":[1,2]}")], "tool_use"), true)]).await;
    asked.tools = vec![tool("look")];
    asked.response_schema =
        Some("{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/n\"},\"$defs\":{\"n\":{\"type\":\"integer\"}}}".to_owned());
    let reply = ask_for(&server_two, &asked).await.0.unwrap().reply;
    assert_eq!(reply.content, "[1,2]");
    let body = server_two.asked_json(0);
    assert_eq!(
        body["tool_choice"],
        json!({ "type": "any" }),
        "it may call the agent's own tool first"
    );
    assert_eq!(body["tools"][1]["input_schema"]["properties"]["value"]["type"], "array");
    assert_eq!(body["tools"][1]["input_schema"]["$defs"]["n"]["type"], "integer");
}

#[tokio::test]
async fn reasons_to_stop_and_refusals_are_understood() {
    let text = json!({ "type": "text", "text": "x" });
    for (reason, finish) in [
        ("max_tokens", FinishReason::Length),
        ("model_context_window_exceeded", FinishReason::Length),
        ("stop_sequence", FinishReason::Stop),
        ("refusal", FinishReason::ContentFilter),
        ("pause_turn", FinishReason::Other),
    ] {
        let server = TestServer::start(vec![stream(&block(&text, &[], reason), true)]).await;
        assert_eq!(ask_for(&server, &request()).await.0.unwrap().reply.finish, finish, "{reason}");
    }
    let error = |kind: &str| format!("{{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":\"m\"}},\"request_id\":\"r\"}}");
    for (status, headers, kind, code, asked) in [
        ("401 Unauthorized", "", "authentication_error", FailureCode::ProviderError, 1),
        ("403 Forbidden", "", "billing_error", FailureCode::ProviderError, 1),
        (
            "429 Too Many Requests",
            "retry-after-ms: 1\r\n",
            "rate_limit_error",
            FailureCode::RateLimited,
            3,
        ),
        ("529 Overloaded", "", "overloaded_error", FailureCode::Unavailable, 3),
        (
            "529 Overloaded",
            "x-should-retry: false\r\n",
            "overloaded_error",
            FailureCode::Unavailable,
            1,
        ),
        ("400 Bad Request", "", "invalid_request_error", FailureCode::Invalid, 1),
    ] {
        let server = TestServer::start(vec![answer(status, headers, &error(kind))]).await;
        let failed = ask_for(&server, &request()).await.0.unwrap_err();
        assert_eq!((failed.failure.code, server.asked().len()), (code, asked), "{status} {kind}");
    }
}

#[tokio::test]
async fn a_whole_reply_is_understood_too() {
    let body = json!({
        "type": "message", "model": "claude", "content": [{ "type": "text", "text": "Whole" }], "stop_reason": "end_turn",
        "usage": { "input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 1 },
    });
    let server = TestServer::start(vec![answer("200 OK", "content-type: application/json\r\n", &body.to_string())]).await;
    let answer = ask_for(&server, &request()).await.0.unwrap();
    assert_eq!(
        (answer.reply.content.as_str(), answer.estimated, answer.reply.usage.total()),
        ("Whole", false, 6)
    );
}
