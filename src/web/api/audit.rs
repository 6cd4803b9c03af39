//! The audit log of an organization and of the station: listing, exporting, verifying.

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::audit::in_words;
use crate::domain::hex;
use crate::domain::origin::Origin;
use crate::domain::permission::Actor;
use crate::domain::time::Timestamp;
use crate::services::audit::{self, Chain, Checkpoint, Export, Filter, Format, Listed, Outcome, Person, Verified};
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::paging::{Page, Query, limit};
use crate::web::extract::{Authorized, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// A person as they were at the time. What was erased is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = AuditPerson)]
pub struct PersonBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl From<&Person> for PersonBody {
    fn from(person: &Person) -> Self {
        Self {
            id: person.principal.map(|id| id.to_string()),
            name: person.name.clone(),
            email: person.email.clone(),
        }
    }
}

/// A row of the audit log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AuditEntry)]
pub struct EntryBody {
    /// Its number in the chain, without gaps.
    pub seq: u64,
    /// Milliseconds since 1970 UTC.
    pub at: i64,
    pub actor: PersonBody,
    /// Whom it was done to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<PersonBody>,
    /// `session`, `api_key` or `local`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// A session's id or a key's public part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_id: Option<String>,
    #[schema(example = "member.remove")]
    pub action: String,
    /// The action, for people.
    pub words: String,
    pub target: String,
    /// `ok`, `denied` or `failed`.
    pub outcome: String,
    /// How often within a minute.
    pub count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// What changed, without secrets.
    #[schema(value_type = Object)]
    pub detail: Box<RawValue>,
    /// Hexadecimal.
    pub hash: String,
}

impl From<&Listed> for EntryBody {
    fn from(row: &Listed) -> Self {
        let entry = &row.entry;
        Self {
            seq: entry.seq,
            at: entry.at.as_ms(),
            actor: PersonBody::from(&row.actor),
            subject: row.subject.as_ref().map(PersonBody::from),
            credential: entry.credential.clone(),
            credential_id: entry.credential_id.clone(),
            action: entry.action.clone(),
            words: in_words(&entry.action).to_owned(),
            target: entry.target.clone(),
            outcome: entry.outcome.clone(),
            count: entry.count,
            request_id: entry.request_id.clone(),
            address: row.actor.address.clone(),
            user_agent: row.actor.user_agent.clone(),
            detail: RawValue::from_string(entry.detail.clone()).unwrap_or_else(|_| RawValue::NULL.to_owned()),
            hash: hex::encode(&entry.hash),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// A principal's id.
    #[serde(default)]
    #[param(pattern = "^(prn_[0-7][0-9a-hjkmnp-tv-z]{25})?$")]
    pub actor: Option<String>,
    /// An action, such as `member.remove`.
    #[serde(default)]
    pub action: Option<String>,
    #[serde(default)]
    #[param(pattern = "^(ok|denied|failed)?$")]
    pub outcome: Option<String>,
    /// Part of the target.
    #[serde(default)]
    pub target: Option<String>,
    /// Milliseconds since 1970 UTC.
    #[serde(default)]
    pub from: Option<i64>,
    /// Milliseconds since 1970 UTC, the first that no longer counts.
    #[serde(default)]
    pub to: Option<i64>,
    /// An address, or a range such as `10.0.0.0/8`.
    #[serde(default)]
    #[param(
        pattern = r"^(([0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(/[0-9]{1,3})?|((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(/(3[0-2]|[12]?[0-9]))?)?$"
    )]
    pub address: Option<String>,
    /// Part of the action, the target, or a person's name or e-mail address.
    #[serde(default)]
    pub q: Option<String>,
    /// At most 500; 50 where it is not given.
    #[serde(default)]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    #[param(pattern = "^[0-9]{1,15}\\.[0-9]{1,15}$")]
    pub cursor: Option<String>,
}

impl ListQuery {
    /// What it asks for.
    ///
    /// # Errors
    /// `invalid` with the parameter that does not fit.
    pub fn filter(&self) -> Result<Filter, Problem> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let parsed = |name: &str, words: &str| Problem::invalid(name, words);
        Ok(Filter {
            actor: match given(&self.actor) {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| parsed("/actor", "this is no principal’s id"))?),
            },
            action: given(&self.action),
            outcome: match given(&self.outcome) {
                None => None,
                Some(text) => Some(Outcome::parse(&text).ok_or_else(|| parsed("/outcome", "the outcomes are ok, denied and failed"))?),
            },
            target: given(&self.target),
            from: self.from.map(Timestamp::from_ms),
            to: self.to.map(Timestamp::from_ms),
            address: match given(&self.address) {
                None => None,
                Some(text) => Some(
                    text.trim()
                        .parse()
                        .map_err(|_| parsed("/address", "write an address, or a range such as 10.0.0.0/8"))?,
                ),
            },
            text: given(&self.q),
        })
    }
}

