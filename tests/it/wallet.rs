//! Money that runs may spend: never more than a budget has, whatever happens at the same time.

mod alerts;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use agentstation::domain::money::Price;
use agentstation::domain::run::{Hold, RunState};
use agentstation::domain::time::{SimClock, Timestamp};
use agentstation::llm::{Model, Models, Scripted};
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::agents::script;
use crate::support::program::Place;
use crate::support::{Http, TestStation, journal, manifest};

const WORKSPACE: &str = "/api/v1/orgs/default/workspaces/default";
const BUDGETS: &str = "/api/v1/orgs/default/budgets";
const GRANT: &str = "[capabilities]\nmodels = [\"default\", \"free\"]\nagents = [\"asker\"]\n";
/// What one call costs, exactly as much as it can cost: its reply has as many tokens as it may have, and only those have a price.
const CALL_MICROS: u64 = 100_000;
const CALL_TOKENS: u64 = 100;
/// Asks as often as it is told, all at once, and says what came of it.
const ASKER: &str = "export default async function run(input, station) {
  const codes = {};
  const note = (code) => { codes[code] = (codes[code] ?? 0) + 1; };
  const { model = 'default', show = 'timeline' } = input;
  const ask = () => station.models.chat({ model, show, messages: ['hello'], maxOutputTokens: 100 })
    .then(() => note('ok'), (error) => { if (input.strict) throw error; note(error.code); });
  await Promise.all(Array.from({ length: input.calls }, ask));
  return codes;
}";

fn rules(tokens_per_second: u32) -> String {
    // Four bytes are one token.
    let words = "abc ".repeat(usize::try_from(CALL_TOKENS).unwrap());
    format!("[[rule]]\nreply = \"{words}\"\ntokens_per_second = {tokens_per_second}\n")
}

const fn price() -> Price {
    Price {
        input_micros: 0,
        cache_read_micros: 0,
        cache_write_micros: 0,
        output_micros: CALL_MICROS * 1_000_000 / CALL_TOKENS,
    }
}

fn models(tokens_per_second: u32) -> Models {
    let provider = Arc::new(Scripted::parse(&rules(tokens_per_second)).unwrap());
    let mut paid = Model::free(Arc::clone(&provider) as _, "paid");
    paid.price = price();
    let mut models = Models::default();
    models.insert("default", paid);
    models.insert("free", Model::free(provider, "free"));
    models
}

/// Starts a run over the API.
async fn start(client: &Http, agent: &str, input: Value, budget_micros: Option<u64>) -> String {
    let mut body = json!({ "agent": agent, "input": input });
    if let Some(budget) = budget_micros {
        body["budget_micros"] = json!(budget);
    }
    let started = client.post(&format!("{WORKSPACE}/runs"), &body).await.expect(202).json();
    started["id"].as_str().unwrap().to_owned()
}

