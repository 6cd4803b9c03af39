use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::domain::chat::{ChatMessage, Show, ToolCall};
use crate::llm::SoFar;

fn message(role: ChatRole, content: &str) -> ChatMessage {
    ChatMessage {
        role,
        content: content.to_owned(),
        tool_calls: vec![],
        tool_call_id: None,
    }
}

fn user(content: &str) -> ChatRequest {
    ChatRequest {
        model: "default".to_owned(),
        messages: vec![message(ChatRole::User, content)],
        tools: vec![],
        tool_choice: None,
        response_schema: None,
        max_output_tokens: None,
        temperature: None,
        stop: vec![],
        show: Show::None,
    }
}

async fn ask_within(
    provider: &Scripted,
    request: &ChatRequest,
    timeout: Duration,
    max_output_tokens: u32,
) -> (Result<Answer, Failed>, Vec<String>) {
    let mut said = Vec::new();
    let mut deltas = |delta: &str| said.push(delta.to_owned());
    let options = ChatOptions {
        model: "m",
        max_output_tokens,
        key: None,
        deadline: Instant::now() + timeout,
        deltas: &mut deltas,
        so_far: &SoFar::default(),
    };
    let outcome = provider.chat(request, options).await;
    (outcome, said)
}

async fn reply(provider: &Scripted, request: &ChatRequest) -> ChatReply {
    ask_within(provider, request, Duration::from_secs(5), 1000).await.0.unwrap().reply
}

fn rules(text: &str) -> Scripted {
    Scripted::parse(text).unwrap()
}

#[tokio::test]
async fn the_first_rule_that_matches_answers_with_what_it_captured() {
    let provider = rules(
        r#"
        [[rule]]
        model = "another"
        reply = "wrong model"
        [[rule]]
        system = "terse (?P<tone>\\w+)"
        user = "(?s)name is (?P<name>\\w+).*bye"
        reply = "Hello ${name}, ${tone}."
        [[rule]]
        user = "name"
        reply = "second"
        "#,
    );
    let mut request = user("my name is Ana\nand so on\nbye");
    assert_eq!(reply(&provider, &request).await.content, "second", "there is no system message");
    request.messages.insert(0, message(ChatRole::System, "be terse please"));
    let (outcome, said) = ask_within(&provider, &request, Duration::from_secs(5), 1000).await;
    let answer = outcome.unwrap();
    assert_eq!(answer.reply.content, "Hello Ana, please.");
    assert_eq!(said, ["Hello ", "Ana, ", "please."]);
    let usage = Usage {
        input_tokens: 7 + 4,
        output_tokens: 5,
        ..Usage::default()
    };
    assert_eq!((answer.reply.usage, answer.estimated), (usage, false));
}

