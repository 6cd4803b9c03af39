//! `/settings/workspaces`: the workspaces of the organization.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::organization::{is_mistake, wrong_with};
use crate::domain::permission::Permission;
use crate::services::Error;
use crate::services::orgs::Rename;
use crate::services::workspaces::{self, Workspace};
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::paging::Query;
use crate::web::extract::{Authorized, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::keys::words_of;
use crate::web::pages::view::{Shell, When};
use crate::web::pages::{filters, html, html_of, may, see_other, settings_shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const PATH: &str = "/settings/workspaces";

#[derive(Template)]
#[template(path = "pages/settings/workspaces.html")]
struct WorkspacesPage {
    shell: Shell,
    org: String,
    workspaces: Vec<WorkspaceRow>,
    may_manage: bool,
    edited: Option<Edited>,
    new: Names,
}

struct WorkspaceRow {
    id: String,
    slug: String,
    name: String,
    made: When,
    current: bool,
}

/// The workspace that is being changed.
struct Edited {
    id: String,
    /// As it is stored; what is typed to delete it.
    slug: String,
    name: String,
    names: Names,
    delete_error: String,
    is_only: bool,
}

/// Names in a form, with what is wrong with them.
#[derive(Default)]
struct Names {
    slug: String,
    name: String,
    slug_error: String,
    name_error: String,
}

impl Names {
    fn wrong(form: &Form, problem: &Problem) -> Self {
        let slug_error = wrong_with(problem, "/slug");
        Self {
            slug: form.text("slug").to_owned(),
            name: form.text("name").to_owned(),
            slug_error: if problem.errors.is_empty() { words_of(problem) } else { slug_error },
            name_error: wrong_with(problem, "/name"),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    /// The workspace to change, by id or short name.
    edit: String,
}

/// What the page has to say besides what is stored.
#[derive(Default)]
struct Said {
    /// The workspace to change.
    edit: String,
    new: Names,
    names: Option<Names>,
    delete_error: String,
}

/// `GET /settings/workspaces`
pub async fn show(
    auth: Authorized<permission::OrgRead>,
    state: web::Data<State>,
    query: Query<Choice>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let said = Said {
        edit: query.0.edit,
        ..Said::default()
    };
    html(&page(&auth.known, &state, &request, said).await?)
}

/// `POST /settings/workspaces`
pub async fn create(
    auth: Authorized<permission::OrgManage>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (slug, name) = (form.text("slug"), form.text("name"));
    let done = workspaces::create(&state.app, auth.actor(), slug, name, Context::origin(&request)).await;
    let said = |problem: &Problem| Said {
        new: Names::wrong(&form, problem),
        ..Said::default()
    };
    done_or(&auth.known, &state, &request, done.map(drop), "workspace-created", said).await
}

/// `POST /settings/workspaces/{workspace}`
pub async fn rename(
    auth: Authorized<permission::OrgManage>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let edit = segments.text("workspace");
    let rename = Rename {
        slug: Some(form.text("slug").to_owned()),
        name: Some(form.text("name").to_owned()),
    };
    let done = workspaces::rename(&state.app, auth.actor(), edit, rename, Context::origin(&request)).await;
    let said = |problem: &Problem| Said {
        edit: edit.to_owned(),
        names: Some(Names::wrong(&form, problem)),
        ..Said::default()
    };
    done_or(&auth.known, &state, &request, done.map(drop), "saved", said).await
}

/// `POST /settings/workspaces/{workspace}/delete`
pub async fn delete(
    auth: Authorized<permission::OrgManage>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let edit = segments.text("workspace");
    let done = workspaces::delete(&state.app, auth.actor(), edit, form.text("confirm"), Context::origin(&request)).await;
    let said = |problem: &Problem| Said {
        edit: edit.to_owned(),
        delete_error: words_of(problem),
        ..Said::default()
    };
    done_or(&auth.known, &state, &request, done, "workspace-deleted", said).await
}

async fn done_or(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    done: Result<(), Error>,
    word: &str,
    said: impl FnOnce(&Problem) -> Said,
) -> Result<HttpResponse, Problem> {
    match done {
        Ok(()) => Ok(see_other(format!("{PATH}?done={word}"))),
        Err(error) if is_mistake(&error) && !matches!(error, Error::NotFound(_)) => {
            let problem = Problem::from(error);
            let said = said(&problem);
            html_of(&problem, &page(known, state, request, said).await?)
        }
        Err(error) => Err(error.into()),
    }
}

async fn page(known: &Known, state: &State, request: &HttpRequest, said: Said) -> Result<WorkspacesPage, Problem> {
    let actor = &known.actor;
    let now = state.app.clock.now();
    let found = workspaces::list(&state.app, actor).await?;
    let may_manage = may(actor, Permission::OrgManage);
    let is_edited = |workspace: &&Workspace| may_manage && (workspace.slug == said.edit || workspace.id.to_string() == said.edit);
    let edited = found.iter().find(is_edited).map(|workspace| Edited {
        id: workspace.id.to_string(),
        slug: workspace.slug.clone(),
        name: workspace.name.clone(),
        names: said.names.unwrap_or_else(|| Names {
            slug: workspace.slug.clone(),
            name: workspace.name.clone(),
            ..Names::default()
        }),
        delete_error: said.delete_error,
        is_only: found.len() == 1,
    });
    let row = |workspace: &Workspace| WorkspaceRow {
        id: workspace.id.to_string(),
        slug: workspace.slug.clone(),
        name: workspace.name.clone(),
        made: When::new(workspace.created_at, now),
        current: workspace.id == actor.workspace,
    };
    Ok(WorkspacesPage {
        shell: settings_shell(state, request, known, "Workspaces", PATH),
        org: actor.org.to_string(),
        workspaces: found.iter().map(row).collect(),
        may_manage,
        edited,
        new: said.new,
    })
}
