//! What must hold of every route, taken from the route table itself.

use std::time::Duration;

use agentstation::domain::id::{AgentId, RunId};
use agentstation::domain::permission::Permission;
use agentstation::domain::time::Timestamp;
use agentstation::web::routes::{Line, table};
use agentstation::web::settings::{Rates, Settings};
use reqwest::Method;

use crate::support::http::multipart;
use crate::support::{Browser, OWNER_EMAIL, PASSWORD, TestStation};

/// An address that fits the line and names nothing that is there.
fn address(line: &Line) -> String {
    let missing = Timestamp::from_ms(1);
    line.path
        .replace("{run}", &RunId::new(missing).to_string())
        .replace("{agent}", &AgentId::new(missing).to_string())
        .replace("{org}", "default")
        .replace("{workspace}", "default")
        .replace("{version}", "1.0.0")
        .replace("{seq}", "1")
        .replace("{key}", "none")
        .replace("{name:.+}", "none")
        .replace("{path:.+}", "none")
}

#[tokio::test]
async fn every_answer_has_the_headers_that_protect_browsers() {
    let station = TestStation::start().await;
    let mut addresses: Vec<String> = table()
        .iter()
        .filter(|line| line.method == Method::GET.as_str())
        .map(address)
        .collect();
    addresses.extend(["/nonsense".to_owned(), "/static/css/base.css".to_owned(), "/%00".to_owned()]);
    for http in [station.nobody(), station.owner(), station.browser().await.http()] {
        for path in &addresses {
            let answer = http.get(path).await;
            let policy = answer.header("content-security-policy");
            assert!(
                policy.contains("default-src 'none'") && !policy.contains("unsafe"),
                "{path}: {policy}"
            );
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "no-referrer"),
                ("cross-origin-opener-policy", "same-origin"),
                ("cross-origin-resource-policy", "same-origin"),
            ] {
                assert_eq!(answer.header(name), value, "{path}");
            }
            assert!(answer.header("x-request-id").starts_with("req_"), "{path}");
            assert!(
                !answer.header("permissions-policy").is_empty() && answer.header("server").is_empty(),
                "{path}"
            );
            assert!(answer.header("access-control-allow-origin").is_empty(), "{path}");
            let is_file = path.starts_with("/static/css");
            assert!(
                is_file || answer.header("cache-control").contains("no-"),
                "{path}: {}",
                answer.header("cache-control")
            );
        }
    }
}

#[tokio::test]
async fn every_refusal_of_the_api_is_a_problem_whatever_made_it() {
    let station = TestStation::start().await;
    let http = station.owner();
    let json = Some("application/json");
    assert_eq!(http.get("/api/v1/nonsense").await.expect(404).problem(), "not_found");
    assert_eq!(
        http.send(Method::DELETE, "/api/v1/runs", None, vec![]).await.expect(405).problem(),
        "method_not_allowed"
    );
    assert_eq!(
        http.send(Method::POST, "/api/v1/runs", Some("text/plain"), b"{}".to_vec())
            .await
            .expect(415)
            .problem(),
        "unsupported_media_type"
    );
    assert_eq!(
        http.send(Method::POST, "/api/v1/runs", json, b"{".to_vec())
            .await
            .expect(400)
            .problem(),
        "bad_request"
    );
    assert_eq!(
        http.send(Method::POST, "/api/v1/runs", json, b"{\"x\": 1}".to_vec())
            .await
            .expect(422)
            .problem(),
        "invalid"
    );
    assert_eq!(
        http.send(Method::POST, "/api/v1/agents", json, b"{}".to_vec())
            .await
            .expect(415)
            .problem(),
        "unsupported_media_type"
    );
    let huge = vec![b' '; agentstation::domain::limits::JSON_BODY_BYTES_MAX + 1];
    assert_eq!(
        http.send(Method::POST, "/api/v1/runs", json, huge).await.expect(413).problem(),
        "too_large"
    );
    let (content_type, body) = multipart(&[("manifest", &vec![b'x'; 100_000])]);
    assert_eq!(
        http.send(Method::POST, "/api/v1/agents", Some(&content_type), body)
            .await
            .expect(413)
            .problem(),
        "too_large"
    );
    let cut = http
        .send(Method::POST, "/api/v1/agents", Some(&content_type), b"--a-boundary".to_vec())
        .await
        .expect(400);
    assert_eq!(cut.problem(), "bad_request");
}

