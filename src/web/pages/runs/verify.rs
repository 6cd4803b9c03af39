//! `POST /runs/{run}/verify`: executes a finished run again; the page then shows the result.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::domain::time::Timestamp;
use crate::services::verify::{self, Differs, Noted, Outcome};
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::{Authorized, may as permission};
use crate::web::pages::see_other;
use crate::web::pages::view::{People, When};
use crate::web::problem::Problem;
use crate::web::state::State;

/// `POST /runs/{run}/verify`
pub async fn submit(
    auth: Authorized<permission::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let run = segments.run()?;
    verify::verify(&state.app, auth.actor(), run, verify::WITHIN, Context::origin(&request)).await?;
    Ok(see_other(format!("/runs/{run}")))
}

/// A result as the run's page shows it.
pub(super) struct VerifiedNote {
    /// `ok`, `info` or `fail`.
    pub tone: &'static str,
    pub title: &'static str,
    pub text: String,
    pub by: String,
    pub at: When,
    pub difference: Option<Differs>,
}

impl VerifiedNote {
    pub(super) fn new(noted: Noted, people: &People, now: Timestamp) -> Self {
        let (tone, title) = match noted.verified.result {
            Outcome::Identical => ("ok", "Verified: identical."),
            Outcome::IdenticalUpTo => ("ok", "Verified: identical up to its end."),
            Outcome::Differs => ("fail", "Verified: it differs."),
            Outcome::Unverifiable => ("info", "Not verified."),
        };
        Self {
            tone,
            title,
            text: noted.verified.text,
            by: noted.by.map_or_else(|| "someone".to_owned(), |by| people.name(by)),
            at: When::new(noted.at, now),
            difference: noted.verified.difference,
        }
    }
}
