//! `serve`: the station of the data directory, until it is told to stop.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, say, station};
use crate::config::Config;
use crate::services::{App, setup};
use crate::web;

/// Exit code of a second signal: as a shell reports an interrupted process.
const INTERRUPTED: i32 = 130;

pub async fn serve(config: Config) -> anyhow::Result<Exit> {
    config.validate()?;
    crate::telemetry::init(&config.log, std::sync::Arc::new(crate::domain::time::SystemClock))?;
    #[cfg(debug_assertions)]
    config.crash_at().map_or(Ok(()), crate::telemetry::crash_point::arm)?;
    let store = station::store(&config)?;
    let listener = web::server::listen(config.server.listen)
        .with_context(|| format!("cannot listen on {}; choose another address with --listen", config.server.listen))?;
    let address = listener.local_addr()?;
    // Links name the port that it really is.
    let app = station::permanent(config.serving_on(address), store, Some(address)).await?;
    app.start().await?;
    let server = start_web(&app, listener)?;
    let origin = origin(&app, address);
    tracing::info!(address = %address, data = %app.config.data.display(), "serving {origin}");
    if setup::is_needed(&app).await? {
        let token = setup::new_link(&app).await?;
        say(&format!(
            "\nThis station has no owner yet. Within 30 minutes open\n\n    {origin}/set-up?token={token}\n\nor stop it and run\n\n    agentstation init --email you@example.com --password-stdin\n"
        ));
    }
    until_told_to_stop(&app).await?;
    drain(&app, server).await;
    app.close().await;
    Ok(Exit::Success)
}

/// The web server's thread.
pub type WebThread = std::thread::JoinHandle<std::io::Result<()>>;

/// Serves the app on a thread of its own.
pub fn start_web(app: &App, listener: std::net::TcpListener) -> anyhow::Result<WebThread> {
    let settings = web::settings::Settings::from(&*app.config);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let workers = match app.config.server.workers {
        0 => cores(),
        some => some as usize,
    };
    let (_, thread) = web::server::run_on_own_thread(listener, web::state::State::new(app.clone(), settings), workers)?;
    Ok(thread)
}

/// How people reach the station.
pub fn origin(app: &App, address: SocketAddr) -> String {
    app.config
        .server
        .public_url
        .as_ref()
        .map_or_else(|| format!("http://{address}"), |url| url.as_str().to_owned())
}

/// Waits for SIGTERM or SIGINT; a second one ends the process at once, which is no worse than a crash.
pub async fn until_told_to_stop(app: &App) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(
        runs = app.dispatcher.executing(),
        "stopping: runs go back to the queue at their next call; signal again to stop at once"
    );
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        at_once();
    });
    Ok(())
}

#[expect(clippy::exit, reason = "asked for twice; what is not committed is recovered at the next start")]
fn at_once() {
    std::process::exit(INTERRUPTED);
}

/// Runs go back to the queue while the web server answers what it has begun.
pub async fn drain(app: &App, server: WebThread) {
    app.shutdown().cancel();
    app.drain().await;
    match tokio::task::spawn_blocking(move || server.join()).await {
        Ok(Ok(Ok(()))) => {}
        _ => tracing::warn!("the web server did not end cleanly"),
    }
}
