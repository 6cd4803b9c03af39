//! `/settings`: the organization, its members, keys and rules.

pub mod audit;
pub mod budgets;
pub mod channels;
pub mod keys;
pub mod members;
pub mod models;
pub mod organization;
pub mod policy;
pub mod prices;
pub mod roles;
pub mod secrets;
pub mod workspaces;
