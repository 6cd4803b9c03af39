//! What the station does, said in its users' verbs. Every use case begins with who asks; transactions begin here.

pub mod access;
pub mod agents;
pub mod app;
pub mod approvals;
pub mod audit;
pub mod auth;
pub mod conversation;
pub mod dead_letters;
pub mod dispatcher;
pub mod error;
pub mod executor;
pub mod feed;
pub mod fork;
pub mod holds;
pub mod housekeeping;
pub mod javascript;
pub mod keys;
pub mod mail;
pub mod overview;
mod retry;
pub mod runs;
pub mod sessions;
pub mod setup;
pub mod supervisor;
pub mod users;
pub mod verify;
pub mod versions;
pub mod waiting;
pub mod waits;
pub mod warm;

pub use app::App;
pub use error::{Error, FieldError};
