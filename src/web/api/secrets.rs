//! Secrets of organizations and of workspaces: names, bindings, versions. Values are sent here and never come back.

use actix_web::http::header::{self, ETag, EntityTag};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Segments;
use crate::config::secret::Secret;
use crate::domain::error::ErrorCode;
use crate::domain::id::SecretId;
use crate::domain::permission::Actor;
use crate::domain::secret::Binding;
use crate::services::secrets::{self, Change, Info, NewSecret, Of, Value, Version};
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::form::check_header_token;
use crate::web::extract::paging::{Page, Query, limit};
use crate::web::extract::{Authorized, Proved, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// One way in which a secret may be used.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SecretBinding)]
pub struct BindingBody {
    /// Names of agents; `*` is every agent whose manifest grants the secret.
    #[schema(example = json!(["*"]), min_items = 1, max_items = 50)]
    pub agents: Vec<String>,
    /// As in a manifest: `example.com`, `*.example.com`, `example.com:8443`.
    #[schema(example = "api.example.com", max_length = 253)]
    pub host: String,
    /// None is all.
    #[serde(default)]
    #[schema(max_items = 7)]
    pub methods: Vec<String>,
    /// What the path must begin with.
    #[serde(default)]
    #[schema(example = "/v1/", max_length = 1024)]
    pub path_prefix: String,
}

impl From<Binding> for BindingBody {
    fn from(binding: Binding) -> Self {
        let Binding {
            agents,
            host,
            methods,
            path_prefix,
        } = binding;
        Self {
            agents,
            host,
            methods,
            path_prefix,
        }
    }
}

impl From<BindingBody> for Binding {
    fn from(body: BindingBody) -> Self {
        let BindingBody {
            agents,
            host,
            methods,
            path_prefix,
        } = body;
        Self {
            agents,
            host,
            methods: methods.iter().map(|method| method.to_ascii_uppercase()).collect(),
            path_prefix,
        }
    }
}

/// A secret without its value, which nobody sees. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Secret)]
pub struct SecretBody {
    pub id: String,
    /// Agents write it as `{{secret:NAME}}`.
    pub name: String,
    /// The workspace that it is of; absent where the whole organization has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    pub note: String,
    pub bindings: Vec<BindingBody>,
    /// The version that is sent.
    pub current_version: u32,
    /// `sealed`, `env` or `file`.
    #[schema(example = "sealed")]
    pub source: String,
    /// Of a variable or a file: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Versions that are not destroyed.
    pub versions: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    pub created_at: i64,
    pub updated_at: i64,
    /// To the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<i64>,
}

impl From<Info> for SecretBody {
    fn from(info: Info) -> Self {
        Self {
            id: info.id.to_string(),
            name: info.name,
            workspace: info.workspace.map(|id| id.to_string()),
            note: info.note,
            bindings: info.bindings.into_iter().map(BindingBody::from).collect(),
            current_version: info.current,
            source: info.source.as_str().to_owned(),
            place: Some(info.place).filter(|place| !place.is_empty()),
            versions: info.versions,
            created_by: info.created_by.map(|id| id.to_string()),
            created_at: info.created_at.as_ms(),
            updated_at: info.updated_at.as_ms(),
            last_used_at: info.last_used_at.map(crate::domain::time::Timestamp::as_ms),
        }
    }
}

/// One version of a secret.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SecretVersion)]
pub struct VersionBody {
    pub number: u32,
    pub source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    pub created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destroyed_at: Option<i64>,
}

impl From<Version> for VersionBody {
    fn from(version: Version) -> Self {
        Self {
            number: version.number,
            source: version.source.as_str().to_owned(),
            created_by: version.created_by.map(|id| id.to_string()),
            created_at: version.created_at.as_ms(),
            destroyed_at: version.destroyed_at.map(crate::domain::time::Timestamp::as_ms),
        }
    }
}

/// A secret with its versions, the newest first.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SecretWithVersions)]
pub struct WholeBody {
    #[serde(flatten)]
    pub secret: SecretBody,
    /// At most 500.
    pub history: Vec<VersionBody>,
}

/// A secret to be made. Exactly one of `value`, `env` and `file` says where its value is.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSecret)]
pub struct NewBody {
    /// Letters, digits, `-`, `_` and `.`.
    #[schema(example = "payments-token", pattern = "^[A-Za-z0-9_.-]{1,64}$")]
    pub name: String,
    /// One line.
    #[serde(default)]
    #[schema(max_length = 300)]
    pub note: String,
    #[serde(default)]
    #[schema(max_items = 50)]
    pub bindings: Vec<BindingBody>,
    /// The value itself, 8 to 8192 bytes.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "sk-live-0123456789")]
    pub value: Option<ValueText>,
    /// The name of a variable of the station's that begins with `AGENTSTATION_SECRET_`. For station admins.
    #[serde(default)]
    pub env: Option<String>,
    /// The name of a file in the station's `security.secrets_dir`. For station admins.
    #[serde(default)]
    pub file: Option<String>,
}

/// A new value. Exactly one of the three.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSecretValue)]
pub struct ValueBody {
    /// The value itself, 8 to 8192 bytes.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "sk-live-0123456789")]
    pub value: Option<ValueText>,
    /// The name of a variable of the station's that begins with `AGENTSTATION_SECRET_`. For station admins.
    #[serde(default)]
    pub env: Option<String>,
    /// The name of a file in the station's `security.secrets_dir`. For station admins.
    #[serde(default)]
    pub file: Option<String>,
}

/// A value on its way in: wiped from memory, and never printed.
pub struct ValueText(Secret);

impl<'de> Deserialize<'de> for ValueText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Secret::new(String::deserialize(deserializer)?)))
    }
}

