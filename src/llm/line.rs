//! The line in front of a provider: so many calls at one time, so many tokens in a minute, and turns that go around, so that one busy agent
//! keeps nobody waiting.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::{AgentId, OrgId};
use crate::domain::provider::ProviderLimits;

/// Calls that may wait for one provider.
const WAITING_MAX: usize = 4_096;

/// Whose call it is: turns go around among these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Whose {
    /// None of them is the station's own.
    pub agent: Option<(OrgId, AgentId)>,
}

impl Whose {
    pub const fn agent(org: OrgId, agent: AgentId) -> Self {
        Self { agent: Some((org, agent)) }
    }
}

struct Waiter {
    id: u64,
    tokens: NonZeroU32,
    go: oneshot::Sender<()>,
}

#[derive(Default)]
struct Queue {
    under_way: u32,
    waiting: HashMap<Whose, VecDeque<Waiter>>,
    /// Whose turn is next; each that waits is in it once.
    order: VecDeque<Whose>,
    last_id: u64,
    /// Somebody looks again when there are tokens.
    timer: bool,
}

impl Queue {
    fn len(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    fn push(&mut self, whose: Whose, waiter: Waiter) {
        let line = self.waiting.entry(whose).or_default();
        if line.is_empty() {
            self.order.push_back(whose);
        }
        line.push_back(waiter);
    }

    /// Takes the one whose turn it is, and sends the others of the same agent to the end.
    fn pop(&mut self) -> Option<Waiter> {
        let whose = self.order.pop_front()?;
        let line = self.waiting.get_mut(&whose)?;
        let waiter = line.pop_front();
        if line.is_empty() {
            self.waiting.remove(&whose);
        } else {
            self.order.push_back(whose);
        }
        waiter
    }

    fn next_tokens(&self) -> Option<NonZeroU32> {
        let line = self.waiting.get(self.order.front()?)?;
        line.front().map(|waiter| waiter.tokens)
    }

    fn remove(&mut self, whose: Whose, id: u64) {
        if let Some(line) = self.waiting.get_mut(&whose) {
            line.retain(|waiter| waiter.id != id);
            if line.is_empty() {
                self.waiting.remove(&whose);
                self.order.retain(|other| *other != whose);
            }
        }
    }
}

/// The line of one provider.
pub(crate) struct Line {
    queue: Mutex<Queue>,
    concurrency: u32,
    tokens: Option<(NonZeroU32, DefaultDirectRateLimiter)>,
}

impl Line {
    pub fn new(limits: &ProviderLimits) -> Arc<Self> {
        let tokens = NonZeroU32::new(limits.tokens_per_minute).map(|most| (most, RateLimiter::direct(Quota::per_minute(most))));
        Arc::new(Self {
            queue: Mutex::default(),
            concurrency: limits.concurrency.max(1),
            tokens,
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn. A call larger than a whole minute takes the whole minute.
    ///
    /// # Errors
    /// `RateLimited` where none came before the deadline.
    pub async fn enter(self: &Arc<Self>, whose: Whose, tokens: u64, deadline: Instant) -> Result<Turn, Failure> {
        let tokens =
            u32::try_from(tokens)
                .ok()
                .and_then(NonZeroU32::new)
                .unwrap_or(if tokens == 0 { NonZeroU32::MIN } else { NonZeroU32::MAX });
        let tokens = self.tokens.as_ref().map_or(tokens, |(most, _)| tokens.min(*most));
        let (go, mut gone) = oneshot::channel();
        let mut waiting = {
            let mut queue = self.queue();
            if queue.len() >= WAITING_MAX {
                return Err(Failure::retryable(
                    FailureCode::RateLimited,
                    format!("{WAITING_MAX} calls wait for this provider already"),
                ));
            }
            queue.last_id += 1;
            let id = queue.last_id;
            queue.push(whose, Waiter { id, tokens, go });
            Waiting {
                line: self,
                whose,
                id,
                done: false,
            }
        };
        self.pump();
        tokio::select! {
            biased;
            _ = &mut gone => {}
            () = tokio::time::sleep_until(deadline) => {
                // It may have come in this very moment.
                if gone.try_recv().is_err() {
                    return Err(self.too_late());
                }
            }
        }
        waiting.done = true;
        Ok(Turn { line: Arc::clone(self) })
    }

    fn too_late(&self) -> Failure {
        let text = match &self.tokens {
            Some((most, _)) => format!(
                "this provider takes {} calls at one time and {most} tokens a minute, and none of them came free in time",
                self.concurrency
            ),
            None => format!(
                "this provider takes {} calls at one time, and none of them ended in time",
                self.concurrency
            ),
        };
        Failure::retryable(FailureCode::RateLimited, text)
    }

    /// Lets go whoever may go now.
    fn pump(self: &Arc<Self>) {
        let mut queue = self.queue();
        while queue.under_way < self.concurrency {
            let Some(tokens) = queue.next_tokens() else { return };
            if let Some((_, limiter)) = &self.tokens
                && let Ok(Err(not_yet)) = limiter.check_n(tokens)
            {
                let at = Instant::now() + not_yet.wait_time_from(DefaultClock::default().now());
                self.look_again(&mut queue, at);
                return;
            }
            if let Some(waiter) = queue.pop()
                && waiter.go.send(()).is_ok()
            {
                queue.under_way += 1;
            }
        }
    }

    fn look_again(self: &Arc<Self>, queue: &mut Queue, at: Instant) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if !std::mem::replace(&mut queue.timer, true) {
            let line = Arc::clone(self);
            runtime.spawn(async move {
                tokio::time::sleep_until(at).await;
                line.queue().timer = false;
                line.pump();
            });
        }
    }
}

/// A place in line, given up where it is dropped.
struct Waiting<'l> {
    line: &'l Arc<Line>,
    whose: Whose,
    id: u64,
    done: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut queue = self.line.queue();
        let before = queue.len();
        queue.remove(self.whose, self.id);
        // It was let go and nobody heard: its turn is another's.
        let was_let_go = queue.len() == before;
        if was_let_go {
            queue.under_way = queue.under_way.saturating_sub(1);
        }
        drop(queue);
        self.line.pump();
    }
}

/// One of the calls at one time; the next one's where it is dropped.
pub(crate) struct Turn {
    line: Arc<Line>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut queue = self.line.queue();
            queue.under_way = queue.under_way.saturating_sub(1);
        }
        self.line.pump();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::time::Timestamp;

