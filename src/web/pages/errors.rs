//! The page of an error, and the way to the sign-in for those who are not, and to a new proof for those whose proof is old.

use actix_web::body::BoxBody;
use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use super::account::prove;
use super::filters;
use crate::domain::error::ErrorCode;
use crate::web::context::Context;
use crate::web::cookies;
use crate::web::middleware::identity::Identity;
use crate::web::problem::{Problem, title_of};
use crate::web::routes;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/errors/page.html")]
struct ErrorPage {
    title: String,
    message: String,
    fix: String,
    status: u16,
    request_id: String,
    signed_in: bool,
    /// Of somebody who is signed in and a member of nothing: how to sign out.
    sign_out: Option<String>,
    name: String,
}

/// What a person sees of `problem`.
pub fn render(problem: &Problem, request: &HttpRequest, context: Context) -> HttpResponse<BoxBody> {
    if problem.code == ErrorCode::Unauthenticated && request.method() == Method::GET {
        let next: String = url::form_urlencoded::byte_serialize(path_and_query(request).as_bytes()).collect();
        return HttpResponse::SeeOther()
            .insert_header((header::LOCATION, format!("/sign-in?next={next}")))
            .finish();
    }
    if problem.code == ErrorCode::ProofRequired {
        return HttpResponse::SeeOther()
            .insert_header((header::LOCATION, prove::address(&page_with_form(request))))
            .finish();
    }
    let identity = Identity::of(request);
    let homeless = problem.code == ErrorCode::NoOrganization;
    let places = problem.errors.iter().map(|place| place.message.as_str());
    let page = ErrorPage {
        title: title_of(problem.code).to_owned(),
        message: std::iter::once(problem.detail.as_str()).chain(places).collect::<Vec<_>>().join(" "),
        fix: problem.hint.clone().unwrap_or_default(),
        status: problem.status().as_u16(),
        request_id: context.id.to_string(),
        signed_in: identity.known().is_some(),
        sign_out: homeless.then(|| form_token(request)).flatten(),
        name: match &identity {
            Identity::Stranger(stranger) => stranger.name.clone(),
            _ => String::new(),
        },
    };
    match page.render() {
        Ok(body) => HttpResponse::build(problem.status())
            .content_type("text/html; charset=utf-8")
            .body(body),
        Err(error) => {
            tracing::error!(%error, "the error page could not be rendered");
            problem.to_json(context.id)
        }
    }
}

/// The page that a request was sent from: itself, or the nearest page above the address of its form.
fn page_with_form(request: &HttpRequest) -> String {
    if request.method() == Method::GET {
        return path_and_query(request).to_owned();
    }
    routes::page_above(request.path())
}

/// What a form of this session must carry.
fn form_token(request: &HttpRequest) -> Option<String> {
    let state = request.app_data::<web::Data<State>>()?;
    Some(state.app.auth.form_token(&cookies::session(request)?))
}

fn path_and_query(request: &HttpRequest) -> &str {
    request
        .uri()
        .path_and_query()
        .map_or("/", actix_web::http::uri::PathAndQuery::as_str)
}
