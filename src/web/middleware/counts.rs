//! What waits for someone, counted for the rail of every page, and where they are at work.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, web};

use crate::services::orgs::{self, Place};
use crate::services::{approvals, dead_letters, notifications};
use crate::web::middleware::identity::Identity;
use crate::web::state::State;

/// In the extensions of requests for pages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Failed runs that nobody has dealt with, at most [`dead_letters::COUNT_MAX`].
    pub dead_letters: u32,
    /// Approvals that wait for a decision.
    pub approvals: u32,
    /// Notifications that the person has not read, at most [`crate::domain::notification::UNREAD_MAX`].
    pub unread: u32,
}

impl Counts {
    pub fn of(request: &HttpRequest) -> Self {
        request.extensions().get::<Self>().copied().unwrap_or_default()
    }
}

/// The organization and workspace that someone is at work in, where there are others for them: else nobody need know of either.
pub fn place(request: &HttpRequest) -> Option<String> {
    let place = request.extensions().get::<Place>().cloned()?;
    match (place.has_other_orgs, place.has_other_workspaces) {
        (true, true) => Some(format!("{} / {}", place.org, place.workspace)),
        (true, false) => Some(place.org),
        (false, true) => Some(place.workspace),
        (false, false) => None,
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
        let unread = notifications::unread(&state.app, &known.actor).await.unwrap_or_default();
        let place = orgs::place(&state.app, &known.actor).await.ok();
        request.extensions_mut().insert(Counts {
            dead_letters,
            approvals,
            unread,
        });
        if let Some(place) = place {
            request.extensions_mut().insert(place);
        }
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
