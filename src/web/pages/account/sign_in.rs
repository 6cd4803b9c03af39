//! How one signs in: password, authenticator app, passkeys.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use super::super::passkeys::Here;
use super::super::view::{Shell, When};
use super::super::{account_shell, filters, html, html_of, see_other};
use super::person_of;
use crate::services::totp::Enrolled;
use crate::services::{Error, passkeys, profile, totp};
use crate::web::context::Context;
use crate::web::cookies;
use crate::web::extract::SignedIn;
use crate::web::extract::form::Form;
use crate::web::middleware::identity::Known;
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/account/sign_in.html")]
struct SignInPage {
    shell: Shell,
    email: String,
    totp: Enrolled,
    /// Why secrets cannot be sealed; none where they can.
    sealed: Option<String>,
    passkeys: Vec<PasskeyRow>,
    here: Here,
    current_error: Option<String>,
    new_error: Option<String>,
    passkey_error: Option<String>,
}

struct PasskeyRow {
    id: String,
    name: String,
    created: When,
    last_used: Option<When>,
}

/// `GET /account/sign-in`
pub async fn show(auth: SignedIn, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    html(&page(&auth.0, &state, &request).await?)
}

/// `POST /account/password`
pub async fn change_password(auth: SignedIn, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let person = person_of(&auth.0)?;
    let text = |name: &str| form.raw(name).unwrap_or_default().to_owned();
    let origin = Context::origin(&request);
    match profile::change_password(&state.app, person, text("current"), text("new"), origin).await {
        Ok(token) => {
            let mut answer = see_other("/account/sign-in?done=password-changed");
            _ = answer.add_cookie(&cookies::new_session(&state.settings, &token));
            Ok(answer)
        }
        Err(error @ (Error::Invalid(_) | Error::RateLimited(_) | Error::Busy(_))) => {
            let problem = Problem::from(error);
            let new_error = problem.of_field("/new");
            let page = SignInPage {
                current_error: new_error.is_none().then(|| problem.in_words()),
                new_error,
                ..page(&auth.0, &state, &request).await?
            };
            html_of(&problem, &page)
        }
        Err(error) => Err(error.into()),
    }
}

/// The page again, with why nothing was done about a passkey.
pub(in crate::web::pages) async fn passkey_refused(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    problem: &Problem,
) -> Result<HttpResponse, Problem> {
    let page = SignInPage {
        passkey_error: Some(problem.in_words()),
        ..page(known, state, request).await?
    };
    html_of(problem, &page)
}

async fn page(known: &Known, state: &State, request: &HttpRequest) -> Result<SignInPage, Problem> {
    let (app, person) = (&state.app, person_of(known)?);
    let now = app.clock.now();
    let passkeys = passkeys::list(app, person).await?.into_iter().map(|passkey| PasskeyRow {
        id: passkey.id.to_string(),
        name: passkey.name,
        created: When::new(passkey.created_at, now),
        last_used: passkey.last_used_at.map(|at| When::new(at, now)),
    });
    Ok(SignInPage {
        shell: account_shell(state, request, known, "Account", "/account/sign-in"),
        email: profile::get(app, person).await?.email,
        totp: totp::enrolled(app, person).await?,
        sealed: app.sealing.trouble().map(ToString::to_string),
        passkeys: passkeys.collect(),
        here: Here::of(state, request),
        current_error: None,
        new_error: None,
        passkey_error: None,
    })
}
