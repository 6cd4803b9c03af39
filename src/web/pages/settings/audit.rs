//! `/settings/audit` and `/station/audit`: who did what, to be searched, exported and verified.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;
use serde_json::Value;

use crate::domain::audit::{ACTIONS, in_words};
use crate::domain::permission::{Actor, Permission};
use crate::domain::time::Timestamp;
use crate::services::audit::{self, Chain, Checkpoint, Format, Listed};
use crate::services::users;
use crate::web::api::audit::{ListQuery, file};
use crate::web::context::Context;
use crate::web::extract::paging::Query;
use crate::web::extract::{Authorized, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::keys::words_of;
use crate::web::pages::view::Shell;
use crate::web::pages::{filters, html, may, page_links, settings_shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const ROWS: usize = 50;
const DAY: Duration = Duration::from_hours(24);

#[derive(Template)]
#[template(path = "pages/settings/audit.html")]
struct AuditPage {
    shell: Shell,
    /// Where the page is, without its query.
    base: &'static str,
    is_station: bool,
    /// Whether the reader may look at both chains.
    may_switch: bool,
    choice: Choice,
    is_filtered: bool,
    error: Option<String>,
    people: Vec<Pick>,
    actions: Vec<Pick>,
    rows: Vec<Row>,
    verified: Option<Checked>,
    checkpoint: Option<String>,
    csv: String,
    jsonl: String,
    next: Option<String>,
    first: Option<String>,
}

/// One of a list to choose from.
struct Pick {
    code: String,
    words: String,
    selected: bool,
}

/// What verifying found.
struct Checked {
    rows: u64,
    broken: Option<String>,
}

struct Row {
    seq: u64,
    iso: String,
    /// To the second, in UTC.
    at: String,
    who: String,
    email: Option<String>,
    action: String,
    words: String,
    target: String,
    /// Where the target can be looked at.
    href: Option<String>,
    outcome: String,
    count: u64,
    address: Option<String>,
    user_agent: Option<String>,
    credential: Option<String>,
    request_id: Option<String>,
    subject: Option<String>,
    changes: Vec<Change>,
}

/// One thing of a row's detail.
struct Change {
    name: String,
    /// Where it was something else before.
    before: Option<String>,
    after: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    q: String,
    actor: String,
    action: String,
    outcome: String,
    target: String,
    /// Days, as `2026-11-21`, both included.
    from: String,
    to: String,
    address: String,
    cursor: String,
    verify: String,
    format: String,
}

impl Choice {
    fn query(&self) -> Result<ListQuery, Problem> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let day = |pointer: &str, text: &str| match text {
            "" => Ok(None),
            text => Timestamp::of_day(text)
                .map(Some)
                .ok_or_else(|| Problem::invalid(pointer, "write the day as 2026-11-21")),
        };
        Ok(ListQuery {
            actor: given(&self.actor),
            action: given(&self.action),
            outcome: given(&self.outcome),
            target: given(self.target.trim()),
            from: day("/from", &self.from)?.map(Timestamp::as_ms),
            to: day("/to", &self.to)?.map(|day| day.plus(DAY).as_ms()),
            address: given(self.address.trim()),
            q: given(self.q.trim()),
            ..ListQuery::default()
        })
    }

    fn pairs(&self) -> [(&'static str, &str); 8] {
        [
            ("q", &self.q),
            ("actor", &self.actor),
            ("action", &self.action),
            ("outcome", &self.outcome),
            ("target", &self.target),
            ("from", &self.from),
            ("to", &self.to),
            ("address", &self.address),
        ]
    }
}

/// `GET /settings/audit`
pub async fn show(
    auth: Authorized<permission::AuditRead>,
    state: web::Data<State>,
    query: Query<Choice>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    page(&auth.known, &state, &request, Chain::Own, query.0).await
}

/// `GET /station/audit`
pub async fn show_station(
    auth: Authorized<permission::StationManage>,
    state: web::Data<State>,
    query: Query<Choice>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    page(&auth.known, &state, &request, Chain::Station, query.0).await
}

/// `GET /settings/audit/export`
pub async fn export(
    auth: Authorized<permission::AuditRead>,
    state: web::Data<State>,
    query: Query<Choice>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    exported(auth.actor(), &state, &request, Chain::Own, &query.0).await
}

/// `GET /station/audit/export`
pub async fn export_station(
    auth: Authorized<permission::StationManage>,
    state: web::Data<State>,
    query: Query<Choice>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    exported(auth.actor(), &state, &request, Chain::Station, &query.0).await
}

async fn exported(actor: &Actor, state: &State, request: &HttpRequest, chain: Chain, choice: &Choice) -> Result<HttpResponse, Problem> {
    let format = Format::parse(&choice.format).ok_or_else(|| Problem::invalid("/format", "the formats are jsonl and csv"))?;
    let filter = choice.query()?.filter()?;
    file(state, actor, chain, filter, format, Context::origin(request)).await
}

async fn page(known: &Known, state: &State, request: &HttpRequest, chain: Chain, choice: Choice) -> Result<HttpResponse, Problem> {
    let (app, actor) = (&state.app, &*known.actor);
    let base = match chain {
        Chain::Own => "/settings/audit",
        Chain::Station => "/station/audit",
    };
    // A filter that does not fit shows nothing, with what is wrong, and keeps the form as it was.
    let (found, error) = match choice.query().and_then(|query| query.filter()) {
        Ok(filter) => {
            let after = choice.cursor.parse().ok();
            (Some(audit::list(app, actor, chain, filter, after, ROWS).await?), None)
        }
        Err(problem) => (None, Some(words_of(&problem))),
    };
    let (rows, next) = found.map(|found| (found.rows, found.next)).unwrap_or_default();
    let next = next.map(|place| place.to_string());
    let (next, first) = page_links(base, &choice.pairs(), next.as_deref(), choice.cursor.is_empty());
    let (verified, head) = if choice.verify.is_empty() {
        (None, audit::head(app, actor, chain).await?)
    } else {
        let found = audit::verify(app, actor, chain, None).await?;
        let broken = found.broken.as_ref().map(audit::Broken::in_words);
        (Some(Checked { rows: found.rows, broken }), found.head)
    };
    let is_station = chain == Chain::Station;
    let export = |format: Format| {
        let mut pairs = choice.pairs().to_vec();
        pairs.push(("format", format.as_str()));
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty()));
        format!("{base}/export?{}", query.finish())
    };
    html(&AuditPage {
        shell: settings_shell(
            state,
            request,
            known,
            if is_station { "Station’s audit log" } else { "Audit log" },
            base,
        ),
        base,
        is_station,
        may_switch: may(actor, Permission::AuditRead) && may(actor, Permission::StationManage),
        is_filtered: choice.pairs().iter().any(|(_, value)| !value.is_empty()),
        error,
        people: people(state, actor, &choice, &rows).await?,
        actions: ACTIONS
            .iter()
            .map(|action| Pick {
                code: action.code.to_owned(),
                words: action.words.to_owned(),
                selected: action.code == choice.action,
            })
            .collect(),
        rows: rows.iter().map(row).collect(),
        verified,
        checkpoint: head.as_ref().map(checkpoint_text),
        csv: export(Format::Csv),
        jsonl: export(Format::Jsonl),
        next,
        first,
        choice,
    })
}

