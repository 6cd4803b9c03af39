//! What it costs that nothing is acknowledged before it is on the disk: the same runs with `synchronous = full` and `normal`.

use std::sync::Arc;

use agentstation::store::Synchronous;

use crate::report::{line, ms, percentile};
use crate::runs::{CALLS, services};
use crate::station::Station;

/// Rounds of each, in turn, so that what else the machine does falls on both.
const ROUNDS: usize = 3;

pub async fn bench(scale: usize) {
    let full = Arc::new(Station::start_with(CALLS, Synchronous::Full).await);
    let normal = Arc::new(Station::start_with(CALLS, Synchronous::Normal).await);
    for station in [&full, &normal] {
        services(station, 64, 500 / scale).await;
    }
    for (in_flight, total) in [(1, 300), (8, 1_500), (64, 5_000)] {
        let (mut rates, mut times) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for _ in 0..ROUNDS {
            for (which, station) in [&full, &normal].into_iter().enumerate() {
                let (rate, taken) = services(station, in_flight, total / scale).await;
                rates[which].push(rate);
                times[which].extend(taken);
            }
        }
        let [full_rate, normal_rate] = rates.map(|rates| rates.iter().sum::<f64>() / rates.len() as f64);
        let [full_p50, normal_p50] = times.map(|mut times| percentile(&mut times, 0.5));
        line(
            &format!("FULL, {in_flight} in flight"),
            format!("{full_rate:.0}"),
            &format!("runs/s  p50 {} ms", ms(full_p50)),
        );
        line(
            &format!("NORMAL, {in_flight} in flight"),
            format!("{normal_rate:.0}"),
            &format!(
                "runs/s  p50 {} ms  FULL costs x{:.2} of its time",
                ms(normal_p50),
                normal_rate / full_rate
            ),
        );
    }
    for station in [full, normal] {
        station.app.stop().await;
    }
}
