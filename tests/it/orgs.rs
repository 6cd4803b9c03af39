//! Organizations and workspaces: who sees what of which, choosing where to work, handing over, leaving and deleting.

use std::time::Duration;

use agentstation::domain::id::{PrincipalId, RunId};
use agentstation::domain::limits::ORG_GRACE;
use agentstation::domain::origin::Origin;
use agentstation::domain::permission::{Actor, Permission, Role};
use agentstation::domain::plan::Plan;
use agentstation::domain::run::RunState;
use agentstation::domain::time::{Clock as _, SimClock, Timestamp};
use agentstation::services::approvals;
use agentstation::services::service_principals::{self, NewService};
use agentstation::services::{Error, invitations, orgs, purge, runs, users, workspaces};
use agentstation::store::{self, DATABASE_FILE};
use futures_util::StreamExt as _;
use reqwest::Method;
use rusqlite::Connection;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::http::Answer;
use crate::support::orgs::{BOB, account, acme, actions, begin, count, key_of, org, publish, until};
use crate::support::{Browser, Http, OWNER_EMAIL, PASSWORD, TestStation};

const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);

async fn delete(http: &Http, path: &str) -> Answer {
    http.send(Method::DELETE, path, None, Vec::new()).await
}

#[tokio::test]
async fn two_organizations_cannot_see_each_others_things_by_list_or_by_id() {
    let station = TestStation::start().await;
    let (acme, bob, bobs) = acme(&station, Plan::Free).await;
    let ana = station.actor().await;
    let mut both = Vec::new();
    for (actor, agent) in [(&ana, "of-ana"), (&bob, "of-bob")] {
        publish(&station, actor, agent).await;
        let run = begin(&station, actor, agent).await.unwrap();
        until(&station, actor, run, RunState::Waiting).await;
        let asked = approvals::of_run(&station.app, actor, run).await.unwrap();
        both.push((agent, run.to_string(), asked[0].id.to_string()));
    }
    let sides = [(station.owner(), &both[0], &both[1]), (bobs, &both[1], &both[0])];
    for (http, (agent, run, approval), (foreign_agent, foreign_run, foreign_approval)) in sides {
        let mut seen = String::new();
        for list in ["agents", "runs", "approvals", "sessions", "dead-letters", "orgs"] {
            seen.push_str(&http.get(&format!("/api/v1/{list}")).await.expect(200).body);
        }
        for own in [*agent, run, approval] {
            assert!(seen.contains(own), "{own} is in {seen}");
        }
        for foreign in [*foreign_agent, foreign_run, foreign_approval] {
            assert!(!seen.contains(foreign), "{foreign} is in {seen}");
        }
        for path in [
            "",
            "/events",
            "/events/1",
            "/stream",
            "/artifacts",
            "/artifacts/note.txt",
            "/approvals",
            "/children",
            "/messages",
        ] {
            let (theirs, nobodys) = (format!("/api/v1/runs/{foreign_run}{path}"), RunId::new(NOW));
            let refused = http.get(&theirs).await.expect(404).json();
            let missing = http.get(&format!("/api/v1/runs/{nobodys}{path}")).await.expect(404).json();
            assert_eq!(
                (&refused["code"], &refused["detail"]),
                (&missing["code"], &missing["detail"]),
                "{path}"
            );
        }
        for act in ["cancel", "pause", "resume", "retry", "discard", "start-over", "verify"] {
            http.post(&format!("/api/v1/runs/{foreign_run}/{act}"), &json!({}))
                .await
                .expect(404);
        }
        http.get(&format!("/api/v1/agents/{foreign_agent}")).await.expect(404);
        http.get(&format!("/api/v1/approvals/{foreign_approval}")).await.expect(404);
        let body = json!({ "decision": "approve" });
        http.post(&format!("/api/v1/approvals/{foreign_approval}/decision"), &body)
            .await
            .expect(404);
    }
    // By name and by id, and nobody is told that it is there.
    for named in ["acme".to_owned(), acme.id.to_string(), "nowhere".to_owned()] {
        for path in [
            "",
            "/usage",
            "/workspaces",
            "/workspaces/default",
            "/workspaces/default/runs",
            "/members",
        ] {
            let refused = station.owner().get(&format!("/api/v1/orgs/{named}{path}")).await.expect(404);
            assert_eq!(refused.problem(), "not_found");
        }
    }
}

