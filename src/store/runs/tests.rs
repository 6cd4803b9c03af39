//! The queue and its fences, driven as the dispatcher drives them.

use std::time::Duration;

use proptest::prelude::*;

use super::super::tests::{Fixture, fixture};
use super::super::{Store, agents, blobs, members, orgs, users, workspaces};
use super::*;
use crate::domain::id::{NodeId, WorkspaceId};
use crate::domain::manifest::Manifest;
use crate::domain::permission::Role;
use crate::domain::plan::Plan;

const MANIFEST: &str = "name = \"a\"\nversion = \"1.0.0\"\nsummary = \"s\"\nruntime = \"javascript\"\nentry = \"a.js\"\n";
const NOW: Timestamp = Timestamp::from_ms(1_763_700_000_000);
const LEASE: Duration = Duration::from_secs(30);

/// An organization with an agent that runs can be started of.
struct World {
    store: Store,
    scope: Scope,
    agent: AgentId,
    version: VersionId,
    person: PrincipalId,
    _fixture: Fixture,
}

impl World {
    async fn new() -> Self {
        let fixture = fixture();
        let store = fixture.store.clone();
        let (org, workspace, person) = (OrgId::new(NOW), WorkspaceId::new(NOW), PrincipalId::new(NOW));
        let (agent, version) = (AgentId::new(NOW), VersionId::new(NOW));
        let scope = Scope { org, workspace };
        store
            .write(move |tx| {
                orgs::insert(tx, org, "o", "o", Plan::Enterprise, NOW)?;
                workspaces::insert(tx, org, workspace, "w", "w", NOW)?;
                users::insert(
                    tx,
                    person,
                    &users::NewUser {
                        email: "a@b.c",
                        name: "A",
                        password_hash: "x",
                    },
                    NOW,
                )?;
                members::insert(tx, org, person, Role::Owner, NOW)?;
                let new = agents::NewVersion {
                    id: version,
                    manifest: Manifest::parse(MANIFEST).unwrap(),
                    manifest_text: MANIFEST.to_owned(),
                    code_digest: blobs::put(tx, org, b"code", NOW)?,
                    code_bytes: 4,
                    input_schema: None,
                    readme: None,
                    sample_input: None,
                    created_by: person,
                };
                agents::insert(tx, scope, agent, &new, NOW)?;
                Ok(())
            })
            .await
            .unwrap();
        Self {
            store,
            scope,
            agent,
            version,
            person,
            _fixture: fixture,
        }
    }

    async fn queue(&self, at: Timestamp) -> RunId {
        let id = RunId::new(at);
        let new = NewRun {
            id,
            environment: Environment::default(),
            agent_id: self.agent,
            version_id: self.version,
            agent_name: "a".to_owned(),
            agent_version: "1.0.0".to_owned(),
            trigger: Trigger::Api,
            started_by: self.person,
            started_by_name: "A".to_owned(),
            input: "{}".to_owned(),
            priority: 0,
            retry: "{}".to_owned(),
            pinned: false,
            session: false,
            budget_micros: None,
            key: String::new(),
            parent: None,
        };
        let scope = self.scope;
        self.store.write(move |tx| insert(tx, scope, &new, at)).await.unwrap();
        id
    }

    async fn claim(&self, node: NodeId, limit: u32, now: Timestamp) -> Vec<Claimed> {
        self.store
            .write(move |tx| claim(tx, node, limit, now.plus(LEASE), now, &mut Vec::new()))
            .await
            .unwrap()
    }

    async fn state(&self, id: RunId) -> RunState {
        let org = self.scope.org;
        self.store.read(move |reader| get(reader, org, id)).await.unwrap().state
    }
}

fn done() -> Finish {
    let totals = Totals { fuel: 1, active_ms: 1 };
    Finish {
        state: RunState::Succeeded,
        reason: None,
        error: None,
        output: Some("1".to_owned()),
        totals,
    }
}

