use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::config::settings::ApiKey;
use crate::domain::chat::{ChatMessage, ChatRequest, ChatRole, ChatTool, FinishReason, ToolCall};
use crate::domain::failure::FailureCode;
use crate::domain::money::Usage;
use crate::domain::price::Tariff;
use crate::domain::provider::ProviderKind;
use crate::llm::test_support::{ask_model, ask_server, limits, model, request};
use crate::llm::{Answer, Failed};
use crate::net::test_server::{Answer as Bytes, TestServer, answer, stream};

async fn ask_for(server: &TestServer, request: &ChatRequest, timeout: Duration) -> (Result<Answer, Failed>, String) {
    ask_server(ProviderKind::Openai, server, request, timeout).await
}

async fn ask(server: &TestServer) -> (Result<Answer, Failed>, String) {
    ask_for(server, &request(), Duration::from_secs(10)).await
}

fn events(chunks: &[Value]) -> String {
    let lines: Vec<String> = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    lines.concat()
}

fn delta(delta: Value) -> Value {
    json!({ "model": "big-model-2026", "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
}

fn finish(reason: &str) -> Value {
    json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
}

fn hello() -> Bytes {
    let usage = json!({ "choices": [], "usage": {
        "prompt_tokens": 100, "completion_tokens": 7,
        "prompt_tokens_details": { "cached_tokens": 60, "cache_write_tokens": 30 },
    } });
    let chunks = [
        delta(json!({ "role": "assistant", "content": "" })),
        delta(json!({ "content": "Good " })),
        delta(json!({ "content": "day" })),
        finish("stop"),
        usage,
    ];
    stream(&(events(&chunks) + "data: [DONE]\n\n"), true)
}

#[tokio::test]
async fn a_reply_streams_and_its_usage_falls_apart_into_four_counts() {
    let server = TestServer::start(vec![hello()]).await;
    let (outcome, text) = ask(&server).await;
    let Answer { reply, estimated } = outcome.unwrap();
    assert_eq!(
        (reply.content.as_str(), text.as_str(), reply.finish),
        ("Good day", "Good day", FinishReason::Stop)
    );
    assert_eq!((reply.model.as_str(), estimated), ("big-model-2026", false));
    let usage = Usage {
        input_tokens: 10,
        cache_read_tokens: 60,
        cache_write_tokens: 30,
        output_tokens: 7,
    };
    assert_eq!(reply.usage, usage);
    let asked = server.asked_json(0);
    assert_eq!(
        asked,
        json!({
            "model": "big-model", "stream": true, "stream_options": { "include_usage": true }, "max_completion_tokens": 100,
            "messages": [{ "role": "user", "content": "Hello there" }],
        })
    );
    let head = server.asked()[0].to_ascii_lowercase();
    assert!(
        head.starts_with("post /v1/chat/completions ") && head.contains("authorization: bearer sk-secret"),
        "{head}"
    );
}

#[tokio::test]
async fn tool_calls_are_put_together_from_their_pieces() {
    let piece = |index: usize, id: Option<&str>, name: Option<&str>, arguments: &str| {
        delta(json!({ "tool_calls": [{ "index": index, "id": id, "function": { "name": name, "arguments": arguments } }] }))
    };
    let chunks = [
        piece(0, Some("a"), Some("look"), ""),
        piece(0, None, None, "{\"where\":"),
        piece(1, Some("b"), Some("wait"), ""),
        piece(0, None, None, "\"up\"}"),
        finish("tool_calls"),
    ];
    let server = TestServer::start(vec![stream(&events(&chunks), true)]).await;
    let mut asked = request();
    asked.messages.push(ChatMessage {
        role: ChatRole::Assistant,
        content: String::new(),
        tool_calls: vec![ToolCall {
            id: "x".to_owned(),
            name: "look".to_owned(),
            arguments: "{}".to_owned(),
        }],
        tool_call_id: None,
    });
    asked.messages.push(ChatMessage {
        role: ChatRole::Tool,
        content: "sky".to_owned(),
        tool_calls: vec![],
        tool_call_id: Some("x".to_owned()),
    });
    asked.tools.push(ChatTool {
        name: "look".to_owned(),
        description: "Looks".to_owned(),
        parameters: "{\"type\":\"object\"}".to_owned(),
    });
    asked.tool_choice = Some("look".to_owned());
    asked.response_schema = Some("{\"type\":\"object\"}".to_owned());
    let (outcome, _) = ask_for(&server, &asked, Duration::from_secs(10)).await;
    let reply = outcome.unwrap().reply;
    let calls: Vec<_> = reply
        .tool_calls
        .iter()
        .map(|call| (call.id.as_str(), call.name.as_str(), call.arguments.as_str()))
        .collect();
    assert_eq!(calls, [("a", "look", "{\"where\":\"up\"}"), ("b", "wait", "{}")]);
    assert_eq!(reply.finish, FinishReason::ToolCalls);
    let body = server.asked_json(0);
    assert_eq!(body["messages"][1]["tool_calls"][0]["function"]["name"], "look");
    assert_eq!(body["messages"][2]["tool_call_id"], "x");
    assert_eq!(body["tool_choice"]["function"]["name"], "look");
    assert_eq!(body["tools"][0]["function"]["parameters"]["type"], "object");
    assert_eq!(body["response_format"]["json_schema"]["strict"], false);
}

#[tokio::test]
async fn what_may_pass_is_asked_again() {
    for first in [
        answer(
            "429 Too Many Requests",
            "retry-after-ms: 1\r\n",
            "{\"error\":{\"message\":\"slow down\"}}",
        ),
        answer("500 Internal Server Error", "", "oops"),
        answer("529 Overloaded", "", ""),
        Bytes::Bytes(vec![]),
        stream("", false),
    ] {
        let server = TestServer::start(vec![first, hello()]).await;
        let (outcome, text) = ask(&server).await;
        assert_eq!((outcome.unwrap().reply.content.as_str(), text.as_str()), ("Good day", "Good day"));
        assert_eq!(server.asked().len(), 2);
    }
}

#[tokio::test]
async fn after_three_tries_the_failure_is_told() {
    let server = TestServer::start(vec![answer("503 Service Unavailable", "", "{\"message\":\"down\"}")]).await;
    let failed = ask(&server).await.0.unwrap_err();
    assert_eq!((failed.failure.code, failed.failure.retryable), (FailureCode::Unavailable, true));
    assert!(failed.failure.message.contains("down"), "{failed}");
    assert_eq!((failed.usage, failed.estimated, server.asked().len()), (Usage::default(), false, 3));
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_not_begun() {
    let server = TestServer::start(vec![answer("429 Too Many Requests", "retry-after: 3600\r\n", "")]).await;
    let failed = ask(&server).await.0.unwrap_err();
    assert_eq!((failed.failure.code, server.asked().len()), (FailureCode::RateLimited, 1));
}

#[tokio::test]
async fn what_will_not_pass_is_not_asked_again() {
    let cases = [
        (
            "401 Unauthorized",
            "{\"error\":{\"message\":\"bad key sk-secret\"}}",
            FailureCode::ProviderError,
            "api_key_env",
        ),
        ("402 Payment Required", "{}", FailureCode::ProviderError, "money"),
        ("404 Not Found", "{\"error\":\"no model\"}", FailureCode::ProviderError, "no model"),
        (
            "429 Too Many Requests",
            "{\"error\":{\"code\":\"insufficient_quota\",\"message\":\"m\"}}",
            FailureCode::ProviderError,
            "money",
        ),
        (
            "400 Bad Request",
            "{\"error\":{\"message\":\"Your credit balance is too low\"}}",
            FailureCode::ProviderError,
            "money",
        ),
        (
            "400 Bad Request",
            "{\"error\":{\"code\":\"context_length_exceeded\",\"message\":\"m\"}}",
            FailureCode::LimitExceeded,
            "too long",
        ),
        (
            "400 Bad Request",
            "{\"detail\":\"temperature\"}",
            FailureCode::Invalid,
            "temperature",
        ),
        ("302 Found", "", FailureCode::ProviderError, "302"),
    ];
    for (status, body, code, word) in cases {
        let server = TestServer::start(vec![answer(status, "", body)]).await;
        let failed = ask(&server).await.0.unwrap_err();
        assert_eq!((failed.failure.code, failed.failure.retryable), (code, false), "{status} {body}");
        assert!(
            failed.failure.message.contains(word) && !failed.failure.message.contains("sk-secret"),
            "{failed}"
        );
        assert_eq!(server.asked().len(), 1, "{status} {body}");
    }
}

#[tokio::test]
async fn a_stream_cut_after_its_first_words_is_settled_and_not_asked_again() {
    let server = TestServer::start(vec![stream(&events(&[delta(json!({ "content": "Good day to" }))]), false), hello()]).await;
    let (outcome, text) = ask(&server).await;
    let failed = outcome.unwrap_err();
    assert_eq!(
        (failed.failure.code, failed.failure.retryable, text.as_str()),
        (FailureCode::Unavailable, true, "Good day to")
    );
    assert!(failed.estimated);
    assert_eq!((failed.usage.input_tokens, failed.usage.output_tokens), (3, 3));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_stream_that_ends_without_a_reason_is_cut_off() {
    let server = TestServer::start(vec![stream(&events(&[delta(json!({ "content": "Good" }))]), true)]).await;
    let failed = ask(&server).await.0.unwrap_err();
    assert_eq!(failed.failure.code, FailureCode::Unavailable);
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".to_vec();
    let begun = [head.clone(), events(&[delta(json!({ "content": "Good" }))]).into_bytes()].concat();
    for (hang, estimated_output) in [(begun, 1), (vec![], 0)] {
        let server = TestServer::start(vec![Bytes::Hang(hang)]).await;
        let failed = ask_for(&server, &request(), Duration::from_millis(250)).await.0.unwrap_err();
        assert_eq!((failed.failure.code, failed.estimated), (FailureCode::Timeout, true));
        assert_eq!(failed.usage.output_tokens, estimated_output);
    }
}

#[tokio::test]
async fn an_error_inside_a_stream_is_told_by_its_kind() {
    let error = json!({ "error": { "message": "too many", "type": "rate_limit_error" } });
    let server = TestServer::start(vec![stream(&events(&[error]), true), hello()]).await;
    assert!(ask(&server).await.0.is_ok(), "nothing had arrived, so it is asked again");
    let error = json!({ "error": { "message": "broken", "code": 400 } });
    let server = TestServer::start(vec![stream(&events(&[error]), true)]).await;
    assert_eq!(ask(&server).await.0.unwrap_err().failure.code, FailureCode::Invalid);
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let body = json!({
        "model": "m",
        "choices": [{ "message": { "role": "assistant", "content": "Whole" }, "finish_reason": "length" }],
    });
    let server = TestServer::start(vec![answer("200 OK", "content-type: application/json\r\n", &body.to_string())]).await;
    let (outcome, text) = ask(&server).await;
    let answer = outcome.unwrap();
    assert_eq!(
        (answer.reply.content.as_str(), text.as_str(), answer.reply.finish),
        ("Whole", "Whole", FinishReason::Length)
    );
    assert!(answer.estimated, "no usage was sent");
    assert_eq!((answer.reply.usage.input_tokens, answer.reply.usage.output_tokens), (3, 2));
}

#[tokio::test]
async fn a_server_with_the_old_name_of_the_cap_is_asked_in_its_words() {
    let refusal = answer(
        "400 Bad Request",
        "",
        "{\"error\":{\"message\":\"Unsupported parameter: max_completion_tokens\"}}",
    );
    let server = TestServer::start(vec![refusal, hello()]).await;
    assert!(ask(&server).await.0.is_ok());
    assert_eq!(server.asked_json(1)["max_tokens"], 100);
    assert_eq!(server.asked_json(1)["max_completion_tokens"], Value::Null);
}

#[tokio::test]
async fn a_schema_that_is_no_json_is_the_callers_fault() {
    let server = TestServer::start(vec![hello()]).await;
    let mut asked = request();
    asked.response_schema = Some("{".to_owned());
    let failed = ask_for(&server, &asked, Duration::from_secs(1)).await.0.unwrap_err();
    assert_eq!(failed.failure.code, FailureCode::Invalid);
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn without_its_key_nothing_is_sent() {
    let missing = ApiKey::Missing("set MODEL_KEY".to_owned());
    let model = model(ProviderKind::Openai, "http://127.0.0.1:9", missing, limits());
    let failed = ask_model(&model, &request(), &Tariff::FREE, 0).await.0.unwrap_err();
    assert!(failed.failure.message.contains("MODEL_KEY"));
}

#[tokio::test]
async fn time_to_the_first_words_and_between_two_are_apart_and_signs_of_life_are_no_words() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let role = events(&[delta(json!({ "role": "assistant", "content": "" }))]);
    let begun = Instant::now();
    let server = TestServer::start(vec![Bytes::Hang(format!("{head}{role}: still there\n\n").into_bytes())]).await;
    let failed = ask(&server).await.0.unwrap_err();
    assert_eq!((failed.failure.code, server.asked().len()), (FailureCode::Timeout, 3));
    assert!(begun.elapsed() >= Duration::from_millis(900), "three tries of 300 ms each");
    let words = events(&[delta(json!({ "reasoning_content": "hm" })), delta(json!({ "content": "Good" }))]);
    let server = TestServer::start(vec![Bytes::Hang(format!("{head}{words}").into_bytes())]).await;
    let failed = ask(&server).await.0.unwrap_err();
    assert_eq!((failed.failure.code, server.asked().len()), (FailureCode::Timeout, 1));
    assert!(failed.begun && failed.usage.output_tokens == 2, "{failed:?}");
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_used() {
    let model = model(ProviderKind::Openai, "http://127.0.0.1:9", ApiKey::None, limits());
    let failed = ask_model(&model, &request(), &Tariff::FREE, 0).await.0.unwrap_err();
    assert_eq!((failed.failure.code, failed.usage), (FailureCode::Unavailable, Usage::default()));
}
