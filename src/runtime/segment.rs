//! Executes one segment: a fresh store and instance, its fuel, its deadline, and how it ended.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::{Store, Trap};

use super::bindings::wit::types as wit;
use super::engine::{Linked, LinkedGuest, Sandbox};
use super::exchange::{Beginning, Exchange, Interruption, Place, Stopped, Used, end_of};
use super::host::Guest;
use super::limiter::{Limiter, MemoryLimit};
use super::noworld::NoWorld;
use super::ports::{Port, PortError, RecordedEntry, Stop, StopReason};
use super::replay::{Difference, Replay};
use crate::domain::failure::{EndReason, Failure, FailureCode};
use crate::domain::limits::{AgentLimits, OUTPUT_BYTES_MAX, STATE_BYTES_MAX};
use crate::domain::manifest::Finding;
use crate::domain::time::Timestamp;
use crate::domain::wait::Message;

/// Fuel between two points at which a computing guest lets others run and can be stopped: about a millisecond.
const YIELD_FUEL: u64 = 10_000_000;
/// How long timeline entries wait for company before they are put in line.
const FLUSH_EVERY: Duration = Duration::from_millis(50);
/// Fuel and time for checking a script.
const CHECK_FUEL: u64 = 2_000_000_000;
const CHECK_TIME: Duration = Duration::from_secs(5);
/// Bytes that host calls of one guest may lift at once.
const HOSTCALL_BYTES_MAX: usize = 48 << 20;

/// What woke a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Event {
    Message(Message),
    Timer { due_ms: u64 },
}

/// When the next segment is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    Now,
    Message,
    At(Timestamp),
}

/// A script for the JavaScript runtime.
#[derive(Clone, Debug)]
pub struct Script {
    pub name: String,
    pub source: Arc<str>,
}

/// What a segment begins with.
pub struct Begin {
    pub guest: LinkedGuest,
    /// For the JavaScript runtime.
    pub script: Option<Script>,
    pub input: String,
    pub state: Option<Vec<u8>>,
    pub event: Option<Event>,
    pub seed: [u8; 32],
    pub started_at: Timestamp,
    pub place: Place,
    pub limits: AgentLimits,
    /// What the run used before, without this segment's recorded calls being counted again.
    pub used: Used,
    /// Time that is left of the run's.
    pub time_left: Duration,
    /// What a start before this one recorded of the segment.
    pub recorded: Vec<RecordedEntry>,
    /// Whether the engine is the one that recorded.
    pub compare_fuel: bool,
}

/// Why a run failed, for its page and its API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    pub message: String,
    /// The failure code that the agent gave or let through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<FailureCode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
}

impl RunError {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }
}

/// How a segment ended.
#[derive(Debug)]
pub enum End {
    Done {
        output: String,
    },
    Next {
        state: Vec<u8>,
        wake: Wake,
    },
    Failed {
        reason: EndReason,
        error: RunError,
    },
    /// It did not end; it goes on from its journal another time.
    Left(Left),
}

/// Why a segment did not end.
#[derive(Clone, Debug)]
pub enum Left {
    /// The station stops, or the run is held.
    Requeue,
    /// The quota of the question it answers is used up; it is not gone on with.
    Abandon(String),
    Port(PortError),
}

/// A finished execution of a segment.
#[derive(Debug)]
pub struct Report {
    pub end: End,
    pub fuel: u64,
    /// Timeline entries that are not written yet; they belong before the end.
    pub unwritten: Vec<crate::domain::journal::NewEntry>,
    /// Where the guest did something else than was recorded, or left out what was.
    pub difference: Option<Difference>,
}

/// Executes a segment to its end.
pub async fn execute(sandbox: &Sandbox, begin: Begin, port: Arc<dyn Port>, stop: Stop) -> Report {
    let limits = begin.limits;
    let replay = Replay::new(begin.recorded, begin.compare_fuel);
    let beginning = Beginning {
        replay,
        used: begin.used,
        seed: begin.seed,
        started_at: begin.started_at,
    };
    let exchange = Arc::new(Exchange::new(port, begin.place, limits, stop.clone(), beginning));
    let guest = Guest {
        limiter: Limiter::new(limits.memory_bytes),
        exchange: Arc::clone(&exchange),
        fuel: limits.fuel,
    };
    let mut store = Store::new(&sandbox.engine, guest);
    store.limiter(|guest| &mut guest.limiter);
    store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
    let prepared = store
        .set_fuel(limits.fuel)
        .and_then(|()| store.fuel_async_yield_interval(Some(YIELD_FUEL)));
    if let Err(error) = prepared {
        return Report {
            end: End::Left(Left::Port(PortError::Unavailable(format!("{error:#}")))),
            fuel: 0,
            unwritten: Vec::new(),
            difference: None,
        };
    }
    let start = wit::Start {
        input: begin.input,
        state: begin.state,
        event: begin.event.map(event_in),
    };
    let result = drive(
        call(&mut store, &begin.guest, begin.script.as_ref(), start),
        &exchange,
        begin.time_left,
    )
    .await;
    let fuel = limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0));
    drop(store);
    let end = match result {
        Driven::Returned(Ok(returned)) => match exchange.unread() {
            Some(text) => End::Failed {
                reason: EndReason::Nondeterminism,
                error: RunError::new(text),
            },
            None => end_of_return(returned, begin.script.as_ref()),
        },
        Driven::Returned(Err(error)) => end_of_trap(&error, &limits),
        Driven::Stopped(reason) => end_of_interruption(&Interruption::Stopped(reason)),
        Driven::Port(error) => End::Left(Left::Port(error)),
    };
    Report {
        end,
        fuel,
        difference: exchange.difference(),
        unwritten: exchange.take_buffer(),
    }
}

