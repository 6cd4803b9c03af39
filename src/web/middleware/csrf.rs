//! Refuses what another site makes a browser send. Forms carry a token besides, which their extractor checks.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{Error, web};

use crate::domain::error::ErrorCode;
use crate::web::problem::{Problem, is_safe};
use crate::web::settings::Settings;
use crate::web::state::State;
use crate::web::{cookies, csp_reports};

/// What a browser says of where a request comes from.
#[derive(Clone, Copy, Debug, Default)]
struct Sender<'a> {
    fetch_site: Option<&'a str>,
    origin: Option<&'a str>,
    host: &'a str,
    has_session: bool,
    has_bearer: bool,
}

/// The middleware; see [`actix_web::middleware::from_fn`].
pub async fn csrf<B: MessageBody + 'static>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<BoxBody>, Error> {
    let refused = {
        let text = |name: header::HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
        let sender = Sender {
            fetch_site: text(header::HeaderName::from_static("sec-fetch-site")),
            origin: text(header::ORIGIN),
            host: text(header::HOST).unwrap_or_default(),
            has_session: cookies::session(request.request()).is_some(),
            has_bearer: request.headers().contains_key(header::AUTHORIZATION),
        };
        let settings = request.app_data::<web::Data<State>>().map(|state| &state.settings);
        // Reports that browsers send by themselves change nothing, and not all browsers say where they come from.
        let harmless = is_safe(request.method()) || request.path() == csp_reports::PATH;
        settings.and_then(|settings| check(harmless, sender, settings))
    };
    match refused {
        None => next.call(request).await.map(ServiceResponse::map_into_boxed_body),
        Some(problem) => {
            // It takes the way of a handler's error, so that the shell shapes it.
            Ok(request.error_response(problem))
        }
    }
}

fn check(safe: bool, sender: Sender<'_>, settings: &Settings) -> Option<Problem> {
    if sender.has_bearer {
        return sender.has_session.then(|| {
            Problem::new(
                ErrorCode::BadRequest,
                "The request has both an API key and a session cookie. Send one of them.",
            )
        });
    }
    if safe {
        return None;
    }
    let own = match (sender.fetch_site, sender.origin) {
        (Some("same-origin" | "none"), _) => true,
        (Some(_), _) => false,
        (None, Some(from)) => settings.is_own_origin(from, sender.host),
        // No browser of today: fine as long as no session rides along.
        (None, None) => !sender.has_session,
    };
    (!own).then(|| {
        Problem::new(
            ErrorCode::CrossSite,
            "This request was sent by a page of another site, so it was not carried out.",
        )
        .hint("Open the station itself and do it there. Behind a proxy, set public_url to the address in the browser.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Sender<'_> = Sender {
        fetch_site: None,
        origin: None,
        host: "127.0.0.1:8700",
        has_session: true,
        has_bearer: false,
    };

    fn refused(sender: Sender<'_>) -> bool {
        check(false, sender, &Settings::default()).is_some()
    }

    #[test]
    fn what_the_browser_says_decides() {
        for (site, expected) in [("same-origin", false), ("none", false), ("same-site", true), ("cross-site", true)] {
            let sender = Sender {
                fetch_site: Some(site),
                origin: Some("http://127.0.0.1:8700"),
                ..OWN
            };
            assert_eq!(refused(sender), expected, "{site}");
        }
    }

    #[test]
    fn an_older_browser_is_judged_by_its_origin() {
        let from = |origin| Sender {
            origin: Some(origin),
            ..OWN
        };
        assert!(!refused(from("http://127.0.0.1:8700")));
        assert!(refused(from("http://evil.example")));
        assert!(refused(from("null")));
    }

    #[test]
    fn without_either_header_a_session_is_refused_and_a_program_is_not() {
        assert!(refused(OWN));
        assert!(!refused(Sender { has_session: false, ..OWN }));
    }

    #[test]
    fn a_key_and_a_cookie_together_are_refused() {
        let both = Sender { has_bearer: true, ..OWN };
        assert!(refused(both));
        assert!(!refused(Sender {
            has_session: false,
            ..both
        }));
    }

    #[test]
    fn reading_is_always_let_through() {
        let sender = Sender {
            fetch_site: Some("cross-site"),
            ..OWN
        };
        assert!(check(true, sender, &Settings::default()).is_none());
    }
}
