//! The store and the model side by side.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::super::super::tests::Fixture;
use super::super::super::{
    DATABASE_FILE, Options, Scope, Store, Synchronous, agents, blobs, budgets, members, orgs, runs, users, waits, workspaces,
};
use super::super::*;
use super::calls::key;
use super::model::{self, Model, Run, State};
use super::{Share, Step};
use crate::domain::budget::{BudgetScope, OnExhausted, Period};
use crate::domain::id::{BudgetId, NodeId, VersionId};
use crate::domain::manifest::Manifest;
use crate::domain::permission::Role;
use crate::domain::plan::Plan;
use crate::domain::run::Trigger;
use crate::domain::time::SimClock;

/// Two days before clocks are put back in Europe, nine before they are in America.
const BEGINS: &str = "2026-10-23";
const ZONES: [&str; 5] = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe"];
const PERIODS: [Period; 4] = [Period::Day, Period::Week, Period::Month, Period::Once];
const KEYS: [&str; 2] = ["key-one", "key-two"];

pub struct World {
    pub store: Store,
    clock: Arc<SimClock>,
    /// Where the store is.
    dir: TempDir,
    pub org: OrgId,
    scopes: Vec<(BudgetScope, String)>,
    pub calls: u32,
    pub model: Model,
}

fn new_run(id: RunId, payer: &Payer, version: VersionId, parent: Option<RunId>, depth: u32, budget: Option<i64>) -> NewRun {
    let key = waits::Key {
        segment: 0,
        call: 1,
        sub: 0,
    };
    NewRun {
        id,
        environment: Environment::default(),
        agent_id: payer.agent,
        version_id: version,
        agent_name: "a".to_owned(),
        agent_version: "1.0.0".to_owned(),
        trigger: Trigger::Api,
        started_by: payer.principal,
        started_by_name: "A".to_owned(),
        input: "{}".to_owned(),
        priority: 0,
        retry: "{}".to_owned(),
        pinned: false,
        session: false,
        budget_micros: budget.map(i64::unsigned_abs),
        key: payer.key.clone(),
        parent: parent.map(|run| runs::Parent {
            run,
            key,
            depth,
            ask_writes: false,
            forked_from: None,
        }),
    }
}

impl World {
    pub async fn new() -> Self {
        let Fixture { store, clock, dir } = super::super::super::tests::fixture_at(Timestamp::of_day(BEGINS).unwrap());
        let now = clock_now(&clock);
        let org = OrgId::new(now);
        let spaces = [WorkspaceId::new(now), WorkspaceId::new(now)];
        let people = [PrincipalId::new(now), PrincipalId::new(now)];
        let (bots, versions) = (
            [AgentId::new(now), AgentId::new(now), AgentId::new(now)],
            [VersionId::new(now), VersionId::new(now), VersionId::new(now)],
        );
        let payer = |space: usize, bot: usize, person: usize, key: &str| Payer {
            org,
            workspace: spaces[space],
            environment: Environment::default(),
            run: RunId::new(now),
            agent: bots[bot],
            principal: people[person],
            key: key.to_owned(),
        };
        // A run with one below it and one below that, and two that stand alone.
        let plan = [
            (payer(0, 0, 0, ""), 0, None, Some(300)),
            (payer(0, 1, 0, ""), 1, Some(0), None),
            (payer(0, 0, 0, KEYS[0]), 0, Some(1), Some(150)),
            (payer(1, 2, 1, KEYS[0]), 2, None, None),
            (payer(0, 1, 1, KEYS[1]), 1, None, Some(400)),
        ];
        let mut scopes = vec![(BudgetScope::Org, String::new())];
        scopes.extend(spaces.map(|id| (BudgetScope::Workspace, id.to_string())));
        scopes.extend(bots.map(|id| (BudgetScope::Agent, id.to_string())));
        scopes.extend(people.map(|id| (BudgetScope::Principal, id.to_string())));
        scopes.extend(KEYS.map(|id| (BudgetScope::Key, id.to_owned())));
        let model = Model {
            runs: plan
                .iter()
                .map(|(payer, _, parent, budget)| Run {
                    payer: payer.clone(),
                    parent: *parent,
                    budget: *budget,
                })
                .collect(),
            ..Model::default()
        };
        store
            .write(move |tx| {
                orgs::insert(tx, org, "o", "o", Plan::Enterprise, now)?;
                for (id, name) in spaces.into_iter().zip(["v", "w"]) {
                    workspaces::insert(tx, org, id, name, name, now)?;
                }
                for (id, email) in people.into_iter().zip(["a@b.c", "d@e.f"]) {
                    let new = users::NewUser {
                        email,
                        name: "A",
                        password_hash: "x",
                    };
                    users::insert(tx, id, &new, now)?;
                    members::insert(tx, org, id, Role::Owner, now)?;
                }
                for ((id, version), (space, name)) in bots.into_iter().zip(versions).zip([(0, "a"), (0, "b"), (1, "c")]) {
                    let text =
                        format!("name = \"{name}\"\nversion = \"1.0.0\"\nsummary = \"s\"\nruntime = \"javascript\"\nentry = \"a.js\"\n");
                    let new = agents::NewVersion {
                        id: version,
                        manifest: Manifest::parse(&text).unwrap(),
                        manifest_text: text,
                        code_digest: blobs::put(tx, org, b"code", now)?,
                        code_bytes: 4,
                        input_schema: None,
                        readme: None,
                        sample_input: None,
                        created_by: people[0],
                    };
                    let workspace = spaces[space];
                    agents::insert(tx, Scope { org, workspace }, id, &new, now)?;
                }
                let ids: Vec<RunId> = plan.iter().map(|(payer, ..)| payer.run).collect();
                for (payer, version, parent, budget) in &plan {
                    let depth = u32::from(parent.is_some());
                    let new = new_run(payer.run, payer, versions[*version], parent.map(|at| ids[at]), depth, *budget);
                    let workspace = payer.workspace;
                    runs::insert(tx, Scope { org, workspace }, &new, now)?;
                }
                Ok(())
            })
            .await
            .unwrap();
        let mut world = Self {
            store,
            clock,
            dir,
            org,
            scopes,
            calls: 0,
            model,
        };
        // Of the organization in each period, and some that overlap in part.
        for (scope, period, zone, limit) in [
            (0, 0, 1, 250),
            (0, 2, 0, 900),
            (1, 1, 2, 350),
            (3, 0, 3, 200),
            (6, 3, 0, 700),
            (8, 0, 4, 120),
        ] {
            world.make(scope, period, zone, limit).await;
        }
        world
    }

