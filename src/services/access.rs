//! Asks the one `authorize` on behalf of every use case.

use super::Error;
use crate::domain::id::OrgId;
use crate::domain::permission::{Access, Actor, DenyReason, Permission, Resource, authorize};

/// Lets `actor` go on, or says why not. What is another organization's looks as if it were not there.
///
/// # Errors
/// `NotFound` for what is foreign, `Forbidden` for what role or scope lacks.
pub fn require(actor: &Actor, permission: Permission, org: OrgId, what: &'static str) -> Result<(), Error> {
    match authorize(actor, permission, Resource { org }) {
        Access::Allow => Ok(()),
        Access::Deny(DenyReason::Foreign) => Err(Error::NotFound(what)),
        Access::Deny(DenyReason::Role | DenyReason::Scope) => Err(Error::Forbidden(permission)),
    }
}
