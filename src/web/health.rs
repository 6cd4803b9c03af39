//! `/healthz`: the process answers. `/readyz`: it can serve, which ends when it begins to stop.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::json;

use super::extract::Public;
use super::middleware::shell::Shaped;
use super::state::State;

/// `GET /healthz`
pub async fn alive(_: Public) -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "alive"}))
}

/// `GET /readyz`
pub async fn ready(_: Public, state: web::Data<State>) -> HttpResponse {
    let reason = if state.app.supervisor.stopping().is_cancelled() {
        Some("stopping")
    } else {
        state.app.auth.is_reachable().await.err().map(|_| "the database does not answer")
    };
    let Some(reason) = reason else {
        return HttpResponse::Ok().json(json!({"status": "ready"}));
    };
    let mut answer = HttpResponse::build(StatusCode::SERVICE_UNAVAILABLE).json(json!({"status": "not ready", "reason": reason}));
    answer.extensions_mut().insert(Shaped);
    answer
}
