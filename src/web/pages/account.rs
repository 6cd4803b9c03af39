//! One's own account: profile and password.

pub mod keys;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use super::keys::words_of;
use super::view::Shell;
use super::{account_shell, filters, html, html_of, see_other};
use crate::services::{Error, users};
use crate::web::context::Context;
use crate::web::extract::SignedIn;
use crate::web::extract::form::Form;
use crate::web::middleware::identity::Known;
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/account.html")]
struct AccountPage {
    shell: Shell,
    name: String,
    email: String,
    role: String,
    password_error: Option<String>,
}

/// What the page has to say besides what is stored.
#[derive(Default)]
struct Said {
    password_error: Option<String>,
}

/// `GET /account`
pub async fn show(auth: SignedIn, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    html(&page(&auth.0, &state, &request, Said::default()).await?)
}

/// `POST /account/password`
pub async fn change_password(auth: SignedIn, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let Some(session) = auth.0.session else {
        return Err(Problem::unauthenticated());
    };
    let text = |name: &str| form.raw(name).unwrap_or_default().to_owned();
    let origin = Context::origin(&request);
    match users::change_password(&state.app, &auth.0.actor, session, text("current"), text("new"), origin).await {
        Ok(()) => Ok(see_other("/account?done=password-changed")),
        Err(error @ (Error::Invalid(_) | Error::RateLimited(_) | Error::Busy(_))) => {
            let problem = Problem::from(error);
            let said = Said {
                password_error: Some(words_of(&problem)),
            };
            html_of(&problem, &page(&auth.0, &state, &request, said).await?)
        }
        Err(error) => Err(error.into()),
    }
}

async fn page(known: &Known, state: &State, request: &HttpRequest, said: Said) -> Result<AccountPage, Problem> {
    let actor = &known.actor;
    Ok(AccountPage {
        shell: account_shell(state, request, known, "Account", "/account"),
        name: actor.name.clone(),
        email: users::email(&state.app, actor).await?,
        role: actor.role.to_string(),
        password_error: said.password_error,
    })
}
