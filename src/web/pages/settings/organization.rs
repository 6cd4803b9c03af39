//! `/settings`: the organization's names, plan and owner, leaving it and deleting it; and `/switch`, where a person can be at work.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::domain::id::PrincipalId;
use crate::domain::permission::{Permission, PrincipalKind, Role};
use crate::services::orgs::{self, Rename};
use crate::services::plans::{self, Usage};
use crate::services::{Error, members};
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::{Authorized, Proved, SignedIn, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::keys::words_of;
use crate::web::pages::view::Shell;
use crate::web::pages::{filters, html, html_of, may, see_other, settings_shell, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const PATH: &str = "/settings";
/// People that the organization can be handed to, on the page; the API takes any.
const PEOPLE: u32 = 500;

#[derive(Template)]
#[template(path = "pages/settings/organization.html")]
struct OrganizationPage {
    shell: Shell,
    name: String,
    slug: String,
    /// As it is stored; what is typed to delete it.
    stored_slug: String,
    plan: String,
    used: Vec<UsedRow>,
    role: &'static str,
    people: Vec<Person>,
    may_manage: bool,
    may_own: bool,
    may_look_after: bool,
    said: Said,
}

/// A line of the table of what the plan includes.
struct UsedRow {
    what: &'static str,
    used: u64,
    limit: u64,
    used_words: String,
    limit_words: String,
}

impl UsedRow {
    fn is_full(&self) -> bool {
        self.used >= self.limit
    }

    /// Where a meter turns to a warning: nine tenths.
    fn high(&self) -> u64 {
        self.limit.saturating_mul(9) / 10
    }
}

struct Person {
    id: String,
    name: String,
}

/// What the page has to say besides what is stored.
#[derive(Default)]
struct Said {
    names: Option<(String, String)>,
    slug_error: String,
    name_error: String,
    transfer_error: String,
    leave_error: String,
    delete_error: String,
}

/// What is wrong with a field of a form; empty where it is right.
pub(super) fn wrong_with(problem: &Problem, pointer: &str) -> String {
    let about = problem.errors.iter().filter(|place| place.pointer.as_deref() == Some(pointer));
    about.map(|place| place.message.as_str()).collect::<Vec<_>>().join(" ")
}

pub(super) fn is_mistake(error: &Error) -> bool {
    matches!(
        error,
        Error::Invalid(_) | Error::AlreadyExists(_) | Error::Conflict(_) | Error::PlanLimit(_) | Error::NotFound(_)
    )
}

/// `GET /settings`
pub async fn show(auth: Authorized<permission::OrgRead>, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    html(&page(&auth.known, &state, &request, Said::default()).await?)
}

/// `POST /settings`
pub async fn rename(
    auth: Authorized<permission::OrgManage>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (name, slug) = (form.text("name").to_owned(), form.text("slug").to_owned());
    let rename = Rename {
        slug: Some(slug.clone()),
        name: Some(name.clone()),
    };
    match orgs::rename(&state.app, auth.actor(), rename, Context::origin(&request)).await {
        Ok(_) => Ok(see_other(format!("{PATH}?done=saved"))),
        Err(error) if is_mistake(&error) => {
            let problem = Problem::from(error);
            let (slug_error, name_error) = (wrong_with(&problem, "/slug"), wrong_with(&problem, "/name"));
            let said = Said {
                names: Some((name, slug)),
                slug_error: if problem.errors.is_empty() {
                    words_of(&problem)
                } else {
                    slug_error
                },
                name_error,
                ..Said::default()
            };
            html_of(&problem, &page(&auth.known, &state, &request, said).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /settings/transfer`
pub async fn transfer(
    auth: Proved<permission::OrgOwn>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let to: Result<PrincipalId, _> = form.text("member").parse();
    let done = match to {
        Ok(to) => orgs::transfer(&state.app, auth.actor(), to, Context::origin(&request)).await,
        Err(_) => Err(Error::field("/member", "Choose who is to be the owner.")),
    };
    let said = |words| Said {
        transfer_error: words,
        ..Said::default()
    };
    done_or(&auth.known, &state, &request, done, format!("{PATH}?done=transferred"), said).await
}

/// `POST /settings/leave`
pub async fn leave(auth: SignedIn, state: web::Data<State>, _form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let done = orgs::leave(&state.app, &auth.0.actor, Context::origin(&request)).await;
    let said = |words| Said {
        leave_error: words,
        ..Said::default()
    };
    done_or(&auth.0, &state, &request, done, "/?done=left".to_owned(), said).await
}

/// `POST /settings/delete`
pub async fn delete(
    auth: Proved<permission::OrgOwn>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let done = orgs::delete(&state.app, auth.actor(), form.text("confirm"), Context::origin(&request)).await;
    let said = |words| Said {
        delete_error: words,
        ..Said::default()
    };
    done_or(&auth.known, &state, &request, done, "/?done=org-deleted".to_owned(), said).await
}

async fn done_or(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    done: Result<(), Error>,
    next: String,
    said: impl FnOnce(String) -> Said,
) -> Result<HttpResponse, Problem> {
    match done {
        Ok(()) => Ok(see_other(next)),
        Err(error) if is_mistake(&error) => {
            let problem = Problem::from(error);
            let words = words_of(&problem);
            html_of(&problem, &page(known, state, request, said(words)).await?)
        }
        Err(error) => Err(error.into()),
    }
}

async fn page(known: &Known, state: &State, request: &HttpRequest, said: Said) -> Result<OrganizationPage, Problem> {
    let actor = &known.actor;
    let org = orgs::get(&state.app, actor).await?;
    let usage = plans::usage(&state.app, actor).await?;
    let may_own = may(actor, Permission::OrgOwn);
    let people = if may_own {
        let found = members::list(&state.app, actor, Some(PrincipalKind::User), None, PEOPLE).await?;
        let others = found.into_iter().filter(|member| member.principal != actor.principal);
        others
            .map(|member| Person {
                id: member.principal.to_string(),
                name: member.name,
            })
            .collect()
    } else {
        Vec::new()
    };
    let (name, slug) = said.names.clone().unwrap_or((org.name, org.slug.clone()));
    Ok(OrganizationPage {
        shell: settings_shell(state, request, known, "Organization", PATH),
        name,
        slug,
        stored_slug: org.slug,
        plan: org.plan.to_string(),
        used: used(&usage),
        role: actor.role.as_str(),
        people,
        may_manage: may(actor, Permission::OrgManage),
        may_own,
        may_look_after: may(actor, Permission::StationManage),
        said,
    })
}

fn used(usage: &Usage) -> Vec<UsedRow> {
    let limits = usage.limits;
    let row = |what, used: u32, limit: u32| UsedRow {
        what,
        used: used.into(),
        limit: limit.into(),
        used_words: filters::with_commas(used.into()),
        limit_words: filters::with_commas(limit.into()),
    };
    vec![
        row("Members, services and open invitations", usage.members, limits.members),
        row("Workspaces", usage.workspaces, limits.workspaces),
        row("Agents", usage.agents, limits.agents),
        row("Runs at one time", usage.running, limits.running),
        row("Runs in the queue", usage.queued, limits.queued),
        UsedRow {
            what: "Stored data",
            used: usage.stored_bytes,
            limit: limits.stored_bytes,
            used_words: filters::size(usage.stored_bytes),
            limit_words: filters::size(limits.stored_bytes),
        },
    ]
}

#[derive(Template)]
#[template(path = "pages/settings/switch.html")]
struct SwitchPage {
    shell: Shell,
    orgs: Vec<OrgChoice>,
}

struct OrgChoice {
    id: String,
    name: String,
    role: Role,
    workspaces: Vec<WorkspaceChoice>,
}

struct WorkspaceChoice {
    id: String,
    name: String,
    current: bool,
}

/// `GET /switch`
pub async fn ask_switch(auth: SignedIn, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let actor = &auth.0.actor;
    let choice = |(org, workspaces): (orgs::OfMember, Vec<orgs::Workspace>)| OrgChoice {
        id: org.id.to_string(),
        name: org.name,
        role: org.role,
        workspaces: workspaces
            .into_iter()
            .map(|workspace| WorkspaceChoice {
                id: workspace.id.to_string(),
                current: workspace.id == actor.workspace,
                name: workspace.name,
            })
            .collect(),
    };
    html(&SwitchPage {
        shell: shell(&state, &request, &auth.0, "Where to work", "switch"),
        orgs: orgs::places(&state.app, actor).await?.into_iter().map(choice).collect(),
    })
}

/// `POST /switch`
pub async fn switch(auth: SignedIn, state: web::Data<State>, form: Form, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let Some(session) = auth.0.session else {
        return Err(Problem::unauthenticated());
    };
    let workspace = Some(form.text("workspace").to_owned()).filter(|name| !name.is_empty());
    let org = form.text("org").to_owned();
    orgs::switch(&state.app, &auth.0.actor, session, org, workspace, Context::origin(&request)).await?;
    Ok(see_other("/?done=switched"))
}
