//! Logs: one line an event to stderr, for a person on a terminal, as JSON otherwise.
//!
//! The fields of the enclosing spans (`request_id`, `org`, `run_id`, …) stand in each line. Nothing that came from
//! outside can move the cursor or forge a line.

pub mod crash_point;
mod line;
pub mod text;

use std::io::{self, IsTerminal as _, Write as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use self::line::{Format, Lines};
use crate::config::settings::{Log, LogFormat};
use crate::domain::time::SharedClock;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("log.level is wrong: {0}; write info, debug, or a filter such as info,agentstation::store=debug")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("logs were set up twice")]
    Twice(#[from] TryInitError),
}

/// Sends the process's log to stderr and makes panics log lines.
///
/// # Errors
/// A filter that cannot be read, or a second call.
pub fn init(log: &Log, clock: SharedClock) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&log.level)?;
    let terminal = io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let format = if json { Format::Json } else { Format::Human { colour: terminal } };
    let lines = Lines::new(format, clock, |line: &str| {
        // Where stderr is gone there is nowhere to say so.
        _ = io::stderr().lock().write_all(line.as_bytes());
    });
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    log_panics();
    Ok(())
}

/// A panic is a bug: it is logged with its place, and the task that met it ends.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("a panic without a message");
        tracing::error!(place, backtrace = %std::backtrace::Backtrace::capture(), "panic: {message}");
    }));
}

#[cfg(test)]
mod tests;
