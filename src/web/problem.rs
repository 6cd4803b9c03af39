//! What a client gets when something is wrong: the only map from [`ErrorCode`] to a status, and its two shapes,
//! `application/problem+json` (RFC 9457) and an HTML page.

use std::fmt;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use crate::domain::error::ErrorCode;
use crate::domain::id::RequestId;
use crate::domain::manifest::Finding;
use crate::services::{self, FieldError};

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// When somebody turned away because of load may come back.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// What was wrong with a request, before it is known how the client reads it.
#[derive(Debug)]
pub struct Problem {
    pub code: ErrorCode,
    /// What happened and why, for a person.
    pub detail: String,
    /// What to do next.
    pub hint: Option<String>,
    pub errors: Vec<Place>,
    pub retry_after: Option<Duration>,
}

/// One thing wrong, with its place: a JSON pointer into the input, or a line of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Place {
    pub message: String,
    /// RFC 6901, of a field of the JSON input; empty is the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
}

impl From<&Finding> for Place {
    fn from(finding: &Finding) -> Self {
        let known = |n: u32| (n > 0).then_some(n);
        Self {
            message: finding.message.clone(),
            pointer: None,
            file: Some(finding.file.clone()),
            line: known(finding.line),
            column: known(finding.column),
            severity: Some(finding.severity.to_string()),
        }
    }
}

impl From<FieldError> for Place {
    fn from(error: FieldError) -> Self {
        Self {
            message: error.message,
            pointer: Some(error.pointer),
            ..Self::default()
        }
    }
}

/// The JSON that is sent.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProblemBody {
    /// A URI that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// The request's id, as the log has it.
    pub instance: String,
    /// One of a closed list; programs decide by it.
    pub code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Place>,
}

impl Problem {
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            hint: None,
            errors: Vec::new(),
            retry_after: None,
        }
    }

    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        Self {
            retry_after: Some(after),
            ..self
        }
    }

    #[must_use]
    pub fn errors(self, errors: Vec<Place>) -> Self {
        Self { errors, ..self }
    }

    /// The answer to an id that is not there, or that is another organization's.
    pub fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "There is nothing here, or you may not see it.")
    }

    /// One field or parameter that does not fit.
    pub fn invalid(pointer: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::new(ErrorCode::Invalid, format!("{message}.")).errors(vec![Place {
            message,
            pointer: Some(pointer.to_owned()),
            ..Place::default()
        }])
    }

    pub fn unauthenticated() -> Self {
        Self::new(ErrorCode::Unauthenticated, "This needs you to be signed in, or an API key.")
            .hint("Send “Authorization: Bearer <key>”; “agentstation key create” makes a key.")
    }

    /// Something broke on our side. The cause is for the log only.
    pub fn internal(cause: impl fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed on our side");
        Self::new(
            ErrorCode::Internal,
            "Something broke in the station. The log has the cause under this request’s id.",
        )
    }

    /// What an answer that actix made by itself means, by its status.
    pub fn of_status(status: StatusCode) -> Option<Self> {
        let problem = match status {
            StatusCode::NOT_FOUND => Self::not_found(),
            StatusCode::METHOD_NOT_ALLOWED => Self::new(ErrorCode::MethodNotAllowed, "This address does not take that method."),
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(ErrorCode::TooLarge, "The request’s body is too large."),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(
                ErrorCode::UnsupportedMediaType,
                "The request’s content type is not one that this address reads.",
            ),
            status if status.is_client_error() => Self::new(ErrorCode::BadRequest, "The request could not be read."),
            status if status.is_server_error() => Self::internal(format_args!("an answer with status {status}")),
            _ => return None,
        };
        Some(problem)
    }

    /// What is wrong, in a line for a page: of its fields where it has any.
    pub fn in_words(&self) -> String {
        match self.errors.as_slice() {
            [] => self.detail.clone(),
            places => places.iter().map(|place| place.message.as_str()).collect::<Vec<_>>().join(" "),
        }
    }

    /// What is wrong with one field of a form; none where it is another's.
    pub fn of_field(&self, pointer: &str) -> Option<String> {
        let place = self.errors.iter().find(|place| place.pointer.as_deref() == Some(pointer))?;
        Some(place.message.clone())
    }

    pub fn status(&self) -> StatusCode {
        status_of(self.code)
    }

    /// The JSON of this problem for the request `id`.
    pub fn body(&self, id: RequestId) -> ProblemBody {
        ProblemBody {
            kind: format!("urn:agentstation:problem:{}", self.code),
            title: title_of(self.code).to_owned(),
            status: self.status().as_u16(),
            detail: self.detail.clone(),
            instance: format!("urn:agentstation:request:{id}"),
            code: self.code.to_string(),
            hint: self.hint.clone(),
            errors: self.errors.clone(),
        }
    }

    /// The answer as problem+json.
    pub fn to_json(&self, id: RequestId) -> HttpResponse<BoxBody> {
        let body = serde_json::to_string(&self.body(id)).unwrap_or_default();
        let mut answer = HttpResponse::build(self.status()).content_type(PROBLEM_JSON).body(body);
        self.add_headers(&mut answer);
        answer
    }

    /// Headers that go with the status, whatever the shape.
    pub fn add_headers(&self, answer: &mut HttpResponse<BoxBody>) {
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.code == ErrorCode::TooSlow {
            // The rest of the body may still be on its way.
            answer.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
        }
        if self.code == ErrorCode::Unauthenticated {
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"agentstation\""));
        }
    }
}

