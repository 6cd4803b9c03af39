//! Members: roles, removal and what it takes with it, adopting what was left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentstation::domain::id::RunId;
use agentstation::domain::origin::Origin;
use agentstation::domain::permission::{Actor, Permission, Role};
use agentstation::domain::run::{Hold, RunState, Trigger};
use agentstation::services::agents::AgentRef;
use agentstation::services::keys::{self, NewKey};
use agentstation::services::runs::{self, StartRun};
use agentstation::services::{Error, members, users};
use agentstation::store;
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::agents::script;
use crate::support::http::{Answer, between};
use crate::support::site::{Reply, Site};
use crate::support::{Browser, Http, OWNER_EMAIL, PASSWORD, TestStation};

pub const MEMBERS: &str = "/api/v1/orgs/default/members";
pub const INVITATIONS: &str = "/api/v1/orgs/default/invitations";

/// Asks until it is told to go.
const POLLS: &str = "export default async function run(input, station) {
  for (;;) {
    const response = await station.http.send({ method: 'GET', url: input.url });
    if (response.text() === 'go') return 'went';
  }
}";

pub async fn patch(http: &Http, path: &str, body: &Value) -> Answer {
    let body = body.to_string().into_bytes();
    http.send(Method::PATCH, path, Some("application/json"), body).await
}

pub async fn delete(http: &Http, path: &str) -> Answer {
    http.send(Method::DELETE, path, None, Vec::new()).await
}

/// Somebody of this role, and a client with a key of theirs.
pub async fn person(station: &TestStation, role: Role) -> (Actor, Http) {
    let email = station.user(role).await;
    client(station, &email).await
}

async fn client(station: &TestStation, email: &str) -> (Actor, Http) {
    let actor = users::local_actor(&station.app, email, None).await.unwrap();
    let new = NewKey {
        name: "test".to_owned(),
        scopes: None,
        lasts: keys::LASTS_DEFAULT,
    };
    let key = keys::create(&station.app, &actor, new, Origin::default()).await.unwrap();
    (actor, station.nobody().bearer(&key))
}

pub fn of(actor: &Actor) -> String {
    format!("{MEMBERS}/{}", actor.principal)
}

/// A second owner.
async fn second_owner(station: &TestStation) -> (Actor, Http) {
    person(station, Role::Owner).await
}

/// A station whose agent `polls` asks a site until that says so.
async fn polling() -> (TestStation, Site, Arc<AtomicBool>) {
    let go = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&go);
    let site = Site::start(move |_| Reply::Text(if gone.load(Ordering::SeqCst) { "go" } else { "no" }.to_owned())).await;
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let may = format!("[capabilities]\nhttp = [{}]\n", site.grant("\"GET\"", ""));
    station.publish(script("polls", &may, POLLS)).await;
    (station, site, go)
}

async fn start(http: &Http, site: &Site) -> RunId {
    let body = json!({ "agent": "polls", "input": { "url": site.url("/") } });
    let run = http.post("/api/v1/runs", &body).await.expect(202).json();
    run["id"].as_str().unwrap().parse().unwrap()
}

pub async fn actions(station: &TestStation) -> Vec<String> {
    let org = station.actor().await.org.to_string();
    let read = station
        .app
        .store
        .read(move |reader| store::audit::list(reader, &org, &store::audit::Filter::default(), None, 100));
    read.await.unwrap().into_iter().map(|line| line.entry.action).collect()
}

