//! Model calls: asking, and what it came to.

use std::time::{Duration, Instant};

use super::super::caller::Caller;
use crate::domain::call::{CallResult, Reply};
use crate::domain::chat::{ChatRequest, Show};
use crate::llm::Whose;
use crate::runtime::ports::Performed;
use crate::services::app::App;
use crate::services::models::{self, Progress};

/// Asks a model, for at most `reserved_micros`. `show` gets each piece of text, where the agent wants it shown; `progress` knows what was
/// used if this is given up.
pub(in super::super) async fn chat(
    app: &App,
    caller: &Caller,
    request: &ChatRequest,
    reserved_micros: u64,
    progress: &Progress,
    show: &(dyn Fn(&str) + Send + Sync),
) -> Performed {
    let chain = match models::find(app, caller.scope(), &request.model) {
        Ok(chain) => chain,
        Err(failure) => return Performed::free(CallResult::Failed(failure)),
    };
    let began = Instant::now();
    let mut first = None;
    let shown = request.show != Show::None;
    let mut deltas = |text: &str| {
        first.get_or_insert_with(|| began.elapsed());
        if shown {
            show(text);
        }
    };
    let whose = Whose::agent(caller.org, caller.agent);
    let outcome = chain.chat(app, whose, request, &mut deltas, reserved_micros, progress).await;
    Performed {
        result: match outcome.result {
            Ok(reply) => CallResult::Ok(Reply::Chat(reply)),
            Err(failure) => CallResult::Failed(failure),
        },
        charged: outcome.charged,
        first_token_ms: first.map(|after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
    }
}
