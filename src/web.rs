//! HTTP, and nothing else: extract, authorize, call one service, render. No SQL, no rules of the product.

pub mod api;
pub mod assets;
pub mod connections;
mod context;
mod cookies;
mod csp_reports;
pub mod extract;
mod health;
mod markdown;
mod middleware;
pub mod openapi;
mod pages;
mod problem;
mod proof;
mod redirect;
pub mod routes;
pub mod server;
pub mod settings;
mod sse;
pub mod state;
mod watch;
mod ws;
