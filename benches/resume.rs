//! From a person's decision to the next instruction of the run that waited for it.

use std::time::{Duration, Instant};

use agentstation::domain::id::RunId;
use agentstation::domain::journal::Phase;
use agentstation::domain::origin::Origin;
use agentstation::domain::run::RunState;
use agentstation::domain::wait::Verb;
use agentstation::services::agents::AgentRef;
use agentstation::services::approvals::{self, Decide};
use agentstation::services::runs;
use agentstation::store::approvals::Approval;

use crate::guest;
use crate::report::{line, ms, percentile};
use crate::station::{Station, run_of};

const SAMPLES: usize = 200;
/// Journaled calls before the question.
const CALLS: u32 = 5;
const MANY_CALLS: u32 = 1_000;

/// What one decision took.
#[derive(Clone, Copy)]
pub struct Resumed {
    /// Until the guest has the decision: it is in the journal, and the next instruction is executed.
    pub delivered: Duration,
    /// Until the call that the guest makes next is in the journal.
    pub called: Duration,
}

pub async fn bench(scale: usize) {
    let station = Station::start(1).await;
    let short = station.component("asks-early", guest::asking(CALLS)).await;
    let long = station.component("asks-late", guest::asking(MANY_CALLS)).await;
    let script = station.script("asks-in-javascript", "", &asking_script(CALLS)).await;
    let samples = (SAMPLES / scale).max(4);
    for (what, agent) in [
        (format!("component, {CALLS} calls before"), &short),
        (format!("component, {MANY_CALLS} calls before"), &long),
        (format!("JavaScript, {CALLS} calls before"), &script),
    ] {
        for cold in [false, true] {
            // The first compiles and loads what the others find.
            measure(&station, agent, cold, 2).await;
            let taken = measure(&station, agent, cold, samples).await;
            print(&format!("{what}, {}", if cold { "cold" } else { "warm" }), &taken);
        }
    }
    station.app.stop().await;
}

fn asking_script(calls: u32) -> String {
    format!(
        "export default async function run(input, station) {{
           for (let i = 0; i < {calls}; i += 1) await station.memory.put('k', i);
           const decision = await station.approvals.request({{ action: 'Order 40 chairs', arguments: {{}}, reason: 'The old ones have gone' }});
           await station.memory.put('k', decision.verb);
           return {{}};
         }}"
    )
}

/// The lines of one table.
pub fn print(what: &str, taken: &[Resumed]) {
    let times = |of: fn(&Resumed) -> Duration| {
        let mut times: Vec<Duration> = taken.iter().map(of).collect();
        (ms(percentile(&mut times, 0.5)), ms(percentile(&mut times, 0.95)))
    };
    let (delivered, called) = (times(|each| each.delivered), times(|each| each.called));
    line(
        &format!("{what}, p50"),
        &delivered.0,
        &format!(
            "ms  p95 {} ms  (its next call recorded: p50 {} ms, p95 {} ms)",
            delivered.1, called.0, called.1
        ),
    );
}

async fn measure(station: &Station, agent: &AgentRef, cold: bool, samples: usize) -> Vec<Resumed> {
    let mut taken = Vec::with_capacity(samples);
    for _ in 0..samples {
        let id = runs::start(&station.app, &station.actor, run_of(agent, "{}".to_owned()))
            .await
            .expect("queued");
        until_waiting(station, id).await;
        let asked = approvals::of_run(&station.app, &station.actor, id).await.expect("asked");
        // Its instance is kept from when its slot is free.
        while station.app.dispatcher.executing() > 0 || station.app.dispatcher.warm.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if cold {
            station.app.dispatcher.warm.drop_run(id);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        taken.push(decide(station, &asked[0]).await);
        let run = runs::wait(&station.app, &station.actor, id, Duration::from_mins(1))
            .await
            .expect("ended");
        assert_eq!(run.state, RunState::Succeeded, "{:?}", run.error);
    }
    taken
}

/// Waits until a run is parked.
pub async fn until_waiting(station: &Station, id: RunId) {
    let mut subscription = station.app.feed.subscribe(id);
    let mut state = runs::get(&station.app, &station.actor, id).await.expect("the run").state;
    while state != RunState::Waiting {
        assert!(!state.is_terminal(), "it was to wait, and has {state}");
        state = subscription.changed().await.state.unwrap_or(state);
    }
}

/// Decides, and sees the run go on.
pub async fn decide(station: &Station, asked: &Approval) -> Resumed {
    let (app, actor, id) = (station.app.clone(), station.actor.clone(), asked.id);
    let mut subscription = app.feed.subscribe(asked.run);
    let decision = Decide {
        verb: Verb::Approve,
        arguments: None,
        reason: "because".to_owned(),
    };
    let began = Instant::now();
    let deciding = tokio::spawn(async move { approvals::decide(&app, &actor, id, decision, Origin::default()).await });
    let (mut delivered, mut after) = (None, asked.seq);
    let called = loop {
        let entries = runs::events(&station.app, &station.actor, asked.run, after, 20)
            .await
            .expect("entries");
        let now = began.elapsed();
        let is = |kind: &str, phase| entries.iter().any(|entry| entry.kind == kind && entry.phase == phase);
        if is("approvals.request", Phase::End) {
            delivered.get_or_insert(now);
        }
        if entries.iter().any(|entry| entry.kind == "memory.put") {
            break now;
        }
        after = entries.last().map_or(after, |entry| entry.seq);
        subscription.changed().await;
    };
    deciding.await.expect("a task").expect("decided");
    Resumed {
        delivered: delivered.unwrap_or(called),
        called,
    }
}