async fn page(state: &State, actor: &Actor, chain: Chain, query: &ListQuery) -> Result<HttpResponse, Problem> {
    let limit = limit(query.limit)?;
    let after = match &query.cursor {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|()| Problem::invalid("/cursor", "this is no cursor of this list"))?,
        ),
    };
    let found = audit::list(&state.app, actor, chain, query.filter()?, after, limit as usize).await?;
    Ok(HttpResponse::Ok().json(Page {
        items: found.rows.iter().map(EntryBody::from).collect(),
        next: found.next.map(|place| place.to_string()),
    }))
}

/// Lists the organization’s audit log, the newest first. Where few of very many rows fit, a page may have fewer than `limit` and yet a `next`.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/audit", tag = "audit", operation_id = "listAudit",
    params(("org" = String, Path, description = "Id or short name"), ListQuery),
    responses(
        (status = 200, description = "Rows", body = Page<EntryBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(auth: Authorized<may::AuditRead>, state: web::Data<State>, query: Query<ListQuery>) -> Result<HttpResponse, Problem> {
    page(&state, auth.actor(), Chain::Own, &query.0).await
}

/// Lists the station’s own audit log: what belongs to no organization.
#[utoipa::path(
    get, path = "/api/v1/station/audit", tag = "audit", operation_id = "listStationAudit",
    params(ListQuery),
    responses(
        (status = 200, description = "Rows", body = Page<EntryBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list_station(
    auth: Authorized<may::StationManage>,
    state: web::Data<State>,
    query: Query<ListQuery>,
) -> Result<HttpResponse, Problem> {
    page(&state, auth.actor(), Chain::Station, &query.0).await
}

#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// `jsonl`, one JSON object a line, or `csv`.
    #[serde(default)]
    #[param(pattern = "^(jsonl|csv)$")]
    pub format: Option<String>,
    /// A principal's id.
    #[serde(default)]
    #[param(pattern = "^(prn_[0-7][0-9a-hjkmnp-tv-z]{25})?$")]
    pub actor: Option<String>,
    /// An action, such as `member.remove`.
    #[serde(default)]
    pub action: Option<String>,
    #[serde(default)]
    #[param(pattern = "^(ok|denied|failed)?$")]
    pub outcome: Option<String>,
    /// Part of the target.
    #[serde(default)]
    pub target: Option<String>,
    /// Milliseconds since 1970 UTC.
    #[serde(default)]
    pub from: Option<i64>,
    /// Milliseconds since 1970 UTC, the first that no longer counts.
    #[serde(default)]
    pub to: Option<i64>,
    /// An address, or a range such as `10.0.0.0/8`.
    #[serde(default)]
    #[param(
        pattern = r"^(([0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(/[0-9]{1,3})?|((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(/(3[0-2]|[12]?[0-9]))?)?$"
    )]
    pub address: Option<String>,
    /// Part of the action, the target, or a person's name or e-mail address.
    #[serde(default)]
    pub q: Option<String>,
}

impl ExportQuery {
    fn parts(self) -> Result<(Format, Filter), Problem> {
        let format = match self.format.as_deref() {
            None => Format::Jsonl,
            Some(text) => Format::parse(text).ok_or_else(|| Problem::invalid("/format", "the formats are jsonl and csv"))?,
        };
        let list = ListQuery {
            actor: self.actor,
            action: self.action,
            outcome: self.outcome,
            target: self.target,
            from: self.from,
            to: self.to,
            address: self.address,
            q: self.q,
            ..ListQuery::default()
        };
        Ok((format, list.filter()?))
    }
}

/// A file of the rows of a chain, as they are read.
///
/// # Errors
/// The actor may not read it.
pub async fn file(
    state: &State,
    actor: &Actor,
    chain: Chain,
    filter: Filter,
    format: Format,
    origin: Origin,
) -> Result<HttpResponse, Problem> {
    let export = audit::begin_export(&state.app, actor, chain, filter, format, origin).await?;
    let name = match chain {
        Chain::Own => "audit",
        Chain::Station => "station-audit",
    };
    let body = stream::unfold(Some(export), |export| async move {
        let mut export: Export = export?;
        match export.next().await {
            Ok(part) => part.map(|part| (Ok(web::Bytes::from(part)), Some(export))),
            // What is sent already cannot be taken back: the connection breaks, so that the file is seen to be incomplete.
            Err(error) => {
                tracing::error!(%error, "an export of the audit log broke off");
                Some((Err(actix_web::error::ErrorInternalServerError("broken off")), None))
            }
        }
    });
    Ok(HttpResponse::Ok()
        .content_type(match format {
            Format::Jsonl => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8",
        })
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.{format}\"")))
        .insert_header((header::CACHE_CONTROL, "private, no-store"))
        .streaming(body))
}

