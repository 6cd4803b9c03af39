//! A second organization beside the one of the owner, and what is in it.

use std::time::Duration;

use agentstation::domain::id::{PrincipalId, RunId};
use agentstation::domain::origin::Origin;
use agentstation::domain::permission::{Actor, Permission};
use agentstation::domain::plan::Plan;
use agentstation::domain::retry::RetryChange;
use agentstation::domain::run::{RunState, Trigger};
use agentstation::services::agents::{self, AgentRef, Target};
use agentstation::services::keys::{self, NewKey};
use agentstation::services::orgs::{self, NewOrg, Org};
use agentstation::services::runs::{self, StartRun};
use agentstation::services::{Error, users};
use agentstation::store::{self, DATABASE_FILE};
use rusqlite::Connection;

use super::agents::script;
use super::{Http, PASSWORD, TestStation};

pub const BOB: &str = "bob@example.net";
/// Asks a person, and leaves something everywhere before.
pub const ASKS: &str = "export default async function run(input, station) {
  await station.memory.put('k', 'a remembered text');
  await station.artifacts.put('note.txt', 'a note of the run', 'text/plain');
  return await station.approvals.request({ action: 'x', arguments: {}, reason: 'y'.repeat(900) });
}";
pub const MAY: &str = "[capabilities]\nmemory = true\n";

pub async fn key_of(station: &TestStation, actor: &Actor, scopes: Option<Vec<Permission>>) -> Http {
    let new = NewKey {
        name: "test".to_owned(),
        scopes,
        lasts: keys::LASTS_DEFAULT,
    };
    station
        .nobody()
        .bearer(&keys::create(&station.app, actor, new, Origin::default()).await.unwrap())
}

/// An account of the station with this password: [`PASSWORD`], a member of nothing.
pub async fn account(station: &TestStation, email: &str) -> PrincipalId {
    let now = station.app.clock.now();
    let (id, email) = (PrincipalId::new(now), email.to_owned());
    let hash = agentstation::crypto::password::hash(PASSWORD).unwrap();
    let insert = move |tx: &store::Tx<'_>| {
        let new = store::users::NewUser {
            email: &email,
            name: "Bob",
            password_hash: &hash,
        };
        store::users::insert(tx, id, &new, now)
    };
    station.app.store.write(insert).await.unwrap();
    id
}

/// Another organization of this owner.
pub async fn org(station: &TestStation, slug: &str, plan: Plan, owner: &str) -> (Org, Actor) {
    let new = NewOrg {
        slug: slug.to_owned(),
        name: format!("The {slug}"),
        plan,
        owner: Some(owner.to_owned()),
    };
    let made = orgs::create(&station.app, &station.actor().await, new, Origin::default())
        .await
        .unwrap();
    let actor = users::local_actor(&station.app, owner, Some(slug.to_owned())).await.unwrap();
    (made, actor)
}

/// Bob with an organization of his own on this plan, and a client with a key of his.
pub async fn acme(station: &TestStation, plan: Plan) -> (Org, Actor, Http) {
    account(station, BOB).await;
    let (made, bob) = org(station, "acme", plan, BOB).await;
    let key = key_of(station, &bob, None).await;
    (made, bob, key)
}

pub async fn publish(station: &TestStation, actor: &Actor, name: &str) {
    agents::create(&station.app, actor, script(name, MAY, ASKS), Target::New, Origin::default())
        .await
        .unwrap();
}

pub async fn begin(station: &TestStation, actor: &Actor, agent: &str) -> Result<RunId, Error> {
    let start = StartRun {
        agent: AgentRef::Name(agent.to_owned()),
        version: None,
        input: "{}".to_owned(),
        trigger: Trigger::Api,
        message: None,
        priority: 0,
        retry: RetryChange::default(),
        budget_micros: None,
    };
    runs::start(&station.app, actor, start).await
}

/// Waits until a run is in this state.
pub async fn until(station: &TestStation, actor: &Actor, run: RunId, state: RunState) {
    let reached = async {
        while runs::get(&station.app, actor, run).await.unwrap().state != state {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), reached)
        .await
        .expect("it comes to that");
}

pub fn count(station: &TestStation, sql: &str) -> u64 {
    let connection = Connection::open(station.directory().join(DATABASE_FILE)).unwrap();
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// What the audit log of a chain says was done.
pub async fn actions(station: &TestStation, chain: &str) -> Vec<String> {
    let chain = chain.to_owned();
    let lines = station
        .app
        .store
        .read(move |reader| store::audit::list(reader, &chain, &store::audit::Filter::default(), None, 500))
        .await;
    lines.unwrap().into_iter().map(|line| line.entry.action).collect()
}
