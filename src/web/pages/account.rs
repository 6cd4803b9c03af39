//! One's own account: profile, signing in, sessions, keys, and what is kept about one.

pub mod data;
pub mod keys;
pub mod profile;
pub mod prove;
pub mod sessions;
pub mod sign_in;
pub mod totp;

use crate::services::auth::Person;
use crate::web::middleware::identity::Known;
use crate::web::problem::Problem;

/// Who sits at the browser.
pub(super) fn person_of(known: &Known) -> Result<Person, Problem> {
    let session = known.session.ok_or_else(Problem::unauthenticated)?;
    Ok(Person {
        principal: known.actor.principal,
        session,
    })
}
