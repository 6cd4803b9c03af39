//! What waits for someone, counted for the rail of every page.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, web};

use crate::services::{approvals, dead_letters};
use crate::web::middleware::identity::Identity;
use crate::web::state::State;

/// In the extensions of requests for pages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Failed runs that nobody has dealt with, at most [`dead_letters::COUNT_MAX`].
    pub dead_letters: u32,
    /// Approvals that wait for a decision.
    pub approvals: u32,
}

impl Counts {
    pub fn of(request: &HttpRequest) -> Self {
        request.extensions().get::<Self>().copied().unwrap_or_default()
    }
}

/// The middleware; see [`actix_web::middleware::from_fn`].
pub async fn counts<B: MessageBody + 'static>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<BoxBody>, Error> {
    if is_page(&request)
        && let Identity::Known(known) = Identity::of(request.request())
        && known.session.is_some()
        && let Some(state) = request.app_data::<web::Data<State>>().cloned()
    {
        // A page is shown without its counts rather than not at all.
        let dead_letters = dead_letters::count(&state.app, &known.actor).await.unwrap_or_default();
        let approvals = approvals::pending(&state.app, &known.actor).await.unwrap_or_default();
        request.extensions_mut().insert(Counts { dead_letters, approvals });
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}

fn is_page(request: &ServiceRequest) -> bool {
    let path = request.path();
    matches!(*request.method(), Method::GET | Method::POST)
        && !["/static/", "/api/", "/ws/", "/healthz", "/readyz"]
            .iter()
            .any(|prefix| path.starts_with(prefix))
}
