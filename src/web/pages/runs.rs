//! Pages about runs.

pub mod list;
pub mod show;
pub mod verify;
mod words;
