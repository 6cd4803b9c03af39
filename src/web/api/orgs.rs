//! Organizations: those of the caller, one of them, and all of the station for whoever looks after it.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Segments;
use super::spending::{self, SpendingBody, SpendingQuery};
use crate::domain::id::PrincipalId;
use crate::domain::plan::Plan;
use crate::domain::time::Timestamp;
use crate::services::orgs::{self, NewOrg, Org, Overseen, Rename};
use crate::services::plans;
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::form::check_header_token;
use crate::web::extract::paging::{Page, Query, limit};
use crate::web::extract::{Authorized, Proved, SignedIn, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// An organization. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Organization)]
pub struct OrgBody {
    pub id: String,
    /// The short name, which stands in addresses.
    pub slug: String,
    pub name: String,
    /// `free`, `pro` or `enterprise`.
    pub plan: String,
    pub created_at: i64,
    /// When it was asked to be deleted; absent where it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<i64>,
    /// When everything in it is deleted for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purge_at: Option<i64>,
}

impl From<Org> for OrgBody {
    fn from(org: Org) -> Self {
        Self {
            id: org.id.to_string(),
            slug: org.slug,
            name: org.name,
            plan: org.plan.to_string(),
            created_at: org.created_at.as_ms(),
            deleted_at: org.deleted_at.map(Timestamp::as_ms),
            purge_at: org.purge_at.map(Timestamp::as_ms),
        }
    }
}

/// A plan, by its code.
///
/// # Errors
/// `invalid`
pub fn plan(text: &str) -> Result<Plan, Problem> {
    Plan::parse(text).ok_or_else(|| Problem::invalid("/plan", "the plans are free, pro and enterprise"))
}

/// An organization that the caller is a member of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = OwnOrganization)]
pub struct MineBody {
    pub id: String,
    pub slug: String,
    pub name: String,
    pub plan: String,
    /// What the caller is in it.
    pub role: String,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = OwnOrganizations)]
pub struct MinesBody {
    pub items: Vec<MineBody>,
}

