//! The one thread that writes. It takes what is queued, runs each write in its own savepoint, commits once, then answers.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Signal;
use super::lock::Lock;
use super::{Error, OnFatal, Tx};
use crate::domain::time::SharedClock;
use crate::telemetry::crash_point::CrashPoint;

/// Writes that may wait; beyond them, callers do.
const QUEUE_MAX: usize = 4096;
/// Writes in one transaction.
const BATCH_MAX: usize = 256;
/// How long a caller waits for room in the queue.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A write that is queued; resolves when it is committed or has failed. It happens also where nobody waits for it.
pub struct Pending<T>(oneshot::Receiver<Result<T, Error>>);

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or_else(|_| Err(Error::internal("the writer ended before it answered"))))
    }
}

/// What the writer did since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Transactions committed.
    pub batches: u64,
    /// Writes in them.
    pub writes: u64,
}

#[derive(Default)]
struct Counts {
    batches: AtomicU64,
    writes: AtomicU64,
}

enum Message {
    Write(Box<dyn Job>),
    Stop,
}

pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counts: Arc<Counts>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        clock: SharedClock,
        signal: Arc<Signal>,
        on_fatal: Option<OnFatal>,
        lock: Arc<Lock>,
    ) -> Result<Self, Error> {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let counts = Arc::new(Counts::default());
        let work = WriterThread {
            connection,
            clock,
            signal,
            on_fatal,
            counts: Arc::clone(&counts),
            fatal: false,
        };
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let _lock = lock;
                work.run(messages);
            })
            .map_err(Error::internal)?;
        Ok(Self {
            queue,
            thread: Mutex::new(Some(thread)),
            counts,
        })
    }

    pub(super) async fn enqueue<T, F>(&self, work: F) -> Result<Pending<T>, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Work {
            closure: Some(work),
            result: None,
            reply,
        };
        let room = match self.queue.try_reserve() {
            Ok(room) => room,
            Err(mpsc::error::TrySendError::Closed(())) => return Err(Error::Busy),
            Err(mpsc::error::TrySendError::Full(())) => tokio::time::timeout(WAIT_MAX, self.queue.reserve())
                .await
                .map_err(|_| Error::Busy)?
                .map_err(|_| Error::Busy)?,
        };
        room.send(Message::Write(Box::new(job)));
        Ok(Pending(answer))
    }

    pub(super) fn stats(&self) -> WriterStats {
        WriterStats {
            batches: self.counts.batches.load(Ordering::Relaxed),
            writes: self.counts.writes.load(Ordering::Relaxed),
        }
    }

    /// Asks the thread to end after what is queued.
    pub(super) async fn stop(&self) {
        if self.queue.send(Message::Stop).await.is_err() {
            tracing::debug!("the writer has already ended");
        }
    }

    /// Waits for the thread's end. Blocks.
    pub(super) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writer thread panicked");
        }
    }
}

/// Why a write that did its part was undone all the same: the transaction around it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Full,
    Busy,
    Fatal,
    Other,
}

impl Lost {
    /// What it means for the whole transaction that a statement in it, or its commit, failed so.
    fn of(error: &Error) -> Self {
        match error {
            Error::Full => Self::Full,
            Error::Busy => Self::Busy,
            Error::Fatal => Self::Fatal,
            _ => Self::Other,
        }
    }

    fn into_error(self) -> Error {
        match self {
            Self::Full => Error::Full,
            Self::Busy => Error::Busy,
            Self::Fatal => Error::Fatal,
            Self::Other => Error::internal("the transaction that this write was part of was undone"),
        }
    }
}

