//! Links to new passwords that somebody makes for another: for whom, and for whom not.

use std::time::Duration;

use agentstation::domain::id::PrincipalId;
use agentstation::domain::origin::Origin;
use agentstation::domain::permission::{Permission, Role};
use agentstation::domain::time::Timestamp;
use agentstation::services::users;
use serde_json::json;

use crate::support::http::between;
use crate::support::{Browser, OWNER_EMAIL, PASSWORD, TestStation};

const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);

async fn principal(station: &TestStation, email: &str) -> String {
    users::local_actor(&station.app, email, None).await.unwrap().principal.to_string()
}

fn reset_path(id: &str) -> String {
    format!("/api/v1/orgs/default/members/{id}/reset-link")
}

#[tokio::test]
async fn an_admin_makes_a_link_for_those_not_above_them() {
    let station = TestStation::start().await;
    let (viewer, admin) = (station.user(Role::Viewer).await, station.user(Role::Admin).await);
    let owner_id = principal(&station, OWNER_EMAIL).await;
    let (viewer_id, admin_id) = (principal(&station, &viewer).await, principal(&station, &admin).await);
    let mut browser = Browser::sign_in(station.address, &admin, PASSWORD).await;
    browser.get("/account").await.expect(200);
    let http = browser
        .http()
        .with("accept", "application/json")
        .with("sec-fetch-site", "same-origin")
        .with("x-form-token", &browser.form_token);
    let made = http.post(&reset_path(&viewer_id), &json!({})).await.expect(201).json();
    http.post(&reset_path(&owner_id), &json!({})).await.expect(403);
    http.post(&reset_path(&PrincipalId::new(NOW).to_string()), &json!({}))
        .await
        .expect(404);
    // With a key only those below: it does not become a way to its own holder's password.
    let key = station.scoped_key(&[Permission::MembersManage]).await;
    let key = station.nobody().bearer(&key);
    key.post(&reset_path(&owner_id), &json!({})).await.expect(403);
    key.post(&reset_path(&admin_id), &json!({})).await.expect(201);

    let mut theirs = Browser::sign_in(station.address, &viewer, PASSWORD).await;
    let link = made["link"].as_str().unwrap();
    let token = link.split_once("token=").unwrap().1;
    let mut fresh = Browser::new(station.address);
    fresh.get(&format!("/reset?token={token}")).await.expect(200);
    let fields = [("token", token), ("password", "nine loud submarines")];
    fresh.submit("/reset", &fields).await.expect(303);
    theirs.get("/").await.expect(303);
    Browser::sign_in(station.address, &viewer, "nine loud submarines").await;
}

#[tokio::test]
async fn an_admin_of_one_organization_does_not_reach_an_account_of_two() {
    let station = TestStation::start().await;
    let (viewer, admin) = (station.user(Role::Viewer).await, station.user(Role::Admin).await);
    let viewer_id: PrincipalId = principal(&station, &viewer).await.parse().unwrap();
    let now = station.app.clock.now();
    let org = agentstation::domain::id::OrgId::new(now);
    station
        .app
        .store
        .write(move |tx| {
            use agentstation::domain::plan::Plan;
            use agentstation::store::{members, orgs};
            orgs::insert(tx, org, "other", "Other", Plan::Free, now)?;
            agentstation::store::workspaces::insert(tx, org, agentstation::domain::id::WorkspaceId::new(now), "default", "default", now)?;
            members::insert(tx, org, viewer_id, Role::Viewer, now)
        })
        .await
        .unwrap();
    let path = reset_path(&viewer_id.to_string());
    let key_of = async |email: &str| {
        let actor = users::local_actor(&station.app, email, None).await.unwrap();
        let new = agentstation::services::keys::NewKey {
            name: "test".to_owned(),
            scopes: None,
            lasts: Duration::from_hours(24),
        };
        agentstation::services::keys::create(&station.app, &actor, new, Origin::default())
            .await
            .unwrap()
    };
    let admin = key_of(&admin).await;
    station.nobody().bearer(&admin).post(&path, &json!({})).await.expect(403);
    // Whoever looks after the station does, at a browser.
    station.owner().post(&path, &json!({})).await.expect(403);
    let mut owner = station.browser().await;
    owner.get("/account").await.expect(200);
    let http = owner
        .http()
        .with("sec-fetch-site", "same-origin")
        .with("x-form-token", &owner.form_token);
    http.post(&path, &json!({})).await.expect(201);
}

#[tokio::test]
async fn the_members_page_makes_a_link_for_those_whose_account_one_may_decide_over() {
    let station = TestStation::start().await;
    let (viewer, admin) = (station.user(Role::Viewer).await, station.user(Role::Admin).await);
    let owner_id = principal(&station, OWNER_EMAIL).await;
    let (viewer_id, admin_id) = (principal(&station, &viewer).await, principal(&station, &admin).await);
    let form = |id: &str| format!("/settings/members/{id}/reset-link");
    let mut browser = Browser::sign_in(station.address, &admin, PASSWORD).await;
    let page = browser.get("/settings/members").await.expect(200);
    assert!(page.body.contains(&form(&viewer_id)));
    for not in [&owner_id, &admin_id] {
        assert!(!page.body.contains(&form(not)), "not above oneself, and not for oneself");
    }
    let made = browser.submit(&form(&viewer_id), &[]).await.expect(200);
    let token = between(&made.body, "/reset?token=", "<").unwrap().to_owned();
    browser.submit(&form(&owner_id), &[]).await.expect(403);
    browser.submit(&form(&PrincipalId::new(NOW).to_string()), &[]).await.expect(404);
    let page = browser.get("/settings/members").await.expect(200);
    assert!(!page.body.contains(&token), "it is shown once");
    let mut fresh = Browser::new(station.address);
    fresh.get(&format!("/reset?token={token}")).await.expect(200);

    let mut viewing = Browser::sign_in(station.address, &viewer, PASSWORD).await;
    let page = viewing.get("/settings/members").await.expect(200);
    assert!(!page.body.contains("/reset-link"));
    viewing.submit(&form(&admin_id), &[]).await.expect(403);
}
