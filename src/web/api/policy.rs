//! Policies of organizations and of workspaces: reading, changing, earlier versions, and what would be decided.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Segments;
use super::if_match::{expected, tag};
use crate::domain::permission::Actor;
use crate::domain::policy::{Decision, Rule, Rules};
use crate::domain::time::Timestamp;
use crate::services::policy::{self, Action, Of};
use crate::store::policy::Stored;
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::paging::{Page, Query, limit};
use crate::web::extract::{Authorized, Proved, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// A policy. Of the rules about the same thing the first that fits decides; the stricter of organization and workspace holds.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Policy)]
pub struct PolicyBody {
    /// 0 where none was ever stored.
    pub version: u32,
    #[schema(value_type = Vec<RuleDoc>)]
    pub rules: Vec<Rule>,
    /// Each rule as a sentence, in order.
    pub words: Vec<String>,
    /// Why this version was stored.
    pub note: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by_name: Option<String>,
    /// Milliseconds since 1970 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<i64>,
}

impl From<Stored> for PolicyBody {
    fn from(stored: Stored) -> Self {
        Self {
            version: stored.version,
            words: stored.rules.rules.iter().map(Rule::in_words).collect(),
            rules: stored.rules.rules,
            note: stored.note,
            created_by: stored.created_by.map(|by| by.to_string()),
            created_by_name: stored.created_by_name,
            created_at: (stored.version > 0).then(|| Timestamp::as_ms(stored.created_at)),
        }
    }
}

/// A rule.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = PolicyRule)]
#[expect(dead_code, reason = "describes `domain::policy::Rule`, which is what is read and written")]
pub struct RuleDoc {
    /// 1 to 64 of a–z, 0–9 and `-`; unique in its policy.
    #[schema(example = "no-posts", pattern = "^[a-z0-9-]{1,64}$")]
    id: String,
    effect: EffectDoc,
    what: WhatDoc,
    /// Only with `ask`; where it is missing, one operator, who may have started the run.
    approvers: Option<ApproversDoc>,
    /// Why it is there; the agent is told with a denial.
    note: Option<String>,
}

#[derive(Debug, utoipa::ToSchema)]
#[schema(as = PolicyEffect, rename_all = "snake_case")]
pub enum EffectDoc {
    Allow,
    Ask,
    Deny,
}

/// What a rule is about. In names `*` stands for any characters.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = PolicyWhat, rename_all = "snake_case")]
pub enum WhatDoc {
    Model(NamesDoc),
    Tool(NamesDoc),
    Http(HttpDoc),
    Secret(NamesDoc),
    Agent(NamesDoc),
    Artifact(ArtifactDoc),
    Cost(CostDoc),
}

#[derive(Debug, utoipa::ToSchema)]
#[schema(as = PolicyNames)]
#[expect(dead_code, reason = "a description")]
pub struct NamesDoc {
    names: Vec<String>,
}

#[derive(Debug, utoipa::ToSchema)]
#[schema(as = PolicyHttp)]
#[expect(dead_code, reason = "a description")]
pub struct HttpDoc {
    /// `example.com`, `*.example.com` for every name below it, `*` for all; with `:8443` that port only, else every port.
    hosts: Vec<String>,
    /// None is any.
    methods: Option<Vec<String>>,
    /// What the path begins with; empty is any.
    path_prefix: Option<String>,
}

#[derive(Debug, utoipa::ToSchema)]
#[schema(as = PolicyArtifact)]
#[expect(dead_code, reason = "a description")]
pub struct ArtifactDoc {
    over_bytes: u64,
}

#[derive(Debug, utoipa::ToSchema)]
#[schema(as = PolicyCost)]
#[expect(dead_code, reason = "a description")]
pub struct CostDoc {
    /// Millionths of a dollar.
    over_micros: u64,
    /// `call`: the most that one model call can cost. `run`: what its run has cost so far, with that.
    #[schema(example = "call", pattern = "^(call|run)$")]
    per: String,
}

#[derive(Debug, utoipa::ToSchema)]
#[schema(as = PolicyApprovers)]
#[expect(dead_code, reason = "a description")]
pub struct ApproversDoc {
    /// `operator`, `builder`, `admin` or `owner`, or higher.
    #[schema(example = "admin", pattern = "^(operator|builder|admin|owner)$")]
    min_role: Option<String>,
    /// 1 to 10 people, who must agree on the very same arguments.
    #[schema(minimum = 1, maximum = 10)]
    count: Option<u32>,
    /// Whether who started the run may be one of them.
    self_approval: Option<bool>,
}

/// A policy to be stored.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutPolicyBody {
    #[schema(value_type = Vec<RuleDoc>)]
    pub rules: Vec<Rule>,
    #[serde(default)]
    pub note: String,
}

