//! What tests of models have in common: a model of a test server, and asking it.

use std::sync::Arc;
use std::time::Duration;

use super::{Answer, Asking, Failed, Made, Model, Server, SoFar, Whose};
use crate::config::secret::Secret;
use crate::config::settings::ApiKey;
use crate::domain::chat::{ChatMessage, ChatRequest, ChatRole, Show};
use crate::domain::price::Tariff;
use crate::domain::provider::{ProviderKind, ProviderLimits};
use crate::net::test_server::{Answer as Sent, TestServer};

pub(super) fn message(role: ChatRole, content: &str) -> ChatMessage {
    ChatMessage {
        role,
        content: content.to_owned(),
        tool_calls: vec![],
        tool_call_id: None,
    }
}

pub(super) fn request() -> ChatRequest {
    ChatRequest {
        model: "default".to_owned(),
        messages: vec![message(ChatRole::User, "Hello there")],
        tools: vec![],
        tool_choice: None,
        response_schema: None,
        max_output_tokens: None,
        temperature: None,
        stop: vec![],
        show: Show::None,
    }
}

/// Impatient, so that tests end.
pub(super) fn limits() -> ProviderLimits {
    ProviderLimits {
        connect_ms: 1_000,
        first_token_ms: 300,
        idle_ms: 300,
        call_ms: 10_000,
        max_output_tokens: 100,
        ..ProviderLimits::default()
    }
}

pub(super) fn model(kind: ProviderKind, base_url: &str, key: ApiKey, limits: ProviderLimits) -> Model {
    let made = Made {
        kind,
        preset: kind.as_str(),
        name: kind.as_str(),
        base_url,
        rules: "",
        free: true,
        limits,
    };
    Model::new(Arc::new(Server::new(&made, key, None).unwrap()), "big-model")
}

/// What came of asking: the outcome and the text that streamed.
pub(super) async fn ask_model(model: &Model, request: &ChatRequest, tariff: &Tariff, left_micros: u64) -> (Result<Answer, Failed>, String) {
    let mut text = String::new();
    let mut deltas = |delta: &str| text.push_str(delta);
    let asking = Asking {
        whose: Whose::default(),
        tariff,
        key: None,
        left_micros,
        has_another: false,
        deltas: &mut deltas,
        so_far: &SoFar::default(),
    };
    let outcome = model.ask(request, asking).await;
    (outcome, text)
}

pub(super) async fn ask_server(
    kind: ProviderKind,
    server: &TestServer,
    request: &ChatRequest,
    timeout: Duration,
) -> (Result<Answer, Failed>, String) {
    let base = match kind {
        ProviderKind::Anthropic => server.url(""),
        _ => server.url("/v1/"),
    };
    let limits = ProviderLimits {
        call_ms: u64::try_from(timeout.as_millis()).unwrap(),
        ..limits()
    };
    let model = model(kind, &base, ApiKey::Set(Secret::new("sk-secret")), limits);
    ask_model(&model, request, &Tariff::FREE, 0).await
}

/// A stream of events that arrives in pieces of `size` bytes.
pub(super) fn in_pieces(body: &[u8], size: usize) -> Sent {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let mut bytes = head.to_vec();
    for piece in body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        bytes.extend(piece);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    Sent::Bytes(bytes)
}
