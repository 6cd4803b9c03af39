//! Pages about agents.

pub mod list;
pub mod new;
pub mod run;
pub mod show;