/// Something that an agent might do, which its manifest grants with no more than the defaults.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckActionBody {
    /// `http`, `model`, `tool`, `secret`, `agent` or `artifact`.
    #[schema(example = "http", pattern = "^(http|model|tool|secret|agent|artifact)$")]
    pub what: String,
    /// Of a model, tool, secret or agent.
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub method: String,
    #[serde(default)]
    pub url: String,
    /// Of an artifact.
    #[serde(default)]
    pub bytes: u64,
    /// Millionths of a dollar: the most that a model call can cost.
    #[serde(default)]
    pub cost_micros: u64,
    /// What its run has cost before it.
    #[serde(default)]
    pub run_cost_micros: u64,
    /// Secrets that a request names.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Rules to try in place of those that hold.
    #[schema(value_type = Option<Vec<RuleDoc>>)]
    #[serde(default)]
    pub rules: Option<Vec<Rule>>,
}

/// What would be decided.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DecidedBody {
    /// `allow`, `ask` or `deny`.
    pub effect: String,
    /// `org/…`, `workspace/…`, `default.…`, or `manifest.…` where only the manifest counts.
    pub rule: String,
    /// The versions that decide.
    pub policy: String,
    /// Where it asks: who, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asks: Option<String>,
    /// Where it is denied: what the agent is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl DecidedBody {
    pub fn new(decision: &Decision, version: String) -> Self {
        Self {
            effect: decision.effect().to_string(),
            rule: decision.rule().to_string(),
            policy: version,
            asks: match decision {
                Decision::Ask(_, approvers) => Some(crate::domain::policy::of_approvers(*approvers)),
                _ => None,
            },
            reason: match decision {
                Decision::Deny(_, why) => Some(why.clone()),
                _ => None,
            },
        }
    }
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VersionsQuery {
    /// At most 500; 50 where it is not given.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    #[param(pattern = "^[0-9]{1,9}$")]
    pub cursor: Option<String>,
}

fn answer(stored: Stored) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(tag(stored.version))
        .insert_header(("cache-control", "private, no-cache"))
        .json(PolicyBody::from(stored))
}

async fn get(state: &State, actor: &Actor, of: Of) -> Result<HttpResponse, Problem> {
    Ok(answer(policy::get(&state.app, actor, of).await?))
}

async fn put(state: &State, actor: &Actor, of: Of, body: PutPolicyBody, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let (expected, rules) = (expected(request)?, Rules { rules: body.rules });
    let origin = Context::origin(request);
    Ok(answer(
        policy::put(&state.app, actor, of, rules, body.note, expected, origin).await?,
    ))
}

async fn versions(state: &State, actor: &Actor, of: Of, query: VersionsQuery) -> Result<HttpResponse, Problem> {
    let limit = limit(query.limit)?;
    let before = query
        .cursor
        .map(|text| text.parse().map_err(|_| Problem::invalid("/cursor", "this is no cursor of ours")))
        .transpose()?;
    let found = policy::versions(&state.app, actor, of, before, limit + 1).await?;
    let page = Page::cut(found, limit, |stored| stored.version.to_string());
    Ok(HttpResponse::Ok().json(page.map(PolicyBody::from)))
}

async fn version(state: &State, actor: &Actor, of: Of, segments: &Segments) -> Result<HttpResponse, Problem> {
    let version: u32 = segments.text("version").parse().map_err(|_| Problem::not_found())?;
    if version == 0 {
        return Err(Problem::not_found());
    }
    Ok(answer(policy::version(&state.app, actor, of, version).await?))
}

async fn check(state: &State, actor: &Actor, of: Of, body: CheckActionBody) -> Result<HttpResponse, Problem> {
    let action = Action {
        kind: body.what,
        name: body.name,
        url: body.url,
        method: body.method.to_ascii_uppercase(),
        bytes: body.bytes,
        call_micros: body.cost_micros,
        run_micros: body.run_cost_micros,
        secrets: body.secrets,
    };
    let draft = body.rules.map(|rules| Rules { rules });
    let (decision, version) = policy::check(&state.app, actor, of, draft, &action).await?;
    Ok(HttpResponse::Ok().json(DecidedBody::new(&decision, version)))
}

