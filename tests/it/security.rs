//! What must hold of every route, taken from the route table itself.

use std::time::Duration;

use agentstation::domain::id::{AgentId, RunId};
use agentstation::domain::time::Timestamp;
use agentstation::web::routes::Line;
use reqwest::Method;

use crate::support::TestStation;
use crate::support::http::multipart;

/// An address that fits the line and names nothing that is there.
pub fn address(line: &Line) -> String {
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
async fn a_stopping_station_is_not_ready_and_drains() {
    let station = TestStation::start().await;
    station.nobody().get("/readyz").await.expect(200);
    tokio::time::timeout(Duration::from_secs(20), station.stop())
        .await
        .expect("it stops in time");
}
