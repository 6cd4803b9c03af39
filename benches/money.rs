//! What money costs: a metered call of a model against the bare client, and reservations against plain writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentstation::config::secret::Secret;
use agentstation::config::settings::ApiKey;
use agentstation::domain::budget::{BudgetScope, Fit, LineKind, OnExhausted, Period, Standing};
use agentstation::domain::chat::{ChatMessage, ChatRequest, ChatRole, Show};
use agentstation::domain::id::RunId;
use agentstation::domain::journal::NewEntry;
use agentstation::domain::money::{Charge, Usage};
use agentstation::domain::origin::Origin;
use agentstation::domain::price::Tariff;
use agentstation::domain::provider::{ProviderKind, ProviderLimits};
use agentstation::domain::run::Environment;
use agentstation::llm::{Asking, Made, Model, Server, SoFar, Whose};
use agentstation::services::budgets::NewBudget;
use agentstation::services::providers::{NewProvider, Of};
use agentstation::services::{budgets, providers, runs};
use agentstation::store::ledger::{self, Item, Payer, Settlement, TryKey};
use agentstation::store::{self, journal};
use serde_json::json;

use crate::model_server;
use crate::report::{line, ms, percentile};
use crate::station::{Station, run_of};

/// Calls of one run, one after the other.
const CALLS: usize = 500;
const ROUNDS: usize = 5;
/// Has a price in the list that ships.
const MODEL: &str = "gpt-4o-mini";
/// As a quick model does until its first words; that of a large one is a second.
const THINKS: Duration = Duration::from_millis(100);
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
        model: MODEL.to_owned(),
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
async fn bare(base_url: &str, calls: usize) -> Duration {
    let made = Made {
        kind: ProviderKind::Openai,
        preset: "openai",
        name: "bare",
        base_url,
        rules: "",
        free: false,
        limits: ProviderLimits::default(),
    };
    let server = Server::new(&made, ApiKey::None, None).expect("a server");
    let (model, tariff) = (Model::new(Arc::new(server), MODEL), Tariff::default());
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

async fn add_provider(station: &Station, name: &str, base_url: &str) {
    let new = NewProvider {
        name: name.to_owned(),
        preset: "openai".to_owned(),
        base_url: base_url.to_owned(),
        key: Some(Secret::new("measured")),
        ..NewProvider::default()
    };
    providers::create(&station.app, &station.actor, Of::Org, new, Origin::default())
        .await
        .expect("a provider");
}

async fn calls(scale: usize) {
    let station = Station::start(1).await;
    let source = "export default async function run(input, station) {
      for (let i = 0; i < input.calls; i++) await station.models.chat({ model: input.model, messages: ['hello'], maxOutputTokens: 100, show: 'none' });
    }";
    let capabilities = format!("models = [\"at-once/{MODEL}\", \"thinking/{MODEL}\"]\n");
    let agent = station.script("asker", &capabilities, source).await;
    make_budgets(&station).await;
    let (calls, rounds) = ((CALLS / scale).max(5), (ROUNDS / scale).max(1));
    for (name, thinks, words) in [
        ("at-once", Duration::ZERO, "answers at once"),
        ("thinking", THINKS, "thinks for 100 ms"),
    ] {
        let base_url = model_server::start(thinks).await;
        add_provider(&station, name, &base_url).await;
        let calls = if thinks.is_zero() { calls } else { (calls / 10).max(5) };
        let (mut alone, mut metered) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            alone.push(bare(&base_url, calls).await);
            metered.push(by_agent(&station, &agent, &format!("{name}/{MODEL}"), calls).await);
        }
        let (alone, metered) = (percentile(&mut alone, 0.5), percentile(&mut metered, 0.5));
        line(&format!("a model that {words}: the client alone"), ms(alone), "ms");
        line(
            &format!("a model that {words}: an agent's call, in five budgets"),
            ms(metered),
            &format!("ms  x{:.2}", metered.as_secs_f64() / alone.as_secs_f64().max(1e-9)),
        );
    }
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
