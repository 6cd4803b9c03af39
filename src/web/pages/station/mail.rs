//! The mail server: what is set, and a letter to oneself.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use super::super::view::Shell;
use super::super::{filters, html, html_of, settings_shell};
use crate::config::settings::{ApiKey, MailTls};
use crate::services::{Error, mail};
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::{Authorized, Proved, may};
use crate::web::middleware::identity::Known;
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/station/mail.html")]
struct MailPage {
    shell: Shell,
    server: Option<Server>,
    origin: String,
    has_public_url: bool,
    answer: Option<String>,
    error: Option<String>,
}

struct Server {
    place: String,
    tls: &'static str,
    user: String,
    has_password: bool,
    from: String,
}

/// `GET /station/mail`
pub async fn show(auth: Authorized<may::StationManage>, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    html(&page(&auth.known, &state, &request))
}

/// `POST /station/mail/test`
pub async fn test(
    auth: Proved<may::StationManage>,
    state: web::Data<State>,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    match mail::test(&state.app, auth.actor(), Context::origin(&request)).await {
        Ok(answer) => html(&MailPage {
            answer: Some(answer),
            ..page(&auth.known, &state, &request)
        }),
        Err(error @ (Error::Invalid(_) | Error::Conflict(_))) => {
            let problem = Problem::from(error);
            let page = MailPage {
                error: Some(problem.in_words()),
                ..page(&auth.known, &state, &request)
            };
            html_of(&problem, &page)
        }
        Err(error) => Err(error.into()),
    }
}

fn page(known: &Known, state: &State, request: &HttpRequest) -> MailPage {
    let mail = &state.app.config.mail;
    let server = mail.host.as_ref().map(|host| Server {
        place: format!("{host}:{}", mail.port()),
        tls: match mail.tls {
            MailTls::Starttls => "STARTTLS",
            MailTls::Tls => "TLS",
            MailTls::None => "none: in the clear",
        },
        user: mail.user.clone().unwrap_or_default(),
        has_password: matches!(mail.password, ApiKey::Set(_)),
        from: mail.from.clone().unwrap_or_default(),
    });
    MailPage {
        shell: settings_shell(state, request, known, "Settings", "/station/mail"),
        server,
        origin: state.app.public_origin(),
        has_public_url: state.app.config.server.public_url.is_some(),
        answer: None,
        error: None,
    }
}
