//! Turns away what is no request for this station, or larger than any of ours, before anything is looked up for it.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{Error, web};

use crate::domain::error::ErrorCode;
use crate::web::problem::Problem;
use crate::web::settings::Settings;
use crate::web::state::State;

/// Bytes of path and query.
pub const ADDRESS_BYTES_MAX: usize = 8 * 1024;
/// Bytes of all headers' names and values. How many there may be is the HTTP library's to say: 96.
pub const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Addresses that say nothing and that are asked by machines under any name.
const FOR_ANYONE: [&str; 2] = ["/healthz", "/readyz"];

/// The middleware; see [`actix_web::middleware::from_fn`].
pub async fn bounds<B: MessageBody + 'static>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<BoxBody>, Error> {
    let refused = request
        .app_data::<web::Data<State>>()
        .and_then(|state| check(&request, &state.settings).err());
    match refused {
        None => next.call(request).await.map(ServiceResponse::map_into_boxed_body),
        Some(problem) => Ok(request.error_response(problem)),
    }
}

fn check(request: &ServiceRequest, settings: &Settings) -> Result<(), Problem> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > ADDRESS_BYTES_MAX {
        return Err(Problem::new(
            ErrorCode::UriTooLong,
            format!("The address is longer than {ADDRESS_BYTES_MAX} bytes."),
        ));
    }
    if bytes_of(request.headers()) > HEADER_BYTES_MAX {
        return Err(Problem::new(
            ErrorCode::HeadersTooLarge,
            format!("The headers are larger than {HEADER_BYTES_MAX} bytes together."),
        ));
    }
    if request.headers().get_all(header::AUTHORIZATION).count() > 1 {
        return Err(Problem::new(
            ErrorCode::BadRequest,
            "The request has more than one Authorization header. Send one.",
        ));
    }
    if FOR_ANYONE.contains(&request.path()) {
        return Ok(());
    }
    check_host(request, settings)
}

fn bytes_of(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

fn check_host(request: &ServiceRequest, settings: &Settings) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(header::HOST);
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        _ => return Err(Problem::new(ErrorCode::BadRequest, "The request must have one Host header.")),
    };
    // A whole address in the first line says where to as well, and must not say something else.
    let target = request.uri().authority().map(actix_web::http::uri::Authority::as_str);
    let from_here = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    let is_own = |host: &str| settings.is_own_host(host, from_here);
    if is_own(host) && target.is_none_or(|target| target.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    let hint = match &settings.public_url {
        Some(url) => format!("Open {}. A proxy in front must pass the Host header on as it came.", url.as_str()),
        None => "Open it as 127.0.0.1 or localhost; for another name, set server.public_url to the address in the browser.".to_owned(),
    };
    Err(Problem::new(
        ErrorCode::Misdirected,
        "This station does not answer to the name that the request asks for.",
    )
    .hint(hint))
}
