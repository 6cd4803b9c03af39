//! Passkeys: what browsers are asked, as JSON, and what they answer, as forms.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::account::{person_of, prove};
use super::sign_in::{enter, refused};
use super::{account, see_other};
use crate::crypto::passkey::Site;
use crate::domain::error::ErrorCode;
use crate::domain::id::PasskeyId;
use crate::services::Error;
use crate::services::passkeys::{self, Answered, Asked};
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::{Person, ProvedSignedIn, Public};
use crate::web::problem::Problem;
use crate::web::redirect::local_path;
use crate::web::settings::Settings;
use crate::web::state::State;

/// Whether passkeys work on the page that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Here {
    Yes,
    /// They do at this address.
    At(String),
    /// Browsers give them to names with TLS only, and the station has none.
    No,
}

impl Here {
    pub fn of(state: &State, request: &HttpRequest) -> Self {
        match site(&state.settings, request) {
            None => Self::No,
            Some(site) if state.settings.public_url.is_some() || host(request) == site.domain => Self::Yes,
            Some(site) => Self::At(site.origin),
        }
    }
}

/// The site that passkeys are good for: the public address, or this machine's own where there is none. Never what a request says.
fn site(settings: &Settings, request: &HttpRequest) -> Option<Site> {
    match &settings.public_url {
        Some(url) => Site::of(url.as_str()),
        None => Site::of(&format!("http://localhost:{}", request.app_config().local_addr().port())),
    }
}

fn host(request: &HttpRequest) -> String {
    let host = request.connection_info().host().to_owned();
    host.split(':').next().unwrap_or_default().to_owned()
}

fn the_site(state: &State, request: &HttpRequest) -> Result<Site, Problem> {
    site(&state.settings, request).ok_or_else(|| {
        Problem::new(ErrorCode::Conflict, "Passkeys need a name and TLS, and the station has neither.")
            .hint("Set server.public_url to its https:// address.")
    })
}

fn asked(asked: Asked) -> HttpResponse {
    let mut body = asked.options;
    if let Some(body) = body.as_object_mut() {
        body.insert("ceremony".to_owned(), json!(asked.ceremony));
    }
    HttpResponse::Ok().json(body)
}

fn answered(form: &Form) -> Answered<'_> {
    Answered {
        ceremony: form.text("ceremony"),
        credential: form.raw("credential").unwrap_or_default(),
    }
}

/// `POST /sign-in/passkey/options`
pub async fn sign_in_options(_: Public, state: web::Data<State>, _form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let site = the_site(&state, &request)?;
    Ok(asked(passkeys::begin_sign_in(&state.app, &site)?))
}

/// `POST /sign-in/passkey`
pub async fn sign_in(_: Public, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let site = the_site(&state, &request)?;
    match passkeys::finish_sign_in(&state.app, &site, answered(&form), Context::origin(&request)).await {
        Ok(session) => Ok(enter(&state, session, &local_path(form.text("next")))),
        Err(Error::WrongCredentials) => {
            let problem = Problem::new(
                ErrorCode::Unauthenticated,
                "This passkey lets nobody in: it was removed here, or it took too long. Try once more, or use your password.",
            );
            refused(&state, &request, &form, &problem)
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /account/sign-in/passkeys/options`
pub async fn registration_options(
    auth: ProvedSignedIn,
    state: web::Data<State>,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let site = the_site(&state, &request)?;
    let person = person_of(&auth.0)?;
    Ok(asked(passkeys::begin(&state.app, person, &site).await?))
}

/// `POST /account/sign-in/passkeys`
pub async fn register(auth: ProvedSignedIn, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let site = the_site(&state, &request)?;
    let (person, origin) = (person_of(&auth.0)?, Context::origin(&request));
    match passkeys::finish(&state.app, person, &site, form.text("name"), answered(&form), origin).await {
        Ok(()) => Ok(see_other("/account/sign-in?done=passkey-added")),
        Err(error @ (Error::Invalid(_) | Error::Conflict(_) | Error::AlreadyExists(_))) => {
            account::sign_in::passkey_refused(&auth.0, &state, &request, &error.into()).await
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /account/sign-in/passkeys/{passkey}/rename`
pub async fn rename(
    auth: ProvedSignedIn,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (person, id) = (person_of(&auth.0)?, id_of(&segments)?);
    match passkeys::rename(&state.app, person, id, form.text("name"), Context::origin(&request)).await {
        Ok(()) => Ok(see_other("/account/sign-in?done=renamed")),
        Err(error @ Error::Invalid(_)) => account::sign_in::passkey_refused(&auth.0, &state, &request, &error.into()).await,
        Err(error) => Err(error.into()),
    }
}

/// `POST /account/sign-in/passkeys/{passkey}/remove`
pub async fn remove(
    auth: ProvedSignedIn,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (person, id) = (person_of(&auth.0)?, id_of(&segments)?);
    passkeys::remove(&state.app, person, id, Context::origin(&request)).await?;
    Ok(see_other("/account/sign-in?done=passkey-removed"))
}

/// `POST /prove/passkey/options`
pub async fn proof_options(person: Person, state: web::Data<State>, _form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let site = the_site(&state, &request)?;
    Ok(asked(passkeys::begin_proof(&state.app, (&person).into(), &site)?))
}

/// `POST /prove/passkey`
pub async fn prove(person: Person, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let site = the_site(&state, &request)?;
    match passkeys::finish_proof(&state.app, (&person).into(), &site, answered(&form), Context::origin(&request)).await {
        Ok(()) => Ok(see_other(prove::back_to(form.text("next")))),
        Err(error @ Error::Invalid(_)) => prove::refused(&person, &state, &form, &request, &error.into()).await,
        Err(error) => Err(error.into()),
    }
}

fn id_of(segments: &Segments) -> Result<PasskeyId, Problem> {
    segments.text("passkey").parse().map_err(|_| Problem::not_found())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_site_comes_from_the_settings_and_never_from_the_host_header() {
        let request = TestRequest::default().insert_header(("host", "evil.example")).to_http_request();
        let local = site(&Settings::default(), &request).unwrap();
        assert_eq!(local.domain, "localhost");
        let public = |url: &str| Settings {
            public_url: Some(url.to_owned().try_into().unwrap()),
            ..Settings::default()
        };
        assert_eq!(
            site(&public("https://station.example"), &request).unwrap().domain,
            "station.example"
        );
        assert_eq!(site(&public("http://10.0.0.1"), &request), None);
    }
}
