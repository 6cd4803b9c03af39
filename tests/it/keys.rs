//! API keys: scopes, rotation, services, and who may do what with whose.

use std::time::Duration;

use agentstation::domain::origin::Origin;
use agentstation::domain::permission::{Access, Permission, Resource, Role, authorize};
use agentstation::domain::time::{SimClock, Timestamp};
use agentstation::services::auth::{Standing, Tenant};
use agentstation::services::keys::{self, NewKey};
use agentstation::services::{Error, users};
use agentstation::store::DATABASE_FILE;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::members::{delete, patch, person};
use crate::support::agents::script;
use crate::support::http::between;
use crate::support::{Http, TestStation};

const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);
const KEYS: &str = "/api/v1/orgs/default/keys";
const SERVICES: &str = "/api/v1/orgs/default/services";

fn text(made: &Value) -> String {
    made["key"].as_str().unwrap().to_owned()
}

fn id(made: &Value) -> String {
    made["id"].as_str().unwrap().to_owned()
}

/// A client of somebody of this role, with all their rights.
async fn client(station: &TestStation, role: Role) -> Http {
    person(station, role).await.1
}

#[tokio::test]
async fn a_key_is_made_listed_and_revoked_by_its_owner() {
    let station = TestStation::start().await;
    let body = json!({ "name": "ci", "scopes": ["runs:read", "runs:start"], "days": 7 });
    let made = station.owner().post("/api/v1/keys", &body).await.expect(201).json();
    assert!(text(&made).starts_with(&format!("as1_pat_{}", id(&made))));
    assert_eq!(
        made["expires_at"].as_i64().unwrap() - made["created_at"].as_i64().unwrap(),
        7 * 86_400_000
    );
    let client = station.nobody().bearer(&text(&made));
    client.get("/api/v1/runs").await.expect(200);
    client.get("/api/v1/agents").await.expect(403);
    let listed = station.owner().get("/api/v1/keys").await.expect(200);
    assert!(!listed.body.contains(&text(&made)));
    let found = listed.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["id"] == made["id"])
        .cloned()
        .unwrap();
    assert!(
        found["last_used_at"].is_i64() && found["scopes"] == json!(["runs:read", "runs:start"]),
        "{found}"
    );
    delete(&station.owner(), &format!("/api/v1/keys/{}", id(&made))).await.expect(204);
    client.get("/api/v1/runs").await.expect(401);
    delete(&station.owner(), &format!("/api/v1/keys/{}", id(&made))).await.expect(404);
    for (body, pointer) in [
        (json!({ "name": "", "days": 7 }), "/name"),
        (json!({ "name": "x", "days": 0 }), "/days"),
        (json!({ "name": "x", "days": 4_000 }), "/days"),
        (json!({ "name": "x", "scopes": ["runs:fly"] }), "/scopes"),
    ] {
        let refused = station.owner().post("/api/v1/keys", &body).await.expect(422).json();
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
    }
}

#[tokio::test]
async fn a_scoped_key_cannot_get_at_more_than_it_has() {
    let station = TestStation::start().await;
    let narrow = station
        .nobody()
        .bearer(&station.scoped_key(&[Permission::KeysOwn, Permission::RunsRead]).await);
    let wider = json!({ "name": "wider", "scopes": ["agents:write"] });
    narrow.post("/api/v1/keys", &wider).await.expect(422);
    let same = narrow.post("/api/v1/keys", &json!({ "name": "same" })).await.expect(201).json();
    assert_eq!(
        same["scopes"],
        json!(["keys:own", "runs:read"]),
        "what makes a key stays within its own scopes"
    );
    // Rotating the owner's whole key would be having it.
    let whole = station.key.split('_').nth(2).unwrap().get(..12).unwrap();
    let refused = narrow.post(&format!("/api/v1/keys/{whole}/rotate"), &json!({})).await.expect(403);
    assert_eq!(refused.problem(), "forbidden");
    station.owner().get("/api/v1/agents").await.expect(200);
}

#[tokio::test]
async fn a_key_is_limited_to_what_its_principal_may_do_now() {
    let station = TestStation::start().await;
    let builder = client(&station, Role::Builder).await;
    let made = builder
        .post("/api/v1/keys", &json!({ "name": "x", "scopes": ["runs:start", "runs:read"] }))
        .await
        .expect(201)
        .json();
    let client = station.nobody().bearer(&text(&made));
    // There is no such agent, and one may ask.
    client.post("/api/v1/runs", &json!({ "agent": "none" })).await.expect(404);
    let principal = made["principal"].as_str().unwrap();
    let path = format!("/api/v1/orgs/default/members/{principal}");
    patch(&station.owner(), &path, &json!({ "role": "viewer" })).await.expect(200);
    client.post("/api/v1/runs", &json!({ "agent": "none" })).await.expect(403);
    client.get("/api/v1/runs").await.expect(200);
}

