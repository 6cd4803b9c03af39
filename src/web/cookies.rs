//! The cookies: a session's, one that lets a form be trusted before there is a session, one of a sign-in that waits for its second
//! step, and one by which a browser is known in which somebody has signed in.

use actix_web::HttpRequest;
use actix_web::cookie::{Cookie, SameSite, time};

use super::settings::Settings;

/// Over TLS the prefix makes browsers refuse the cookie from anyone but this very host.
const SESSION_SECURE: &str = "__Host-as_sid";
const SESSION_PLAIN: &str = "as_sid";
const VISIT_SECURE: &str = "__Host-as_visit";
const VISIT_PLAIN: &str = "as_visit";
const STEP_SECURE: &str = "__Host-as_step";
const STEP_PLAIN: &str = "as_step";
const MARK_SECURE: &str = "__Host-as_known";
const MARK_PLAIN: &str = "as_known";
/// A browser is known for this long after the last sign-in.
const MARK_LASTS: time::Duration = time::Duration::days(365);

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

/// The token of a sign-in that waits for its second step.
pub fn step(request: &HttpRequest) -> Option<String> {
    read(request, STEP_SECURE, STEP_PLAIN)
}

/// The cookie of a sign-in that waits for its second step.
pub fn new_step(settings: &Settings, token: &str) -> Cookie<'static> {
    cookie(settings, (STEP_SECURE, STEP_PLAIN), token.to_owned())
}

/// Takes that cookie away.
pub fn no_step(settings: &Settings) -> Cookie<'static> {
    let mut cookie = cookie(settings, (STEP_SECURE, STEP_PLAIN), String::new());
    cookie.set_max_age(time::Duration::ZERO);
    cookie
}

/// The mark of a browser in which somebody has signed in before.
pub fn mark(request: &HttpRequest) -> Option<String> {
    read(request, MARK_SECURE, MARK_PLAIN)
}

/// The cookie with that mark; it stays when the browser is closed.
pub fn new_mark(settings: &Settings, mark: &str) -> Cookie<'static> {
    let mut cookie = cookie(settings, (MARK_SECURE, MARK_PLAIN), mark.to_owned());
    cookie.set_max_age(MARK_LASTS);
    cookie
}