/// One line, as the command line reads it from a file.
fn checkpoint_text(checkpoint: &Checkpoint) -> String {
    serde_json::to_string(checkpoint).unwrap_or_default()
}

/// Members, and whoever else is on the page or chosen.
async fn people(state: &State, actor: &Actor, choice: &Choice, rows: &[Listed]) -> Result<Vec<Pick>, Problem> {
    let mut names = users::names(&state.app, actor.org).await?;
    for row in rows {
        if let (Some(id), Some(name)) = (row.actor.principal, &row.actor.name) {
            names.entry(id).or_insert_with(|| name.clone());
        }
    }
    if let Ok(id) = choice.actor.parse() {
        names.entry(id).or_insert_with(|| choice.actor.clone());
    }
    let mut picks: Vec<Pick> = names
        .into_iter()
        .map(|(id, words)| Pick {
            selected: id.to_string() == choice.actor,
            code: id.to_string(),
            words,
        })
        .collect();
    picks.sort_by(|a, b| a.words.cmp(&b.words));
    Ok(picks)
}

fn row(listed: &Listed) -> Row {
    let (entry, actor) = (&listed.entry, &listed.actor);
    let iso = entry.at.to_string();
    let name = |person: &audit::Person| {
        let email = person.email.clone();
        person.name.clone().or(email).or_else(|| person.principal.map(|id| id.to_string()))
    };
    Row {
        seq: entry.seq,
        at: iso.get(..19).unwrap_or(&iso).replace('T', " "),
        iso,
        who: name(actor).unwrap_or_else(|| match entry.actor {
            None if actor.address.is_some() => "Nobody known".to_owned(),
            _ => "The station".to_owned(),
        }),
        email: actor.email.clone(),
        action: entry.action.clone(),
        words: in_words(&entry.action).to_owned(),
        target: entry.target.clone(),
        href: href(&entry.target),
        outcome: entry.outcome.clone(),
        count: entry.count,
        address: actor.address.clone(),
        user_agent: actor.user_agent.clone(),
        credential: credential(listed),
        request_id: entry.request_id.clone(),
        subject: listed.subject.as_ref().and_then(|person| {
            let shown = name(person)?;
            Some(match &person.email {
                Some(email) if *email != shown => format!("{shown}, {email}"),
                _ => shown,
            })
        }),
        changes: changes(&entry.detail),
    }
}

