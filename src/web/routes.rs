//! The route table: every address of the station, each with what it needs. A handler's first argument says who may
//! call it; the table takes that from the handler's type, so the two cannot differ.

mod account;
mod audit;
mod costs;
mod keys;
mod members;
mod models;
mod money;
mod orgs;
mod policy;
mod secrets;
mod station;

use std::collections::BTreeMap;
use std::rc::Rc;

use actix_web::http::{Method, header};
use actix_web::middleware::from_fn;
use actix_web::{FromRequest, Handler, HttpResponse, Responder, Route, guard, web};

use super::extract::{Declares, Needs};
use super::{api, assets, csp_reports, health, openapi, pages, ws};

/// One line of the table.
pub struct Line {
    pub method: Method,
    pub path: &'static str,
    pub needs: Needs,
    make: Box<dyn Fn() -> Route>,
}

/// The arguments of a handler, of which the first declares who may call.
pub trait Arguments: FromRequest + 'static {
    const NEEDS: Needs;
}

macro_rules! arguments {
    ($($rest:ident)*) => {
        impl<First: Declares + 'static, $($rest: FromRequest + 'static),*> Arguments for (First, $($rest,)*) {
            const NEEDS: Needs = First::NEEDS;
        }
    };
}

arguments! {}
arguments! { B }
arguments! { B C }
arguments! { B C D }
arguments! { B C D E }
arguments! { B C D E F }

