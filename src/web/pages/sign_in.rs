//! Signing in, by password or by a one-time link, and out.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::{filters, html, html_of, see_other};
use crate::services::Error;
use crate::services::auth::{SignIn, SignedIn as NewSession};
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
    next: String,
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
            title: "Sign in",
            form_token,
            email: String::new(),
            next: query.0.next.clone(),
            error: None,
        })
    })
}

/// `POST /sign-in`
pub async fn submit(_: Public, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let sign_in = SignIn {
        email: form.text("email").to_owned(),
        password: form.raw("password").unwrap_or_default().to_owned(),
        origin: Context::origin(&request),
    };
    match state.app.auth.sign_in(sign_in).await {
        Ok(session) => Ok(enter(&state, session, &local_path(form.text("next")))),
        Err(error @ (Error::WrongCredentials | Error::RateLimited(_) | Error::Busy(_))) => {
            let problem = Problem::from(error);
            let page = SignInPage {
                title: "Sign in",
                form_token: form.text(crate::web::extract::form::TOKEN_FIELD).to_owned(),
                email: form.text("email").to_owned(),
                next: form.text("next").to_owned(),
                error: Some(problem.detail.clone()),
            };
            html_of(&problem, &page)
        }
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
    answer
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