/// What a guest returned, in either world.
enum Returned {
    Outcome(wit::Outcome),
    Failure(wit::Failure),
    Script {
        failure: wit::Failure,
        line: u32,
        column: u32,
        stack: String,
    },
}

async fn call(store: &mut Store<Guest>, guest: &LinkedGuest, script: Option<&Script>, start: wit::Start) -> wasmtime::Result<Returned> {
    match (&guest.0, script) {
        (Linked::Agent(pre), _) => {
            let instance = pre.instantiate_async(&mut *store).await?;
            Ok(match instance.call_run(&mut *store, &start).await? {
                Ok(outcome) => Returned::Outcome(outcome),
                Err(failure) => Returned::Failure(failure),
            })
        }
        (Linked::Javascript(pre), Some(script)) => {
            let instance = pre.instantiate_async(&mut *store).await?;
            Ok(
                match instance.call_run_script(&mut *store, &script.name, &script.source, &start).await? {
                    Ok(outcome) => Returned::Outcome(outcome),
                    Err(error) => Returned::Script {
                        failure: error.failure,
                        line: error.line,
                        column: error.column,
                        stack: error.stack,
                    },
                },
            )
        }
        (Linked::Javascript(_), None) => Err(wasmtime::Error::msg("the JavaScript runtime was given no script")),
    }
}

enum Driven<T> {
    Returned(T),
    Stopped(StopReason),
    Port(PortError),
}

/// Polls the guest, puts its timeline entries in line while it computes, and stops it at a fuel yield when it is told to or its time is up.
/// A guest in a host call is left to that call, which listens for the stop itself.
async fn drive<T>(guest: impl Future<Output = T>, exchange: &Exchange, time_left: Duration) -> Driven<T> {
    let mut guest = std::pin::pin!(guest);
    let mut tick = tokio::time::interval(FLUSH_EVERY);
    let began = tokio::time::Instant::now();
    let mut deadline = std::pin::pin!(tokio::time::sleep(time_left));
    let mut stopped = false;
    loop {
        tokio::select! {
            biased;
            returned = &mut guest => return Driven::Returned(returned),
            () = &mut deadline, if !stopped => {
                // Time in which it waited for others is not its own.
                let until = began + time_left + exchange.waited();
                if tokio::time::Instant::now() < until {
                    deadline.as_mut().reset(until);
                } else {
                    exchange.stop.stop(StopReason::End(EndReason::Deadline));
                    stopped = true;
                }
            }
            () = exchange.stop.stopped(), if !stopped => stopped = true,
            _ = tick.tick() => {
                if let Err(error) = exchange.flush().await {
                    return Driven::Port(error);
                }
            }
        }
        if stopped
            && !exchange.in_call()
            && let Some(reason) = exchange.stop.reason()
        {
            return Driven::Stopped(reason);
        }
    }
}

fn event_in(event: Event) -> wit::Event {
    match event {
        Event::Message(message) => wit::Event::Message(wit::MessageEvent {
            id: message.id.to_string(),
            text: message.text,
            sender: message.sender,
            sent_ms: message.sent_ms,
            extra: None,
        }),
        Event::Timer { due_ms } => wit::Event::Timer(wit::TimerEvent { due_ms, extra: None }),
    }
}

fn failed(reason: EndReason, message: impl Into<String>) -> End {
    End::Failed {
        reason,
        error: RunError::new(message),
    }
}

