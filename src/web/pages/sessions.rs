//! Sessions: runs that people talk with.

pub mod list;
pub mod new;
pub mod show;
