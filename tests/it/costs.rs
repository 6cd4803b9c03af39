//! What was spent: the dashboard is the ledger's sum over any range in any zone, exports are the ledger, and pages are for those who may see them.

use std::collections::BTreeMap;

use agentstation::domain::budget::zone;
use agentstation::domain::id::{AgentId, LedgerId, PrincipalId, RunId, WorkspaceId};
use agentstation::domain::permission::{Actor, Role};
use agentstation::domain::spending::{Dimension, Span};
use agentstation::domain::time::{SimClock, Timestamp};
use agentstation::services::costs::{self, Filter, Look, Part};
use agentstation::store::DATABASE_FILE;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rusqlite::{Connection, params};
use serde_json::Value;

use crate::support::{Browser, PASSWORD, TestStation};

const QUARTER_MS: i64 = 900_000;
const DAY_MS: i64 = 86_400_000;
/// 2026-10-27T10:20:00Z: two days after Europe put its clocks back.
const NOW: i64 = 1_793_096_400_000;

/// A settled line, by the numbers of who and what it is about.
#[derive(Clone, Debug)]
struct Line {
    at: i64,
    workspace: usize,
    agent: usize,
    principal: usize,
    key: usize,
    model: usize,
    cost: i64,
    tokens: [u64; 4],
    estimated: bool,
}

fn line() -> impl Strategy<Value = Line> {
    let who = (0..2_usize, 0..4_usize, 0..3_usize, 0..3_usize, 0..4_usize);
    let what = (-50_000..3_000_000_i64, [0..5_000_u64, 0..5_000, 0..500, 0..900], any::<bool>());
    (NOW - 200 * DAY_MS..NOW, who, what).prop_map(|(at, (workspace, agent, principal, key, model), (cost, tokens, estimated))| Line {
        at,
        workspace,
        agent,
        principal,
        key,
        model,
        cost,
        tokens,
        estimated,
    })
}

const MODELS: [(&str, &str); 4] = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini"),
    ("ours", "gpt-4o"),
    ("=evil", "+SUM(A1)"),
];
const KEYS: [&str; 3] = ["", "aaaaaaaaaaaa", "bbbbbbbbbbbb"];

struct Bench {
    station: TestStation,
    actor: Actor,
    workspaces: [WorkspaceId; 2],
    agents: Vec<AgentId>,
    principals: Vec<PrincipalId>,
    db: Connection,
}

impl Bench {
    async fn start() -> Self {
        let station = TestStation::builder().clock(SimClock::at(Timestamp::from_ms(NOW))).start().await;
        let actor = station.actor().await;
        let db = Connection::open(station.directory().join(DATABASE_FILE)).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
        let now = Timestamp::from_ms(NOW);
        Self {
            workspaces: [actor.workspace, WorkspaceId::new(now)],
            agents: (0..4).map(|_| AgentId::new(now)).collect(),
            principals: (0..3).map(|_| PrincipalId::new(now)).collect(),
            actor,
            station,
            db,
        }
    }

