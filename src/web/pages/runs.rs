//! Pages about runs.

pub mod list;
pub mod show;
mod words;
