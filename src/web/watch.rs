//! Follows a run for one viewer: first what is recorded, page by page, then what comes. Sockets and event streams are
//! both this, written differently.
//!
//! Announcements only say that there is more; entries always come from the store, in order, each once.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;

use crate::domain::failure::EndReason;
use crate::domain::id::RunId;
use crate::domain::journal::EntryView;
use crate::domain::permission::Actor;
use crate::domain::run::Shown;
use crate::domain::time::Timestamp;
use crate::services::feed::{Delta, News, Subscription};
use crate::services::{App, Error, runs};
use crate::store::runs::Run;

/// Entries read at once.
const PAGE: u32 = 200;

/// One thing for the viewer to know.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    Event(EntryView),
    Status {
        state: Sync,
    },
    /// The run's header as it is now.
    Run(Header),
    Delta(Delta),
    /// The run has ended and everything was sent.
    End,
}

/// What of a run changes while it goes on. Times are milliseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Header {
    pub id: RunId,
    pub state: Shown,
    pub reason: Option<EndReason>,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_micros: u64,
    pub fuel: u64,
    pub entries: u64,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

impl From<&Run> for Header {
    fn from(run: &Run) -> Self {
        Self {
            id: run.id,
            state: run.shown(),
            reason: run.reason,
            input_tokens: run.input_tokens,
            output_tokens: run.output_tokens,
            cost_micros: run.cost_micros,
            fuel: run.fuel,
            entries: run.last_seq,
            started_at: run.started_at,
            finished_at: run.finished_at,
        }
    }
}

/// Where the viewer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sync {
    Replaying,
    Synced,
}

impl Message {
    /// The name of its type, as in its JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Event(_) => "event",
            Self::Status { .. } => "status",
            Self::Run(_) => "run",
            Self::Delta(_) => "delta",
            Self::End => "end",
        }
    }

    /// What a client that comes back names to go on after it.
    pub const fn cursor(&self) -> Option<u64> {
        match self {
            Self::Event(entry) => Some(entry.seq),
            _ => None,
        }
    }
}

/// A viewer's place in a run.
pub struct Watch {
    app: App,
    actor: Arc<Actor>,
    run: RunId,
    subscription: Subscription,
    after: u64,
    ready: VecDeque<Message>,
    /// Whether the store may have entries that were not read.
    behind: bool,
    synced: bool,
    ended: bool,
    /// As it was last sent.
    header: Option<Header>,
}

impl Watch {
    /// Begins after the entry `after`.
    ///
    /// # Errors
    /// `NotFound`, also for a run that the actor may not see.
    pub async fn open(app: App, actor: Arc<Actor>, run: RunId, after: u64) -> Result<Self, Error> {
        // In this order nothing is missed between the two.
        let subscription = app.feed.subscribe(run);
        runs::get(&app, &actor, run).await?;
        Ok(Self {
            app,
            actor,
            run,
            subscription,
            after,
            ready: VecDeque::from([Message::Status { state: Sync::Replaying }]),
            behind: true,
            synced: false,
            ended: false,
            header: None,
        })
    }

    /// The newest entry that was handed out.
    pub const fn after(&self) -> u64 {
        self.after
    }

    /// The next message; none after [`Message::End`]. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn next(&mut self) -> Result<Option<Message>, Error> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                if let Some(seq) = message.cursor() {
                    self.after = seq;
                }
                return Ok(Some(message));
            }
            if self.ended {
                return Ok(None);
            }
            if self.behind {
                self.read_on().await?;
                continue;
            }
            match self.subscription.next().await {
                News::More(_) => self.behind = true,
                News::Delta(delta) => self.ready.push_back(Message::Delta(delta)),
                News::Deltas(deltas) => self.ready.extend(deltas.into_iter().map(Message::Delta)),
            }
        }
    }

    async fn read_on(&mut self) -> Result<(), Error> {
        let page = runs::events(&self.app, &self.actor, self.run, self.after, PAGE).await?;
        if page.len() >= PAGE as usize {
            self.ready.extend(page.into_iter().map(Message::Event));
            return Ok(());
        }
        // Read after the entries, so that the header is never behind them.
        let run = runs::get(&self.app, &self.actor, self.run).await?;
        let newest = page.last().map_or(self.after, |entry| entry.seq);
        let (terminal, last_seq) = (run.state.is_terminal(), run.last_seq);
        self.ready.extend(page.into_iter().map(Message::Event));
        if terminal && last_seq > newest {
            // The run ended between the two reads; its last entries come first.
            return Ok(());
        }
        self.behind = false;
        let header = Header::from(&run);
        if self.header != Some(header) {
            self.header = Some(header);
            self.ready.push_back(Message::Run(header));
        }
        if !self.synced {
            self.synced = true;
            self.ready.extend(self.subscription.streaming().into_iter().map(Message::Delta));
            self.ready.push_back(Message::Status { state: Sync::Synced });
        }
        if terminal {
            self.ended = true;
            self.ready.push_back(Message::End);
        }
        Ok(())
    }
}