#[tokio::test]
async fn json_escapes_what_it_inserts() {
    let provider = rules("[[rule]]\nuser = '(?s)(?P<all>.*?) (?P<count>\\d+)$'\njson = '{\"said\": \"${all}\", \"count\": ${count}}'");
    let reply = reply(&provider, &user("a \"quote\"\\\nand more 12")).await;
    let value: Value = serde_json::from_str(&reply.content).unwrap();
    assert_eq!(value, json!({ "said": "a \"quote\"\\\nand more", "count": 12 }));
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_answered() {
    let provider = rules(
        r#"
        [[rule]]
        after_tool = "look"
        reply = "Seen."
        [[rule]]
        user = "where is (?P<what>\\w+)"
        tool_calls = [{ name = "look", arguments = { what = "${what}", deep = [1, "${what}"] } }, { name = "note", arguments = '{"a": 1}' }]
        "#,
    );
    let mut request = user("where is it");
    let first = reply(&provider, &request).await;
    assert_eq!(first.finish, FinishReason::ToolCalls);
    let arguments: Value = serde_json::from_str(&first.tool_calls[0].arguments).unwrap();
    assert_eq!(arguments, json!({ "what": "it", "deep": [1, "it"] }));
    assert_eq!(first.tool_calls[1].arguments, "{\"a\":1}");
    let id = first.tool_calls[0].id.clone();
    request.messages.push(ChatMessage {
        tool_calls: first.tool_calls,
        ..message(ChatRole::Assistant, "")
    });
    request.messages.push(ChatMessage {
        tool_call_id: Some(id),
        ..message(ChatRole::Tool, "there")
    });
    assert_eq!(reply(&provider, &request).await.content, "Seen.");
}

#[tokio::test]
async fn a_rule_fails_as_often_as_it_says_and_then_answers() {
    let provider = rules("[[rule]]\nreply = \"ok\"\nfail = { code = \"rate_limited\", message = \"slow\", times = 2 }");
    for _ in 0..2 {
        let failed = ask_within(&provider, &user(""), Duration::from_secs(1), 10).await.0.unwrap_err();
        assert_eq!((failed.failure.code, failed.failure.retryable), (FailureCode::RateLimited, true));
        assert_eq!(failed.usage, Usage::default());
    }
    assert_eq!(reply(&provider, &user("")).await.content, "ok");
}

#[tokio::test]
async fn a_paced_reply_takes_its_time_and_is_settled_at_the_deadline() {
    let provider = rules("[[rule]]\nreply = \"one two three four\"\ntokens_per_second = 100");
    let begun = Instant::now();
    let (outcome, said) = ask_within(&provider, &user("hey"), Duration::from_secs(5), 1000).await;
    assert!(outcome.is_ok() && said.len() == 4);
    assert!(begun.elapsed() >= Duration::from_millis(40));
    let (outcome, said) = ask_within(&provider, &user("hey"), Duration::from_millis(25), 1000).await;
    let failed = outcome.unwrap_err();
    assert_eq!((failed.failure.code, failed.estimated, said.len()), (FailureCode::Timeout, true, 2));
    assert_eq!((failed.usage.input_tokens, failed.usage.output_tokens), (1, 2));
}

#[tokio::test]
async fn the_cap_and_the_stop_texts_end_a_reply() {
    let provider = rules("[[rule]]\nreply = \"one two three four\"");
    let (outcome, _) = ask_within(&provider, &user(""), Duration::from_secs(1), 2).await;
    let capped = outcome.unwrap().reply;
    assert_eq!(
        (capped.content.as_str(), capped.finish, capped.usage.output_tokens),
        ("one two ", FinishReason::Length, 2)
    );
    let mut request = user("");
    request.stop = vec!["three".to_owned()];
    let stopped = reply(&provider, &request).await;
    assert_eq!((stopped.content.as_str(), stopped.finish), ("one two ", FinishReason::Stop));
}

#[test]
fn a_wrong_rule_is_told_with_its_line() {
    let cases = [
        ("\n[[rule]]\nreply = \"a\"\nrepply = \"b\"", 4, "repply"),
        ("[[rule]]\nreply = \"a\"\n\n[[rule]]\nuser = \"(\"\nreply = \"a\"", 4, "pattern"),
        ("[[rule]]\nuser = \"x\"", 1, "needs reply"),
        ("[[rule]]\nreply = \"${who}\"", 1, "who"),
        ("[[rule]]\njson = \"{\"", 1, "json"),
        ("[[rule]]\nreply = \"a\"\njson = \"1\"", 1, "not both"),
        ("[[rule]]\nfail = { code = \"nope\" }", 2, "nope"),
        ("[[rule]]\ntool_calls = [{ name = \"t\", arguments = \"[1]\" }]", 1, "object"),
        ("[[rule]]\nreply = \"a\"\ntokens_per_second = -1", 1, "tokens_per_second"),
    ];
    for (text, line, word) in cases {
        let error = Scripted::parse(text).unwrap_err();
        assert!(error.line == line && error.message.contains(word), "{text}: {error}");
    }
}

#[tokio::test]
async fn without_a_rule_the_telling_sentences_of_the_question_come_back() {
    let text = "The invoice import fails. Weather is nice. The import stops at invoice 12 with an error. Regards. \
                Since the update every invoice import shows this error.";
    let summary = reply(&Scripted::default(), &user(text)).await.content;
    assert!(
        summary.contains("import stops at invoice 12") && !summary.contains("Weather"),
        "{summary}"
    );
    assert_eq!(summary, reply(&Scripted::default(), &user(text)).await.content);
    assert!(!reply(&Scripted::default(), &user("")).await.content.is_empty());
}

#[tokio::test]
async fn a_schema_is_answered_with_a_value_that_fits_it() {
    let schema = json!({
        "type": "object",
        "properties": {
            "category": { "enum": ["account", "billing_problem", "bug"] },
            "title": { "type": "string", "maxLength": 20 },
            "summary": { "type": "string", "minLength": 5 },
            "urgent": { "type": "boolean" },
            "amount": { "type": "number", "minimum": 10 },
            "priority": { "type": "integer", "minimum": 1, "maximum": 5 },
            "tags": { "type": "array", "items": { "type": "string" }, "minItems": 2 },
            "next": { "$ref": "#/$defs/step" },
            "maybe": { "type": ["string", "null"] },
            "kind": { "const": "ticket" },
        },
        "required": ["category", "title", "next"],
        "additionalProperties": false,
        "$defs": { "step": { "anyOf": [{ "type": "object", "properties": { "do": { "type": "string" } } }] } },
    });
    let mut request = user("I was billed twice, a billing problem of 49 euro. This is urgent! Please answer by Monday.");
    request.response_schema = Some(schema.to_string());
    let value: Value = serde_json::from_str(&reply(&Scripted::default(), &request).await.content).unwrap();
    assert!(jsonschema::is_valid(&schema, &value), "{value}");
    assert_eq!(value["category"], "billing_problem");
    assert_eq!((&value["urgent"], &value["kind"]), (&json!(true), &json!("ticket")));
    assert_eq!(value["amount"].as_f64(), Some(49.0));
}

#[tokio::test]
async fn a_schema_that_cannot_be_guessed_is_told() {
    let mut request = user("hello");
    request.response_schema = Some(json!({ "type": "string", "pattern": "^[0-9]{4}$" }).to_string());
    let failed = ask_within(&Scripted::default(), &request, Duration::from_secs(1), 100)
        .await
        .0
        .unwrap_err();
    assert_eq!(failed.failure.code, FailureCode::Unsupported);
    let step = json!({ "$ref": "#" });
    let endless = json!({ "type": "object", "properties": { "a": step, "b": step, "c": step }, "required": ["a", "b", "c"] });
    for schema in [endless, json!({ "type": 5 }), json!({ "$ref": "https://example.com/schema" })] {
        request.response_schema = Some(schema.to_string());
        let failed = ask_within(&Scripted::default(), &request, Duration::from_secs(1), 100)
            .await
            .0
            .unwrap_err();
        assert_eq!(failed.failure.code, FailureCode::Unsupported, "{schema}");
    }
}

#[tokio::test]
async fn a_tools_result_is_summed_up_where_no_rule_follows_it() {
    let mut request = user("look it up");
    request.messages.push(ChatMessage {
        tool_calls: vec![ToolCall {
            id: "1".to_owned(),
            name: "look".to_owned(),
            arguments: "{}".to_owned(),
        }],
        ..message(ChatRole::Assistant, "")
    });
    request.messages.push(ChatMessage {
        tool_call_id: Some("1".to_owned()),
        ..message(ChatRole::Tool, "The sky is clear.")
    });
    assert_eq!(reply(&Scripted::default(), &request).await.content, "The sky is clear.");
}
