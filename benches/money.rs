//! What money costs: a metered call of a model against the bare client and against a free one, and reservations against plain writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentstation::domain::budget::{BudgetScope, Fit, LineKind, OnExhausted, Period, Standing};
use agentstation::domain::chat::{ChatMessage, ChatRequest, ChatRole, Show};
use agentstation::domain::id::RunId;
use agentstation::domain::journal::NewEntry;
use agentstation::domain::money::{Charge, Usage};
use agentstation::domain::origin::Origin;
use agentstation::domain::price::Tariff;
use agentstation::domain::run::Environment;
use agentstation::llm::{Asking, SoFar, Whose};
use agentstation::services::budgets::NewBudget;
use agentstation::services::{budgets, runs};
use agentstation::store::ledger::{self, Item, Payer, Settlement, TryKey};
use agentstation::store::{self, journal};
use serde_json::json;

use crate::report::{line, ms, percentile};
use crate::station::{PAID_MODEL, Station, run_of};

/// Calls of one run, one after the other.
const CALLS: usize = 500;
const ROUNDS: usize = 5;
const RESERVATIONS: usize = 16_000;
/// So much that nothing of it is used up.
const PLENTY_MICROS: u64 = 1_000_000_000_000;

/// Budgets of everything that a run can be in, for a day each: four that every call is reserved in, beside the run's own.
async fn make_budgets(station: &Station) {
    let actor = &station.actor;
    for (scope, target) in [
        (BudgetScope::Org, String::new()),
        (BudgetScope::Workspace, actor.workspace.to_string()),
        (BudgetScope::Principal, actor.principal.to_string()),
        (BudgetScope::Org, String::new()),
    ] {
        let new = NewBudget {
            name: "measured".to_owned(),
            scope,
            target,
            limit_micros: PLENTY_MICROS,
            period: Period::Day,
            time_zone: "Europe/Berlin".to_owned(),
            on_exhausted: OnExhausted::Fail,
        };
        budgets::create(&station.app, actor, new, Origin::default())
            .await
            .expect("a budget");
    }
}

fn request() -> ChatRequest {
    ChatRequest {
        model: PAID_MODEL.to_owned(),
        messages: vec![ChatMessage {
            role: ChatRole::User,
            content: "hello".to_owned(),
            tool_calls: vec![],
            tool_call_id: None,
        }],
        tools: vec![],
        tool_choice: None,
        response_schema: None,
        max_output_tokens: Some(100),
        temperature: None,
        stop: vec![],
        show: Show::None,
    }
}

/// The client alone, one call after the other.
async fn bare(station: &Station, calls: usize) -> Duration {
    let (model, tariff) = (station.app.models.get(PAID_MODEL).expect("a model"), Tariff::default());
    let began = Instant::now();
    for _ in 0..calls {
        let asking = Asking {
            whose: Whose::default(),
            tariff: &tariff,
            key: None,
            left_micros: PLENTY_MICROS,
            has_another: false,
            deltas: &mut |_| {},
            so_far: &SoFar::default(),
        };
        model.ask(&request(), asking).await.expect("a reply");
    }
    began.elapsed() / u32::try_from(calls).expect("few calls")
}

/// The same calls by an agent, without what its run takes beside them.
async fn by_agent(station: &Station, source: &agentstation::services::agents::AgentRef, model: &str, calls: usize) -> Duration {
    let mut took = [Duration::ZERO; 2];
    for (took, calls) in took.iter_mut().zip([0, calls]) {
        let mut new = run_of(source, json!({ "calls": calls, "model": model }).to_string());
        new.budget_micros = Some(PLENTY_MICROS);
        let began = Instant::now();
        let id = runs::start(&station.app, &station.actor, new).await.expect("queued");
        let ended = runs::wait(&station.app, &station.actor, id, Duration::from_mins(2))
            .await
            .expect("ended");
        *took = began.elapsed();
        assert_eq!(ended.state.as_str(), "succeeded", "{ended:?}");
    }
    took[1].saturating_sub(took[0]) / u32::try_from(calls).expect("few calls")
}

async fn calls(scale: usize) {
    let station = Station::start(1).await;
    let source = "export default async function run(input, station) {
      for (let i = 0; i < input.calls; i++) await station.models.chat({ model: input.model, messages: ['hello'], maxOutputTokens: 100 });
    }";
    let capabilities = format!("models = [\"default\", \"{PAID_MODEL}\"]\n");
    let agent = station.script("asker", &capabilities, source).await;
    let (calls, rounds) = ((CALLS / scale).max(5), (ROUNDS / scale).max(1));
    let mut found: [Vec<Duration>; 4] = Default::default();
    let note = "export default async function run(input, station) {
      for (let i = 0; i < input.calls; i++) await station.memory.put('k', i);
    }";
    let writer = station.script("writer", "", note).await;
    for _ in 0..rounds {
        found[0].push(bare(&station, calls).await);
        found[1].push(by_agent(&station, &writer, "", calls).await);
        found[2].push(by_agent(&station, &agent, PAID_MODEL, calls).await);
    }
    make_budgets(&station).await;
    for _ in 0..rounds {
        found[3].push(by_agent(&station, &agent, PAID_MODEL, calls).await);
    }
    let [bare, put, unbudgeted, budgeted] = found.map(|mut samples| percentile(&mut samples, 0.5));
    let ratio = |one: Duration, other: Duration| one.as_secs_f64() / other.as_secs_f64().max(1e-9);
    line("the client alone, for each call", ms(bare), "ms");
    line("a local call of an agent (one durable write)", ms(put), "ms");
    line(
        "a model's call of an agent, its run's budget only",
        ms(unbudgeted),
        &format!("ms  x{:.2} of the local call", ratio(unbudgeted, put)),
    );
    line(
        "the same, in four wider budgets too",
        ms(budgeted),
        &format!("ms  x{:.2} of the local call", ratio(budgeted, put)),
    );
    station.app.stop().await;
}

