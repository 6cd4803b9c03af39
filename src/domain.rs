//! Types and rules with no I/O: everything else in the station names things in these words.

pub mod agent;
pub mod audit;
pub mod call;
pub mod chat;
pub mod error;
pub mod failure;
pub mod fair_share;
pub mod grant;
pub mod hex;
pub mod id;
pub mod journal;
pub mod limits;
pub mod manifest;
pub mod money;
pub mod origin;
pub mod permission;
pub mod placeholder;
pub mod plan;
pub mod policy;
pub mod rate;
pub mod retry;
pub mod run;
pub mod supersede;
pub mod time;
pub mod wait;
