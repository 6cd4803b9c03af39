//! `/costs`: what was spent, by whom and on what.

mod chart;
mod show;

pub use show::{export, show};

/// Micro-dollars that may be below zero, as people read them.
fn signed(micros: i64) -> String {
    let amount = super::filters::dollars(micros.unsigned_abs());
    if micros < 0 { format!("−{amount}") } else { amount }
}
