//! `?limit=&cursor=` and other queries, and what a page of a list looks like.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::error::ErrorCode;
use crate::domain::limits::{PAGE_DEFAULT, PAGE_MAX};
use crate::web::problem::Problem;

/// A query whose parameters all are known and fit.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let parsed = actix_web::web::Query::<T>::from_query(request.query_string());
        ready(parsed.map(|query| Self(query.into_inner())).map_err(|error| {
            let reason = match &error {
                actix_web::error::QueryPayloadError::Deserialize(inner) => inner.to_string(),
                _ => "it cannot be read".to_owned(),
            };
            Problem::new(ErrorCode::BadRequest, format!("The query does not fit: {reason}."))
        }))
    }
}

/// How many of a list are wanted: within 1 and [`PAGE_MAX`].
///
/// # Errors
/// `invalid` for 0 and for more than the most.
pub fn limit(wanted: Option<u32>) -> Result<u32, Problem> {
    match wanted {
        None => Ok(PAGE_DEFAULT),
        Some(n) if (1..=PAGE_MAX).contains(&n) => Ok(n),
        Some(_) => Err(Problem::new(ErrorCode::Invalid, format!("limit must be between 1 and {PAGE_MAX}."))),
    }
}

/// One page of a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// What to send as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// A page of at most `limit` of `found`, which holds one more where there is a next page.
    pub fn cut(mut found: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Self {
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let next = found.last().filter(|_| more).map(cursor);
        Self { items: found, next }
    }

    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(change).collect(),
            next: self.next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_the_next_only_where_there_is_one() {
        let page = Page::cut(vec![1, 2, 3], 2, ToString::to_string);
        assert_eq!((page.items, page.next.as_deref()), (vec![1, 2], Some("2")));
        let last = Page::cut(vec![1, 2], 2, ToString::to_string);
        assert_eq!((last.items, last.next), (vec![1, 2], None));
    }

    #[test]
    fn a_limit_outside_the_range_is_refused() {
        assert_eq!(limit(None).unwrap(), PAGE_DEFAULT);
        assert!(limit(Some(0)).is_err() && limit(Some(PAGE_MAX + 1)).is_err());
        assert_eq!(limit(Some(PAGE_MAX)).unwrap(), PAGE_MAX);
    }
}
