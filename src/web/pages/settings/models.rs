//! `/settings/models`: providers, and the aliases by which agents of the workspace ask their models.

pub mod alias;
pub mod provider;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::domain::permission::Permission;
use crate::domain::provider::{Link, Preset};
use crate::services::aliases;
use crate::services::providers::{self, Stored};
use crate::web::extract::{Authorized, may as permission};
use crate::web::pages::view::{Shell, When};
use crate::web::pages::{filters, html, may, settings_shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const PATH: &str = "/settings/models";

#[derive(Template)]
#[template(path = "pages/settings/models.html")]
struct ModelsPage {
    shell: Shell,
    providers: Vec<ProviderRow>,
    aliases: Vec<AliasRow>,
    /// Models that the settings file has and no alias covers.
    of_settings: Vec<String>,
    /// Whether the settings file has any.
    has_settings: bool,
    may_manage: bool,
    may_station: bool,
}

struct ProviderRow {
    /// Empty where the viewer may not change it.
    path: String,
    name: String,
    preset: String,
    address: String,
    is_station: bool,
    enabled: bool,
    needs_key: bool,
    models: usize,
    tested: Option<When>,
}

struct AliasRow {
    name: String,
    /// What is asked, in order.
    chain: Vec<String>,
    /// Why it cannot be asked; empty where it can.
    trouble: String,
    /// Not set, and answered by a model of the settings.
    by_settings: bool,
}

fn words(link: &Link) -> String {
    format!("{} / {}", link.provider, link.model)
}

fn preset_name(code: &str) -> String {
    Preset::of(code).map_or_else(|| code.to_owned(), |preset| preset.name.to_owned())
}

/// `GET /settings/models`
pub async fn show(
    auth: Authorized<permission::ModelsRead>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (app, actor) = (&state.app, auth.actor());
    let now = app.clock.now();
    let (may_manage, may_station) = (may(actor, Permission::ModelsManage), may(actor, Permission::StationManage));
    let row = |stored: &Stored| ProviderRow {
        path: match stored.org {
            Some(_) if may_manage => format!("{PATH}/providers/{}", stored.id),
            None if may_station => format!("{PATH}/station/{}", stored.id),
            _ => String::new(),
        },
        name: stored.name.clone(),
        preset: preset_name(&stored.preset),
        address: stored.base_url.clone(),
        is_station: stored.org.is_none(),
        enabled: stored.enabled,
        needs_key: stored.key.is_none() && Preset::of(&stored.preset).is_some_and(|preset| preset.wants_key),
        models: stored.models.len(),
        tested: stored.models_at.map(|at| When::new(at, now)),
    };
    let usable = providers::usable(app, actor).await?;
    let set = aliases::list(app, actor).await?;
    let configured = aliases::of_settings(app);
    let names = aliases::names(&set);
    let rows = names.iter().map(|name| {
        let found = set.iter().find(|alias| alias.name == *name);
        AliasRow {
            name: name.clone(),
            chain: found.map(|alias| alias.chain.iter().map(words).collect()).unwrap_or_default(),
            trouble: match found {
                Some(_) => aliases::trouble(app, actor, name).unwrap_or_default(),
                None => String::new(),
            },
            by_settings: found.is_none() && configured.contains(name),
        }
    });
    html(&ModelsPage {
        has_settings: !configured.is_empty(),
        aliases: rows.collect(),
        of_settings: configured.iter().filter(|name| !names.contains(name)).cloned().collect(),
        providers: usable.iter().map(row).collect(),
        shell: settings_shell(&state, &request, &auth.known, "Models", PATH),
        may_manage,
        may_station,
    })
}
