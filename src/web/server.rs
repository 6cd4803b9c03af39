//! Listens, serves the route table, and stops gracefully: no new connections, what is at work may end.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App as ActixApp, HttpResponse, HttpServer, web};

use super::middleware::{bounds::bounds, counts::counts, csrf::csrf, identity::identity, pace::pace, rates, shell::shell};
use super::problem::Problem;
use super::routes;
use super::state::State;

/// For a client to take note that its connection ends.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// What is still at work after this is cut off.
pub const DRAIN_SECONDS: u64 = 25;

/// A server that listens.
pub struct Server {
    address: SocketAddr,
    server: actix_web::dev::Server,
}

impl Server {
    /// Serves `state` on `listener` until its shutdown token is cancelled or the handle stops it. Needs an actix system.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn new(listener: TcpListener, state: State, workers: usize) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let shutdown = state.app.supervisor.stopping().clone();
        let workers = workers.max(1);
        let patience = state.settings.patience;
        let connections_max = state.settings.connections as usize;
        let connections = state.connections.clone();
        actix_web::rt::spawn(connections.clone().watch());
        let state = web::Data::new(state);
        let server = HttpServer::new(move || {
            ActixApp::new()
                .app_data(state.clone())
                .configure(routes::configure)
                .default_service(web::to(not_found))
                // The last wrapped is the first to see a request.
                .wrap(from_fn(counts))
                .wrap(from_fn(rates::by_caller))
                .wrap(from_fn(identity))
                .wrap(from_fn(csrf))
                .wrap(from_fn(rates::by_address))
                .wrap(from_fn(bounds))
                .wrap(from_fn(shell))
                .wrap(from_fn(pace))
        })
        .workers(workers)
        .max_connections(connections_max.div_ceil(workers))
        .on_connect(move |stream, extensions| connections.on_connect(stream, extensions))
        .keep_alive(patience.keep_alive)
        .client_request_timeout(patience.headers)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .shutdown_timeout(DRAIN_SECONDS)
        .tcp_nodelay(true)
        .disable_signals()
        .shutdown_signal(async move { shutdown.cancelled().await })
        .listen(listener)?
        .run();
        Ok(Self { address, server })
    }

    /// Where it listens; the port is the real one where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it from elsewhere.
    pub fn handle(&self) -> ServerHandle {
        self.server.handle()
    }

    /// Serves until it is stopped. Needs an actix system, see [`run_on_own_thread`].
    ///
    /// # Errors
    /// Of the operating system.
    pub async fn run(self) -> std::io::Result<()> {
        self.server.await
    }
}

/// A listener on `address`; port 0 takes any that is free.
///
/// # Errors
/// Of the operating system: the port is taken, the address is not ours.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address)
}

/// Starts a server on a thread of its own, with the actix system that it needs, and returns where it listens.
/// The thread ends when the server has drained.
///
/// # Errors
/// Of the operating system.
pub fn run_on_own_thread(
    listener: TcpListener,
    state: State,
    workers: usize,
) -> std::io::Result<(SocketAddr, std::thread::JoinHandle<std::io::Result<()>>)> {
    let address = listener.local_addr()?;
    let thread = std::thread::Builder::new()
        .name("web".to_owned())
        .spawn(move || actix_web::rt::System::new().block_on(async move { Server::new(listener, state, workers)?.run().await }))?;
    Ok((address, thread))
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::not_found())
}
