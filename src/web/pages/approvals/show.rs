//! `/approvals/{approval}`: one decision on its own, and the form that makes it.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde_json::{Value, json};

use super::card::{ApprovalCard, Place, Typed, title};
use crate::domain::wait::Verb;
use crate::services::approvals::{self, Decide};
use crate::services::{Error, FieldError};
use crate::store::approvals::Approval;
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::{Authorized, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::view::Shell;
use crate::web::pages::{filters, html, html_of, see_other, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/approvals/show.html")]
struct ShowPage {
    shell: Shell,
    approval: ApprovalCard,
    /// Where somebody was first.
    conflict: Option<String>,
}

/// `GET /approvals/{approval}`
pub async fn show(
    auth: Authorized<permission::ApprovalsRead>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let approval = approvals::get(&state.app, auth.actor(), segments.approval()?).await?;
    html(&page(&auth.known, &state, &request, &approval, Typed::default(), None).await?)
}

/// `POST /approvals/{approval}`
pub async fn decide(
    auth: Authorized<permission::ApprovalsDecide>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (actor, id) = (auth.actor(), segments.approval()?);
    let approval = approvals::get(&state.app, actor, id).await?;
    let decided = match read(&form, &approval) {
        Ok(decide) => approvals::decide(&state.app, actor, id, decide, Context::origin(&request)).await,
        Err(error) => Err(error),
    };
    match decided {
        Ok(approval) => Ok(see_other(Place::after(form.text("place"), &approval))),
        Err(error @ (Error::Invalid(_) | Error::Conflict(_) | Error::Refused(_))) => {
            let conflict = match &error {
                Error::Conflict(why) => Some(why.clone()),
                _ => None,
            };
            let problem = Problem::from(error);
            let typed = Typed {
                verb: form.text("decision").to_owned(),
                reason: form.text("reason").to_owned(),
                arguments: form.raw("arguments").map(str::to_owned),
                status: form.text("status").to_owned(),
                body: form.raw("body").unwrap_or_default().to_owned(),
                error: conflict.is_none().then(|| problem.detail.clone()),
            };
            let now = approvals::get(&state.app, actor, id).await?;
            html_of(&problem, &page(&auth.known, &state, &request, &now, typed, conflict).await?)
        }
        Err(error) => Err(error.into()),
    }
}

fn wrong(pointer: &str, message: impl Into<String>) -> Error {
    Error::Invalid(vec![FieldError {
        pointer: pointer.to_owned(),
        message: message.into(),
    }])
}

/// What the form decides. JSON is typed for an edit; the answer of a write is typed as status and body.
fn read(form: &Form, approval: &Approval) -> Result<Decide, Error> {
    let verb = Verb::parse(form.text("decision")).ok_or_else(|| wrong("/decision", "press one of the buttons"))?;
    let arguments = match verb {
        Verb::Edit => Some(
            serde_json::from_str(form.raw("arguments").unwrap_or_default())
                .map_err(|error| wrong("/arguments", format!("this is no JSON: {error}")))?,
        ),
        Verb::Happened => Some(answer(form, approval)?),
        _ => None,
    };
    Ok(Decide {
        verb,
        arguments,
        reason: form.text("reason").to_owned(),
    })
}

fn answer(form: &Form, approval: &Approval) -> Result<Value, Error> {
    let status: u16 = form
        .text("status")
        .parse()
        .ok()
        .filter(|status| (100..600).contains(status))
        .ok_or_else(|| wrong("/status", "enter the status that the other side answered, such as 201"))?;
    let request: Value = serde_json::from_str(&approval.arguments).unwrap_or_default();
    let url = request.get("url").and_then(Value::as_str).unwrap_or_default();
    Ok(json!({ "status": status, "headers": [], "body": { "text": form.raw("body").unwrap_or_default() }, "url": url }))
}

async fn page(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    approval: &Approval,
    typed: Typed,
    conflict: Option<String>,
) -> Result<ShowPage, Problem> {
    let arguments: Value = serde_json::from_str(&approval.arguments).unwrap_or_default();
    let card = ApprovalCard::new(approval, &known.actor, Place::Queue, state.app.clock.now());
    Ok(ShowPage {
        shell: shell(state, request, known, title(&approval.action, &arguments), "approvals"),
        approval: ApprovalCard { typed, ..card },
        conflict,
    })
}
