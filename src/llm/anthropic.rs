//! Anthropic's Messages.
//!
//! A reply that is to fit a schema is asked for as the arguments of a tool that the model must call: that works with every model, and with
//! the agent's own tools beside it. To the agent it looks like a reply of JSON.

mod reply;
mod wire;

use self::reply::Assembly;
use super::remote::Dialect;
use crate::domain::chat::ChatRequest;
use crate::domain::failure::Failure;

/// The version of the API whose words these are.
const VERSION: &str = "2023-06-01";

/// Tokens that the server adds of its own where tools are described; the most of any model is 530.
pub(super) const TOOLS_OVERHEAD_TOKENS: u64 = 600;

pub(super) struct Anthropic;

impl Dialect for Anthropic {
    type Assembly = Assembly;
    const NAME: &'static str = "anthropic";
    const CHAT_PATH: &'static str = "v1/messages";
    const MODELS_PATH: &'static str = "v1/models?limit=1000";

    fn headers(key: Option<&str>) -> Vec<(&'static str, String)> {
        let key = key.map(|key| ("x-api-key", key.to_owned()));
        let accept = ("accept", "text/event-stream, application/json".to_owned());
        key.into_iter().chain([("anthropic-version", VERSION.to_owned()), accept]).collect()
    }

    fn body(request: &ChatRequest, model: &str, cap: u32, _: bool) -> Result<Vec<u8>, Failure> {
        wire::request(request, model, cap)
    }

    fn assembly(request: &ChatRequest) -> Assembly {
        Assembly::new(wire::reply_tool(request))
    }
}

#[cfg(test)]
mod tests;
