//! `/account/data`: everything the station keeps about oneself, to be taken along or erased.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::services::persons::{self, Asker};
use crate::services::{Error, users};
use crate::web::api::persons::file;
use crate::web::context::Context;
use crate::web::cookies;
use crate::web::extract::form::Form;
use crate::web::extract::{Person, SignedIn};
use crate::web::middleware::identity::Identity;
use crate::web::middleware::identity::Known;
use crate::web::pages::keys::words_of;
use crate::web::pages::view::Shell;
use crate::web::pages::{account_shell, filters, html, html_of, see_other};
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/account/data_page.html")]
struct DataPage {
    shell: Shell,
    email: String,
    erase_error: Option<String>,
}

/// `GET /account/data`
pub async fn show(auth: SignedIn, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    html(&page(&auth.0, &state, &request, None).await?)
}

async fn page(known: &Known, state: &State, request: &HttpRequest, erase_error: Option<String>) -> Result<DataPage, Problem> {
    Ok(DataPage {
        shell: account_shell(state, request, known, "Your data", "/account/data"),
        email: users::email(&state.app, &known.actor).await?,
        erase_error,
    })
}

fn oneself(person: &Person) -> Asker {
    Asker::Oneself {
        principal: person.principal,
        session: person.session.to_string(),
    }
}

/// `POST /account/data/export`: the file.
pub async fn export(person: Person, state: web::Data<State>, _form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    person.has_proved(state.app.clock.now())?;
    file(&state, &oneself(&person), person.principal, Context::origin(&request)).await
}

/// `POST /account/data/erase`
pub async fn erase(person: Person, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    person.has_proved(state.app.clock.now())?;
    let origin = Context::origin(&request);
    match persons::erase(&state.app, &oneself(&person), person.principal, form.text("confirm"), origin).await {
        Ok(_) => {
            let mut answer = see_other("/sign-in");
            answer
                .headers_mut()
                .insert(header::CLEAR_SITE_DATA, header::HeaderValue::from_static("\"cache\", \"storage\""));
            _ = answer.add_cookie(&cookies::no_session(&state.settings));
            Ok(answer)
        }
        Err(error @ (Error::Invalid(_) | Error::Conflict(_))) => {
            let problem = Problem::from(error);
            let identity = Identity::of(&request);
            let Some(known) = identity.known() else { return Err(problem) };
            let said = Some(words_of(&problem));
            html_of(&problem, &page(known, &state, &request, said).await?)
        }
        Err(error) => Err(error.into()),
    }
}
