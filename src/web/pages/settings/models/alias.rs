//! `/settings/models/aliases/{alias}`: the models behind one name, in order. `new` is one that has no name yet.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use super::PATH;
use crate::domain::permission::Permission;
use crate::domain::provider::{CHAIN_MAX, Link};
use crate::services::{Error, aliases, providers};
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::{Authorized, Proved, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::keys::words_of;
use crate::web::pages::settings::organization::{is_mistake, wrong_with};
use crate::web::pages::view::Shell;
use crate::web::pages::{filters, html, html_of, may, see_other, settings_shell};
use crate::web::problem::Problem;
use crate::web::state::State;

/// The alias that has no name yet.
const NEW: &str = "new";

#[derive(Template)]
#[template(path = "pages/settings/models_alias.html")]
struct AliasPage {
    shell: Shell,
    path: String,
    /// Empty where it has none yet; then it is asked for.
    name: String,
    typed_name: String,
    name_error: String,
    version: u32,
    links: Vec<LinkRow>,
    providers: Vec<Choice>,
    error: String,
    may_manage: bool,
    may_add: bool,
    is_set: bool,
}

struct LinkRow {
    provider: String,
    model: String,
    error: String,
}

/// A provider that can be named, with the models that it said it has.
struct Choice {
    name: String,
    models: Vec<String>,
}

#[derive(Default)]
struct Said<'a> {
    name: String,
    links: Option<Vec<Link>>,
    version: Option<u32>,
    problem: Option<&'a Problem>,
}

/// `GET /settings/models/aliases/{alias}`
pub async fn show(
    auth: Authorized<permission::ModelsRead>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    html(&page(&auth.known, &state, &request, segments.text("alias"), Said::default()).await?)
}

/// `POST /settings/models/aliases/{alias}`: saves the alias, removes it, or only shows the form with another line.
pub async fn save(
    auth: Proved<permission::ModelsManage>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let alias = segments.text("alias");
    let name = if alias == NEW { form.text("name") } else { alias }.to_owned();
    let mut links: Vec<Link> = form
        .all("provider")
        .zip(form.all("model"))
        .take(CHAIN_MAX + 1)
        .map(|(provider, model)| Link {
            provider: provider.to_owned(),
            model: model.trim().to_owned(),
        })
        .collect();
    let version: Option<u32> = form.text("version").parse().ok();
    let (word, at) = form.text("do").split_once(':').unwrap_or((form.text("do"), ""));
    let at: usize = at.parse().unwrap_or(usize::MAX);
    match word {
        "add" => links.push(Link {
            provider: links.last().map(|link| link.provider.clone()).unwrap_or_default(),
            model: String::new(),
        }),
        "up" if at > 0 && at < links.len() => links.swap(at - 1, at),
        "out" if at < links.len() => _ = links.remove(at),
        "up" | "out" => {}
        "remove" => {
            aliases::remove(&state.app, auth.actor(), &name, None, Context::origin(&request)).await?;
            return Ok(see_other(format!("{PATH}?done=alias-removed")));
        }
        _ => {
            // An empty last line is none.
            let chain = links
                .iter()
                .filter(|link| !link.model.is_empty() || links.len() == 1)
                .cloned()
                .collect();
            let put = aliases::put(&state.app, auth.actor(), &name, chain, version, Context::origin(&request)).await;
            return match put {
                Ok(_) => Ok(see_other(format!("{PATH}?done=alias-set"))),
                Err(error) if is_mistake(&error) && !matches!(error, Error::NotFound(_)) => {
                    let problem = Problem::from(error);
                    links.retain(|link| !link.model.is_empty() || !link.provider.is_empty());
                    let said = Said {
                        name,
                        links: Some(links),
                        version,
                        problem: Some(&problem),
                    };
                    html_of(&problem, &page(&auth.known, &state, &request, alias, said).await?)
                }
                Err(error) => Err(error.into()),
            };
        }
    }
    let said = Said {
        name,
        links: Some(links),
        version,
        problem: None,
    };
    html(&page(&auth.known, &state, &request, alias, said).await?)
}

async fn page(known: &Known, state: &State, request: &HttpRequest, alias: &str, said: Said<'_>) -> Result<AliasPage, Problem> {
    let (app, actor) = (&state.app, &known.actor);
    if alias != NEW && !aliases::is_alias(alias) {
        return Err(Problem::not_found());
    }
    let stored = if alias == NEW {
        None
    } else {
        match aliases::get(app, actor, alias).await {
            Ok(stored) => Some(stored),
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error.into()),
        }
    };
    let usable = providers::usable(app, actor).await?;
    let mut links = said
        .links
        .or_else(|| stored.as_ref().map(|stored| stored.chain.clone()))
        .unwrap_or_default();
    if links.is_empty() {
        let first = usable.iter().find(|provider| provider.enabled).or(usable.first());
        links.push(Link {
            provider: first.map(|provider| provider.name.clone()).unwrap_or_default(),
            model: first
                .map(|provider| provider.models.first().cloned().unwrap_or_default())
                .unwrap_or_default(),
        });
    }
    let wrong = |at: usize| {
        let Some(problem) = said.problem else { return String::new() };
        let places = [format!("/chain/{at}/provider"), format!("/chain/{at}/model")];
        places.map(|place| wrong_with(problem, &place)).join(" ").trim().to_owned()
    };
    let rows = links.iter().enumerate().map(|(at, link)| LinkRow {
        provider: link.provider.clone(),
        model: link.model.clone(),
        error: wrong(at),
    });
    let error = said.problem.map(|problem| {
        if problem.errors.is_empty() {
            words_of(problem)
        } else {
            wrong_with(problem, "/chain")
        }
    });
    let title = if alias == NEW {
        "New alias".to_owned()
    } else {
        format!("Alias {alias}")
    };
    Ok(AliasPage {
        shell: settings_shell(state, request, known, title, PATH),
        path: format!("{PATH}/aliases/{alias}"),
        name: if alias == NEW { String::new() } else { alias.to_owned() },
        name_error: said.problem.map(|problem| wrong_with(problem, "/name")).unwrap_or_default(),
        typed_name: said.name,
        version: said.version.unwrap_or_else(|| stored.as_ref().map_or(0, |stored| stored.version)),
        may_add: links.len() < CHAIN_MAX,
        links: rows.collect(),
        providers: usable
            .into_iter()
            .map(|provider| Choice {
                name: provider.name,
                models: provider.models,
            })
            .collect(),
        error: error.unwrap_or_default(),
        may_manage: may(actor, Permission::ModelsManage),
        is_set: stored.is_some(),
    })
}
