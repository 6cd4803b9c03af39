//! The JavaScript runtime: runs one file, written by a user, as one segment of an agent.
//!
//! QuickJS in a component that imports nothing but `agentstation:agent`. `engine` holds the interpreter, built once
//! when the component is built; `segment` runs a file; `calls` gathers what it asks of the station, which `requests` reads
//! and `replies` answers; `host` is what needs no answer; `memory` counts; `check` reads a file without running it;
//! `fault` turns what went wrong into words and a place.

mod calls;
mod check;
mod engine;
mod fault;
mod host;
mod memory;
mod replies;
mod requests;
mod segment;

#[expect(clippy::too_many_arguments, clippy::same_length_and_capacity, reason = "generated")]
mod abi {
    wit_bindgen::generate!({ path: "../../wit", world: "javascript-runtime" });
}

use abi::{Finding, Guest, Outcome, ScriptFailure, Start};

struct Runtime;

impl Guest for Runtime {
    fn run_script(name: String, source: String, start: Start) -> Result<Outcome, ScriptFailure> {
        engine::with(|engine, ctx| segment::run(engine, ctx, &name, source, start))
    }

    fn check_script(name: String, source: String) -> Vec<Finding> {
        engine::with(|_, ctx| check::check(ctx, &name, source))
    }
}

#[expect(unsafe_code, reason = "generated: exports of the component")]
mod export {
    use crate::{Runtime, abi};
    abi::export!(Runtime with_types_in abi);
}