#[tokio::test]
async fn an_organization_has_no_more_runs_executing_than_its_plan_includes() {
    let world = World::new().await;
    let (org, node) = (world.scope.org, NodeId::new(NOW));
    let most = Plan::Free.limits().running as usize;
    world.store.write(move |tx| orgs::set_plan(tx, org, Plan::Free)).await.unwrap();
    for _ in 0..most + 3 {
        world.queue(NOW).await;
    }
    let first = world.claim(node, 1, NOW).await;
    assert_eq!(first.len(), 1);
    assert_eq!(world.claim(node, 64, NOW).await.len(), most - 1);
    assert!(world.claim(node, 64, NOW).await.is_empty());
    let (run, fence) = (first[0].id, first[0].fence);
    let given_back = move |tx: &Tx<'_>| requeue(tx, org, run, fence);
    world.store.write(given_back).await.unwrap();
    assert_eq!(world.claim(node, 64, NOW).await.len(), 1);
}

#[tokio::test]
async fn nothing_of_a_deleted_organization_is_claimed() {
    let world = World::new().await;
    let (org, person, node) = (world.scope.org, world.person, NodeId::new(NOW));
    world.queue(NOW).await;
    let delete = move |tx: &Tx<'_>| orgs::delete(tx, org, person, NOW, NOW.plus(LEASE));
    world.store.write(delete).await.unwrap();
    assert!(world.claim(node, 64, NOW).await.is_empty());
}

#[tokio::test]
async fn a_run_is_claimed_once_and_in_order() {
    let world = World::new().await;
    let (first, second) = (world.queue(NOW).await, world.queue(NOW.plus(Duration::from_secs(1))).await);
    let (one, other) = (NodeId::new(NOW), NodeId::new(NOW));
    let claimed: Vec<_> = world.claim(one, 1, NOW).await.iter().map(|run| run.id).collect();
    assert_eq!(claimed, [first]);
    let claimed: Vec<_> = world.claim(other, 5, NOW).await.iter().map(|run| run.id).collect();
    assert_eq!(claimed, [second]);
    assert!(world.claim(one, 5, NOW).await.is_empty());
}

#[tokio::test]
async fn what_an_older_start_writes_is_refused_after_a_takeover() {
    let world = World::new().await;
    let id = world.queue(NOW).await;
    let old = world.claim(NodeId::new(NOW), 1, NOW).await.remove(0);
    let late = NOW.plus(LEASE).plus(Duration::from_millis(1));
    let recovered = world.store.write(move |tx| recover_expired(tx, late)).await.unwrap();
    assert_eq!(recovered.len(), 1);
    let new = world.claim(NodeId::new(NOW), 1, late).await.remove(0);
    assert!(new.fence > old.fence && new.attempt == old.attempt + 1);
    let org = world.scope.org;
    let stale = world
        .store
        .write(move |tx| finish(tx, org, id, old.fence, &done(), late, &mut Vec::new()))
        .await;
    assert!(matches!(stale, Err(Error::Fenced)));
    let entry = NewEntry::station(late, "log", serde_json::json!({}));
    let stale = world
        .store
        .write(move |tx| journal::append(tx, org, id, Some(old.fence), &[entry]))
        .await;
    assert!(matches!(stale, Err(Error::Fenced)));
    world
        .store
        .write(move |tx| finish(tx, org, id, new.fence, &done(), late, &mut Vec::new()))
        .await
        .unwrap();
    assert_eq!(world.state(id).await, RunState::Succeeded);
}