fn credential(listed: &Listed) -> Option<String> {
    let id = listed.entry.credential_id.as_deref().unwrap_or_default();
    Some(match listed.entry.credential.as_deref()? {
        "session" => format!("a browser, {id}"),
        "api_key" => format!("the API key {id}"),
        _ => "the station’s own shell".to_owned(),
    })
}

fn href(target: &str) -> Option<String> {
    let (kind, _) = target.split_once('_')?;
    let fits = target.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match kind {
        "run" if fits => Some(format!("/runs/{target}")),
        "apr" if fits => Some(format!("/approvals/{target}")),
        _ => None,
    }
}

/// What a row's detail says changed: `before` and `after`, by name where they are objects, and whatever else it has.
fn changes(detail: &str) -> Vec<Change> {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(detail) else {
        return Vec::new();
    };
    let mut changes = Vec::new();
    let (before, after) = (fields.remove("before"), fields.remove("after"));
    match (before, after) {
        (None, None) => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
            for name in names.into_iter().filter(|name| before.get(*name) != after.get(*name)) {
                changes.push(Change {
                    name: name.replace('_', " "),
                    before: Some(text(before.get(name))),
                    after: text(after.get(name)),
                });
            }
        }
        (before, after) => changes.push(Change {
            name: "changed".to_owned(),
            before: Some(text(before.as_ref())),
            after: text(after.as_ref()),
        }),
    }
    changes.extend(fields.iter().map(|(name, value)| Change {
        name: name.replace('_', " "),
        before: None,
        after: text(Some(value)),
    }));
    changes
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "nothing".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "empty".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_named_and_what_did_not_is_left_out() {
        let found = changes(r#"{"before":{"name":"a","plan":"free"},"after":{"name":"b","plan":"free"},"runs_held":2}"#);
        let shown: Vec<_> = found
            .iter()
            .map(|c| (c.name.as_str(), c.before.as_deref(), c.after.as_str()))
            .collect();
        assert_eq!(shown, [("name", Some("a"), "b"), ("runs held", None, "2")]);
        let role = changes(r#"{"before":"viewer","after":"admin"}"#);
        assert_eq!((role[0].before.as_deref(), role[0].after.as_str()), (Some("viewer"), "admin"));
        assert!(changes("{}").is_empty() && changes("nonsense").is_empty());
    }

    #[test]
    fn only_ids_become_links() {
        assert_eq!(href("run_01abc").as_deref(), Some("/runs/run_01abc"));
        assert_eq!(href("run_/../x"), None);
        assert_eq!(href("key"), None);
    }
}
