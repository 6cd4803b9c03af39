//! What every answer does to keep browsers safe, and what no request gets the station to do. Taken from the route table.

use agentstation::domain::permission::Role;
use agentstation::web::extract::Needs;
use agentstation::web::routes::table;
use agentstation::web::settings::Settings;
use reqwest::Method;
use serde_json::json;

use crate::security::address;
use crate::support::http::Answer;
use crate::support::{Browser, Http, OWNER_EMAIL, PASSWORD, TestStation, unhurried};

fn method(text: &str) -> Method {
    text.parse().unwrap()
}

fn behind_tls() -> Settings {
    Settings {
        public_url: Some("https://station.example".to_owned().try_into().unwrap()),
        ..unhurried()
    }
}

fn check_headers(answer: &Answer, what: &str, secure: bool) {
    let policy = answer.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
        "report-to csp",
    ] {
        assert!(policy.contains(part), "{what}: {part} is not in {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{what}: {policy}");
    for (name, value) in [
        ("reporting-endpoints", "csp=\"/csp-reports\""),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("server", ""),
        ("x-powered-by", ""),
        ("access-control-allow-origin", ""),
    ] {
        assert_eq!(answer.header(name), value, "{what}: {name}");
    }
    assert!(answer.header("x-request-id").starts_with("req_"), "{what}");
    assert!(answer.header("permissions-policy").contains("camera=()"), "{what}");
    let strict = answer.header("strict-transport-security");
    assert_eq!(
        strict.starts_with("max-age=31536000; includeSubDomains"),
        secure,
        "{what}: {strict}"
    );
    let caching = answer.header("cache-control");
    if what.contains("/static/css/") {
        assert!(caching.starts_with("public"), "{what}: {caching}");
    } else {
        // Or asked for again each time, where an answer has an ETag.
        assert!(caching.contains("no-store") || caching == "private, no-cache", "{what}: {caching}");
    }
}

#[tokio::test]
async fn every_answer_has_the_headers_that_protect_browsers() {
    for (settings, secure) in [(unhurried(), false), (behind_tls(), true)] {
        let station = TestStation::builder().settings(settings).start().await;
        let mut calls: Vec<(Method, String)> = table().iter().map(|line| (method(line.method.as_str()), address(line))).collect();
        calls.extend(
            [
                "/nonsense",
                "/api/v1/nonsense",
                "/static/css/base.css",
                "/static/../Cargo.toml",
                "/%00",
                "/%ff",
                "//evil.example",
            ]
            .map(|path| (Method::GET, path.to_owned())),
        );
        calls.extend([Method::TRACE, Method::OPTIONS, method("NONSENSE")].map(|method| (method, "/runs".to_owned())));
        for http in [station.nobody(), station.owner(), station.nobody().with("accept", "text/html")] {
            for (method, path) in &calls {
                let answer = http.send(method.clone(), path, None, Vec::new()).await;
                check_headers(&answer, &format!("{method} {path}"), secure);
                assert!(answer.status.as_u16() < 500, "{method} {path}: {}", answer.body);
            }
        }
    }
}

#[tokio::test]
async fn whatever_can_be_read_can_be_asked_about_and_other_methods_are_named() {
    let station = TestStation::builder().settings(unhurried()).start().await;
    let http = station.owner();
    for line in table().iter().filter(|line| line.method == "GET") {
        let path = address(line);
        let (whole, head) = (http.get(&path).await, http.send(Method::HEAD, &path, None, Vec::new()).await);
        assert_eq!(whole.status, head.status, "{path}");
        assert_eq!(head.body, "", "{path}");
        assert_eq!(whole.header("content-type"), head.header("content-type"), "{path}");
    }
    let refused = http.send(Method::DELETE, "/api/v1/runs", None, Vec::new()).await.expect(405);
    assert_eq!(refused.header("allow"), "GET, HEAD, POST");
}

#[tokio::test]
async fn a_session_changes_nothing_without_the_token_of_a_page() {
    let station = TestStation::builder().settings(unhurried()).start().await;
    let browser = station.browser().await;
    let own = browser
        .http()
        .with("sec-fetch-site", "same-origin")
        .with("accept", "application/json");
    let types = [
        Some("application/json"),
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=b"),
        None,
    ];
    for line in table().iter().filter(|line| line.method != "GET" && line.path != "/csp-reports") {
        for content_type in types {
            let answer = own
                .send(method(line.method.as_str()), &address(line), content_type, b"{}".to_vec())
                .await;
            let status = answer.status.as_u16();
            assert!(
                [400, 403, 415].contains(&status),
                "{} {} with {content_type:?}: {status} {}",
                line.method,
                line.path,
                answer.body
            );
        }
    }
    // It is still signed in, and a page of ours still works.
    browser.http().get("/").await.expect(200);
}