    fn line(concurrency: u32, tokens_per_minute: u32) -> Arc<Line> {
        Line::new(&ProviderLimits {
            concurrency,
            tokens_per_minute,
            ..ProviderLimits::default()
        })
    }

    fn agents() -> (Whose, Whose) {
        let of = |ms| Whose::agent(OrgId::new(Timestamp::from_ms(ms)), AgentId::new(Timestamp::from_ms(ms)));
        (of(1), of(2))
    }

    fn is_empty(line: &Arc<Line>) -> bool {
        let queue = line.queue();
        queue.under_way == 0 && queue.len() == 0
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[tokio::test]
    async fn turns_go_around_among_agents_however_many_calls_one_has() {
        let line = line(1, 0);
        let (busy, other) = agents();
        let first = line.enter(busy, 1, soon()).await.unwrap();
        let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
        for (whose, name) in [(busy, "busy"), (busy, "busy"), (busy, "busy"), (other, "other"), (other, "other")] {
            let before = line.queue().len();
            let (waiting, said) = (Arc::clone(&line), said.clone());
            tokio::spawn(async move {
                let _turn = waiting.enter(whose, 1, soon()).await.unwrap();
                said.send(name).unwrap();
            });
            while line.queue().len() == before {
                tokio::task::yield_now().await;
            }
        }
        drop((first, said));
        let mut order = Vec::new();
        while let Some(name) = heard.recv().await {
            order.push(name);
        }
        assert_eq!(order, ["busy", "other", "busy", "other", "busy"]);
        assert!(is_empty(&line));
    }

    #[tokio::test]
    async fn no_more_than_so_many_are_under_way() {
        let line = line(2, 0);
        let (agent, _) = agents();
        let (one, two) = (
            line.enter(agent, 1, soon()).await.unwrap(),
            line.enter(agent, 1, soon()).await.unwrap(),
        );
        let late = line.enter(agent, 1, Instant::now() + Duration::from_millis(20)).await;
        assert_eq!(
            late.err().map(|failure| (failure.code, failure.retryable)),
            Some((FailureCode::RateLimited, true))
        );
        drop(one);
        drop(line.enter(agent, 1, soon()).await.unwrap());
        drop(two);
        assert!(is_empty(&line));
    }

    #[tokio::test]
    async fn who_leaves_the_line_or_does_not_hear_of_its_turn_holds_nobody_up() {
        let line = line(1, 0);
        let (agent, other) = agents();
        let turn = line.enter(agent, 1, soon()).await.unwrap();
        let mut given_up = Box::pin(line.enter(agent, 1, soon()));
        assert!(futures_util::poll!(&mut given_up).is_pending());
        let mut deaf = Box::pin(line.enter(other, 1, soon()));
        assert!(futures_util::poll!(&mut deaf).is_pending());
        drop(given_up);
        drop(turn);
        drop(deaf);
        assert!(is_empty(&line));
        line.enter(agent, 1, soon()).await.unwrap();
    }

    #[tokio::test]
    async fn tokens_of_a_minute_that_are_used_up_are_waited_for() {
        // One token comes back each 10 ms.
        let line = line(8, 6_000);
        let (agent, _) = agents();
        drop(line.enter(agent, 1_000_000, soon()).await.unwrap());
        let begun = Instant::now();
        drop(line.enter(agent, 5, soon()).await.unwrap());
        assert!(begun.elapsed() >= Duration::from_millis(30), "{:?}", begun.elapsed());
        let late = line.enter(agent, 3_000, Instant::now() + Duration::from_millis(30)).await;
        assert!(late.err().unwrap().message.contains("6000 tokens a minute"));
    }
}
