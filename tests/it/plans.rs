//! What a plan includes, where it ends, and what is counted.

use std::time::Duration;

use agentstation::domain::origin::Origin;
use agentstation::domain::permission::{Actor, Permission};
use agentstation::domain::plan::Plan;
use agentstation::domain::run::{Hold, RunState, Trigger};
use agentstation::services::agents::{self, AgentRef, Target};
use agentstation::services::{Error, dead_letters, runs, workspaces};
use agentstation::store::{self, DATABASE_FILE};
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::agents::script;
use crate::support::http::Answer;
use crate::support::orgs::{ASKS, acme, actions, begin, count, key_of, publish, until};
use crate::support::program::Place;
use crate::support::{Http, OWNER_EMAIL, TestStation};

/// Has the organization store all but so many of the bytes that the free plan includes.
fn fill(station: &TestStation, actor: &Actor, but: u64) {
    let connection = Connection::open(station.directory().join(DATABASE_FILE)).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    let stored = i64::try_from(Plan::Free.limits().stored_bytes - but).unwrap();
    let filled = connection.execute("UPDATE orgs SET stored_bytes = ?2 WHERE id = ?1", (actor.org.to_string(), stored));
    assert_eq!(filled.unwrap(), 1);
}

async fn send(http: &Http, method: Method, path: &str, body: &Value) -> Answer {
    http.send(method, path, Some("application/json"), body.to_string().into_bytes())
        .await
}

#[tokio::test]
async fn the_counter_of_stored_bytes_is_what_is_stored() {
    let station = TestStation::start().await;
    let owner = station.actor().await;
    publish(&station, &owner, "asks").await;
    for _ in 0..2 {
        let run = begin(&station, &owner, "asks").await.unwrap();
        until(&station, &owner, run, RunState::Waiting).await;
    }
    let sum = "SELECT (SELECT sum(bytes) FROM payloads) + (SELECT sum(bytes) FROM blobs)";
    let usage = station.owner().get("/api/v1/orgs/default/usage").await.expect(200).json();
    assert_eq!(usage["stored_bytes"]["used"], count(&station, sum));
    assert_eq!(
        (&usage["agents"]["used"], &usage["members"]["used"], &usage["plan"]),
        (&json!(1), &json!(1), &json!("enterprise"))
    );
}

#[tokio::test]
async fn a_plan_ends_where_it_says_and_a_larger_one_goes_on() {
    let station = TestStation::start().await;
    let (acme, bob, key) = acme(&station, Plan::Free).await;
    let refused = |result: Result<(), Error>| match result {
        Err(Error::PlanLimit(text)) => assert!(text.contains("free") && text.contains("larger plan"), "{text}"),
        other => panic!("{other:?}"),
    };
    workspaces::create(&station.app, &bob, "second", "Second", Origin::default())
        .await
        .unwrap();
    refused(
        workspaces::create(&station.app, &bob, "third", "Third", Origin::default())
            .await
            .map(drop),
    );
    let answer = key
        .post("/api/v1/orgs/acme/workspaces", &json!({ "slug": "third" }))
        .await
        .expect(403);
    assert_eq!(answer.problem(), "plan_limit");

    publish(&station, &bob, "asks").await;
    for n in 1..Plan::Free.limits().agents {
        publish(&station, &bob, &format!("agent-{n}")).await;
    }
    let over = agents::create(&station.app, &bob, script("over", "", ASKS), Target::New, Origin::default()).await;
    refused(over.map(drop));

    fill(&station, &bob, 0);
    refused(begin(&station, &bob, "asks").await.map(drop));
    let upload = script("asks", "", "export default () => 1").manifest.replace("1.0.0", "1.0.1");
    let upload = agents::Upload {
        manifest: upload,
        ..script("asks", "", "export default () => 1")
    };
    let agent = agents::find(&station.app, &bob, &AgentRef::Name("asks".to_owned())).await.unwrap();
    refused(
        agents::create(&station.app, &bob, upload, Target::Version(agent.id), Origin::default())
            .await
            .map(drop),
    );

    let station_key = key_of(&station, &station.actor().await, Some(vec![Permission::StationManage])).await;
    send(&station_key, Method::PATCH, "/api/v1/station/orgs/acme", &json!({ "plan": "gold" }))
        .await
        .expect(422);
    send(&station_key, Method::PATCH, "/api/v1/station/orgs/acme", &json!({ "plan": "pro" }))
        .await
        .expect(200);
    begin(&station, &bob, "asks").await.unwrap();
    workspaces::create(&station.app, &bob, "third", "Third", Origin::default())
        .await
        .unwrap();
    assert!(
        actions(&station, &acme.id.to_string())
            .await
            .contains(&"org.change-plan".to_owned())
    );
    // Smaller again, what there is stays.
    send(&station_key, Method::PATCH, "/api/v1/station/orgs/acme", &json!({ "plan": "free" }))
        .await
        .expect(200);
    assert_eq!(workspaces::list(&station.app, &bob).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_full_queue_refuses_the_next_run_and_takes_it_when_there_is_room() {
    let station = TestStation::start().await;
    let (_, bob, _) = acme(&station, Plan::Free).await;
    publish(&station, &bob, "asks").await;
    let first = begin(&station, &bob, "asks").await.unwrap();
    until(&station, &bob, first, RunState::Waiting).await;
    // Runs on hold take their places too, and nothing executes them.
    let (asking, most) = (bob.clone(), Plan::Free.limits().queued);
    let fill = move |tx: &store::Tx<'_>| {
        let run = store::runs::get(tx, asking.org, first)?;
        let scope = store::Scope {
            org: asking.org,
            workspace: asking.workspace,
        };
        let now = tx.now();
        for _ in 0..most {
            let id = agentstation::domain::id::RunId::new(now);
            let new = store::runs::NewRun {
                id,
                environment: run.environment.clone(),
                agent_id: run.agent_id,
                version_id: run.version_id,
                agent_name: run.agent_name.clone(),
                agent_version: run.agent_version.clone(),
                trigger: Trigger::Api,
                started_by: asking.principal,
                started_by_name: asking.name.clone(),
                priority: 0,
                input: "{}".to_owned(),
                retry: "{}".to_owned(),
                pinned: false,
                session: false,
                budget_micros: None,
                key: String::new(),
                parent: None,
            };
            store::runs::insert(tx, scope, &new, now)?;
            store::runs::holds::hold(tx, asking.org, id, Hold::Pause, asking.principal, now)?;
        }
        Ok(())
    };
    station.app.store.write(fill).await.unwrap();
    let refused = begin(&station, &bob, "asks").await;
    assert!(
        matches!(&refused, Err(Error::PlanLimit(text)) if text.contains("500 queued runs")),
        "{refused:?}"
    );
    let held = runs::list(&station.app, &bob, store::runs::Filter::default(), None, 1)
        .await
        .unwrap();
    runs::cancel(&station.app, &bob, held[0].id, Origin::default()).await.unwrap();
    begin(&station, &bob, "asks").await.unwrap();
}

#[tokio::test]
async fn an_agent_that_stores_more_than_the_plan_includes_is_told_so() {
    let station = TestStation::start().await;
    let (_, bob, _) = acme(&station, Plan::Free).await;
    let source = "export default async function run(input, station) {
      await station.clock.sleep(300);
      try { await station.artifacts.put('a.txt', 'x'.repeat(5000), 'text/plain'); return 'put'; } catch (error) { return error.code; }
    }";
    agents::create(&station.app, &bob, script("puts", "", source), Target::New, Origin::default())
        .await
        .unwrap();
    let run = begin(&station, &bob, "puts").await.unwrap();
    fill(&station, &bob, 1_000);
    until(&station, &bob, run, RunState::Succeeded).await;
    let (_, output) = runs::texts(&station.app, &bob, run).await.unwrap();
    assert_eq!(output.as_deref(), Some("\"limit_exceeded\""));
}

