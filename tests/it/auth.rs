//! Getting in and out: set-up, passwords, sessions, links, keys.

use std::time::Duration;

use agentstation::domain::origin::Origin;
use agentstation::domain::permission::{Permission, Role};
use agentstation::domain::time::{SimClock, Timestamp};
use agentstation::services::audit::Filter;
use agentstation::services::auth::{SESSION_IDLE, SESSION_MAX};
use agentstation::services::setup;
use agentstation::services::users;
use serde_json::json;

use crate::support::http::between;
use crate::support::{Browser, OWNER_EMAIL, PASSWORD, TestStation};

const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);

async fn set_up_link(station: &TestStation) -> String {
    format!("/set-up?token={}", setup::new_link(&station.app).await.unwrap())
}

#[tokio::test]
async fn the_first_owner_is_made_once_by_the_link_of_the_console() {
    let station = TestStation::builder().without_owner().start().await;
    let link = set_up_link(&station).await;
    let mut browser = Browser::new(station.address);
    let page = browser.get(&link).await.expect(200);
    let token = between(&page.body, "name=\"token\" value=\"", "\"").unwrap().to_owned();
    let short = [
        ("token", token.as_str()),
        ("name", "Ana"),
        ("email", "ana@example.com"),
        ("password", "short"),
    ];
    let refused = browser.submit("/set-up", &short).await.expect(422);
    assert!(refused.body.contains("too short"), "{}", refused.body);
    let fields = [
        ("token", token.as_str()),
        ("name", "Ana"),
        ("email", "Ana@Example.com "),
        ("password", PASSWORD),
    ];
    browser.submit("/set-up", &fields).await.expect(303);
    let home = browser.get("/").await.expect(200);
    assert!(home.body.contains("Ana"), "{}", home.body);

    let mut second = Browser::new(station.address);
    second.get("/sign-in").await.expect(200);
    second.get(&link).await.expect(404);
    second.submit("/set-up", &fields).await.expect(404);
    assert!(!setup::is_needed(&station.app).await.unwrap());
    assert!(setup::new_link(&station.app).await.is_err());
}

