//! The audit log as use cases write it: who did what, in the transaction that does it.

use super::{App, Error};
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::store::audit::{self, Outcome, Record};

/// The chain of what belongs to no organization.
pub const STATION: &str = "station";

/// A record of what `actor` does in its organization.
pub fn of(actor: &Actor, action: &'static str, target: &str, origin: Origin) -> Record {
    Record::new(&actor.org.to_string(), action, target)
        .by(actor.principal, actor.credential)
        .credential_id(actor.credential_id.clone())
        .origin(origin)
}

/// Writes that somebody was refused. Repeats within a minute are one row with a count.
///
/// # Errors
/// The store cannot be written.
pub async fn denied(app: &App, actor: &Actor, permission: Permission, origin: Origin) -> Result<(), Error> {
    let record = of(actor, "access.denied", permission.as_str(), origin).outcome(Outcome::Denied);
    let now = app.clock.now();
    Ok(app.store.write(move |tx| audit::record(tx, record, now)).await?)
}
