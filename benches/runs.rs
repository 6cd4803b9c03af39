//! Runs in a second: through the services, and through HTTP with the result awaited.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentstation::services::keys::{self, NewKey};
use agentstation::services::runs;
use agentstation::web::server;
use agentstation::web::settings::{Rates, Settings};
use agentstation::web::state::State;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::report::{line, ms, percentile};
use crate::station::Station;

pub const CALLS: u32 = 5;
const WITHIN: Duration = Duration::from_mins(1);

pub async fn bench(scale: usize) {
    let station = Arc::new(Station::start(CALLS).await);
    services(&station, 64, 500 / scale).await;
    for (in_flight, total) in [(1, 500), (8, 4_000), (64, 15_000)] {
        let (rate, mut times) = services(&station, in_flight, total / scale).await;
        print("through the services", in_flight, rate, &mut times);
    }
    let mut first: Vec<Duration> = Vec::new();
    for _ in 0..(200 / scale).max(1) {
        first.push(start_to_first_entry(&station).await);
    }
    line(
        "start to first instruction of the guest, p50",
        ms(percentile(&mut first, 0.5)),
        "ms",
    );
    let address = serve(&station);
    let key = keys::create(
        &station.app,
        &station.actor,
        NewKey {
            name: "bench".to_owned(),
            scopes: None,
            lasts: keys::LASTS_DEFAULT,
        },
        agentstation::domain::origin::Origin::default(),
    )
    .await
    .expect("a key");
    for (in_flight, total) in [(1, 500), (8, 3_000), (64, 10_000)] {
        let (rate, mut times) = http(address, &key, in_flight, total / scale).await;
        print("through HTTP, awaited", in_flight, rate, &mut times);
    }
    station.app.stop().await;
}

fn print(what: &str, in_flight: usize, rate: f64, times: &mut [Duration]) {
    let (p50, p99) = (ms(percentile(times, 0.5)), ms(percentile(times, 0.99)));
    line(
        &format!("{what}, {in_flight} in flight"),
        format!("{rate:.0}"),
        &format!("runs/s  p50 {p50} ms  p99 {p99} ms"),
    );
}

pub async fn services(station: &Arc<Station>, in_flight: usize, total: usize) -> (f64, Vec<Duration>) {
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..in_flight {
        let (station, each) = (Arc::clone(station), (total / in_flight).max(1));
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::with_capacity(each);
            for _ in 0..each {
                let began = Instant::now();
                let run = runs::start_and_wait(&station.app, &station.actor, station.run(), WITHIN)
                    .await
                    .expect("ended")
                    .run;
                assert_eq!(run.state.as_str(), "succeeded", "{:?}", run.error);
                times.push(began.elapsed());
            }
            times
        }));
    }
    gather(tasks, began).await
}

async fn gather(tasks: Vec<tokio::task::JoinHandle<Vec<Duration>>>, began: Instant) -> (f64, Vec<Duration>) {
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a task"));
    }
    (times.len() as f64 / began.elapsed().as_secs_f64(), times)
}

/// From asking for a run to the first entry that the guest itself caused.
async fn start_to_first_entry(station: &Station) -> Duration {
    let began = Instant::now();
    let id = runs::start(&station.app, &station.actor, station.run()).await.expect("queued");
    let mut subscription = station.app.feed.subscribe(id);
    loop {
        let entries = runs::events(&station.app, &station.actor, id, 0, 20).await.expect("entries");
        if entries.iter().any(|entry| entry.call.is_some()) {
            break;
        }
        subscription.changed().await;
    }
    let took = began.elapsed();
    runs::wait(&station.app, &station.actor, id, WITHIN).await.expect("ended");
    took
}

fn serve(station: &Station) -> SocketAddr {
    let listener = server::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
    let rates = Rates {
        read: u32::MAX,
        run_start: u32::MAX,
        ..Rates::default()
    };
    let settings = Settings {
        rates,
        ..Settings::default()
    };
    let state = State::new(station.app.clone(), settings);
    let (address, _) = server::run_on_own_thread(listener, state, 2).expect("a server");
    address
}

async fn http(address: SocketAddr, key: &str, in_flight: usize, total: usize) -> (f64, Vec<Duration>) {
    let body = r#"{"agent":"bench","input":{}}"#;
    let request = format!(
        "POST /api/v1/runs?wait=30 HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let request = Arc::new(request.into_bytes());
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..in_flight {
        let (request, each) = (Arc::clone(&request), (total / in_flight).max(1));
        tasks.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.set_nodelay(true).expect("no delay");
            let mut times = Vec::with_capacity(each);
            for _ in 0..each {
                let began = Instant::now();
                stream.write_all(&request).await.expect("sent");
                let answer = read_answer(&mut stream).await;
                assert!(answer.contains("\"state\":\"succeeded\""), "{answer}");
                times.push(began.elapsed());
            }
            times
        }));
    }
    gather(tasks, began).await
}

/// Reads one answer by its content length.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        let read = stream.read(&mut chunk).await.expect("an answer");
        assert!(read > 0, "the connection was closed");
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            if length
                .and_then(|length| length.trim().parse::<usize>().ok())
                .is_some_and(|length| body.len() >= length)
            {
                return text.into_owned();
            }
        }
    }
}
