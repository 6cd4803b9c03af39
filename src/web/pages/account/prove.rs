//! Proving again who one is, on the way to something sensitive.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::super::passkeys::Here;
use super::super::{filters, html, html_of, see_other};
use crate::services::{Error, proof};
use crate::web::context::Context;
use crate::web::cookies;
use crate::web::extract::Person;
use crate::web::extract::form::Form;
use crate::web::extract::paging::Query;
use crate::web::problem::Problem;
use crate::web::redirect::local_path;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/account/prove.html")]
struct ProvePage {
    title: &'static str,
    form_token: String,
    next: String,
    email: String,
    needs_code: bool,
    has_passkeys: bool,
    by_link: bool,
    here: Here,
    password_error: Option<String>,
    code_error: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Next {
    next: String,
}

/// The page, for whoever is to come back to `next`.
pub(in crate::web::pages) fn address(next: &str) -> String {
    let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
    format!("/prove?next={next}")
}

/// Where one goes on, told that it is confirmed.
pub(in crate::web::pages) fn back_to(next: &str) -> String {
    let path = local_path(next);
    let joint = if path.contains('?') { '&' } else { '?' };
    format!("{path}{joint}done=confirmed")
}

/// `GET /prove?next=`
pub async fn show(person: Person, state: web::Data<State>, query: Query<Next>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    html(&page(&person, &state, &request, &query.0.next).await?)
}

/// `POST /prove`
pub async fn submit(person: Person, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let password = form.raw("password").unwrap_or_default().to_owned();
    let origin = Context::origin(&request);
    match proof::by_password(&state.app, (&person).into(), password, form.text("code"), origin).await {
        Ok(()) => Ok(see_other(back_to(form.text("next")))),
        Err(error @ (Error::Invalid(_) | Error::RateLimited(_) | Error::Busy(_) | Error::Sealed(_))) => {
            refused(&person, &state, &form, &request, &error.into()).await
        }
        Err(error) => Err(error.into()),
    }
}

/// The page again, with why nothing was proved.
pub(in crate::web::pages) async fn refused(
    person: &Person,
    state: &State,
    form: &Form,
    request: &HttpRequest,
    problem: &Problem,
) -> Result<HttpResponse, Problem> {
    let (password_error, code_error) = (problem.of_field("/password"), problem.of_field("/code"));
    let is_of_field = password_error.is_some() || code_error.is_some();
    let page = ProvePage {
        password_error,
        code_error,
        error: (!is_of_field).then(|| problem.in_words()),
        ..page(person, state, request, form.text("next")).await?
    };
    html_of(problem, &page)
}

async fn page(person: &Person, state: &State, request: &HttpRequest, next: &str) -> Result<ProvePage, Problem> {
    let means = proof::means(&state.app, person.into()).await?;
    let cookie = cookies::session(request).unwrap_or_default();
    Ok(ProvePage {
        title: "Confirm that it is you",
        form_token: state.app.auth.form_token(&cookie),
        next: local_path(next),
        email: means.email,
        needs_code: means.needs_code,
        has_passkeys: means.has_passkeys,
        by_link: means.by_link,
        here: Here::of(state, request),
        password_error: None,
        code_error: None,
        error: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_comes_back_to_a_page_of_ours_only() {
        assert_eq!(back_to("/settings/members"), "/settings/members?done=confirmed");
        assert_eq!(back_to("/runs?state=failed"), "/runs?state=failed&done=confirmed");
        assert_eq!(back_to("//evil.example"), "/?done=confirmed");
        assert_eq!(address("/a?b=c&d"), "/prove?next=%2Fa%3Fb%3Dc%26d");
    }
}
