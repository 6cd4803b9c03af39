//! `/settings/alerts`: where alerts go beside the station.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::config::secret::Secret;
use crate::domain::notification::ChannelKind;
use crate::services::Error;
use crate::services::channels::{self, Channel, New, Wanted};
use crate::web::api::Segments;
use crate::web::api::channels::{channel as named, kind};
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::{Authorized, Proved, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::keys::words_of;
use crate::web::pages::view::{Shell, When};
use crate::web::pages::{filters, html, html_of, see_other, settings_shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const PATH: &str = "/settings/alerts";

#[derive(Template)]
#[template(path = "pages/settings/channels.html")]
struct ChannelsPage {
    shell: Shell,
    channels: Vec<Row>,
    has_mail: bool,
    /// Of a webhook that was made just now.
    signing_key: Option<String>,
    /// What went wrong with a new channel, and how it was filled in. Its address is not shown again.
    new_error: Option<String>,
    name: String,
    kind: String,
    error: Option<String>,
}

struct Row {
    id: String,
    name: String,
    kind: &'static str,
    target: String,
    is_mail: bool,
    enabled: bool,
    version: u32,
    last: Option<When>,
    last_error: String,
}

#[derive(Default)]
struct Said {
    signing_key: Option<String>,
    new_error: Option<String>,
    name: String,
    kind: String,
    error: Option<String>,
}

/// `GET /settings/alerts`
pub async fn show(
    auth: Authorized<permission::BudgetsManage>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    html(&page(&auth.known, &state, &request, Said::default()).await?)
}

/// `POST /settings/alerts`: adds a channel. A webhook's key is shown once, by this page.
pub async fn create(
    auth: Proved<permission::BudgetsManage>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let new = New {
        name: form.text("name").to_owned(),
        kind: kind(form.text("kind"))?,
        address: Secret::new(form.text("address")),
    };
    match channels::create(&state.app, auth.actor(), new, Context::origin(&request)).await {
        Ok(made) => match made.signing_key {
            Some(key) => {
                let said = Said {
                    signing_key: Some(key.expose().to_owned()),
                    ..Said::default()
                };
                html(&page(&auth.known, &state, &request, said).await?)
            }
            None => Ok(see_other("/settings/alerts?done=channel-added")),
        },
        Err(error) => {
            let said = |words| Said {
                new_error: Some(words),
                name: form.text("name").to_owned(),
                kind: form.text("kind").to_owned(),
                ..Said::default()
            };
            refused(&auth.known, &state, &request, error, said).await
        }
    }
}

/// `POST /settings/alerts/{channel}`: changes name, address, or whether it is enabled.
pub async fn change(
    auth: Proved<permission::BudgetsManage>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let text = |name: &str| Some(form.text(name).to_owned()).filter(|text| !text.is_empty());
    let wanted = Wanted {
        name: text("name"),
        address: text("address").map(Secret::new),
        enabled: text("enabled").map(|word| word == "yes"),
    };
    let version = form.text("version").parse().ok();
    let origin = Context::origin(&request);
    let done = channels::change(&state.app, auth.actor(), named(&segments)?, wanted, version, origin).await;
    done_or(&auth.known, &state, &request, done.map(drop), "saved").await
}

/// `POST /settings/alerts/{channel}/remove`
pub async fn remove(
    auth: Proved<permission::BudgetsManage>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let done = channels::remove(&state.app, auth.actor(), named(&segments)?, None, Context::origin(&request)).await;
    done_or(&auth.known, &state, &request, done, "channel-removed").await
}

/// `POST /settings/alerts/{channel}/test`: sends a test and says how it went.
pub async fn test(
    auth: Authorized<permission::BudgetsManage>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let tested = channels::test(&state.app, auth.actor(), named(&segments)?, Context::origin(&request)).await?;
    if tested.last_error.is_empty() {
        return Ok(see_other("/settings/alerts?done=channel-tested"));
    }
    let said = Said {
        error: Some(format!(
            "The test did not reach “{}”: {}.",
            tested.name,
            tested.last_error.trim_end_matches('.')
        )),
        ..Said::default()
    };
    html(&page(&auth.known, &state, &request, said).await?)
}

async fn done_or(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    done: Result<(), Error>,
    word: &str,
) -> Result<HttpResponse, Problem> {
    match done {
        Ok(()) => Ok(see_other(format!("{PATH}?done={word}"))),
        Err(error) => {
            let said = |words| Said {
                error: Some(words),
                ..Said::default()
            };
            refused(known, state, request, error, said).await
        }
    }
}

async fn refused(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    error: Error,
    said: impl FnOnce(String) -> Said,
) -> Result<HttpResponse, Problem> {
    match error {
        Error::Invalid(_) | Error::Conflict(_) | Error::AlreadyExists(_) | Error::Sealed(_) => {
            let problem = Problem::from(error);
            html_of(&problem, &page(known, state, request, said(words_of(&problem))).await?)
        }
        error => Err(error.into()),
    }
}

async fn page(known: &Known, state: &State, request: &HttpRequest, said: Said) -> Result<ChannelsPage, Problem> {
    let found = channels::list(&state.app, &known.actor).await?;
    let now = state.app.clock.now();
    let row = |channel: Channel| Row {
        id: channel.id.to_string(),
        name: channel.name,
        is_mail: channel.kind == ChannelKind::Mail,
        kind: match channel.kind {
            ChannelKind::Mail => "Mail",
            ChannelKind::Slack => "Chat",
            ChannelKind::Webhook => "Webhook",
        },
        target: channel.target,
        enabled: channel.enabled,
        version: channel.version,
        last: channel.last_at.map(|at| When::new(at, now)),
        last_error: channel.last_error,
    };
    Ok(ChannelsPage {
        shell: settings_shell(state, request, known, "Alerts", PATH),
        channels: found.into_iter().map(row).collect(),
        has_mail: state.app.mail.is_configured(),
        signing_key: said.signing_key,
        new_error: said.new_error,
        name: said.name,
        kind: said.kind,
        error: said.error,
    })
}