/// The only map from code to status.
pub const fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadRequest | ErrorCode::TenantRequired => StatusCode::BAD_REQUEST,
        ErrorCode::Invalid | ErrorCode::AgentRejected | ErrorCode::IdempotencyMismatch => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden | ErrorCode::CrossSite | ErrorCode::NoOrganization | ErrorCode::ProofRequired | ErrorCode::PlanLimit => {
            StatusCode::FORBIDDEN
        }
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::Conflict | ErrorCode::AlreadyExists | ErrorCode::IdempotencyInProgress => StatusCode::CONFLICT,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::UriTooLong => StatusCode::URI_TOO_LONG,
        ErrorCode::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ErrorCode::TooSlow => StatusCode::REQUEST_TIMEOUT,
        ErrorCode::Misdirected => StatusCode::MISDIRECTED_REQUEST,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A short title for people.
pub const fn title_of(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::BadRequest => "The request is malformed",
        ErrorCode::Invalid => "Some fields do not fit",
        ErrorCode::Unauthenticated => "Not signed in",
        ErrorCode::Forbidden => "Not allowed",
        ErrorCode::NoOrganization => "Not a member of any organization",
        ErrorCode::TenantRequired => "Which workspace?",
        ErrorCode::ProofRequired => "Prove again that it is you",
        ErrorCode::PlanLimit => "The plan does not include more",
        ErrorCode::CrossSite => "Sent from another site",
        ErrorCode::NotFound => "Not found",
        ErrorCode::MethodNotAllowed => "Method not allowed",
        ErrorCode::Conflict => "Not possible in its present state",
        ErrorCode::AlreadyExists => "It already exists",
        ErrorCode::IdempotencyMismatch => "This Idempotency-Key was used for another request",
        ErrorCode::IdempotencyInProgress => "The first request with this Idempotency-Key is still at work",
        ErrorCode::TooLarge => "Too large",
        ErrorCode::UriTooLong => "The address is too long",
        ErrorCode::HeadersTooLarge => "The headers are too large",
        ErrorCode::TooSlow => "The request came too slowly",
        ErrorCode::Misdirected => "Not the name of this station",
        ErrorCode::UnsupportedMediaType => "Content type not supported",
        ErrorCode::AgentRejected => "The agent cannot be taken as it is",
        ErrorCode::RateLimited => "Too many requests",
        ErrorCode::Busy => "The station is busy",
        ErrorCode::StorageFull => "The disk is full",
        ErrorCode::Internal => "Something broke in the station",
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

/// The one map from what services say to what clients get.
impl From<services::Error> for Problem {
    fn from(error: services::Error) -> Self {
        use services::Error;
        match error {
            Error::NotFound(_) => Self::not_found(),
            Error::PlanLimit(what) => Self::new(ErrorCode::PlanLimit, what)
                .hint("Ask whoever looks after the station for a larger plan, or remove what is no longer needed."),
            Error::Forbidden(permission) => Self::new(ErrorCode::Forbidden, format!("You may not do this: it needs {permission}."))
                .hint("Ask an owner or admin of the organization."),
            Error::Refused(why) => Self::new(ErrorCode::Forbidden, why),
            Error::WrongCredentials => Self::new(ErrorCode::Unauthenticated, "The e-mail address or the password is wrong."),
            Error::RateLimited(wait) => {
                Self::new(ErrorCode::RateLimited, "Too many failed tries. Wait a moment before the next.").retry_after(wait)
            }
            Error::Invalid(fields) => {
                let detail = match fields.as_slice() {
                    [one] if one.pointer.is_empty() => one.message.clone(),
                    [one] => format!("{}: {}", one.pointer, one.message),
                    many => format!("{} fields do not fit.", many.len()),
                };
                Self::new(ErrorCode::Invalid, detail).errors(fields.into_iter().map(Place::from).collect())
            }
            Error::Rejected(findings) => Self::new(ErrorCode::AgentRejected, "Nothing was stored: the agent’s files are wrong.")
                .errors(findings.iter().map(Place::from).collect()),
            Error::Conflict(why) => Self::new(ErrorCode::Conflict, why),
            Error::WouldRepeat(writes) => Self::new(
                ErrorCode::Conflict,
                format!("It would do again what the run has done: {} writes, listed here.", writes.len()),
            )
            .hint("Look at them; to start it over all the same, send {\"repeat_writes\": true}.")
            .errors(
                writes
                    .into_iter()
                    .map(|message| Place {
                        message,
                        ..Place::default()
                    })
                    .collect(),
            ),
            Error::AlreadyExists(why) => Self::new(ErrorCode::AlreadyExists, why),
            Error::TooLarge(why) => Self::new(ErrorCode::TooLarge, why),
            Error::Busy(why) => Self::new(ErrorCode::Busy, why).retry_after(BUSY_RETRY),
            Error::Sealed(why) => Self::new(ErrorCode::Busy, format!("This needs what is sealed, and {why}."))
                .hint("Whoever runs the station must put the key back; “agentstation doctor” says which."),
            Error::StorageFull => Self::new(ErrorCode::StorageFull, "The station’s disk is full, so nothing new is stored.")
                .hint("Make room in the data directory."),
            Error::Internal(cause) => Self::internal(cause),
        }
    }
}

/// What actix would send; `middleware::shell` puts the shape that the client reads in its place.
impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        HttpResponse::new(self.status())
    }
}

/// Which methods only read.
pub fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_an_error_status_and_a_title() {
        for &code in ErrorCode::ALL {
            let status = status_of(code);
            assert!(status.is_client_error() || status.is_server_error(), "{code}");
            assert!(!title_of(code).is_empty());
        }
    }

    #[test]
    fn retry_after_is_rounded_up_to_a_second() {
        let id = RequestId::new(crate::domain::time::Timestamp::from_ms(1));
        let problem = Problem::new(ErrorCode::RateLimited, "slow down").retry_after(Duration::from_millis(1_200));
        let answer = problem.to_json(id);
        assert_eq!(answer.headers().get(header::RETRY_AFTER).unwrap(), "2");
    }
}