/// Exports the organization’s audit log, the newest first. The export is itself written to the log.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/audit/export", tag = "audit", operation_id = "exportAudit",
    params(("org" = String, Path, description = "Id or short name"), ExportQuery),
    responses(
        (status = 200, description = "The rows", content((String = "application/x-ndjson"), (String = "text/csv"))),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn export(
    auth: Authorized<may::AuditRead>,
    state: web::Data<State>,
    query: Query<ExportQuery>,
    request: actix_web::HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (format, filter) = query.0.parts()?;
    file(&state, auth.actor(), Chain::Own, filter, format, Context::origin(&request)).await
}

/// Exports the station’s own audit log, the newest first. The export is itself written to the log.
#[utoipa::path(
    get, path = "/api/v1/station/audit/export", tag = "audit", operation_id = "exportStationAudit",
    params(ExportQuery),
    responses(
        (status = 200, description = "The rows", content((String = "application/x-ndjson"), (String = "text/csv"))),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn export_station(
    auth: Authorized<may::StationManage>,
    state: web::Data<State>,
    query: Query<ExportQuery>,
    request: actix_web::HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (format, filter) = query.0.parts()?;
    file(&state, auth.actor(), Chain::Station, filter, format, Context::origin(&request)).await
}

/// A row of a chain as it was at one time, to be kept elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AuditCheckpoint)]
pub struct CheckpointBody {
    /// An organization's id, or `station`.
    pub chain: String,
    #[schema(minimum = 1)]
    pub seq: u64,
    #[schema(minimum = 1)]
    pub count: u64,
    /// Hexadecimal.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub hash: String,
}

impl From<Checkpoint> for CheckpointBody {
    fn from(Checkpoint { chain, seq, count, hash }: Checkpoint) -> Self {
        Self { chain, seq, count, hash }
    }
}

/// Whether a chain is as it was written.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AuditVerified)]
pub struct VerifiedBody {
    pub intact: bool,
    /// Rows that are as they were written, from the first on.
    pub rows: u64,
    /// Whether it was held against a checkpoint: without one, a missing end is not seen.
    pub against_checkpoint: bool,
    /// Where it is broken, the first row that is wrong or not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken_at: Option<u64>,
    /// What is wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// The last row that holds: keep it, to verify against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<CheckpointBody>,
}

impl From<Verified> for VerifiedBody {
    fn from(verified: Verified) -> Self {
        Self {
            intact: verified.intact,
            rows: verified.rows,
            against_checkpoint: verified.against_checkpoint,
            broken_at: verified.broken.as_ref().map(audit::Broken::seq),
            broken: verified.broken.as_ref().map(audit::Broken::in_words),
            head: verified.head.map(CheckpointBody::from),
        }
    }
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AuditVerify)]
pub struct VerifyBody {
    pub checkpoint: CheckpointBody,
}

impl VerifyBody {
    fn checkpoint(self) -> Checkpoint {
        let CheckpointBody { chain, seq, count, hash } = self.checkpoint;
        Checkpoint { chain, seq, count, hash }
    }
}

async fn verified(state: &State, actor: &Actor, chain: Chain, checkpoint: Option<Checkpoint>) -> Result<HttpResponse, Problem> {
    let verified = audit::verify(&state.app, actor, chain, checkpoint).await?;
    Ok(HttpResponse::Ok().json(VerifiedBody::from(verified)))
}

/// Walks the organization’s audit log from its first row and says whether every row is as it was written.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/audit/verify", tag = "audit", operation_id = "verifyAudit",
    params(("org" = String, Path, description = "Id or short name")),
    responses(
        (status = 200, description = "What was found", body = VerifiedBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn verify(auth: Authorized<may::AuditRead>, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    verified(&state, auth.actor(), Chain::Own, None).await
}

/// As the GET, and holds the log against a checkpoint that you kept: so a cut end and a log written anew are found too.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/audit/verify", tag = "audit", operation_id = "verifyAuditAgainst",
    params(("org" = String, Path, description = "Id or short name")),
    request_body = VerifyBody,
    responses(
        (status = 200, description = "What was found", body = VerifiedBody),
        (status = "default", description = "A problem; `conflict` where the checkpoint is of another log", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn verify_against(
    auth: Authorized<may::AuditRead>,
    state: web::Data<State>,
    body: Json<VerifyBody>,
) -> Result<HttpResponse, Problem> {
    verified(&state, auth.actor(), Chain::Own, Some(body.value.checkpoint())).await
}

/// Walks the station’s own audit log from its first row and says whether every row is as it was written.
#[utoipa::path(
    get, path = "/api/v1/station/audit/verify", tag = "audit", operation_id = "verifyStationAudit",
    responses(
        (status = 200, description = "What was found", body = VerifiedBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn verify_station(auth: Authorized<may::StationManage>, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    verified(&state, auth.actor(), Chain::Station, None).await
}

/// As the GET, and holds the log against a checkpoint that you kept.
#[utoipa::path(
    post, path = "/api/v1/station/audit/verify", tag = "audit", operation_id = "verifyStationAuditAgainst",
    request_body = VerifyBody,
    responses(
        (status = 200, description = "What was found", body = VerifiedBody),
        (status = "default", description = "A problem; `conflict` where the checkpoint is of another log", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn verify_station_against(
    auth: Authorized<may::StationManage>,
    state: web::Data<State>,
    body: Json<VerifyBody>,
) -> Result<HttpResponse, Problem> {
    verified(&state, auth.actor(), Chain::Station, Some(body.value.checkpoint())).await
}
