//! Forms of our own pages: a list of fields, and the token that proves a page of ours sent them.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, web};

use super::body;
use crate::domain::error::ErrorCode;
use crate::domain::limits::{CODE_BYTES_MAX, JSON_BODY_BYTES_MAX};
use crate::web::cookies;
use crate::web::problem::Problem;
use crate::web::state::State;

/// The hidden field of every form.
pub const TOKEN_FIELD: &str = "form_token";
const FIELDS_MAX: usize = 2_000;
const FORM_BYTES_MAX: usize = JSON_BODY_BYTES_MAX;
const _: () = assert!(FORM_BYTES_MAX < CODE_BYTES_MAX, "components are uploaded, not typed");

/// A sent form whose token is right. Fields stand in the order of the page; a name may come more than once.
#[derive(Debug, Default, Clone)]
pub struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    /// The first value of a field, without the space around it; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.raw(name).unwrap_or_default().trim()
    }

    /// The first value of a field as it came.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find_map(|(field, value)| (field == name).then_some(value.as_str()))
    }

    /// Every value of a field.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields
            .iter()
            .filter(move |(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }
}

impl FromRequest for Form {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let payload = payload.take();
        Box::pin(async move {
            if body::media_type(&request).as_deref() != Some("application/x-www-form-urlencoded") {
                return Err(Problem::new(
                    ErrorCode::UnsupportedMediaType,
                    "This address reads the station’s own forms.",
                ));
            }
            let bytes = body::read(payload, FORM_BYTES_MAX).await?;
            let mut fields = Vec::new();
            for (name, value) in url::form_urlencoded::parse(&bytes) {
                if fields.len() == FIELDS_MAX {
                    return Err(body::too_large(FORM_BYTES_MAX));
                }
                fields.push((name.into_owned(), value.into_owned()));
            }
            let form = Self { fields };
            check_token(&request, form.text(TOKEN_FIELD))?;
            Ok(form)
        })
    }
}

/// What scripts of our pages send a form's token in.
const TOKEN_HEADER: &str = "x-form-token";

/// What a browser's session sends without a form carries the token in a header; API keys need none.
///
/// # Errors
/// `cross_site`
pub fn check_header_token(request: &HttpRequest) -> Result<(), Problem> {
    if request.headers().contains_key(header::AUTHORIZATION) || cookies::session(request).is_none() {
        return Ok(());
    }
    let token = request.headers().get(TOKEN_HEADER).and_then(|value| value.to_str().ok());
    check_token(request, token.unwrap_or_default())
}

/// Whether `token` belongs to the session, or the visit before there is one, of this request.
pub fn check_token(request: &HttpRequest, token: &str) -> Result<(), Problem> {
    let Some(state) = request.app_data::<web::Data<State>>() else {
        return Err(Problem::internal("no state"));
    };
    let cookies = [cookies::session(request), cookies::visit(request)];
    if cookies.iter().flatten().any(|cookie| state.app.auth.is_form_token(cookie, token)) {
        return Ok(());
    }
    Err(Problem::new(
        ErrorCode::CrossSite,
        "The form was too old, or was not made by this station, so nothing was done.",
    )
    .hint("Go back, reload the page and send it again."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_may_come_more_than_once() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let form = Form {
            fields: vec![pair("a", " one "), pair("b", "x"), pair("a", "two")],
        };
        assert_eq!(form.text("a"), "one");
        assert_eq!(form.raw("a"), Some(" one "));
        assert_eq!(form.all("a").collect::<Vec<_>>(), [" one ", "two"]);
        assert_eq!(form.text("missing"), "");
    }
}
