//! `/settings/policy`: the rules of the organization and of the workspace as sentences. A change is drafted over as many forms as it takes,
//! each of which carries the draft along, and holds once it is stored.

mod editor;
mod trying;
mod versions;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use crate::domain::permission::{Permission, Role};
use crate::domain::policy::{Changed, DEFAULTS, Effect, Rule, Rules, difference};
use crate::services::policy::{self, Of};
use crate::services::{Error, FieldError};
use crate::store::policy::Stored;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::paging::Query;
use crate::web::extract::{Authorized, Proved, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::view::{Shell, When};
use crate::web::pages::{filters, html, html_of, may, see_other, settings_shell};
use crate::web::problem::Problem;
use crate::web::state::State;

pub use versions::show as versions;

use trying::{Tried, Try};

#[derive(Template)]
#[template(path = "pages/settings/policy.html")]
struct PolicyPage {
    shell: Shell,
    of: &'static str,
    may_edit: bool,
    head: Option<Head>,
    rules: Vec<Row>,
    kinds: [(&'static str, &'static str); 7],
    defaults: [&'static str; 6],
    /// The rules shown, as JSON, and the version that they were made from.
    json: String,
    base: u32,
    draft: Option<Draft>,
    tried: Tried,
}

/// Which version holds.
struct Head {
    version: u32,
    by: String,
    at: When,
    note: String,
}

struct Row {
    id: String,
    effect: &'static str,
    words: String,
    note: String,
    /// Why it may never be answered.
    warning: Option<String>,
}

/// A change that is not stored yet.
struct Draft {
    changes: Vec<Line>,
    note: String,
    /// Why it was not stored.
    error: Option<String>,
}

/// A rule of a difference.
pub(super) struct Line {
    /// `gone`, `come` or nothing.
    class: &'static str,
    words: String,
}

/// The kinds of rules, as the page offers them.
const KINDS: [(&str, &str); 7] = [
    ("http", "Requests to hosts"),
    ("model", "Models"),
    ("cost", "Cost"),
    ("tool", "Tools"),
    ("secret", "Secrets"),
    ("agent", "Other agents"),
    ("artifact", "Size of artifacts"),
];

const fn word_of(of: Of) -> &'static str {
    match of {
        Of::Org => "org",
        Of::Workspace => "workspace",
    }
}

fn of_word(word: &str) -> Of {
    if word == "workspace" { Of::Workspace } else { Of::Org }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    of: String,
    #[serde(flatten)]
    trying: Try,
}

/// `GET /settings/policy`
pub async fn show(
    auth: Authorized<permission::PolicyRead>,
    state: web::Data<State>,
    query: Query<Choice>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let choice = query.0;
    let of = of_word(&choice.of);
    let stored = policy::get(&state.app, auth.actor(), of).await?;
    let tried = choice.trying.ask(&state, auth.actor(), of, None).await?;
    let rules = stored.rules.clone();
    let page = page(&auth.known, &state, &request, (of, &stored), &rules, None, tried).await?;
    html(&page)
}

/// `POST /settings/policy`: stores the draft.
pub async fn save(
    auth: Proved<permission::PolicyManage>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let actor = &auth.known.actor;
    let (of, rules, base) = drafted(&form)?;
    let note = form.text("note").to_owned();
    match policy::put(
        &state.app,
        actor,
        of,
        rules.clone(),
        note.clone(),
        Some(base),
        Context::origin(&request),
    )
    .await
    {
        Ok(_) => Ok(see_other(format!("/settings/policy?of={}&done=policy-stored", word_of(of)))),
        Err(error @ (Error::Invalid(_) | Error::Conflict(_))) => {
            let problem = Problem::from(error);
            // Made again from the version that holds now, so that the difference shows what storing it would undo.
            let stored = policy::get(&state.app, actor, of).await?;
            let draft = Draft {
                changes: lines(&stored.rules, &rules),
                note,
                error: Some(words_of(&problem)),
            };
            let page = page(&auth.known, &state, &request, (of, &stored), &rules, Some(draft), Tried::default()).await?;
            html_of(&problem, &page)
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /settings/policy/draft`: does one thing to the draft and shows it. Nothing is stored.
pub async fn draft(
    auth: Proved<permission::PolicyManage>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let actor = &auth.known.actor;
    let (of, mut rules, base) = drafted(&form)?;
    let (verb, object) = form.text("do").split_once(':').unwrap_or((form.text("do"), ""));
    let at = object.parse::<usize>().ok().filter(|&at| at < rules.rules.len());
    let mut tried = Tried::default();
    match (verb, at) {
        ("add", _) if KINDS.iter().any(|(kind, _)| *kind == object) => {
            return html(&editor::page(
                &auth.known,
                &state,
                &request,
                &form,
                editor::Fields::blank(object, &rules),
                None,
            )?);
        }
        ("edit", Some(at)) => {
            let rule = rules.rules.get(at).ok_or_else(Problem::not_found)?;
            return html(&editor::page(
                &auth.known,
                &state,
                &request,
                &form,
                editor::Fields::of(rule),
                Some(at),
            )?);
        }
        ("put", _) => {
            let at = form.text("at").parse::<usize>().ok().filter(|&at| at < rules.rules.len());
            let fields = editor::Fields::read(&form);
            if let Err(problems) = put_rule(&mut rules, at, &fields) {
                let problem = Problem::from(Error::Invalid(problems));
                let page = editor::page(&auth.known, &state, &request, &form, fields.with(&problem), at)?;
                return html_of(&problem, &page);
            }
        }
        ("remove", Some(at)) => drop(rules.rules.remove(at)),
        ("up", Some(at)) if at > 0 => rules.rules.swap(at, at - 1),
        ("down", Some(at)) if at + 1 < rules.rules.len() => rules.rules.swap(at, at + 1),
        ("restore", _) => {
            let version = object.parse().map_err(|_| Problem::not_found())?;
            rules = policy::version(&state.app, actor, of, version).await?.rules;
        }
        ("try", _) => tried = Try::read(&form).ask(&state, actor, of, Some(rules.clone())).await?,
        _ => {}
    }
    let mut stored = policy::get(&state.app, actor, of).await?;
    let draft = Draft {
        changes: lines(&stored.rules, &rules),
        note: form.text("note").to_owned(),
        error: None,
    };
    // Where somebody stores another version meanwhile, saving says so.
    stored.version = base;
    let draft = (stored.rules != rules).then_some(draft);
    html(&page(&auth.known, &state, &request, (of, &stored), &rules, draft, tried).await?)
}

/// Puts a rule in its place, or at the end; of what is wrong, only what is about this rule.
fn put_rule(rules: &mut Rules, at: Option<usize>, fields: &editor::Fields) -> Result<(), Vec<FieldError>> {
    let rule = fields.rule()?;
    let mut changed = rules.clone();
    let at = at.unwrap_or(changed.rules.len());
    match changed.rules.get_mut(at) {
        Some(place) => *place = rule,
        None => changed.rules.push(rule),
    }
    let here = format!("/rules/{at}/");
    let wrong: Vec<FieldError> = policy::problems(&changed)
        .into_iter()
        .filter_map(|problem| {
            let pointer = match problem.pointer.strip_prefix(&here) {
                Some(rest) => format!("/{rest}"),
                // Another rule has this name, and stands after it.
                None if problem.pointer.ends_with("/id") => "/id".to_owned(),
                None if problem.pointer == "/rules" => String::new(),
                None => return None,
            };
            Some(FieldError { pointer, ..problem })
        })
        .collect();
    if wrong.is_empty() {
        *rules = changed;
        Ok(())
    } else {
        Err(wrong)
    }
}

/// The draft that a form carries.
fn drafted(form: &Form) -> Result<(Of, Rules, u32), Problem> {
    let rules: Rules =
        serde_json::from_str(form.raw("rules").unwrap_or_default()).map_err(|_| Problem::invalid("/rules", "the draft cannot be read"))?;
    let base = form
        .text("base")
        .parse()
        .map_err(|_| Problem::invalid("/base", "it must be a version"))?;
    Ok((of_word(form.text("of")), rules, base))
}

fn words_of(problem: &Problem) -> String {
    match problem.errors.as_slice() {
        [] => problem.detail.clone(),
        places => places.iter().map(|place| place.message.as_str()).collect::<Vec<_>>().join(" "),
    }
}

/// What changed, as sentences.
pub(super) fn lines(was: &Rules, now: &Rules) -> Vec<Line> {
    let line = |class, rule: &Rule| Line {
        class,
        words: format!(
            "{}: {}{}",
            rule.id,
            rule.in_words(),
            if rule.note.is_empty() {
                String::new()
            } else {
                format!(" ({})", rule.note)
            }
        ),
    };
    difference(&was.rules, &now.rules)
        .into_iter()
        .map(|change| match change {
            Changed::Same(rule) => line("", rule),
            Changed::Gone(rule) => line("gone", rule),
            Changed::New(rule) => line("come", rule),
        })
        .collect()
}

fn row(rule: &Rule, members: &[Role]) -> Row {
    let asked = rule.asked();
    let have = members.iter().filter(|role| role.is_at_least(asked.min_role)).count();
    let need = asked.count as usize + usize::from(!asked.self_approval);
    let warning = (rule.effect == Effect::Ask && have < need).then(|| {
        let who = if have == 1 { "member" } else { "members" };
        format!("Only {have} {who} may decide this, and it can need {need}: such runs would wait until it expires.")
    });
    Row {
        id: rule.id.clone(),
        effect: rule.effect.as_str(),
        words: rule.in_words(),
        note: rule.note.clone(),
        warning,
    }
}

async fn page(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    (of, stored): (Of, &Stored),
    rules: &Rules,
    draft: Option<Draft>,
    tried: Tried,
) -> Result<PolicyPage, Problem> {
    let now = state.app.clock.now();
    let members = policy::members_of(&state.app, known.actor.org).await?;
    Ok(PolicyPage {
        shell: settings_shell(state, request, known, "Policy", "/settings/policy"),
        of: word_of(of),
        may_edit: may(&known.actor, Permission::PolicyManage),
        head: (stored.version > 0).then(|| Head {
            version: stored.version,
            by: stored.created_by_name.clone().unwrap_or_else(|| "somebody who left".to_owned()),
            at: When::new(stored.created_at, now),
            note: stored.note.clone(),
        }),
        rules: rules.rules.iter().map(|rule| row(rule, &members)).collect(),
        kinds: KINDS,
        defaults: DEFAULTS,
        json: serde_json::to_string(rules).map_err(Problem::internal)?,
        base: stored.version,
        draft,
        tried,
    })
}
