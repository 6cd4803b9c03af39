use super::test_support::{ask_model, ask_server, limits, message, model, request as hello};
use super::*;
use crate::domain::chat::{ChatRole, FinishReason};
use crate::domain::failure::FailureCode;
use net::test_server::{TestServer, answer, stream};

fn request(content: &str, max_output_tokens: Option<u32>) -> ChatRequest {
    ChatRequest {
        messages: vec![message(ChatRole::User, content)],
        max_output_tokens,
        ..hello()
    }
}

fn priced() -> (Model, Tariff) {
    let limits = ProviderLimits {
        max_output_tokens: 50,
        ..ProviderLimits::default()
    };
    let price = Price {
        input_micros: 1_000_000,
        output_micros: 2_000_000,
        ..Price::default()
    };
    let tariff = Tariff { price, tiers: vec![] };
    (Model::limited(Arc::new(Scripted::default()), "m", limits), tariff)
}

#[tokio::test]
async fn no_call_costs_more_than_was_reserved_for_it() {
    let (model, tariff) = priced();
    for text in [
        "",
        "short",
        "a longer text with many words in it, again and again",
        "漢字かな交じり文",
        "\u{1f600}\u{1f600}",
    ] {
        let request = request(text, None);
        let most = model.worst_case_micros(&tariff, &request);
        let answer = ask_model(&model, &request, &tariff, most).await.0.unwrap();
        assert!(tariff.cost_micros(answer.reply.usage) <= most, "{text}");
        let failed = ask_model(&model, &request, &tariff, most - 1).await.0.unwrap_err();
        assert_eq!((failed.failure.code, failed.usage), (FailureCode::LimitExceeded, Usage::default()));
    }
}

#[test]
fn the_reply_is_capped_by_request_and_model() {
    let (model, tariff) = priced();
    assert_eq!(model.output_cap(&request("", Some(10))), 10);
    assert_eq!(model.output_cap(&request("", Some(1000))), 50);
    assert_eq!(model.output_cap(&request("", None)), 50);
    // Small letters in pairs, each digit by itself, the overhead of one message and the request; 10 tokens of output.
    assert_eq!(model.worst_case_micros(&tariff, &request("abcdefgh9", Some(10))), 4 + 1 + 16 + 20);
}

#[test]
fn writing_the_cache_is_reserved_for_where_it_costs_more() {
    let (model, mut tariff) = priced();
    let plain = model.worst_case_micros(&tariff, &request("hello", Some(1)));
    tariff.price.cache_write_micros = 10_000_000;
    assert!(model.worst_case_micros(&tariff, &request("hello", Some(1))) > plain);
}

fn openai(text: &str) -> net::test_server::Answer {
    let delta = serde_json::json!({ "choices": [{ "delta": { "content": text }, "finish_reason": "stop" }] });
    let usage = serde_json::json!({ "choices": [], "usage": { "prompt_tokens": 20, "completion_tokens": 5 } });
    stream(&format!("data: {delta}\n\ndata: {usage}\n\ndata: [DONE]\n\n"), true)
}

fn with_schema() -> ChatRequest {
    let schema =
        r#"{"type":"object","properties":{"order":{"type":"object","properties":{"amount":{"type":"integer"}}}},"required":["order"]}"#;
    ChatRequest {
        response_schema: Some(schema.to_owned()),
        ..request("How much?", Some(40))
    }
}

async fn structured(answers: Vec<net::test_server::Answer>) -> (Result<Answer, Failed>, String, TestServer) {
    let server = TestServer::start(answers).await;
    let (outcome, text) = ask_server(ProviderKind::Openai, &server, &with_schema(), Duration::from_secs(10)).await;
    (outcome, text, server)
}

