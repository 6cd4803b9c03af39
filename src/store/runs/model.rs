//! States, holds, retries and the queue against a model, by random steps at a simulated time.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::tests::{Fixture, fixture};
use super::super::{agents, blobs, members, orgs, users, workspaces};
use super::*;
use crate::domain::id::{NodeId, WorkspaceId};
use crate::domain::manifest::Manifest;
use crate::domain::permission::Role;
use crate::domain::plan::Plan;
use crate::domain::run::{Hold, Holds};

const MANIFEST: &str = "name = \"a\"\nversion = \"1.0.0\"\nsummary = \"s\"\nruntime = \"javascript\"\nentry = \"a.js\"\n";
const NOW: Timestamp = Timestamp::from_ms(1_763_700_000_000);
const LEASE: Duration = Duration::from_secs(30);
const ORGS: usize = 3;
const TOTALS: Totals = Totals { fuel: 1, active_ms: 1 };

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert { org: usize, priority: i32 },
    Claim { slots: u32 },
    Pause(usize),
    Resume(usize),
    Cancel(usize),
    Finish { run: usize, well: bool },
    Park { run: usize, seconds: u64 },
    Retry { run: usize, seconds: u64 },
    Requeue(usize),
    Revive(usize),
    Discard(usize),
    Advance { seconds: u64 },
    RecoverExpired,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let run = 0_usize..12;
    let step = prop_oneof![
        4 => (0..ORGS, -2_i32..=2).prop_map(|(org, priority)| Step::Insert { org, priority }),
        4 => (1_u32..5).prop_map(|slots| Step::Claim { slots }),
        2 => run.clone().prop_map(Step::Pause),
        2 => run.clone().prop_map(Step::Resume),
        1 => run.clone().prop_map(Step::Cancel),
        2 => (run.clone(), any::<bool>()).prop_map(|(run, well)| Step::Finish { run, well }),
        1 => (run.clone(), 0_u64..20).prop_map(|(run, seconds)| Step::Park { run, seconds }),
        1 => (run.clone(), 0_u64..20).prop_map(|(run, seconds)| Step::Retry { run, seconds }),
        1 => run.clone().prop_map(Step::Requeue),
        1 => run.clone().prop_map(Step::Revive),
        1 => run.prop_map(Step::Discard),
        1 => (1_u64..40).prop_map(|seconds| Step::Advance { seconds }),
        1 => Just(Step::RecoverExpired),
    ];
    prop::collection::vec(step, 1..60)
}

/// A run as it should be.
#[derive(Clone, Debug)]
struct Expected {
    id: RunId,
    org: usize,
    priority: i32,
    state: RunState,
    holds: Holds,
    fence: u64,
    lease_until: Option<Timestamp>,
    wake_at: Option<Timestamp>,
    cancelling: bool,
    tries: u32,
    dead: bool,
}

#[derive(Clone, Copy)]
struct Tenant {
    scope: Scope,
    agent: AgentId,
    version: VersionId,
    person: PrincipalId,
}

struct Case {
    fixture: Fixture,
    node: NodeId,
    now: Timestamp,
    tenants: Vec<Tenant>,
    runs: Vec<Expected>,
    /// By organization: when it was last served beside others.
    served: Vec<u64>,
}