async fn a_run(station: &Station) -> RunId {
    let mut new = station.run();
    new.budget_micros = Some(PLENTY_MICROS);
    let id = runs::start(&station.app, &station.actor, new).await.expect("queued");
    runs::wait(&station.app, &station.actor, id, Duration::from_secs(30))
        .await
        .expect("ended");
    id
}

/// Asks every budget and reserves, as the executor does in one transaction.
fn reserve(tx: &store::Tx<'_>, payer: &Payer, key: &TryKey, now: agentstation::domain::time::Timestamp) -> Result<(), store::Error> {
    const MICROS: u64 = 100;
    for purse in ledger::purses(tx, payer.org, payer.run)? {
        let standing = Standing {
            limit_micros: purse.budget_micros.unwrap_or(PLENTY_MICROS),
            spent_micros: purse.spent_micros,
            reserved_micros: purse.reserved_micros,
        };
        assert_eq!(standing.fits(MICROS), Fit::Fits);
    }
    for budget in store::budgets::covering(tx, payer)? {
        assert_eq!(store::budgets::stands(tx, &budget, now)?.fits(MICROS), Fit::Fits);
    }
    let item = Item {
        kind: LineKind::Model,
        provider: "scripted".to_owned(),
        provider_name: "scripted".to_owned(),
        model: "m".to_owned(),
        quantity: 0,
    };
    ledger::reserve(tx, payer, key, &item, MICROS, now).map(drop)
}

async fn reservations(scale: usize) {
    let station = Station::start(1).await;
    make_budgets(&station).await;
    let (org, run) = (station.actor.org, a_run(&station).await);
    let made = runs::get(&station.app, &station.actor, run).await.expect("the run");
    let payer = Payer {
        org,
        workspace: station.actor.workspace,
        environment: Environment::default(),
        run,
        agent: made.agent_id,
        principal: station.actor.principal,
        key: String::new(),
    };
    let mut call = 0;
    for in_flight in [1_u32, 8, 64] {
        let total = (if in_flight == 1 { RESERVATIONS / 8 } else { RESERVATIONS } / scale).max(64);
        let each = u32::try_from(total).expect("few") / in_flight;
        let mut rates = [0.0; 2];
        for (is_money, rate) in [false, true].into_iter().zip(&mut rates) {
            let began = Instant::now();
            let mut tasks = Vec::new();
            for task in 0..in_flight {
                let (app, payer, first) = (station.app.clone(), payer.clone(), call + task * each);
                tasks.push(tokio::spawn(async move {
                    for call in first..first + each {
                        let now = app.clock.now();
                        if is_money {
                            let key = TryKey {
                                segment: 0,
                                call,
                                sub: 0,
                                tries: 0,
                            };
                            let of = Arc::new(payer.clone());
                            let paying = Arc::clone(&of);
                            app.store.write(move |tx| reserve(tx, &paying, &key, now)).await.expect("reserved");
                            let charge = Charge {
                                cost_micros: 60,
                                usage: Usage {
                                    output_tokens: 60,
                                    ..Usage::default()
                                },
                                ..Charge::default()
                            };
                            let settlement = Settlement {
                                charges: vec![charge],
                                quantity: 0,
                            };
                            let settled = app
                                .store
                                .write(move |tx| ledger::settle(tx, (of.org, of.run), &key, LineKind::Model, Some(&settlement), now));
                            assert!(settled.await.expect("settled"));
                        } else {
                            for _ in 0..2 {
                                let entry = vec![NewEntry::station(now, "log", json!({ "message": "as many durable writes" }))];
                                let write = app.store.write(move |tx| journal::append(tx, org, run, None, &entry));
                                write.await.expect("appended");
                            }
                        }
                    }
                }));
            }
            for task in tasks {
                task.await.expect("a task");
            }
            *rate = f64::from(each * in_flight) / began.elapsed().as_secs_f64();
        }
        call += in_flight * each;
        line(
            &format!("{in_flight} in flight, two plain writes each"),
            format!("{:.0}", rates[0]),
            "/s",
        );
        line(
            &format!("{in_flight} in flight, reserved and settled in five budgets"),
            format!("{:.0}", rates[1]),
            &format!("/s  x{:.2} of the plain ones", rates[1] / rates[0]),
        );
    }
    station.app.stop().await;
}

pub async fn bench(scale: usize) {
    calls(scale).await;
    reservations(scale).await;
}
