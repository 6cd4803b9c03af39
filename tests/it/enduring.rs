//! What a run's owner may forget about: a day without a message, a provider that is down, a disk that refuses, a write that was done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use agentstation::domain::run::RunState;
use agentstation::domain::time::{SimClock, Timestamp};
use serde_json::json;

use crate::support::agents::script;
use crate::support::site::{Reply, Site};
use crate::support::{TestStation, journal};

const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);
const DAY: Duration = Duration::from_hours(24);

const CHAT: &str = "export async function onMessage(message, station) {
  station.state.first ??= message.sentMs;
  await station.inbox.reply(`${message.text} after ${message.sentMs - station.state.first} ms`);
}";

#[tokio::test]
async fn a_session_answers_after_a_day_of_silence() {
    let clock = SimClock::at(NOW);
    let station = TestStation::builder().clock(Arc::clone(&clock)).start().await;
    let agent = station.publish(script("chat", "", CHAT)).await;
    let id = station.begin(&agent, &json!({})).await;
    station.until_state(id, RunState::Waiting).await;
    station.say(id, "hello").await;
    station.until_replies(id, 1).await;
    station.until_state(id, RunState::Waiting).await;
    clock.advance(DAY);
    station.say(id, "still there?").await;
    let replies = station.until_replies(id, 2).await;
    assert_eq!(replies[1], format!("still there? after {} ms", DAY.as_millis()));
}

#[tokio::test]
async fn a_timer_that_came_due_while_the_station_was_off_goes_off_at_the_start() {
    let clock = SimClock::at(NOW);
    let station = TestStation::builder().clock(Arc::clone(&clock)).start().await;
    let source = "export default async function run(input, station) {
      const began = station.clock.now();
      await station.clock.sleep(3 * 24 * 3600 * 1000);
      return station.clock.now() - began;
    }";
    let agent = station.publish(script("sleeper", "", source)).await;
    let id = station.begin(&agent, &json!({})).await;
    station.until_state(id, RunState::Waiting).await;
    let data = station.stop().await;
    clock.advance(4 * DAY);
    let station = TestStation::builder().clock(clock).data(data).start().await;
    let slept = station.end(id).await.succeeded().as_u64().unwrap();
    assert!(u128::from(slept) >= (3 * DAY).as_millis(), "{slept}");
}

#[tokio::test]
async fn a_provider_that_is_down_is_waited_for_and_what_was_done_is_not_repeated() {
    let (down, written) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (is_down, writes) = (Arc::clone(&down), Arc::clone(&written));
    let site = Site::start(move |asked| {
        if asked.method == "POST" {
            writes.fetch_add(1, Ordering::SeqCst);
            Reply::Text("written".to_owned())
        } else if is_down.load(Ordering::SeqCst) {
            Reply::HangUp
        } else {
            Reply::Text("up".to_owned())
        }
    })
    .await;
    let station = TestStation::builder().outbound(Site::reachable()).start().await;
    let grant = site.grant("\"GET\", \"POST\"", ", approval = \"never\"");
    let source = "export default async function run(input, station) {
      await station.http.post(input.url, 'once');
      return (await station.http.get(input.url)).text();
    }";
    let extra = format!("[capabilities]\nhttp = [{grant}]\n[retry]\nattempts = 100\nbase-ms = 20\ncap-ms = 50\n");
    let agent = station.publish(script("patient", &extra, source)).await;
    let id = station.begin(&agent, &json!({ "url": site.url("/") })).await;
    // Long enough for several tries.
    site.until_asked(5).await;
    down.store(false, Ordering::SeqCst);
    let ended = station.end(id).await;
    assert!(ended.run.tries >= 3, "{}", ended.run.tries);
    assert!(ended.entries.iter().any(|entry| entry.kind == "run.retried"));
    assert_eq!(ended.succeeded(), json!("up"));
    assert_eq!(
        written.load(Ordering::SeqCst),
        1,
        "the write came before the failed call and is not repeated"
    );
}

#[tokio::test]
async fn a_state_that_cannot_be_stored_leaves_the_segment_before_it_in_force() {
    let station = TestStation::start().await;
    let source = "export async function onMessage(message, station) {
      const entry = await station.memory.put('count', message.text);
      station.state.turns = (station.state.turns ?? 0) + 1;
      await station.inbox.reply(`${station.state.turns}: ${entry}`);
    }";
    let agent = station.publish(script("chat", "[capabilities]\nmemory = true\n", source)).await;
    let id = station.begin(&agent, &json!({})).await;
    station.until_state(id, RunState::Waiting).await;
    // As a full disk would: the end of a segment cannot be written.
    let db = journal::open(station.directory());
    db.execute_batch(
        "CREATE TRIGGER refuse BEFORE UPDATE OF ended_at ON segments WHEN NEW.ended_at IS NOT NULL BEGIN SELECT RAISE(ABORT, 'no room'); END",
    )
    .unwrap();
    station.say(id, "one").await;
    station.until_entry(id, |entry| entry.kind == "run.recovered").await;
    db.execute_batch("DROP TRIGGER refuse").unwrap();
    drop(db);
    station.until_state(id, RunState::Waiting).await;
    station.say(id, "two").await;
    let replies = station.until_replies(id, 2).await;
    assert_eq!(replies, ["1: 1", "2: 2"], "the first message was dealt with once");
}