#[tokio::test]
async fn everybody_sees_who_is_there_and_only_who_manages_members_sees_addresses() {
    let station = TestStation::start().await;
    let (_, viewer) = person(&station, Role::Viewer).await;
    let seen = viewer.get(MEMBERS).await.expect(200).json();
    let listed: Vec<_> = seen["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (&m["name"], &m["role"], &m["email"]))
        .collect();
    assert_eq!(
        listed,
        [
            (&json!("Ana"), &json!("owner"), &Value::Null),
            (&json!("viewer"), &json!("viewer"), &Value::Null)
        ]
    );
    let managed = station.owner().get(MEMBERS).await.expect(200).json();
    assert_eq!(managed["items"][0]["email"], OWNER_EMAIL);
    let first = station.owner().get(&format!("{MEMBERS}?limit=1")).await.expect(200).json();
    let next = first["next"].as_str().unwrap();
    let rest = station
        .owner()
        .get(&format!("{MEMBERS}?limit=1&cursor={next}"))
        .await
        .expect(200)
        .json();
    assert_eq!((&rest["items"][0]["name"], &rest["next"]), (&json!("viewer"), &Value::Null));
    assert_eq!(viewer.get(INVITATIONS).await.expect(403).problem(), "forbidden");
}

#[tokio::test]
async fn another_role_holds_from_the_next_request_on() {
    let station = TestStation::start().await;
    let (actor, builder) = person(&station, Role::Builder).await;
    builder.get("/api/v1/orgs/default/keys").await.expect(403);
    patch(&station.owner(), &of(&actor), &json!({ "role": "admin" })).await.expect(200);
    builder.get("/api/v1/orgs/default/keys").await.expect(200);
    patch(&station.owner(), &of(&actor), &json!({ "role": "viewer" })).await.expect(200);
    builder.get("/api/v1/orgs/default/keys").await.expect(403);
    builder.post("/api/v1/runs", &json!({ "agent": "any" })).await.expect(403);
    builder.get("/api/v1/runs").await.expect(200);
    assert!(actions(&station).await.contains(&"member.change-role".to_owned()));
}

#[tokio::test]
async fn nobody_gives_more_than_they_hold_or_touches_who_stands_above() {
    let station = TestStation::start().await;
    let owner = station.actor().await;
    let (admin_actor, admin) = person(&station, Role::Admin).await;
    let (viewer, _) = person(&station, Role::Viewer).await;
    let refused = patch(&admin, &of(&viewer), &json!({ "role": "owner" })).await.expect(422);
    assert_eq!(refused.json()["errors"][0]["pointer"], "/role");
    patch(&admin, &of(&admin_actor), &json!({ "role": "owner" })).await.expect(422);
    patch(&admin, &of(&owner), &json!({ "role": "viewer" })).await.expect(403);
    delete(&admin, &of(&owner)).await.expect(403);
    let invite = json!({ "email": "bo@example.com", "role": "owner" });
    admin.post(INVITATIONS, &invite).await.expect(422);
    // What an owner made only for managing members gives nobody the rest of a role.
    let narrow = station.nobody().bearer(&station.scoped_key(&[Permission::MembersManage]).await);
    patch(&narrow, &of(&viewer), &json!({ "role": "operator" })).await.expect(422);
    narrow
        .post(INVITATIONS, &json!({ "email": "bo@example.com", "role": "viewer" }))
        .await
        .expect(422);
    let listed = station.owner().get(MEMBERS).await.expect(200).json();
    let roles: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["owner", "admin", "viewer"]);
}

#[tokio::test]
async fn the_last_owner_neither_goes_nor_becomes_less() {
    let station = TestStation::start().await;
    let owner = station.actor().await;
    assert_eq!(delete(&station.owner(), &of(&owner)).await.expect(409).problem(), "conflict");
    patch(&station.owner(), &of(&owner), &json!({ "role": "admin" })).await.expect(409);
    second_owner(&station).await;
    patch(&station.owner(), &of(&owner), &json!({ "role": "admin" })).await.expect(200);
    patch(&station.owner(), &of(&owner), &json!({ "role": "owner" })).await.expect(422);
}

#[tokio::test]
async fn of_two_owners_who_take_each_other_out_at_once_one_stays() {
    for _ in 0..5 {
        let station = TestStation::start().await;
        let one = station.actor().await;
        let (two, _) = second_owner(&station).await;
        let (a, b) = tokio::join!(
            members::remove(&station.app, &one, two.principal, Origin::default()),
            members::remove(&station.app, &two, one.principal, Origin::default())
        );
        assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
    }
}

