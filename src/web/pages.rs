//! The pages: one file each, which asks services and fills its template. What browsers send back is a [`Form`].
//!
//! [`Form`]: super::extract::form::Form

pub mod account;
pub mod agents;
pub mod api_reference;
pub mod approvals;
pub mod costs;
pub mod dead_letters;
pub mod errors;
mod filters;
pub mod invitation;
mod keys;
pub mod notifications;
pub mod overview;
pub mod passkeys;
pub mod reset;
pub mod runs;
pub mod second_step;
pub mod security_check;
pub mod sessions;
pub mod set_up;
pub mod settings;
pub mod sign_in;
pub mod station;
mod view;
mod waits;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use self::view::{Notice, Shell, Tab};
use super::cookies;
use super::middleware::counts::{Counts, place};
use super::middleware::identity::Known;
use super::middleware::shell::Shaped;
use super::problem::Problem;
use super::state::State;
use crate::domain::permission::{Access, Actor, Permission, Resource, authorize};

/// The frame of a page for whoever is signed in.
fn shell(state: &State, request: &HttpRequest, known: &Known, title: impl Into<String>, nav: &'static str) -> Shell {
    let cookie = cookies::session(request).unwrap_or_default();
    Shell {
        title: title.into(),
        person: known.actor.name.clone(),
        form_token: state.app.auth.form_token(&cookie),
        nav,
        counts: Counts::of(request),
        notice: notice(request),
        tabs: Vec::new(),
        place: place(request),
    }
}

/// The frame of a page of the settings: of the organization, and for station admins of the station.
fn settings_shell(state: &State, request: &HttpRequest, known: &Known, title: impl Into<String>, here: &str) -> Shell {
    let pages: [(&str, &str, Permission); 16] = [
        ("/settings", "Organization", Permission::OrgRead),
        ("/settings/workspaces", "Workspaces", Permission::OrgRead),
        ("/settings/members", "Members", Permission::OrgRead),
        ("/settings/roles", "Roles", Permission::OrgRead),
        ("/settings/keys", "Keys and services", Permission::KeysManage),
        ("/settings/models", "Models", Permission::ModelsRead),
        ("/settings/policy", "Policy", Permission::PolicyRead),
        ("/settings/secrets", "Secrets", Permission::SecretsRead),
        ("/settings/budgets", "Budgets", Permission::CostsRead),
        ("/settings/prices", "Prices", Permission::ModelsRead),
        ("/settings/alerts", "Alerts", Permission::BudgetsManage),
        ("/settings/audit", "Audit log", Permission::AuditRead),
        ("/station/orgs", "All organizations", Permission::StationManage),
        ("/station/mail", "Mail", Permission::StationManage),
        ("/station/security", "Security", Permission::StationManage),
        ("/station/audit", "Station’s audit log", Permission::StationManage),
    ];
    let open = pages.into_iter().filter(|(_, _, permission)| may(&known.actor, *permission));
    Shell {
        tabs: open.map(|(path, word, _)| tab(path, word, here)).collect(),
        ..shell(state, request, known, title, "settings")
    }
}

/// The frame of a page of one's own account.
fn account_shell(state: &State, request: &HttpRequest, known: &Known, title: impl Into<String>, here: &str) -> Shell {
    let pages = [
        ("/account", "Profile"),
        ("/account/sign-in", "Signing in"),
        ("/account/sessions", "Sessions"),
        ("/account/keys", "API keys"),
        ("/account/data", "Your data"),
    ];
    Shell {
        tabs: pages.into_iter().map(|(path, word)| tab(path, word, here)).collect(),
        ..shell(state, request, known, title, "account")
    }
}

fn tab(path: &'static str, word: &'static str, here: &str) -> Tab {
    Tab {
        path,
        word,
        current: path == here,
    }
}

