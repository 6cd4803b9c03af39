//! Every open connection, watched from outside: one on which nothing moves for too long is cut, so that a client that
//! sends or reads too slowly, or not at all, holds nothing for long and nobody else up.
//!
//! The HTTP library times the first request's headers only. What is left to clients otherwise is watched here: headers
//! of later requests that never end, bodies that nobody waits for any more, answers that nobody takes.

use std::any::Any;
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use rustix::net::{Shutdown, shutdown, sockopt};

use super::settings::Settings;

/// How long each part of an exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From a connection's first byte to the end of the first headers.
    pub headers: Duration,
    /// Between two requests on one connection.
    pub keep_alive: Duration,
    /// For a whole body.
    pub body: Duration,
    /// For a whole upload.
    pub upload: Duration,
    /// Before a body's least rate counts.
    pub body_begins: Duration,
    /// Bytes of a body that must come in a second after that.
    pub body_rate: u64,
    /// Between two pieces of an answer that a client takes.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            headers: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            body: Duration::from_secs(30),
            upload: Duration::from_mins(5),
            body_begins: Duration::from_secs(10),
            body_rate: 1_024,
            answer: Duration::from_secs(30),
        }
    }
}

impl Patience {
    /// How long a connection on which no request is at work may stay.
    fn quiet(&self) -> Duration {
        self.keep_alive + self.headers
    }
}

/// The connections of all workers; clones share them.
#[derive(Clone)]
pub struct Connections(Arc<Inner>);

struct Inner {
    settings: Arc<Settings>,
    open: Mutex<Open>,
    next: AtomicU64,
}

#[derive(Default)]
struct Open {
    all: HashMap<u64, Weak<Connection>>,
    by_address: HashMap<IpAddr, u32>,
}

/// One connection, for as long as it is open.
pub struct Connection {
    number: u64,
    peer: IpAddr,
    /// A second handle on it, to cut it off.
    socket: OwnedFd,
    at_work: Mutex<AtWork>,
    connections: Connections,
}

/// What moves on a connection.
struct AtWork {
    requests: u32,
    /// Since when no request is at work, where there is none.
    quiet_since: Instant,
    /// Since when a piece of an answer waits to be taken.
    blocked_since: Option<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connections {
    pub fn new(settings: Arc<Settings>) -> Self {
        Self(Arc::new(Inner {
            settings,
            open: Mutex::default(),
            next: AtomicU64::new(0),
        }))
    }

    /// Takes note of a new connection, or cuts it off where its address has as many as it may.
    pub fn on_connect(&self, stream: &dyn Any, extensions: &mut Extensions) {
        let Some(stream) = stream.downcast_ref::<TcpStream>() else { return };
        let (Ok(peer), Ok(socket)) = (stream.peer_addr(), stream.as_fd().try_clone_to_owned()) else {
            // Without a handle it could not be watched; there are no more handles to be had.
            cut(stream);
            return;
        };
        match self.admit(peer.ip().to_canonical(), socket) {
            Some(connection) => _ = extensions.insert(connection),
            None => cut(stream),
        }
    }

    fn admit(&self, peer: IpAddr, socket: OwnedFd) -> Option<Arc<Connection>> {
        let settings = &self.0.settings;
        let mut open = lock(&self.0.open);
        let own = open.by_address.entry(peer).or_default();
        if *own >= settings.connections_per_address && !settings.trusts(peer) {
            return None;
        }
        *own += 1;
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            number,
            peer,
            socket,
            at_work: Mutex::new(AtWork {
                requests: 0,
                quiet_since: Instant::now(),
                blocked_since: None,
            }),
            connections: self.clone(),
        });
        open.all.insert(number, Arc::downgrade(&connection));
        Some(connection)
    }

    /// Cuts off what is overdue, over and over. Ends with the server.
    pub async fn watch(self) {
        let patience = self.0.settings.patience;
        let every = (patience.answer.min(patience.quiet()) / 4).min(Duration::from_secs(1));
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.cut_overdue();
        }
    }

    fn cut_overdue(&self) {
        let patience = self.0.settings.patience;
        // The last holder of a connection takes it off the list, so the list must be free by then.
        let all: Vec<Arc<Connection>> = lock(&self.0.open).all.values().filter_map(Weak::upgrade).collect();
        for connection in all.iter().filter(|connection| connection.is_overdue(&patience)) {
            tracing::debug!(peer = %connection.peer, "a connection on which nothing moved was cut off");
            cut(&connection.socket);
        }
    }
}

