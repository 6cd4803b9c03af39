//! `/station/security`: what would help somebody who means the station ill.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use super::{filters, html, settings_shell};
use crate::services::security_check::{Finding, Verdict, findings};
use crate::web::extract::{Authorized, may};
use crate::web::pages::view::Shell;
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/security_check.html")]
struct SecurityPage {
    shell: Shell,
    /// The worst first.
    findings: Vec<Finding>,
    problems: usize,
    warnings: usize,
}

impl SecurityPage {
    fn wrong(&self) -> Vec<&Finding> {
        self.findings.iter().filter(|finding| finding.verdict != Verdict::Ok).collect()
    }

    fn right(&self) -> Vec<&Finding> {
        self.findings.iter().filter(|finding| finding.verdict == Verdict::Ok).collect()
    }
}

/// `GET /station/security`
pub async fn show(auth: Authorized<may::StationManage>, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let app = &state.app;
    let mut findings = findings(&app.config, Some(&app.store), app.clock.now()).await;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    html(&SecurityPage {
        shell: settings_shell(&state, &request, &auth.known, "Security", "/station/security"),
        problems: count(Verdict::Problem),
        warnings: count(Verdict::Warning),
        findings,
    })
}
