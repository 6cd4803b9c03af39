//! One's own sessions, each with the browser that it is in.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use super::super::view::{Shell, When};
use super::super::{account_shell, filters, html, see_other};
use super::person_of;
use crate::services::auth::{Factor, Listed};
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::cookies;
use crate::web::extract::SignedIn;
use crate::web::extract::form::Form;
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/account/sessions.html")]
struct SessionsPage {
    shell: Shell,
    sessions: Vec<SessionRow>,
    has_others: bool,
    idle_hours: u64,
}

struct SessionRow {
    id: String,
    browser: String,
    user_agent: String,
    address: String,
    factor: &'static str,
    started: When,
    seen: When,
    is_this: bool,
}

/// `GET /account/sessions`
pub async fn show(auth: SignedIn, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let person = person_of(&auth.0)?;
    let now = state.app.clock.now();
    let sessions = state.app.auth.sessions(person).await?;
    let row = |session: Listed| SessionRow {
        browser: browser_words(&session.user_agent),
        user_agent: session.user_agent,
        address: session.address,
        factor: factor_words(session.factor),
        started: When::new(session.created_at, now),
        seen: When::new(session.seen_at, now),
        is_this: session.id == person.session,
        id: session.id.to_string(),
    };
    let mut sessions: Vec<SessionRow> = sessions.into_iter().map(row).collect();
    sessions.sort_by_key(|session| !session.is_this);
    html(&SessionsPage {
        shell: account_shell(&state, &request, &auth.0, "Account", "/account/sessions"),
        has_others: sessions.iter().any(|session| !session.is_this),
        sessions,
        idle_hours: state.app.auth.session_idle().as_secs().div_ceil(3_600),
    })
}

/// `POST /account/sessions/{session}/revoke`
pub async fn revoke(
    auth: SignedIn,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let person = person_of(&auth.0)?;
    let session = segments.text("session").parse().map_err(|_| Problem::not_found())?;
    state.app.auth.end_session(person, session, Context::origin(&request)).await?;
    if session == person.session {
        let mut answer = see_other("/sign-in");
        _ = answer.add_cookie(&cookies::no_session(&state.settings));
        return Ok(answer);
    }
    Ok(see_other("/account/sessions?done=session-revoked"))
}

/// `POST /account/sessions/others/revoke`
pub async fn revoke_others(auth: SignedIn, state: web::Data<State>, _form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let person = person_of(&auth.0)?;
    state.app.auth.end_other_sessions(person, Context::origin(&request)).await?;
    Ok(see_other("/account/sessions?done=sessions-revoked"))
}

const fn factor_words(factor: Factor) -> &'static str {
    match factor {
        Factor::Password => "password",
        Factor::Totp => "password and code",
        Factor::Recovery => "password and recovery code",
        Factor::Passkey => "passkey",
        Factor::Link => "one-time link",
    }
}

/// What a browser calls itself, in two words. It may say what it likes: this is for telling one's own apart.
fn browser_words(user_agent: &str) -> String {
    // Each names those before it that it wants to be taken for.
    let first = |names: &[(&str, &'static str)]| names.iter().find_map(|(mark, name)| user_agent.contains(mark).then_some(*name));
    let browser = first(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Chromium/", "Chromium"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ]);
    let system = first(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "Another browser".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_told_by_two_words() {
        let words = [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Firefox on Linux",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36 Edg/140.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
            ),
            ("curl/8.5.0", "curl"),
            ("", "Another browser"),
        ];
        for (user_agent, expected) in words {
            assert_eq!(browser_words(user_agent), expected);
        }
    }
}