/// The database as it is, but for when things were last used.
fn digest(station: &TestStation) -> String {
    use sha2::Digest as _;
    let file = station.directory().join(agentstation::store::DATABASE_FILE);
    let connection = rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let mut hash = sha2::Sha256::new();
    for table in names("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name") {
        if ["api_keys", "sessions", "audit_log", "audit_persons"].contains(&table.as_str()) || table.contains("search") {
            continue;
        }
        let columns = names(&format!("SELECT 'quote(\"' || name || '\")' FROM pragma_table_info('{table}')")).join(" || ',' || ");
        for row in names(&format!("SELECT {columns} FROM \"{table}\" ORDER BY 1")) {
            hash.update(format!("{table}: {row}\n"));
        }
    }
    agentstation::domain::hex::encode(&hash.finalize())
}

#[tokio::test]
async fn reading_changes_nothing() {
    let station = TestStation::builder().settings(unhurried()).start().await;
    let browser = station.browser().await;
    let before = digest(&station);
    for http in [station.owner(), browser.http(), station.nobody()] {
        for line in table().iter().filter(|line| line.method == "GET") {
            http.get(&address(line)).await;
        }
    }
    assert_eq!(digest(&station), before);
}

#[tokio::test]
async fn a_name_that_is_not_ours_leads_nowhere() {
    let here = TestStation::start().await;
    let station = TestStation::builder().settings(behind_tls()).start().await;
    for (station, own) in [(&here, "localhost"), (&station, "station.example")] {
        let key = station.owner();
        key.with("host", own).get("/api/v1/runs").await.expect(200);
        for host in ["evil.example", "evil.example:8700", "127.0.0.1.evil.example", "192.0.2.1"] {
            let refused = key.with("host", host).get("/api/v1/runs").await.expect(421);
            assert_eq!(refused.problem(), "misdirected");
            // Whoever only asks whether it lives is told.
            station.nobody().with("host", host).get("/healthz").await.expect(200);
        }
    }
    // What a proxy that nobody trusts says of the host is not believed.
    let claimed = here
        .nobody()
        .with("x-forwarded-host", "evil.example")
        .with("x-forwarded-proto", "https");
    let page = claimed.with("accept", "text/html").get("/runs").await.expect(303);
    assert!(page.header("location").starts_with("/sign-in?next="), "{}", page.header("location"));
    assert!(page.header("strict-transport-security").is_empty());
}

#[tokio::test]
async fn where_to_go_on_is_never_another_site() {
    let station = TestStation::builder().settings(unhurried()).start().await;
    for next in [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/%09/evil.example\t",
        "\r\nset-cookie: x=1",
    ] {
        let mut browser = Browser::new(station.address);
        let encoded: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        browser.get(&format!("/sign-in?next={encoded}")).await.expect(200);
        let entered = browser
            .submit("/sign-in", &[("email", OWNER_EMAIL), ("password", PASSWORD), ("next", next)])
            .await
            .expect(303);
        let to = entered.header("location");
        assert!(to == "/" || (to.starts_with("/%09") && !to.starts_with("//")), "{next}: {to}");
    }
}

#[tokio::test]
async fn signing_out_leaves_nothing_in_the_browser() {
    let station = TestStation::start().await;
    let mut browser = station.browser().await;
    let out = browser.submit("/sign-out", &[]).await.expect(303);
    assert_eq!(out.header("clear-site-data"), "\"cache\", \"storage\"");
    browser.get("/runs").await.expect(303);
}

#[tokio::test]
async fn one_request_has_one_credential() {
    let station = TestStation::start().await;
    let both = station
        .browser()
        .await
        .http()
        .bearer(&station.key)
        .with("accept", "application/json");
    assert_eq!(both.get("/api/v1/runs").await.expect(400).problem(), "bad_request");
    let mut stream = tokio::net::TcpStream::connect(station.address).await.unwrap();
    let twice = format!(
        "GET /api/v1/runs HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nauthorization: Bearer {0}\r\nauthorization: Bearer {0}\r\n\r\n",
        station.key
    );
    assert!(raw(&mut stream, &twice).await.starts_with("HTTP/1.1 400 "));
}