#[tokio::test]
async fn of_two_owners_who_step_down_at_once_one_stays() {
    let station = TestStation::start().await;
    let one = station.actor().await;
    let (two, _) = second_owner(&station).await;
    let (a, b) = tokio::join!(
        members::change_role(&station.app, &one, one.principal, Role::Admin, Origin::default()),
        members::change_role(&station.app, &two, two.principal, Role::Admin, Origin::default())
    );
    let refused = |result: &Result<members::Listed, Error>| matches!(result, Err(Error::Conflict(_)));
    assert!(a.is_ok() && refused(&b) || b.is_ok() && refused(&a), "{a:?} {b:?}");
}

#[tokio::test]
async fn somebody_removed_is_out_at_once_and_their_sockets_close() {
    let (station, site, _) = polling().await;
    let (actor, operator) = person(&station, Role::Operator).await;
    let mut browser = Browser::sign_in(station.address, "operator@example.com", PASSWORD).await;
    let run = start(&station.owner(), &site).await;
    let mut request = format!("ws://{}/ws/runs/{run}", station.address).into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("cookie", browser.cookie().unwrap().parse().unwrap());
    headers.insert("origin", format!("http://{}", station.address).parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    operator.get("/api/v1/runs").await.expect(200);

    let taken = delete(&station.owner(), &of(&actor)).await.expect(200).json();
    assert_eq!(taken, json!({ "runs_held": 0, "keys_revoked": 1, "invitations_revoked": 0 }));
    operator.get("/api/v1/runs").await.expect(401);
    // A person without an organization is still a person.
    let homeless = browser.http().get("/api/v1/runs").await.expect(403);
    assert_eq!(homeless.problem(), "no_organization");
    browser.get("/settings/members").await.expect(403);
    let closed = async {
        loop {
            if let Some(Ok(Message::Close(Some(frame)))) = socket.next().await {
                return frame.code;
            }
        }
    };
    let code = tokio::time::timeout(Duration::from_secs(10), closed)
        .await
        .expect("the socket closes");
    assert_eq!(code, CloseCode::Policy);
    delete(&station.owner(), &of(&actor)).await.expect(404);
}

#[tokio::test]
async fn runs_of_somebody_removed_stop_and_go_on_as_the_adopters() {
    let (station, site, go) = polling().await;
    let (actor, operator) = person(&station, Role::Operator).await;
    let run = start(&operator, &site).await;
    site.until_asked(3).await;
    let taken = delete(&station.owner(), &of(&actor)).await.expect(200).json();
    assert_eq!(taken["runs_held"], 1);
    let held = station.until_state(run, RunState::Queued).await;
    assert!(held.holds.contains(Hold::PrincipalRemoved));
    let asked = site.asked().len();
    // Nobody but an adopter lets it go on.
    let resumed = station.owner().post(&format!("/api/v1/runs/{run}/resume"), &json!({})).await;
    assert!(resumed.expect(409).json()["detail"].as_str().unwrap().contains("adopt"));
    let (_, builder) = person(&station, Role::Builder).await;
    builder.post(&format!("/api/v1/runs/{run}/adopt"), &json!({})).await.expect(403);
    station.app.dispatcher.queued();
    go.store(true, Ordering::SeqCst);
    let adopted = station
        .owner()
        .post(&format!("/api/v1/runs/{run}/adopt"), &json!({}))
        .await
        .expect(202)
        .json();
    let owner = station.actor().await;
    assert_eq!(
        (&adopted["holds"], &adopted["started_by"]),
        (&Value::Null, &json!(owner.principal.to_string()))
    );
    let ended = station.end(run).await;
    let kinds: Vec<&str> = ended.entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert!(kinds.contains(&"run.paused") && kinds.contains(&"run.adopted"), "{kinds:?}");
    assert_eq!(ended.succeeded(), json!("went"));
    assert_eq!(site.asked().len(), asked + 1, "what was answered is not asked again");
    assert!(actions(&station).await.contains(&"run.adopt".to_owned()));
    station
        .owner()
        .post(&format!("/api/v1/runs/{run}/adopt"), &json!({}))
        .await
        .expect(409);
}

#[tokio::test]
async fn all_that_somebody_left_is_adopted_at_once() {
    let (station, site, go) = polling().await;
    let (actor, operator) = person(&station, Role::Operator).await;
    let runs = [start(&operator, &site).await, start(&operator, &site).await];
    delete(&station.owner(), &of(&actor)).await.expect(200);
    go.store(true, Ordering::SeqCst);
    let mut browser = station.browser().await;
    let page = browser.get("/settings/members").await.expect(200);
    assert!(page.body.contains("2 runs of operator wait"), "{}", page.body);
    let path = format!("{}/adopt", of(&actor));
    assert_eq!(
        station.owner().post(&path, &json!({})).await.expect(202).json(),
        json!({ "adopted": 2 })
    );
    for run in runs {
        station.end(run).await.succeeded();
    }
    station.owner().post(&path, &json!({})).await.expect(404);
}

#[tokio::test]
async fn who_may_start_runs_no_longer_has_them_held_until_that_changes() {
    let (station, site, go) = polling().await;
    let (actor, operator) = person(&station, Role::Operator).await;
    let run = start(&operator, &site).await;
    site.until_asked(1).await;
    patch(&station.owner(), &of(&actor), &json!({ "role": "viewer" })).await.expect(200);
    station.until_state(run, RunState::Queued).await;
    let resume = format!("/api/v1/runs/{run}/resume");
    station.owner().post(&resume, &json!({})).await.expect(409);
    patch(&station.owner(), &of(&actor), &json!({ "role": "builder" }))
        .await
        .expect(200);
    // Being back is not enough: somebody who manages members says so.
    operator.post(&resume, &json!({})).await.expect(409);
    go.store(true, Ordering::SeqCst);
    let resumed = station.owner().post(&resume, &json!({})).await.expect(202).json();
    assert_eq!(
        (&resumed["holds"], &resumed["started_by"]),
        (&Value::Null, &json!(actor.principal.to_string()))
    );
    station.end(run).await.succeeded();
}

#[tokio::test]
async fn a_run_whose_starter_is_gone_is_held_when_it_is_taken_from_the_queue() {
    let station = TestStation::start().await;
    let counts = "export async function onMessage(message, station) { return message === null ? 0 : message.text; }";
    let agent = station.publish(script("counts", "", counts)).await;
    let (actor, operator) = person(&station, Role::Operator).await;
    let body = json!({ "agent": "counts", "message": "first" });
    let started = operator.post("/api/v1/runs", &body).await.expect(202).json();
    let run: RunId = started["id"].as_str().unwrap().parse().unwrap();
    station.until_state(run, RunState::Waiting).await;
    // Gone without what removing somebody does besides.
    let (org, principal) = (actor.org, actor.principal);
    let gone = station.app.store.write(move |tx| store::members::delete(tx, org, principal));
    gone.await.unwrap();
    station.say(run, "second").await;
    station.until_entry(run, |entry| entry.kind == "run.paused").await;
    let shown = station.owner().get(&format!("/api/v1/runs/{run}")).await.expect(200).json();
    assert_eq!(
        (&shown["state"], &shown["holds"]),
        (&json!("paused"), &json!(["principal_removed"]))
    );
    // Others of the organization are not held up by it.
    let other = station.begin(&agent, &json!({})).await;
    station.until_state(other, RunState::Waiting).await;
    station
        .owner()
        .post(&format!("/api/v1/runs/{run}/adopt"), &json!({}))
        .await
        .expect(202);
    let replies = station.until_replies(run, 2).await;
    assert_eq!(replies.last().map(String::as_str), Some("second"), "{replies:?}");
}

#[tokio::test]
async fn who_was_removed_a_moment_ago_starts_nothing() {
    let station = TestStation::start().await;
    let agent = station.publish(script("plain", "", "export default () => 1")).await;
    let (actor, _) = person(&station, Role::Operator).await;
    members::remove(&station.app, &station.actor().await, actor.principal, Origin::default())
        .await
        .unwrap();
    // With the rights that were read before.
    let stale = StartRun {
        agent: AgentRef::Id(agent.id),
        version: None,
        input: "{}".to_owned(),
        trigger: Trigger::Api,
        message: None,
        priority: 0,
        retry: agentstation::domain::retry::RetryChange::default(),
        budget_micros: None,
    };
    let started = runs::start(&station.app, &actor, stale).await;
    assert!(matches!(started, Err(Error::NotFound(_))), "{started:?}");
    let new = NewKey {
        name: "late".to_owned(),
        scopes: None,
        lasts: keys::LASTS_DEFAULT,
    };
    assert!(keys::create(&station.app, &actor, new, Origin::default()).await.is_err());
}

#[tokio::test]
async fn somebody_shut_out_is_nothing_until_they_are_let_in_again() {
    let (station, site, go) = polling().await;
    let (actor, operator) = person(&station, Role::Operator).await;
    let run = start(&operator, &site).await;
    site.until_asked(1).await;
    let browser = Browser::sign_in(station.address, "operator@example.com", PASSWORD).await;
    let owner = station.actor().await;
    let shut_out = |email: &'static str| members::disable(&station.app, &owner, email, Origin::default());
    assert!(matches!(shut_out(OWNER_EMAIL).await, Err(Error::Conflict(_))), "the last owner");
    shut_out("operator@example.com").await.unwrap();
    operator.get("/api/v1/runs").await.expect(401);
    browser.http().get("/api/v1/runs").await.expect(401);
    station.until_state(run, RunState::Queued).await;
    members::enable(&station.app, &owner, "operator@example.com", Origin::default())
        .await
        .unwrap();
    operator.get("/api/v1/runs").await.expect(200);
    browser.http().get("/api/v1/runs").await.expect(401);
    go.store(true, Ordering::SeqCst);
    let resume = format!("/api/v1/runs/{run}/resume");
    let resumed = station.owner().post(&resume, &json!({})).await.expect(202).json();
    assert_eq!(resumed["started_by"], json!(actor.principal.to_string()));
    station.end(run).await.succeeded();
}

#[tokio::test]
async fn the_members_page_invites_changes_and_removes() {
    let station = TestStation::start().await;
    let email = station.user(Role::Viewer).await;
    let actor = users::local_actor(&station.app, &email, None).await.unwrap();
    let mut browser = station.browser().await;
    browser.get("/settings/members").await.expect(200);
    let invited = browser
        .submit("/settings/invitations", &[("email", "bo@example.com"), ("role", "builder")])
        .await
        .expect(200);
    let link = between(&invited.body, "data-copy=\"", "\"").unwrap().to_owned();
    assert!(link.contains("/invitation?token="), "{link}");
    let again = browser
        .submit("/settings/invitations", &[("email", "bo@example.com"), ("role", "builder")])
        .await
        .expect(409);
    assert!(again.body.contains("invited already") && !again.body.contains(&link));
    let role = format!("/settings/members/{}/role", actor.principal);
    browser.submit(&role, &[("role", "operator")]).await.expect(303);
    let remove = format!("/settings/members/{}/remove", actor.principal);
    browser.submit(&remove, &[]).await.expect(303);
    let own = format!("/settings/members/{}/remove", station.actor().await.principal);
    let refused = browser.submit(&own, &[]).await.expect(409);
    assert!(refused.body.contains("last owner"), "{}", refused.body);
    // Nobody sees forms that they may not use.
    let viewer = station.user(Role::Operator).await;
    let mut viewing = Browser::sign_in(station.address, &viewer, PASSWORD).await;
    let page = viewing.get("/settings/members").await.expect(200);
    assert!(!page.body.contains("/role\"") && !page.body.contains("Invite"), "{}", page.body);
    let roles = viewing.get("/settings/roles").await.expect(200);
    assert!(roles.body.contains("members:manage") && !roles.body.contains("station:manage"));
}

#[tokio::test]
async fn the_roles_are_those_of_the_one_decision() {
    let station = TestStation::start().await;
    let roles = station.owner().get("/api/v1/roles").await.expect(200).json();
    for (at, role) in Role::ALL.iter().enumerate() {
        let given: Vec<&str> = Permission::ALL.iter().filter(|&&p| role.gives(p)).map(|p| p.as_str()).collect();
        assert_eq!(
            (&roles["roles"][at]["role"], &roles["roles"][at]["permissions"]),
            (&json!(role.as_str()), &json!(given))
        );
    }
}
