//! Secrets of organizations and of workspaces: names, bindings, versions. Values are sent here and never come back.

mod bodies;

use actix_web::{HttpRequest, HttpResponse, web};

use self::bodies::value_of;
pub use self::bodies::{BindingBody, ChangeBody, ListQuery, NewBody, SecretBody, ValueBody, VersionBody, WholeBody};
use super::Segments;
use super::if_match::{expected, tag};
use crate::domain::id::SecretId;
use crate::domain::permission::Actor;
use crate::domain::secret::Binding;
use crate::services::secrets::{self, Change, Info, NewSecret, Of};
use crate::web::context::Context;
use crate::web::extract::body::Json;
use crate::web::extract::form::check_header_token;
use crate::web::extract::paging::{Page, Query, limit};
use crate::web::extract::{Authorized, Proved, may};
use crate::web::problem::Problem;
use crate::web::state::State;

fn id_of(segments: &Segments) -> Result<SecretId, Problem> {
    segments.text("secret").parse().map_err(|_| Problem::not_found())
}

fn tagged(info: Info, mut response: actix_web::HttpResponseBuilder) -> HttpResponse {
    response.insert_header(tag(info.version)).json(SecretBody::from(info))
}

async fn list(state: &State, actor: &Actor, of: Of, query: ListQuery) -> Result<HttpResponse, Problem> {
    let limit = limit(query.limit)?;
    if query.cursor.as_ref().is_some_and(String::is_empty) {
        return Err(Problem::invalid("/cursor", "this is no cursor of ours"));
    }
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
    Ok(HttpResponse::Ok().insert_header(tag(info.version)).json(WholeBody {
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
