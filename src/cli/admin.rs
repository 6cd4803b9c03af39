//! `init`, `user`, `key`: what an operator does from the shell, on a data directory that no station is serving.

use std::io::BufRead as _;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::args::{Init, Key, KeyCommand, Output, User, UserCommand};
use super::{Exit, data, say, station};
use crate::config::Config;
use crate::domain::origin::Origin;
use crate::domain::permission::{Credential, Permission, Role};
use crate::domain::time::Timestamp;
use crate::services::keys::{self, NewKey, Whose};
use crate::services::members;
use crate::services::resets;
use crate::services::setup::{self, FirstOwner};
use crate::services::users::{self, NewUser};
use crate::services::{App, Error};

/// Opens the station of the data directory, does something, and closes it.
pub async fn with_app<F>(config: Config, work: F) -> anyhow::Result<Exit>
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
    match user.command {
        UserCommand::ResetLink { email } => reset_link(config, email).await,
        UserCommand::Create {
            email, name, role, org, ..
        } => create_user(config, email, name, &role, &org).await,
        UserCommand::List { org, output } => list_users(config, &org, output).await,
        UserCommand::Role { email, role, org } => {
            let role = role_of(&role)?;
            with_app(config, async |app| {
                let (actor, person) = (operator(app, &org).await?, users::local_actor(app, &email, Some(org)).await?);
                members::change_role(app, &actor, person.principal, role, Origin::default()).await?;
                say(&format!("{email} is {role} now"));
                Ok(())
            })
            .await
        }
        UserCommand::Disable { email, org } => {
            with_app(config, async |app| {
                members::disable(app, &operator(app, &org).await?, &email, Origin::default()).await?;
                say(&format!("{email} is shut out; their runs wait to be adopted"));
                Ok(())
            })
            .await
        }
        UserCommand::Enable { email, org } => {
            with_app(config, async |app| {
                members::enable(app, &operator(app, &org).await?, &email, Origin::default()).await?;
                say(&format!("{email} can sign in again"));
                Ok(())
            })
            .await
        }
        UserCommand::Remove { email, org } => {
            with_app(config, async |app| {
                let (actor, person) = (operator(app, &org).await?, users::local_actor(app, &email, Some(org)).await?);
                let taken = members::remove(app, &actor, person.principal, Origin::default()).await?;
                say(&format!(
                    "{email} is a member no more; runs that wait to be adopted: {}, keys revoked: {}",
                    taken.held.len(),
                    taken.keys
                ));
                Ok(())
            })
            .await
        }
    }
}

async fn reset_link(config: Config, email: String) -> anyhow::Result<Exit> {
    with_app(config, async |app| {
        let made = resets::make_on_shell(app, &email).await?;
        print(&made.link)?;
        say(&format!(
            "start the station again and give the link to {email}: it works once, within {} minutes",
            resets::LINK_LASTS.as_secs() / 60
        ));
        Ok(())
    })
    .await
}

fn role_of(text: &str) -> anyhow::Result<Role> {
    Role::parse(text).with_context(|| format!("{text} is no role: choose owner, admin, builder, operator or viewer"))
}

