//! Signing in, by password or by a one-time link, and out.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::passkeys::Here;
use super::{filters, html, html_of, see_other};
use crate::services::Error;
use crate::services::auth::{Entered, SignIn, SignedIn as NewSession};
use crate::web::context::Context;
use crate::web::cookies;
use crate::web::extract::form::Form;
use crate::web::extract::paging::Query;
use crate::web::extract::{Person, Public};
use crate::web::problem::Problem;
use crate::web::redirect::local_path;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/auth/sign_in.html")]
struct SignInPage {
    title: &'static str,
    form_token: String,
    email: String,
    next: String,
    error: Option<String>,
    notice: Option<&'static str>,
    passkeys: Here,
}

#[derive(Template)]
#[template(path = "pages/auth/link.html")]
struct LinkPage {
    title: &'static str,
    form_token: String,
    token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Next {
    pub next: String,
    /// What has just been done elsewhere.
    pub done: String,
}

#[derive(Debug, Deserialize)]
pub struct Link {
    token: String,
}

/// `GET /sign-in`
pub async fn show(public: Public, state: web::Data<State>, query: Query<Next>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let next = local_path(&query.0.next);
    if public.0.is_some() {
        return Ok(see_other(next));
    }
    with_visit(&state, &request, |form_token| {
        html(&SignInPage {
            notice: match query.0.done.as_str() {
                "password-reset" => Some("Your new password is stored. Sign in with it."),
                "too-late" => Some("It took too long, or too many codes were wrong. Begin again with your password."),
                _ => None,
            },
            ..page(&state, &request, form_token, &query.0.next, "")
        })
    })
}

fn page(state: &State, request: &HttpRequest, form_token: String, next: &str, email: &str) -> SignInPage {
    SignInPage {
        title: "Sign in",
        form_token,
        email: email.to_owned(),
        next: next.to_owned(),
        error: None,
        notice: None,
        passkeys: Here::of(state, request),
    }
}

/// The page again, with why nobody was let in.
pub(super) fn refused(state: &State, request: &HttpRequest, form: &Form, problem: &Problem) -> Result<HttpResponse, Problem> {
    let form_token = form.text(crate::web::extract::form::TOKEN_FIELD).to_owned();
    let page = SignInPage {
        error: Some(problem.detail.clone()),
        ..page(state, request, form_token, form.text("next"), form.text("email"))
    };
    html_of(problem, &page)
}

/// `POST /sign-in`
pub async fn submit(_: Public, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let sign_in = SignIn {
        email: form.text("email").to_owned(),
        password: form.raw("password").unwrap_or_default().to_owned(),
        mark: cookies::mark(&request),
        origin: Context::origin(&request),
    };
    match state.app.auth.sign_in(sign_in).await {
        Ok(Entered::Session(session)) => Ok(enter(&state, session, &local_path(form.text("next")))),
        Ok(Entered::NeedsCode(step)) => {
            let mut answer = see_other(with_next("/sign-in/code", form.text("next")));
            _ = answer.add_cookie(&cookies::new_step(&state.settings, &step));
            Ok(answer)
        }
        Err(error @ (Error::WrongCredentials | Error::RateLimited(_) | Error::Busy(_))) => refused(&state, &request, &form, &error.into()),
        Err(error) => Err(error.into()),
    }
}

/// `GET /sign-in/link?token=`: shows a button, because links are also opened by programs that only look.
pub async fn show_link(_: Public, state: web::Data<State>, query: Query<Link>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    with_visit(&state, &request, |form_token| {
        html(&LinkPage {
            title: "Sign in",
            form_token,
            token: query.0.token.clone(),
        })
    })
}

/// `POST /sign-in/link`
pub async fn submit_link(_: Public, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let entered = state.app.auth.sign_in_by_link(form.text("token"), Context::origin(&request)).await;
    match entered {
        Ok(session) => Ok(enter(&state, session, "/")),
        Err(Error::WrongCredentials) => Err(Problem::new(
            crate::domain::error::ErrorCode::Forbidden,
            "This link was used before, or is too old.",
        )
        .hint("Start the demo again for a new one, or sign in with your password.")),
        Err(error) => Err(error.into()),
    }
}

/// `POST /sign-out`
pub async fn sign_out(person: Person, state: web::Data<State>, _form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let auth = &state.app.auth;
    auth.sign_out(person.principal, person.session, Context::origin(&request)).await?;
    let mut answer = see_other("/sign-in");
    answer
        .headers_mut()
        .insert(header::CLEAR_SITE_DATA, header::HeaderValue::from_static("\"cache\", \"storage\""));
    _ = answer.add_cookie(&cookies::no_session(&state.settings));
    Ok(answer)
}

/// Sends a new session's browser on its way.
pub(super) fn enter(state: &State, session: NewSession, to: &str) -> HttpResponse {
    let mut answer = see_other(to);
    // Base64 fits into a cookie.
    _ = answer.add_cookie(&cookies::new_session(&state.settings, &session.token));
    if let Some(mark) = &session.mark {
        _ = answer.add_cookie(&cookies::new_mark(&state.settings, mark));
    }
    answer
}

/// An address with where to go on from it.
pub(super) fn with_next(path: &str, next: &str) -> String {
    if next.is_empty() {
        return path.to_owned();
    }
    let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
    format!("{path}?next={next}")
}

/// Makes a page for someone without a session, with a cookie that its form is bound to.
pub(super) fn with_visit(
    state: &State,
    request: &HttpRequest,
    page: impl FnOnce(String) -> Result<HttpResponse, Problem>,
) -> Result<HttpResponse, Problem> {
    if let Some(visit) = cookies::visit(request).or_else(|| cookies::session(request)) {
        return page(state.app.auth.form_token(&visit));
    }
    let visit = crate::crypto::token::new().map_err(Problem::internal)?;
    let mut answer = page(state.app.auth.form_token(&visit))?;
    _ = answer.add_cookie(&cookies::new_visit(&state.settings, &visit));
    Ok(answer)
}
