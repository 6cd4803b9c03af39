//! `/settings/budgets`: what may be spent, how it stands, and the runs that wait for money.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use crate::domain::budget::{BudgetScope, OnExhausted, Period};
use crate::domain::id::BudgetId;
use crate::domain::permission::{Actor, Permission};
use crate::services::budgets::{self, BUDGETS_MAX, Change, NewBudget, Shown};
use crate::services::{Error, agents, keys, users, workspaces};
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::paging::Query;
use crate::web::extract::{Authorized, Proved, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::costs::{ZONES, in_dollars, micros_of};
use crate::web::pages::keys::words_of;
use crate::web::pages::view::{Shell, When};
use crate::web::pages::{filters, html, html_of, may, see_other, settings_shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const PATH: &str = "/settings/budgets";
/// Agents, and keys, that can be chosen on the page; the API takes any.
const CHOICES: u32 = 200;
/// Width of a standing's drawing.
const WIDTH: u64 = 1_000;

#[derive(Template)]
#[template(path = "pages/settings/budgets.html")]
struct BudgetsPage {
    shell: Shell,
    budgets: Vec<Row>,
    may_manage: bool,
    covers: Vec<Group>,
    zones: [&'static str; 12],
    form: Fields,
    new_error: String,
}

struct Row {
    id: String,
    name: String,
    covers: String,
    period: &'static str,
    on_exhausted: &'static str,
    limit: String,
    spent: String,
    reserved: Option<String>,
    left: String,
    percent: u32,
    raised: Option<(String, When)>,
    ends: Option<String>,
    held: u32,
    version: u32,
    bar: Standing,
    raise: RaiseFields,
    raises: bool,
    fields: Fields,
    changes: bool,
    /// Of what was tried with it, where it is about no field.
    error: String,
}

/// Widths in thousandths.
struct Standing {
    spent: u64,
    reserved: u64,
    /// Where the limit is.
    edge: u64,
    is_full: bool,
}

/// Things that a budget can cover, of one kind.
struct Group {
    word: &'static str,
    choices: Vec<Choice>,
}

struct Choice {
    value: String,
    name: String,
}

/// A budget's form as it is filled in.
#[derive(Clone, Debug, Default)]
struct Fields {
    name: String,
    covers: String,
    limit: String,
    period: String,
    zone: String,
    on_exhausted: String,
    name_error: String,
    covers_error: String,
    limit_error: String,
    zone_error: String,
}

/// A raise as it is filled in.
#[derive(Clone, Debug, Default)]
struct RaiseFields {
    amount: String,
    hours: String,
    amount_error: String,
    hours_error: String,
}

/// Which of the page's forms something is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    New,
    Change(BudgetId),
    Raise(BudgetId),
    /// The budget, and none of its forms.
    Budget(BudgetId),
}

/// A form that is shown again, with what is wrong with it.
#[derive(Default)]
struct Said {
    at: Option<At>,
    form: Fields,
    raise: RaiseFields,
    error: String,
}

/// What is wrong with one of these fields, as a sentence.
fn wrong_with(problem: &Problem, pointers: &[&str]) -> String {
    let about = problem.errors.iter();
    let about = about.filter(|place| place.pointer.as_deref().is_some_and(|pointer| pointers.contains(&pointer)));
    let sentence = |text: &str| {
        let mut letters = text.chars();
        let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
        format!("{first}{}.", letters.as_str().trim_end_matches('.'))
    };
    about.map(|place| sentence(&place.message)).collect::<Vec<_>>().join(" ")
}

impl Said {
    fn wrong(at: At, mut form: Fields, mut raise: RaiseFields, problem: &Problem) -> Self {
        form.name_error = wrong_with(problem, &["/name"]);
        form.covers_error = wrong_with(problem, &["/covers", "/scope", "/target"]);
        form.limit_error = wrong_with(problem, &["/limit", "/limit_micros"]);
        form.zone_error = wrong_with(problem, &["/time_zone"]);
        raise.amount_error = wrong_with(problem, &["/amount", "/raise_micros", "/micros"]);
        raise.hours_error = wrong_with(problem, &["/for", "/until"]);
        let told = match at {
            At::New | At::Change(_) => [&form.name_error, &form.covers_error, &form.limit_error, &form.zone_error]
                .iter()
                .any(|error| !error.is_empty()),
            At::Raise(_) => !raise.amount_error.is_empty() || !raise.hours_error.is_empty(),
            At::Budget(_) => false,
        };
        Self {
            at: Some(at),
            form,
            raise,
            error: if told { String::new() } else { words_of(problem) },
        }
    }
}

impl Fields {
    fn read(form: &Form) -> Self {
        let text = |name: &str| form.text(name).to_owned();
        Self {
            name: text("name"),
            covers: text("covers"),
            limit: text("limit"),
            period: text("period"),
            zone: text("zone"),
            on_exhausted: text("on_exhausted"),
            ..Self::default()
        }
    }

    fn budget(&self) -> Result<NewBudget, Error> {
        let (scope, target) = self.covers.split_once(':').unwrap_or((&self.covers, ""));
        let choose = |pointer: &str| Error::field(pointer, "choose one of the list.");
        Ok(NewBudget {
            name: self.name.clone(),
            scope: BudgetScope::parse(scope).ok_or_else(|| choose("/covers"))?,
            target: target.to_owned(),
            limit_micros: amount("/limit", &self.limit)?,
            period: Period::parse(&self.period).ok_or_else(|| choose("/period"))?,
            time_zone: if self.zone.is_empty() {
                "UTC".to_owned()
            } else {
                self.zone.clone()
            },
            on_exhausted: OnExhausted::parse(&self.on_exhausted).ok_or_else(|| choose("/on_exhausted"))?,
        })
    }
}

fn amount(pointer: &str, text: &str) -> Result<u64, Error> {
    micros_of(text).ok_or_else(|| Error::field(pointer, format!("{text:?} is no amount: write dollars, such as 10 or 2.50.")))
}

/// What a link to the page asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The budget that is to be raised.
    raise: String,
}

/// `GET /settings/budgets`
pub async fn show(
    auth: Authorized<permission::CostsRead>,
    state: web::Data<State>,
    query: Query<Asked>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let said = Said {
        at: query.0.raise.parse().ok().map(At::Raise),
        ..Said::default()
    };
    html(&page(&auth.known, &state, &request, said).await?)
}

/// `POST /settings/budgets`: makes a budget.
pub async fn create(
    auth: Proved<permission::BudgetsManage>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let fields = Fields::read(&form);
    let made = match fields.budget() {
        Ok(new) => budgets::create(&state.app, auth.actor(), new, Context::origin(&request)).await,
        Err(error) => Err(error),
    };
    let said = |problem: &Problem| Said::wrong(At::New, fields, RaiseFields::default(), problem);
    done_or(&auth.known, &state, &request, made.map(drop), "budget-made", said).await
}

/// `POST /settings/budgets/{budget}`: changes a budget.
pub async fn change(
    auth: Proved<permission::BudgetsManage>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = named(&segments)?;
    let fields = Fields::read(&form);
    let done = match fields.budget() {
        Ok(new) => {
            let change = Change {
                name: Some(new.name),
                scope: Some(new.scope),
                target: Some(new.target),
                limit_micros: Some(new.limit_micros),
                period: Some(new.period),
                time_zone: Some(new.time_zone),
                on_exhausted: Some(new.on_exhausted),
            };
            let version = form.text("version").parse().ok();
            budgets::change(&state.app, auth.actor(), id, change, version, Context::origin(&request)).await
        }
        Err(error) => Err(error),
    };
    let said = |problem: &Problem| Said::wrong(At::Change(id), fields, RaiseFields::default(), problem);
    done_or(&auth.known, &state, &request, done.map(drop), "saved", said).await
}

/// `POST /settings/budgets/{budget}/raise`: more for a time; an empty amount takes an earlier raise back.
pub async fn raise(
    auth: Proved<permission::BudgetsManage>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (id, actor) = (named(&segments)?, auth.actor());
    let now = state.app.clock.now();
    let shown = budgets::get(&state.app, actor, id).await?;
    let until = match form.text("for") {
        "window" => shown.window.ends,
        hours => hours
            .parse()
            .ok()
            .map(|hours: u64| now.plus(Duration::from_secs(hours.saturating_mul(3_600)))),
    };
    let micros = if form.text("amount").is_empty() {
        Ok(0)
    } else {
        amount("/amount", form.text("amount"))
    };
    let done = match (micros, until) {
        (Ok(0), _) => budgets::raise(&state.app, actor, id, (0, now), None, Context::origin(&request)).await,
        (Ok(micros), Some(until)) => budgets::raise(&state.app, actor, id, (micros, until), None, Context::origin(&request)).await,
        (Ok(_), None) => Err(Error::field(
            "/for",
            "this budget never begins anew: choose for how long it is raised.",
        )),
        (Err(error), _) => Err(error),
    };
    let fields = RaiseFields {
        amount: form.text("amount").to_owned(),
        hours: form.text("for").to_owned(),
        ..RaiseFields::default()
    };
    let said = |problem: &Problem| Said::wrong(At::Raise(id), Fields::default(), fields, problem);
    done_or(&auth.known, &state, &request, done.map(drop), "budget-raised", said).await
}

/// `POST /settings/budgets/{budget}/remove`
pub async fn remove(
    auth: Proved<permission::BudgetsManage>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = named(&segments)?;
    let done = budgets::remove(&state.app, auth.actor(), id, None, Context::origin(&request)).await;
    done_or(&auth.known, &state, &request, done, "budget-removed", about(id)).await
}

/// `POST /settings/budgets/{budget}/resume`: the runs that wait for it ask again.
pub async fn resume(
    auth: Proved<permission::BudgetsManage>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = named(&segments)?;
    let done = budgets::resume_held(&state.app, auth.actor(), id, Context::origin(&request)).await;
    done_or(&auth.known, &state, &request, done.map(drop), "held-resumed", about(id)).await
}

/// `POST /settings/budgets/{budget}/cancel`: the runs that wait for it are stopped.
pub async fn cancel(
    auth: Proved<permission::BudgetsManage>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = named(&segments)?;
    let done = budgets::cancel_held(&state.app, auth.actor(), id, Context::origin(&request)).await;
    done_or(&auth.known, &state, &request, done.map(drop), "held-cancelled", about(id)).await
}

fn named(segments: &Segments) -> Result<BudgetId, Problem> {
    segments.text("budget").parse().map_err(|_| Problem::not_found())
}

fn about(id: BudgetId) -> impl FnOnce(&Problem) -> Said {
    move |problem| Said::wrong(At::Budget(id), Fields::default(), RaiseFields::default(), problem)
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
        Err(error @ (Error::Invalid(_) | Error::Conflict(_) | Error::TooLarge(_))) => {
            let problem = Problem::from(error);
            html_of(&problem, &page(known, state, request, said(&problem)).await?)
        }
        Err(error) => Err(error.into()),
    }
}

