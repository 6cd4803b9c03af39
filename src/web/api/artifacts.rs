//! Files that a run produced. They are made by agents: a browser may show a few kinds and run none.

use std::fmt::Write as _;

use actix_web::http::header::{self, ETag, EntityTag};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::Segments;
use crate::domain::call::ArtifactInfo;
use crate::services::runs;
use crate::web::assets::is_known;
use crate::web::extract::paging::Page;
use crate::web::extract::{Authorized, may};
use crate::web::middleware::shell::SANDBOX_POLICY;
use crate::web::problem::Problem;
use crate::web::state::State;

/// Kinds that are served as what they say they are; everything else is bytes.
const KINDS_SHOWN: [&str; 9] = [
    "text/plain",
    "text/markdown",
    "text/csv",
    "application/json",
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/svg+xml",
];

/// A file that a run produced.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ArtifactBody {
    pub name: String,
    pub content_type: String,
    pub bytes: u64,
    /// `sha256:` and hexadecimal.
    pub digest: String,
}

impl From<ArtifactInfo> for ArtifactBody {
    fn from(info: ArtifactInfo) -> Self {
        Self {
            name: info.name,
            content_type: info.content_type,
            bytes: info.bytes,
            digest: info.digest,
        }
    }
}

/// Lists a run's artifacts.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/artifacts", tag = "runs", operation_id = "listArtifacts",
    params(("run" = String, Path, description = "The run's id")),
    responses(
        (status = 200, description = "All artifacts", body = Page<ArtifactBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(auth: Authorized<may::RunsRead>, state: web::Data<State>, segments: Segments) -> Result<HttpResponse, Problem> {
    let artifacts = runs::artifacts(&state.app, auth.actor(), segments.run()?).await?;
    Ok(HttpResponse::Ok().json(Page {
        items: artifacts.into_iter().map(ArtifactBody::from).collect(),
        next: None,
    }))
}

/// Downloads an artifact.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/artifacts/{name}", tag = "runs", operation_id = "getArtifact",
    params(("run" = String, Path, description = "The run's id"), ("name" = String, Path, description = "The artifact's name")),
    responses(
        (status = 200, description = "The file, with an ETag", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 304, description = "You have it"),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(
    auth: Authorized<may::RunsRead>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let name = segments.text("name").to_owned();
    let (info, bytes) = runs::artifact(&state.app, auth.actor(), segments.run()?, name).await?;
    let tag = EntityTag::new_strong(info.digest.replace("sha256:", ""));
    if is_known(&request, &tag) {
        return Ok(HttpResponse::NotModified().insert_header(ETag(tag)).finish());
    }
    Ok(HttpResponse::Ok()
        .insert_header(ETag(tag))
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, SANDBOX_POLICY))
        .insert_header((header::CONTENT_DISPOSITION, disposition(&info.name)))
        .insert_header((header::CONTENT_TYPE, shown_as(&info.content_type)))
        .body(bytes))
}

fn shown_as(content_type: &str) -> String {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        kind if !KINDS_SHOWN.contains(&kind) => "application/octet-stream".to_owned(),
        kind if kind.starts_with("text/") || kind == "application/json" => format!("{kind}; charset=utf-8"),
        kind => kind.to_owned(),
    }
}

/// RFC 6266 with the name in UTF-8, percent-encoded so that nothing in it can end the header.
fn disposition(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let mut encoded = String::new();
    for byte in last.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            _ = write!(encoded, "%{byte:02X}");
        }
    }
    format!("attachment; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_kinds_are_served_as_what_they_say() {
        assert_eq!(shown_as("text/csv"), "text/csv; charset=utf-8");
        assert_eq!(shown_as("IMAGE/PNG; x=y"), "image/png");
        assert_eq!(shown_as("text/html"), "application/octet-stream");
        assert_eq!(shown_as("application/javascript"), "application/octet-stream");
        assert_eq!(shown_as("x\r\nset-cookie: a"), "application/octet-stream");
    }

    #[test]
    fn a_name_cannot_leave_its_header() {
        assert_eq!(disposition("a/b/report.csv"), "attachment; filename*=UTF-8''report.csv");
        assert_eq!(disposition("é\"\r\n"), "attachment; filename*=UTF-8''%C3%A9%22%0D%0A");
    }
}
