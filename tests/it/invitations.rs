//! Invitations: who can accept, which links hold, what room they take.

use std::time::Duration;

use agentstation::domain::id::{OrgId, PrincipalId, WorkspaceId};
use agentstation::domain::origin::Origin;
use agentstation::domain::permission::Role;
use agentstation::domain::plan::Plan;
use agentstation::domain::time::{SimClock, Timestamp};
use agentstation::services::{Error, invitations, users};
use agentstation::store;
use serde_json::{Value, json};

use crate::members::{INVITATIONS, MEMBERS, actions, delete, of, patch, person};
use crate::support::http::{Answer, between};
use crate::support::{Browser, OWNER_EMAIL, PASSWORD, TestStation};

const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);

/// The token of an invitation that the owner makes.
async fn invite(station: &TestStation, email: &str, role: &str) -> (String, String) {
    let made = station
        .owner()
        .post(INVITATIONS, &json!({ "email": email, "role": role }))
        .await
        .expect(201)
        .json();
    (made["id"].as_str().unwrap().to_owned(), token(&made))
}

fn token(made: &Value) -> String {
    let link = made["link"].as_str().unwrap();
    assert!(
        link.starts_with("http://127.0.0.1:8700/invitation?token="),
        "the configured address: {link}"
    );
    link.split_once("token=").unwrap().1.to_owned()
}

#[tokio::test]
async fn an_invited_person_makes_an_account_and_is_a_member_then() {
    let station = TestStation::start().await;
    let (id, token) = invite(&station, " Bo@Example.com", "operator").await;
    let listed = station.owner().get(INVITATIONS).await.expect(200).json();
    assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["link"]), (&json!(id), &Value::Null));
    assert_eq!(listed["items"][0]["email"], "bo@example.com");
    station
        .owner()
        .post(INVITATIONS, &json!({ "email": "bo@example.com", "role": "viewer" }))
        .await
        .expect(409);

    let mut browser = Browser::new(station.address);
    let page = browser.get(&format!("/invitation?token={token}")).await.expect(200);
    assert!(
        page.body.contains("Join default") && page.body.contains("Ana invites you") && page.body.contains("operator"),
        "{}",
        page.body
    );
    // Not before accepting: nobody, with the token or without it.
    browser.get("/settings/members").await.expect(303);
    let short = [("token", token.as_str()), ("name", "Bo"), ("password", "short")];
    let refused = browser.submit("/invitation", &short).await.expect(422);
    assert!(refused.body.contains("too short"), "{}", refused.body);
    let fields = [("token", token.as_str()), ("name", "Bo"), ("password", PASSWORD)];
    browser.submit("/invitation", &fields).await.expect(303);
    let home = browser.get("/?done=joined").await.expect(200);
    assert!(home.body.contains("Bo"), "{}", home.body);
    let members = station.owner().get(MEMBERS).await.expect(200).json();
    assert_eq!(
        (&members["items"][1]["email"], &members["items"][1]["role"]),
        (&json!("bo@example.com"), &json!("operator"))
    );
    assert_eq!(station.owner().get(INVITATIONS).await.expect(200).json()["items"], json!([]));
    station
        .owner()
        .post(INVITATIONS, &json!({ "email": "bo@example.com", "role": "viewer" }))
        .await
        .expect(409);
    let mut again = Browser::sign_in(station.address, "bo@example.com", PASSWORD).await;
    again.get("/settings/members").await.expect(200);
    assert!(actions(&station).await.contains(&"member.join".to_owned()));
}

