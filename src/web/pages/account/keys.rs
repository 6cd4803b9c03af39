//! `/account/keys`: one's own API keys.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::domain::permission::Permission;
use crate::services::Error;
use crate::services::keys::{self, Made, OVERLAP_DEFAULT, Whose};
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::{Authorized, Proved, SignedIn, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::keys::{KeyRow, ScopeChoice, new_key, scopes, words_of};
use crate::web::pages::view::Shell;
use crate::web::pages::{account_shell, filters, html, html_of, may, see_other};
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/account/keys.html")]
struct KeysPage {
    shell: Shell,
    /// Where the forms of a key go.
    base: &'static str,
    may_make_keys: bool,
    keys: Vec<KeyRow>,
    new_key: Option<String>,
    scopes: Vec<ScopeChoice>,
    looks_after_station: bool,
    key_error: Option<String>,
    error: Option<String>,
}

/// What the page has to say besides what is stored.
#[derive(Default)]
struct Said {
    new_key: Option<String>,
    key_error: Option<String>,
    error: Option<String>,
}

/// `GET /account/keys`
pub async fn show(auth: SignedIn, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    html(&page(&auth.0, &state, &request, Said::default()).await?)
}

/// `POST /account/keys`: the one page that shows the key.
pub async fn create(
    auth: Proved<permission::KeysOwn>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let made = keys::create_own(&state.app, auth.actor(), new_key(&form)?, Context::origin(&request)).await;
    let wrong = |words| Said {
        key_error: Some(words),
        ..Said::default()
    };
    answer(&auth.known, &state, &request, made, wrong).await
}

/// `POST /account/keys/{key}/rotate`: shows the key that takes its place.
pub async fn rotate(
    auth: Proved<permission::KeysOwn>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (id, origin) = (segments.text("key").to_owned(), Context::origin(&request));
    let made = keys::rotate(&state.app, auth.actor(), Whose::Own, id, OVERLAP_DEFAULT, origin).await;
    let wrong = |words| Said {
        error: Some(words),
        ..Said::default()
    };
    answer(&auth.known, &state, &request, made, wrong).await
}

/// `POST /account/keys/{key}/revoke`
pub async fn revoke(
    auth: Authorized<permission::KeysOwn>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = segments.text("key").to_owned();
    keys::revoke(&state.app, auth.actor(), Whose::Own, id, Context::origin(&request)).await?;
    Ok(see_other("/account/keys?done=key-revoked"))
}

async fn answer(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    made: Result<Made, Error>,
    wrong: impl FnOnce(String) -> Said,
) -> Result<HttpResponse, Problem> {
    match made {
        Ok(made) => {
            let said = Said {
                new_key: Some(made.text),
                ..Said::default()
            };
            html(&page(known, state, request, said).await?)
        }
        Err(error @ (Error::Invalid(_) | Error::TooLarge(_) | Error::Conflict(_) | Error::Refused(_))) => {
            let problem = Problem::from(error);
            html_of(&problem, &page(known, state, request, wrong(words_of(&problem))).await?)
        }
        Err(error) => Err(error.into()),
    }
}

async fn page(known: &Known, state: &State, request: &HttpRequest, said: Said) -> Result<KeysPage, Problem> {
    let (actor, now) = (&known.actor, state.app.clock.now());
    let keys = keys::list(&state.app, actor).await?;
    Ok(KeysPage {
        shell: account_shell(state, request, known, "API keys", "/account/keys"),
        base: "/account/keys",
        may_make_keys: may(actor, Permission::KeysOwn),
        keys: keys.into_iter().map(|key| KeyRow::new(key, actor, false, now)).collect(),
        new_key: said.new_key,
        scopes: scopes(actor),
        looks_after_station: may(actor, Permission::StationManage),
        key_error: said.key_error,
        error: said.error,
    })
}
