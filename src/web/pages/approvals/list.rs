//! `/approvals`: what waits for a decision, the most urgent first, and what was decided.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::card::{ApprovalCard, Place};
use crate::domain::time::Timestamp;
use crate::domain::wait::ApprovalState;
use crate::services::approvals;
use crate::web::extract::paging::{Page, Query};
use crate::web::extract::{Authorized, may as permission};
use crate::web::pages::view::Shell;
use crate::web::pages::{filters, html, page_links, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

/// Cards are tall.
const CARDS: u32 = 30;
const ROWS: u32 = 50;

#[derive(Template)]
#[template(path = "pages/approvals/index.html")]
struct ListPage {
    shell: Shell,
    state: &'static str,
    approvals: Vec<ApprovalCard>,
    next: Option<String>,
    first: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    state: String,
    cursor: String,
}

/// `GET /approvals`
pub async fn show(
    auth: Authorized<permission::ApprovalsRead>,
    state: web::Data<State>,
    query: Query<Choice>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (choice, actor, now) = (query.0, auth.actor(), state.app.clock.now());
    let wanted = ApprovalState::parse(&choice.state).unwrap_or(ApprovalState::Pending);
    let cursor = choice.cursor.parse().ok();
    let (found, rows) = if wanted == ApprovalState::Pending {
        (approvals::queue(&state.app, actor, cursor, CARDS + 1).await?, CARDS)
    } else {
        (approvals::list(&state.app, actor, wanted, cursor, ROWS + 1).await?, ROWS)
    };
    let mut page = Page::cut(found, rows, |approval| approval.id.to_string());
    if wanted == ApprovalState::Pending {
        page.items
            .sort_by_key(|approval| approval.due_at.map_or(i64::MAX, Timestamp::as_ms));
    }
    let filter = if wanted == ApprovalState::Pending { "" } else { wanted.as_str() };
    let (next, first) = page_links("/approvals", &[("state", filter)], page.next.as_deref(), choice.cursor.is_empty());
    html(&ListPage {
        shell: shell(&state, &request, &auth.known, "Approvals", "approvals"),
        state: wanted.as_str(),
        approvals: page
            .items
            .iter()
            .map(|approval| ApprovalCard::new(approval, actor, Place::Queue, now))
            .collect(),
        next,
        first,
    })
}
