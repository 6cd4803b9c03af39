//! `If-Match`: changing only what one has read.

use actix_web::HttpRequest;
use actix_web::http::header::{self, ETag, EntityTag, Header as _};

use crate::domain::error::ErrorCode;
use crate::web::problem::Problem;

/// The tag of a row's version.
pub(super) fn tag(version: u32) -> ETag {
    ETag(EntityTag::new_strong(version.to_string()))
}

/// The version that the change was made from, where the client says so.
///
/// # Errors
/// `conflict`: what is no version is not the one that holds.
pub(super) fn expected(request: &HttpRequest) -> Result<Option<u32>, Problem> {
    if !request.headers().contains_key(header::IF_MATCH) {
        return Ok(None);
    }
    let unreadable = || {
        Problem::new(
            ErrorCode::Conflict,
            "If-Match names no version of it: read it, and send its ETag, such as \"4\".",
        )
    };
    match header::IfMatch::parse(request) {
        Ok(header::IfMatch::Any) => Ok(None),
        Ok(header::IfMatch::Items(tags)) => match tags.as_slice() {
            [tag] if !tag.weak => tag.tag().parse().map(Some).map_err(|_| unreadable()),
            _ => Err(unreadable()),
        },
        Err(_) => Err(unreadable()),
    }
}
