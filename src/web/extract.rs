//! Extractors: authority, bodies and forms, each with our own refusals. Whoever reads the handler's arguments knows
//! who may call it.

pub mod body;
pub mod form;
pub mod paging;
pub mod upload;

use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};

use crate::domain::error::ErrorCode;
use crate::domain::permission::{Access, Actor, DenyReason, Permission, Resource, authorize};

use super::middleware::identity::{Identity, Known};
use super::problem::Problem;

/// Who may call a route, as its handler's first argument says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// Anyone who is signed in with a browser.
    SignedIn,
    Permission(Permission),
}

/// A first argument that says who may call.
pub trait Declares: FromRequest {
    const NEEDS: Needs;
}

macro_rules! permissions {
    ($($name:ident)*) => {
        /// A type for each permission, for [`Authorized`].
        pub mod may {
            $(#[derive(Debug)] pub struct $name;
            impl super::Grants for $name {
                const PERMISSION: super::Permission = super::Permission::$name;
            })*
        }
    };
}

/// A permission as a type.
pub trait Grants: 'static {
    const PERMISSION: Permission;
}

permissions! { OverviewRead AgentsRead AgentsWrite RunsRead RunsStart RunsCancel RunsMessage ApprovalsRead ApprovalsDecide KeysManage }

/// The route is for everyone; who is asking is known where they are.
#[derive(Debug)]
pub struct Public(pub Option<Rc<Known>>);

/// The route is for anyone who is signed in with a browser.
#[derive(Debug)]
pub struct SignedIn(pub Rc<Known>);

/// The route is for those with a permission in their own organization.
#[derive(Debug)]
pub struct Authorized<P> {
    pub known: Rc<Known>,
    permission: PhantomData<P>,
}

impl<P> Authorized<P> {
    pub fn actor(&self) -> &Actor {
        &self.known.actor
    }
}

impl FromRequest for Public {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(Identity::of(request).known().cloned())))
    }
}

impl Declares for Public {
    const NEEDS: Needs = Needs::Nothing;
}

impl FromRequest for SignedIn {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(match known(request) {
            Ok(known) if known.session.is_some() => Ok(Self(known)),
            Ok(_) => Err(Problem::new(
                ErrorCode::Forbidden,
                "This is for browsers that are signed in, not for API keys.",
            )),
            Err(problem) => Err(problem),
        })
    }
}

impl Declares for SignedIn {
    const NEEDS: Needs = Needs::SignedIn;
}

impl<P: Grants> FromRequest for Authorized<P> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(known(request).and_then(|known| {
            let own = Resource { org: known.actor.org };
            match authorize(&known.actor, P::PERMISSION, own) {
                Access::Allow => Ok(Self {
                    known,
                    permission: PhantomData,
                }),
                Access::Deny(reason) => {
                    request.extensions_mut().insert(Denied(P::PERMISSION));
                    Err(denied(P::PERMISSION, reason))
                }
            }
        }))
    }
}

impl<P: Grants> Declares for Authorized<P> {
    const NEEDS: Needs = Needs::Permission(P::PERMISSION);
}

/// Left in a request that was refused for want of a permission, for the audit log.
#[derive(Clone, Copy, Debug)]
pub struct Denied(pub Permission);

fn known(request: &HttpRequest) -> Result<Rc<Known>, Problem> {
    match Identity::of(request) {
        Identity::Known(known) => Ok(known),
        Identity::Nobody => Err(Problem::unauthenticated()),
        Identity::BadKey => Err(
            Problem::new(ErrorCode::Unauthenticated, "The API key is wrong, expired or revoked.")
                .hint("Make a new one with “agentstation key create”."),
        ),
    }
}

/// The answer to someone who may not.
pub fn denied(permission: Permission, reason: DenyReason) -> Problem {
    match reason {
        DenyReason::Foreign => Problem::not_found(),
        DenyReason::Role => Problem::new(
            ErrorCode::Forbidden,
            format!("Your role does not allow this: it needs {permission}."),
        )
        .hint("Ask an owner or admin of the organization."),
        DenyReason::Scope => Problem::new(ErrorCode::Forbidden, format!("This API key is not scoped to {permission}."))
            .hint(format!("Make a key whose scopes include {permission}.")),
    }
}
