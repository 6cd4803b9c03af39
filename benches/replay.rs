//! Going on from the journal: a run of many calls is taken back to just before its end and executed again.

use std::time::{Duration, Instant};

use agentstation::services::runs;

use crate::report::{line, ms};
use crate::station::Station;

pub async fn bench(scale: usize) {
    let calls = u32::try_from(10_000 / scale).expect("small");
    let station = Station::start(calls).await;
    let within = Duration::from_mins(2);
    let began = Instant::now();
    let id = runs::start(&station.app, &station.actor, station.run()).await.expect("queued");
    let run = runs::wait(&station.app, &station.actor, id, within).await.expect("ended");
    assert_eq!(run.state.as_str(), "succeeded");
    let first = began.elapsed();
    // What a crash right before the last commit leaves behind: a run that is not at its end.
    let taken_back = station.database().execute(
        "UPDATE runs SET state = 'queued', finished_at = NULL WHERE id = ?1",
        [id.to_string()],
    );
    assert_eq!(taken_back.expect("taken back"), 1);
    let began = Instant::now();
    let mut subscription = station.app.feed.subscribe(id);
    station.app.dispatcher.queued();
    while !subscription
        .changed()
        .await
        .state
        .is_some_and(agentstation::domain::run::RunState::is_terminal)
    {}
    let replayed = began.elapsed();
    line(&format!("{calls} calls, executed and recorded"), ms(first), "ms");
    line(
        &format!("{calls} calls, replayed to the end"),
        ms(replayed),
        &format!("ms  x{:.0} quicker", first.as_secs_f64() / replayed.as_secs_f64()),
    );
    station.app.stop().await;
}