async fn make_budget(client: &Http, limit_micros: u64, on_exhausted: &str, more: Value) -> String {
    let mut body = json!({
        "name": "everything", "scope": "org", "limit_micros": limit_micros, "period": "once", "on_exhausted": on_exhausted,
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    let made = client.post(BUDGETS, &body).await.expect(201).json();
    made["id"].as_str().unwrap().to_owned()
}

async fn run_of(client: &Http, id: &str) -> Value {
    client.get(&format!("/api/v1/runs/{id}")).await.expect(200).json()
}

/// Waits until the run is as it is wanted.
async fn until(client: &Http, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let reached = async {
        loop {
            let run = run_of(client, id).await;
            if wanted(&run) {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let Ok(run) = tokio::time::timeout(Duration::from_mins(1), reached).await else {
        panic!("the run never gets there: {}", run_of(client, id).await)
    };
    run
}

async fn end(client: &Http, id: &str) -> Value {
    until(client, id, |run| !run["finished_at"].is_null()).await
}

fn number(db: &Connection, sql: &str) -> u64 {
    db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().cast_unsigned()
}

/// What the ledger says was spent; nothing may be reserved any more, and every other sum must say the same.
fn spent(db: &Connection) -> u64 {
    assert_eq!(
        number(db, "SELECT count(*) FROM ledger WHERE state = 'reserved'"),
        0,
        "nothing stays reserved"
    );
    let spent = number(db, "SELECT COALESCE(sum(cost_micros), 0) FROM ledger");
    assert_eq!(number(db, "SELECT COALESCE(sum(cost_micros), 0) FROM spending"), spent, "quarters");
    assert_eq!(number(db, "SELECT COALESCE(sum(cost_micros), 0) FROM runs"), spent, "runs");
    assert_eq!(number(db, "SELECT COALESCE(sum(tree_reserved_micros), 0) FROM runs"), 0, "trees");
    spent
}

#[tokio::test]
async fn fifty_calls_at_once_spend_exactly_what_their_run_has() {
    let station = TestStation::builder().models(models(0)).start().await;
    station.publish(script("asker", GRANT, ASKER)).await;
    let id = start(&station.owner(), "asker", json!({ "calls": 50 }), Some(1_000_000)).await;
    let run = end(&station.owner(), &id).await;
    assert_eq!(run["output"], json!({ "ok": 10, "budget_exhausted": 40 }), "{run}");
    assert_eq!(run["usage"]["cost_micros"], json!(1_000_000), "{run}");
    assert_eq!(spent(&journal::open(station.directory())), 1_000_000);
}

#[tokio::test]
async fn fifty_runs_at_once_spend_exactly_what_the_organization_has() {
    let station = TestStation::builder().models(models(0)).start().await;
    station.publish(script("asker", GRANT, ASKER)).await;
    let client = station.owner();
    make_budget(&client, 1_000_000, "fail", json!({})).await;
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(start(&client, "asker", json!({ "calls": 1, "strict": true }), None).await);
    }
    let mut ends = std::collections::BTreeMap::new();
    for id in &ids {
        let run = end(&client, id).await;
        let end = run["reason"].as_str().unwrap_or("succeeded").to_owned();
        *ends.entry(end).or_insert(0) += 1;
    }
    assert_eq!(ends, [("budget_exhausted".to_owned(), 40), ("succeeded".to_owned(), 10)].into());
    let db = journal::open(station.directory());
    assert_eq!(spent(&db), 1_000_000);
    assert_eq!(number(&db, "SELECT spent_micros FROM budget_windows"), 1_000_000);
    // Each threshold is told once.
    let told = client.get("/api/v1/orgs/default/notifications").await.expect(200).json();
    let titles: Vec<&str> = told["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|each| each["title"].as_str().unwrap())
        .collect();
    assert_eq!(
        titles,
        [
            "The budget “everything” is used up",
            "The budget “everything” is at 90 %",
            "The budget “everything” is at 80 %"
        ]
    );
}

#[tokio::test]
async fn child_runs_draw_on_what_the_run_above_them_has() {
    const PARENT: &str = "export default async function run(input, station) {
      const children = await Promise.all(Array.from({ length: 5 }, () => station.agents.start('asker', { calls: 10 })));
      const outputs = await Promise.all(children.map(async (child) => (await station.waits.any([await station.waits.child(child)])).value));
      const ok = outputs.reduce((sum, each) => sum + (each.ok ?? 0), 0);
      return { ok, refused: outputs.reduce((sum, each) => sum + (each.budget_exhausted ?? 0), 0) };
    }";
    let station = TestStation::builder().models(models(0)).start().await;
    station.publish(script("asker", GRANT, ASKER)).await;
    station.publish(script("parent", GRANT, PARENT)).await;
    let client = station.owner();
    let id = start(&client, "parent", json!({}), Some(1_000_000)).await;
    let run = end(&client, &id).await;
    assert_eq!(run["output"], json!({ "ok": 10, "refused": 40 }), "{run}");
    let db = journal::open(station.directory());
    assert_eq!(spent(&db), 1_000_000);
    assert_eq!(
        number(&db, "SELECT tree_spent_micros FROM runs WHERE parent_run_id IS NULL"),
        1_000_000
    );
}

#[tokio::test]
async fn a_run_that_a_budget_holds_goes_on_when_it_is_raised_and_costs_nothing_meanwhile() {
    let station = TestStation::builder().models(models(0)).start().await;
    station.publish(script("asker", GRANT, ASKER)).await;
    let client = station.owner();
    let budget = make_budget(&client, 150_000, "hold", json!({})).await;
    let ample = make_budget(&client, 5_000_000, "hold", json!({ "name": "ample" })).await;
    let first = start(&client, "asker", json!({ "calls": 1 }), None).await;
    assert_eq!(end(&client, &first).await["output"], json!({ "ok": 1 }));
    let held = start(&client, "asker", json!({ "calls": 1 }), None).await;
    until(&client, &held, |run| run["state"] == "paused").await;
    // What costs nothing is never blocked.
    let free = start(&client, "asker", json!({ "calls": 3, "model": "free" }), None).await;
    assert_eq!(end(&client, &free).await["output"], json!({ "ok": 3 }));
    let shown = client.get(&format!("{BUDGETS}/{budget}")).await.expect(200).json();
    assert_eq!(shown["held_runs"], json!(1), "{shown}");
    // Another that covers it as well, and has enough, does not hold it, and ends it for nobody.
    let shown = client.get(&format!("{BUDGETS}/{ample}")).await.expect(200).json();
    assert_eq!(shown["held_runs"], json!(0), "{shown}");
    let ended = client
        .post(&format!("{BUDGETS}/{ample}/cancel-held"), &json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!(ended["runs"], json!(0), "{ended}");
    let raised = json!({ "limit_micros": 200_000 }).to_string().into_bytes();
    client
        .send(Method::PATCH, &format!("{BUDGETS}/{budget}"), Some("application/json"), raised)
        .await
        .expect(200);
    assert_eq!(end(&client, &held).await["output"], json!({ "ok": 1 }));
    assert_eq!(spent(&journal::open(station.directory())), 200_000);
}

#[tokio::test]
async fn a_budget_of_a_day_begins_anew_at_midnight_of_its_zone_where_the_clock_is_put_back() {
    // The day on which Berlin puts its clock back has 25 hours.
    let clock = SimClock::at(Timestamp::of_day("2026-10-25").unwrap());
    let station = TestStation::builder().models(models(0)).clock(Arc::clone(&clock)).start().await;
    station.publish(script("asker", GRANT, ASKER)).await;
    let client = station.owner();
    let zone = json!({ "period": "day", "time_zone": "Europe/Berlin" });
    make_budget(&client, 100_000, "hold", zone).await;
    let first = start(&client, "asker", json!({ "calls": 1 }), None).await;
    assert_eq!(end(&client, &first).await["output"], json!({ "ok": 1 }));
    let second = start(&client, "asker", json!({ "calls": 1 }), None).await;
    until(&client, &second, |run| run["state"] == "paused").await;
    // 22:30 UTC is 23:30 in Berlin by the winter's clock.
    clock.advance(Duration::from_mins(22 * 60 + 30));
    let id = second.parse().unwrap();
    assert!(station.until_state(id, RunState::Queued).await.holds.contains(Hold::Budget));
    clock.advance(Duration::from_mins(31));
    assert_eq!(end(&client, &second).await["output"], json!({ "ok": 1 }));
    let db = journal::open(station.directory());
    assert_eq!(number(&db, "SELECT count(*) FROM budget_windows WHERE spent_micros = 100000"), 2);
    assert_eq!(spent(&db), 200_000);
}

#[tokio::test]
async fn a_killed_station_has_spent_no_more_than_it_was_told_to() {
    let place = Place::new();
    let price = price().output_micros;
    // A second for each call.
    place.write("rules.toml", rules(100));
    let model = "provider = \"scripted\"\nrules = \"rules.toml\"";
    place.write(
        "agentstation.toml",
        format!("[models.default]\n{model}\nprice = {{ output_micros = {price} }}\n[models.free]\n{model}\n"),
    );
    let key = place.init().await;
    let mut serving = place.serve().await;
    let client = serving.client(&key);
    let manifest = format!("{}{GRANT}", manifest("asker", "1.0.0"));
    let fields: [(&str, &[u8]); 2] = [("manifest", manifest.as_bytes()), ("code", ASKER.as_bytes())];
    client.upload(&format!("{WORKSPACE}/agents"), &fields).await.expect(201);
    make_budget(&client, 1_000_000, "fail", json!({})).await;
    let database = place.path().join("agentstation-data");
    let mut ids = Vec::new();
    // The first kill takes no more than three calls, so that there is money under way at the second.
    for (runs, calls) in [(1, 3), (9, 5)] {
        let client = serving.client(&key);
        for _ in 0..runs {
            ids.push(start(&client, "asker", json!({ "calls": calls }), None).await);
        }
        until_reserved(&database).await;
        serving.kill().await;
        serving = place.serve().await;
    }
    let client = serving.client(&key);
    let mut codes = std::collections::BTreeMap::new();
    for id in &ids {
        let run = end(&client, id).await;
        for (code, count) in run["output"].as_object().unwrap_or_else(|| panic!("{run}")) {
            *codes.entry(code.clone()).or_insert(0) += count.as_u64().unwrap();
        }
    }
    assert_eq!(codes.values().sum::<u64>(), 48, "every call was answered: {codes:?}");
    let db = journal::open(&database);
    assert_eq!(spent(&db), 1_000_000, "{codes:?}");
    let lost = number(&db, "SELECT count(*) FROM ledger WHERE estimated = 1");
    assert!(lost > 0, "the kill came while calls were under way");
    assert_eq!(codes.get("ok").copied().unwrap_or(0) + lost, 10, "{codes:?}");
}

/// Waits until a call is under way.
async fn until_reserved(database: &std::path::Path) {
    let reserved = async {
        loop {
            let db = journal::open(database);
            if number(&db, "SELECT count(*) FROM ledger WHERE state = 'reserved'") > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), reserved)
        .await
        .expect("a call is under way");
}
