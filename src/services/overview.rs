//! What the first page shows.

use super::access::require;
use super::{App, Error};
use crate::domain::permission::{Actor, Permission};
use crate::domain::time::Timestamp;
use crate::store::Scope;
use crate::store::overview::{self, Figures};

/// Figures of the runs made since a time.
///
/// # Errors
/// The actor may not see them.
pub async fn figures(app: &App, actor: &Actor, since: Timestamp) -> Result<Figures, Error> {
    require(actor, Permission::OverviewRead, actor.org, "the workspace")?;
    let scope = Scope {
        org: actor.org,
        workspace: actor.workspace,
    };
    Ok(app.store.read(move |reader| overview::figures(reader, scope, since)).await?)
}
