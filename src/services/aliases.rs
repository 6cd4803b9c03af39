//! Model aliases: the names by which agents of a workspace ask models, each a list of models that are asked in order.

use serde_json::json;

use super::access::require;
use super::{App, Error, FieldError, audit, providers};
use crate::domain::limits::NAME_BYTES_MAX;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::domain::provider::{CHAIN_MAX, Link, USUAL_ALIASES};
use crate::llm::MODEL_NAME_BYTES_MAX;
pub use crate::store::aliases::{ALIASES_MAX, Alias};
use crate::store::{self, Scope, aliases as rows};

const WHAT: &str = "the alias";

const fn scope(actor: &Actor) -> Scope {
    Scope {
        org: actor.org,
        workspace: actor.workspace,
    }
}

/// Those that are set in the actor's workspace, by name.
///
/// # Errors
/// `Forbidden`.
pub async fn list(app: &App, actor: &Actor) -> Result<Vec<Alias>, Error> {
    require(actor, Permission::ModelsRead, actor.org, WHAT)?;
    let scope = scope(actor);
    Ok(app.store.read(move |reader| rows::list(reader, scope)).await?)
}

/// One that is set.
///
/// # Errors
/// `Forbidden`, `NotFound`.
pub async fn get(app: &App, actor: &Actor, name: &str) -> Result<Alias, Error> {
    require(actor, Permission::ModelsRead, actor.org, WHAT)?;
    let (scope, name) = (scope(actor), name.to_owned());
    let found = app.store.read(move |reader| rows::find(reader, scope, &name)).await?;
    found.ok_or(Error::NotFound(WHAT))
}

/// What agents can ask without an alias, because the settings of the station say so.
pub fn of_settings(app: &App) -> Vec<String> {
    app.models.names().map(str::to_owned).collect()
}

/// The names that agents of the actor's workspace may use: its aliases and the models of the settings, in order.
pub fn askable(app: &App, actor: &Actor) -> Vec<String> {
    super::models::names(app, scope(actor))
}

/// Why agents of the actor's workspace cannot ask under this name; none where they can.
pub fn trouble(app: &App, actor: &Actor, name: &str) -> Option<String> {
    super::models::find(app, scope(actor), name).err().map(|failure| failure.message)
}

/// A name that an alias can have: what stands in a manifest's `models`, without `/`, which parts a provider from its model.
pub fn is_alias(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(allowed) && name.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Sets an alias. With `expected`, only where that is its version; 0 is that there is none.
///
/// # Errors
/// `Forbidden`; `Invalid` with the fields; `Conflict` where it was changed in between; `TooLarge` where there are too many.
pub async fn put(app: &App, actor: &Actor, name: &str, chain: Vec<Link>, expected: Option<u32>, origin: Origin) -> Result<Alias, Error> {
    require(actor, Permission::ModelsManage, actor.org, WHAT)?;
    let known = providers::usable(app, actor).await?;
    let mut wrong = Vec::new();
    let mut say = |pointer: String, message: String| wrong.push(FieldError { pointer, message });
    if !is_alias(name) {
        let text =
            format!("An alias is made of a–z, 0–9, “-”, “_” and “.”, begins with a letter, and has at most {NAME_BYTES_MAX} characters.");
        say("/name".to_owned(), text);
    }
    if chain.is_empty() || chain.len() > CHAIN_MAX {
        say("/chain".to_owned(), format!("Name 1 to {CHAIN_MAX} models."));
    }
    for (at, link) in chain.iter().enumerate() {
        if known.iter().all(|provider| provider.name != link.provider) {
            say(
                format!("/chain/{at}/provider"),
                format!("There is no provider “{}”.", link.provider),
            );
        }
        let model = &link.model;
        if model.is_empty() || model.len() > MODEL_NAME_BYTES_MAX || model.chars().any(|c| c.is_control() || c.is_whitespace()) {
            let text = format!("Write the provider’s name of the model, at most {MODEL_NAME_BYTES_MAX} bytes, without spaces.");
            say(format!("/chain/{at}/model"), text);
        }
        if chain.iter().take(at).any(|before| before == link) {
            say(format!("/chain/{at}/model"), "This model is in the list already.".to_owned());
        }
    }
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let (scope, name, actor, now) = (scope(actor), name.to_owned(), actor.clone(), app.clock.now());
    let stored = app.store.write(move |tx| {
        let before = rows::find(tx, scope, &name)?;
        check_version(before.as_ref(), expected)?;
        if before.is_none() && rows::count(tx, scope)? >= ALIASES_MAX {
            return Err(store::Error::Limit(format!(
                "a workspace has at most {ALIASES_MAX} aliases; remove one that no agent uses"
            )));
        }
        rows::put(tx, scope, &name, &chain, actor.principal, now)?;
        let detail = json!({ "workspace": scope.workspace, "before": before.as_ref().map(|before| &before.chain), "after": chain });
        store::audit::record(tx, audit::of(&actor, "alias.set", &name, origin.clone()).detail(detail), now)?;
        rows::find(tx, scope, &name)?.ok_or(store::Error::NotFound)
    });
    let stored = stored.await?;
    app.registry.reload(&app.store, &app.client).await?;
    Ok(stored)
}

fn check_version(before: Option<&Alias>, expected: Option<u32>) -> Result<(), store::Error> {
    let version = before.map_or(0, |before| before.version);
    if expected.is_some_and(|expected| expected != version) {
        let text = format!("the alias was changed in between: its version is {version} now; look at it, then make your change again");
        return Err(store::Error::Conflict(text));
    }
    Ok(())
}

/// Removes an alias: agents that ask for it find what the settings have under its name, or nothing.
///
/// # Errors
/// `Forbidden`, `NotFound`; `Conflict` where it was changed in between.
pub async fn remove(app: &App, actor: &Actor, name: &str, expected: Option<u32>, origin: Origin) -> Result<(), Error> {
    require(actor, Permission::ModelsManage, actor.org, WHAT)?;
    let (scope, name, actor, now) = (scope(actor), name.to_owned(), actor.clone(), app.clock.now());
    let removed = app.store.write(move |tx| {
        let before = rows::find(tx, scope, &name)?.ok_or(store::Error::NotFound)?;
        check_version(Some(&before), expected)?;
        rows::remove(tx, scope, &name)?;
        let detail = json!({ "workspace": scope.workspace, "before": before.chain });
        store::audit::record(tx, audit::of(&actor, "alias.remove", &name, origin.clone()).detail(detail), now)
    });
    removed.await.map_err(|error| match error {
        store::Error::NotFound => Error::NotFound(WHAT),
        other => other.into(),
    })?;
    app.registry.reload(&app.store, &app.client).await
}

/// The usual names and those that are set.
pub fn names(set: &[Alias]) -> Vec<String> {
    let usual = USUAL_ALIASES.iter().map(|name| (*name).to_owned());
    let others = set
        .iter()
        .map(|alias| alias.name.clone())
        .filter(|name| !USUAL_ALIASES.contains(&name.as_str()));
    usual.chain(others).collect()
}
