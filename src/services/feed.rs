//! Tells those who watch a run that there is more to read, and carries the text of replies while they stream.
//!
//! An announcement says only how far the journal goes; whoever hears it reads the entries from the store, in order and without gaps.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::{broadcast, watch};

use crate::domain::id::RunId;
use crate::domain::limits::DELTA_RING_BYTES;
use crate::domain::run::RunState;

/// Deltas that a slow watcher may be behind before it gets the whole text again.
const DELTAS_BEHIND_MAX: usize = 512;

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The newest entry announced; 0 where none was since somebody watches.
    pub seq: u64,
    pub state: Option<RunState>,
}

/// A piece of a streaming reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delta {
    pub segment: u32,
    pub call: u32,
    pub sub: Option<u32>,
    /// The provider's attempt; a higher one replaces what came before.
    pub r#try: u32,
    pub text: String,
    /// Whether `text` is everything so far, as against the next piece.
    pub whole: bool,
    /// Whether the reply is complete and its entry is in the journal.
    pub done: bool,
}

type StreamKey = (u32, u32, Option<u32>);

struct Channel {
    head: watch::Sender<Head>,
    deltas: broadcast::Sender<Delta>,
    /// By call: the provider's attempt and the text so far.
    streams: BTreeMap<StreamKey, (u32, String)>,
    users: usize,
}

type Channels = Arc<Mutex<HashMap<RunId, Arc<Mutex<Channel>>>>>;

/// The station's announcements, in this process.
#[derive(Clone, Default)]
pub struct Feed {
    channels: Channels,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    fn open(&self, run: RunId) -> Arc<Mutex<Channel>> {
        let mut channels = lock(&self.channels);
        let channel = channels.entry(run).or_insert_with(|| {
            Arc::new(Mutex::new(Channel {
                head: watch::Sender::new(Head { seq: 0, state: None }),
                deltas: broadcast::Sender::new(DELTAS_BEHIND_MAX),
                streams: BTreeMap::new(),
                users: 0,
            }))
        });
        lock(channel).users += 1;
        Arc::clone(channel)
    }

    /// Says that a run's journal now goes to `seq`, and its state where that changed. Nobody may be listening.
    pub fn announce(&self, run: RunId, seq: u64, state: Option<RunState>) {
        let channel = lock(&self.channels).get(&run).map(Arc::clone);
        if let Some(channel) = channel {
            lock(&channel).head.send_modify(|head| {
                head.seq = head.seq.max(seq);
                head.state = state.or(head.state);
            });
        }
    }

    /// For whoever executes a run: a place for its streaming text, whether or not somebody watches yet.
    pub fn publish(&self, run: RunId) -> Publisher {
        Publisher {
            feed: self.clone(),
            run,
            channel: self.open(run),
        }
    }

    /// Begins to watch a run. Subscribe first, then read, then wait for changes: so nothing is missed.
    pub fn subscribe(&self, run: RunId) -> Subscription {
        let channel = self.open(run);
        let (head, deltas) = {
            let channel = lock(&channel);
            (channel.head.subscribe(), channel.deltas.subscribe())
        };
        Subscription {
            feed: self.clone(),
            run,
            channel,
            head,
            deltas,
        }
    }

    fn release(&self, run: RunId, channel: &Arc<Mutex<Channel>>) {
        let mut channels = lock(&self.channels);
        let mut held = lock(channel);
        held.users -= 1;
        if held.users == 0 {
            channels.remove(&run);
        }
    }
}

/// The side that streams.
pub struct Publisher {
    feed: Feed,
    run: RunId,
    channel: Arc<Mutex<Channel>>,
}

impl Publisher {
    /// The next piece of a reply.
    pub fn delta(&self, segment: u32, call: u32, sub: Option<u32>, r#try: u32, text: &str) {
        let mut channel = lock(&self.channel);
        let (known_try, whole) = channel.streams.entry((segment, call, sub)).or_default();
        if *known_try != r#try {
            *known_try = r#try;
            whole.clear();
        }
        if whole.len() + text.len() <= DELTA_RING_BYTES {
            whole.push_str(text);
        }
        // Nobody may be listening.
        _ = channel.deltas.send(Delta {
            segment,
            call,
            sub,
            r#try,
            text: text.to_owned(),
            whole: false,
            done: false,
        });
    }

    /// The reply is in the journal: its text is no longer kept here.
    pub fn done(&self, segment: u32, call: u32, sub: Option<u32>) {
        let mut channel = lock(&self.channel);
        if channel.streams.remove(&(segment, call, sub)).is_some() {
            _ = channel.deltas.send(Delta {
                segment,
                call,
                sub,
                r#try: 0,
                text: String::new(),
                whole: false,
                done: true,
            });
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.feed.release(self.run, &self.channel);
    }
}