#[tokio::test]
async fn what_another_site_sends_is_refused() {
    let station = TestStation::start().await;
    let browser = station.browser().await;
    let body = || format!("form_token={}", browser.form_token).into_bytes();
    let form = Some("application/x-www-form-urlencoded");
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
    ] {
        let answer = browser
            .http()
            .with(name, value)
            .send(Method::POST, "/sign-out", form, body())
            .await
            .expect(403);
        assert!(answer.body.contains("another site"), "{}", answer.body);
    }
    // Neither header, but a session.
    browser.http().send(Method::POST, "/sign-out", form, body()).await.expect(403);
    // From our own page, but without the token, or with another session's.
    let own = browser.http().with("sec-fetch-site", "same-origin");
    own.send(Method::POST, "/sign-out", form, Vec::new()).await.expect(403);
    let other = station.browser().await;
    own.send(
        Method::POST,
        "/sign-out",
        form,
        format!("form_token={}", other.form_token).into_bytes(),
    )
    .await
    .expect(403);
    // JSON with a session needs the token as well.
    let refused = own
        .with("accept", "application/json")
        .post("/api/v1/runs", &serde_json::json!({"agent": "x"}))
        .await
        .expect(403);
    assert_eq!(refused.problem(), "cross_site");
    browser.http().get("/").await.expect(200);
}

#[tokio::test]
async fn a_key_and_a_cookie_together_are_refused() {
    let station = TestStation::start().await;
    let both = station
        .browser()
        .await
        .http()
        .bearer(&station.key)
        .with("accept", "application/json");
    assert_eq!(both.get("/api/v1/runs").await.expect(400).problem(), "bad_request");
}

#[tokio::test]
async fn cookies_are_bound_to_the_host_over_tls() {
    let settings = Settings {
        public_url: Some("https://station.example".to_owned().try_into().unwrap()),
        ..Settings::default()
    };
    let station = TestStation::builder().settings(settings).start().await;
    let page = station.nobody().with("accept", "text/html").get("/sign-in").await.expect(200);
    let cookie = page.header("set-cookie");
    for part in ["__Host-as_visit=", "Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    assert!(page.header("strict-transport-security").starts_with("max-age=31536000"));
}

#[tokio::test]
async fn rates_are_counted_by_key_and_sign_ins_by_address() {
    let rates = Rates {
        api_reads: 3,
        api_writes: 1,
        sign_ins: 2,
    };
    let station = TestStation::builder()
        .settings(Settings {
            rates,
            ..Settings::default()
        })
        .start()
        .await;
    let http = station.owner();
    let first = http.get("/api/v1/runs").await.expect(200);
    assert_eq!(first.header("ratelimit-policy"), "\"read\";q=3;w=60");
    assert!(first.header("ratelimit").starts_with("\"read\";r=2;t="));
    http.get("/api/v1/runs").await.expect(200);
    http.get("/api/v1/runs").await.expect(200);
    let refused = http.get("/api/v1/runs").await.expect(429);
    assert_eq!(refused.problem(), "rate_limited");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    let other = station.nobody().bearer(&station.scoped_key(&[Permission::RunsRead]).await);
    other.get("/api/v1/runs").await.expect(200);

    let mut browser = Browser::new(station.address);
    browser.get("/sign-in").await.expect(200);
    for _ in 0..2 {
        browser
            .submit("/sign-in", &[("email", "x@example.com"), ("password", "x")])
            .await
            .expect(401);
    }
    browser
        .submit("/sign-in", &[("email", OWNER_EMAIL), ("password", PASSWORD)])
        .await
        .expect(429);
}

#[tokio::test]
async fn a_stopping_station_is_not_ready_and_drains() {
    let station = TestStation::start().await;
    station.nobody().get("/readyz").await.expect(200);
    tokio::time::timeout(Duration::from_secs(20), station.stop())
        .await
        .expect("it stops in time");
}
