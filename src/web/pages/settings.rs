//! Settings of the organization, a page each.

pub mod policy;
