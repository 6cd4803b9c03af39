//! The outermost layer: a request id, a span, the security headers, and one shape for everything that goes wrong,
//! a panic included.

use std::panic::AssertUnwindSafe;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpResponse, web};
use futures_util::FutureExt as _;
use tracing::Instrument as _;

use super::rates::Told;
use crate::domain::id::RequestId;
use crate::web::context::Context;
use crate::web::pages;
use crate::web::problem::Problem;
use crate::web::state::State;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// All scripts and styles are files of ours: nothing inline, nothing from elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'; report-to csp";
/// Where browsers report what the policy stopped.
const REPORTING_ENDPOINTS: &str = "csp=\"/csp-reports\"";
/// Of files that users or agents made.
pub const SANDBOX_POLICY: &str = "sandbox; default-src 'none'";
const PERMISSIONS: &str = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()";

/// The middleware; see [`actix_web::middleware::from_fn`].
pub async fn shell<B: MessageBody + 'static>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(state) = request.app_data::<web::Data<State>>().cloned() else {
        return Err(InternalError::from_response("no state", HttpResponse::InternalServerError().finish()).into());
    };
    let context = Context::of(&request, RequestId::new(state.app.clock.now()), &state.settings);
    request.extensions_mut().insert(context);
    let span = tracing::info_span!(
        "request",
        request_id = %context.id,
        method = %request.method(),
        path = request.path(),
        org = tracing::field::Empty
    );
    let secure = state.settings.is_secure();
    let outcome = AssertUnwindSafe(next.call(request)).catch_unwind().instrument(span.clone()).await;
    let _entered = span.enter();
    match outcome {
        Ok(Ok(response)) => Ok(finish(response.map_into_boxed_body(), context, secure)),
        Ok(Err(error)) => Err(answer_without_request(&Problem::internal(error), context, secure)),
        // The panic hook has logged it; the request itself is gone with the stack.
        Err(_) => Err(answer_without_request(&Problem::internal("a handler panicked"), context, secure)),
    }
}

fn finish(response: ServiceResponse<BoxBody>, context: Context, secure: bool) -> ServiceResponse<BoxBody> {
    let status = response.status();
    let own = response.response().error().and_then(|error| error.as_error::<Problem>());
    let mut response = match own {
        Some(problem) => {
            let answer = render(problem, &response, context);
            response.into_response(answer)
        }
        None if is_unshaped_error(&response) => match Problem::of_status(status) {
            Some(problem) => {
                let allow = response.headers().get(header::ALLOW).cloned();
                let mut answer = render(&problem, &response, context);
                if let Some(allow) = allow {
                    answer.headers_mut().insert(header::ALLOW, allow);
                }
                response.into_response(answer)
            }
            None => response,
        },
        None => response,
    };
    let told = response.request().extensions().get::<Told>().copied();
    if let Some(told) = told {
        told.add_headers(response.headers_mut());
    }
    add_headers(response.headers_mut(), context.id, secure);
    response
}

/// Errors that actix itself or an extractor of its own made: they have no shape of ours yet.
fn is_unshaped_error(response: &ServiceResponse<BoxBody>) -> bool {
    let status = response.status();
    (status.is_client_error() || status.is_server_error()) && response.response().extensions().get::<Shaped>().is_none()
}

/// Marks an error answer that already is as the client shall see it, such as a form with its mistakes.
#[derive(Clone, Copy, Debug)]
pub struct Shaped;

fn render(problem: &Problem, response: &ServiceResponse<BoxBody>, context: Context) -> HttpResponse<BoxBody> {
    if !context.html {
        return problem.to_json(context.id);
    }
    let mut answer = pages::errors::render(problem, response.request(), context);
    problem.add_headers(&mut answer);
    answer
}

/// An answer where the request is no longer at hand.
fn answer_without_request(problem: &Problem, context: Context, secure: bool) -> Error {
    let mut answer = problem.to_json(context.id);
    add_headers(answer.headers_mut(), context.id, secure);
    InternalError::from_response("shaped", answer).into()
}

fn add_headers(headers: &mut HeaderMap, id: RequestId, secure: bool) {
    let mut set = |name: HeaderName, value: &'static str| {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    };
    set(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    set(HeaderName::from_static("reporting-endpoints"), REPORTING_ENDPOINTS);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(HeaderName::from_static("permissions-policy"), PERMISSIONS);
    set(header::CACHE_CONTROL, "no-store");
    if secure {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains");
    }
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, value);
    }
}