/// The side that watches.
pub struct Subscription {
    feed: Feed,
    run: RunId,
    channel: Arc<Mutex<Channel>>,
    head: watch::Receiver<Head>,
    deltas: broadcast::Receiver<Delta>,
}

/// What a watcher hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Read on from the store.
    More(Head),
    Delta(Delta),
    /// Pieces were missed: these are the whole texts, and they replace what was shown.
    Deltas(Vec<Delta>),
}

impl Subscription {
    /// The texts of the replies that are streaming now. Pieces sent before this are in them, and do not come again.
    pub fn streaming(&mut self) -> Vec<Delta> {
        let channel = lock(&self.channel);
        self.deltas = channel.deltas.subscribe();
        let whole = |(&(segment, call, sub), (r#try, text)): (&StreamKey, &(u32, String))| Delta {
            segment,
            call,
            sub,
            r#try: *r#try,
            text: text.clone(),
            whole: true,
            done: false,
        };
        channel.streams.iter().map(whole).collect()
    }

    /// How far the run has come, as far as was announced since the subscription.
    pub fn head(&mut self) -> Head {
        *self.head.borrow_and_update()
    }

    /// Waits for the next thing to know.
    pub async fn next(&mut self) -> News {
        tokio::select! {
            biased;
            changed = self.head.changed() => match changed {
                Ok(()) => News::More(*self.head.borrow_and_update()),
                // The sender lives in the channel that this subscription holds.
                Err(_) => std::future::pending().await,
            },
            delta = self.deltas.recv() => match delta {
                Ok(delta) => News::Delta(delta),
                Err(broadcast::error::RecvError::Lagged(_)) => News::Deltas(self.streaming()),
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            },
        }
    }

    /// Waits until the run's journal grew or its state changed.
    pub async fn changed(&mut self) -> Head {
        match self.head.changed().await {
            Ok(()) => *self.head.borrow_and_update(),
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.feed.release(self.run, &self.channel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[tokio::test]
    async fn a_watcher_hears_of_entries_and_text_and_a_late_one_gets_the_whole_text() {
        let feed = Feed::default();
        let run = RunId::new(Timestamp::from_ms(1));
        let publisher = feed.publish(run);
        let mut early = feed.subscribe(run);
        publisher.delta(0, 3, None, 1, "Hel");
        publisher.delta(0, 3, None, 1, "lo");
        assert!(matches!(early.next().await, News::Delta(delta) if delta.text == "Hel"));
        let mut late = feed.subscribe(run);
        assert_eq!(late.streaming()[0].text, "Hello");
        feed.announce(run, 7, Some(RunState::Running));
        assert_eq!(
            early.changed().await,
            Head {
                seq: 7,
                state: Some(RunState::Running)
            }
        );
        publisher.done(0, 3, None);
        assert!(late.streaming().is_empty());
    }

    #[tokio::test]
    async fn a_piece_that_is_in_the_whole_text_does_not_come_again() {
        let feed = Feed::default();
        let run = RunId::new(Timestamp::from_ms(1));
        let publisher = feed.publish(run);
        let mut watcher = feed.subscribe(run);
        publisher.delta(0, 3, None, 1, "Hel");
        assert_eq!(watcher.streaming()[0].text, "Hel");
        publisher.delta(0, 3, None, 1, "lo");
        assert!(matches!(watcher.next().await, News::Delta(delta) if delta.text == "lo"));
    }

    #[tokio::test]
    async fn a_run_that_nobody_holds_costs_nothing() {
        let feed = Feed::default();
        let run = RunId::new(Timestamp::from_ms(1));
        drop(feed.subscribe(run));
        feed.announce(run, 1, None);
        assert!(lock(&feed.channels).is_empty());
    }
}