/// Shows the organization's policy.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/policy", tag = "policy", operation_id = "getOrgPolicy",
    params(("org" = String, Path, description = "Id or slug")),
    responses(
        (status = 200, description = "The policy, with its version as ETag", body = PolicyBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get_org(auth: Authorized<may::PolicyRead>, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    get(&state, auth.actor(), Of::Org).await
}

/// Stores a new version of the organization's policy. It holds from the next call of every run.
#[utoipa::path(
    put, path = "/api/v1/orgs/{org}/policy", tag = "policy", operation_id = "putOrgPolicy",
    params(
        ("org" = String, Path, description = "Id or slug"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the policy that the change was made from: refused with `conflict` where another holds now."),
    ),
    request_body = PutPolicyBody,
    responses(
        (status = 200, description = "The policy as stored", body = PolicyBody),
        (status = "default", description = "A problem; `invalid` names each place", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn put_org(
    auth: Proved<may::PolicyManage>,
    state: web::Data<State>,
    body: Json<PutPolicyBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    put(&state, auth.actor(), Of::Org, body.value, &request).await
}

/// Lists the versions of the organization's policy, the newest first.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/policy/versions", tag = "policy", operation_id = "listOrgPolicyVersions",
    params(("org" = String, Path, description = "Id or slug"), VersionsQuery),
    responses(
        (status = 200, description = "A page of versions", body = Page<PolicyBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn org_versions(
    auth: Authorized<may::PolicyRead>,
    state: web::Data<State>,
    query: Query<VersionsQuery>,
) -> Result<HttpResponse, Problem> {
    versions(&state, auth.actor(), Of::Org, query.0).await
}

/// Shows one version of the organization's policy.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/policy/versions/{version}", tag = "policy", operation_id = "getOrgPolicyVersion",
    params(("org" = String, Path, description = "Id or slug"), ("version" = u32, Path, description = "From 1")),
    responses(
        (status = 200, description = "The version", body = PolicyBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn org_version(auth: Authorized<may::PolicyRead>, state: web::Data<State>, segments: Segments) -> Result<HttpResponse, Problem> {
    version(&state, auth.actor(), Of::Org, &segments).await
}

/// Says what the organization's policy would decide about an action. Nothing is done.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/policy/check", tag = "policy", operation_id = "checkOrgPolicy",
    params(("org" = String, Path, description = "Id or slug")),
    request_body = CheckActionBody,
    responses(
        (status = 200, description = "What would be decided, and by which rule", body = DecidedBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn check_org(
    auth: Authorized<may::PolicyRead>,
    state: web::Data<State>,
    body: Json<CheckActionBody>,
) -> Result<HttpResponse, Problem> {
    check(&state, auth.actor(), Of::Org, body.value).await
}

/// Shows a workspace's policy.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/workspaces/{workspace}/policy", tag = "policy", operation_id = "getWorkspacePolicy",
    params(("org" = String, Path, description = "Id or slug"), ("workspace" = String, Path, description = "Id or slug")),
    responses(
        (status = 200, description = "The policy, with its version as ETag", body = PolicyBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn get_workspace(auth: Authorized<may::PolicyRead>, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    get(&state, auth.actor(), Of::Workspace).await
}

/// Stores a new version of a workspace's policy. It holds from the next call of every run; it can only be stricter than the organization's.
#[utoipa::path(
    put, path = "/api/v1/orgs/{org}/workspaces/{workspace}/policy", tag = "policy", operation_id = "putWorkspacePolicy",
    params(
        ("org" = String, Path, description = "Id or slug"),
        ("workspace" = String, Path, description = "Id or slug"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the policy that the change was made from: refused with `conflict` where another holds now."),
    ),
    request_body = PutPolicyBody,
    responses(
        (status = 200, description = "The policy as stored", body = PolicyBody),
        (status = "default", description = "A problem; `invalid` names each place", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn put_workspace(
    auth: Proved<may::PolicyManage>,
    state: web::Data<State>,
    body: Json<PutPolicyBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    put(&state, auth.actor(), Of::Workspace, body.value, &request).await
}

/// Lists the versions of a workspace's policy, the newest first.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/workspaces/{workspace}/policy/versions", tag = "policy", operation_id = "listWorkspacePolicyVersions",
    params(("org" = String, Path, description = "Id or slug"), ("workspace" = String, Path, description = "Id or slug"), VersionsQuery),
    responses(
        (status = 200, description = "A page of versions", body = Page<PolicyBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn workspace_versions(
    auth: Authorized<may::PolicyRead>,
    state: web::Data<State>,
    query: Query<VersionsQuery>,
) -> Result<HttpResponse, Problem> {
    versions(&state, auth.actor(), Of::Workspace, query.0).await
}

/// Shows one version of a workspace's policy.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/workspaces/{workspace}/policy/versions/{version}", tag = "policy", operation_id = "getWorkspacePolicyVersion",
    params(
        ("org" = String, Path, description = "Id or slug"), ("workspace" = String, Path, description = "Id or slug"),
        ("version" = u32, Path, description = "From 1"),
    ),
    responses(
        (status = 200, description = "The version", body = PolicyBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn workspace_version(
    auth: Authorized<may::PolicyRead>,
    state: web::Data<State>,
    segments: Segments,
) -> Result<HttpResponse, Problem> {
    version(&state, auth.actor(), Of::Workspace, &segments).await
}

/// Says what the policies of workspace and organization together would decide about an action. Nothing is done.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/workspaces/{workspace}/policy/check", tag = "policy", operation_id = "checkWorkspacePolicy",
    params(("org" = String, Path, description = "Id or slug"), ("workspace" = String, Path, description = "Id or slug")),
    request_body = CheckActionBody,
    responses(
        (status = 200, description = "What would be decided, and by which rule", body = DecidedBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn check_workspace(
    auth: Authorized<may::PolicyRead>,
    state: web::Data<State>,
    body: Json<CheckActionBody>,
) -> Result<HttpResponse, Problem> {
    check(&state, auth.actor(), Of::Workspace, body.value).await
}
