//! What a demo is filled with: the examples, runs of the last days and of now, what goes wrong, and what it all cost.

use std::time::Duration;

use anyhow::Context as _;

use super::super::embedded;
use super::super::station::Station;
use crate::domain::budget::{BudgetScope, OnExhausted, Period};
use crate::domain::id::RunId;
use crate::domain::money::Price;
use crate::domain::origin::Origin;
use crate::domain::permission::Actor;
use crate::domain::price::Tariff;
use crate::domain::retry::RetryChange;
use crate::domain::run::{RunState, Trigger};
use crate::domain::time::PutBack;
use crate::services::App;
use crate::services::agents::{self, AgentRef, Target, Upload};
use crate::services::budgets::{self, Change, NewBudget};
use crate::services::prices::{self, NewPrice, Of};
use crate::services::runs::{self, StartRun};

const DAY: Duration = Duration::from_hours(24);
/// How far back the runs of a demo reach.
pub(super) const HISTORY: Duration = Duration::from_hours(24 * 6);
/// How long seeding waits for one run.
const RUN_WITHIN: Duration = Duration::from_mins(1);

/// More than people spend who look around.
const EVERYTHING_MICROS: u64 = 5_000_000;
/// Whose budget is nearly used up.
const TIGHT_AGENT: &str = "expense-check";
/// Of that budget, about: its limit is a number that a person would write.
const SPENT_PERCENT: u64 = 92;
const LIMIT_STEP_MICROS: u64 = 1_000;

/// What ran on each of the days before, on its sample.
const DAYS: [&[&str]; 6] = [
    &["csv-report", "expense-check"],
    &["release-notes", "access-log-digest", "csv-report"],
    &["expense-check"],
    &["research-brief", "csv-report", "access-log-digest"],
    &["expense-check", "csv-report", "release-notes"],
    &["access-log-digest"],
];
/// Runs beside one of each agent on its sample: what goes wrong, and how that looks.
const TROUBLE: [(&str, &str); 2] = [
    (
        "csv-report",
        r#"{"title": "Broken export", "csv": "region,revenue\nNorth,120\nSouth,\"95\nWest,80"}"#,
    ),
    ("prime-search", r#"{"limit": 10000000}"#),
];
/// Agents that need the network, which a demo does not touch.
const NEEDS_NETWORK: [&str; 1] = ["page-watch"];

/// Fills a station whose clock was put back by [`HISTORY`]; at the end it shows the time that it is.
pub(super) async fn fill(station: &Station, clock: &PutBack) -> anyhow::Result<()> {
    let (app, actor) = (&station.app, &station.actor);
    price(app, actor).await?;
    let mut examples = Vec::new();
    for (name, upload) in embedded::agents() {
        publish(app, actor, &name, upload.clone()).await?;
        examples.push((name, upload.sample_input));
    }
    for names in DAYS {
        let samples = examples.iter().filter(|(name, _)| names.contains(&name.as_str()));
        let samples = samples.filter_map(|(name, sample)| Some((name.clone(), sample.clone()?))).collect();
        run(app, actor, samples).await?;
        clock.catch_up(DAY);
    }
    let of_now = examples
        .into_iter()
        .filter(|(name, _)| !NEEDS_NETWORK.contains(&name.as_str()))
        .filter_map(|(name, sample)| Some((name, sample?)))
        .chain(TROUBLE.map(|(name, input)| (name.to_owned(), input.to_owned())))
        .collect();
    run(app, actor, of_now).await?;
    budgets(app, actor).await
}

/// One for everything, with room, and one of which about [`SPENT_PERCENT`] are spent, so that one sees what it tells and how a run waits for it.
async fn budgets(app: &App, actor: &Actor) -> anyhow::Result<()> {
    let month = |name: &str, scope, target, limit_micros| NewBudget {
        name: name.to_owned(),
        scope,
        target,
        limit_micros,
        period: Period::Month,
        time_zone: "UTC".to_owned(),
        on_exhausted: OnExhausted::Hold,
    };
    let everything = month("Everything", BudgetScope::Org, String::new(), EVERYTHING_MICROS);
    budgets::create(app, actor, everything, Origin::default()).await?;
    let agent = agents::find(app, actor, &AgentRef::Name(TIGHT_AGENT.to_owned())).await?;
    let tight = month(
        "Expense checks",
        BudgetScope::Agent,
        agent.id.to_string(),
        budgets::LIMIT_MICROS_MAX,
    );
    let made = budgets::create(app, actor, tight, Origin::default()).await?;
    let change = Change {
        limit_micros: Some((made.standing.spent_micros.saturating_mul(100) / SPENT_PERCENT).next_multiple_of(LIMIT_STEP_MICROS)),
        ..Change::default()
    };
    budgets::change(app, actor, made.budget.id, change, None, Origin::default()).await?;
    Ok(())
}

/// What the script's answers cost: as much as those of a good model, so that there is something to see.
async fn price(app: &App, actor: &Actor) -> anyhow::Result<()> {
    let tariff = Tariff {
        price: Price {
            input_micros: 3_000_000,
            cache_read_micros: 300_000,
            cache_write_micros: 3_750_000,
            output_micros: 15_000_000,
        },
        tiers: Vec::new(),
    };
    let new = NewPrice {
        provider: "scripted".to_owned(),
        model: "*".to_owned(),
        from: None,
        tariff,
        note: "As if the script were a model".to_owned(),
    };
    prices::set(app, actor, Of::Org, new, Origin::default()).await?;
    Ok(())
}

async fn publish(app: &App, actor: &Actor, name: &str, upload: Upload) -> anyhow::Result<()> {
    let stored = agents::create(app, actor, upload, Target::New, Origin::default()).await;
    stored.with_context(|| format!("the example {name}"))?;
    Ok(())
}

/// Starts these runs and waits until each has ended, or waits for somebody.
async fn run(app: &App, actor: &Actor, inputs: Vec<(String, String)>) -> anyhow::Result<()> {
    let mut ids = Vec::new();
    for (agent, input) in inputs {
        let start = StartRun {
            agent: AgentRef::Name(agent),
            version: None,
            input,
            trigger: Trigger::Demo,
            message: None,
            priority: 0,
            retry: RetryChange::default(),
            budget_micros: None,
        };
        ids.push(runs::start(app, actor, start).await?);
    }
    for id in ids {
        settle(app, actor, id).await?;
    }
    Ok(())
}

async fn settle(app: &App, actor: &Actor, id: RunId) -> anyhow::Result<()> {
    let mut subscription = app.feed.subscribe(id);
    let settled = async {
        loop {
            let state = runs::get(app, actor, id).await?.state;
            if state.is_terminal() || state == RunState::Waiting {
                return Ok(());
            }
            subscription.changed().await;
        }
    };
    tokio::time::timeout(RUN_WITHIN, settled).await.unwrap_or(Ok(()))
}
