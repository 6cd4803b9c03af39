//! Extractors: authority, bodies and forms, each with our own refusals. Whoever reads the handler's arguments knows
//! who may call it.

pub mod body;
pub mod form;
pub mod paging;
pub mod upload;

use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};

use crate::domain::error::ErrorCode;
use crate::domain::id::{PrincipalId, SessionId};
use crate::domain::permission::{Access, Actor, DenyReason, Permission, Resource, authorize};
use crate::services::audit::Denial;

use super::middleware::identity::{Identity, Known};
use super::problem::Problem;
use super::state::State;
use crate::domain::time::Timestamp;
use crate::services::auth;

/// Who may call a route, as its handler's first argument says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// Anyone who is signed in with a browser, a member of an organization or not.
    Session,
    /// Any member who is signed in with a browser.
    SignedIn,
    /// The same, with a proof of who they are that is not old.
    ProvedSignedIn,
    /// Any member, with a browser or a key.
    Member,
    Permission(Permission),
    /// A permission, and of a browser's person a proof of who they are that is not old.
    Proved(Permission),
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

permissions! {
    OverviewRead AgentsRead AgentsWrite RunsRead RunsStart RunsCancel RunsMessage ApprovalsRead ApprovalsDecide OrgRead OrgManage OrgOwn
    MembersManage KeysOwn KeysManage PolicyRead PolicyManage AuditRead StationManage
    ModelsRead ModelsManage CostsRead BudgetsManage SecretsRead SecretsManage
}

/// The route is for everyone; who is asking is known where they are.
#[derive(Debug)]
pub struct Public(pub Option<Rc<Known>>);

/// The route is for anyone who is signed in with a browser.
#[derive(Debug)]
pub struct SignedIn(pub Rc<Known>);

/// The route is for anyone who is signed in with a browser and has proved within [`PROOF_LASTS`] who they are.
#[derive(Debug)]
pub struct ProvedSignedIn(pub Rc<Known>);

/// The route is for any member, with a browser or a key of whatever scopes.
#[derive(Debug)]
pub struct Member(pub Rc<Known>);

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

/// The route is for anyone with a session, a member of an organization or not.
#[derive(Debug)]
pub struct Person {
    pub principal: PrincipalId,
    pub name: String,
    pub session: SessionId,
    pub proved_at: Timestamp,
}

impl From<&Person> for auth::Person {
    fn from(person: &Person) -> Self {
        Self {
            principal: person.principal,
            session: person.session,
        }
    }
}

impl Person {
    /// Lets somebody go on who has proved within [`PROOF_LASTS`] who they are.
    ///
    /// # Errors
    /// `proof_required`
    pub fn has_proved(&self, now: Timestamp) -> Result<(), Problem> {
        check_recent(self.proved_at, now)
    }
}

/// The route is for those with a permission who, in a browser, have proved within [`PROOF_LASTS`] who they are.
#[derive(Debug)]
pub struct Proved<P> {
    pub known: Rc<Known>,
    permission: PhantomData<P>,
}

impl<P> Proved<P> {
    pub fn actor(&self) -> &Actor {
        &self.known.actor
    }
}

/// How long a proof of who one is serves for sensitive actions.
pub const PROOF_LASTS: Duration = Duration::from_mins(10);

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
            Ok(_) => Err(only_browsers()),
            Err(problem) => Err(problem),
        })
    }
}

impl Declares for SignedIn {
    const NEEDS: Needs = Needs::SignedIn;
}

impl FromRequest for Member {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(known(request).map(Self))
    }
}

impl Declares for Member {
    const NEEDS: Needs = Needs::Member;
}

impl<P: Grants> FromRequest for Authorized<P> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(permitted(request, P::PERMISSION).map(|known| Self {
            known,
            permission: PhantomData,
        }))
    }
}

impl<P: Grants> FromRequest for Proved<P> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(permitted(request, P::PERMISSION).and_then(|known| {
            check_proof(request, &known).inspect_err(|_| {
                request.extensions_mut().insert(Denial {
                    permission: P::PERMISSION,
                    why: "proof",
                });
            })?;
            Ok(Self {
                known,
                permission: PhantomData,
            })
        }))
    }
}

