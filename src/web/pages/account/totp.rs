//! The authenticator app: its secret as picture and text, the first code, and the recovery codes, which are shown once.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use super::super::view::Shell;
use super::super::{account_shell, filters, html, html_of, see_other};
use super::person_of;
use crate::crypto::totp::{RECOVERY_CODES, is_recovery_code};
use crate::services::{Error, totp};
use crate::web::context::Context;
use crate::web::cookies;
use crate::web::extract::form::Form;
use crate::web::extract::{ProvedSignedIn, SignedIn};
use crate::web::middleware::identity::Known;
use crate::web::problem::Problem;
use crate::web::state::State;

const PAGE: &str = "/account/sign-in";

#[derive(Template)]
#[template(path = "pages/account/totp.html")]
struct TotpPage {
    shell: Shell,
    secret: String,
    error: Option<String>,
}

#[derive(Template)]
#[template(path = "pages/account/recovery_codes.html")]
struct CodesPage {
    shell: Shell,
    is_new: bool,
    codes: Vec<String>,
}

/// `POST /account/sign-in/totp/begin`
pub async fn begin(auth: ProvedSignedIn, state: web::Data<State>, _form: Form) -> Result<HttpResponse, Problem> {
    totp::begin(&state.app, person_of(&auth.0)?).await?;
    Ok(see_other("/account/sign-in/totp/new"))
}

/// `GET /account/sign-in/totp/new`
pub async fn show(auth: ProvedSignedIn, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    match page(&auth.0, &state, &request).await {
        Ok(page) => html(&page),
        Err(Error::NotFound(_)) => Ok(see_other(PAGE)),
        Err(error) => Err(error.into()),
    }
}

/// `GET /account/sign-in/totp/new/qr.svg`
pub async fn picture(auth: ProvedSignedIn, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let secret = totp::begun(&state.app, person_of(&auth.0)?).await?;
    let svg = secret.qr_svg().map_err(Problem::internal)?;
    Ok(HttpResponse::Ok().content_type("image/svg+xml").body(svg))
}

/// `POST /account/sign-in/totp/new`: the one page that shows the recovery codes.
pub async fn confirm(auth: ProvedSignedIn, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let person = person_of(&auth.0)?;
    match totp::confirm(&state.app, person, form.text("code"), Context::origin(&request)).await {
        Ok((codes, token)) => {
            let mut shell = account_shell(&state, &request, &auth.0, "Recovery codes", PAGE);
            // The forms of this page are sent with the new cookie.
            shell.form_token = state.app.auth.form_token(&token);
            let mut answer = html(&CodesPage {
                shell,
                is_new: true,
                codes,
            })?;
            _ = answer.add_cookie(&cookies::new_session(&state.settings, &token));
            Ok(answer)
        }
        Err(error @ (Error::Invalid(_) | Error::RateLimited(_))) => {
            let problem = Problem::from(error);
            let page = TotpPage {
                error: Some(problem.in_words()),
                ..page(&auth.0, &state, &request).await?
            };
            html_of(&problem, &page)
        }
        Err(Error::NotFound(_)) => Ok(see_other(PAGE)),
        Err(error) => Err(error.into()),
    }
}

/// `POST /account/sign-in/totp/remove`
pub async fn remove(auth: ProvedSignedIn, state: web::Data<State>, _form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    totp::disable(&state.app, person_of(&auth.0)?, Context::origin(&request)).await?;
    Ok(see_other("/account/sign-in?done=totp-removed"))
}

/// `POST /account/sign-in/recovery-codes`: new ones, shown once.
pub async fn renew_codes(
    auth: ProvedSignedIn,
    state: web::Data<State>,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let codes = totp::renew_codes(&state.app, person_of(&auth.0)?, Context::origin(&request)).await?;
    html(&CodesPage {
        shell: account_shell(&state, &request, &auth.0, "Recovery codes", PAGE),
        is_new: false,
        codes,
    })
}

/// `POST /account/sign-in/recovery-codes/file`: the codes of the page that sends them, as a file. The station no longer has them.
pub async fn file(_: SignedIn, form: Form) -> Result<HttpResponse, Problem> {
    let codes: Vec<&str> = form
        .all("code")
        .filter(|code| is_recovery_code(code))
        .take(RECOVERY_CODES)
        .collect();
    let text = format!(
        "Recovery codes of AgentStation. Each signs you in once, without the authenticator app.\n\n{}\n",
        codes.join("\n")
    );
    Ok(HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header((
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"agentstation-recovery-codes.txt\"",
        ))
        .body(text))
}

async fn page(known: &Known, state: &State, request: &HttpRequest) -> Result<TotpPage, Error> {
    let person = person_of(known).map_err(|_| Error::NotFound("the session"))?;
    let secret = totp::begun(&state.app, person).await?;
    Ok(TotpPage {
        shell: account_shell(state, request, known, "Authenticator app", PAGE),
        secret: secret.secret_in_words(),
        error: None,
    })
}