fn end_of_return(returned: Returned, script: Option<&Script>) -> End {
    match returned {
        Returned::Outcome(wit::Outcome::Done(output)) => {
            if output.len() > OUTPUT_BYTES_MAX {
                return failed(
                    EndReason::AgentError,
                    format!("its output is {} bytes, the limit is {OUTPUT_BYTES_MAX}", output.len()),
                );
            }
            if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&output) {
                return failed(EndReason::AgentError, format!("its output is no JSON: {error}"));
            }
            End::Done { output }
        }
        Returned::Outcome(wit::Outcome::Next(next)) => {
            if next.state.len() > STATE_BYTES_MAX {
                return failed(
                    EndReason::AgentError,
                    format!("its state is {} bytes, the limit is {STATE_BYTES_MAX}", next.state.len()),
                );
            }
            let wake = match next.wake {
                wit::Wake::Now => Wake::Now,
                wit::Wake::Message => Wake::Message,
                wit::Wake::At(ms) => Wake::At(Timestamp::from_ms(i64::try_from(ms).unwrap_or(i64::MAX))),
            };
            End::Next { state: next.state, wake }
        }
        Returned::Failure(failure) => end_of_failure(failure, RunError::default()),
        Returned::Script {
            failure,
            line,
            column,
            stack,
        } => {
            let place = RunError {
                file: script.map(|script| script.name.clone()),
                line: (line > 0).then_some(line),
                column: (column > 0).then_some(column),
                stack: (!stack.is_empty()).then(|| stack.chars().take(4096).collect()),
                ..RunError::default()
            };
            end_of_failure(failure, place)
        }
    }
}

/// QuickJS reports its own memory limit, which sits below ours, as an error of the script.
const JAVASCRIPT_OUT_OF_MEMORY: &str = "InternalError: out of memory";

fn end_of_failure(failure: wit::Failure, place: RunError) -> End {
    let code = FailureCode::parse(&failure.code).unwrap_or(FailureCode::AgentError);
    let message = Failure::new(code, failure.message).message;
    let reason = if place.file.is_some() && message.starts_with(JAVASCRIPT_OUT_OF_MEMORY) {
        EndReason::MemoryLimit
    } else {
        EndReason::of_failure(code)
    };
    let message = if message.is_empty() {
        "the agent failed and gave no reason".to_owned()
    } else {
        message
    };
    End::Failed {
        reason,
        error: RunError {
            message,
            code: Some(code),
            ..place
        },
    }
}

fn end_of_interruption(interruption: &Interruption) -> End {
    match end_of(interruption) {
        Ok((reason, message)) => failed(reason, message),
        Err(Stopped::Requeue) => End::Left(Left::Requeue),
        Err(Stopped::Abandon(text)) => End::Left(Left::Abandon(text)),
        Err(Stopped::Port(error)) => End::Left(Left::Port(error)),
    }
}

fn end_of_trap(error: &wasmtime::Error, limits: &AgentLimits) -> End {
    if let Some(interruption) = error.downcast_ref::<Interruption>() {
        return end_of_interruption(interruption);
    }
    if let Some(limit) = error.downcast_ref::<MemoryLimit>() {
        return failed(
            EndReason::MemoryLimit,
            format!("it asked for more than limits.memory_bytes = {}", limit.limit_bytes),
        );
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => failed(EndReason::FuelExhausted, format!("it used up limits.fuel = {}", limits.fuel)),
        Some(Trap::StackOverflow) => failed(EndReason::StackOverflow, "it called deeper than its stack goes"),
        Some(trap) => failed(EndReason::Trap, trap.to_string()),
        None => failed(EndReason::Trap, format!("{:#}", error.root_cause())),
    }
}

/// Parses a script without running it.
///
/// # Errors
/// The JavaScript runtime cannot do it.
pub async fn check_script(sandbox: &Sandbox, guest: &LinkedGuest, script: &Script) -> Result<Vec<Finding>, super::Error> {
    let Linked::Javascript(pre) = &guest.0 else {
        return Err(super::Error::Internal("scripts are checked by the JavaScript runtime".to_owned()));
    };
    // Closed never, so that this waits and does not fail.
    let _slot = sandbox.checks.acquire().await.map_err(super::Error::internal)?;
    let limits = AgentLimits {
        fuel: CHECK_FUEL,
        ..AgentLimits::default()
    };
    let place = Place { attempt: 0, segment: 0 };
    let exchange = Exchange::new(Arc::new(NoWorld), place, limits, Stop::default(), Beginning::default());
    let guest = Guest {
        limiter: Limiter::new(limits.memory_bytes),
        exchange: Arc::new(exchange),
        fuel: limits.fuel,
    };
    let mut store = Store::new(&sandbox.engine, guest);
    store.limiter(|guest| &mut guest.limiter);
    store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
    store.set_fuel(limits.fuel).map_err(super::Error::internal)?;
    store.fuel_async_yield_interval(Some(YIELD_FUEL)).map_err(super::Error::internal)?;
    let check = async {
        let instance = pre.instantiate_async(&mut store).await?;
        instance.call_check_script(&mut store, &script.name, &script.source).await
    };
    match tokio::time::timeout(CHECK_TIME, check).await {
        Ok(Ok(findings)) => Ok(findings
            .into_iter()
            .map(|found| Finding::error(&script.name, found.message).at(found.line, found.column))
            .collect()),
        Ok(Err(error)) => Ok(vec![Finding::error(
            &script.name,
            format!("it cannot be parsed: {:#}", error.root_cause()),
        )]),
        Err(_) => Ok(vec![Finding::error(&script.name, "it takes too long to parse")]),
    }
}
