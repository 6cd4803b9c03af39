//! A forgotten password: asking for a link, and choosing a new one with it.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::sign_in::with_visit;
use super::{filters, html, html_of, see_other};
use crate::domain::error::ErrorCode;
use crate::services::{Error, resets};
use crate::web::context::Context;
use crate::web::extract::Public;
use crate::web::extract::form::{Form, TOKEN_FIELD};
use crate::web::extract::paging::Query;
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/auth/forgot.html")]
struct ForgotPage {
    title: &'static str,
    form_token: String,
    by_mail: bool,
    asked: bool,
}

#[derive(Template)]
#[template(path = "pages/auth/reset.html")]
struct ResetPage {
    title: &'static str,
    form_token: String,
    token: String,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Link {
    #[serde(default)]
    token: String,
}

/// `GET /forgot`
pub async fn show_forgot(_: Public, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    with_visit(&state, &request, |form_token| {
        html(&ForgotPage {
            title: "Forgotten password",
            form_token,
            by_mail: state.app.mail.is_configured(),
            asked: false,
        })
    })
}

/// `POST /forgot`: the same answer, as fast, whoever has the address.
pub async fn submit_forgot(_: Public, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let (app, email, origin) = (state.app.clone(), form.text("email").to_owned(), Context::origin(&request));
    actix_web::rt::spawn(async move {
        if let Err(error) = resets::request(&app, &email, origin).await {
            tracing::error!(%error, "a link to a new password could not be made");
        }
    });
    html(&ForgotPage {
        title: "Forgotten password",
        form_token: form.text(TOKEN_FIELD).to_owned(),
        by_mail: state.app.mail.is_configured(),
        asked: true,
    })
}

/// `GET /reset?token=`
pub async fn show(_: Public, state: web::Data<State>, query: Query<Link>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    if !resets::holds(&state.app, &query.0.token).await? {
        return Err(used_up());
    }
    with_visit(&state, &request, |form_token| {
        html(&ResetPage {
            title: "New password",
            form_token,
            token: query.0.token.clone(),
            error: None,
        })
    })
}

/// `POST /reset`
pub async fn submit(_: Public, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let password = form.raw("password").unwrap_or_default().to_owned();
    match resets::finish(&state.app, form.text("token"), password, Context::origin(&request)).await {
        Ok(()) => Ok(see_other("/sign-in?done=password-reset")),
        Err(Error::WrongCredentials) => Err(used_up()),
        Err(error @ (Error::Invalid(_) | Error::Busy(_))) => {
            let problem = Problem::from(error);
            let page = ResetPage {
                title: "New password",
                form_token: form.text(TOKEN_FIELD).to_owned(),
                token: form.text("token").to_owned(),
                error: Some(problem.in_words()),
            };
            html_of(&problem, &page)
        }
        Err(error) => Err(error.into()),
    }
}

fn used_up() -> Problem {
    Problem::new(ErrorCode::NotFound, "This link was used before, or is older than an hour.").hint("Ask for a new one.")
}
