//! Whether every sum that the store keeps or makes is the model's.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::{Store, budgets, dashboard, spending};
use super::super::*;
use super::model::{Kind, Line as ModelLine, Model, State};
use crate::domain::spending::Dimension;

const WINDOWS: &str = "SELECT w.budget_id, w.starts_at, w.ends_at, w.spent_micros, w.reserved_micros FROM budget_windows w
    JOIN budgets b ON b.id = w.budget_id WHERE b.org_id = ?1";
const RUNS: &str = "SELECT id, cost_micros, tree_spent_micros, tree_reserved_micros FROM runs WHERE org_id = ?1";
/// From the beginning to the end of time.
const EVER: (Timestamp, Timestamp) = (Timestamp::from_ms(0), Timestamp::from_ms(i64::MAX / 2));

pub async fn check(store: &Store, org: OrgId, model: &Model, now: Timestamp, when: &str) {
    let (model, when) = (model.clone(), when.to_owned());
    let done = store.read(move |reader| {
        lines(reader, org, &model, &when)?;
        of_budgets(reader, org, &model, now, &when)?;
        of_runs(reader, org, &model, &when)?;
        of_dashboard(reader, org, &model, &when)
    });
    done.await.unwrap();
}

/// The ledger's own lines.
fn lines(reader: &Reader<'_>, org: OrgId, model: &Model, when: &str) -> Result<(), Error> {
    let found = dashboard::lines(reader, org, &dashboard::Filter::default(), EVER, None, 10_000)?;
    let of = |wanted: fn(&dashboard::Line) -> i64| found.iter().map(wanted).sum::<i64>();
    let spent = of(|line| if line.state == "settled" { line.cost_micros } else { 0 });
    let held = of(|line| if line.state == "reserved" { line.reserved_micros as i64 } else { 0 });
    assert_eq!((spent, held), model.sum(|_| true), "the ledger {when}");
    let corrections: usize = model.lines.iter().map(|line| line.corrections).sum();
    assert_eq!(found.len(), model.lines.len() + corrections, "lines {when}");
    let key = |run: &str, call, tries, state: &str, cost| (run.to_owned(), call, tries, state.to_owned(), cost);
    let theirs: BTreeSet<_> = found
        .iter()
        .filter(|line| line.kind != "correction")
        .map(|line| key(&line.run, line.call, line.tries, &line.state, line.cost_micros))
        .collect();
    let state = |line: &ModelLine| match line.state {
        State::Reserved => "reserved",
        State::Settled => "settled",
        State::Released => "released",
    };
    let ours: BTreeSet<_> = model
        .lines
        .iter()
        .map(|line| key(&model.payer(line).run.to_string(), line.call, line.tries, state(line), line.cost))
        .collect();
    assert_eq!(theirs, ours, "lines {when}");
    Ok(())
}

/// Windows that are kept, and windows as they are shown.
fn of_budgets(reader: &Reader<'_>, org: OrgId, model: &Model, now: Timestamp, when: &str) -> Result<(), Error> {
    for known in &model.budgets {
        let budget = budgets::get(reader, org, known.id)?;
        let standing = budgets::look(reader, &budget, now)?;
        let (spent, held) = model.of_budget(known, now);
        let shown = (standing.limit_micros, standing.spent_micros, standing.reserved_micros);
        let expected = [known.limit_at(now), spent, held].map(i64::unsigned_abs);
        assert_eq!(shown, expected.into(), "{known:?} {when}");
    }
    let windows: Vec<(String, i64, Option<i64>, i64, i64)> = reader.list(WINDOWS, [org], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
    })?;
    for (id, starts, ends, spent, held) in windows {
        let budget = model.budgets.iter().find(|budget| budget.id.to_string() == id).unwrap();
        let inside = |at: Timestamp| at.as_ms() >= starts && ends.is_none_or(|ends| at.as_ms() < ends);
        let expected = model.sum(|line| budget.covers(model.payer(line)) && inside(line.at));
        assert_eq!((spent, held), expected, "the window from {starts} of {budget:?} {when}");
    }
    Ok(())
}

