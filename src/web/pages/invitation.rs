//! `/invitation?token=`: joining an organization. Links that are unknown, used, revoked or too old all look the same.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::keys::words_of;
use super::sign_in::{enter, with_visit};
use super::{filters, html, html_of, see_other};
use crate::domain::error::ErrorCode;
use crate::domain::id::PrincipalId;
use crate::services::auth::Factor;
use crate::services::invitations::{self, Offer};
use crate::services::{Error, users};
use crate::web::context::Context;
use crate::web::extract::Public;
use crate::web::extract::form::{Form, TOKEN_FIELD};
use crate::web::extract::paging::Query;
use crate::web::middleware::identity::Identity;
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/auth/invitation.html")]
struct InvitationPage {
    title: String,
    form_token: String,
    token: String,
    org: String,
    role: &'static str,
    role_words: &'static str,
    by: String,
    email: String,
    step: Step,
    name: String,
    error: Option<String>,
    /// Where signing in leads back to, as a query's value.
    next: String,
}

/// What the person does next.
enum Step {
    /// Signed in with the address that is invited.
    Join,
    /// Signed in with this other address.
    OtherAddress(String),
    /// Has an account, and is not signed in.
    SignIn,
    /// Has no account.
    MakeAccount,
}

#[derive(Debug, Deserialize)]
pub struct Link {
    #[serde(default)]
    token: String,
}

/// What a filled-in form is shown again with.
#[derive(Default)]
struct Filled {
    name: String,
    error: Option<String>,
}

/// `GET /invitation?token=`
pub async fn show(_: Public, state: web::Data<State>, query: Query<Link>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let token = query.0.token;
    let offer = invitations::offer(&state.app, &token).await?.ok_or_else(dead)?;
    let step = step(&state, &request, &offer).await?;
    with_visit(&state, &request, |form_token| {
        html(&page(offer, step, token, form_token, Filled::default()))
    })
}

/// `POST /invitation`
pub async fn submit(_: Public, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let (token, origin) = (form.text("token").to_owned(), Context::origin(&request));
    if let Some(person) = person(&request) {
        return match invitations::accept(&state.app, person, &token, origin).await {
            Ok(_) => Ok(see_other("/?done=joined")),
            Err(error) => again(&state, &request, &form, error).await,
        };
    }
    let name = form.text("name").to_owned();
    let password = form.raw("password").unwrap_or_default().to_owned();
    match invitations::accept_as_new(&state.app, &token, name, password, origin.clone()).await {
        Ok(principal) => {
            let session = state
                .app
                .auth
                .open_session(principal, Factor::Password, "session.invitation", origin)
                .await?;
            Ok(enter(&state, session, "/?done=joined"))
        }
        Err(error) => again(&state, &request, &form, error).await,
    }
}

/// The form once more, with what is wrong.
async fn again(state: &State, request: &HttpRequest, form: &Form, error: Error) -> Result<HttpResponse, Problem> {
    if matches!(error, Error::NotFound(_)) {
        return Err(dead());
    }
    let problem = Problem::from(error);
    let token = form.text("token").to_owned();
    let Some(offer) = invitations::offer(&state.app, &token).await? else {
        return Err(dead());
    };
    let step = step(state, request, &offer).await?;
    let filled = Filled {
        name: form.text("name").to_owned(),
        error: Some(words_of(&problem)),
    };
    html_of(&problem, &page(offer, step, token, form.text(TOKEN_FIELD).to_owned(), filled))
}

/// Whoever is signed in with a browser, a member of an organization or not.
fn person(request: &HttpRequest) -> Option<PrincipalId> {
    match Identity::of(request) {
        Identity::Known(known) => known.session.map(|_| known.actor.principal),
        Identity::Stranger(stranger) => stranger.session.map(|_| stranger.principal),
        Identity::Nobody | Identity::BadKey => None,
    }
}

async fn step(state: &State, request: &HttpRequest, offer: &Offer) -> Result<Step, Problem> {
    let Some(person) = person(request) else {
        return Ok(if offer.has_account { Step::SignIn } else { Step::MakeAccount });
    };
    let email = users::email_of(&state.app, person).await?;
    Ok(if email == offer.invitation.email {
        Step::Join
    } else {
        Step::OtherAddress(email)
    })
}

fn page(offer: Offer, step: Step, token: String, form_token: String, filled: Filled) -> InvitationPage {
    let invitation = offer.invitation;
    let back = format!("/invitation?token={token}");
    InvitationPage {
        title: format!("Join {}", invitation.org_name),
        form_token,
        next: url::form_urlencoded::byte_serialize(back.as_bytes()).collect(),
        token,
        org: invitation.org_name,
        role: invitation.role.as_str(),
        role_words: invitation.role.in_words(),
        by: invitation.by_name.unwrap_or_else(|| "Somebody".to_owned()),
        email: invitation.email,
        step,
        name: filled.name,
        error: filled.error,
    }
}

fn dead() -> Problem {
    Problem::new(
        ErrorCode::NotFound,
        "This invitation was used or withdrawn, or is older than seven days.",
    )
    .hint("Ask whoever invited you to send it again.")
}
