//! Pages about agents.

mod draft;
pub mod form;
pub mod list;
pub mod new;
pub mod run;
pub mod show;
