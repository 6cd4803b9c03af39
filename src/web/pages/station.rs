//! `/station`: what whoever looks after the station sees.

pub mod orgs;
