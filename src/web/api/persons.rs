//! What is kept about a person, for who looks after the station: given out whole, and erased.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;
use serde::{Deserialize, Serialize};

use super::Segments;
use crate::domain::id::PrincipalId;
use crate::domain::origin::Origin;
use crate::services::persons::{self, Asker, Erased};
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::{Proved, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// A file with everything about a person, as it is read.
///
/// # Errors
/// They are not there, or not the asker's to see.
pub async fn file(state: &State, asker: &Asker, person: PrincipalId, origin: Origin) -> Result<HttpResponse, Problem> {
    let export = persons::export(&state.app, asker, person, origin).await?;
    let body = stream::unfold(Some(export), |export| async move {
        let mut export: persons::Export = export?;
        match export.next().await {
            Ok(part) => part.map(|part| (Ok(web::Bytes::from(part)), Some(export))),
            // What is sent already cannot be taken back: the connection breaks, so that the file is seen to be incomplete.
            Err(error) => {
                tracing::error!(%error, "an export of a person's data broke off");
                Some((Err(actix_web::error::ErrorInternalServerError("broken off")), None))
            }
        }
    });
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"my-data.json\""))
        .insert_header((header::CACHE_CONTROL, "private, no-store"))
        .streaming(body))
}

fn person(segments: &Segments) -> Result<PrincipalId, Problem> {
    segments.text("principal").parse().map_err(|_| Problem::not_found())
}

/// Everything that is kept about a person: profile, memberships, sessions, keys without their secrets, what they did. The station’s audit
/// log notes it.
#[utoipa::path(
    get, path = "/api/v1/station/persons/{principal}/data", tag = "people", operation_id = "exportPerson",
    params(("principal" = String, Path, description = "The person's id")),
    responses(
        (status = 200, description = "One JSON document", content_type = "application/json", body = Object),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn export(
    auth: Proved<may::StationManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let asker = Asker::Station(Box::new(auth.actor().clone()));
    file(&state, &asker, person(&segments)?, Context::origin(&request)).await
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PersonErase)]
pub struct EraseBody {
    /// The person's e-mail address, so that it is sure who is meant.
    pub confirm: String,
}

/// What was erased.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = PersonErased)]
pub struct ErasedBody {
    /// Organizations that the person was a member of.
    pub memberships: u64,
    /// Rows of the audit log that no longer say who it was.
    pub audit_rows: u64,
}

impl From<Erased> for ErasedBody {
    fn from(erased: Erased) -> Self {
        Self {
            memberships: erased.memberships as u64,
            audit_rows: erased.audit_rows as u64,
        }
    }
}

/// Erases a person: account, sessions, keys, memberships and name. Their runs wait to be adopted; the audit log still verifies. It cannot be undone.
#[utoipa::path(
    post, path = "/api/v1/station/persons/{principal}/erase", tag = "people", operation_id = "erasePerson",
    params(("principal" = String, Path, description = "The person's id")),
    request_body = EraseBody,
    responses(
        (status = 200, description = "What was erased", body = ErasedBody),
        (status = "default", description = "A problem; `conflict` for the last owner of an organization and the last station admin", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn erase(
    auth: Proved<may::StationManage>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<EraseBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let asker = Asker::Station(Box::new(auth.actor().clone()));
    let origin = Context::origin(&request);
    let erased = persons::erase(&state.app, &asker, person(&segments)?, &body.value.confirm, origin).await?;
    Ok(HttpResponse::Ok().json(ErasedBody::from(erased)))
}