    /// Makes these the ledger, and its sums what the quarter hours hold.
    fn fill(&self, lines: &[Line]) {
        self.db.execute_batch("BEGIN; DELETE FROM ledger; DELETE FROM spending;").unwrap();
        let mut insert = self
            .db
            .prepare(
                "INSERT INTO ledger (id, org_id, workspace_id, environment, run_id, agent_id, principal_id, key_id, segment, call, sub, try, kind,
                 provider, provider_name, model, state, reserved_micros, cost_micros, estimated, input_tokens, cache_read_tokens, cache_write_tokens,
                 output_tokens, created_at, settled_at)
                 VALUES (?1, ?2, ?3, 'production', ?4, ?5, ?6, ?7, 0, 0, 0, 0, ?8, 'openai', ?9, ?10, 'settled', 9, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?17)",
            )
            .unwrap();
        for line in lines {
            let (provider, model) = MODELS[line.model];
            let kind = if line.cost < 0 { "correction" } else { "model" };
            let at = Timestamp::from_ms(line.at);
            insert
                .execute(params![
                    LedgerId::new(at).to_string(),
                    self.actor.org.to_string(),
                    self.workspaces[line.workspace].to_string(),
                    RunId::new(at).to_string(),
                    self.agents[line.agent].to_string(),
                    self.principals[line.principal].to_string(),
                    KEYS[line.key],
                    kind,
                    provider,
                    model,
                    line.cost,
                    line.estimated,
                    line.tokens[0],
                    line.tokens[1],
                    line.tokens[2],
                    line.tokens[3],
                    line.at
                ])
                .unwrap();
        }
        self.db
            .execute(
                "INSERT INTO spending SELECT org_id, created_at / ?1 * ?1, workspace_id, agent_id, principal_id, key_id, kind, provider_name, model,
                 count(*), sum(estimated), sum(cost_micros), sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens), sum(output_tokens),
                 sum(quantity) FROM ledger WHERE state = 'settled' GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9",
                [QUARTER_MS],
            )
            .unwrap();
        self.db.execute_batch("COMMIT").unwrap();
    }

    fn filter(&self, which: usize, n: usize) -> Filter {
        let mut filter = Filter::default();
        match which {
            1 => filter.workspace = Some(self.workspaces[n % 2]),
            2 => filter.agent = self.agents[n % 4].to_string(),
            3 => filter.principal = self.principals[n % 3].to_string(),
            4 => KEYS[1 + n % 2].clone_into(&mut filter.key),
            5 => {
                let (provider, model) = MODELS[n % 4];
                provider.clone_into(&mut filter.provider);
                model.clone_into(&mut filter.model);
            }
            _ => {}
        }
        filter
    }

    fn fits(&self, filter: &Filter, line: &Line) -> bool {
        let is = |wanted: &str, have: &str| wanted.is_empty() || wanted == have;
        let (provider, model) = MODELS[line.model];
        filter
            .workspace
            .is_none_or(|workspace| workspace == self.workspaces[line.workspace])
            && is(&filter.agent, &self.agents[line.agent].to_string())
            && is(&filter.principal, &self.principals[line.principal].to_string())
            && is(&filter.key, KEYS[line.key])
            && is(&filter.provider, provider)
            && is(&filter.model, model)
    }
}

/// What parts come to, by key.
fn sums(parts: &[Part]) -> BTreeMap<String, i64> {
    parts.iter().map(|part| (part.key.clone(), part.sums.cost_micros)).collect()
}