fn value_of(value: Option<ValueText>, env: Option<String>, file: Option<String>) -> Result<Value, Problem> {
    match (value, env, file) {
        (Some(value), None, None) => Ok(Value::Given(value.0)),
        (None, Some(name), None) => Ok(Value::Variable(name)),
        (None, None, Some(name)) => Ok(Value::File(name)),
        _ => Err(Problem::invalid("/value", "send exactly one of value, env and file")),
    }
}

/// What is to be otherwise. What is not given stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SecretChange)]
pub struct ChangeBody {
    #[serde(default)]
    #[schema(max_length = 300)]
    pub note: Option<String>,
    /// All bindings that there are to be.
    #[serde(default)]
    #[schema(max_items = 50)]
    pub bindings: Option<Vec<BindingBody>>,
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
    #[param(pattern = "^[A-Za-z0-9_.-]{1,64}$")]
    pub cursor: Option<String>,
}

fn id_of(segments: &Segments) -> Result<SecretId, Problem> {
    segments.text("secret").parse().map_err(|_| Problem::not_found())
}

fn tagged(info: Info, mut response: actix_web::HttpResponseBuilder) -> HttpResponse {
    let tag = EntityTag::new_strong(info.version.to_string());
    response.insert_header(ETag(tag)).json(SecretBody::from(info))
}

/// The version of the row that a change was made from, where the client says so.
fn expected(request: &HttpRequest) -> Result<Option<u32>, Problem> {
    use actix_web::http::header::Header as _;
    if !request.headers().contains_key(header::IF_MATCH) {
        return Ok(None);
    }
    let unreadable = || {
        Problem::new(
            ErrorCode::Conflict,
            "If-Match names no version of the secret: read it, and send its ETag, such as \"4\".",
        )
    };
    match header::IfMatch::parse(request) {
        Ok(header::IfMatch::Any) => Ok(None),
        Ok(header::IfMatch::Items(tags)) => match tags.as_slice() {
            [tag] if !tag.weak => tag.tag().parse().map(Some).map_err(|_| unreadable()),
            _ => Err(unreadable()),
        },
        Err(_) => Err(unreadable()),
    }
}

