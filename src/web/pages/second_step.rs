//! The second step of a sign-in: a code of the authenticator app, or a recovery code.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::sign_in::{enter, with_visit};
use super::{filters, html, html_of, see_other};
use crate::services::Error;
use crate::services::totp::{self, Said};
use crate::web::context::Context;
use crate::web::cookies;
use crate::web::extract::Public;
use crate::web::extract::form::{Form, TOKEN_FIELD};
use crate::web::extract::paging::Query;
use crate::web::problem::Problem;
use crate::web::redirect::local_path;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/auth/code.html")]
struct CodePage {
    title: &'static str,
    form_token: String,
    next: String,
    recovery: bool,
    error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct How {
    next: String,
    /// `recovery` for a recovery code.
    by: String,
}

const RECOVERY: &str = "recovery";
const TOO_LATE: &str = "/sign-in?done=too-late";

/// `GET /sign-in/code`
pub async fn show(_: Public, state: web::Data<State>, query: Query<How>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    if cookies::step(&request).is_none() {
        return Ok(see_other("/sign-in"));
    }
    with_visit(&state, &request, |form_token| {
        html(&CodePage {
            title: "Second step",
            form_token,
            next: query.0.next.clone(),
            recovery: query.0.by == RECOVERY,
            error: None,
        })
    })
}

/// `POST /sign-in/code`
pub async fn submit(_: Public, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let Some(step) = cookies::step(&request) else {
        return Ok(see_other(TOO_LATE));
    };
    let recovery = form.text("by") == RECOVERY;
    let said = if recovery {
        Said::Recovery(form.text("code"))
    } else {
        Said::Code(form.text("code"))
    };
    match totp::finish_sign_in(&state.app, &step, said, Context::origin(&request)).await {
        Ok(session) => {
            let mut answer = enter(&state, session, &local_path(form.text("next")));
            _ = answer.add_cookie(&cookies::no_step(&state.settings));
            Ok(answer)
        }
        Err(Error::NotFound(_)) => {
            let mut answer = see_other(TOO_LATE);
            _ = answer.add_cookie(&cookies::no_step(&state.settings));
            Ok(answer)
        }
        Err(error @ (Error::Invalid(_) | Error::RateLimited(_) | Error::Sealed(_))) => {
            let problem = Problem::from(error);
            let page = CodePage {
                title: "Second step",
                form_token: form.text(TOKEN_FIELD).to_owned(),
                next: form.text("next").to_owned(),
                recovery,
                error: Some(problem.in_words()),
            };
            html_of(&problem, &page)
        }
        Err(error) => Err(error.into()),
    }
}
