//! One's own name and address.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use super::super::view::Shell;
use super::super::{account_shell, filters, html, html_of, see_other};
use super::person_of;
use crate::services::{Error, profile};
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::{ProvedSignedIn, SignedIn};
use crate::web::middleware::identity::Known;
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/account/profile.html")]
struct ProfilePage {
    shell: Shell,
    name: String,
    email: String,
    role: String,
    by_mail: bool,
    name_error: Option<String>,
    email_error: Option<String>,
}

/// `GET /account`
pub async fn show(auth: SignedIn, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    html(&page(&auth.0, &state, &request).await?)
}

/// `POST /account/profile`
pub async fn rename(auth: SignedIn, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let person = person_of(&auth.0)?;
    match profile::rename(&state.app, person, form.text("name"), Context::origin(&request)).await {
        Ok(()) => Ok(see_other("/account?done=renamed")),
        Err(error @ Error::Invalid(_)) => {
            let problem = Problem::from(error);
            let page = ProfilePage {
                name: form.text("name").to_owned(),
                name_error: Some(problem.in_words()),
                ..page(&auth.0, &state, &request).await?
            };
            html_of(&problem, &page)
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /account/email`
pub async fn change_email(
    auth: ProvedSignedIn,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let person = person_of(&auth.0)?;
    match profile::change_email(&state.app, person, form.text("email"), Context::origin(&request)).await {
        Ok(()) => Ok(see_other("/account?done=email-changed")),
        Err(error @ Error::Invalid(_)) => {
            let problem = Problem::from(error);
            let page = ProfilePage {
                email: form.text("email").to_owned(),
                email_error: Some(problem.in_words()),
                ..page(&auth.0, &state, &request).await?
            };
            html_of(&problem, &page)
        }
        Err(error) => Err(error.into()),
    }
}

async fn page(known: &Known, state: &State, request: &HttpRequest) -> Result<ProfilePage, Problem> {
    let user = profile::get(&state.app, person_of(known)?).await?;
    Ok(ProfilePage {
        shell: account_shell(state, request, known, "Account", "/account"),
        name: user.name,
        email: user.email,
        role: known.actor.role.to_string(),
        by_mail: state.app.mail.is_configured(),
        name_error: None,
        email_error: None,
    })
}