const fn scope_word(scope: BudgetScope) -> &'static str {
    match scope {
        BudgetScope::Org => "The whole organization",
        BudgetScope::Workspace => "Workspace",
        BudgetScope::Agent => "Agent",
        BudgetScope::Principal => "Runs of",
        BudgetScope::Key => "API key",
    }
}

const fn period_word(period: Period) -> &'static str {
    match period {
        Period::Day => "a day",
        Period::Week => "a week",
        Period::Month => "a month",
        Period::Once => "in all",
    }
}

fn row(state: &State, shown: Shown) -> Row {
    let now = state.app.clock.now();
    let Shown {
        budget,
        target_name,
        window,
        standing,
        held,
    } = shown;
    let whole = standing
        .limit_micros
        .max(standing.spent_micros.saturating_add(standing.reserved_micros))
        .max(1);
    let share = |micros: u64| u64::try_from(u128::from(micros) * u128::from(WIDTH) / u128::from(whole)).unwrap_or(WIDTH);
    let zone = crate::domain::budget::zone(&budget.time_zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let by_clock = |at: crate::domain::time::Timestamp| {
        jiff::Timestamp::from_millisecond(at.as_ms()).map_or_else(
            |_| at.to_string(),
            |at| format!("{} ({})", at.to_zoned(zone.clone()).strftime("%-d %b %Y, %H:%M"), budget.time_zone),
        )
    };
    let covers = match budget.scope {
        BudgetScope::Org => scope_word(budget.scope).to_owned(),
        scope if target_name.is_empty() => format!("{} that is gone", scope_word(scope)),
        scope => format!("{} {target_name}", scope_word(scope)),
    };
    Row {
        covers,
        period: period_word(budget.period),
        on_exhausted: match budget.on_exhausted {
            OnExhausted::Hold => "runs wait when it is used up",
            OnExhausted::Fail => "calls fail when it is used up",
        },
        limit: in_dollars(standing.limit_micros),
        spent: filters::dollars(standing.spent_micros),
        reserved: (standing.reserved_micros > 0).then(|| filters::dollars(standing.reserved_micros)),
        left: filters::dollars(standing.left_micros()),
        percent: standing.percent(),
        raised: budget
            .raise_until
            .filter(|until| *until > now)
            .map(|until| (in_dollars(budget.raise_micros), When::new(until, now))),
        ends: window.ends.map(by_clock),
        held,
        version: budget.version,
        bar: Standing {
            spent: share(standing.spent_micros),
            reserved: share(standing.reserved_micros),
            edge: share(standing.limit_micros),
            is_full: standing.percent() >= 100,
        },
        fields: Fields {
            name: budget.name.clone(),
            covers: format!("{}:{}", budget.scope, budget.target),
            limit: in_dollars(budget.limit_micros).trim_start_matches('$').to_owned(),
            period: budget.period.to_string(),
            zone: budget.time_zone.clone(),
            on_exhausted: budget.on_exhausted.to_string(),
            ..Fields::default()
        },
        raise: RaiseFields::default(),
        raises: false,
        changes: false,
        error: String::new(),
        id: budget.id.to_string(),
        name: budget.name,
    }
}

/// All that a budget can cover, as far as the actor can see it.
async fn covers(state: &State, actor: &Actor) -> Result<Vec<Group>, Problem> {
    let app = &state.app;
    let choice = |scope: BudgetScope, id: String, name: String| Choice {
        value: format!("{scope}:{id}"),
        name,
    };
    let mut groups = vec![Group {
        word: "Everything",
        choices: vec![choice(BudgetScope::Org, String::new(), "The whole organization".to_owned())],
    }];
    let spaces = workspaces::list(app, actor).await?;
    groups.push(Group {
        word: "A workspace",
        choices: spaces
            .into_iter()
            .map(|space| choice(BudgetScope::Workspace, space.id.to_string(), space.name))
            .collect(),
    });
    let found = agents::list(app, actor, None, None, CHOICES).await?;
    groups.push(Group {
        word: "An agent of this workspace",
        choices: found
            .into_iter()
            .map(|one| choice(BudgetScope::Agent, one.agent.id.to_string(), one.agent.name))
            .collect(),
    });
    let people = users::names(app, actor.org).await?;
    groups.push(Group {
        word: "Runs that somebody starts",
        choices: people
            .into_iter()
            .map(|(id, name)| choice(BudgetScope::Principal, id.to_string(), name))
            .collect(),
    });
    if may(actor, Permission::KeysManage) {
        let found = keys::list_all(app, actor, None, CHOICES).await?;
        groups.push(Group {
            word: "An API key",
            choices: found
                .into_iter()
                .map(|key| choice(BudgetScope::Key, key.id.clone(), format!("{} ({})", key.name, key.principal_name)))
                .collect(),
        });
    }
    groups.retain(|group| !group.choices.is_empty());
    Ok(groups)
}

async fn page(known: &Known, state: &State, request: &HttpRequest, said: Said) -> Result<BudgetsPage, Problem> {
    let actor = &known.actor;
    let may_manage = may(actor, Permission::BudgetsManage);
    let found = budgets::list(&state.app, actor, None, BUDGETS_MAX).await?;
    let Said { at, form, raise, error } = said;
    let with_said = |shown: Shown| {
        let id = shown.budget.id;
        let mut row = row(state, shown);
        row.raises = at == Some(At::Raise(id));
        row.changes = at == Some(At::Change(id));
        if row.raises {
            row.raise = raise.clone();
        }
        if row.changes {
            row.fields = form.clone();
        }
        if row.raises || row.changes || at == Some(At::Budget(id)) {
            row.error.clone_from(&error);
        }
        row
    };
    let is_new = at == Some(At::New);
    Ok(BudgetsPage {
        shell: settings_shell(state, request, known, "Budgets", PATH),
        budgets: found.into_iter().map(with_said).collect(),
        may_manage,
        covers: if may_manage { covers(state, actor).await? } else { Vec::new() },
        zones: ZONES,
        new_error: if is_new { error } else { String::new() },
        form: if is_new { form } else { Fields::default() },
    })
}

/// A budget that is used up, or that runs wait for: shown where people look.
pub struct Banner {
    pub id: String,
    pub name: String,
    pub spent: String,
    pub limit: String,
    pub is_full: bool,
    pub held: u32,
    pub may_manage: bool,
}

/// The budgets that need somebody, for the pages that people look at.
pub async fn banners(state: &State, actor: &Actor) -> Result<Vec<Banner>, Problem> {
    /// More than these say nothing new.
    const MOST: usize = 3;
    if !may(actor, Permission::CostsRead) {
        return Ok(Vec::new());
    }
    let may_manage = may(actor, Permission::BudgetsManage);
    let found = budgets::list(&state.app, actor, None, BUDGETS_MAX).await?;
    let needy = found.into_iter().filter(|shown| shown.standing.percent() >= 100 || shown.held > 0);
    let banner = |shown: Shown| Banner {
        id: shown.budget.id.to_string(),
        name: shown.budget.name,
        spent: filters::dollars(shown.standing.spent_micros),
        limit: in_dollars(shown.standing.limit_micros),
        is_full: shown.standing.percent() >= 100,
        held: shown.held,
        may_manage,
    };
    Ok(needy.take(MOST).map(banner).collect())
}
