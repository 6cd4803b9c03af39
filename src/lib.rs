//! AgentStation: a station that runs sandboxed agents, told layer by layer.

pub mod cli;
pub mod config;
pub mod crypto;
pub mod domain;
pub mod llm;
pub mod net;
pub mod runtime;
pub mod services;
pub mod store;
pub mod telemetry;
pub mod web;