/// Sends this and reads to the end.
async fn raw(stream: &mut tokio::net::TcpStream, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = String::new();
    tokio::time::timeout(std::time::Duration::from_secs(20), stream.read_to_string(&mut said))
        .await
        .unwrap()
        .unwrap();
    said
}

#[tokio::test]
async fn requests_that_say_two_things_of_where_to_are_refused() {
    let station = TestStation::start().await;
    for head in [
        "GET /api/v1/openapi.json HTTP/1.1\r\n",
        "GET /api/v1/openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: evil.example\r\n",
        "GET http://evil.example/api/v1/openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\n",
        "GET /api/v1/openapi.json HTTP/1.1\r\nhost: x@127.0.0.1\r\n",
    ] {
        let mut stream = tokio::net::TcpStream::connect(station.address).await.unwrap();
        let said = raw(&mut stream, &format!("{head}connection: close\r\n\r\n")).await;
        assert!(
            said.starts_with("HTTP/1.1 400 ") || said.starts_with("HTTP/1.1 421 "),
            "{head}: {said}"
        );
    }
}

#[tokio::test]
async fn cookies_are_bound_to_the_host_over_tls() {
    let station = TestStation::builder().settings(behind_tls()).start().await;
    let page = station.nobody().with("accept", "text/html").get("/sign-in").await.expect(200);
    let cookie = page.header("set-cookie");
    for part in ["__Host-as_visit=", "Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
}

#[tokio::test]
async fn reports_of_browsers_are_taken_and_nothing_else_is() {
    let station = TestStation::start().await;
    let report = json!([{"type": "csp-violation", "body": {"effectiveDirective": "script-src", "blockedURL": "inline\u{1b}[2J"}}]);
    let send = |http: Http, content_type: &'static str, body: Vec<u8>| async move {
        http.send(Method::POST, "/csp-reports", Some(content_type), body).await
    };
    let body = || report.to_string().into_bytes();
    // Also from a page with a session, which browsers send along without saying where it comes from.
    let browser = station.browser().await;
    for http in [station.nobody(), browser.http()] {
        send(http, "application/reports+json", body()).await.expect(204);
    }
    send(station.nobody(), "application/csp-report", b"{}".to_vec()).await.expect(204);
    send(station.nobody(), "application/json", body()).await.expect(415);
    send(station.nobody(), "application/reports+json", b"{".to_vec()).await.expect(400);
    send(station.nobody(), "application/reports+json", vec![b' '; 20_000])
        .await
        .expect(413);
}

#[tokio::test]
async fn the_reference_of_the_api_is_for_whoever_is_signed_in_and_shows_every_operation() {
    let station = TestStation::builder().settings(unhurried()).start().await;
    let viewer = station.user(Role::Viewer).await;
    let mut browser = Browser::sign_in(station.address, &viewer, PASSWORD).await;
    let page = browser.get("/docs/api").await.expect(200);
    for line in table()
        .iter()
        .filter(|line| line.path.starts_with("/api/v1/") && !line.path.contains("/orgs/"))
    {
        let path = line.path.replace(":.+", "");
        assert!(page.body.contains(&path) || path.ends_with("openapi.json"), "{path}");
    }
    station.nobody().with("accept", "text/html").get("/docs/api").await.expect(303);
    let known = table().into_iter().find(|line| line.path == "/docs/api").unwrap();
    assert_eq!(known.needs, Needs::SignedIn);
}

#[tokio::test]
async fn the_page_on_security_is_for_who_looks_after_the_station() {
    let station = TestStation::builder()
        .setting("AGENTSTATION_OUTBOUND_OPEN_CIDRS", "169.254.0.0/16")
        .settings(unhurried())
        .start()
        .await;
    let mut browser = station.browser().await;
    let page = browser.get("/station/security").await.expect(200);
    for words in [
        "hand out credentials",
        "sign in with a password alone: ana@example.com",
        "data directory",
        "core dumps",
        "the key in ",
        "no server is configured: invitations",
    ] {
        assert!(page.body.contains(words), "{words}: {}", page.body);
    }
    let admin = station.user(Role::Admin).await;
    let mut other = Browser::sign_in(station.address, &admin, PASSWORD).await;
    other.get("/station/security").await.expect(403);
}