/// Lists the organizations that the caller is a member of. A key is of one.
#[utoipa::path(
    get, path = "/api/v1/orgs", tag = "organizations", operation_id = "listOrganizations",
    responses(
        (status = 200, description = "At most 200", body = MinesBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(auth: Authorized<may::OrgRead>, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let found = orgs::mine(&state.app, auth.actor()).await?;
    let items = found
        .into_iter()
        .map(|mine| MineBody {
            id: mine.id.to_string(),
            slug: mine.slug,
            name: mine.name,
            plan: mine.plan.to_string(),
            role: mine.role.to_string(),
        })
        .collect();
    Ok(HttpResponse::Ok().json(MinesBody { items }))
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrganization)]
pub struct NewBody {
    /// a–z, 0–9 and “-”, at most 64.
    #[schema(example = "acme")]
    pub slug: String,
    /// At most 80 bytes.
    pub name: String,
    /// `free`, `pro` or `enterprise`; `free` where it is not given.
    #[serde(default)]
    #[schema(pattern = "^(free|pro|enterprise)$")]
    pub plan: Option<String>,
    /// The e-mail address of somebody who has an account here; the caller where it is not given.
    #[serde(default)]
    pub owner: Option<String>,
}

/// Makes an organization with one workspace. For whoever looks after the station.
#[utoipa::path(
    post, path = "/api/v1/orgs", tag = "organizations", operation_id = "createOrganization",
    params(("Idempotency-Key" = Option<String>, Header, description = "At most 255 characters. The same key with the same body answers as the first time, for 24 hours.")),
    request_body = NewBody,
    responses(
        (status = 201, description = "The organization", body = OrgBody),
        (status = "default", description = "A problem; `already_exists` where the short name is taken", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    auth: Proved<may::StationManage>,
    state: web::Data<State>,
    body: Json<NewBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let NewBody {
        slug,
        name,
        plan: text,
        owner,
    } = body.value;
    let plan = text.as_deref().map(plan).transpose()?.unwrap_or(Plan::Free);
    let new = NewOrg { slug, name, plan, owner };
    let made = orgs::create(&state.app, auth.actor(), new, Context::origin(&request)).await?;
    Ok(HttpResponse::Created().json(OrgBody::from(made)))
}

/// Shows an organization that the caller is a member of.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}", tag = "organizations", operation_id = "getOrganization",
    params(("org" = String, Path, description = "Id or short name")),
    responses(
        (status = 200, description = "The organization", body = OrgBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(auth: Authorized<may::OrgRead>, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(OrgBody::from(orgs::get(&state.app, auth.actor()).await?)))
}

/// Other names; what is not given stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Names)]
pub struct RenameBody {
    /// a–z, 0–9 and “-”, at most 64.
    #[serde(default)]
    pub slug: Option<String>,
    /// At most 80 bytes.
    #[serde(default)]
    pub name: Option<String>,
}

impl From<RenameBody> for Rename {
    fn from(body: RenameBody) -> Self {
        Self {
            slug: body.slug,
            name: body.name,
        }
    }
}

/// Gives an organization other names.
#[utoipa::path(
    patch, path = "/api/v1/orgs/{org}", tag = "organizations", operation_id = "renameOrganization",
    params(("org" = String, Path, description = "Id or short name")),
    request_body = RenameBody,
    responses(
        (status = 200, description = "The organization as it is now", body = OrgBody),
        (status = "default", description = "A problem; `already_exists` where the short name is taken", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn rename(
    auth: Authorized<may::OrgManage>,
    state: web::Data<State>,
    body: Json<RenameBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let renamed = orgs::rename(&state.app, auth.actor(), body.value.into(), Context::origin(&request)).await?;
    Ok(HttpResponse::Ok().json(OrgBody::from(renamed)))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ConfirmQuery {
    /// The short name of what is to be deleted.
    #[serde(default)]
    pub confirm: String,
}

/// Deletes an organization: nobody gets in any more and its runs are cancelled; after 14 days everything in it is gone.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}", tag = "organizations", operation_id = "deleteOrganization",
    params(("org" = String, Path, description = "Id or short name"), ConfirmQuery),
    responses(
        (status = 204, description = "It is being deleted"),
        (status = "default", description = "A problem; `invalid` where `confirm` is not the short name", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    auth: Proved<may::OrgOwn>,
    state: web::Data<State>,
    query: Query<ConfirmQuery>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    orgs::delete(&state.app, auth.actor(), &query.0.confirm, Context::origin(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Transfer)]
pub struct TransferBody {
    /// The id of the member who is to be the owner.
    #[schema(pattern = "^prn_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    pub member: String,
}

/// Hands an organization over: the member becomes its owner, the caller an admin.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/transfer", tag = "organizations", operation_id = "transferOrganization",
    params(("org" = String, Path, description = "Id or short name")),
    request_body = TransferBody,
    responses(
        (status = 204, description = "Done"),
        (status = "default", description = "A problem; `not_found` where they are no member", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn transfer(
    auth: Proved<may::OrgOwn>,
    state: web::Data<State>,
    body: Json<TransferBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let to: PrincipalId = body
        .value
        .member
        .parse()
        .map_err(|_| Problem::invalid("/member", "this is no member’s id"))?;
    orgs::transfer(&state.app, auth.actor(), to, Context::origin(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Leaves an organization. For browsers that are signed in: no key leaves for its owner.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/leave", tag = "organizations", operation_id = "leaveOrganization",
    params(("org" = String, Path, description = "Id or short name")),
    responses(
        (status = 204, description = "Done"),
        (status = "default", description = "A problem; `conflict` for the last owner", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn leave(auth: SignedIn, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    orgs::leave(&state.app, &auth.0.actor, Context::origin(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// How much there is, and how much the plan includes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Used)]
pub struct UsedBody {
    pub used: u64,
    pub limit: u64,
}

/// What an organization uses of its plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Usage)]
pub struct UsageBody {
    pub plan: String,
    /// People, services and open invitations.
    pub members: UsedBody,
    pub workspaces: UsedBody,
    pub agents: UsedBody,
    /// Runs that execute now.
    pub running: UsedBody,
    /// Runs that wait for a slot, those on hold too.
    pub queued: UsedBody,
    /// Inputs, results, journals, artifacts and code, before compression.
    pub stored_bytes: UsedBody,
    /// What was used and spent in a time; only where `by`, `from` or `to` is given, which needs `costs:read`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spending: Option<SpendingBody>,
}

/// Shows what an organization uses of its plan, and where that is asked for, what was spent in a time.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/usage", tag = "organizations", operation_id = "getUsage",
    params(("org" = String, Path, description = "Id or short name"), SpendingQuery),
    responses(
        (status = 200, description = "Usage and limits", body = UsageBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn usage(auth: Authorized<may::OrgRead>, state: web::Data<State>, query: Query<SpendingQuery>) -> Result<HttpResponse, Problem> {
    let is_asked = query.0.by.is_some() || query.0.from.is_some() || query.0.to.is_some();
    let spending = if is_asked {
        Some(spending::sums(&state, auth.actor(), query.0, false).await?)
    } else {
        None
    };
    let usage = plans::usage(&state.app, auth.actor()).await?;
    let of = |used: u32, limit: u32| UsedBody {
        used: used.into(),
        limit: limit.into(),
    };
    let limits = usage.limits;
    Ok(HttpResponse::Ok().json(UsageBody {
        plan: usage.plan.to_string(),
        members: of(usage.members, limits.members),
        workspaces: of(usage.workspaces, limits.workspaces),
        agents: of(usage.agents, limits.agents),
        running: of(usage.running, limits.running),
        queued: of(usage.queued, limits.queued),
        stored_bytes: UsedBody {
            used: usage.stored_bytes,
            limit: limits.stored_bytes,
        },
        spending,
    }))
}

/// An organization as whoever looks after the station sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = OverseenOrganization)]
pub struct OverseenBody {
    #[serde(flatten)]
    pub org: OrgBody,
    /// People, services and open invitations.
    pub members: u32,
    /// Of any state, counted no further than 1,000.
    pub runs: u32,
    /// Runs that execute now.
    pub running: u32,
    pub stored_bytes: u64,
}

impl From<Overseen> for OverseenBody {
    fn from(overseen: Overseen) -> Self {
        Self {
            members: overseen.members,
            runs: overseen.runs,
            running: overseen.running,
            stored_bytes: overseen.org.stored_bytes,
            org: overseen.org.into(),
        }
    }
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// At most 500; 50 where it is not given.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Lists every organization of the station by short name, those that are being deleted too.
#[utoipa::path(
    get, path = "/api/v1/station/orgs", tag = "station", operation_id = "listAllOrganizations",
    params(ListQuery),
    responses(
        (status = 200, description = "Organizations", body = Page<OverseenBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn all(auth: Authorized<may::StationManage>, state: web::Data<State>, query: Query<ListQuery>) -> Result<HttpResponse, Problem> {
    let limit = limit(query.0.limit)?;
    let after = query.0.cursor.unwrap_or_default();
    let found = orgs::all(&state.app, auth.actor(), after, limit + 1).await?;
    let page = Page::cut(found, limit, |overseen| overseen.org.slug.clone());
    Ok(HttpResponse::Ok().json(page.map(OverseenBody::from)))
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PlanChange)]
pub struct PlanBody {
    /// `free`, `pro` or `enterprise`.
    #[schema(pattern = "^(free|pro|enterprise)$")]
    pub plan: String,
}

/// Puts an organization on another plan. What it has more of than the plan includes stays.
#[utoipa::path(
    patch, path = "/api/v1/station/orgs/{org}", tag = "station", operation_id = "changePlan",
    params(("org" = String, Path, description = "Id or short name")),
    request_body = PlanBody,
    responses(
        (status = 200, description = "The organization as it is now", body = OrgBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn change_plan(
    auth: Proved<may::StationManage>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<PlanBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let org = segments.text("org").to_owned();
    let changed = orgs::change_plan(&state.app, auth.actor(), org, plan(&body.value.plan)?, Context::origin(&request)).await?;
    Ok(HttpResponse::Ok().json(OrgBody::from(changed)))
}

/// Takes the deletion of an organization back, within 14 days of it. Runs that were cancelled stay cancelled.
#[utoipa::path(
    post, path = "/api/v1/station/orgs/{org}/restore", tag = "station", operation_id = "restoreOrganization",
    params(("org" = String, Path, description = "Id or short name")),
    responses(
        (status = 200, description = "The organization as it is now", body = OrgBody),
        (status = "default", description = "A problem; `conflict` where it is not being deleted, or its time is over", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn restore(
    auth: Proved<may::StationManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    let org = segments.text("org").to_owned();
    let restored = orgs::restore(&state.app, auth.actor(), org, Context::origin(&request)).await?;
    Ok(HttpResponse::Ok().json(OrgBody::from(restored)))
}
