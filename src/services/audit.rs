//! The audit log: written by use cases in the transaction that does the thing, read by those who may.

mod checks;
mod export;

use serde_json::json;

pub use self::checks::{Verified, head, log_heads, verify, walk};
pub use self::export::{Export, Format, begin_export};
use super::access::require;
use super::{App, Error};
use crate::domain::id::PrincipalId;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::domain::time::Timestamp;
pub use crate::store::audit::{Broken, Checkpoint, Filter, Found, Listed, Outcome, Person, Place, Record, Search, Subject};
use crate::store::{self, Tx, audit, orgs, users};

/// The chain of what belongs to no organization.
pub const STATION: &str = "station";

/// Of the keyed hash of an address that nobody has.
const TYPED_CHARS: usize = 16;

/// A record of what `actor` does in its organization.
pub fn of(actor: &Actor, action: &'static str, target: &str, origin: Origin) -> Record {
    Record::new(&actor.org.to_string(), action, target)
        .by(actor.principal, actor.credential)
        .credential_id(actor.credential_id.clone())
        .origin(origin)
}

/// Writes what concerns a person as such, like their signing in, into the chain of each of their organizations; of those who are
/// in none, into the station's.
pub fn of_person(tx: &Tx<'_>, principal: PrincipalId, record: &Record, now: Timestamp) -> Result<(), store::Error> {
    let mut chains: Vec<_> = orgs::of_principal(tx, principal)?.iter().map(ToString::to_string).collect();
    if chains.is_empty() {
        chains.push(STATION.to_owned());
    }
    for chain in &chains {
        audit::record(tx, record.in_chain(chain), now)?;
    }
    Ok(())
}

/// Writes that somebody did not get in: for the organizations of the account that was tried, or for the station where there is no such
/// account. `typed` stands for the address then; it is to say nothing of it.
pub fn sign_in_failed(tx: &Tx<'_>, email: &str, typed: &str, origin: Origin, now: Timestamp) -> Result<(), store::Error> {
    let record = |target: &str| {
        Record::new(STATION, "session.sign-in", target)
            .outcome(Outcome::Failed)
            .origin(origin.clone())
    };
    match users::find_by_email(tx, email)? {
        Some(user) => {
            let subject = Subject::Principal(user.principal);
            of_person(tx, user.principal, &record(&user.principal.to_string()).about(subject), now)
        }
        None => audit::record(tx, record(typed.get(..TYPED_CHARS).unwrap_or(typed)), now),
    }
}

/// Why somebody was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    pub permission: Permission,
    /// `role`, `scope`, `foreign` or `proof`.
    pub why: &'static str,
}

/// Writes that somebody was refused on a route. Repeats within a minute are one row with a count.
///
/// # Errors
/// The store cannot be written.
pub async fn denied(app: &App, actor: &Actor, denial: Denial, route: &str, origin: Origin) -> Result<(), Error> {
    let record = of(actor, "access.denied", denial.permission.as_str(), origin)
        .outcome(Outcome::Denied)
        .detail(json!({ "why": denial.why, "route": route }));
    let now = app.clock.now();
    Ok(app.store.write(move |tx| audit::record(tx, record, now)).await?)
}

/// Writes that somebody asked for an organization that is not there, or not for them. It is in the station's chain: nothing of it
/// is another organization's to see.
///
/// # Errors
/// The store cannot be written.
pub async fn denied_stranger(
    app: &App,
    principal: PrincipalId,
    credential_id: &str,
    is_key: bool,
    route: &str,
    origin: Origin,
) -> Result<(), Error> {
    use crate::domain::permission::Credential;
    let credential = if is_key { Credential::ApiKey } else { Credential::Session };
    let record = Record::new(STATION, "access.denied", "")
        .by(principal, credential)
        .credential_id(Some(credential_id.to_owned()))
        .outcome(Outcome::Denied)
        .detail(json!({ "why": "foreign", "route": route }))
        .origin(origin);
    let now = app.clock.now();
    Ok(app.store.write(move |tx| audit::record(tx, record, now)).await?)
}

/// Whose chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chain {
    /// The actor's organization's.
    #[default]
    Own,
    Station,
}

impl Chain {
    /// Its name, for those who may read it.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn name(self, actor: &Actor) -> Result<String, Error> {
        match self {
            Self::Own => {
                require(actor, Permission::AuditRead, actor.org, "the audit log")?;
                Ok(actor.org.to_string())
            }
            Self::Station => {
                require(actor, Permission::StationManage, actor.org, "the audit log")?;
                Ok(STATION.to_owned())
            }
        }
    }
}

/// Rows that fit, the newest first. A page may have fewer than `limit`, and yet a next: see [`audit::search`].
///
/// # Errors
/// `Forbidden`.
pub async fn list(app: &App, actor: &Actor, chain: Chain, filter: Filter, after: Option<Place>, limit: usize) -> Result<Found, Error> {
    let search = Search {
        chain: chain.name(actor)?,
        filter,
        after,
        limit,
    };
    Ok(app.store.read(move |reader| audit::search(reader, &search)).await?)
}
