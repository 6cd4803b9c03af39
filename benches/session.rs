//! Whether a conversation grows slower: a session's 1,000th message against its 10th, from the post to the reply's entry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentstation::domain::id::RunId;
use agentstation::domain::run::RunState;
use agentstation::services::agents::AgentRef;
use agentstation::services::{runs, sessions};

use crate::report::{line, ms, percentile};
use crate::resume::until_waiting;
use crate::station::{Station, run_of};

const EARLY: usize = 10;
const LATE: usize = 1_000;
/// Messages before and after that one which are measured with it.
const AROUND: usize = 5;
/// Sessions of each kind.
const SESSIONS: usize = 12;

/// A chat that sends the model the last messages and says what it answered; what it keeps is all or the last few of them.
fn chat(kept: usize) -> String {
    format!(
        "export async function onMessage(message, station) {{
           const turns = [...(station.state.turns ?? []), {{ role: 'user', content: message.text }}];
           const reply = await station.models.chat({{ messages: turns.slice(-8), maxOutputTokens: 100 }});
           await station.inbox.reply(reply.content);
           station.state.turns = [...turns, {{ role: 'assistant', content: reply.content }}].slice(-{kept});
         }}"
    )
}

pub async fn bench(scale: usize) {
    let station = Arc::new(Station::start(1).await);
    let capabilities = "models = [\"default\"]\n";
    let few = station.script("chat", capabilities, &chat(8)).await;
    let all = station.script("chat-of-long-memory", capabilities, &chat(1_000_000)).await;
    let late = (LATE / scale).max(EARLY + 2 * AROUND);
    compare(&station, &few, "state of the last 8 messages", late, (SESSIONS / scale).max(1)).await;
    compare(&station, &all, "state of every message", late, (SESSIONS / scale / 3).max(1)).await;
    station.app.stop().await;
}

/// Takes sessions to just before the late window, then measures them and new ones in turn, so that both see the same machine.
async fn compare(station: &Arc<Station>, agent: &AgentRef, what: &str, late: usize, sessions: usize) {
    let mut tasks = Vec::new();
    for _ in 0..sessions {
        let (station, agent) = (Arc::clone(station), agent.clone());
        tasks.push(tokio::spawn(async move {
            let id = begin(&station, &agent).await;
            for number in 1..late - AROUND {
                say(&station, id, number).await;
            }
            id
        }));
    }
    let (mut early_times, mut late_times) = (Vec::new(), Vec::new());
    let mut long = Vec::new();
    for task in tasks {
        long.push(task.await.expect("a task"));
    }
    for old in long {
        let new = begin(station, agent).await;
        for number in 1..EARLY - AROUND {
            say(station, new, number).await;
        }
        for step in 0..=2 * AROUND {
            early_times.push(say(station, new, EARLY - AROUND + step).await);
            late_times.push(say(station, old, late - AROUND + step).await);
        }
    }
    let (early_p50, late_p50) = (percentile(&mut early_times, 0.5), percentile(&mut late_times, 0.5));
    line(&format!("{what}: message {EARLY}, p50"), ms(early_p50), "ms");
    line(
        &format!("{what}: message {late}, p50"),
        ms(late_p50),
        &format!("ms  x{:.2}", late_p50.as_secs_f64() / early_p50.as_secs_f64()),
    );
}

async fn begin(station: &Station, agent: &AgentRef) -> RunId {
    let id = runs::start(&station.app, &station.actor, run_of(agent, "{}".to_owned()))
        .await
        .expect("queued");
    until_waiting(station, id).await;
    id
}

/// Posts a message and waits for the reply, which is what is measured, and then until the session listens again.
async fn say(station: &Station, id: RunId, number: usize) -> Duration {
    let text = format!("Message {number}: which of the forty chairs have to be ordered before the end of the week, and who decides?");
    let mut subscription = station.app.feed.subscribe(id);
    let began = Instant::now();
    let posted = sessions::post(&station.app, &station.actor, id, text).await.expect("posted");
    let took = loop {
        let entries = runs::events(&station.app, &station.actor, id, posted.seq, 50)
            .await
            .expect("entries");
        let now = began.elapsed();
        if entries.iter().any(|entry| entry.kind == "inbox.reply") {
            break now;
        }
        subscription.changed().await;
    };
    // What was announced before the post is of the message before.
    let mut head = subscription.head();
    while head.state != Some(RunState::Waiting) {
        assert!(!head.state.is_some_and(RunState::is_terminal), "the session has ended");
        head = subscription.changed().await;
    }
    took
}