async fn create_user(config: Config, email: String, name: Option<String>, role: &str, org: &str) -> anyhow::Result<Exit> {
    let role = role_of(role)?;
    let password = password_from_stdin()?;
    with_app(config, async |app| {
        let owner = operator(app, org).await?;
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

/// Members that are read at a time.
const PAGE: u32 = 500;

async fn list_users(config: Config, org: &str, output: Output) -> anyhow::Result<Exit> {
    with_app(config, async |app| {
        let actor = operator(app, org).await?;
        let mut after = None;
        loop {
            let page = members::list(app, &actor, None, after, PAGE).await?;
            for member in &page {
                let name = member.email.as_deref().unwrap_or("(a service)");
                let line = match output {
                    Output::Text => format!("{:<9} {name}  {}", member.role.as_str(), printable(&member.name)),
                    Output::Json => json!({
                        "id": member.principal, "kind": member.kind, "name": member.name, "email": member.email, "role": member.role,
                    })
                    .to_string(),
                };
                print(&line)?;
            }
            match page.last() {
                Some(last) if page.len() == PAGE as usize => after = Some(last.principal),
                _ => return Ok(()),
            }
        }
    })
    .await
}

fn print(line: &str) -> Result<(), Error> {
    data(line).map_err(|error| Error::Internal(error.to_string()))
}

/// A name as a terminal can show it: without characters that move its cursor.
pub fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// The shell of the machine acts as the organization's owner.
async fn operator(app: &App, org: &str) -> Result<crate::domain::permission::Actor, Error> {
    users::local_owner(app, org.to_owned()).await
}

pub async fn key(config: Config, key: Key) -> anyhow::Result<Exit> {
    match key.command {
        KeyCommand::Create {
            user,
            org,
            name,
            scopes,
            output,
        } => create_key(config, user, org, name, scopes, output).await,
        KeyCommand::RotateMaster { new_key_file } => super::master_key::rotate(config, new_key_file).await,
        KeyCommand::List { org, output } => list_keys(config, &org, output).await,
        KeyCommand::Revoke { id, org } => {
            with_app(config, async |app| {
                let actor = operator(app, &org).await?;
                keys::revoke(app, &actor, Whose::All, id, Origin::default()).await?;
                say("the key is revoked");
                Ok(())
            })
            .await
        }
    }
}

async fn create_key(
    config: Config,
    user: String,
    org: String,
    name: String,
    scopes: Option<Vec<String>>,
    output: Output,
) -> anyhow::Result<Exit> {
    let scopes = scopes
        .map(|names| names.iter().map(|name| scope(name)).collect::<anyhow::Result<Vec<_>>>())
        .transpose()?;
    with_app(config, async |app| {
        let actor = users::local_actor(app, &user, Some(org)).await?;
        debug_assert_eq!(actor.credential, Credential::Local);
        let new = NewKey {
            name,
            scopes,
            lasts: keys::LASTS_DEFAULT,
        };
        let text = keys::create(app, &actor, new, Origin::default()).await?;
        print(&match output {
            Output::Text => text,
            Output::Json => json!({ "key": text, "user": user }).to_string(),
        })?;
        say("this key is shown once; it holds for 90 days");
        Ok(())
    })
    .await
}

async fn list_keys(config: Config, org: &str, output: Output) -> anyhow::Result<Exit> {
    with_app(config, async |app| {
        let (actor, now) = (operator(app, org).await?, app.clock.now());
        let mut before = None;
        loop {
            let page = keys::list_all(app, &actor, before, PAGE).await?;
            for key in &page {
                let scopes = key.scopes.as_ref();
                let line = match output {
                    Output::Text => {
                        let scopes = scopes.map(|scopes| scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(","));
                        let expired = if key.expires_at.is_some_and(|at| at <= now) {
                            "  expired"
                        } else {
                            ""
                        };
                        format!(
                            "{}  {}  {}  {}{expired}",
                            key.id,
                            printable(&key.principal_name),
                            printable(&key.name),
                            scopes.as_deref().unwrap_or("all")
                        )
                    }
                    Output::Json => json!({
                        "id": key.id, "principal": key.principal, "name": key.name, "scopes": key.scopes,
                        "expires_at": key.expires_at.map(Timestamp::as_ms), "last_used_at": key.last_used_at.map(Timestamp::as_ms),
                    })
                    .to_string(),
                };
                print(&line)?;
            }
            match page.last() {
                Some(last) if page.len() == PAGE as usize => before = Some((last.created_at, last.id.clone())),
                _ => return Ok(()),
            }
        }
    })
    .await
}

fn scope(name: &str) -> anyhow::Result<Permission> {
    Permission::parse(name.trim()).with_context(|| {
        let all: Vec<&str> = Permission::ALL.iter().map(|permission| permission.as_str()).collect();
        format!("{name} is no scope: choose of {}", all.join(", "))
    })
}