/// What an action that led here has to say. Only words of this list are ever shown.
fn notice(request: &HttpRequest) -> Option<Notice> {
    let (_, done) = url::form_urlencoded::parse(request.query_string().as_bytes()).find(|(name, _)| name == "done")?;
    let text = match done.as_ref() {
        "stored" => "Stored. Give it input and watch what it does.",
        "key-revoked" => "The key is revoked. Programs that use it are refused from now on.",
        "confirmed" => "Confirmed. Do it again.",
        "renamed" => "The new name is stored.",
        "email-changed" => "You sign in with the new address from now on.",
        "totp-removed" => "The authenticator app is removed. The password alone lets you in.",
        "passkey-added" => "The passkey is registered. It signs you in without a password.",
        "passkey-removed" => "The passkey is removed: it lets nobody in any more.",
        "session-revoked" => "The session is signed out. What it had open is closed.",
        "sessions-revoked" => "All your other sessions are signed out.",
        "service-made" => "The service is there. It does nothing until it has a key.",
        "service-removed" => "The service is removed, its keys are revoked, and its runs wait for somebody to adopt them.",
        "role-changed" => "The role is changed, from now on.",
        "member-removed" => "Removed. Their keys are revoked, and their runs wait for somebody to adopt them.",
        "runs-adopted" => "The runs are yours now and go on.",
        "run-adopted" => "The run is yours now and goes on.",
        "invitation-revoked" => "The invitation is withdrawn. Its link no longer works.",
        "joined" => "You are a member now.",
        "password-changed" => "The password is changed. Your other sessions are signed out.",
        "retried" => "It is tried again from the call that failed.",
        "discarded" => "Put away. It is no dead letter any more.",
        "none-selected" => "Nothing was selected, so nothing was done.",
        "paused" => "Paused. It goes on where it stood when someone resumes it.",
        "resumed" => "It goes on.",
        "saved" => "Saved.",
        "provider-created" => "The provider is there. Test the connection, then set an alias.",
        "provider-tested" => "It answers.",
        "provider-removed" => "The provider and its key are gone.",
        "alias-set" => "Set. It holds from the next call.",
        "alias-removed" => "The alias is gone.",
        "switched" => "You are at work here now.",
        "left" => "You are no member any more. Your runs there wait until somebody adopts them.",
        "transferred" => "Handed over. You are an admin of the organization now.",
        "org-deleted" => "The organization is being deleted. Within 14 days whoever looks after the station can take that back.",
        "org-created" => "The organization is there, with one workspace. Its owner finds it when they sign in.",
        "org-restored" => "The organization is back. Runs that were cancelled stay cancelled.",
        "plan-changed" => "The plan is changed, from now on.",
        "workspace-created" => "The workspace is there.",
        "workspace-deleted" => "The workspace is gone; what was in it is being deleted.",
        "secret-made" => "The secret is set. Its value is never shown again.",
        "secret-rotated" => "The new value is set. Runs send it from their next call.",
        "secret-destroyed" => "The version is destroyed.",
        "secret-removed" => "The secret is removed. Requests that name it fail from now on.",
        "cancelled" => "Asked it to stop.",
        "channel-added" => "Added. Send a test to see that alerts arrive.",
        "channel-removed" => "Removed. Alerts no longer go there.",
        "channel-tested" => "The test was taken. Look whether it arrived.",
        "budget-made" => "The budget is there. It holds from the next call of every run.",
        "budget-raised" => "The raise holds from now on. Runs that wait for money ask again.",
        "budget-removed" => "The budget is removed. Runs that waited for it ask again.",
        "held-resumed" => "The runs that waited for money ask again.",
        "held-cancelled" => "The runs that waited for money are asked to stop.",
        "price-set" => "The price holds from its day on. What was charged before stays, until you price it anew.",
        "price-removed" => "The price is removed. What held before it holds again.",
        "read" => "Marked as read.",
        "policy-stored" => "Stored. It holds from the next call of every run.",
        _ => return None,
    };
    Some(Notice {
        tone: "ok",
        text: text.to_owned(),
    })
}

fn html(template: &impl Template) -> Result<HttpResponse, Problem> {
    let body = template.render().map_err(Problem::internal)?;
    Ok(HttpResponse::Ok().content_type("text/html; charset=utf-8").body(body))
}

/// A page that answers a mistake: the form as it was sent, with what is wrong.
fn html_of(problem: &Problem, template: &impl Template) -> Result<HttpResponse, Problem> {
    let body = template.render().map_err(Problem::internal)?;
    let mut answer = HttpResponse::build(problem.status())
        .content_type("text/html; charset=utf-8")
        .body(body);
    problem.add_headers(&mut answer);
    answer.extensions_mut().insert(Shaped);
    Ok(answer)
}

/// After a form: the browser goes on with a GET.
fn see_other(path: impl AsRef<str>) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, path.as_ref())).finish()
}

fn may(actor: &Actor, permission: Permission) -> bool {
    authorize(actor, permission, Resource { org: actor.org }) == Access::Allow
}

/// The address of this list's next page, and of its first where this is another.
fn page_links(path: &str, query: &[(&str, &str)], next: Option<&str>, is_first: bool) -> (Option<String>, Option<String>) {
    let address = |cursor: Option<&str>| {
        let mut serializer = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
            serializer.append_pair(name, value);
        }
        if let Some(cursor) = cursor {
            serializer.append_pair("cursor", cursor);
        }
        let query = serializer.finish();
        if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{query}")
        }
    };
    (next.map(|cursor| address(Some(cursor))), (!is_first).then(|| address(None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_keep_the_filters_and_change_the_cursor() {
        let (next, first) = page_links("/runs", &[("state", "failed"), ("agent", "")], Some("run_1"), false);
        assert_eq!(next.as_deref(), Some("/runs?state=failed&cursor=run_1"));
        assert_eq!(first.as_deref(), Some("/runs?state=failed"));
        assert_eq!(page_links("/agents", &[], None, true), (None, None));
    }
}