fn of_runs(reader: &Reader<'_>, org: OrgId, model: &Model, when: &str) -> Result<(), Error> {
    let rows: Vec<(RunId, i64, i64, i64)> = reader.list(RUNS, [org], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    assert_eq!(rows.len(), model.runs.len());
    for (id, cost, tree_spent, tree_held) in rows {
        let at = model.runs.iter().position(|run| run.payer.run == id).unwrap();
        assert_eq!(cost, model.sum(|line| line.run == at).0, "run {at} {when}");
        assert_eq!((tree_spent, tree_held), model.of_tree(at), "the tree of run {at} {when}");
        let (spent, held) = model.sum(|line| line.run == at);
        let own = of_segment(reader, org, id, 0)?;
        // Corrections stand with the run, in no segment of it but the first.
        assert_eq!((own.0 as i64, own.1 as i64), (spent, held), "the segment of run {at} {when}");
        assert_eq!(of_run(reader, org, id)? as i64, spent + held, "run {at} {when}");
    }
    Ok(())
}

type Sums = BTreeMap<String, i64>;

fn by(model: &Model, key: impl Fn(&ModelLine) -> String) -> Sums {
    let mut sums = Sums::new();
    for line in model.lines.iter().filter(|line| line.state == State::Settled) {
        *sums.entry(key(line)).or_default() += line.spent();
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

/// What pages show.
fn of_dashboard(reader: &Reader<'_>, org: OrgId, model: &Model, when: &str) -> Result<(), Error> {
    let (from, to) = EVER;
    let scan = dashboard::Scan {
        org,
        filter: dashboard::Filter::default(),
        from,
        to,
        bounds: [from, to].into(),
        charted: Dimension::Agent,
    };
    let cube = dashboard::cube(reader, &scan)?;
    let spent = model.sum(|_| true).0;
    assert_eq!(cube.total.cost_micros, spent, "the dashboard {when}");
    assert_eq!(cube.parts, [spent], "the chart {when}");
    let of_models = || {
        model
            .lines
            .iter()
            .filter(|line| line.kind == Kind::Model && line.state == State::Settled)
    };
    assert_eq!(cube.total.calls, of_models().count() as u64, "calls {when}");
    let estimated = model.lines.iter().filter(|line| line.state == State::Settled && line.estimated);
    let free = |line: &&ModelLine| line.kind == Kind::Model || line.spent() != 0;
    let least = estimated.filter(free).count() as u64;
    assert!(cube.total.estimated >= least, "estimated {when}");
    let tokens: i64 = of_models().map(|line| line.tokens).sum();
    assert_eq!(cube.total.output_tokens as i64, tokens, "tokens {when}");
    let shown = |groups: &dashboard::Groups| -> Sums {
        let sums = groups
            .iter()
            .map(|(key, group)| (String::from_utf8(key.clone()).unwrap(), group.sums.cost_micros));
        sums.filter(|(_, sum)| *sum != 0).collect()
    };
    let payer = |line: &ModelLine| model.payer(line).clone();
    for (groups, expected) in [
        (&cube.agents, by(model, |line| payer(line).agent.to_string())),
        (&cube.principals, by(model, |line| payer(line).principal.to_string())),
        (&cube.keys, by(model, |line| payer(line).key)),
    ] {
        assert_eq!(shown(groups), expected, "groups {when}");
    }
    let of_models: i64 = shown(&cube.models).values().sum();
    assert_eq!(of_models, spent, "models {when}");
    for run in &model.runs {
        let filter = dashboard::Filter {
            workspace: Some(run.payer.workspace),
            agent: run.payer.agent.to_string(),
            key: run.payer.key.clone(),
            ..dashboard::Filter::default()
        };
        let fits = |line: &ModelLine| {
            let of = model.payer(line);
            let is_same = of.workspace == run.payer.workspace && of.agent == run.payer.agent;
            is_same && (run.payer.key.is_empty() || of.key == run.payer.key)
        };
        assert_eq!(
            dashboard::spent(reader, org, &filter, from, to)?,
            model.sum(fits).0,
            "{filter:?} {when}"
        );
    }
    for (side, expected) in [
        (spending::By::Agent, by(model, |line| payer(line).agent.to_string())),
        (spending::By::Workspace, by(model, |line| payer(line).workspace.to_string())),
    ] {
        let mut sums = Sums::new();
        for sum in spending::sums(reader, (org, None), EVER, side, 1_000)? {
            *sums.entry(sum.key).or_default() += sum.cost_micros;
        }
        sums.retain(|_, sum| *sum != 0);
        assert_eq!(sums, expected, "usage {when}");
    }
    Ok(())
}
