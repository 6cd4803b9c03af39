//! The sandbox: checks, compiles and executes agents, one segment at a time. The only layer that names wasmtime.
//!
//! It knows neither the database nor models: what a guest's calls do is behind [`ports::Port`].

mod bindings;
pub mod compile;
pub mod components;
pub mod engine;
pub mod exchange;
mod host;
mod limiter;
mod noworld;
pub mod ports;
pub mod preflight;
mod replay;
pub mod segment;

pub use bindings::{WIT_VERSION, WIT_VERSIONS};
pub use components::Components;
pub use engine::Sandbox;
pub use replay::{Aspect, Difference};

/// What can go wrong with the sandbox itself, as opposed to with a guest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The code cannot be compiled or lacks what an agent must have; the text is for its author.
    #[error("{0}")]
    Refused(String),
    /// Compiling took more time or memory than it may.
    #[error("compiling took more than {0}")]
    TooCostly(String),
    #[error("the sandbox failed: {0}")]
    Internal(String),
}

impl Error {
    fn internal(error: impl std::fmt::Display) -> Self {
        Self::Internal(format!("{error:#}"))
    }
}
