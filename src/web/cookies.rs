//! The two cookies: a session's, and one that lets a form be trusted before there is a session.

use actix_web::HttpRequest;
use actix_web::cookie::{Cookie, SameSite, time};

use super::settings::Settings;

/// Over TLS the prefix makes browsers refuse the cookie from anyone but this very host.
const SESSION_SECURE: &str = "__Host-as_sid";
const SESSION_PLAIN: &str = "as_sid";
const VISIT_SECURE: &str = "__Host-as_visit";
const VISIT_PLAIN: &str = "as_visit";

fn read(request: &HttpRequest, secure: &str, plain: &str) -> Option<String> {
    let cookie = request.cookie(secure).or_else(|| request.cookie(plain))?;
    Some(cookie.value().to_owned())
}

/// The session token that came with a request.
pub fn session(request: &HttpRequest) -> Option<String> {
    read(request, SESSION_SECURE, SESSION_PLAIN)
}

/// The visit token that came with a request.
pub fn visit(request: &HttpRequest) -> Option<String> {
    read(request, VISIT_SECURE, VISIT_PLAIN)
}

fn cookie(settings: &Settings, names: (&'static str, &'static str), value: String) -> Cookie<'static> {
    let secure = settings.is_secure();
    Cookie::build(if secure { names.0 } else { names.1 }, value)
        .path("/")
        .http_only(true)
        .secure(secure)
        .same_site(SameSite::Lax)
        .finish()
}

/// The cookie of a new session. It lasts as long as the browser does; the session itself ends on the server.
pub fn new_session(settings: &Settings, token: &str) -> Cookie<'static> {
    cookie(settings, (SESSION_SECURE, SESSION_PLAIN), token.to_owned())
}

/// Takes the session cookie away.
pub fn no_session(settings: &Settings) -> Cookie<'static> {
    let mut cookie = cookie(settings, (SESSION_SECURE, SESSION_PLAIN), String::new());
    cookie.set_max_age(time::Duration::ZERO);
    cookie
}

/// The cookie of a visitor who has no session.
pub fn new_visit(settings: &Settings, token: &str) -> Cookie<'static> {
    cookie(settings, (VISIT_SECURE, VISIT_PLAIN), token.to_owned())
}