#[tokio::test]
async fn a_run_is_started_over_in_its_own_workspace() {
    let station = TestStation::start().await;
    let owner = station.actor().await;
    let made = workspaces::create(&station.app, &owner, "research", "Research", Origin::default())
        .await
        .unwrap();
    let there = Actor {
        workspace: made.id,
        ..owner.clone()
    };
    agents::create(
        &station.app,
        &there,
        script("one", "", "export default () => 1"),
        Target::New,
        Origin::default(),
    )
    .await
    .unwrap();
    let run = begin(&station, &there, "one").await.unwrap();
    until(&station, &there, run, RunState::Succeeded).await;
    // By its id it is found from the other workspace of the same organization.
    let again = dead_letters::start_over(&station.app, &owner, run, false, Trigger::Manual, Origin::default())
        .await
        .unwrap();
    assert_eq!(again.workspace, made.id);
    until(&station, &owner, again.id, RunState::Succeeded).await;
    assert_eq!(
        runs::list(&station.app, &there, store::runs::Filter::default(), None, 10)
            .await
            .unwrap()
            .len(),
        2
    );
    assert!(
        runs::list(&station.app, &owner, store::runs::Filter::default(), None, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn organizations_are_made_listed_and_restored_from_the_shell() {
    let place = Place::new();
    place.init().await;
    place
        .run(&["org", "create", "acme", "--plan", "gold", "--owner", OWNER_EMAIL])
        .await
        .expect(1);
    let nobody = place
        .run(&["org", "create", "acme", "--owner", "nobody@example.com"])
        .await
        .expect(1);
    assert!(nobody.stderr.contains("has an account"), "{}", nobody.stderr);
    let args = ["org", "create", "acme", "--name", "Acme \u{1b}[2J", "--owner", OWNER_EMAIL];
    place.run(&args).await.expect(1);
    place
        .run(&["org", "create", "acme", "--name", "Acme", "--plan", "pro", "--owner", OWNER_EMAIL])
        .await
        .expect(0);
    let listed = place.run(&["org", "list"]).await.expect(0);
    assert_eq!(
        listed.stdout,
        "acme  Acme  pro  members: 1\ndefault  default  enterprise  members: 1\n"
    );
    let lines = place.run(&["org", "list", "--output", "json"]).await.expect(0);
    let first: Value = serde_json::from_str(lines.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((&first["slug"], &first["deleted_at"]), (&json!("acme"), &Value::Null));
    let refused = place.run(&["org", "restore", "acme"]).await.expect(1);
    assert!(refused.stderr.contains("not being deleted"), "{}", refused.stderr);
    place.run(&["org", "restore", "nowhere"]).await.expect(1);
}
