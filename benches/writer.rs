//! The writer thread's append rate against one transaction for each insert, on the same disk in the same run.

use std::time::{Duration, Instant};

use agentstation::domain::id::RunId;
use agentstation::domain::journal::NewEntry;
use agentstation::services::runs;
use agentstation::store::journal;
use serde_json::json;

use crate::report::line;
use crate::station::Station;

const APPENDS: usize = 40_000;
/// Plain transactions are slow enough that fewer say as much.
const PLAIN: usize = 2_000;

async fn a_run(station: &Station) -> RunId {
    let id = runs::start(&station.app, &station.actor, station.run()).await.expect("queued");
    runs::wait(&station.app, &station.actor, id, Duration::from_secs(30))
        .await
        .expect("ended");
    id
}

pub async fn bench(scale: usize) {
    let station = Station::start(1).await;
    let org = station.actor.org;
    let run = a_run(&station).await;
    let entry = || {
        let meta = json!({ "level": "info", "message": "an entry of the usual length, with a few words of text in it" });
        vec![NewEntry::station(station.app.clock.now(), "log", meta)]
    };
    let mut baseline = 0.0;
    for in_flight in [1_usize, 16, 64, 256] {
        let total = (if in_flight == 1 { PLAIN } else { APPENDS }) / scale;
        let began = Instant::now();
        let mut tasks = Vec::new();
        for _ in 0..in_flight {
            let (store, entries) = (station.app.store.clone(), entry());
            let each = (total / in_flight).max(1);
            tasks.push(tokio::spawn(async move {
                for _ in 0..each {
                    let entries = entries.clone();
                    store
                        .write(move |tx| journal::append(tx, org, run, None, &entries))
                        .await
                        .expect("appended");
                }
            }));
        }
        for task in tasks {
            task.await.expect("a task");
        }
        let rate = total as f64 / began.elapsed().as_secs_f64();
        if in_flight == 1 {
            baseline = rate;
            line("one at a time: a transaction for each", format!("{rate:.0}"), "appends/s");
        } else {
            line(
                &format!("{in_flight} in flight, committed together"),
                format!("{rate:.0}"),
                &format!("appends/s  x{:.1}", rate / baseline),
            );
        }
    }
    let stats = station.app.store.writer_stats();
    line(
        "writes for each transaction, over all",
        format!("{:.1}", stats.writes as f64 / stats.batches.max(1) as f64),
        "",
    );
    station.app.stop().await;
}
