//! The models that agents of a workspace may ask, by the names they use: an alias of the workspace, a model of the settings, or
//! `provider/model`.

mod chain;
mod registry;

pub use self::chain::{Chain, Outcome, Progress};
pub use self::registry::{Registry, reach, server};
use super::App;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::OrgId;
use crate::domain::price::Tariff;
use crate::domain::provider::Link;
use crate::llm::Model;
use crate::store::Scope;

/// The models behind a name in a workspace, in the order in which they are asked. Reads nothing but memory.
///
/// # Errors
/// `unsupported` where there is none that can be asked, with what to do about it.
pub fn find(app: &App, scope: Scope, name: &str) -> Result<Chain, Failure> {
    let unsupported = |text: String| Err(Failure::new(FailureCode::Unsupported, text));
    let links = app.registry.chain(scope.workspace, name);
    if links.is_none()
        && let Some(model) = app.models.get(name)
    {
        let breaker = model.endpoint().to_owned();
        return match tariff(app, scope.org, model) {
            Some(tariff) => Ok(Chain::of(name, vec![chain::Linked::new(model.clone(), tariff, None, breaker)])),
            None => unsupported(unpriced(model)),
        };
    }
    let links = links.or_else(|| {
        let (provider, model) = name.split_once('/')?;
        let known = app.registry.provider(scope.org, provider).is_some();
        known.then(|| {
            vec![Link {
                provider: provider.to_owned(),
                model: model.to_owned(),
            }]
        })
    });
    let Some(links) = links.filter(|links| !links.is_empty()) else {
        return unsupported(format!(
            "this workspace has no model “{name}”; set the alias “{name}” under Settings → Models"
        ));
    };
    let mut linked = Vec::new();
    let mut wrong = Vec::new();
    for link in &links {
        match resolve(app, scope.org, link) {
            Ok(one) => linked.push(one),
            Err(why) => wrong.push(why),
        }
    }
    if linked.is_empty() {
        return unsupported(format!("no model of “{name}” can be asked: {}", wrong.join("; ")));
    }
    Ok(Chain::of(name, linked))
}

/// The names that agents of a workspace may use, in order: its aliases and the models of the settings.
pub fn names(app: &App, scope: Scope) -> Vec<String> {
    let mut names = app.registry.names(scope.workspace);
    names.extend(app.models.names().map(str::to_owned));
    names.sort_unstable();
    names.dedup();
    names
}

/// One link with its price, or why it cannot be asked.
fn resolve(app: &App, org: OrgId, link: &Link) -> Result<chain::Linked, String> {
    let Some(held) = app.registry.provider(org, &link.provider) else {
        return Err(format!("there is no provider “{}”", link.provider));
    };
    if !held.enabled {
        return Err(format!("the provider “{}” is switched off under Settings → Models", link.provider));
    }
    let server = held
        .server
        .as_ref()
        .map_err(|why| format!("the provider “{}”: {why}", link.provider))?;
    let model = Model::new(server.clone(), &link.model);
    let tariff = tariff(app, org, &model).ok_or_else(|| unpriced(&model))?;
    Ok(chain::Linked::new(model, tariff, held.key, held.id.to_string()))
}

/// What a model costs an organization; `None` where nobody has said, and it is not free either.
fn tariff(app: &App, org: OrgId, model: &Model) -> Option<Tariff> {
    if model.price != crate::domain::money::Price::default() {
        return Some(Tariff {
            price: model.price,
            tiers: Vec::new(),
        });
    }
    let known = app
        .prices
        .tariff(org, model.provider(), model.provider_name(), &model.provider_model, app.clock.now());
    known.or_else(|| model.is_free().then_some(Tariff::FREE))
}

fn unpriced(model: &Model) -> String {
    format!(
        "nobody has said what {} of {} costs, and it is not asked without a price: set one under Settings → Prices",
        model.provider_model,
        model.provider_name()
    )
}
