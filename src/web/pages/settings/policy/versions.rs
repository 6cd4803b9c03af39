//! `/settings/policy/versions`: what was stored when and by whom, and what changed between any two.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::{Line, lines, of_word, word_of};
use crate::domain::permission::Permission;
use crate::services::policy;
use crate::web::extract::paging::{Page, Query};
use crate::web::extract::{Authorized, may as permission};
use crate::web::pages::view::{Shell, When};
use crate::web::pages::{filters, html, may, page_links, settings_shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const ROWS: u32 = 50;

#[derive(Template)]
#[template(path = "pages/settings/policy_versions.html")]
struct VersionsPage {
    shell: Shell,
    of: &'static str,
    may_edit: bool,
    versions: Vec<Row>,
    /// The newest version, and its rules as JSON, for a draft to begin with.
    base: u32,
    json: String,
    compared: Option<Compared>,
    next: Option<String>,
    first: Option<String>,
}

struct Row {
    version: u32,
    rules: usize,
    by: String,
    at: When,
    note: String,
    /// Which are chosen.
    a: bool,
    b: bool,
}

struct Compared {
    a: u32,
    b: u32,
    changes: Vec<Line>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    of: String,
    a: Option<u32>,
    b: Option<u32>,
    cursor: String,
}

/// `GET /settings/policy/versions`
pub async fn show(
    auth: Authorized<permission::PolicyRead>,
    state: web::Data<State>,
    query: Query<Choice>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (choice, actor) = (query.0, auth.actor());
    let of = of_word(&choice.of);
    let held = policy::get(&state.app, actor, of).await?;
    let found = policy::versions(&state.app, actor, of, choice.cursor.parse().ok(), ROWS + 1).await?;
    let page = Page::cut(found, ROWS, |stored| stored.version.to_string());
    let (next, first) = page_links(
        "/settings/policy/versions",
        &[("of", word_of(of))],
        page.next.as_deref(),
        choice.cursor.is_empty(),
    );
    // Without a choice: what the newest changed.
    let b = choice.b.unwrap_or(held.version);
    let a = choice.a.unwrap_or_else(|| b.saturating_sub(1));
    let compared = if held.version == 0 {
        None
    } else {
        let was = policy::version(&state.app, actor, of, a).await?;
        let now = policy::version(&state.app, actor, of, b).await?;
        Some(Compared {
            a,
            b,
            changes: lines(&was.rules, &now.rules),
        })
    };
    let now = state.app.clock.now();
    html(&VersionsPage {
        shell: settings_shell(&state, &request, &auth.known, "Versions of the policy", "/settings/policy"),
        of: word_of(of),
        may_edit: may(actor, Permission::PolicyManage),
        versions: page
            .items
            .into_iter()
            .map(|stored| Row {
                version: stored.version,
                rules: stored.rules.rules.len(),
                by: stored.created_by_name.unwrap_or_else(|| "somebody who left".to_owned()),
                at: When::new(stored.created_at, now),
                note: stored.note,
                a: stored.version == a,
                b: stored.version == b,
            })
            .collect(),
        base: held.version,
        json: serde_json::to_string(&held.rules).map_err(Problem::internal)?,
        compared,
        next,
        first,
    })
}
