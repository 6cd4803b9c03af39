//! Runs that wait: what they take of memory and of the disk, and whether one of very many still wakes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agentstation::services::agents::AgentRef;
use agentstation::services::{approvals, runs};
use agentstation::store::Synchronous;

use crate::disk::Weight;
use crate::report::{line, ms, resident_bytes};
use crate::resume::{self, until_waiting};
use crate::station::{Station, run_of};
use crate::{guest, startup};

const PARKED: usize = 100_000;
const PARKED_QUICK: usize = 200;
const IN_FLIGHT: usize = 64;
/// Decided when all are parked.
const WOKEN: u32 = 50;
/// Where memory is read on the way.
const STEPS: usize = 4;
/// The first argument of a process that parks runs in a directory and prints what that took.
pub const FLAG: &str = "--parked-in";

/// Parks runs in a process of its own, whose memory says what they take, and then starts the release binary on what that leaves.
pub fn bench(scale: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let program = std::env::current_exe().expect("this program");
    let count = if scale == 1 { PARKED } else { PARKED_QUICK };
    let status = Command::new(program)
        .arg(FLAG)
        .arg(directory.path())
        .arg(count.to_string())
        .status();
    assert!(status.expect("it starts").success(), "the runs were not parked");
    let (time, memory) = startup::start_once(directory.path());
    line(&format!("a new start with {count} parked, to the first answer"), ms(time), "ms");
    line("its resident memory", mb(memory), "MB");
}

fn mb(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

/// The process of its own.
pub async fn park(mut arguments: impl Iterator<Item = String>) {
    let directory = arguments.next().map(PathBuf::from).expect("a directory");
    let count: usize = arguments.next().and_then(|count| count.parse().ok()).expect("a number of runs");
    let station = Arc::new(Station::open(&directory, Synchronous::Full, 2).await);
    let asking = station.component("asks", guest::asking(2)).await;
    // Threads, pools and caches have what they need before anything is compared.
    crate::runs::services(&station, IN_FLIGHT, count.min(2_000)).await;
    park_some(&station, &asking, IN_FLIGHT * 4).await;
    let before = resting_bytes(&station).await;
    let weight_before = Weight::of(&station);
    line("resident memory before", mb(before), "MB");
    let (mut took, mut parked) = (Duration::ZERO, 0);
    for _ in 0..STEPS {
        let began = Instant::now();
        parked += park_some(&station, &asking, count / STEPS).await;
        took += began.elapsed();
        line(&format!("with {parked} runs parked"), mb(resting_bytes(&station).await), "MB");
    }
    line(
        "parked, each durably and through the dispatcher",
        format!("{:.0}", parked as f64 / took.as_secs_f64()),
        "runs/s",
    );
    Weight::of(&station).print_growth(&weight_before, "on the disk for each parked run", parked);
    let waiting = approvals::queue(&station.app, &station.actor, None, WOKEN).await.expect("a queue");
    let mut woken = Vec::new();
    for asked in &waiting {
        woken.push(resume::decide(&station, asked).await);
        let ended = runs::wait(&station.app, &station.actor, asked.run, Duration::from_secs(30))
            .await
            .expect("ended");
        assert_eq!(ended.state.as_str(), "succeeded", "{:?}", ended.error);
    }
    resume::print(&format!("decision to next instruction of one of {parked}"), &woken);
    station.app.stop().await;
    let file = directory.join(agentstation::store::DATABASE_FILE);
    line("the database", mb(size(&file)), "MB");
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).expect("a file").len()
}

/// Starts runs and waits until each is parked. Returns how many.
async fn park_some(station: &Arc<Station>, agent: &AgentRef, count: usize) -> usize {
    let left = Arc::new(AtomicUsize::new(count));
    let mut tasks = Vec::new();
    for _ in 0..IN_FLIGHT {
        let (station, agent, left) = (Arc::clone(station), agent.clone(), Arc::clone(&left));
        tasks.push(tokio::spawn(async move {
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok()
            {
                let id = runs::start(&station.app, &station.actor, run_of(&agent, "{}".to_owned()))
                    .await
                    .expect("queued");
                until_waiting(&station, id).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("a task");
    }
    count
}

/// Memory once no instance is kept and the log is folded in.
async fn resting_bytes(station: &Station) -> u64 {
    while !station.app.dispatcher.warm.is_empty() || station.app.dispatcher.executing() > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    resident_bytes(std::process::id())
}
