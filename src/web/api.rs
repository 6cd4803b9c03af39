//! The JSON API, version 1: one file a resource, its bodies beside its handlers.

pub mod agents;
pub mod approvals;
pub mod artifacts;
pub mod children;
pub mod dead_letters;
pub mod events;
pub mod fork;
pub mod holds;
pub mod idempotency;
pub mod messages;
pub mod runs;
pub mod stream;
pub mod verify;
pub mod versions;

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{ETag, EntityTag};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use serde::Serialize;

use super::assets::is_known;
use super::problem::Problem;
use super::state::State;
use crate::domain::id::{ApprovalId, RunId};
use crate::domain::permission::Actor;

/// The names in a route's address.
pub struct Segments(HttpRequest);

impl FromRequest for Segments {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(request.clone())))
    }
}

impl Segments {
    /// A name in the address; empty where the route has none of that kind.
    pub fn text(&self, name: &str) -> &str {
        self.0.match_info().query(name)
    }

    /// The run that the address names.
    ///
    /// # Errors
    /// What is no run's id is not found, like one that is not there.
    pub fn run(&self) -> Result<RunId, Problem> {
        self.text("run").parse().map_err(|_| Problem::not_found())
    }

    /// The approval that the address names.
    ///
    /// # Errors
    /// What is no approval's id is not found, like one that is not there.
    pub fn approval(&self) -> Result<ApprovalId, Problem> {
        self.text("approval").parse().map_err(|_| Problem::not_found())
    }

    /// Whether the address, where it names an organization and a workspace, names the actor's own.
    ///
    /// # Errors
    /// Others' are not found, like those that are not there.
    pub async fn own_workspace(&self, state: &State, actor: &Actor) -> Result<(), Problem> {
        let (org, workspace) = (self.text("org"), self.text("workspace"));
        if org.is_empty() && workspace.is_empty() {
            return Ok(());
        }
        if state.app.auth.is_own_workspace(actor, org, workspace).await? {
            Ok(())
        } else {
            Err(Problem::not_found())
        }
    }
}

/// JSON of something that never changes, or 304 where the client has it.
fn immutable(request: &HttpRequest, tag: String, body: &impl Serialize) -> HttpResponse {
    let tag = EntityTag::new_strong(tag);
    if is_known(request, &tag) {
        return HttpResponse::NotModified().insert_header(ETag(tag)).finish();
    }
    HttpResponse::Ok()
        .insert_header(ETag(tag))
        .insert_header(("cache-control", "private, no-cache"))
        .json(body)
}
