//! Approvals: the queue of what waits for a decision, one on its own, and deciding it.

pub mod card;
pub mod list;
pub mod show;
