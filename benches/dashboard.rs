//! The dashboard of costs over a ledger of a million lines: the report that its page shows.

use std::time::{Duration, Instant};

use agentstation::domain::spending::{Dimension, Span};
use agentstation::services::costs::{self, Filter, Look};
use agentstation::store::DATABASE_FILE;
use rusqlite::{Connection, params};

use crate::report::{line, ms, percentile};
use crate::station::Station;

const LINES: usize = 1_000_000;
/// Calls of one run, one after the other.
const CALLS_OF_A_RUN: usize = 20;
const DAYS: i64 = 90;
const DAY_MS: i64 = 86_400_000;
const LOOKS: usize = 40;

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// Runs of twenty agents, each used by two of ten people with or without a key, over ninety days; of each four calls in five are models'.
#[expect(clippy::cast_possible_wrap, reason = "a million lines, and thousands of tokens")]
fn fill(database: &Connection, org: &str, workspace: &str, now: i64, lines: usize) {
    const MODELS: [(&str, &str); 5] = [
        ("openai", "gpt-4o"),
        ("openai", "gpt-4o-mini"),
        ("anthropic", "claude-sonnet-4"),
        ("groq", "llama-3.3-70b"),
        ("openai", "o3"),
    ];
    let mut dice = Dice(7);
    database.execute_batch("BEGIN").expect("a transaction");
    let mut insert = database
        .prepare(
            "INSERT INTO ledger (id, org_id, workspace_id, environment, run_id, agent_id, principal_id, key_id, segment, call, sub, try, kind, provider,
             provider_name, model, state, reserved_micros, cost_micros, estimated, input_tokens, cache_read_tokens, output_tokens, created_at, settled_at)
             VALUES (?1, ?2, ?3, 'production', ?4, ?5, ?6, ?7, 0, ?8, 0, 0, ?9, ?10, ?10, ?11, 'settled', 0, ?12, 0, ?13, ?14, ?15, ?16, ?16)",
        )
        .expect("the ledger");
    for run in 0..lines.div_ceil(CALLS_OF_A_RUN) {
        let at = now - DAYS * DAY_MS + (DAYS * DAY_MS / (lines.div_ceil(CALLS_OF_A_RUN)) as i64) * run as i64;
        let agent = dice.throw(20);
        let person = (agent + dice.throw(2)) % 10;
        let key = if dice.throw(3) == 0 {
            format!("key{person:09}")
        } else {
            String::new()
        };
        for call in 0..CALLS_OF_A_RUN {
            let (provider, model) = MODELS[(agent + usize::from(call % 7 == 0)) % MODELS.len()];
            let is_model = call % 5 != 0;
            let (kind, provider, model) = if is_model {
                ("model", provider, model)
            } else {
                ("http", "", "api.example.com")
            };
            let tokens = if is_model { dice.throw(4_000) as i64 } else { 0 };
            insert
                .execute(params![
                    format!("led_{:026}", run * CALLS_OF_A_RUN + call),
                    org,
                    workspace,
                    format!("run_{run:026}"),
                    format!("agt_{agent:026}"),
                    format!("prn_{person:026}"),
                    key,
                    call,
                    kind,
                    provider,
                    model,
                    tokens * 2,
                    tokens,
                    tokens / 3,
                    tokens / 10,
                    at + call as i64 * 900,
                ])
                .expect("a line");
        }
    }
    // As the ledger's own code keeps them, only all at once.
    database
        .execute_batch(
            "INSERT INTO spending SELECT org_id, created_at / 900000 * 900000, workspace_id, agent_id, principal_id, key_id, kind, provider_name, model,
             count(*), sum(estimated), sum(cost_micros), sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens), sum(output_tokens),
             sum(quantity) FROM ledger GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9; COMMIT; ANALYZE;",
        )
        .expect("the quarter hours");
}

pub async fn bench(scale: usize) {
    let station = Station::start(1).await;
    let database = Connection::open(station.app.config.data.join(DATABASE_FILE)).expect("the database");
    let (org, workspace) = (station.actor.org.to_string(), station.actor.workspace.to_string());
    let began = Instant::now();
    fill(&database, &org, &workspace, station.app.clock.now().as_ms(), LINES / scale);
    let rows: i64 = database
        .query_row("SELECT count(*) FROM spending", [], |row| row.get(0))
        .expect("a count");
    line("lines of the ledger", LINES / scale, "");
    line("sums of quarter hours", rows, "");
    line("filled in", format!("{:.1}", began.elapsed().as_secs_f64()), "s");
    for span in Span::ALL {
        for (what, filter) in [
            ("the organization", Filter::default()),
            (
                "one agent of a workspace",
                Filter {
                    workspace: Some(station.actor.workspace),
                    agent: format!("agt_{:026}", 3),
                    ..Filter::default()
                },
            ),
        ] {
            let mut samples: Vec<Duration> = Vec::new();
            for look in 0..(LOOKS / scale).max(3) {
                let look = Look {
                    span: *span,
                    zone: if look % 2 == 0 { "UTC" } else { "America/New_York" }.to_owned(),
                    filter: filter.clone(),
                    by: Dimension::ALL[look % Dimension::ALL.len()],
                };
                let began = Instant::now();
                costs::report(&station.app, &station.actor, look).await.expect("a report");
                samples.push(began.elapsed());
            }
            let (middle, most) = (percentile(&mut samples, 0.5), percentile(&mut samples, 0.95));
            line(&format!("{span}, {what}: p50, p95"), format!("{} {}", ms(middle), ms(most)), "ms");
        }
    }
    station.app.stop().await;
}