#[tokio::test]
async fn a_rotated_key_goes_on_for_as_long_as_was_said() {
    let clock = SimClock::at(NOW);
    let station = TestStation::builder().clock(clock.clone()).start().await;
    let old = station
        .owner()
        .post("/api/v1/keys", &json!({ "name": "ci", "scopes": ["runs:read"] }))
        .await
        .expect(201)
        .json();
    let rotate = |made: &Value| format!("/api/v1/keys/{}/rotate", id(made));
    let new = station.owner().post(&rotate(&old), &json!({})).await.expect(201).json();
    assert_eq!((&new["name"], &new["scopes"]), (&json!("ci"), &json!(["runs:read"])));
    let (before, after) = (station.nobody().bearer(&text(&old)), station.nobody().bearer(&text(&new)));
    before.get("/api/v1/runs").await.expect(200);
    after.get("/api/v1/runs").await.expect(200);
    station.owner().post(&rotate(&old), &json!({})).await.expect(409);
    clock.advance(Duration::from_hours(24) - Duration::from_secs(1));
    before.get("/api/v1/runs").await.expect(200);
    clock.advance(Duration::from_secs(1));
    before.get("/api/v1/runs").await.expect(401);
    after.get("/api/v1/runs").await.expect(200);

    let third = station
        .owner()
        .post(&rotate(&new), &json!({ "overlap_hours": 0 }))
        .await
        .expect(201)
        .json();
    after.get("/api/v1/runs").await.expect(401);
    station.nobody().bearer(&text(&third)).get("/api/v1/runs").await.expect(200);
    station
        .owner()
        .post(&rotate(&third), &json!({ "overlap_hours": 721 }))
        .await
        .expect(422);
}