fn line<F, Args>(method: Method, path: &'static str, handler: F) -> Line
where
    F: Handler<Args>,
    Args: Arguments,
    F::Output: Responder + 'static,
{
    let for_route = method.clone();
    Line {
        method,
        path,
        needs: Args::NEEDS,
        make: Box::new(move || {
            let route = web::route();
            // Whatever can be read can also be asked about.
            let route = if for_route == Method::GET {
                route.guard(guard::Any(guard::Get()).or(guard::Head()))
            } else {
                route.guard(guard::Method(for_route.clone()))
            };
            route.to(handler.clone())
        }),
    }
}

fn get<F, Args>(path: &'static str, handler: F) -> Line
where
    F: Handler<Args>,
    Args: Arguments,
    F::Output: Responder + 'static,
{
    line(Method::GET, path, handler)
}

fn post<F, Args>(path: &'static str, handler: F) -> Line
where
    F: Handler<Args>,
    Args: Arguments,
    F::Output: Responder + 'static,
{
    line(Method::POST, path, handler)
}

fn put<F, Args>(path: &'static str, handler: F) -> Line
where
    F: Handler<Args>,
    Args: Arguments,
    F::Output: Responder + 'static,
{
    line(Method::PUT, path, handler)
}

fn patch<F, Args>(path: &'static str, handler: F) -> Line
where
    F: Handler<Args>,
    Args: Arguments,
    F::Output: Responder + 'static,
{
    line(Method::PATCH, path, handler)
}

fn delete<F, Args>(path: &'static str, handler: F) -> Line
where
    F: Handler<Args>,
    Args: Arguments,
    F::Output: Responder + 'static,
{
    line(Method::DELETE, path, handler)
}

/// Every route.
pub fn table() -> Vec<Line> {
    let mut lines = vec![
        get("/healthz", health::alive),
        get("/readyz", health::ready),
        get("/static/{path:.+}", assets::show),
        get("/api/v1/openapi.json", openapi::show),
        post("/csp-reports", csp_reports::receive),
        get("/ws/runs/{run}", ws::runs::open),
    ];
    lines.extend(page_lines());
    lines.extend(api_lines());
    lines.extend(account::lines());
    lines.extend(orgs::lines());
    lines.extend(members::lines());
    lines.extend(keys::lines());
    lines.extend(policy::lines());
    lines.extend(money::lines());
    lines.extend(models::lines());
    lines.extend(secrets::lines());
    lines.extend(audit::lines());
    lines.extend(costs::lines());
    lines.extend(station::lines());
    lines
}

/// The nearest page at or above an address, for whoever sent a form there.
pub fn page_above(path: &str) -> String {
    let pages: Vec<&str> = table()
        .into_iter()
        .filter(|line| line.method == Method::GET && !super::context::is_for_programs(line.path))
        .map(|line| line.path)
        .collect();
    let mut here = path.trim_end_matches('/');
    while !here.is_empty() {
        if pages.iter().any(|page| fits(page, here)) {
            return here.to_owned();
        }
        here = here.rsplit_once('/').map_or("", |(above, _)| above);
    }
    "/".to_owned()
}

/// Whether an address is one of a line's path. Names of more than one segment are no pages.
fn fits(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern
            .iter()
            .zip(path)
            .all(|(part, segment)| *part == segment || part.starts_with('{') && !part.contains(':') && !segment.is_empty())
}

fn page_lines() -> Vec<Line> {
    vec![
        get("/", pages::overview::show),
        get("/set-up", pages::set_up::show),
        post("/set-up", pages::set_up::submit),
        get("/sign-in", pages::sign_in::show),
        post("/sign-in", pages::sign_in::submit),
        get("/sign-in/link", pages::sign_in::show_link),
        post("/sign-in/link", pages::sign_in::submit_link),
        get("/sign-in/code", pages::second_step::show),
        post("/sign-in/code", pages::second_step::submit),
        post("/sign-in/passkey/options", pages::passkeys::sign_in_options),
        post("/sign-in/passkey", pages::passkeys::sign_in),
        get("/forgot", pages::reset::show_forgot),
        post("/forgot", pages::reset::submit_forgot),
        get("/reset", pages::reset::show),
        post("/reset", pages::reset::submit),
        post("/sign-out", pages::sign_in::sign_out),
        get("/agents", pages::agents::list::show),
        get("/agents/new", pages::agents::new::show),
        post("/agents/new", pages::agents::new::submit),
        post("/agents/new/form", pages::agents::form::submit),
        post("/agents/check", pages::agents::new::check),
        get("/agents/{agent}", pages::agents::show::show),
        get("/agents/{agent}/versions/new", pages::agents::new::show_version),
        post("/agents/{agent}/versions/new", pages::agents::new::submit_version),
        post("/agents/{agent}/versions/form", pages::agents::form::submit_version),
        get("/agents/{agent}/run", pages::agents::run::show),
        post("/agents/{agent}/run", pages::agents::run::submit),
        get("/runs", pages::runs::list::show),
        get("/runs/{run}", pages::runs::show::show),
        post("/runs/{run}/cancel", pages::runs::show::cancel),
        post("/runs/{run}/verify", pages::runs::verify::submit),
        get("/runs/{run}/fork", pages::runs::fork::show),
        post("/runs/{run}/fork", pages::runs::fork::submit),
        get("/sessions", pages::sessions::list::show),
        get("/sessions/new", pages::sessions::new::show),
        post("/sessions/new", pages::sessions::new::submit),
        get("/sessions/{run}", pages::sessions::show::show),
        post("/sessions/{run}", pages::sessions::show::post),
        get("/approvals", pages::approvals::list::show),
        get("/approvals/{approval}", pages::approvals::show::show),
        post("/approvals/{approval}", pages::approvals::show::decide),
        post("/runs/{run}/pause", pages::runs::show::pause),
        post("/runs/{run}/resume", pages::runs::show::resume),
        post("/runs/{run}/retry", pages::dead_letters::retry),
        post("/runs/{run}/discard", pages::dead_letters::discard),
        get("/runs/{run}/start-over", pages::dead_letters::ask_start_over),
        post("/runs/{run}/start-over", pages::dead_letters::start_over),
        get("/dead-letters", pages::dead_letters::show),
        post("/dead-letters", pages::dead_letters::act),
    ]
}

fn api_lines() -> Vec<Line> {
    let mut lines = vec![
        get("/api/v1/runs/{run}", api::runs::show),
        post("/api/v1/runs/{run}/cancel", api::runs::cancel),
        post("/api/v1/runs/{run}/verify", api::verify::verify),
        post("/api/v1/runs/{run}/fork", api::fork::fork),
        get("/api/v1/runs/{run}/approvals", api::approvals::of_run),
        get("/api/v1/runs/{run}/children", api::children::list),
        get("/api/v1/runs/{run}/messages", api::messages::list),
        post("/api/v1/runs/{run}/messages", api::messages::post),
        post("/api/v1/runs/{run}/pause", api::holds::pause),
        post("/api/v1/runs/{run}/resume", api::holds::resume),
        post("/api/v1/runs/{run}/retry", api::dead_letters::retry),
        post("/api/v1/runs/{run}/discard", api::dead_letters::discard),
        post("/api/v1/runs/{run}/start-over", api::dead_letters::start_over),
        get("/api/v1/runs/{run}/events", api::events::list),
        get("/api/v1/runs/{run}/events/{seq}", api::events::show),
        get("/api/v1/runs/{run}/stream", api::stream::open),
        get("/api/v1/runs/{run}/hosts", api::run_hosts::list),
        get("/api/v1/runs/{run}/artifacts", api::artifacts::list),
        get("/api/v1/runs/{run}/artifacts/{name:.+}", api::artifacts::show),
        get("/api/v1/approvals/{approval}", api::approvals::show),
        post("/api/v1/approvals/{approval}/decision", api::approvals::decide),
    ];
    // A station with one organization and one workspace need not name them.
    macro_rules! workspace {
        ($base:literal) => {
            lines.extend([
                get(concat!($base, "/agents"), api::agents::list),
                post(concat!($base, "/agents"), api::agents::create),
                post(concat!($base, "/agents/check"), api::agents::check),
                get(concat!($base, "/agents/{agent}"), api::agents::show),
                get(concat!($base, "/agents/{agent}/versions"), api::versions::list),
                post(concat!($base, "/agents/{agent}/versions"), api::versions::create),
                get(concat!($base, "/agents/{agent}/versions/{version}"), api::versions::show),
                get(concat!($base, "/agents/{agent}/versions/{version}/code"), api::versions::code),
                get(concat!($base, "/runs"), api::runs::list),
                post(concat!($base, "/runs"), api::runs::start),
                get(concat!($base, "/approvals"), api::approvals::list),
                get(concat!($base, "/sessions"), api::messages::sessions),
                get(concat!($base, "/dead-letters"), api::dead_letters::list),
                post(concat!($base, "/dead-letters/requeue"), api::dead_letters::requeue),
                post(concat!($base, "/dead-letters/discard"), api::dead_letters::discard_all),
            ]);
        };
    }
    workspace!("/api/v1");
    workspace!("/api/v1/orgs/{org}/workspaces/{workspace}");
    lines
}

/// Puts the table into an application.
pub fn configure(config: &mut web::ServiceConfig) {
    let mut resources: Vec<(&'static str, actix_web::Resource)> = Vec::new();
    // Every POST of the API is done once for its key; starting a run keeps the key by itself, with the run.
    let mut keyed: BTreeMap<&'static str, Needs> = BTreeMap::new();
    let mut methods: BTreeMap<&'static str, Vec<Method>> = BTreeMap::new();
    for line in table() {
        if line.method == Method::POST && line.path.starts_with("/api/") && !line.path.ends_with("/runs") {
            keyed.insert(line.path, line.needs);
        }
        let allowed = methods.entry(line.path).or_default();
        allowed.push(line.method.clone());
        if line.method == Method::GET {
            allowed.push(Method::HEAD);
        }
        let route = (line.make)();
        match resources.iter().position(|(path, _)| *path == line.path) {
            Some(at) => {
                let (path, resource) = resources.swap_remove(at);
                // Put back where it was: more exact paths stand before those with names in them.
                resources.push((path, resource.route(route)));
                let last = resources.len() - 1;
                resources.swap(at, last);
            }
            None => resources.push((line.path, web::resource(line.path).route(route))),
        }
    }
    for (path, resource) in resources {
        let allowed: Rc<str> = methods.get(path).map_or_else(String::new, |methods| allow(methods)).into();
        let resource = resource.default_service(web::to(move || method_not_allowed(Rc::clone(&allowed))));
        match keyed.get(path) {
            Some(&needs) => {
                let once = move |request, next| api::idempotency::once(request, next, needs);
                config.service(resource.wrap(from_fn(once)));
            }
            None => _ = config.service(resource),
        }
    }
}

/// The value of `Allow`.
fn allow(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

async fn method_not_allowed(allowed: Rc<str>) -> HttpResponse {
    HttpResponse::MethodNotAllowed().insert_header((header::ALLOW, &*allowed)).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_belongs_to_the_nearest_page_above_its_address() {
        assert_eq!(page_above("/account/sign-in/passkeys/pky_1/remove"), "/account/sign-in");
        assert_eq!(page_above("/account/sign-in/totp/remove"), "/account/sign-in");
        assert_eq!(page_above("/account/password"), "/account");
        assert_eq!(page_above("/runs/run_1/cancel"), "/runs/run_1");
        assert_eq!(page_above("/nothing/of/ours"), "/");
    }
}
