//! Clients that are slow, stop in the middle or never read: they are dropped, and meanwhile others are served.

use std::time::{Duration, Instant};

use agentstation::web::connections::Patience;
use agentstation::web::settings::{Rates, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::agents::script;
use crate::support::{Browser, OWNER_EMAIL, PASSWORD, TestStation};

/// Clients of one kind at one time.
const MANY: usize = 40;
/// Nothing takes so long unless it hangs.
const WITHIN: Duration = Duration::from_secs(30);

/// A station with little patience.
fn impatient() -> Settings {
    Settings {
        patience: Patience {
            // Long enough for the others on a machine that has much to do.
            headers: Duration::from_secs(3),
            keep_alive: Duration::from_secs(1),
            body: Duration::from_secs(4),
            upload: Duration::from_secs(4),
            body_begins: Duration::from_secs(1),
            body_rate: 10_000,
            answer: Duration::from_secs(2),
        },
        ..Settings::default()
    }
}

async fn station() -> TestStation {
    TestStation::builder().settings(impatient()).start().await
}

async fn connect(station: &TestStation) -> TcpStream {
    TcpStream::connect(station.address).await.unwrap()
}

/// Connections that each have sent this.
async fn many(station: &TestStation, beginning: &str) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    for _ in 0..MANY {
        let mut client = connect(station).await;
        client.write_all(beginning.as_bytes()).await.unwrap();
        clients.push(client);
    }
    clients
}

/// What the station still says before it ends the connection, which it must. A reset is an end.
async fn said_until_cut(client: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let reading = client.read_to_end(&mut said);
    _ = tokio::time::timeout(WITHIN, reading).await.expect("the connection is still open");
    String::from_utf8_lossy(&said).into_owned()
}