#[tokio::test]
async fn a_program_must_say_which_of_several_workspaces_it_means() {
    let station = TestStation::start().await;
    let owner = station.owner();
    let me = owner.get("/api/v1/me").await.expect(200).json();
    assert_eq!(
        (&me["org"]["slug"], &me["role"], &me["workspace"]["slug"]),
        (&json!("default"), &json!("owner"), &json!("default"))
    );
    assert!(me["permissions"].as_array().unwrap().contains(&json!("org:own")));
    owner.get("/api/v1/agents").await.expect(200);

    let body = json!({ "slug": "research", "name": "Research" });
    let made = owner.post("/api/v1/orgs/default/workspaces", &body).await.expect(201).json();
    let refused = owner.get("/api/v1/agents").await.expect(400);
    assert_eq!(refused.problem(), "tenant_required");
    assert!(
        refused.json()["hint"].as_str().unwrap().contains("/workspaces/"),
        "{}",
        refused.body
    );
    assert!(owner.get("/api/v1/me").await.expect(200).json()["workspace"].is_null());
    for name in ["research", made["id"].as_str().unwrap()] {
        owner
            .get(&format!("/api/v1/orgs/default/workspaces/{name}/agents"))
            .await
            .expect(200);
    }
    owner.get("/api/v1/orgs/default/workspaces/none/agents").await.expect(404);
    // A browser has chosen one.
    station.browser().await.http().get("/api/v1/agents").await.expect(200);
    let again = owner.post("/api/v1/orgs/default/workspaces", &body).await.expect(409);
    assert_eq!(again.problem(), "already_exists");
    let wrong = owner
        .post("/api/v1/orgs/default/workspaces", &json!({ "slug": "No!" }))
        .await
        .expect(422);
    assert_eq!(wrong.json()["errors"][0]["pointer"], "/slug");
}

#[tokio::test]
async fn whoever_is_in_no_organization_is_told_so_and_can_sign_out() {
    let station = TestStation::start().await;
    account(&station, BOB).await;
    let mut browser = Browser::new(station.address);
    browser.get("/sign-in").await.expect(200);
    browser
        .submit("/sign-in", &[("email", BOB), ("password", PASSWORD), ("next", "/")])
        .await
        .expect(303);
    let page = browser.get("/").await.expect(403);
    assert!(
        page.body.contains("You are in no organization") && page.body.contains("Bob"),
        "{}",
        page.body
    );
    assert_eq!(browser.http().get("/api/v1/me").await.expect(403).problem(), "no_organization");
    browser.submit("/sign-out", &[]).await.expect(303);
    browser.get("/").await.expect(303);
}

#[tokio::test]
async fn a_browser_goes_on_where_its_person_says_and_only_where_they_may() {
    let station = TestStation::start().await;
    let mut browser = station.browser().await;
    let page = browser.get("/").await.expect(200);
    assert!(!page.body.contains("/switch"), "one place need not be named");
    account(&station, BOB).await;
    org(&station, "acme", Plan::Free, BOB).await;
    let (side, ana) = org(&station, "side", Plan::Free, OWNER_EMAIL).await;
    publish(&station, &ana, "of-the-side").await;
    let page = browser.get("/agents").await.expect(200);
    assert!(page.body.contains("/switch") && !page.body.contains("of-the-side"), "{}", page.body);
    browser.get("/switch").await.expect(200);
    browser
        .submit("/switch", &[("org", "side"), ("workspace", "default")])
        .await
        .expect(303);
    let page = browser.get("/agents").await.expect(200);
    assert!(page.body.contains("of-the-side") && page.body.contains("The side"), "{}", page.body);
    for (org, workspace) in [
        ("acme", "default"),
        ("nowhere", ""),
        ("side", "none"),
        ("side", &station.actor().await.workspace.to_string()),
    ] {
        browser
            .submit("/switch", &[("org", org), ("workspace", workspace)])
            .await
            .expect(404);
    }
    assert!(browser.get("/agents").await.expect(200).body.contains("of-the-side"));
    assert!(actions(&station, &side.id.to_string()).await.contains(&"session.switch".to_owned()));
    // What was chosen and is gone leads back to the first.
    orgs::delete(&station.app, &ana, "side", Origin::default()).await.unwrap();
    assert!(!browser.get("/agents").await.expect(200).body.contains("of-the-side"));
}

