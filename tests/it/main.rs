//! The integration tests, in one binary: a real server, a real database, the real program.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails loudly"
)]

mod abuse;
mod api;
mod approvals;
mod asking;
mod audit;
mod auth;
mod channels;
mod cli;
mod costs;
mod crash;
mod enduring;
mod examples;
mod failing;
mod fork;
mod forms;
mod guests;
mod hardening;
mod invitations;
mod keys;
mod mail;
mod matrix;
mod members;
mod models;
mod openapi;
mod orgs;
mod pages;
mod parsers;
mod plans;
mod policy;
mod recovery;
mod replay;
mod resets;
mod sandbox;
mod scripts;
mod secrets;
mod security;
mod sessions;
mod signing_in;
mod support;
mod tidy;
mod tool_loop;
mod tools;
mod upgrade;
mod verify;
mod waiting;
mod wallet;
mod ws;