async fn list(state: &State, actor: &Actor, of: Of, query: ListQuery) -> Result<HttpResponse, Problem> {
    let limit = limit(query.limit)?;
    let found = secrets::list(&state.app, actor, of, query.cursor.unwrap_or_default(), limit + 1).await?;
    let page = Page::cut(found, limit, |info| info.name.clone());
    Ok(HttpResponse::Ok().json(page.map(SecretBody::from)))
}

async fn create(state: &State, actor: &Actor, of: Of, body: NewBody, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let new = NewSecret {
        name: body.name,
        note: body.note,
        bindings: body.bindings.into_iter().map(Binding::from).collect(),
        value: value_of(body.value, body.env, body.file)?,
    };
    let made = secrets::create(&state.app, actor, of, new, Context::origin(request)).await?;
    Ok(tagged(made, HttpResponse::Created()))
}

async fn show(state: &State, actor: &Actor, of: Of, segments: &Segments) -> Result<HttpResponse, Problem> {
    let (info, versions) = secrets::get(&state.app, actor, of, id_of(segments)?).await?;
    let tag = EntityTag::new_strong(info.version.to_string());
    Ok(HttpResponse::Ok().insert_header(ETag(tag)).json(WholeBody {
        secret: info.into(),
        history: versions.into_iter().map(VersionBody::from).collect(),
    }))
}

async fn change(
    state: &State,
    actor: &Actor,
    of: Of,
    segments: &Segments,
    body: ChangeBody,
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    let change = Change {
        note: body.note,
        bindings: body.bindings.map(|all| all.into_iter().map(Binding::from).collect()),
    };
    let (id, expected, origin) = (id_of(segments)?, expected(request)?, Context::origin(request));
    let changed = secrets::change(&state.app, actor, of, id, change, expected, origin).await?;
    Ok(tagged(changed, HttpResponse::Ok()))
}

async fn rotate(
    state: &State,
    actor: &Actor,
    of: Of,
    segments: &Segments,
    body: ValueBody,
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    let value = value_of(body.value, body.env, body.file)?;
    let (id, expected, origin) = (id_of(segments)?, expected(request)?, Context::origin(request));
    let rotated = secrets::rotate(&state.app, actor, of, id, value, expected, origin).await?;
    Ok(tagged(rotated, HttpResponse::Ok()))
}