#[tokio::test]
async fn an_owner_hands_over_after_proving_who_they_are_and_the_last_one_cannot_leave() {
    let clock = SimClock::at(NOW);
    let station = TestStation::builder().clock(clock.clone()).start().await;
    let email = station.user(Role::Builder).await;
    let builder = users::local_actor(&station.app, &email, None).await.unwrap();
    let mut browser = station.browser().await;
    browser.get("/settings").await.expect(200);
    let refused = browser.submit("/settings/leave", &[]).await.expect(409);
    assert!(refused.body.contains("last owner"), "{}", refused.body);
    let id = builder.principal.to_string();
    clock.advance(Duration::from_mins(11));
    let stale = browser
        .http()
        .with("x-form-token", &browser.form_token)
        .with("sec-fetch-site", "same-origin");
    let path = "/api/v1/orgs/default/transfer";
    assert_eq!(
        stale.post(path, &json!({ "member": id })).await.expect(403).problem(),
        "proof_required"
    );

    let mut browser = station.browser().await;
    browser.get("/settings").await.expect(200);
    let nobody = PrincipalId::new(NOW).to_string();
    browser.submit("/settings/transfer", &[("member", &nobody)]).await.expect(404);
    browser.submit("/settings/transfer", &[("member", &id)]).await.expect(303);
    let roles = async |email: &str| users::local_actor(&station.app, email, None).await.unwrap().role;
    assert_eq!((roles(OWNER_EMAIL).await, roles(&email).await), (Role::Admin, Role::Owner));
    browser.submit("/settings/transfer", &[("member", &id)]).await.expect(403);
    // Not the owner any more, she may go.
    browser.submit("/settings/leave", &[]).await.expect(303);
    station.owner().get("/api/v1/runs").await.expect(401);
    let log = actions(&station, &builder.org.to_string()).await;
    for action in ["org.transfer", "member.leave"] {
        assert!(log.contains(&action.to_owned()), "{action} in {log:?}");
    }
}