impl Case {
    async fn new() -> Self {
        let fixture = fixture();
        let mut tenants = Vec::new();
        for n in 0..ORGS {
            let at = NOW.plus(Duration::from_millis(n as u64));
            let (org, workspace, person) = (OrgId::new(at), WorkspaceId::new(at), PrincipalId::new(at));
            let (agent, version) = (AgentId::new(at), VersionId::new(at));
            let scope = Scope { org, workspace };
            fixture
                .store
                .write(move |tx| {
                    let (name, email) = (format!("o{n}"), format!("p{n}@example.com"));
                    orgs::insert(tx, org, &name, &name, Plan::Enterprise, NOW)?;
                    workspaces::insert(tx, org, workspace, "w", "w", NOW)?;
                    let new = users::NewUser {
                        email: &email,
                        name: "A",
                        password_hash: "x",
                    };
                    users::insert(tx, person, &new, NOW)?;
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
            tenants.push(Tenant {
                scope,
                agent,
                version,
                person,
            });
        }
        Self {
            fixture,
            node: NodeId::new(NOW),
            now: NOW,
            tenants,
            runs: Vec::new(),
            served: vec![0; ORGS],
        }
    }

    async fn write<T: Send + 'static>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
        self.fixture.store.write(work).await
    }

    async fn step(&mut self, step: Step) {
        // Ids sort by time; no two runs begin in the same millisecond.
        self.now = self.now.plus(Duration::from_millis(1));
        let now = self.now;
        match step {
            Step::Insert { org, priority } => self.insert(org, priority).await,
            Step::Claim { slots } => self.claim(slots).await,
            Step::Advance { seconds } => self.now = now.plus(Duration::from_secs(seconds)),
            Step::RecoverExpired => {
                let mut expected = Vec::new();
                for run in &mut self.runs {
                    if run.state == RunState::Running && run.lease_until.is_some_and(|until| until < now) {
                        (run.state, run.lease_until) = (RunState::Queued, None);
                        expected.push(run.id);
                    }
                }
                let mut found: Vec<RunId> = self
                    .write(move |tx| recover_expired(tx, now))
                    .await
                    .unwrap()
                    .iter()
                    .map(|(id, _)| *id)
                    .collect();
                found.sort();
                expected.sort();
                assert_eq!(found, expected);
            }
            Step::Pause(run) => self.hold(run, true).await,
            Step::Resume(run) => self.hold(run, false).await,
            Step::Cancel(run) => self.cancel(run).await,
            Step::Finish { run, well } => self.finish(run, well).await,
            Step::Park { run, seconds } | Step::Retry { run, seconds } => {
                self.wait(run, now.plus(Duration::from_secs(seconds)), matches!(step, Step::Retry { .. }))
                    .await;
            }
            Step::Requeue(run) => {
                let Some((i, org, id, fence)) = self.place(run) else { return };
                let done = self.write(move |tx| requeue(tx, org, id, fence)).await;
                let run = &mut self.runs[i];
                assert_eq!(done.is_ok(), run.state == RunState::Running);
                if done.is_ok() {
                    (run.state, run.lease_until) = (RunState::Queued, None);
                }
            }
            Step::Revive(run) => {
                let Some((i, org, id, _)) = self.place(run) else { return };
                let done = self.write(move |tx| retry::revive(tx, org, id)).await;
                let run = &mut self.runs[i];
                assert_eq!(done.is_ok(), run.state == RunState::Failed, "terminal stays terminal but by retry");
                if done.is_ok() {
                    (run.state, run.dead, run.tries, run.cancelling) = (RunState::Queued, false, 0, false);
                }
            }
            Step::Discard(run) => {
                let Some((i, org, id, _)) = self.place(run) else { return };
                assert_eq!(self.write(move |tx| retry::discard(tx, org, id)).await.unwrap(), self.runs[i].dead);
                self.runs[i].dead = false;
            }
        }
    }

    fn place(&self, run: usize) -> Option<(usize, OrgId, RunId, u64)> {
        let run = run.checked_rem(self.runs.len())?;
        let known = &self.runs[run];
        Some((run, self.tenants[known.org].scope.org, known.id, known.fence))
    }

    async fn insert(&mut self, org: usize, priority: i32) {
        let (tenant, now) = (self.tenants[org], self.now);
        let id = RunId::new(now);
        let new = NewRun {
            id,
            environment: Environment::default(),
            agent_id: tenant.agent,
            version_id: tenant.version,
            agent_name: "a".to_owned(),
            agent_version: "1.0.0".to_owned(),
            trigger: Trigger::Api,
            started_by: tenant.person,
            started_by_name: "A".to_owned(),
            input: "{}".to_owned(),
            priority,
            retry: "{}".to_owned(),
            pinned: false,
            session: false,
            budget_micros: None,
            key: String::new(),
            parent: None,
        };
        self.write(move |tx| insert(tx, tenant.scope, &new, now)).await.unwrap();
        self.runs.push(Expected {
            id,
            org,
            priority,
            state: RunState::Queued,
            holds: Holds::default(),
            fence: 0,
            lease_until: None,
            wake_at: None,
            cancelling: false,
            tries: 0,
            dead: false,
        });
    }

    /// What is to be claimed: slot by slot, by the rules' own words.
    fn expected_claims(&mut self, slots: u32) -> Vec<usize> {
        let now = self.now;
        for run in &mut self.runs {
            if run.state == RunState::Waiting && run.wake_at.is_some_and(|at| at <= now) {
                run.state = RunState::Queued;
            }
        }
        let mut running: BTreeMap<usize, u32> = BTreeMap::new();
        for run in self.runs.iter().filter(|run| run.state == RunState::Running) {
            *running.entry(run.org).or_default() += 1;
        }
        let mut queued: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, run) in self.runs.iter().enumerate() {
            if run.state == RunState::Queued && run.holds.is_empty() {
                queued.entry(run.org).or_default().push(i);
            }
        }
        for queue in queued.values_mut() {
            queue.sort_by_key(|&i| (-self.runs[i].priority, self.runs[i].id));
        }
        let shared = queued.len() > 1;
        let turn = queued.keys().map(|&org| self.served[org]).max().unwrap_or(0) + 1;
        let mut claims = Vec::new();
        let (served, before) = (self.served.clone(), running.clone());
        for _ in 0..slots {
            let next = queued.iter().filter(|(_, queue)| !queue.is_empty()).map(|(&org, _)| org);
            let of = |counts: &BTreeMap<usize, u32>, org: usize| counts.get(&org).copied().unwrap_or(0);
            let key = |org: &usize| {
                let (now, then) = (of(&running, *org), of(&before, *org));
                (now, now > then, served[*org], then, self.tenants[*org].scope.org)
            };
            let Some(org) = next.min_by_key(key) else {
                break;
            };
            claims.push(queued.get_mut(&org).unwrap().remove(0));
            *running.entry(org).or_default() += 1;
            if shared {
                self.served[org] = turn;
            }
        }
        claims
    }

