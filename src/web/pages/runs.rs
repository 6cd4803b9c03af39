//! Pages about runs.

mod diff;
pub mod fork;
pub mod list;
pub mod show;
pub mod verify;
mod words;
