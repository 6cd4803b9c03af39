//! The command line: data on stdout, messages on stderr, exit 0 for success, 1 for failure, 2 for wrong usage.

mod admin;
mod agent;
mod args;
mod audit;
mod demo;
mod doctor;
mod embedded;
mod files;
mod health;
mod master_key;
mod org;
mod process;
mod run;
mod serve;
mod station;
mod timeline;
mod verify;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use self::args::{Args, Command};
use crate::telemetry::text;

/// How a command ended, other than with an error.
pub enum Exit {
    Success,
    /// It did what it was asked, and the answer is no: a failed run, a finding.
    Failure,
    /// It was asked for what cannot be: wrong usage.
    Usage,
}

/// Runs the program.
pub fn main() -> ExitCode {
    process::harden();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are data; mistakes are messages. Nothing is left to tell where printing fails.
            _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match execute(args) {
        Ok(Exit::Success) => ExitCode::SUCCESS,
        Ok(Exit::Failure) => ExitCode::FAILURE,
        Ok(Exit::Usage) => ExitCode::from(2),
        Err(error) => {
            say(&format!("agentstation: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn execute(args: Args) -> anyhow::Result<Exit> {
    let Args { global, command } = args;
    match command {
        Command::CompileComponent => {
            let code = crate::runtime::compile::child_main(&mut io::stdin().lock(), &mut io::stdout().lock(), &mut io::stderr().lock());
            // The compile child's exit code is its protocol.
            return Ok(if code == 0 { Exit::Success } else { child_exit(code) });
        }
        Command::Health { address } => return health::check(address),
        Command::Openapi => {
            data(&crate::web::openapi::document())?;
            return Ok(Exit::Success);
        }
        _ => {}
    }
    let config = global.load()?;
    match command {
        Command::Serve { print_config: true, .. } => {
            data(&config.print())?;
            Ok(Exit::Success)
        }
        Command::Serve { .. } => blocking(serve::serve(config)),
        Command::Demo => blocking(demo::demo(config)),
        Command::Run(run) => blocking(run::run(config, run)),
        Command::Init(init) => blocking(admin::init(config, init)),
        Command::User(user) => blocking(admin::user(config, user)),
        Command::Org(org) => blocking(org::org(config, org)),
        Command::Key(key) => blocking(admin::key(config, key)),
        Command::Agent(agent) => blocking(agent::agent(config, agent)),
        Command::Audit(audit) => blocking(audit::audit(config, audit.command)),
        Command::Doctor { output } => blocking(doctor::doctor(config, output)),
        Command::CompileComponent | Command::Health { .. } | Command::Openapi => Ok(Exit::Success),
    }
}

#[expect(clippy::exit, reason = "the parent process reads this code")]
fn child_exit(code: i32) -> Exit {
    std::process::exit(code)
}

/// Runs a command on the async runtime.
fn blocking(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit = runtime.block_on(command);
    runtime.shutdown_background();
    exit
}

/// Writes data to stdout: as it is for programs; on a terminal nothing in it moves the cursor.
fn data(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let text = if out.is_terminal() { text::lines(text) } else { text.into() };
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Writes a message to stderr. What agents and strangers say in it moves no cursor.
fn say(text: &str) {
    // Where stderr is gone there is nobody to tell.
    _ = writeln!(io::stderr().lock(), "{}", text::lines(text));
}

/// Whether stderr shows colours.
fn colours() -> bool {
    io::stderr().is_terminal()
}