    pub fn now(&self) -> Timestamp {
        clock_now(&self.clock)
    }

    pub async fn write<T: Send + 'static>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T, Error> + Send + 'static) -> T {
        self.store.write(work).await.unwrap()
    }

    async fn make(&mut self, scope: usize, period: usize, zone: usize, limit: i64) {
        let (scope, target) = self.scopes[scope % self.scopes.len()].clone();
        let (period, zone) = (PERIODS[period % PERIODS.len()], ZONES[zone % ZONES.len()]);
        let id = BudgetId::new(self.now());
        let new = budgets::Budget {
            id,
            org: self.org,
            name: "b".to_owned(),
            scope,
            target: target.clone(),
            limit_micros: limit.unsigned_abs(),
            period,
            time_zone: zone.to_owned(),
            on_exhausted: OnExhausted::Fail,
            raise_micros: 0,
            raise_until: None,
            version: 1,
            created_by: None,
            created_at: self.now(),
            updated_at: self.now(),
        };
        self.write(move |tx| budgets::insert(tx, &new)).await;
        self.model.budgets.push(model::Budget {
            id,
            scope,
            target,
            limit,
            raise: (0, None),
            period,
            zone,
        });
    }

    /// Changes a budget in both; `change` says what becomes of it.
    async fn change(&mut self, which: usize, change: impl Fn(&mut model::Budget)) {
        let count = self.model.budgets.len();
        if count == 0 {
            return;
        }
        let budget = &mut self.model.budgets[which % count];
        change(budget);
        let (budget, org, now) = (budget.clone(), self.org, self.now());
        self.write(move |tx| {
            let before = budgets::get(tx, org, budget.id)?;
            let after = budgets::Budget {
                limit_micros: budget.limit.unsigned_abs(),
                raise_micros: budget.raise.0.unsigned_abs(),
                raise_until: budget.raise.1,
                period: budget.period,
                time_zone: budget.zone.to_owned(),
                ..before.clone()
            };
            budgets::change(tx, &before, &after, now)
        })
        .await;
    }

    /// Of the open lines one, if there are any.
    fn open(&self, which: usize) -> Option<usize> {
        let lines = self.model.lines.iter().enumerate();
        let open: Vec<usize> = lines.filter(|(_, line)| line.state == State::Reserved).map(|(at, _)| at).collect();
        (!open.is_empty()).then(|| open[which % open.len()])
    }

    pub async fn take(&mut self, step: &Step) {
        let before = self.model.clone();
        let (then, mut may_pass) = (self.now(), false);
        match *step {
            Step::Reserve { run, micros, is_http } => self.reserve(run, micros, is_http).await,
            Step::Settle { which, share, estimated } => {
                if let Some(at) = self.open(which) {
                    let reserved = self.model.lines[at].reserved;
                    let (cost, estimated) = match share {
                        Share::Nothing => (0, estimated),
                        Share::Part(percent) => (reserved * i64::try_from(percent).unwrap() / 100, estimated),
                        Share::All => (reserved, estimated),
                        // What a provider counts is what it takes; a guess is never more than was reserved.
                        Share::More(micros) => (reserved + i64::try_from(micros).unwrap(), false),
                    };
                    may_pass = cost > reserved;
                    self.settle(at, &[(cost, estimated, "m")]).await;
                }
            }
            Step::SettleBoth { which, percent } => {
                if let Some(at) = self.open(which) {
                    let reserved = self.model.lines[at].reserved;
                    let first = reserved * i64::try_from(percent).unwrap() / 100;
                    self.settle(at, &[(first, true, "m"), (reserved - first, false, "n")]).await;
                }
            }
            Step::Release { which } => {
                if let Some(at) = self.open(which) {
                    self.settle(at, &[]).await;
                }
            }
            Step::Again { which } => {
                if let Some(at) = self.open(which) {
                    let line = self.model.lines[at].clone();
                    let (org, run, key, now) = (self.org, self.model.payer(&line).run, key(&line), self.now());
                    self.write(move |tx| settle_lost_tries(tx, org, run, &key, now)).await;
                    self.lost(|each| each.run == line.run && each.call == line.call);
                }
            }
            Step::GiveUp { run } => {
                let run = run % self.model.runs.len();
                let (org, id, now) = (self.org, self.model.runs[run].payer.run, self.now());
                self.write(move |tx| settle_left(tx, org, id, now)).await;
                self.lost(|line| line.run == run);
            }
            Step::Note { run, micros } => {
                self.note(run, micros).await;
                may_pass = true;
            }
            Step::Crash => self.crash().await,
            Step::Reprice { hours, halves } => {
                self.reprice(hours, halves).await;
                may_pass = true;
            }
            Step::Raise { budget, micros, hours } => {
                let until = then.plus(Duration::from_hours(hours));
                let micros = i64::try_from(micros).unwrap();
                self.change(budget, |budget| budget.raise = (micros, Some(until))).await;
                may_pass = true;
            }
            Step::Limit { budget, micros } => {
                let micros = i64::try_from(micros).unwrap();
                self.change(budget, |budget| budget.limit = micros).await;
                may_pass = true;
            }
            Step::Recast { budget, period, zone } => {
                let (period, zone) = (PERIODS[period % PERIODS.len()], ZONES[zone % ZONES.len()]);
                self.change(budget, |budget| (budget.period, budget.zone) = (period, zone)).await;
                may_pass = true;
            }
            Step::Make {
                scope,
                period,
                zone,
                micros,
            } => self.make(scope, period, zone, i64::try_from(micros).unwrap()).await,
            Step::Remove { budget } => self.remove(budget).await,
            Step::Later { minutes } => {
                self.clock.advance(Duration::from_mins(minutes));
                // The end of a raise.
                may_pass = true;
            }
        }
        if !may_pass {
            self.none_passed_further(&before, step);
        }
    }

    /// Calls cannot bring a budget above its limit, nor, where something else has, any further.
    fn none_passed_further(&self, before: &Model, step: &Step) {
        let now = self.now();
        for budget in &self.model.budgets {
            if before.budgets.iter().any(|known| known.id == budget.id) {
                let (was, is) = (before.excess(budget, now), self.model.excess(budget, now));
                assert!(is <= was, "{step:?} passes {budget:?} by {is} after {was}");
            }
        }
        for run in 0..self.model.runs.len() {
            let (was, is) = (before.run_excess(run), self.model.run_excess(run));
            assert!(is <= was, "{step:?} passes the budget of run {run} by {is} after {was}");
        }
    }

    async fn remove(&mut self, which: usize) {
        let count = self.model.budgets.len();
        if count > 0 {
            let (org, id) = (self.org, self.model.budgets.remove(which % count).id);
            self.write(move |tx| {
                let budget = budgets::get(tx, org, id)?;
                budgets::remove(tx, &budget)
            })
            .await;
        }
    }

    /// Goes on with what is on the disk, as the station does when it starts.
    async fn crash(&mut self) {
        let copy = tempfile::tempdir().unwrap();
        for name in [DATABASE_FILE, "agentstation.db-wal"] {
            std::fs::copy(self.dir.path().join(name), copy.path().join(name)).unwrap();
        }
        let options = Options {
            synchronous: Synchronous::Off,
            ..Options::new(copy.path())
        };
        self.store = Store::open(options, self.clock.clone()).unwrap();
        self.dir = copy;
        self.recover().await;
    }

    async fn recover(&mut self) {
        let (now, node) = (self.now(), NodeId::new(self.now()));
        self.write(move |tx| runs::recover_foreign(tx, node, now)).await;
        while self.write(move |tx| settle_all_left(tx, 2, now)).await {}
        self.lost(|_| true);
    }

    pub async fn check(&self, when: &str) {
        super::check::check(&self.store, self.org, &self.model, self.now(), when).await;
    }

    pub async fn end(&mut self) {
        self.recover().await;
        self.check("at the end").await;
        let held = self.model.sum(|_| true).1;
        assert_eq!(held, 0, "nothing stays reserved");
    }
}

fn clock_now(clock: &SimClock) -> Timestamp {
    crate::domain::time::Clock::now(clock)
}