trait Job: Send {
    fn run(&mut self, tx: &Tx<'_>) -> Result<(), Lost>;
    fn answer(self: Box<Self>, lost: Option<Lost>);
}

struct Work<T, F> {
    closure: Option<F>,
    result: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Job for Work<T, F>
where
    T: Send,
    F: FnOnce(&Tx<'_>) -> Result<T, Error> + Send,
{
    fn run(&mut self, tx: &Tx<'_>) -> Result<(), Lost> {
        let Some(work) = self.closure.take() else { return Ok(()) };
        // The transaction is rolled back to before a panic, so nothing half-done is seen.
        let result = catch_unwind(AssertUnwindSafe(|| work(tx))).unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
        let outcome = result.as_ref().map(|_| ()).map_err(Lost::of);
        self.result = Some(result);
        outcome
    }

    fn answer(self: Box<Self>, lost: Option<Lost>) {
        let answer = match (self.result, lost) {
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(_)) | None, Some(lost)) => Err(lost.into_error()),
            (Some(Ok(value)), None) => Ok(value),
            (None, None) => Err(Lost::Other.into_error()),
        };
        // Nobody may be waiting any more.
        drop(self.reply.send(answer));
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(message, "a write panicked");
    Error::internal(format!("a write panicked: {message}"))
}

struct WriterThread {
    connection: Connection,
    clock: SharedClock,
    signal: Arc<Signal>,
    on_fatal: Option<OnFatal>,
    counts: Arc<Counts>,
    fatal: bool,
}

impl WriterThread {
    fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut received = Vec::with_capacity(BATCH_MAX);
        while messages.blocking_recv_many(&mut received, BATCH_MAX) > 0 {
            let mut jobs = Vec::with_capacity(received.len());
            for message in received.drain(..) {
                match message {
                    Message::Write(job) => jobs.push(job),
                    // What is queued by now is still taken.
                    Message::Stop => messages.close(),
                }
            }
            self.write(jobs);
        }
        if let Err(error) = self.connection.execute_batch("PRAGMA optimize") {
            tracing::debug!(%error, "the database was not optimized");
        }
    }

    /// Commits jobs in one transaction, or in more where SQLite gives one up half-way.
    fn write(&mut self, jobs: Vec<Box<dyn Job>>) {
        let mut waiting = jobs.into_iter();
        while waiting.len() > 0 {
            let mut done = Vec::with_capacity(waiting.len());
            let lost = self.transaction(&mut waiting, &mut done).err();
            if lost.is_none() {
                self.counts.batches.fetch_add(1, Ordering::Relaxed);
                self.counts.writes.fetch_add(done.len() as u64, Ordering::Relaxed);
                self.signal.committed();
            }
            for job in done {
                job.answer(lost);
            }
        }
    }

    /// Runs jobs and commits. Those it took are in `done`, whatever happens; where it fails they are undone.
    fn transaction(&mut self, waiting: &mut std::vec::IntoIter<Box<dyn Job>>, done: &mut Vec<Box<dyn Job>>) -> Result<(), Lost> {
        if self.fatal {
            done.extend(waiting);
            return Err(Lost::Fatal);
        }
        if let Err(error) = self.execute("BEGIN IMMEDIATE") {
            done.extend(waiting);
            return Err(Lost::of(&error));
        }
        let tx = Tx::new(&self.connection, self.clock.as_ref());
        for mut job in waiting {
            let outcome = savepoint(&tx, job.as_mut());
            done.push(job);
            // On some failures, such as a full disk, SQLite rolls back everything, not only the statement.
            if let Err(lost) = outcome
                && self.connection.is_autocommit()
            {
                return Err(lost);
            }
        }
        CrashPoint::InCommit.pass();
        let Err(error) = self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])) else {
            CrashPoint::AfterCommit.pass();
            return Ok(());
        };
        if is_fatal(&error) {
            self.fatal = true;
            tracing::error!(%error, "the disk did not take a commit; nothing more is written");
            if let Some(on_fatal) = &self.on_fatal {
                on_fatal(&error.to_string());
            }
            return Err(Lost::Fatal);
        }
        tracing::warn!(%error, "a commit failed");
        if !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            tracing::error!(%error, "a failed transaction was not rolled back");
        }
        Err(Lost::of(&error.into()))
    }

    fn execute(&self, sql: &'static str) -> Result<(), Error> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

/// After an I/O error in a commit nobody knows what is on the disk.
fn is_fatal(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::SystemIoFailure)
}

fn savepoint(tx: &Tx<'_>, job: &mut dyn Job) -> Result<(), Lost> {
    let step = |sql: &'static str| tx.execute(sql, []).map_err(|error| Lost::of(&error));
    step("SAVEPOINT write")?;
    let outcome = job.run(tx);
    if outcome.is_err() {
        if tx.connection().is_autocommit() {
            return outcome;
        }
        step("ROLLBACK TO write")?;
    }
    step("RELEASE write")?;
    outcome
}

#[cfg(test)]
mod tests;