#[tokio::test]
async fn a_deleted_organization_lets_nobody_in_stops_its_runs_and_can_be_restored() {
    let station = TestStation::start().await;
    let (acme, bob, key) = acme(&station, Plan::Free).await;
    publish(&station, &bob, "asks").await;
    let run = begin(&station, &bob, "asks").await.unwrap();
    until(&station, &bob, run, RunState::Waiting).await;
    let mut browser = Browser::sign_in(station.address, BOB, PASSWORD).await;
    let mut request = format!("ws://{}/ws/runs/{run}", station.address).into_client_request().unwrap();
    request.headers_mut().insert("cookie", browser.cookie().unwrap().parse().unwrap());
    request
        .headers_mut()
        .insert("origin", format!("http://{}", station.address).parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();

    browser.get("/settings").await.expect(200);
    let wrong = browser.submit("/settings/delete", &[("confirm", "ACME")]).await.expect(422);
    assert!(wrong.body.contains("Type the short name"), "{}", wrong.body);
    key.get("/api/v1/runs").await.expect(200);
    browser.submit("/settings/delete", &[("confirm", "acme")]).await.expect(303);
    key.get("/api/v1/runs").await.expect(401);
    browser.get("/").await.expect(403);
    let closed = async { while !matches!(socket.next().await, Some(Ok(Message::Close(_))) | None) {} };
    tokio::time::timeout(Duration::from_secs(30), closed)
        .await
        .expect("the socket closes");
    assert_eq!(runs::get(&station.app, &bob, run).await.unwrap().state, RunState::Cancelled);
    // The last organization of whoever looks after the station stays.
    let ana = station.actor().await;
    assert!(matches!(
        orgs::delete(&station.app, &ana, "default", Origin::default()).await,
        Err(Error::Conflict(_))
    ));

    let station_key = key_of(&station, &ana, Some(vec![Permission::StationManage])).await;
    let listed = station_key.get("/api/v1/station/orgs").await.expect(200).json();
    assert_eq!(listed["items"][0]["slug"], "acme");
    assert!(listed["items"][0]["purge_at"].is_i64(), "{listed}");
    assert_eq!(
        station
            .owner()
            .post("/api/v1/station/orgs/acme/restore", &json!({}))
            .await
            .expect(403)
            .problem(),
        "forbidden"
    );
    let path = format!("/api/v1/station/orgs/{}/restore", acme.id);
    station_key.post(&path, &json!({})).await.expect(200);
    station_key.post(&path, &json!({})).await.expect(409);
    key.get("/api/v1/runs").await.expect(200);
    let log = actions(&station, &acme.id.to_string()).await;
    for action in ["org.create", "org.delete", "org.restore"] {
        assert!(log.contains(&action.to_owned()), "{action} in {log:?}");
    }
}

/// How many rows of each table with such a column are an organization's.
fn rows_of(station: &TestStation, org: &str) -> Vec<(String, u64)> {
    let connection = Connection::open(station.directory().join(DATABASE_FILE)).unwrap();
    let mut tables = connection
        .prepare("SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND c.name = 'org_id'")
        .unwrap();
    let mut tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(tables.len() > 15, "{tables:?}");
    tables.push("orgs".to_owned());
    // What waits for a decision gives up while the weeks pass.
    tables.retain(|table| table != "waits");
    let count = |table: &String| {
        let column = if table == "orgs" { "id" } else { "org_id" };
        let sql = format!("SELECT count(*) FROM {table} WHERE {column} = ?1");
        (table.clone(), connection.query_row(&sql, [org], |row| row.get(0)).unwrap())
    };
    tables.iter().map(count).filter(|(_, rows)| *rows > 0).collect()
}

#[tokio::test]
async fn after_its_grace_nothing_is_left_of_an_organization_but_the_audit_log() {
    let clock = SimClock::at(NOW);
    let station = TestStation::builder().clock(clock.clone()).start().await;
    let (acme, bob, key) = acme(&station, Plan::Pro).await;
    let ana = station.actor().await;
    for actor in [&ana, &bob] {
        publish(&station, actor, "asks").await;
        let run = begin(&station, actor, "asks").await.unwrap();
        until(&station, actor, run, RunState::Waiting).await;
    }
    let new = NewService {
        name: "deploys".to_owned(),
        note: String::new(),
        role: Role::Operator,
    };
    service_principals::create(&station.app, &bob, new, Origin::default())
        .await
        .unwrap();
    invitations::invite(&station.app, &bob, "eve@example.com", Role::Viewer, Origin::default())
        .await
        .unwrap();
    workspaces::create(&station.app, &bob, "second", "Second", Origin::default())
        .await
        .unwrap();
    key.with("idempotency-key", "k")
        .post("/api/v1/orgs/acme/workspaces", &json!({ "slug": "third" }))
        .await
        .expect(201);
    let id = acme.id.to_string();
    let before = rows_of(&station, &id);
    for table in [
        "runs",
        "payloads",
        "blobs",
        "memory",
        "artifacts",
        "approvals",
        "invitations",
        "api_keys",
        "idempotency_keys",
    ] {
        assert!(before.iter().any(|(name, _)| name == table), "{table} in {before:?}");
    }
    let others = rows_of(&station, &ana.org.to_string());

    orgs::delete(&station.app, &bob, "acme", Origin::default()).await.unwrap();
    clock.advance(ORG_GRACE.saturating_sub(Duration::from_secs(1)));
    purge::due(&station.app).await.unwrap();
    assert!(
        rows_of(&station, &id).iter().any(|(table, _)| table == "payloads"),
        "within its grace it is all there"
    );
    clock.advance(Duration::from_secs(1));
    let late = orgs::restore(&station.app, &ana, "acme".to_owned(), Origin::default()).await;
    assert!(matches!(late, Err(Error::Conflict(_))), "{late:?}");
    // Killed after the first step, it goes on with the next.
    let (org_id, now) = (acme.id, clock.now());
    let step = station.app.store.write(move |tx| store::purge::org(tx, org_id, now)).await.unwrap();
    assert_eq!(step, store::purge::Step::Some);
    assert_eq!(purge::due(&station.app).await.unwrap(), purge::Left::Nothing);
    assert_eq!(rows_of(&station, &id), []);
    assert_eq!(
        count(
            &station,
            "SELECT count(*) FROM journal j WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = j.run_id)"
        ),
        0
    );
    assert_eq!(count(&station, "SELECT count(*) FROM principals WHERE kind = 'service'"), 0);
    assert_eq!(count(&station, "SELECT count(*) FROM users"), 2, "people stay");
    assert_eq!(rows_of(&station, &ana.org.to_string()), others, "others are not touched");
    let log = actions(&station, &id).await;
    assert_eq!(log.iter().filter(|action| *action == "org.purge").count(), 1, "{log:?}");
    org(&station, "acme", Plan::Free, BOB).await;
}

#[tokio::test]
async fn a_deleted_workspace_takes_its_agents_and_runs_with_it_and_the_last_one_stays() {
    let station = TestStation::start().await;
    let owner = station.actor().await;
    publish(&station, &owner, "stays").await;
    let made = workspaces::create(&station.app, &owner, "research", "Research", Origin::default())
        .await
        .unwrap();
    let there = Actor {
        workspace: made.id,
        ..owner.clone()
    };
    publish(&station, &there, "goes").await;
    let run = begin(&station, &there, "goes").await.unwrap();
    until(&station, &there, run, RunState::Waiting).await;
    for workspace in ["", &made.id.to_string(), &owner.workspace.to_string()] {
        let sql = "INSERT INTO policies (org_id, workspace_id, version, rules, created_at) VALUES (?1, ?2, 1, '{}', 1)";
        let database = Connection::open(station.directory().join(DATABASE_FILE)).unwrap();
        database.execute(sql, [&owner.org.to_string(), workspace]).unwrap();
    }
    let http = station.owner();
    let path = "/api/v1/orgs/default/workspaces/research";
    assert_eq!(delete(&http, path).await.expect(422).json()["errors"][0]["pointer"], "/confirm");
    delete(&http, &format!("{path}?confirm=research")).await.expect(204);
    http.get(path).await.expect(404);
    // Its short name is free at once.
    let again = workspaces::create(&station.app, &owner, "research", "Research", Origin::default())
        .await
        .unwrap();
    delete(&http, &format!("{path}?confirm=research")).await.expect(204);
    assert_ne!(again.id, made.id);
    let gone = async {
        while count(&station, "SELECT count(*) FROM workspaces") > 1 {
            purge::due(&station.app).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_mins(1), gone).await.expect("it is deleted");
    assert_eq!(count(&station, "SELECT count(*) FROM runs"), 0);
    assert_eq!(count(&station, "SELECT count(*) FROM agents"), 1);
    assert_eq!(count(&station, "SELECT count(*) FROM policies"), 2, "those of others stay");
    let last = delete(&http, "/api/v1/orgs/default/workspaces/default?confirm=default")
        .await
        .expect(409);
    assert_eq!(last.problem(), "conflict");
}