    async fn claim(&mut self, slots: u32) {
        let expected = self.expected_claims(slots);
        let (node, now) = (self.node, self.now);
        let claimed = self
            .write(move |tx| claim(tx, node, slots, now.plus(LEASE), now, &mut Vec::new()))
            .await
            .unwrap();
        let mut found: Vec<RunId> = claimed.iter().map(|run| run.id).collect();
        let mut wanted: Vec<RunId> = expected.iter().map(|&i| self.runs[i].id).collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted);
        for run in claimed {
            let known = self.runs.iter_mut().find(|known| known.id == run.id).unwrap();
            assert!(run.fence > known.fence, "no two starts hold a run under one fence");
            assert!(known.holds.is_empty(), "no held run is claimed");
            (known.state, known.fence, known.lease_until) = (RunState::Running, run.fence, Some(now.plus(LEASE)));
        }
    }

    async fn hold(&mut self, run: usize, pause: bool) {
        let Some((i, org, id, _)) = self.place(run) else { return };
        let (person, now) = (self.tenants[self.runs[i].org].person, self.now);
        let done = self
            .write(move |tx| {
                if pause {
                    holds::hold(tx, org, id, Hold::Pause, person, now)
                } else {
                    holds::release(tx, org, id, Hold::Pause, person, now)
                }
            })
            .await;
        let run = &mut self.runs[i];
        assert_eq!(done.is_ok(), !run.state.is_terminal() && !run.cancelling);
        if done.is_ok() {
            run.holds = if pause {
                run.holds.with(Hold::Pause)
            } else {
                run.holds.without(Hold::Pause)
            };
        }
    }

    async fn cancel(&mut self, run: usize) {
        let Some((i, org, id, _)) = self.place(run) else { return };
        let (person, now) = (self.tenants[self.runs[i].org].person, self.now);
        let done = self
            .write(move |tx| request_cancel(tx, org, id, person, now, &mut Vec::new()))
            .await;
        let run = &mut self.runs[i];
        assert_eq!(done.is_ok(), !run.state.is_terminal());
        if let Ok(state) = done {
            (run.holds, run.cancelling) = (Holds::default(), true);
            if run.state != RunState::Running {
                run.state = RunState::Cancelled;
            }
            assert_eq!(state, run.state);
        }
    }

    async fn finish(&mut self, run: usize, well: bool) {
        let Some((i, org, id, fence)) = self.place(run) else { return };
        let now = self.now;
        let (state, reason) = if well {
            (RunState::Succeeded, None)
        } else {
            (RunState::Failed, Some(EndReason::Trap))
        };
        let end = Finish {
            state,
            reason,
            error: None,
            output: None,
            totals: TOTALS,
        };
        let stale = end.clone();
        let refused = self
            .write(move |tx| finish(tx, org, id, fence + 1, &stale, now, &mut Vec::new()))
            .await;
        assert!(matches!(refused, Err(Error::Fenced)), "only who holds it ends it");
        let done = self.write(move |tx| finish(tx, org, id, fence, &end, now, &mut Vec::new())).await;
        let run = &mut self.runs[i];
        assert_eq!(done.is_ok(), run.state == RunState::Running);
        if done.is_ok() {
            (run.state, run.holds, run.lease_until, run.dead) = (state, Holds::default(), None, !well);
        }
    }

    async fn wait(&mut self, run: usize, until: Timestamp, again: bool) {
        let Some((i, org, id, fence)) = self.place(run) else { return };
        let done = self
            .write(move |tx| {
                if again {
                    return retry::later(tx, org, id, fence, until, "{}", TOTALS);
                }
                let parked = Parked {
                    wake_on: WakeOn::Timer,
                    wake_at: Some(until),
                    state_hash: None,
                };
                park(tx, org, id, fence, parked)
            })
            .await;
        let run = &mut self.runs[i];
        assert_eq!(done.is_ok(), run.state == RunState::Running);
        if done.is_ok() {
            let wakes = if run.cancelling { Timestamp::from_ms(0) } else { until };
            (run.state, run.lease_until, run.wake_at) = (RunState::Waiting, None, Some(wakes));
            run.tries += u32::from(again);
        }
    }

    async fn compare(&self) {
        for known in &self.runs {
            let (org, id) = (self.tenants[known.org].scope.org, known.id);
            let run = self.fixture.store.read(move |reader| get(reader, org, id)).await.unwrap();
            assert_eq!(
                (run.state, run.holds, run.dead, run.tries),
                (known.state, known.holds, known.dead, known.tries),
                "{known:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn runs_holds_and_queue_do_what_the_model_says(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut case = Case::new().await;
            for step in steps {
                case.step(step).await;
                case.compare().await;
            }
        });
    }
}
