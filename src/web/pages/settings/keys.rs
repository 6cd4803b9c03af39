//! `/settings/keys`: services, and everybody's API keys.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::members::{RoleChoice, roles};
use crate::domain::limits::PAGE_DEFAULT;
use crate::domain::permission::{Role, may_give};
use crate::services::Error;
use crate::services::keys::{self, Made, OVERLAP_DEFAULT, Whose};
use crate::services::service_principals::{self, Change, NewService};
use crate::web::api::Segments;
use crate::web::api::keys::{cursor, position};
use crate::web::api::members::role;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::paging::{Page, Query};
use crate::web::extract::{Authorized, Proved, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::keys::{KeyRow, ScopeChoice, new_key, scopes, words_of};
use crate::web::pages::view::Shell;
use crate::web::pages::{filters, html, html_of, page_links, see_other, settings_shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const PATH: &str = "/settings/keys";
/// Services on the page; the API lists more.
const SERVICES: u32 = 200;

#[derive(Template)]
#[template(path = "pages/settings/keys.html")]
struct KeysPage {
    shell: Shell,
    base: &'static str,
    services: Vec<ServiceRow>,
    service_error: Option<String>,
    service_name: String,
    service_note: String,
    roles: Vec<RoleChoice>,
    keys: Vec<KeyRow>,
    new_key: Option<String>,
    scopes: Vec<ScopeChoice>,
    key_error: Option<String>,
    error: Option<String>,
    next: Option<String>,
    first: Option<String>,
}

struct ServiceRow {
    id: String,
    name: String,
    note: String,
    role: &'static str,
    /// What it could be instead; none where the actor may not change it.
    roles: Vec<RoleChoice>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Place {
    cursor: String,
}

/// What the page has to say besides what is stored.
#[derive(Default)]
struct Said {
    new_key: Option<String>,
    key_error: Option<String>,
    service_error: Option<String>,
    service_name: String,
    service_note: String,
    error: Option<String>,
    cursor: String,
}

impl Said {
    fn error(words: String) -> Self {
        Self {
            error: Some(words),
            ..Self::default()
        }
    }
}

/// `GET /settings/keys`
pub async fn show(
    auth: Authorized<permission::KeysManage>,
    state: web::Data<State>,
    query: Query<Place>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let said = Said {
        cursor: query.0.cursor,
        ..Said::default()
    };
    html(&page(&auth.known, &state, &request, said).await?)
}

/// `POST /settings/keys`: makes a service's key, and is the one page that shows it.
pub async fn create(
    auth: Proved<permission::KeysManage>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let service = form.text("service").parse().map_err(|_| Problem::not_found())?;
    let made = keys::create_for_service(&state.app, auth.actor(), service, new_key(&form)?, Context::origin(&request)).await;
    let wrong = |words| Said {
        key_error: Some(words),
        ..Said::default()
    };
    made_or(&auth.known, &state, &request, made, wrong).await
}

/// `POST /settings/keys/{key}/rotate`: shows the key that takes its place.
pub async fn rotate(
    auth: Proved<permission::KeysManage>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (id, origin) = (segments.text("key").to_owned(), Context::origin(&request));
    let made = keys::rotate(&state.app, auth.actor(), Whose::All, id, OVERLAP_DEFAULT, origin).await;
    made_or(&auth.known, &state, &request, made, Said::error).await
}

/// `POST /settings/keys/{key}/revoke`
pub async fn revoke(
    auth: Authorized<permission::KeysManage>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = segments.text("key").to_owned();
    keys::revoke(&state.app, auth.actor(), Whose::All, id, Context::origin(&request)).await?;
    Ok(see_other("/settings/keys?done=key-revoked"))
}

/// `POST /settings/services`
pub async fn create_service(
    auth: Proved<permission::KeysManage>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let new = NewService {
        name: form.text("name").to_owned(),
        note: form.text("note").to_owned(),
        role: role(form.text("role"))?,
    };
    let made = service_principals::create(&state.app, auth.actor(), new, Context::origin(&request)).await;
    let wrong = |words| Said {
        service_error: Some(words),
        service_name: form.text("name").to_owned(),
        service_note: form.text("note").to_owned(),
        ..Said::default()
    };
    done_or(&auth.known, &state, &request, made.map(drop), "service-made", wrong).await
}

/// `POST /settings/services/{principal}/role`
pub async fn change_role(
    auth: Proved<permission::KeysManage>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let change = Change {
        role: Some(role(form.text("role"))?),
        ..Change::default()
    };
    let id = segments.principal()?;
    let changed = service_principals::change(&state.app, auth.actor(), id, change, Context::origin(&request)).await;
    done_or(&auth.known, &state, &request, changed.map(drop), "role-changed", Said::error).await
}

/// `POST /settings/services/{principal}/remove`
pub async fn remove_service(
    auth: Proved<permission::KeysManage>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = segments.principal()?;
    let removed = service_principals::remove(&state.app, auth.actor(), id, Context::origin(&request)).await;
    done_or(&auth.known, &state, &request, removed.map(drop), "service-removed", Said::error).await
}

async fn made_or(
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
        Err(error) => refused(known, state, request, error, wrong).await,
    }
}

async fn done_or(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    done: Result<(), Error>,
    word: &str,
    wrong: impl FnOnce(String) -> Said,
) -> Result<HttpResponse, Problem> {
    match done {
        Ok(()) => Ok(see_other(format!("{PATH}?done={word}"))),
        Err(error) => refused(known, state, request, error, wrong).await,
    }
}

async fn refused(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    error: Error,
    wrong: impl FnOnce(String) -> Said,
) -> Result<HttpResponse, Problem> {
    match error {
        Error::Invalid(_) | Error::TooLarge(_) | Error::Conflict(_) | Error::Refused(_) | Error::PlanLimit(_) => {
            let problem = Problem::from(error);
            html_of(&problem, &page(known, state, request, wrong(words_of(&problem))).await?)
        }
        error => Err(error.into()),
    }
}

async fn page(known: &Known, state: &State, request: &HttpRequest, said: Said) -> Result<KeysPage, Problem> {
    let (actor, now) = (&known.actor, state.app.clock.now());
    let services = service_principals::list(&state.app, actor, None, SERVICES).await?;
    let found = keys::list_all(&state.app, actor, position(&said.cursor), PAGE_DEFAULT + 1).await?;
    let keys = Page::cut(found, PAGE_DEFAULT, cursor);
    let (next, first) = page_links(PATH, &[], keys.next.as_deref(), said.cursor.is_empty());
    let not_owner = |choices: Vec<RoleChoice>| choices.into_iter().filter(|choice| choice.code != Role::Owner.as_str()).collect();
    Ok(KeysPage {
        shell: settings_shell(state, request, known, "Keys and services", PATH),
        base: PATH,
        services: services
            .into_iter()
            .map(|service| ServiceRow {
                id: service.principal.to_string(),
                roles: if may_give(actor, service.role) {
                    not_owner(roles(actor, Some(service.role)))
                } else {
                    Vec::new()
                },
                name: service.name,
                note: service.note,
                role: service.role.as_str(),
            })
            .collect(),
        service_error: said.service_error,
        service_name: said.service_name,
        service_note: said.service_note,
        roles: not_owner(roles(actor, Some(Role::Operator))),
        keys: keys.items.into_iter().map(|key| KeyRow::new(key, actor, true, now)).collect(),
        new_key: said.new_key,
        scopes: scopes(actor),
        key_error: said.key_error,
        error: said.error,
        next,
        first,
    })
}
