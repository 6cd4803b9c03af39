//! `demo`: a seeded station on a throw-away directory. No key, no network.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;

use super::station::{self, Station};
use super::{Exit, embedded, say, serve};
use crate::config::Config;
use crate::domain::id::RunId;
use crate::domain::origin::Origin;
use crate::domain::permission::Actor;
use crate::domain::retry::RetryChange;
use crate::domain::run::{RunState, Trigger};
use crate::services::App;
use crate::services::agents::{self, AgentRef, Target};
use crate::services::keys::{self, NewKey};
use crate::services::runs::{self, StartRun};
use crate::web;

/// The demo's sign-in link holds for as long as one looks around.
const LINK_LASTS: Duration = Duration::from_hours(12);
/// How long seeding waits for one run.
const RUN_WITHIN: Duration = Duration::from_mins(1);

/// Runs beside one of each agent on its sample: what goes wrong, and how that looks.
const TROUBLE: [(&str, &str); 2] = [
    (
        "csv-report",
        r#"{"title": "Broken export", "csv": "region,revenue\nNorth,120\nSouth,\"95\nWest,80"}"#,
    ),
    ("prime-search", r#"{"limit": 10000000}"#),
];
/// Agents that need the network, which a demo does not touch.
const NEEDS_NETWORK: [&str; 1] = ["page-watch"];

pub async fn demo(config: Config) -> anyhow::Result<Exit> {
    config.validate()?;
    crate::telemetry::init(&quiet(&config), std::sync::Arc::new(crate::domain::time::SystemClock))?;
    let listener = listen(config.server.listen)?;
    let address = listener.local_addr()?;
    say("making a station with examples…");
    let station = station::temporary(config).await?;
    seed(&station).await?;
    let new = NewKey {
        name: "demo".to_owned(),
        scopes: None,
        lasts: keys::LASTS_DEFAULT,
    };
    let key = keys::create(&station.app, &station.actor, new, Origin::default()).await?;
    let link = station.app.auth.sign_in_link(station.actor.principal, LINK_LASTS).await?;
    let server = serve::start_web(&station.app, listener)?;
    let origin = serve::origin(&station.app, address);
    say(&format!(
        "\nThe demo station is ready at {origin}\n\n  sign in   {origin}/sign-in/link?token={link}\n  or as     {}  {}\n  API key   {key}\n\n\
         Models answer from a script. Everything is deleted when you press Ctrl-C.\n",
        station::OWNER,
        station.password
    ));
    serve::until_told_to_stop(&station.app).await?;
    serve::drain(&station.app, server).await;
    station.close().await;
    Ok(Exit::Success)
}

/// A demo's terminal shows its address, not its work.
fn quiet(config: &Config) -> crate::config::settings::Log {
    let default = crate::config::settings::Log::default();
    if config.log == default {
        crate::config::settings::Log {
            level: "warn".to_owned(),
            ..default
        }
    } else {
        config.log.clone()
    }
}

/// The wanted address, or any free port where it is taken.
fn listen(wanted: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    match web::server::listen(wanted) {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let free = SocketAddr::new(wanted.ip(), 0);
            web::server::listen(free).with_context(|| format!("cannot listen on {}", wanted.ip()))
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {wanted}")),
    }
}

async fn seed(station: &Station) -> anyhow::Result<()> {
    let (app, actor) = (&station.app, &station.actor);
    let mut started = Vec::new();
    for (name, upload) in embedded::agents() {
        let sample = upload.sample_input.clone();
        let (agent, _) = agents::create(app, actor, upload, Target::New, Origin::default())
            .await
            .with_context(|| format!("the example {name}"))?;
        if let Some(input) = sample.filter(|_| !NEEDS_NETWORK.contains(&name.as_str())) {
            started.push((AgentRef::Id(agent.id), input));
        }
    }
    started.extend(TROUBLE.map(|(name, input)| (AgentRef::Name(name.to_owned()), input.to_owned())));
    let mut ids = Vec::new();
    for (agent, input) in started {
        ids.push(
            runs::start(
                app,
                actor,
                StartRun {
                    agent,
                    version: None,
                    input,
                    trigger: Trigger::Demo,
                    message: None,
                    priority: 0,
                    retry: RetryChange::default(),
                    budget_micros: None,
                },
            )
            .await?,
        );
    }
    for id in ids {
        settle(&station.app, actor, id).await?;
    }
    Ok(())
}

/// Waits until the run has ended, or waits for somebody.
async fn settle(app: &App, actor: &Actor, id: RunId) -> anyhow::Result<()> {
    let mut subscription = app.feed.subscribe(id);
    let settled = async {
        loop {
            let state = runs::get(app, actor, id).await?.state;
            if state.is_terminal() || state == RunState::Waiting {
                return Ok(());
            }
            subscription.changed().await;
        }
    };
    tokio::time::timeout(RUN_WITHIN, settled).await.unwrap_or(Ok(()))
}
