//! `demo`: a seeded station on a throw-away directory. No key, no network.

mod seed;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;

use super::station;
use super::{Exit, say, serve};
use crate::config::Config;
use crate::domain::origin::Origin;
use crate::domain::time::PutBack;
use crate::services::keys::{self, NewKey};
use crate::web;

/// The demo's sign-in link holds for as long as one looks around.
const LINK_LASTS: Duration = Duration::from_hours(12);

pub async fn demo(config: Config) -> anyhow::Result<Exit> {
    config.validate()?;
    crate::telemetry::init(&quiet(&config), std::sync::Arc::new(crate::domain::time::SystemClock))?;
    let listener = listen(config.server.listen)?;
    let address = listener.local_addr()?;
    say("making a station with examples…");
    let clock = PutBack::by(seed::HISTORY);
    let station = station::temporary_by(config, clock.clone()).await?;
    seed::fill(&station, &clock).await?;
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