/// All are cut off; each is sent `drip` now and then, for as long as it takes it.
async fn all_are_cut(clients: Vec<TcpStream>, drip: &'static str) -> Vec<String> {
    let mut tasks = Vec::new();
    for client in clients {
        tasks.push(tokio::spawn(async move {
            let (mut read, mut write) = client.into_split();
            let dripping = tokio::spawn(async move {
                let mut ticks = tokio::time::interval(Duration::from_millis(50));
                loop {
                    ticks.tick().await;
                    if write.write_all(drip.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
            let mut said = Vec::new();
            _ = tokio::time::timeout(WITHIN, read.read_to_end(&mut said))
                .await
                .expect("the connection is still open");
            dripping.abort();
            String::from_utf8_lossy(&said).into_owned()
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.unwrap());
    }
    all
}

/// Somebody else is served as if nothing was.
async fn others_are_served(station: &TestStation) {
    let began = Instant::now();
    for _ in 0..10 {
        station.owner().get("/api/v1/runs").await.expect(200);
        station.nobody().get("/healthz").await.expect(200);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn headers_that_do_not_end_are_not_waited_for() {
    let station = station().await;
    let clients = many(&station, "GET /api/v1/runs HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a: ").await;
    others_are_served(&station).await;
    all_are_cut(clients, "a").await;
    others_are_served(&station).await;
}

#[tokio::test]
async fn nor_are_those_of_a_second_request_on_the_same_connection() {
    let station = station().await;
    let mut clients = many(&station, "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await;
    for client in &mut clients {
        let mut byte = [0; 1];
        client.read_exact(&mut byte).await.unwrap();
        client
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a: ")
            .await
            .unwrap();
    }
    others_are_served(&station).await;
    all_are_cut(clients, "a").await;
}

#[tokio::test]
async fn connections_that_say_nothing_are_ended() {
    let station = station().await;
    let mut clients = many(&station, "").await;
    others_are_served(&station).await;
    for client in &mut clients {
        said_until_cut(client).await;
    }
}

#[tokio::test]
async fn a_body_that_drips_or_stops_is_given_up() {
    let station = station().await;
    let head = |length: &str| {
        format!(
            "POST /api/v1/runs HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n{length}\r\n\r\n",
            station.key
        )
    };
    for (length, drip) in [
        ("content-length: 100000", " "),
        ("transfer-encoding: chunked", "1\r\n \r\n"),
        ("content-length: 100000", ""),
    ] {
        let clients = many(&station, &head(length)).await;
        others_are_served(&station).await;
        for said in all_are_cut(clients, drip).await {
            assert!(
                said.starts_with("HTTP/1.1 408 ") && said.contains("\"too_slow\""),
                "{length}: {said}"
            );
        }
    }
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_not_read_to_its_end() {
    let station = station().await;
    let head = "POST /api/v1/nonsense HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n";
    let clients = many(&station, head).await;
    others_are_served(&station).await;
    for said in all_are_cut(clients, "1\r\n \r\n").await {
        assert!(said.starts_with("HTTP/1.1 404 "), "{said}");
    }
}

#[tokio::test]
async fn an_upload_cut_in_half_leaves_nothing_behind() {
    let station = station().await;
    let files = |station: &TestStation| {
        let mut all = Vec::new();
        let mut folders = vec![station.directory().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    all.push(path);
                }
            }
        }
        all.sort();
        all
    };
    let before = files(&station);
    let head = format!(
        "POST /api/v1/agents HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\ncontent-length: 1000000\r\n\
         content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\ncontent-disposition: form-data; name=\"code\"\r\n\r\nexport default",
        station.key
    );
    let mut clients = many(&station, &head).await;
    // Half of them go away in the middle, the other half hangs.
    let hanging = clients.split_off(MANY / 2);
    drop(clients);
    others_are_served(&station).await;
    for said in all_are_cut(hanging, "").await {
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    }
    assert_eq!(files(&station), before);
    assert_eq!(
        station.owner().get("/api/v1/agents").await.expect(200).json()["items"],
        serde_json::json!([])
    );
}

/// Asks for something large and takes none of it.
async fn readers_that_do_not_read(station: &TestStation, request: &str, clients: usize) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for _ in 0..clients {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut client = socket.connect(station.address).await.unwrap();
        // Again and again: what fits into the machine's own buffers is no burden on anyone.
        for _ in 0..20 {
            if client.write_all(request.as_bytes()).await.is_err() {
                break;
            }
        }
        all.push(client);
    }
    all
}

/// The connection is over: what can still be read of it ends with a reset or the end.
async fn is_over(client: &mut TcpStream) {
    let mut byte = [0; 4_096];
    let end = async {
        loop {
            // A byte more to send finds out about a reset where nothing is read.
            match client.try_write(b" ") {
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WITHIN, end).await.expect("the connection is still open");
    _ = client.try_read(&mut byte);
}

#[tokio::test]
async fn answers_that_nobody_takes_are_thrown_away() {
    let station = station().await;
    // A file of some hundred kilobytes.
    let request = "GET /static/vendor/codemirror.js HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    let mut clients = readers_that_do_not_read(&station, request, MANY).await;
    others_are_served(&station).await;
    for client in &mut clients {
        is_over(client).await;
    }
    others_are_served(&station).await;
}

#[tokio::test]
async fn event_streams_and_sockets_that_are_not_read_do_not_hold_a_place() {
    let station = station().await;
    let source = "export default async function run() { for (let n = 0; n < 700; n += 1) console.log('x'.repeat(4000)); }";
    let agent = station.publish(script("noisy", "", source)).await;
    let run = station.begin(&agent, &serde_json::json!({})).await;
    station.end(run).await;
    let head = |path: &str, more: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\n{more}\r\n",
            station.key
        )
    };
    let upgrade =
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    // As many as one person may have, of each kind after the other.
    for request in [
        head(&format!("/api/v1/runs/{run}/stream"), ""),
        head(&format!("/ws/runs/{run}"), upgrade),
    ] {
        let mut clients = Vec::new();
        for _ in 0..8 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4_096).unwrap();
            let mut client = socket.connect(station.address).await.unwrap();
            client.write_all(request.as_bytes()).await.unwrap();
            clients.push(client);
        }
        others_are_served(&station).await;
        let free = async {
            loop {
                let answer = station.owner().open(&format!("/api/v1/runs/{run}/stream")).await;
                if answer.status() == 200 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(WITHIN, free).await.expect("their places were not given back");
    }
}

#[tokio::test]
async fn one_address_has_so_many_connections() {
    let settings = Settings {
        connections_per_address: 10,
        ..impatient()
    };
    let station = TestStation::builder().settings(settings).start().await;
    let mut kept = Vec::new();
    for _ in 0..10 {
        let mut client = connect(&station).await;
        client.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
        let mut byte = [0; 1];
        client.read_exact(&mut byte).await.unwrap();
        kept.push(client);
    }
    let mut one_more = connect(&station).await;
    _ = one_more.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await;
    assert_eq!(said_until_cut(&mut one_more).await, "");
    drop(kept);
    let served = async {
        while station
            .nobody()
            .attempt(reqwest::Method::GET, "/healthz", None, vec![])
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WITHIN, served).await.expect("places are given back");
}

#[tokio::test]
async fn what_is_too_long_or_too_large_is_refused_by_its_name() {
    let station = TestStation::start().await;
    let http = station.owner();
    let long = http.get(&format!("/api/v1/runs?state={}", "a".repeat(9_000))).await.expect(414);
    assert_eq!(long.problem(), "uri_too_long");
    let large = http
        .with("x-large", &"a".repeat(40_000))
        .with("accept", "application/json")
        .get("/api/v1/runs")
        .await;
    assert_eq!(large.expect(431).problem(), "headers_too_large");
    // More than the HTTP library takes at all.
    let mut client = connect(&station).await;
    let headers = "x-a: 1\r\n".repeat(200);
    client
        .write_all(format!("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n").as_bytes())
        .await
        .unwrap();
    assert!(said_until_cut(&mut client).await.starts_with("HTTP/1.1 4"));
}

#[tokio::test]
async fn rates_are_counted_by_class_and_caller_and_told() {
    let rates = Rates {
        read: 3,
        write: 2,
        ..Rates::default()
    };
    let station = TestStation::builder()
        .settings(Settings {
            rates,
            ..Settings::default()
        })
        .start()
        .await;
    let factor = station.actor().await.plan.limits().rate_factor;
    let http = station.owner();
    let first = http.get("/api/v1/runs").await.expect(200);
    assert_eq!(first.header("ratelimit-policy"), format!("\"read\";q={};w=60", 3 * factor));
    assert!(first.header("ratelimit").starts_with(&format!("\"read\";r={};t=", 3 * factor - 1)));
    for _ in 1..3 * factor {
        http.get("/api/v1/runs").await.expect(200);
    }
    let refused = http.get("/api/v1/runs").await.expect(429);
    assert_eq!(refused.problem(), "rate_limited");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert!(refused.header("ratelimit").starts_with("\"read\";r=0;"));
    // Writes are counted apart, and another key has its own count.
    assert_ne!(http.post("/api/v1/runs", &serde_json::json!({})).await.status, 429);
    let all = agentstation::domain::permission::Permission::ALL;
    let other = station.nobody().bearer(&station.scoped_key(all).await);
    other.get("/api/v1/runs").await.expect(200);
    // Whoever has neither key nor session is counted by address, without a plan.
    for _ in 0..3 {
        station.nobody().get("/api/v1/runs").await.expect(401);
    }
    let nobody = station.nobody().with("accept", "text/html");
    let page = nobody.get("/sign-in").await.expect(429);
    assert!(page.header("content-type").starts_with("text/html") && !page.header("retry-after").is_empty());
    assert!(page.body.contains("Too many requests"), "{}", page.body);
    // Files and health are not counted.
    for _ in 0..10 {
        station.nobody().get("/static/css/base.css").await.expect(200);
        station.nobody().get("/healthz").await.expect(200);
    }
}

#[tokio::test]
async fn tries_to_get_in_are_counted_by_address_whatever_is_claimed_of_it() {
    let rates = Rates {
        sign_in: 2,
        ..Rates::default()
    };
    let station = TestStation::builder()
        .settings(Settings {
            rates,
            ..Settings::default()
        })
        .start()
        .await;
    let mut browser = Browser::new(station.address);
    browser.get("/sign-in").await.expect(200);
    for _ in 0..2 {
        browser
            .submit("/sign-in", &[("email", "x@example.com"), ("password", "x")])
            .await
            .expect(401);
    }
    let answer = browser
        .submit("/sign-in", &[("email", OWNER_EMAIL), ("password", PASSWORD)])
        .await
        .expect(429);
    assert!(!answer.header("retry-after").is_empty());
    // No proxy is trusted here, so what it says of the client is not believed.
    let elsewhere = browser
        .http()
        .with("x-forwarded-for", "203.0.113.9")
        .with("sec-fetch-site", "same-origin");
    let form = Some("application/x-www-form-urlencoded");
    elsewhere
        .send(reqwest::Method::POST, "/sign-in", form, b"email=x".to_vec())
        .await
        .expect(429);
}

#[tokio::test]
async fn all_keys_of_one_address_together_are_bounded() {
    let rates = Rates {
        read: 2,
        address_factor: 2,
        ..Rates::default()
    };
    let station = TestStation::builder()
        .settings(Settings {
            rates,
            ..Settings::default()
        })
        .start()
        .await;
    for n in 0..4 {
        // Bad keys are many, and cost a look into the database each.
        let answer = station.nobody().bearer(&format!("as1_pat_{n}")).get("/api/v1/runs").await;
        assert!([401, 429].contains(&answer.status.as_u16()));
    }
    station.owner().get("/api/v1/runs").await.expect(429);
}
