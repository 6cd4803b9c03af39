//! Replies in the published formats, as servers sent them, cut into pieces of any size.

use std::time::Duration;

use super::test_support::{ask_server, in_pieces, request};
use super::{Answer, Failed};
use crate::domain::chat::{ChatReply, FinishReason};
use crate::domain::failure::FailureCode;
use crate::domain::money::{Price, Usage};
use crate::domain::provider::ProviderKind;
use crate::net::test_server::TestServer;

const OPENAI_TEXT: &[u8] = include_bytes!("../../tests/recorded/openai/text.sse");
const OPENAI_TOOLS: &[u8] = include_bytes!("../../tests/recorded/openai/tools.sse");
const ANTHROPIC_TEXT: &[u8] = include_bytes!("../../tests/recorded/anthropic/text.sse");
const ANTHROPIC_TOOLS: &[u8] = include_bytes!("../../tests/recorded/anthropic/tools.sse");
const ANTHROPIC_OVERLOADED: &[u8] = include_bytes!("../../tests/recorded/anthropic/overloaded.sse");

/// One byte at a time cuts every character and every line; the others cut elsewhere.
const SIZES: [usize; 6] = [1, 2, 3, 7, 61, 1 << 20];

async fn play(kind: ProviderKind, body: &[u8], size: usize) -> (Result<Answer, Failed>, String) {
    let server = TestServer::start(vec![in_pieces(body, size)]).await;
    ask_server(kind, &server, &request(), Duration::from_secs(10)).await
}

async fn reply(kind: ProviderKind, body: &[u8], size: usize) -> (ChatReply, String) {
    let (outcome, text) = play(kind, body, size).await;
    let answer = outcome.unwrap_or_else(|failed| panic!("{kind} in pieces of {size}: {failed}"));
    assert!(!answer.estimated, "the server counted");
    (answer.reply, text)
}

#[tokio::test]
async fn text_arrives_whole_however_it_is_cut() {
    for (kind, body) in [(ProviderKind::Openai, OPENAI_TEXT), (ProviderKind::Anthropic, ANTHROPIC_TEXT)] {
        for size in SIZES {
            let (reply, text) = reply(kind, body, size).await;
            assert_eq!(
                (reply.content.as_str(), text.as_str()),
                ("Grüße – こんにちは 🌍", "Grüße – こんにちは 🌍"),
                "{kind} {size}"
            );
            assert_eq!((reply.finish, reply.tool_calls.len()), (FinishReason::Stop, 0));
        }
    }
}

#[tokio::test]
async fn tool_calls_arrive_whole_however_they_are_cut() {
    for (kind, body) in [(ProviderKind::Openai, OPENAI_TOOLS), (ProviderKind::Anthropic, ANTHROPIC_TOOLS)] {
        for size in SIZES {
            let (reply, _) = reply(kind, body, size).await;
            let calls: Vec<(&str, serde_json::Value)> = reply
                .tool_calls
                .iter()
                .map(|call| (call.name.as_str(), serde_json::from_str(&call.arguments).unwrap()))
                .collect();
            let wanted = [
                ("get_weather", serde_json::json!({ "city": "Zürich" })),
                ("get_time", serde_json::json!({})),
            ];
            assert_eq!(
                (calls.as_slice(), reply.finish),
                (wanted.as_slice(), FinishReason::ToolCalls),
                "{kind} {size}"
            );
        }
    }
}

#[tokio::test]
async fn costs_are_the_hand_worked_figures_with_cached_tokens_in_either_dialect() {
    // OpenAI's 1000 prompt tokens hold the 400 cached ones. gpt-4o: $2.50, $1.25 cached, $10 for a million.
    let (openai, _) = reply(ProviderKind::Openai, OPENAI_TEXT, 61).await;
    let usage = Usage {
        input_tokens: 600,
        cache_read_tokens: 400,
        cache_write_tokens: 0,
        output_tokens: 200,
    };
    assert_eq!(openai.usage, usage, "the 64 of reasoning are within the output");
    let gpt_4o = Price {
        input_micros: 2_500_000,
        cache_read_micros: 1_250_000,
        cache_write_micros: 2_500_000,
        output_micros: 10_000_000,
    };
    // 600 * 2.5 + 400 * 1.25 + 200 * 10 = 4000 micro-dollars
    assert_eq!(gpt_4o.cost_micros(usage), 4_000);

    // Anthropic's 600 input tokens stand beside 400 read from the cache and 100 written to it. Sonnet: $3, $0.30, $3.75, $15.
    let (anthropic, _) = reply(ProviderKind::Anthropic, ANTHROPIC_TEXT, 61).await;
    let usage = Usage {
        input_tokens: 600,
        cache_read_tokens: 400,
        cache_write_tokens: 100,
        output_tokens: 200,
    };
    assert_eq!(anthropic.usage, usage);
    let sonnet = Price {
        input_micros: 3_000_000,
        cache_read_micros: 300_000,
        cache_write_micros: 3_750_000,
        output_micros: 15_000_000,
    };
    // 600 * 3 + 400 * 0.3 + 100 * 3.75 + 200 * 15 = 1800 + 120 + 375 + 3000 = 5295 micro-dollars
    assert_eq!(sonnet.cost_micros(usage), 5_295);
}

#[tokio::test]
async fn a_stream_that_breaks_is_settled_with_what_was_counted_and_a_guess_of_the_rest() {
    let (outcome, text) = play(ProviderKind::Anthropic, ANTHROPIC_OVERLOADED, 7).await;
    let failed = outcome.unwrap_err();
    assert_eq!((failed.failure.code, failed.failure.retryable), (FailureCode::Unavailable, true));
    assert!(failed.begun && failed.estimated && text == "Once upon a time");
    // The input was counted at the start; 16 bytes of text are about 4 tokens.
    let usage = Usage {
        input_tokens: 25,
        cache_read_tokens: 7,
        cache_write_tokens: 0,
        output_tokens: 4,
    };
    assert_eq!(failed.usage, usage);
    for (kind, body) in [(ProviderKind::Openai, OPENAI_TEXT), (ProviderKind::Anthropic, ANTHROPIC_TEXT)] {
        // The second piece of text and all after it are lost.
        let cut = body
            .windows(2)
            .position(|pair| pair == "\u{3053}".as_bytes().get(..2).unwrap())
            .unwrap();
        let (outcome, text) = play(kind, &body[..cut], 13).await;
        let failed = outcome.unwrap_err();
        assert_eq!(
            (failed.failure.code, failed.estimated, text.as_str()),
            (FailureCode::Unavailable, true, "Grüße – "),
            "{kind}"
        );
        assert!(failed.usage.output_tokens >= 3, "{kind} {:?}", failed.usage);
    }
}
