//! `init`, `user create`, `user reset-link`, `key create`: what an operator does from the shell, on a data directory that no station is serving.

use std::io::BufRead as _;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::args::{Init, Key, KeyCommand, Output, User, UserCommand};
use super::{Exit, data, say, station};
use crate::config::Config;
use crate::domain::origin::Origin;
use crate::domain::permission::{Credential, Permission, Role};
use crate::services::keys::{self, NewKey};
use crate::services::resets;
use crate::services::setup::{self, FirstOwner};
use crate::services::users::{self, NewUser};
use crate::services::{App, Error};

/// Opens the station of the data directory, does something, and closes it.
async fn with_app<F>(config: Config, work: F) -> anyhow::Result<Exit>
where
    F: AsyncFnOnce(&App) -> Result<(), Error>,
{
    let store = station::store(&config)?;
    let app = station::permanent(config, store, None).await?;
    let done = work(&app).await;
    app.stop().await;
    match done {
        Ok(()) => Ok(Exit::Success),
        Err(Error::Invalid(fields)) => {
            for field in fields {
                say(&format!("{}: {}", field.pointer.trim_start_matches('/'), field.message));
            }
            Ok(Exit::Failure)
        }
        Err(error) => Err(error.into()),
    }
}

fn password_from_stdin() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .context("the password cannot be read from stdin")?;
    let password = line.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        bail!("the first line of stdin is to be the password, and it is empty");
    }
    Ok(password)
}

/// What stands before the @, where no name is given.
fn name_or_address(name: Option<String>, email: &str) -> String {
    name.unwrap_or_else(|| email.split('@').next().unwrap_or(email).to_owned())
}

pub async fn init(config: Config, init: Init) -> anyhow::Result<Exit> {
    let password = password_from_stdin()?;
    with_app(config, async |app| {
        let owner = FirstOwner {
            name: name_or_address(init.name, &init.email),
            email: init.email.clone(),
            password,
            org_slug: Some(init.org),
        };
        setup::without_browser(app, owner).await?;
        say(&format!("{} owns this station now; start it with: agentstation serve", init.email));
        Ok(())
    })
    .await
}

pub async fn user(config: Config, user: User) -> anyhow::Result<Exit> {
    let (email, name, role, org) = match user.command {
        UserCommand::ResetLink { email } => return reset_link(config, email).await,
        UserCommand::Create {
            email, name, role, org, ..
        } => (email, name, role, org),
    };
    let Some(role) = Role::parse(&role) else {
        bail!("{role} is no role: choose owner, admin, builder, operator or viewer");
    };
    let password = password_from_stdin()?;
    with_app(config, async |app| {
        let owner = operator(app, &org).await?;
        let new = NewUser {
            name: name_or_address(name, &email),
            email: email.clone(),
            password,
        };
        users::create(app, &owner, new, role, Origin::default()).await?;
        say(&format!("{email} can sign in now, as {role}"));
        Ok(())
    })
    .await
}

async fn reset_link(config: Config, email: String) -> anyhow::Result<Exit> {
    with_app(config, async |app| {
        let made = resets::make_on_shell(app, &email).await?;
        data(&made.link).map_err(|error| Error::Internal(error.to_string()))?;
        say(&format!(
            "start the station again and give the link to {email}: it works once, within {} minutes",
            resets::LINK_LASTS.as_secs() / 60
        ));
        Ok(())
    })
    .await
}

/// The shell of the machine acts as the organization's owner.
async fn operator(app: &App, org: &str) -> Result<crate::domain::permission::Actor, Error> {
    users::local_owner(app, org.to_owned()).await
}

pub async fn key(config: Config, key: Key) -> anyhow::Result<Exit> {
    let KeyCommand::Create {
        user,
        org,
        name,
        scopes,
        output,
    } = key.command;
    let scopes = scopes
        .map(|names| names.iter().map(|name| scope(name)).collect::<anyhow::Result<Vec<_>>>())
        .transpose()?;
    with_app(config, async |app| {
        let actor = users::local_actor(app, &user, Some(org)).await?;
        debug_assert_eq!(actor.credential, Credential::Local);
        let text = keys::create(
            app,
            &actor,
            NewKey {
                name,
                scopes,
                lasts: keys::LASTS_DEFAULT,
            },
            Origin::default(),
        )
        .await?;
        let shown = match output {
            Output::Text => text,
            Output::Json => json!({ "key": text, "user": user }).to_string(),
        };
        data(&shown).map_err(|error| Error::Internal(error.to_string()))?;
        say("this key is shown once; it holds for 90 days");
        Ok(())
    })
    .await
}

fn scope(name: &str) -> anyhow::Result<Permission> {
    Permission::parse(name.trim()).with_context(|| {
        let all: Vec<&str> = Permission::ALL.iter().map(|permission| permission.as_str()).collect();
        format!("{name} is no scope: choose of {}", all.join(", "))
    })
}
