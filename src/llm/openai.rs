//! Any server that speaks OpenAI's chat completions.

mod reply;
mod wire;

use self::reply::Assembly;
use super::remote::Dialect;
use crate::domain::chat::ChatRequest;
use crate::domain::failure::Failure;

pub(super) struct OpenAi;

impl Dialect for OpenAi {
    type Assembly = Assembly;
    const NAME: &'static str = "openai";
    const CHAT_PATH: &'static str = "chat/completions";
    const MODELS_PATH: &'static str = "models";

    fn headers(key: Option<&str>) -> Vec<(&'static str, String)> {
        let bearer = key.map(|key| ("authorization", format!("Bearer {key}")));
        let accept = ("accept", "text/event-stream, application/json".to_owned());
        bearer.into_iter().chain([accept]).collect()
    }

    fn body(request: &ChatRequest, model: &str, cap: u32, old_cap_name: bool) -> Result<Vec<u8>, Failure> {
        wire::request(request, model, cap, old_cap_name)
    }

    fn assembly(_: &ChatRequest) -> Assembly {
        Assembly::default()
    }
}

#[cfg(test)]
mod tests;