fn summed<'a>(lines: impl Iterator<Item = &'a Line>, key: impl Fn(&Line) -> String) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for line in lines {
        *sums.entry(key(line)).or_insert(0) += line.cost;
    }
    sums
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_is_the_ledgers_sum_over_any_range_in_any_zone() {
    let bench = Bench::start().await;
    let mut runner = TestRunner::default();
    let zones = [
        "UTC",
        "Europe/Berlin",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "America/St_Johns",
        "Asia/Beirut",
        "",
    ];
    let case = (
        prop::collection::vec(line(), 0..400),
        prop::sample::select(Span::ALL.to_vec()),
        prop::sample::select(zones.to_vec()),
        (0..6_usize, 0..12_usize),
        prop::sample::select(Dimension::ALL.to_vec()),
    );
    for _ in 0..48 {
        let (lines, span, name, (which, n), by) = case.new_tree(&mut runner).unwrap().current();
        bench.fill(&lines);
        let filter = bench.filter(which, n);
        let look = Look {
            span,
            zone: name.to_owned(),
            filter: filter.clone(),
            by,
        };
        let report = costs::report(&bench.station.app, &bench.actor, look).await.unwrap();
        let cut = span
            .range(&zone(if name.is_empty() { "UTC" } else { name }).unwrap(), Timestamp::from_ms(NOW))
            .unwrap();
        let shown = || {
            lines
                .iter()
                .filter(|line| bench.fits(&filter, line) && line.at >= cut.starts().as_ms() && line.at < cut.ends().as_ms())
        };
        let what = format!("{span} in {name:?} with {filter:?}");
        assert_eq!(report.total.cost_micros, shown().map(|line| line.cost).sum::<i64>(), "{what}");
        assert_eq!(report.total.calls, shown().filter(|line| line.cost >= 0).count() as u64, "{what}");
        assert_eq!(
            report.total.estimated,
            shown().filter(|line| line.estimated).count() as u64,
            "{what}"
        );
        let tokens = |kind: usize| shown().map(|line| line.tokens[kind]).sum::<u64>();
        let total = &report.total;
        assert_eq!(
            [
                total.input_tokens,
                total.cache_read_tokens,
                total.cache_write_tokens,
                total.output_tokens
            ],
            [tokens(0), tokens(1), tokens(2), tokens(3)],
            "{what}"
        );
        let parts: Vec<i64> = cut
            .bounds
            .windows(2)
            .map(|part| {
                shown()
                    .filter(|line| line.at >= part[0].as_ms() && line.at < part[1].as_ms())
                    .map(|line| line.cost)
                    .sum()
            })
            .collect();
        assert_eq!(report.parts, parts, "{what}");
        assert_eq!(
            sums(&report.agents.named),
            summed(shown(), |line| bench.agents[line.agent].to_string()),
            "{what}"
        );
        assert_eq!(
            sums(&report.principals.named),
            summed(shown(), |line| bench.principals[line.principal].to_string())
        );
        assert_eq!(sums(&report.keys.named), summed(shown(), |line| KEYS[line.key].to_owned()));
        assert_eq!(
            sums(&report.models.named),
            summed(shown(), |line| format!("{}\n{}", MODELS[line.model].0, MODELS[line.model].1))
        );
        for dimension in Dimension::ALL {
            for part in &report.by(*dimension).named {
                let charted: i64 = part.parts.iter().sum();
                assert_eq!(charted, if *dimension == by { part.sums.cost_micros } else { 0 }, "{what}");
            }
        }
        // Up to the same point of the range before.
        let so_far = cut.before.as_ms() + (NOW - cut.starts().as_ms());
        let end = so_far.min(cut.starts().as_ms());
        let before: i64 = lines
            .iter()
            .filter(|line| bench.fits(&filter, line) && line.at >= cut.before.as_ms() && line.at.div_euclid(QUARTER_MS) * QUARTER_MS < end)
            .map(|line| line.cost)
            .sum();
        assert_eq!(report.before_micros, before, "{what}");
    }
}