#[tokio::test]
async fn a_set_up_link_is_too_old_after_half_an_hour() {
    let clock = SimClock::at(NOW);
    let station = TestStation::builder().clock(clock.clone()).without_owner().start().await;
    let link = set_up_link(&station).await;
    Browser::new(station.address).get(&link).await.expect(200);
    clock.advance(Duration::from_mins(30));
    Browser::new(station.address).get(&link).await.expect(404);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_get_the_same_answer() {
    let station = TestStation::start().await;
    let mut bodies = Vec::new();
    for email in [OWNER_EMAIL, "nobody@example.com"] {
        let mut browser = Browser::new(station.address);
        browser.get("/sign-in").await.expect(200);
        let answer = browser
            .submit("/sign-in", &[("email", email), ("password", "not the password")])
            .await;
        let answer = answer.expect(401);
        bodies.push(answer.body.replace(email, "").replace(&browser.form_token, ""));
    }
    assert_eq!(bodies[0], bodies[1]);
    assert!(bodies[0].contains("wrong"), "{}", bodies[0]);
}

#[tokio::test]
async fn each_failure_makes_the_account_wait_longer() {
    let clock = SimClock::at(NOW);
    let station = TestStation::builder().clock(clock.clone()).start().await;
    let mut browser = Browser::new(station.address);
    browser.get("/sign-in").await.expect(200);
    let wrong = [("email", OWNER_EMAIL), ("password", "not the password")];
    for _ in 0..4 {
        browser.submit("/sign-in", &wrong).await.expect(401);
    }
    let right = [("email", OWNER_EMAIL), ("password", PASSWORD)];
    let refused = browser.submit("/sign-in", &right).await.expect(429);
    assert_eq!(refused.header("retry-after"), "1");
    clock.advance(Duration::from_secs(1));
    browser.submit("/sign-in", &right).await.expect(303);
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_old_or_signed_out() {
    let clock = SimClock::at(NOW);
    let station = TestStation::builder().clock(clock.clone()).start().await;
    let mut idle = station.browser().await;
    clock.advance(SESSION_IDLE / 10 * 9);
    idle.get("/").await.expect(200);
    // Being used, it goes on.
    clock.advance(SESSION_IDLE / 10 * 9);
    idle.get("/").await.expect(200);
    clock.advance(SESSION_IDLE);
    let sent_away = idle.get("/runs?state=failed").await.expect(303);
    assert_eq!(sent_away.header("location"), "/sign-in?next=%2Fruns%3Fstate%3Dfailed");

    let mut old = station.browser().await;
    let mut lived = Duration::ZERO;
    while lived + SESSION_IDLE / 2 < SESSION_MAX {
        clock.advance(SESSION_IDLE / 2);
        lived += SESSION_IDLE / 2;
        old.get("/").await.expect(200);
    }
    clock.advance(SESSION_IDLE / 2);
    old.get("/").await.expect(303);

    let mut leaving = station.browser().await;
    let kept = leaving.cookie().unwrap();
    let left = leaving.submit("/sign-out", &[]).await.expect(303);
    assert!(left.header("clear-site-data").contains("storage"));
    station
        .nobody()
        .with("cookie", &kept)
        .with("accept", "text/html")
        .get("/")
        .await
        .expect(303);
}

#[tokio::test]
async fn signing_in_again_is_a_new_session_and_a_new_password_ends_the_others() {
    let station = TestStation::start().await;
    let (mut one, mut two) = (station.browser().await, station.browser().await);
    assert_ne!(one.cookie(), two.cookie());
    two.get("/account").await.expect(200);
    let wrong = [("current", "not it at all"), ("new", "another good password")];
    two.submit("/account/password", &wrong).await.expect(422);
    let fields = [("current", PASSWORD), ("new", "another good password")];
    two.submit("/account/password", &fields).await.expect(303);
    two.get("/").await.expect(200);
    one.get("/").await.expect(303);
    Browser::sign_in(station.address, OWNER_EMAIL, "another good password").await;
}

#[tokio::test]
async fn a_sign_in_link_works_once_and_only_when_its_button_is_pressed() {
    let station = TestStation::start().await;
    let actor = station.actor().await;
    let token = station
        .app
        .auth
        .sign_in_link(actor.principal, Duration::from_hours(1))
        .await
        .unwrap();
    let path = format!("/sign-in/link?token={token}");
    let mut browser = Browser::new(station.address);
    browser.get(&path).await.expect(200);
    browser.get(&path).await.expect(200);
    browser.submit("/sign-in/link", &[("token", &token)]).await.expect(303);
    browser.get("/").await.expect(200);
    let mut second = Browser::new(station.address);
    second.get(&path).await.expect(200);
    second.submit("/sign-in/link", &[("token", &token)]).await.expect(403);
}

#[tokio::test]
async fn a_revoked_key_is_refused_from_the_next_request_on() {
    let station = TestStation::start().await;
    let mut browser = station.browser().await;
    browser.get("/account/keys").await.expect(200);
    let made = browser
        .submit("/account/keys", &[("name", "build server"), ("days", "30")])
        .await
        .expect(200);
    let key = between(&made.body, "data-copy=\"as1_", "\"")
        .map(|rest| format!("as1_{rest}"))
        .expect("the key");
    let client = station.nobody().bearer(&key);
    client.get("/api/v1/runs").await.expect(200);
    client.get("/api/v1/runs").await.expect(200);
    let page = browser.get("/account/keys").await.expect(200);
    assert!(!page.body.contains(&key), "shown once");
    let id = key.split('_').nth(2).unwrap().get(..12).unwrap().to_owned();
    browser.submit(&format!("/account/keys/{id}/revoke"), &[]).await.expect(303);
    let refused = client.get("/api/v1/runs").await.expect(401);
    assert_eq!(refused.problem(), "unauthenticated");
    browser.submit(&format!("/account/keys/{id}/revoke"), &[]).await.expect(404);
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say_and_no_more_than_its_maker() {
    let station = TestStation::start().await;
    let key = station.scoped_key(&[Permission::RunsRead]).await;
    let client = station.nobody().bearer(&key);
    client.get("/api/v1/runs").await.expect(200);
    assert_eq!(client.get("/api/v1/agents").await.expect(403).problem(), "forbidden");
    assert_eq!(
        client.post("/api/v1/runs", &json!({"agent": "x"})).await.expect(403).problem(),
        "forbidden"
    );

    // A key that may only start runs starts them and learns how they end.
    let manifest = crate::support::manifest("echo", "1.0.0");
    let code = b"export default function run(input) { return input; }".as_slice();
    station
        .owner()
        .upload("/api/v1/agents", &[("manifest", manifest.as_bytes()), ("code", code)])
        .await
        .expect(201);
    let starter = station.nobody().bearer(&station.scoped_key(&[Permission::RunsStart]).await);
    let run = starter
        .post("/api/v1/runs?wait=30", &json!({"agent": "echo", "version": "1.0.0", "input": 5}))
        .await
        .expect(200)
        .json();
    assert_eq!(run["output"], 5);
    starter
        .get(&format!("/api/v1/runs/{}", run["id"].as_str().unwrap()))
        .await
        .expect(403);

    let admin = station.user(Role::Admin).await;
    let admin = users::local_actor(&station.app, &admin, None).await.unwrap();
    let over = users::NewUser {
        email: "new@example.com".to_owned(),
        name: "New".to_owned(),
        password: PASSWORD.to_owned(),
    };
    assert!(
        users::create(&station.app, &admin, over, Role::Owner, Origin::default())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn damaged_and_unknown_keys_are_refused_alike() {
    let station = TestStation::start().await;
    let other = TestStation::start().await;
    let damaged = station.key.replace("as1_pat_", "as1_pat_0");
    for key in [damaged.as_str(), other.key.as_str(), "nonsense"] {
        let refused = station.nobody().bearer(key).get("/api/v1/runs").await.expect(401);
        assert_eq!(refused.json()["detail"], "The API key is wrong, expired or revoked.");
    }
    let scheme = station.nobody().with("authorization", "Basic YTpi").get("/api/v1/runs").await;
    assert_eq!(scheme.expect(401).problem(), "unauthenticated");
}

#[tokio::test]
async fn a_key_ends_at_its_time() {
    let clock = SimClock::at(NOW);
    let station = TestStation::builder().clock(clock.clone()).start().await;
    station.owner().get("/api/v1/runs").await.expect(200);
    clock.advance(agentstation::services::keys::LASTS_DEFAULT);
    station.owner().get("/api/v1/runs").await.expect(401);
}

#[tokio::test]
async fn what_was_done_and_refused_is_in_the_audit_log_and_repeats_are_counted() {
    let station = TestStation::start().await;
    let viewer = station.user(Role::Viewer).await;
    let mut browser = Browser::sign_in(station.address, &viewer, PASSWORD).await;
    for _ in 0..3 {
        browser.get("/agents/new").await.expect(403);
    }
    let org = station.actor().await.org.to_string();
    let lines = station
        .app
        .store
        .read(move |reader| agentstation::store::audit::list(reader, &org, &Filter::default(), None, 100))
        .await
        .unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line.entry.action.as_str(), line.entry.count)).collect();
    for expected in [
        ("station.set-up", 1),
        ("key.create", 1),
        ("user.create", 1),
        ("session.sign-in", 1),
        ("access.denied", 3),
    ] {
        assert!(told.contains(&expected), "{expected:?} in {told:?}");
    }
}
