//! `/station/orgs`: every organization, its plan, and taking deletions back.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use crate::domain::plan::Plan;
use crate::services::Error;
use crate::services::orgs::{self, NewOrg, Overseen, RUNS_COUNTED_MAX};
use crate::web::api::Segments;
use crate::web::api::orgs::plan;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::paging::{Page, Query};
use crate::web::extract::{Authorized, Proved, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::keys::words_of;
use crate::web::pages::view::{Shell, When};
use crate::web::pages::{filters, html, html_of, page_links, see_other, settings_shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const PATH: &str = "/station/orgs";
const ROWS: u32 = 50;

#[derive(Template)]
#[template(path = "pages/station/orgs.html")]
struct OrgsPage {
    shell: Shell,
    orgs: Vec<OrgRow>,
    new: Names,
    plans: Vec<PlanChoice>,
    error: Option<String>,
    next: Option<String>,
    first: Option<String>,
}

struct OrgRow {
    id: String,
    slug: String,
    name: String,
    plans: Vec<PlanChoice>,
    members: u32,
    runs: u32,
    /// Whether there are more runs than were counted.
    more_runs: bool,
    running: u32,
    stored_bytes: u64,
    /// When everything in it is deleted.
    purge: Option<When>,
}

struct PlanChoice {
    code: &'static str,
    selected: bool,
}

/// A new organization as it was typed, with what is wrong with it.
#[derive(Default)]
struct Names {
    slug: String,
    name: String,
    owner: String,
    plan: Option<Plan>,
    slug_error: String,
    name_error: String,
    owner_error: String,
}

fn plans(selected: Plan) -> Vec<PlanChoice> {
    Plan::ALL
        .iter()
        .map(|&plan| PlanChoice {
            code: plan.as_str(),
            selected: plan == selected,
        })
        .collect()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    cursor: String,
}

/// `GET /station/orgs`
pub async fn show(
    auth: Authorized<permission::StationManage>,
    state: web::Data<State>,
    query: Query<Choice>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    html(&page(&auth.known, &state, &request, &query.0.cursor, Names::default(), None).await?)
}

/// `POST /station/orgs`
pub async fn create(
    auth: Proved<permission::StationManage>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let text = |name: &str| form.text(name).to_owned();
    let wanted = plan(form.text("plan"))?;
    let new = NewOrg {
        slug: text("slug"),
        name: text("name"),
        plan: wanted,
        owner: Some(text("owner")),
    };
    match orgs::create(&state.app, auth.actor(), new, Context::origin(&request)).await {
        Ok(_) => Ok(see_other(format!("{PATH}?done=org-created"))),
        Err(error @ (Error::Invalid(_) | Error::AlreadyExists(_))) => {
            let problem = Problem::from(error);
            let wrong = |pointer: &str| {
                let about = problem.errors.iter().filter(|place| place.pointer.as_deref() == Some(pointer));
                about.map(|place| place.message.clone()).collect::<Vec<_>>().join(" ")
            };
            let names = Names {
                slug: text("slug"),
                name: text("name"),
                owner: text("owner"),
                plan: Some(wanted),
                slug_error: if problem.errors.is_empty() {
                    words_of(&problem)
                } else {
                    wrong("/slug")
                },
                name_error: wrong("/name"),
                owner_error: wrong("/owner"),
            };
            html_of(&problem, &page(&auth.known, &state, &request, "", names, None).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /station/orgs/{org}/plan`
pub async fn change_plan(
    auth: Proved<permission::StationManage>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let org = segments.text("org").to_owned();
    orgs::change_plan(&state.app, auth.actor(), org, plan(form.text("plan"))?, Context::origin(&request)).await?;
    Ok(see_other(format!("{PATH}?done=plan-changed")))
}

/// `POST /station/orgs/{org}/restore`
pub async fn restore(
    auth: Proved<permission::StationManage>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let org = segments.text("org").to_owned();
    match orgs::restore(&state.app, auth.actor(), org, Context::origin(&request)).await {
        Ok(_) => Ok(see_other(format!("{PATH}?done=org-restored"))),
        Err(error @ Error::Conflict(_)) => {
            let problem = Problem::from(error);
            let words = words_of(&problem);
            html_of(
                &problem,
                &page(&auth.known, &state, &request, "", Names::default(), Some(words)).await?,
            )
        }
        Err(error) => Err(error.into()),
    }
}

async fn page(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    cursor: &str,
    new: Names,
    error: Option<String>,
) -> Result<OrgsPage, Problem> {
    let now = state.app.clock.now();
    let found = orgs::all(&state.app, &known.actor, cursor.to_owned(), ROWS + 1).await?;
    let page = Page::cut(found, ROWS, |overseen| overseen.org.slug.clone());
    let (next, first) = page_links(PATH, &[], page.next.as_deref(), cursor.is_empty());
    let row = |overseen: Overseen| OrgRow {
        id: overseen.org.id.to_string(),
        slug: overseen.org.slug,
        name: overseen.org.name,
        plans: plans(overseen.org.plan),
        members: overseen.members,
        more_runs: overseen.runs >= RUNS_COUNTED_MAX,
        runs: overseen.runs,
        running: overseen.running,
        stored_bytes: overseen.org.stored_bytes,
        purge: overseen.org.purge_at.map(|at| When::new(at, now)),
    };
    Ok(OrgsPage {
        shell: settings_shell(state, request, known, "Organizations", PATH),
        plans: plans(new.plan.unwrap_or(Plan::Free)),
        orgs: page.items.into_iter().map(row).collect(),
        new,
        error,
        next,
        first,
    })
}