#[tokio::test]
async fn a_reply_that_does_not_fit_is_asked_for_once_more_with_what_is_wrong() {
    let (outcome, text, server) = structured(vec![
        openai(r#"{"order":{"amount":"four"}}"#),
        openai("```json\n{\"order\":{\"amount\":4}}\n```"),
    ])
    .await;
    let answer = outcome.unwrap();
    assert_eq!(
        (answer.reply.content.as_str(), answer.reply.finish),
        (r#"{"order":{"amount":4}}"#, FinishReason::Stop)
    );
    assert_eq!(text, answer.reply.content, "the wrong reply is not shown");
    assert_eq!(
        (answer.reply.usage.input_tokens, answer.reply.usage.output_tokens),
        (40, 10),
        "both are paid for"
    );
    let asked = server.asked_json(1);
    assert_eq!(asked["messages"][1]["content"], r#"{"order":{"amount":"four"}}"#);
    let words = asked["messages"][2]["content"].as_str().unwrap().to_owned();
    assert!(words.contains("/order/amount") && words.contains("integer"), "{words}");
}

#[tokio::test]
async fn a_reply_that_stays_wrong_fails_with_the_place() {
    let (outcome, text, server) = structured(vec![openai("no idea"), openai(r#"{"order":{"amount":"four"}}"#), openai("{}")]).await;
    let failed = outcome.unwrap_err();
    assert_eq!((failed.failure.code, failed.failure.retryable), (FailureCode::ProviderError, false));
    assert!(failed.failure.message.contains("/order/amount"), "{failed}");
    assert_eq!((server.asked().len(), text.as_str(), failed.usage.input_tokens), (2, "", 40));
}

#[tokio::test]
async fn the_try_that_repairs_is_reserved_for_and_not_made_beyond_it() {
    let price = Price {
        input_micros: 1_000_000,
        output_micros: 1_000_000,
        ..Price::default()
    };
    let tariff = Tariff { price, tiers: vec![] };
    let fits = openai(r#"{"order":{"amount":4}}"#);
    let server = TestServer::start(vec![openai("{}"), fits.clone(), openai("{}"), fits]).await;
    let model = model(ProviderKind::Openai, &server.url("/v1"), ApiKey::None, limits());
    let request = with_schema();
    let most = model.worst_case_micros(&tariff, &request);
    let answer = ask_model(&model, &request, &tariff, most).await.0.unwrap();
    assert!(tariff.cost_micros(answer.reply.usage) <= most);
    let once = tariff.worst_case_micros(model.worst_case(&request));
    let failed = ask_model(&model, &request, &tariff, once).await.0.unwrap_err();
    assert_eq!((failed.failure.code, server.asked().len()), (FailureCode::ProviderError, 3));
}

#[tokio::test]
async fn a_refusal_and_a_reply_that_was_cut_off_are_not_asked_for_again() {
    let whole = |reason: &str| {
        let body = serde_json::json!({ "choices": [{ "message": { "content": "{\"order\"" }, "finish_reason": reason }] });
        answer("200 OK", "content-type: application/json\r\n", &body.to_string())
    };
    for (reason, word) in [("length", "cut off"), ("content_filter", "refused")] {
        let (outcome, _, server) = structured(vec![whole(reason)]).await;
        let failed = outcome.unwrap_err();
        assert!(failed.failure.message.contains(word), "{failed}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_what_it_has_used() {
    let hang =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"Good day to\"}}]}\n\n";
    let server = TestServer::start(vec![net::test_server::Answer::Hang(hang.into())]).await;
    let model = model(ProviderKind::Openai, &server.url("/v1"), ApiKey::None, limits());
    let so_far = SoFar::default();
    let (mut heard, request) = (false, hello());
    let mut deltas = |_: &str| heard = true;
    let asking = Asking {
        whose: Whose::default(),
        tariff: &Tariff::FREE,
        key: None,
        left_micros: 0,
        has_another: false,
        deltas: &mut deltas,
        so_far: &so_far,
    };
    assert!(!so_far.was_sent());
    let mut call = Box::pin(model.ask(&request, asking));
    while so_far.usage().output_tokens == 0 {
        assert!(futures_util::poll!(&mut call).is_pending());
        tokio::task::yield_now().await;
    }
    drop(call);
    assert!(heard && so_far.was_sent());
    assert_eq!((so_far.usage().input_tokens, so_far.usage().output_tokens), (3, 3));
}

#[test]
fn models_are_made_from_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.toml");
    std::fs::write(&rules, "[[rule]]\nreply = \"hi\"").unwrap();
    let mut settings = BTreeMap::from([
        ("default".to_owned(), settings::Model::scripted(Some(rules.clone()))),
        ("plain".to_owned(), settings::Model::scripted(None)),
    ]);
    let models = Models::from_settings(&settings).unwrap();
    assert_eq!(models.names().collect::<Vec<_>>(), ["default", "plain"]);
    assert_eq!(models.get("default").unwrap().provider(), "scripted");
    std::fs::write(&rules, "[[rule]]\n").unwrap();
    let error = Models::from_settings(&settings).err().unwrap().to_string();
    assert!(error.contains("models.default") && error.contains("line 1"), "{error}");
    settings.insert(
        "default".to_owned(),
        settings::Model::scripted(Some(folder.path().join("absent.toml"))),
    );
    assert!(Models::from_settings(&settings).is_err());
}

#[test]
fn without_a_price_only_what_is_not_known_to_want_money_is_free() {
    assert!(is_paid(ProviderKind::Openai, "https://api.openai.com/v1"));
    assert!(is_paid(ProviderKind::Anthropic, "https://models.example.com"));
    assert!(!is_paid(ProviderKind::Openai, "http://127.0.0.1:11434/v1"));
    assert!(!is_paid(ProviderKind::Scripted, ""));
}
