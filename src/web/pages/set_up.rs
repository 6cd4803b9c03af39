//! The first run: whoever has the link from the console makes the first account.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::sign_in::{enter, with_visit};
use super::{filters, html, html_of};
use crate::domain::error::ErrorCode;
use crate::services::setup::{self, FirstOwner};
use crate::services::{Error, auth};
use crate::web::context::Context;
use crate::web::extract::Public;
use crate::web::extract::form::{Form, TOKEN_FIELD};
use crate::web::extract::paging::Query;
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/auth/setup.html")]
struct SetUpPage {
    title: &'static str,
    form_token: String,
    token: String,
    name: String,
    email: String,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Link {
    #[serde(default)]
    token: String,
}

/// `GET /set-up?token=`
pub async fn show(_: Public, state: web::Data<State>, query: Query<Link>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    if !setup::link_holds(&state.app, &query.0.token).await? {
        return Err(used_up());
    }
    with_visit(&state, &request, |form_token| {
        html(&SetUpPage {
            title: "Set up",
            form_token,
            token: query.0.token.clone(),
            name: String::new(),
            email: String::new(),
            error: None,
        })
    })
}

/// `POST /set-up`
pub async fn submit(_: Public, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let owner = FirstOwner {
        email: form.text("email").to_owned(),
        name: form.text("name").to_owned(),
        password: form.raw("password").unwrap_or_default().to_owned(),
        org_slug: None,
    };
    let origin = Context::origin(&request);
    match setup::by_link(&state.app, form.text("token"), owner, origin.clone()).await {
        Ok(principal) => {
            let session: auth::SignedIn = state
                .app
                .auth
                .open_session(principal, auth::Factor::Link, "session.set-up", origin)
                .await?;
            Ok(enter(&state, session, "/"))
        }
        Err(Error::WrongCredentials) => Err(used_up()),
        Err(error @ (Error::Invalid(_) | Error::AlreadyExists(_) | Error::Busy(_))) => {
            let problem = Problem::from(error);
            let words = problem
                .errors
                .iter()
                .map(|place| place.message.as_str())
                .collect::<Vec<_>>()
                .join(" ");
            let page = SetUpPage {
                title: "Set up",
                form_token: form.text(TOKEN_FIELD).to_owned(),
                token: form.text("token").to_owned(),
                name: form.text("name").to_owned(),
                email: form.text("email").to_owned(),
                error: Some(if words.is_empty() { problem.detail.clone() } else { words }),
            };
            html_of(&problem, &page)
        }
        Err(error) => Err(error.into()),
    }
}

fn used_up() -> Problem {
    Problem::new(ErrorCode::NotFound, "This set-up link was used, or is older than 30 minutes.")
        .hint("If the station has no owner yet, start it again: it prints a new link. Or run “agentstation init”.")
}
