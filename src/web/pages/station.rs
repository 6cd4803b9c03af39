//! `/station`: what whoever looks after the station sees.

pub mod mail;
pub mod orgs;
