//! The `agentstation` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    agentstation::cli::main()
}
