use std::time::Duration;

use super::*;
use crate::domain::chat::{ChatMessage, ChatRole, Show};

fn request(content: &str, max_output_tokens: Option<u32>) -> ChatRequest {
    ChatRequest {
        model: "default".to_owned(),
        messages: vec![ChatMessage {
            role: ChatRole::User,
            content: content.to_owned(),
            tool_calls: vec![],
            tool_call_id: None,
        }],
        tools: vec![],
        tool_choice: None,
        response_schema: None,
        max_output_tokens,
        temperature: None,
        stop: vec![],
        show: Show::None,
    }
}

fn priced() -> Model {
    Model {
        price: Price {
            input_micros: 1_000_000,
            output_micros: 2_000_000,
            ..Price::default()
        },
        max_output_tokens: 50,
        ..Model::free(Arc::new(Scripted::default()), "m")
    }
}

#[tokio::test]
async fn no_call_costs_more_than_was_reserved_for_it() {
    let model = priced();
    for text in [
        "",
        "short",
        "a longer text with many words in it, again and again",
        "漢字かな交じり文",
        "\u{1f600}\u{1f600}",
    ] {
        let request = request(text, None);
        let answer = model.chat(&request, &mut |_| {}).await.unwrap();
        assert!(
            model.price.cost_micros(answer.reply.usage) <= model.worst_case_micros(&request),
            "{text}"
        );
    }
}

#[test]
fn the_reply_is_capped_by_request_and_model() {
    let model = priced();
    assert_eq!(model.output_cap(&request("", Some(10))), 10);
    assert_eq!(model.output_cap(&request("", Some(1000))), 50);
    assert_eq!(model.output_cap(&request("", None)), 50);
    // 9 bytes in threes and the overhead of one message and the request; 10 tokens of output.
    assert_eq!(model.worst_case_micros(&request("123456789", Some(10))), 3 + 16 + 20);
}

#[test]
fn writing_the_cache_is_reserved_for_where_it_costs_more() {
    let mut model = priced();
    let plain = model.worst_case_micros(&request("hello", Some(1)));
    model.price.cache_write_micros = 10_000_000;
    assert!(model.worst_case_micros(&request("hello", Some(1))) > plain);
}

#[tokio::test]
async fn a_model_whose_minute_is_used_up_says_so_rather_than_wait_past_its_deadline() {
    let model = Model {
        timeout: Duration::from_millis(100),
        rate: NonZeroU32::new(10).map(|most| Arc::new(Rate::new(most))),
        ..priced()
    };
    assert!(
        model.chat(&request("first", None), &mut |_| {}).await.is_ok(),
        "larger than a minute, but the minute is whole"
    );
    let failed = model.chat(&request("second", None), &mut |_| {}).await.unwrap_err();
    assert_eq!((failed.failure.code, failed.failure.retryable), (FailureCode::RateLimited, true));
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