/// Ends a connection at once, and what was not sent with it.
fn cut(socket: impl std::os::fd::AsFd) {
    // Either fails only where the connection is gone already.
    _ = sockopt::set_socket_linger(socket.as_fd(), Some(Duration::ZERO));
    _ = shutdown(socket.as_fd(), Shutdown::Both);
}

impl Connection {
    /// A request begins.
    pub fn begin(self: Arc<Self>) -> Request {
        lock(&self.at_work).requests += 1;
        Request(self)
    }

    fn is_overdue(&self, patience: &Patience) -> bool {
        let at_work = lock(&self.at_work);
        match at_work.blocked_since {
            Some(since) => since.elapsed() > patience.answer,
            None => at_work.requests == 0 && at_work.quiet_since.elapsed() > patience.quiet(),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = lock(&self.connections.0.open);
        open.all.remove(&self.number);
        if let Some(own) = open.by_address.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                open.by_address.remove(&self.peer);
            }
        }
    }
}

/// A request at work on a connection, until its answer is written.
pub struct Request(Arc<Connection>);

impl Request {
    /// A piece of the answer was handed over; it counts as taken when the next is asked for.
    pub fn handed_over(&self) {
        lock(&self.0.at_work).blocked_since = Some(Instant::now());
    }

    /// The writer asks for the next piece.
    pub fn asked(&self) {
        lock(&self.0.at_work).blocked_since = None;
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut at_work = lock(&self.0.at_work);
        at_work.requests -= 1;
        at_work.blocked_since = None;
        at_work.quiet_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn connections(per_address: u32) -> Connections {
        Connections::new(Arc::new(Settings {
            connections_per_address: per_address,
            trusted_proxies: vec!["10.0.0.1".parse().unwrap()],
            patience: Patience {
                answer: Duration::ZERO,
                keep_alive: Duration::ZERO,
                headers: Duration::ZERO,
                ..Patience::default()
            },
            ..Settings::default()
        }))
    }

    fn socket() -> OwnedFd {
        UnixStream::pair().unwrap().0.into()
    }

    #[test]
    fn one_address_has_so_many_and_gives_them_back_but_a_proxy_stands_for_many() {
        let connections = connections(2);
        let (ana, bob, proxy) = ("192.0.2.1", "192.0.2.2", "10.0.0.1");
        let admit = |peer: &str| connections.admit(peer.parse().unwrap(), socket());
        let kept = [admit(ana).unwrap(), admit(ana).unwrap()];
        assert!(admit(ana).is_none());
        assert!(admit(bob).is_some());
        let many: Vec<_> = (0..5).map(|_| admit(proxy).unwrap()).collect();
        drop((kept, many));
        assert!(admit(ana).is_some());
        assert!(lock(&connections.0.open).by_address.is_empty());
        assert!(lock(&connections.0.open).all.is_empty());
    }

    #[test]
    fn what_is_at_work_is_left_alone_until_nobody_takes_its_answer() {
        let connections = connections(2);
        let patience = connections.0.settings.patience;
        let connection = connections.admit("192.0.2.1".parse().unwrap(), socket()).unwrap();
        assert!(connection.is_overdue(&patience));
        let request = Arc::clone(&connection).begin();
        assert!(!connection.is_overdue(&patience));
        request.handed_over();
        assert!(connection.is_overdue(&patience));
        request.asked();
        assert!(!connection.is_overdue(&patience));
        drop(request);
        assert!(connection.is_overdue(&patience));
    }
}