#[tokio::test]
async fn links_that_do_not_hold_all_look_the_same() {
    let clock = SimClock::at(NOW);
    let station = TestStation::builder().clock(clock.clone()).start().await;
    let (_, used) = invite(&station, "used@example.com", "viewer").await;
    let mut browser = Browser::new(station.address);
    browser.get(&format!("/invitation?token={used}")).await.expect(200);
    let fields = [("token", used.as_str()), ("name", "Bo"), ("password", PASSWORD)];
    browser.submit("/invitation", &fields).await.expect(303);
    let (id, revoked) = invite(&station, "revoked@example.com", "viewer").await;
    delete(&station.owner(), &format!("{INVITATIONS}/{id}")).await.expect(204);
    delete(&station.owner(), &format!("{INVITATIONS}/{id}")).await.expect(404);
    let (_, expired) = invite(&station, "expired@example.com", "viewer").await;
    clock.advance(Duration::from_hours(7 * 24));
    let (id, before) = invite(&station, "again@example.com", "viewer").await;
    let after = station
        .owner()
        .post(&format!("{INVITATIONS}/{id}/resend"), &json!({}))
        .await
        .expect(200)
        .json();
    let after = token(&after);
    let mut answers = Vec::new();
    for dead in [used.as_str(), &revoked, &expired, &before, "nonsense", ""] {
        let mut stranger = Browser::new(station.address);
        stranger.get("/sign-in").await.expect(200);
        let seen = stranger.get(&format!("/invitation?token={dead}")).await.expect(404);
        let fields = [("token", dead), ("name", "Eve"), ("password", PASSWORD)];
        let sent = stranger.submit("/invitation", &fields).await.expect(404);
        let words = |answer: &Answer| {
            between(&answer.body, "<h1>", "</main>")
                .unwrap_or(&answer.body)
                .split("req_")
                .next()
                .unwrap()
                .to_owned()
        };
        answers.push((words(&seen), words(&sent)));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    Browser::new(station.address)
        .get(&format!("/invitation?token={after}"))
        .await
        .expect(200);
    // The expired one may be made anew.
    invite(&station, "expired@example.com", "viewer").await;
}

#[tokio::test]
async fn a_link_can_be_used_once_also_by_two_at_once() {
    let station = TestStation::start().await;
    let (_, token) = invite(&station, "bo@example.com", "viewer").await;
    let accept = || invitations::accept_as_new(&station.app, &token, "Bo".to_owned(), PASSWORD.to_owned(), Origin::default());
    let (a, b) = tokio::join!(accept(), accept());
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
}

#[tokio::test]
async fn a_person_with_an_account_joins_with_the_invited_address_only() {
    let station = TestStation::start().await;
    let (actor, _) = person(&station, Role::Viewer).await;
    station.user(Role::Builder).await;
    delete(&station.owner(), &of(&actor)).await.expect(200);
    let (_, token) = invite(&station, "viewer@example.com", "operator").await;
    let path = format!("/invitation?token={token}");
    let page = Browser::new(station.address).get(&path).await.expect(200);
    assert!(page.body.contains("/sign-in?next=%2Finvitation%3Ftoken%3D"), "{}", page.body);
    assert!(!page.body.contains("name=\"password\""));
    let mut other = Browser::sign_in(station.address, "builder@example.com", PASSWORD).await;
    let explained = other.get(&path).await.expect(200);
    assert!(
        explained.body.contains("you are signed in as <strong>builder@example.com"),
        "{}",
        explained.body
    );
    other.submit("/invitation", &[("token", &token)]).await.expect(403);
    // Nobody makes a second account for the address.
    let mut stranger = Browser::new(station.address);
    stranger.get("/sign-in").await.expect(200);
    let fields = [("token", token.as_str()), ("name", "Eve"), ("password", "another long password")];
    stranger.submit("/invitation", &fields).await.expect(409);

    let mut invited = Browser::new(station.address);
    invited.get("/sign-in").await.expect(200);
    let entered = invited
        .submit(
            "/sign-in",
            &[("email", "viewer@example.com"), ("password", PASSWORD), ("next", &path)],
        )
        .await
        .expect(303);
    assert_eq!(entered.header("location"), path);
    let page = invited.get(&path).await.expect(200);
    assert!(page.body.contains("You are signed in as viewer@example.com"), "{}", page.body);
    invited.submit("/invitation", &[("token", &token)]).await.expect(303);
    invited.get("/settings/members").await.expect(200);
    let back = users::local_actor(&station.app, "viewer@example.com", None).await.unwrap();
    assert_eq!(
        (back.principal, back.role),
        (actor.principal, Role::Operator),
        "the same principal, as invited"
    );
}

/// A second organization on the free plan, whose owner is `owner`.
async fn free_org(station: &TestStation, owner: PrincipalId) -> OrgId {
    let now = station.app.clock.now();
    let (org, workspace) = (OrgId::new(now), WorkspaceId::new(now));
    let make = station.app.store.write(move |tx| {
        store::orgs::insert(tx, org, "second", "Second", Plan::Free, now)?;
        store::workspaces::insert(tx, org, workspace, "main", "Main", now)?;
        store::members::insert(tx, org, owner, Role::Owner, now)
    });
    make.await.unwrap();
    org
}

#[tokio::test]
async fn a_person_of_two_organizations_is_one_principal_with_a_role_in_each() {
    let station = TestStation::start().await;
    let (actor, first) = person(&station, Role::Viewer).await;
    free_org(&station, station.actor().await.principal).await;
    let owner = users::local_actor(&station.app, OWNER_EMAIL, Some("second".to_owned()))
        .await
        .unwrap();
    let invited = invitations::invite(&station.app, &owner, "viewer@example.com", Role::Admin, Origin::default());
    let token = invited.await.unwrap().link.split_once("token=").unwrap().1.to_owned();
    let mut browser = Browser::sign_in(station.address, "viewer@example.com", PASSWORD).await;
    browser.get(&format!("/invitation?token={token}")).await.expect(200);
    browser.submit("/invitation", &[("token", &token)]).await.expect(303);
    let there = browser.http().get("/api/v1/orgs/second/members").await.expect(200).json();
    assert_eq!(there["items"].as_array().unwrap().len(), 2);
    browser.http().get(INVITATIONS).await.expect(403);
    browser.http().get("/api/v1/orgs/second/invitations").await.expect(200);
    // A key is its organization's only, and a member of one is nobody in the other.
    first.get("/api/v1/orgs/second/members").await.expect(404);
    delete(&station.owner(), &of(&actor)).await.expect(200);
    browser.http().get("/api/v1/orgs/second/members").await.expect(200);
    browser.http().get(MEMBERS).await.expect(404);
}

#[tokio::test]
async fn open_invitations_take_the_plans_room() {
    let station = TestStation::start().await;
    free_org(&station, station.actor().await.principal).await;
    let most = Plan::Free.limits().members;
    let owner = users::local_actor(&station.app, OWNER_EMAIL, Some("second".to_owned()))
        .await
        .unwrap();
    let invite = async |n: u32| {
        let email = format!("p{n}@example.com");
        invitations::invite(&station.app, &owner, &email, Role::Viewer, Origin::default()).await
    };
    let mut last = None;
    for n in 1..most {
        last = Some(invite(n).await.unwrap());
    }
    assert!(matches!(invite(most).await, Err(Error::PlanLimit(_))));
    let last = last.unwrap().invitation.id;
    invitations::revoke(&station.app, &owner, last, Origin::default()).await.unwrap();
    invite(most).await.unwrap();
}

#[tokio::test]
async fn what_somebody_invited_to_goes_with_their_right_to_invite() {
    let station = TestStation::start().await;
    let (actor, admin) = person(&station, Role::Admin).await;
    let made = admin
        .post(INVITATIONS, &json!({ "email": "bo@example.com", "role": "viewer" }))
        .await
        .expect(201)
        .json();
    let path = format!("/invitation?token={}", token(&made));
    Browser::new(station.address).get(&path).await.expect(200);
    patch(&station.owner(), &of(&actor), &json!({ "role": "builder" }))
        .await
        .expect(200);
    Browser::new(station.address).get(&path).await.expect(404);
    let listed = station.owner().get(INVITATIONS).await.expect(200).json();
    assert_eq!(listed["items"], json!([]));
}
