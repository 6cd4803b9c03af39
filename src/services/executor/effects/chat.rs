//! Model calls: asking, and what it came to.

use std::time::{Duration, Instant};

use super::{is_trouble, resting};
use crate::domain::call::{CallResult, Reply};
use crate::domain::chat::{ChatRequest, Show};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::money::{Charge, Charged};
use crate::llm;
use crate::runtime::ports::Performed;
use crate::services::app::{App, Callee};
use crate::services::models;
use crate::store::Scope;

/// Asks a model. `show` gets each piece of text, where the agent wants it shown.
pub(in super::super) async fn chat(app: &App, scope: Scope, request: &ChatRequest, show: &(dyn Fn(&str) + Send + Sync)) -> Performed {
    let Some(model) = models::find(app, scope, &request.model) else {
        let text = format!(
            "this station has no model “{}”; the operator adds it under [models.{}]",
            request.model, request.model
        );
        return Performed::free(CallResult::Failed(Failure::new(FailureCode::Unsupported, text)));
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
    let admitted = match app.breakers.admit(Callee::Provider(model.endpoint().to_owned())) {
        Ok(admitted) => admitted,
        Err(wait) => return Performed::free(CallResult::Failed(resting(model.endpoint(), wait))),
    };
    let answer = model.chat(request, &mut deltas).await;
    match &answer {
        Ok(_) => admitted.ended(false),
        Err(failed) if is_trouble(&failed.failure) => admitted.ended(true),
        Err(_) => admitted.unsent(),
    }
    let first_token_ms = first.map(|after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    let charge = |usage, estimated| {
        Charged::Known(Charge {
            provider: model.provider().to_owned(),
            provider_name: model.provider().to_owned(),
            model: model.provider_model.clone(),
            usage,
            cost_micros: model.price.cost_micros(usage),
            estimated,
        })
    };
    let (result, charged) = match answer {
        Ok(llm::Answer { mut reply, estimated }) => {
            reply.cost_micros = model.price.cost_micros(reply.usage);
            let charged = charge(reply.usage, estimated);
            (CallResult::Ok(Reply::Chat(reply)), charged)
        }
        Err(llm::Failed { failure, usage, estimated }) => (CallResult::Failed(failure), charge(usage, estimated)),
    };
    Performed {
        result,
        charged,
        first_token_ms,
    }
}