#[tokio::test]
async fn a_revoked_key_closes_the_sockets_it_opened() {
    let station = TestStation::start().await;
    let agent = station
        .publish(script(
            "waits",
            "",
            "export default (input, station) => station.clock.sleep(600000)",
        ))
        .await;
    let run = station.begin(&agent, &json!({})).await;
    let made = station
        .owner()
        .post("/api/v1/keys", &json!({ "name": "watcher" }))
        .await
        .expect(201)
        .json();
    let mut request = format!("ws://{}/ws/runs/{run}", station.address).into_client_request().unwrap();
    request
        .headers_mut()
        .insert("authorization", format!("Bearer {}", text(&made)).parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    delete(&station.owner(), &format!("/api/v1/keys/{}", id(&made))).await.expect(204);
    let closed = async { while !matches!(socket.next().await, None | Some(Err(_) | Ok(Message::Close(_)))) {} };
    tokio::time::timeout(Duration::from_secs(10), closed)
        .await
        .expect("the socket closes");
}

#[tokio::test]
async fn who_manages_keys_revokes_anybodys_and_has_nobodys() {
    let station = TestStation::start().await;
    let admin = client(&station, Role::Admin).await;
    let builder = client(&station, Role::Builder).await;
    let all = admin.get(KEYS).await.expect(200).json();
    assert_eq!(all["items"].as_array().unwrap().len(), 3);
    let of = |role: &str| {
        id(all["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|key| key["principal_name"] == role)
            .unwrap())
    };
    let first = admin.get(&format!("{KEYS}?limit=2")).await.expect(200).json();
    let rest = admin
        .get(&format!("{KEYS}?limit=2&cursor={}", first["next"].as_str().unwrap()))
        .await
        .expect(200)
        .json();
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    // The owner's own key would make an owner of the admin.
    let refused = admin
        .post(&format!("{KEYS}/{}/rotate", of("Ana")), &json!({}))
        .await
        .expect(403)
        .json();
    assert!(refused["detail"].as_str().unwrap().contains("only they"), "{refused}");
    admin
        .post(&format!("{KEYS}/{}/rotate", of("builder")), &json!({}))
        .await
        .expect(403);
    delete(&admin, &format!("{KEYS}/{}", of("builder"))).await.expect(204);
    builder.get("/api/v1/runs").await.expect(401);
    delete(&admin, &format!("/api/v1/keys/{}", of("Ana"))).await.expect(404);
    delete(&admin, &format!("{KEYS}/nosuchkey123")).await.expect(404);
}

#[tokio::test]
async fn a_service_has_a_role_and_keys_and_no_sign_in() {
    let station = TestStation::start().await;
    let admin = client(&station, Role::Admin).await;
    let new = json!({ "name": "Build server", "note": "starts runs", "role": "operator" });
    let service = admin.post(SERVICES, &new).await.expect(201).json();
    let key = json!({ "name": "first", "service": service["id"] });
    let made = admin.post(KEYS, &key).await.expect(201).json();
    assert!(text(&made).starts_with("as1_svc_"));
    let client = station.nobody().bearer(&text(&made));
    client.post("/api/v1/runs", &json!({ "agent": "none" })).await.expect(404);
    client.get(KEYS).await.expect(403);
    let path = format!("{SERVICES}/{}", id(&service));
    let changed = patch(&admin, &path, &json!({ "role": "viewer", "name": "Builds" }))
        .await
        .expect(200)
        .json();
    assert_eq!((&changed["role"], &changed["name"]), (&json!("viewer"), &json!("Builds")));
    client.post("/api/v1/runs", &json!({ "agent": "none" })).await.expect(403);
    // It is changed as a service, not as a person, and never owns anything.
    patch(
        &admin,
        &format!("/api/v1/orgs/default/members/{}", id(&service)),
        &json!({ "role": "admin" }),
    )
    .await
    .expect(404);
    patch(&station.owner(), &path, &json!({ "role": "owner" })).await.expect(422);
    station
        .owner()
        .post(SERVICES, &json!({ "name": "x", "role": "owner" }))
        .await
        .expect(422);
    let rotated = admin
        .post(&format!("{KEYS}/{}/rotate", id(&made)), &json!({ "overlap_hours": 0 }))
        .await
        .expect(201)
        .json();
    client.get("/api/v1/runs").await.expect(401);
    let client = station.nobody().bearer(&text(&rotated));
    client.get("/api/v1/runs").await.expect(200);
    assert_eq!(delete(&admin, &path).await.expect(200).json()["keys_revoked"], 2);
    client.get("/api/v1/runs").await.expect(401);
    admin.post(KEYS, &key).await.expect(404);
    assert_eq!(admin.get(SERVICES).await.expect(200).json()["items"], json!([]));
}

#[tokio::test]
async fn a_services_key_outlives_its_maker_and_says_so() {
    let station = TestStation::start().await;
    let admin = client(&station, Role::Admin).await;
    let service = admin
        .post(SERVICES, &json!({ "name": "bot", "role": "viewer" }))
        .await
        .expect(201)
        .json();
    let made = admin
        .post(KEYS, &json!({ "name": "first", "service": service["id"] }))
        .await
        .expect(201)
        .json();
    let maker = made["created_by"].as_str().unwrap();
    delete(&station.owner(), &format!("/api/v1/orgs/default/members/{maker}"))
        .await
        .expect(200);
    admin.get("/api/v1/runs").await.expect(401);
    station.nobody().bearer(&text(&made)).get("/api/v1/runs").await.expect(200);
    let listed = station.owner().get(KEYS).await.expect(200).json();
    let found = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["id"] == made["id"])
        .cloned()
        .unwrap();
    assert_eq!(found["maker_left"], true);
    let mut browser = station.browser().await;
    let page = browser.get("/settings/keys").await.expect(200);
    assert!(page.body.contains("made by someone who left"), "{}", page.body);
}

#[tokio::test]
async fn a_key_looks_after_the_station_only_where_that_is_said() {
    let station = TestStation::start().await;
    let may = async |key: &str| {
        let bearer = station.app.auth.api_key(key, Tenant::default()).await.unwrap().unwrap();
        let Standing::Member(actor) = bearer.standing else {
            panic!("no member")
        };
        authorize(&actor, Permission::StationManage, Resource { org: actor.org }) == Access::Allow
    };
    // The owner who set the station up looks after it.
    assert!(!may(&station.key).await, "a key without scopes");
    assert!(may(&station.scoped_key(&[Permission::StationManage]).await).await);
    let asked = json!({ "name": "x", "scopes": ["station:manage"] });
    station.owner().post("/api/v1/keys", &asked).await.expect(422);
    let email = station.user(Role::Owner).await;
    let other = users::local_actor(&station.app, &email, None).await.unwrap();
    let new = NewKey {
        name: "x".to_owned(),
        scopes: Some(vec![Permission::StationManage]),
        lasts: keys::LASTS_DEFAULT,
    };
    let refused = keys::create(&station.app, &other, new, Origin::default()).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
}

#[tokio::test]
async fn what_is_shown_once_is_neither_kept_nor_shown_again_for_its_idempotency_key() {
    let station = TestStation::start().await;
    let (member, _) = person(&station, Role::Viewer).await;
    let owner = station.owner();
    let service = owner
        .post(SERVICES, &json!({ "name": "bot", "role": "operator" }))
        .await
        .expect(201)
        .json();
    let own = owner.post("/api/v1/keys", &json!({ "name": "old" })).await.expect(201).json();
    let body = json!({ "name": "old", "service": id(&service) });
    let key = owner.post(KEYS, &body).await.expect(201).json();
    let invitations = "/api/v1/orgs/default/invitations";
    let body = json!({ "email": "eve@example.com", "role": "viewer" });
    let invitation = owner.post(invitations, &body).await.expect(201).json();
    let asks = [
        ("/api/v1/keys".to_owned(), json!({ "name": "ci" })),
        (format!("/api/v1/keys/{}/rotate", id(&own)), json!({})),
        (KEYS.to_owned(), json!({ "name": "ci", "service": id(&service) })),
        (format!("{KEYS}/{}/rotate", id(&key)), json!({})),
        (invitations.to_owned(), json!({ "email": "kai@example.com", "role": "viewer" })),
        (format!("{invitations}/{}/resend", id(&invitation)), json!({})),
        (format!("/api/v1/orgs/default/members/{}/reset-link", member.principal), json!({})),
    ];
    let keyed = owner.with("idempotency-key", "one");
    let mut secrets = Vec::new();
    for (path, body) in &asks {
        let first = keyed.post(path, body).await;
        let again = keyed.post(path, body).await;
        assert_eq!(first.status, again.status, "{path}: {}", first.body);
        assert_eq!(again.header("idempotency-replayed"), "true", "{path}");
        let (mut first, again) = (first.json(), again.json());
        let shown = ["key", "link"].iter().find_map(|name| first.as_object_mut().unwrap().remove(*name));
        let shown = shown.unwrap().as_str().unwrap().to_owned();
        assert_eq!(first, again, "{path}: the same but for what is shown once");
        secrets.push(shown.rsplit("token=").next().unwrap().to_owned());
    }
    let database = rusqlite::Connection::open(station.directory().join(DATABASE_FILE)).unwrap();
    let mut kept = database.prepare("SELECT CAST(body AS TEXT) FROM idempotency_keys").unwrap();
    let kept: Vec<String> = kept.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(kept.len(), asks.len());
    for secret in secrets {
        assert!(secret.len() >= 20, "{secret}");
        assert!(kept.iter().all(|body| !body.contains(&secret)), "{kept:?}");
    }
}

#[tokio::test]
async fn the_keys_page_makes_services_and_their_keys() {
    let station = TestStation::start().await;
    let mut browser = station.browser().await;
    browser.get("/settings/keys").await.expect(200);
    let fields = [("name", "bot"), ("note", "answers"), ("role", "operator")];
    browser.submit("/settings/services", &fields).await.expect(303);
    let page = browser.get("/settings/keys?done=service-made").await.expect(200);
    let service = between(&page.body, "/settings/services/", "/").unwrap().to_owned();
    let fields = [("service", service.as_str()), ("name", "first"), ("days", "30")];
    let made = browser.submit("/settings/keys", &fields).await.expect(200);
    let key = between(&made.body, "data-copy=\"", "\"").unwrap().to_owned();
    let client = station.nobody().bearer(&key);
    client.get("/api/v1/runs").await.expect(200);
    let id = key.split('_').nth(2).unwrap().get(..12).unwrap().to_owned();
    let rotated = browser.submit(&format!("/settings/keys/{id}/rotate"), &[]).await.expect(200);
    assert!(rotated.body.contains("being replaced"));
    let again = browser.submit(&format!("/settings/keys/{id}/rotate"), &[]).await.expect(409);
    assert!(again.body.contains("rotated before"), "{}", again.body);
    browser
        .submit(&format!("/settings/services/{service}/role"), &[("role", "viewer")])
        .await
        .expect(303);
    browser
        .submit(&format!("/settings/services/{service}/remove"), &[])
        .await
        .expect(303);
    client.get("/api/v1/runs").await.expect(401);
}