#[tokio::test]
async fn a_lease_that_is_renewed_is_not_taken_over_and_another_process_leaves_its_runs() {
    let world = World::new().await;
    let id = world.queue(NOW).await;
    let node = NodeId::new(NOW);
    let held = world.claim(node, 1, NOW).await.remove(0);
    let late = NOW.plus(LEASE).plus(LEASE);
    world
        .store
        .write(move |tx| renew(tx, node, &[(id, held.fence)], late.plus(LEASE)))
        .await
        .unwrap();
    assert!(world.store.write(move |tx| recover_expired(tx, late)).await.unwrap().is_empty());
    assert!(
        world
            .store
            .write(move |tx| recover_foreign(tx, node, late))
            .await
            .unwrap()
            .is_empty()
    );
    let next_process = NodeId::new(late);
    assert_eq!(
        world
            .store
            .write(move |tx| recover_foreign(tx, next_process, late))
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(world.state(id).await, RunState::Queued);
}

#[tokio::test]
async fn a_parked_run_is_queued_when_its_time_has_come() {
    let world = World::new().await;
    let id = world.queue(NOW).await;
    let held = world.claim(NodeId::new(NOW), 1, NOW).await.remove(0);
    let (org, due) = (world.scope.org, NOW.plus(Duration::from_secs(5)));
    let parked = Parked {
        wake_on: WakeOn::Timer,
        wake_at: Some(due),
        state_hash: None,
    };
    world.store.write(move |tx| park(tx, org, id, held.fence, parked)).await.unwrap();
    assert_eq!(world.store.read(next_wake).await.unwrap(), Some(due));
    assert!(world.claim(NodeId::new(NOW), 1, NOW).await.is_empty());
    assert_eq!(world.claim(NodeId::new(NOW), 1, due).await.len(), 1);
}

#[tokio::test]
async fn a_queued_run_is_cancelled_at_once_and_an_ended_one_not_at_all() {
    let world = World::new().await;
    let id = world.queue(NOW).await;
    let (org, person) = (world.scope.org, world.person);
    let asked = world
        .store
        .write(move |tx| request_cancel(tx, org, id, person, NOW, &mut Vec::new()))
        .await
        .unwrap();
    assert_eq!(asked, RunState::Cancelled);
    let again = world
        .store
        .write(move |tx| request_cancel(tx, org, id, person, NOW, &mut Vec::new()))
        .await;
    assert!(matches!(again, Err(Error::Conflict(_))));
    assert!(world.claim(NodeId::new(NOW), 5, NOW).await.is_empty());
}

#[tokio::test]
async fn what_a_lost_start_reserved_is_settled_when_its_run_ends() {
    for is_cancelled in [false, true] {
        let world = World::new().await;
        let id = world.queue(NOW).await;
        world.claim(NodeId::new(NOW), 1, NOW).await;
        let (scope, agent, person) = (world.scope, world.agent, world.person);
        let payer = ledger::Payer {
            org: scope.org,
            workspace: scope.workspace,
            environment: Environment::default(),
            run: id,
            agent,
            principal: person,
            key: String::new(),
        };
        let item = ledger::Item {
            kind: crate::domain::budget::LineKind::Model,
            provider: "scripted".to_owned(),
            provider_name: "scripted".to_owned(),
            model: "m".to_owned(),
            quantity: 0,
        };
        let key = ledger::TryKey {
            segment: 0,
            call: 0,
            sub: 0,
            tries: 0,
        };
        world
            .store
            .write(move |tx| ledger::reserve(tx, &payer, &key, &item, 70, NOW))
            .await
            .unwrap();
        let next = NodeId::new(NOW);
        world.store.write(move |tx| recover_foreign(tx, next, NOW)).await.unwrap();
        if is_cancelled {
            let cancel = world
                .store
                .write(move |tx| request_cancel(tx, scope.org, id, person, NOW, &mut Vec::new()));
            cancel.await.unwrap();
        } else {
            let held = world.claim(next, 1, NOW).await.remove(0);
            let finish = world
                .store
                .write(move |tx| finish(tx, scope.org, id, held.fence, &done(), NOW, &mut Vec::new()));
            finish.await.unwrap();
        }
        let ended = world.store.read(move |reader| get(reader, scope.org, id)).await.unwrap();
        assert_eq!(ended.cost_micros, 70, "cancelled: {is_cancelled}");
    }
}

#[tokio::test]
async fn another_organization_sees_nothing() {
    let world = World::new().await;
    let id = world.queue(NOW).await;
    let foreign = OrgId::new(NOW);
    assert!(matches!(
        world.store.read(move |reader| get(reader, foreign, id)).await,
        Err(Error::NotFound)
    ));
    let person = world.person;
    assert!(matches!(
        world
            .store
            .write(move |tx| request_cancel(tx, foreign, id, person, NOW, &mut Vec::new()))
            .await,
        Err(Error::NotFound)
    ));
    assert!(
        world
            .store
            .read(move |reader| journal::page(reader, foreign, id, 0, 10))
            .await
            .unwrap()
            .is_empty()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn pages_of_any_size_make_the_whole_list(count in 0_usize..40, size in 1_u32..15) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            let mut all = Vec::new();
            for i in 0..count {
                all.push(world.queue(NOW.plus(Duration::from_millis(i as u64))).await);
            }
            all.reverse();
            let (mut paged, mut before) = (Vec::new(), None);
            loop {
                let scope = world.scope;
                let page = world.store.read(move |reader| list(reader, scope, &Filter::default(), before, size)).await.unwrap();
                let Some(last) = page.last() else { break };
                before = Some(last.id);
                paged.extend(page.iter().map(|run| run.id));
            }
            assert_eq!(paged, all);
        });
    }
}