async fn destroy(state: &State, actor: &Actor, of: Of, segments: &Segments, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    check_header_token(request)?;
    let number = segments.text("version").parse().map_err(|_| Problem::not_found())?;
    secrets::destroy(&state.app, actor, of, id_of(segments)?, number, Context::origin(request)).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn delete(state: &State, actor: &Actor, of: Of, segments: &Segments, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    check_header_token(request)?;
    let (id, expected) = (id_of(segments)?, expected(request)?);
    secrets::delete(&state.app, actor, of, id, expected, Context::origin(request)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Lists the organization’s own secrets by name. Nobody sees their values.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/secrets", tag = "secrets", operation_id = "listOrgSecrets",
    params(("org" = String, Path, description = "Id or short name"), ListQuery),
    responses(
        (status = 200, description = "A page of secrets", body = Page<SecretBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list_org(
    auth: Authorized<may::SecretsRead>,
    state: web::Data<State>,
    query: Query<ListQuery>,
) -> Result<HttpResponse, Problem> {
    list(&state, auth.actor(), Of::Org, query.0).await
}

/// Makes a secret for the organization’s own agents.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/secrets", tag = "secrets", operation_id = "createOrgSecret",
    params(("org" = String, Path, description = "Id or short name"), ("Idempotency-Key" = Option<String>, Header, description = "At most 255 characters. The same key with the same body answers as the first time, for 24 hours.")),
    request_body = NewBody,
    responses(
        (status = 201, description = "The secret, with its ETag", body = SecretBody),
        (status = "default", description = "A problem; `already_exists` where the name is taken", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create_org(
    auth: Proved<may::SecretsManage>,
    state: web::Data<State>,
    body: Json<NewBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    create(&state, auth.actor(), Of::Org, body.value, &request).await
}

/// Shows a secret and its versions; not its value.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/secrets/{secret}", tag = "secrets", operation_id = "getOrgSecret",
    params(("org" = String, Path, description = "Id or short name"), ("secret" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "The secret, with its ETag", body = WholeBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show_org(auth: Authorized<may::SecretsRead>, state: web::Data<State>, segments: Segments) -> Result<HttpResponse, Problem> {
    show(&state, auth.actor(), Of::Org, &segments).await
}

/// Changes the note of a secret, or who may send it where.
#[utoipa::path(
    patch, path = "/api/v1/orgs/{org}/secrets/{secret}", tag = "secrets", operation_id = "changeOrgSecret",
    params(("org" = String, Path, description = "Id or short name"), ("secret" = String, Path, description = "Its id"), ("If-Match" = Option<String>, Header, description = "The ETag of the secret that the change was made from: refused with `conflict` where it was changed since.")),
    request_body = ChangeBody,
    responses(
        (status = 200, description = "The secret as it is now", body = SecretBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn change_org(
    auth: Proved<may::SecretsManage>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<ChangeBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    change(&state, auth.actor(), Of::Org, &segments, body.value, &request).await
}

/// Removes a secret with all its versions.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/secrets/{secret}", tag = "secrets", operation_id = "deleteOrgSecret",
    params(("org" = String, Path, description = "Id or short name"), ("secret" = String, Path, description = "Its id"), ("If-Match" = Option<String>, Header, description = "The ETag of the secret that the change was made from: refused with `conflict` where it was changed since.")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete_org(
    auth: Proved<may::SecretsManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    delete(&state, auth.actor(), Of::Org, &segments, &request).await
}

/// Gives a secret a new value. Running runs take it at their next call.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/secrets/{secret}/rotate", tag = "secrets", operation_id = "rotateOrgSecret",
    params(("org" = String, Path, description = "Id or short name"), ("secret" = String, Path, description = "Its id"), ("If-Match" = Option<String>, Header, description = "The ETag of the secret that the change was made from: refused with `conflict` where it was changed since."), ("Idempotency-Key" = Option<String>, Header, description = "At most 255 characters. The same key with the same body answers as the first time, for 24 hours.")),
    request_body = ValueBody,
    responses(
        (status = 200, description = "The secret as it is now", body = SecretBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn rotate_org(
    auth: Proved<may::SecretsManage>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<ValueBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    rotate(&state, auth.actor(), Of::Org, &segments, body.value, &request).await
}

/// Destroys the value of an earlier version of a secret.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/secrets/{secret}/versions/{version}", tag = "secrets", operation_id = "destroyOrgSecretVersion",
    params(("org" = String, Path, description = "Id or short name"), ("secret" = String, Path, description = "Its id"), ("version" = u32, Path, description = "From 1")),
    responses(
        (status = 204, description = "It is destroyed"),
        (status = "default", description = "A problem; `conflict` for the version that is sent", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn destroy_org(
    auth: Proved<may::SecretsManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    destroy(&state, auth.actor(), Of::Org, &segments, &request).await
}

/// Lists a workspace’s own secrets by name. Nobody sees their values.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/workspaces/{workspace}/secrets", tag = "secrets", operation_id = "listWorkspaceSecrets",
    params(("org" = String, Path, description = "Id or short name"), ("workspace" = String, Path, description = "Id or short name"), ListQuery),
    responses(
        (status = 200, description = "A page of secrets", body = Page<SecretBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list_workspace(
    auth: Authorized<may::SecretsRead>,
    state: web::Data<State>,
    query: Query<ListQuery>,
) -> Result<HttpResponse, Problem> {
    list(&state, auth.actor(), Of::Workspace, query.0).await
}

/// Makes a secret for a workspace’s own agents.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/workspaces/{workspace}/secrets", tag = "secrets", operation_id = "createWorkspaceSecret",
    params(("org" = String, Path, description = "Id or short name"), ("workspace" = String, Path, description = "Id or short name"), ("Idempotency-Key" = Option<String>, Header, description = "At most 255 characters. The same key with the same body answers as the first time, for 24 hours.")),
    request_body = NewBody,
    responses(
        (status = 201, description = "The secret, with its ETag", body = SecretBody),
        (status = "default", description = "A problem; `already_exists` where the name is taken", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create_workspace(
    auth: Proved<may::SecretsManage>,
    state: web::Data<State>,
    body: Json<NewBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    create(&state, auth.actor(), Of::Workspace, body.value, &request).await
}

/// Shows a secret and its versions; not its value.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/workspaces/{workspace}/secrets/{secret}", tag = "secrets", operation_id = "getWorkspaceSecret",
    params(("org" = String, Path, description = "Id or short name"), ("workspace" = String, Path, description = "Id or short name"), ("secret" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "The secret, with its ETag", body = WholeBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show_workspace(
    auth: Authorized<may::SecretsRead>,
    state: web::Data<State>,
    segments: Segments,
) -> Result<HttpResponse, Problem> {
    show(&state, auth.actor(), Of::Workspace, &segments).await
}

/// Changes the note of a secret, or who may send it where.
#[utoipa::path(
    patch, path = "/api/v1/orgs/{org}/workspaces/{workspace}/secrets/{secret}", tag = "secrets", operation_id = "changeWorkspaceSecret",
    params(("org" = String, Path, description = "Id or short name"), ("workspace" = String, Path, description = "Id or short name"), ("secret" = String, Path, description = "Its id"), ("If-Match" = Option<String>, Header, description = "The ETag of the secret that the change was made from: refused with `conflict` where it was changed since.")),
    request_body = ChangeBody,
    responses(
        (status = 200, description = "The secret as it is now", body = SecretBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn change_workspace(
    auth: Proved<may::SecretsManage>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<ChangeBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    change(&state, auth.actor(), Of::Workspace, &segments, body.value, &request).await
}

/// Removes a secret with all its versions.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/workspaces/{workspace}/secrets/{secret}", tag = "secrets", operation_id = "deleteWorkspaceSecret",
    params(("org" = String, Path, description = "Id or short name"), ("workspace" = String, Path, description = "Id or short name"), ("secret" = String, Path, description = "Its id"), ("If-Match" = Option<String>, Header, description = "The ETag of the secret that the change was made from: refused with `conflict` where it was changed since.")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete_workspace(
    auth: Proved<may::SecretsManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    delete(&state, auth.actor(), Of::Workspace, &segments, &request).await
}

/// Gives a secret a new value. Running runs take it at their next call.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/workspaces/{workspace}/secrets/{secret}/rotate", tag = "secrets", operation_id = "rotateWorkspaceSecret",
    params(("org" = String, Path, description = "Id or short name"), ("workspace" = String, Path, description = "Id or short name"), ("secret" = String, Path, description = "Its id"), ("If-Match" = Option<String>, Header, description = "The ETag of the secret that the change was made from: refused with `conflict` where it was changed since."), ("Idempotency-Key" = Option<String>, Header, description = "At most 255 characters. The same key with the same body answers as the first time, for 24 hours.")),
    request_body = ValueBody,
    responses(
        (status = 200, description = "The secret as it is now", body = SecretBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn rotate_workspace(
    auth: Proved<may::SecretsManage>,
    state: web::Data<State>,
    segments: Segments,
    body: Json<ValueBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    rotate(&state, auth.actor(), Of::Workspace, &segments, body.value, &request).await
}

/// Destroys the value of an earlier version of a secret.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/workspaces/{workspace}/secrets/{secret}/versions/{version}", tag = "secrets", operation_id = "destroyWorkspaceSecretVersion",
    params(("org" = String, Path, description = "Id or short name"), ("workspace" = String, Path, description = "Id or short name"), ("secret" = String, Path, description = "Its id"), ("version" = u32, Path, description = "From 1")),
    responses(
        (status = 204, description = "It is destroyed"),
        (status = "default", description = "A problem; `conflict` for the version that is sent", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn destroy_workspace(
    auth: Proved<may::SecretsManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    destroy(&state, auth.actor(), Of::Workspace, &segments, &request).await
}
