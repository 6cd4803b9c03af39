//! What every request passes before it reaches its handler, outermost first: `shell`, then `identity`, then `csrf`,
//! then `rates`, then `counts`.

pub mod counts;
pub mod csrf;
pub mod identity;
pub mod rates;
pub mod shell;