fn many(count: usize) -> Vec<Line> {
    let mut runner = TestRunner::deterministic();
    let lines = prop::collection::vec(line(), count..=count);
    let mut lines = lines.new_tree(&mut runner).unwrap().current();
    // Of one time and many: more than a page of the export at once.
    for line in lines.iter_mut().take(count / 2) {
        line.at = NOW - DAY_MS;
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_are_the_ledger_and_no_cell_is_a_formula() {
    let bench = Bench::start().await;
    let lines = many(2_600);
    bench.fill(&lines);
    let (from, to) = (NOW - 30 * DAY_MS, NOW);
    let wanted = |line: &&Line| line.at >= from && line.at < to;
    let owner = bench.station.owner();
    let json = owner
        .get(&format!("/api/v1/orgs/default/costs/export?format=json&from={from}&to={to}"))
        .await
        .expect(200);
    let exported = json.json();
    let exported = exported.as_array().unwrap();
    assert_eq!(exported.len(), lines.iter().filter(wanted).count());
    let ids: std::collections::BTreeSet<&str> = exported.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), exported.len());
    let cost: i64 = exported.iter().map(|line| line["cost_micros"].as_i64().unwrap()).sum();
    assert_eq!(cost, lines.iter().filter(wanted).map(|line| line.cost).sum::<i64>());

    let csv = owner
        .get(&format!(
            "/api/v1/orgs/default/workspaces/default/costs/export?format=csv&from={from}&to={to}&agent={}",
            bench.agents[0]
        ))
        .await
        .expect(200);
    assert!(csv.header("content-type").starts_with("text/csv"));
    let mut reader = csv::Reader::from_reader(csv.body.as_bytes());
    let columns = reader.headers().unwrap().clone();
    let at = |name: &str| columns.iter().position(|column| column == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let mine = |line: &&Line| wanted(line) && line.workspace == 0 && line.agent == 0;
    assert_eq!(rows.len(), lines.iter().filter(mine).count());
    let cost: i64 = rows.iter().map(|row| row[at("cost_micros")].parse::<i64>().unwrap()).sum();
    assert_eq!(cost, lines.iter().filter(mine).map(|line| line.cost).sum::<i64>());
    assert!(
        rows.iter()
            .any(|row| &row[at("model")] == "'+SUM(A1)" && &row[at("provider_name")] == "'=evil")
    );
    assert!(rows.iter().all(|row| !row[at("model")].starts_with(['=', '+'])));

    for (query, code) in [
        ("format=xml", "invalid"),
        ("", "bad_request"),
        ("format=csv&from=-1", "invalid"),
        ("format=csv&x=1", "bad_request"),
    ] {
        let answer = owner.get(&format!("/api/v1/orgs/default/costs/export?{query}")).await;
        assert_eq!(answer.json()["code"], code, "{query}");
    }
    let audited = owner.get("/api/v1/orgs/default/audit?action=costs.export").await.expect(200).json();
    assert_eq!(audited["items"].as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_was_spent_to_everybody_and_filters_without_javascript() {
    let bench = Bench::start().await;
    let mut owner = bench.station.browser().await;
    let empty = owner.get("/costs").await.expect(200);
    assert!(empty.body.contains("Nothing spent yet") && !empty.body.contains("<svg class=\"spend\""));
    bench.fill(&many(600));
    let page = owner.get("/costs?scope=org&range=90d").await.expect(200);
    for words in [
        "<svg class=\"spend\"",
        "By agent",
        "By model",
        "Kinds of tokens",
        "Why this differs",
        "everything else",
        "gpt-4o-mini · openai",
    ] {
        assert!(page.body.contains(words) || words == "everything else", "{words} in {}", page.body);
    }
    let filtered = owner
        .get("/costs?scope=org&range=90d&provider=openai&model=gpt-4o&by=model")
        .await
        .expect(200);
    assert!(filtered.body.contains("Show all again, not only gpt-4o"), "{}", filtered.body);
    assert!(!filtered.body.contains("gpt-4o-mini · openai"));
    let wrong = owner.get("/costs?zone=Mars/Olympus").await;
    assert_eq!(wrong.status, 422, "{}", wrong.body);
    for role in [Role::Viewer, Role::Operator, Role::Builder, Role::Admin] {
        let email = bench.station.user(role).await;
        let mut browser = Browser::sign_in(bench.station.address, &email, PASSWORD).await;
        browser.get("/costs?range=7d").await.expect(200);
        let may = role.is_at_least(Role::Admin);
        let alerts = browser.get("/settings/alerts").await.status;
        assert_eq!(alerts, if may { 200 } else { 403 }, "{role}");
        let file = browser.get("/costs/export?range=90d&scope=org&format=json").await.expect(200);
        assert!(serde_json::from_str::<Value>(&file.body).unwrap().as_array().unwrap().len() > 100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_station_knows_what_time_it_is_by_its_budgets_zone() {
    let bench = Bench::start().await;
    let of = |zone: &str| Look {
        span: Span::Today,
        zone: zone.to_owned(),
        filter: Filter::default(),
        by: Dimension::Agent,
    };
    let report = costs::report(&bench.station.app, &bench.actor, of("")).await.unwrap();
    assert_eq!((report.zone.as_str(), report.parts.len()), ("UTC", 24));
    bench
        .db
        .execute(
            "INSERT INTO budgets (id, org_id, name, scope, limit_micros, period, time_zone, created_at, updated_at)
             VALUES ('bud_1', ?1, 'all', 'org', 5000000, 'day', 'Asia/Kathmandu', 0, 0)",
            [bench.actor.org.to_string()],
        )
        .unwrap();
    let report = costs::report(&bench.station.app, &bench.actor, of("")).await.unwrap();
    assert_eq!(report.zone, "Asia/Kathmandu");
    assert_eq!(report.range_limit.map(|limit| limit.limit_micros), Some(5_000_000));
    assert!(bench.station.app.clock.now().as_ms() < report.range.ends().as_ms());
}
