//! The station itself, for those who look after it.

pub mod mail;
