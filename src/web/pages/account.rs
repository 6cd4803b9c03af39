//! One's own account: profile, signing in, sessions, API keys.

pub mod profile;
pub mod prove;
pub mod sessions;
pub mod sign_in;
pub mod totp;

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use super::view::{Shell, When};
use super::{account_shell, filters, html, html_of, may, see_other};
use crate::domain::permission::Permission;
use crate::services::Error;
use crate::services::auth::Person;
use crate::services::keys::{self, KeyInfo, NewKey};
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::{Authorized, SignedIn, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::problem::Problem;
use crate::web::state::State;

/// Of a key's id, enough to tell keys apart.
const ID_CHARS_SHOWN: usize = 8;
const KEY_ID_SHOWN: &str = "as1_pat_";

#[derive(Template)]
#[template(path = "pages/account.html")]
struct AccountPage {
    shell: Shell,
    may_make_keys: bool,
    keys: Vec<KeyRow>,
    new_key: Option<String>,
    scopes: Vec<ScopeChoice>,
    key_error: Option<String>,
}

struct KeyRow {
    id: String,
    name: String,
    prefix: String,
    scopes: String,
    last_used: Option<When>,
    expires: Option<When>,
}

struct ScopeChoice {
    code: &'static str,
    words: &'static str,
}

/// What the page has to say besides what is stored.
#[derive(Default)]
struct Said {
    new_key: Option<String>,
    key_error: Option<String>,
}

/// `GET /account/keys`
pub async fn show(auth: SignedIn, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    html(&page(&auth.0, &state, &request, Said::default()).await?)
}

/// `POST /account/keys`: the one page that shows the key.
pub async fn create_key(
    auth: Authorized<permission::KeysOwn>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let scopes: Option<Vec<Permission>> = form.all("scope").map(Permission::parse).collect();
    let scopes = scopes.ok_or_else(|| Problem::invalid("/scope", "there is no such scope"))?;
    let days: u64 = form
        .text("days")
        .parse()
        .map_err(|_| Problem::invalid("/days", "days must be a number"))?;
    let new = NewKey {
        name: form.text("name").to_owned(),
        scopes: (!scopes.is_empty()).then_some(scopes),
        lasts: Duration::from_secs(days.saturating_mul(86_400)),
    };
    match keys::create(&state.app, auth.actor(), new, Context::origin(&request)).await {
        Ok(key) => {
            let said = Said {
                new_key: Some(key),
                ..Said::default()
            };
            html(&page(&auth.known, &state, &request, said).await?)
        }
        Err(error @ (Error::Invalid(_) | Error::TooLarge(_))) => {
            let problem = Problem::from(error);
            let said = Said {
                key_error: Some(problem.in_words()),
                ..Said::default()
            };
            html_of(&problem, &page(&auth.known, &state, &request, said).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /account/keys/{key}/revoke`
pub async fn revoke_key(
    auth: SignedIn,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = segments.text("key").to_owned();
    keys::revoke(&state.app, &auth.0.actor, id, Context::origin(&request)).await?;
    Ok(see_other("/account/keys?done=key-revoked"))
}

/// Who sits at the browser.
pub(super) fn person_of(known: &Known) -> Result<Person, Problem> {
    let session = known.session.ok_or_else(Problem::unauthenticated)?;
    Ok(Person {
        principal: known.actor.principal,
        session,
    })
}

async fn page(known: &Known, state: &State, request: &HttpRequest, said: Said) -> Result<AccountPage, Problem> {
    let actor = &known.actor;
    let now = state.app.clock.now();
    let row = |key: KeyInfo| KeyRow {
        prefix: format!("{KEY_ID_SHOWN}{}", key.id.chars().take(ID_CHARS_SHOWN).collect::<String>()),
        scopes: match &key.scopes {
            None => "all that you may".to_owned(),
            Some(scopes) => scopes.iter().map(|&scope| scope.in_words()).collect::<Vec<_>>().join(", "),
        },
        last_used: key.last_used_at.map(|at| When::new(at, now)),
        expires: key.expires_at.map(|at| When::new(at, now)),
        id: key.id,
        name: key.name,
    };
    Ok(AccountPage {
        shell: account_shell(state, request, known, "API keys", "/account/keys"),
        may_make_keys: may(actor, Permission::KeysOwn),
        keys: keys::list(&state.app, actor).await?.into_iter().map(row).collect(),
        new_key: said.new_key,
        scopes: Permission::ALL
            .iter()
            .filter(|&&permission| may(actor, permission))
            .map(|&permission| ScopeChoice {
                code: permission.as_str(),
                words: permission.in_words(),
            })
            .collect(),
        key_error: said.key_error,
    })
}
