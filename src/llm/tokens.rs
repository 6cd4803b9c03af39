//! Tokens guessed from bytes, where no provider counts them.

use crate::domain::chat::{ChatReply, ChatRequest};
use crate::domain::money::Usage;

/// What a provider adds around each message and tool.
const OVERHEAD_TOKENS: u64 = 8;

/// About as many tokens as a text has.
pub(super) fn estimate(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

/// About as many tokens as a request has.
pub(super) fn estimate_input(request: &ChatRequest) -> u64 {
    parts(request).map(|part| estimate(part.len())).sum()
}

/// What a request uses that was sent and not yet answered.
pub(super) fn estimate_sent(request: &ChatRequest) -> Usage {
    Usage {
        input_tokens: estimate_input(request),
        ..Usage::default()
    }
}

/// What a reply with this text and these calls uses.
pub(super) fn estimate_usage(request: &ChatRequest, reply: &ChatReply) -> Usage {
    let calls: usize = reply.tool_calls.iter().map(|call| call.name.len() + call.arguments.len()).sum();
    Usage {
        input_tokens: estimate_input(request),
        output_tokens: estimate(reply.content.len() + calls),
        ..Usage::default()
    }
}

/// More tokens than a request has in any usual tokenizer: small letters and spaces come at least in pairs, and of other signs each may be
/// one, of other scripts each byte.
pub(super) fn input_at_most(request: &ChatRequest) -> u64 {
    let high = |part: &str| {
        let plain = part.bytes().filter(|byte| byte.is_ascii_lowercase() || *byte == b' ').count();
        (plain.div_ceil(2) + part.len() - plain) as u64
    };
    let items = request.messages.len() + request.tools.len() + 1;
    parts(request).map(high).sum::<u64>() + OVERHEAD_TOKENS * items as u64
}

/// Every text of a request that a provider counts.
fn parts(request: &ChatRequest) -> impl Iterator<Item = &str> {
    let messages = request.messages.iter().flat_map(|message| {
        let calls = message
            .tool_calls
            .iter()
            .flat_map(|call| [call.name.as_str(), call.arguments.as_str()]);
        std::iter::once(message.content.as_str()).chain(calls)
    });
    let tools = request
        .tools
        .iter()
        .flat_map(|tool| [tool.name.as_str(), tool.description.as_str(), tool.parameters.as_str()]);
    messages.chain(tools).chain(request.response_schema.as_deref())
}
