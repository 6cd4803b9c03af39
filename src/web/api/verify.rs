//! Verifying a finished run.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::Segments;
use crate::services::verify::{self, Differs, Verified};
use crate::web::context::Context;
use crate::web::extract::form::check_header_token;
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// What came of executing a finished run again.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct VerifiedBody {
    /// `identical`, `identical_up_to`, `differs` or `unverifiable`.
    #[schema(example = "identical")]
    pub result: String,
    /// The result in words.
    pub text: String,
    /// Of `identical_up_to`: how the run ended, which executing it again cannot repeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of `differs`: where, and both sides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<DifferenceBody>,
    /// Segments that were executed again.
    pub segments: u32,
    /// Recorded calls that were made again, alike.
    pub calls: u64,
    /// Whether the engine is the one that recorded, so that fuel could be compared.
    pub fuel_compared: bool,
    pub duration_ms: u64,
}

/// The first place where a run did something else than its journal says.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DifferenceBody {
    pub segment: u32,
    /// Of a call: its ordinal in the segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<u32>,
    /// The entry that recorded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// `call`, `arguments`, `request`, `fuel`, `end`, `state`, `wake`, `output` or `error`.
    pub what: String,
    pub recorded: String,
    pub now: String,
}

impl From<Differs> for DifferenceBody {
    fn from(found: Differs) -> Self {
        Self {
            segment: found.segment,
            call: found.call,
            sub: found.sub,
            seq: found.seq,
            what: found.what,
            recorded: found.recorded,
            now: found.now,
        }
    }
}

impl From<Verified> for VerifiedBody {
    fn from(verified: Verified) -> Self {
        Self {
            result: verified.result.to_string(),
            text: verified.text,
            reason: verified.reason.map(|reason| reason.to_string()),
            difference: verified.difference.map(DifferenceBody::from),
            segments: verified.segments,
            calls: verified.calls,
            fuel_compared: verified.fuel_compared,
            duration_ms: verified.duration_ms,
        }
    }
}

/// Executes a finished run again, segment by segment and with no outside world, and compares it with its journal.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/verify", tag = "runs", operation_id = "verifyRun",
    params(
        ("run" = String, Path, description = "The run's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "At most 255 characters. The same key answers as the first time, for 24 hours."),
    ),
    responses(
        (status = 200, description = "The result, which is also noted on the run's timeline", body = VerifiedBody),
        (status = "default", description = "A problem; `conflict` where the run has not finished", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn verify(
    auth: Authorized<may::RunsCancel>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let (actor, run) = (auth.actor(), segments.run()?);
    let verified = verify::verify(&state.app, actor, run, verify::WITHIN, Context::origin(&request)).await?;
    Ok(HttpResponse::Ok().json(VerifiedBody::from(verified)))
}
