//! What every request passes before it reaches its handler, outermost first: `pace`, `shell`, `bounds`, then `rates` by
//! address, `csrf`, `identity`, `rates` by caller, and `counts`.

pub mod bounds;
pub mod counts;
pub mod csrf;
pub mod identity;
pub mod pace;
pub mod rates;
pub mod shell;
