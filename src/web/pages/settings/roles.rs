//! `/settings/roles`: what each role may do, as the one decision on people has it.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::domain::permission::{Permission, Role};
use crate::web::extract::{Authorized, may as permission};
use crate::web::pages::view::Shell;
use crate::web::pages::{filters, html, settings_shell};
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/settings/roles.html")]
struct RolesPage {
    shell: Shell,
    roles: Vec<RoleWords>,
    rows: Vec<MatrixRow>,
}

struct RoleWords {
    name: &'static str,
    words: &'static str,
    /// Whether it is the reader's own.
    own: bool,
}

struct MatrixRow {
    code: &'static str,
    words: &'static str,
    /// One a role, in their order.
    given: Vec<bool>,
}

/// `GET /settings/roles`
pub async fn show(auth: Authorized<permission::OrgRead>, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let own = auth.actor().role;
    // What no role gives is the station's, not the organization's.
    let given = Permission::ALL.iter().filter(|permission| permission.least_role().is_some());
    html(&RolesPage {
        shell: settings_shell(&state, &request, &auth.known, "Roles", "/settings/roles"),
        roles: Role::ALL
            .iter()
            .map(|&role| RoleWords {
                name: role.as_str(),
                words: role.in_words(),
                own: role == own,
            })
            .collect(),
        rows: given
            .map(|&permission| MatrixRow {
                code: permission.as_str(),
                words: permission.in_words(),
                given: Role::ALL.iter().map(|role| role.gives(permission)).collect(),
            })
            .collect(),
    })
}
