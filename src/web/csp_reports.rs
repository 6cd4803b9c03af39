//! `/csp-reports`: browsers tell what the content security policy stopped. It is logged, a little at a time, and nothing else.

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse, web};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde_json::Value;

use super::extract::{Public, body};
use super::problem::Problem;
use crate::domain::error::ErrorCode;

pub const PATH: &str = "/csp-reports";
/// What browsers send: the Reporting API, and before it.
const MEDIA_TYPES: [&str; 2] = ["application/reports+json", "application/csp-report"];
const REPORTS_BYTES_MAX: usize = 16 * 1024;
/// Reports logged of one request.
const REPORTS_MAX: usize = 10;
/// Reports logged in a minute, of everyone.
const LOGGED_PER_MINUTE: std::num::NonZeroU32 = std::num::NonZeroU32::new(30).unwrap();
/// Characters kept of one field.
const FIELD_CHARS_MAX: usize = 200;

static LOGGED: LazyLock<DefaultDirectRateLimiter> = LazyLock::new(|| RateLimiter::direct(Quota::per_minute(LOGGED_PER_MINUTE)));

/// `POST /csp-reports`
pub async fn receive(_: Public, request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Problem> {
    if !body::media_type(&request).is_some_and(|media| MEDIA_TYPES.contains(&media.as_str())) {
        return Err(Problem::new(
            ErrorCode::UnsupportedMediaType,
            "This address reads reports of browsers: application/reports+json.",
        ));
    }
    let bytes = body::read(payload.into_inner(), REPORTS_BYTES_MAX).await?;
    let sent: Value = serde_json::from_slice(&bytes).map_err(|_| Problem::new(ErrorCode::BadRequest, "The report is no valid JSON."))?;
    for report in reports(&sent).into_iter().take(REPORTS_MAX) {
        if LOGGED.check().is_err() {
            break;
        }
        tracing::warn!(
            directive = report.directive,
            blocked = report.blocked,
            page = report.page,
            source = report.source,
            "a browser stopped something that the content security policy does not allow"
        );
    }
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Debug, PartialEq, Eq)]
struct Report {
    directive: String,
    blocked: String,
    page: String,
    source: String,
}

/// The reports of either shape; what is none is left out.
fn reports(sent: &Value) -> Vec<Report> {
    let old = sent.get("csp-report").map(std::slice::from_ref).unwrap_or_default();
    let new = sent.as_array().map(Vec::as_slice).unwrap_or_default();
    let of_new = new
        .iter()
        .filter(|report| report.get("type").and_then(Value::as_str) == Some("csp-violation"))
        .filter_map(|report| report.get("body"));
    let report = |body: &Value| Report {
        directive: field(body, &["effectiveDirective", "effective-directive", "violated-directive"]),
        blocked: field(body, &["blockedURL", "blocked-uri"]),
        page: field(body, &["documentURL", "document-uri"]),
        source: field(body, &["sourceFile", "source-file"]),
    };
    of_new.chain(old).filter(|body| body.is_object()).map(report).collect()
}

/// The first of these fields, shortened, and without the query of an address, in which there may be secrets.
fn field(body: &Value, names: &[&str]) -> String {
    let text = names.iter().find_map(|name| body.get(name)?.as_str()).unwrap_or_default();
    text.split(['?', '#'])
        .next()
        .unwrap_or_default()
        .chars()
        .take(FIELD_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_shapes_are_read_without_what_stands_behind_a_question_mark() {
        let expected = Report {
            directive: "script-src-elem".to_owned(),
            blocked: "https://evil.example/x.js".to_owned(),
            page: "https://station.example/set-up".to_owned(),
            source: String::new(),
        };
        let new = json!([{"type": "csp-violation", "body": {"effectiveDirective": "script-src-elem", "blockedURL": "https://evil.example/x.js", "documentURL": "https://station.example/set-up?token=secret"}}]);
        let old = json!({"csp-report": {"violated-directive": "script-src-elem", "blocked-uri": "https://evil.example/x.js", "document-uri": "https://station.example/set-up?token=secret"}});
        assert_eq!(reports(&new), [expected]);
        assert_eq!(reports(&old), reports(&new));
        for nothing in [json!(1), json!([1, {"type": "deprecation", "body": {}}]), json!({"csp-report": 7})] {
            assert_eq!(reports(&nothing), [], "{nothing}");
        }
    }
}
