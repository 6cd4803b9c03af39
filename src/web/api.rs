//! The JSON API, version 1: one file a resource, its bodies beside its handlers.

pub mod adoption;
pub mod agents;
pub mod approvals;
pub mod artifacts;
pub mod audit;
pub mod budgets;
pub mod channels;
pub mod children;
pub mod costs;
pub mod dead_letters;
pub mod events;
pub mod fork;
pub mod holds;
pub mod idempotency;
mod if_match;
pub mod invitations;
pub mod keys;
pub mod me;
pub mod members;
pub mod messages;
pub mod models;
pub mod notifications;
pub mod orgs;
pub mod persons;
pub mod policy;
pub mod prices;
pub mod providers;
pub mod reset_links;
pub mod roles;
pub mod run_hosts;
pub mod runs;
pub mod secrets;
pub mod service_principals;
pub mod spending;
pub mod stream;
pub mod verify;
pub mod versions;
pub mod workspaces;

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{ETag, EntityTag};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use serde::Serialize;

use super::assets::is_known;
use super::problem::Problem;
use crate::domain::error::ErrorCode;
use crate::domain::id::{ApprovalId, BudgetId, InvitationId, PriceId, PrincipalId, ProviderId, RunId};
use crate::domain::permission::{Actor, Credential};

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

    /// The principal that the address names.
    ///
    /// # Errors
    /// What is no principal's id is not found, like one that is not there.
    pub fn principal(&self) -> Result<PrincipalId, Problem> {
        self.text("principal").parse().map_err(|_| Problem::not_found())
    }

    /// The price that the address names.
    ///
    /// # Errors
    /// What is no price's id is not found, like one that is not there.
    pub fn price(&self) -> Result<PriceId, Problem> {
        self.text("price").parse().map_err(|_| Problem::not_found())
    }

    /// The budget that the address names.
    ///
    /// # Errors
    /// What is no budget's id is not found, like one that is not there.
    pub fn budget(&self) -> Result<BudgetId, Problem> {
        self.text("budget").parse().map_err(|_| Problem::not_found())
    }

    /// The model provider that the address names.
    ///
    /// # Errors
    /// What is no provider's id is not found, like one that is not there.
    pub fn provider(&self) -> Result<ProviderId, Problem> {
        self.text("provider").parse().map_err(|_| Problem::not_found())
    }

    /// The invitation that the address names.
    ///
    /// # Errors
    /// What is no invitation's id is not found, like one that is not there.
    pub fn invitation(&self) -> Result<InvitationId, Problem> {
        self.text("invitation").parse().map_err(|_| Problem::not_found())
    }

    /// Whether it is clear which workspace the request is about. One that the address names is the actor's already, see
    /// [`super::middleware::identity`].
    ///
    /// # Errors
    /// A program must name one of several; a browser has chosen one.
    pub fn workspace(&self, actor: &Actor) -> Result<(), Problem> {
        if actor.workspace_is_clear || actor.credential == Credential::Session {
            Ok(())
        } else {
            Err(Problem::new(
                ErrorCode::TenantRequired,
                "The organization has several workspaces, and the address does not say which one is meant.",
            )
            .hint(format!(
                "Write /api/v1/orgs/{}/workspaces/…; GET /api/v1/orgs/{}/workspaces lists them.",
                actor.org, actor.org
            )))
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