/// Refuses a proof that is older than [`PROOF_LASTS`].
fn check_recent(proved_at: Timestamp, now: Timestamp) -> Result<(), Problem> {
    if now.since(proved_at) < PROOF_LASTS {
        Ok(())
    } else {
        Err(proof_required())
    }
}

/// Refuses a browser's person whose proof is old. A key has none and needs none.
fn check_proof(request: &HttpRequest, known: &Known) -> Result<(), Problem> {
    let now = request.app_data::<web::Data<State>>().map(|state| state.app.clock.now());
    match (known.proved_at, now) {
        (Some(at), Some(now)) => check_recent(at, now),
        _ => Ok(()),
    }
}

impl FromRequest for ProvedSignedIn {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready(SignedIn::from_request(request, payload).into_inner().and_then(|SignedIn(known)| {
            check_proof(request, &known)?;
            Ok(Self(known))
        }))
    }
}

impl Declares for ProvedSignedIn {
    const NEEDS: Needs = Needs::ProvedSignedIn;
}

impl<P: Grants> Declares for Proved<P> {
    const NEEDS: Needs = Needs::Proved(P::PERMISSION);
}

impl FromRequest for Person {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let of_session = |principal, name: &str, session: Option<SessionId>, proved_at: Option<Timestamp>| match (session, proved_at) {
            (Some(session), Some(proved_at)) => Ok(Self {
                principal,
                name: name.to_owned(),
                session,
                proved_at,
            }),
            _ => Err(only_browsers()),
        };
        ready(match Identity::of(request) {
            Identity::Known(known) => of_session(known.actor.principal, &known.actor.name, known.session, known.proved_at),
            Identity::Stranger(stranger) => of_session(stranger.principal, &stranger.name, stranger.session, stranger.proved_at),
            Identity::Nobody => Err(Problem::unauthenticated()),
            Identity::BadKey => Err(bad_key()),
        })
    }
}

impl Declares for Person {
    const NEEDS: Needs = Needs::Session;
}

/// Whoever asks, where it is somebody with the permission.
fn permitted(request: &HttpRequest, permission: Permission) -> Result<Rc<Known>, Problem> {
    let known = known(request)?;
    let own = Resource { org: known.actor.org };
    match authorize(&known.actor, permission, own) {
        Access::Allow => Ok(known),
        Access::Deny(reason) => {
            let why = match reason {
                DenyReason::Foreign => "foreign",
                DenyReason::Role => "role",
                DenyReason::Scope => "scope",
            };
            request.extensions_mut().insert(Denial { permission, why });
            Err(denied(permission, reason))
        }
    }
}

/// The answer to somebody who is to prove first who they are.
fn proof_required() -> Problem {
    Problem::new(
        ErrorCode::ProofRequired,
        "This is sensitive, and it is a while since you proved who you are.",
    )
    .hint("Confirm it on the page /prove, then do it again.")
}

fn only_browsers() -> Problem {
    Problem::new(ErrorCode::Forbidden, "This is for browsers that are signed in, not for API keys.")
}

fn bad_key() -> Problem {
    Problem::new(ErrorCode::Unauthenticated, "The API key is wrong, expired or revoked.")
        .hint("Make a new one with “agentstation key create”.")
}

impl<P: Grants> Declares for Authorized<P> {
    const NEEDS: Needs = Needs::Permission(P::PERMISSION);
}

fn known(request: &HttpRequest) -> Result<Rc<Known>, Problem> {
    match Identity::of(request) {
        Identity::Known(known) => Ok(known),
        Identity::Stranger(stranger) if stranger.foreign => Err(Problem::not_found()),
        Identity::Stranger(_) => Err(Problem::new(ErrorCode::NoOrganization, "You are a member of no organization.")
            .hint("Ask for an invitation, and open its link.")),
        Identity::Nobody => Err(Problem::unauthenticated()),
        Identity::BadKey => Err(bad_key()),
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
