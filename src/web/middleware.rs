//! What every request passes before it reaches its handler, outermost first: `shell`, then `identity`, then `csrf`,
//! then `rates`.

pub mod csrf;
pub mod identity;
pub mod rates;
pub mod shell;
