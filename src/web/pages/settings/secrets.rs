//! `/settings/secrets`: what agents may send and never see. A value is typed here and never shown.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::organization::{is_mistake, wrong_with};
use crate::config::secret::Secret;
use crate::domain::id::SecretId;
use crate::domain::limits::PAGE_DEFAULT;
use crate::domain::permission::{Actor, Permission};
use crate::domain::secret::Binding;
use crate::domain::time::Timestamp;
use crate::services::Error;
use crate::services::secrets::{self, Change, Info, NewSecret, Of, Value, ValueSource, Version};
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::paging::{Page, Query};
use crate::web::extract::{Authorized, Proved, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::keys::words_of;
use crate::web::pages::view::{Shell, When};
use crate::web::pages::{filters, html, html_of, may, page_links, see_other, settings_shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const PATH: &str = "/settings/secrets";
/// Secrets of the workspace on the page; the API lists more.
const OF_WORKSPACE: u32 = 200;

#[derive(Template)]
#[template(path = "pages/settings/secrets.html")]
struct SecretsPage {
    shell: Shell,
    sealed: Option<String>,
    workspace: Vec<SecretRow>,
    org: Vec<SecretRow>,
    may_manage: bool,
    is_station_admin: bool,
    new: NewForm,
    next: Option<String>,
    first: Option<String>,
}

#[derive(Template)]
#[template(path = "pages/settings/secret.html")]
struct SecretPage {
    shell: Shell,
    sealed: Option<String>,
    secret: SecretRow,
    version: u32,
    made: When,
    by: String,
    bindings: Vec<BindingFields>,
    note: String,
    versions: Vec<VersionRow>,
    may_manage: bool,
    is_station_admin: bool,
    value_error: String,
    bindings_error: String,
    error: Option<String>,
}

struct SecretRow {
    id: String,
    name: String,
    note: String,
    of_workspace: bool,
    /// Where its value is.
    place: String,
    /// Who may send it where, one line each.
    uses: Vec<String>,
    used: Option<When>,
}

impl SecretRow {
    fn new(info: &Info, now: Timestamp) -> Self {
        Self {
            id: info.id.to_string(),
            name: info.name.clone(),
            note: info.note.clone(),
            of_workspace: info.workspace.is_some(),
            place: in_words(info.source, &info.place, info.current),
            uses: info.bindings.iter().map(use_in_words).collect(),
            used: info.last_used_at.map(|at| When::new(at, now)),
        }
    }
}

fn in_words(source: ValueSource, place: &str, number: u32) -> String {
    match source {
        ValueSource::Sealed => format!("version {number}, sealed"),
        ValueSource::Env => format!("version {number}, in the variable {place}"),
        ValueSource::File => format!("version {number}, in the file {place}"),
    }
}

fn use_in_words(binding: &Binding) -> String {
    let who = if binding.agents.iter().any(|name| name == "*") {
        "every agent that was granted it".to_owned()
    } else {
        binding.agents.join(", ")
    };
    let methods = if binding.methods.is_empty() {
        "requests".to_owned()
    } else {
        binding.methods.join(", ")
    };
    format!("{who}: {methods} to {}{}", binding.host, binding.path_prefix)
}

struct VersionRow {
    number: u32,
    place: String,
    made: When,
    by: String,
    is_current: bool,
    destroyed: Option<When>,
}

impl VersionRow {
    fn new(version: Version, current: u32, now: Timestamp) -> Self {
        Self {
            number: version.number,
            place: in_words(version.source, &version.place, version.number),
            made: When::new(version.created_at, now),
            by: version.created_by_name.unwrap_or_else(|| "somebody who left".to_owned()),
            is_current: version.number == current,
            destroyed: version.destroyed_at.map(|at| When::new(at, now)),
        }
    }
}

/// A binding as it is typed.
#[derive(Default)]
struct BindingFields {
    agents: String,
    host: String,
    methods: String,
    path: String,
}

impl BindingFields {
    fn of(binding: &Binding) -> Self {
        Self {
            agents: binding.agents.join(", "),
            host: binding.host.clone(),
            methods: binding.methods.join(", "),
            path: binding.path_prefix.clone(),
        }
    }
}

/// The bindings that a form has typed in; rows without anything in them are left out.
fn typed(form: &Form) -> Vec<Binding> {
    let words = |text: &str| -> Vec<String> {
        text.split([',', ' '])
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let rows = form
        .all("agents")
        .zip(form.all("host"))
        .zip(form.all("methods"))
        .zip(form.all("path"));
    rows.map(|(((agents, host), methods), path)| Binding {
        agents: words(agents),
        host: host.trim().to_ascii_lowercase(),
        methods: words(&methods.to_ascii_uppercase()),
        path_prefix: path.trim().to_owned(),
    })
    .filter(|binding| !binding.host.is_empty() || !binding.agents.is_empty() && binding.agents != ["*"])
    .collect()
}

fn value(form: &Form) -> Value {
    match form.text("source") {
        "env" => Value::Variable(form.text("place").to_owned()),
        "file" => Value::File(form.text("place").to_owned()),
        // Browsers write line breaks their own way, and people paste one at the end.
        _ => Value::Given(Secret::new(form.raw("value").unwrap_or_default().replace("\r\n", "\n").trim())),
    }
}

/// What was typed, but for the value, with what is wrong with it.
#[derive(Default)]
struct NewForm {
    name: String,
    note: String,
    for_org: bool,
    place: String,
    source: String,
    binding: BindingFields,
    name_error: String,
    note_error: String,
    value_error: String,
    binding_error: String,
    error: Option<String>,
}

impl NewForm {
    fn wrong(form: &Form, problem: &Problem) -> Self {
        let text = |name: &str| form.text(name).to_owned();
        Self {
            name: text("name"),
            note: text("note"),
            for_org: form.text("for") == "org",
            place: text("place"),
            source: text("source"),
            binding: BindingFields {
                agents: text("agents"),
                host: text("host"),
                methods: text("methods"),
                path: text("path"),
            },
            name_error: wrong_with(problem, "/name"),
            note_error: wrong_with(problem, "/note"),
            value_error: wrong_with(problem, "/value"),
            binding_error: wrong_in(problem),
            error: problem.errors.is_empty().then(|| words_of(problem)),
        }
    }
}

/// What is wrong with bindings, wherever in them.
fn wrong_in(problem: &Problem) -> String {
    let about = problem
        .errors
        .iter()
        .filter(|place| place.pointer.as_deref().is_some_and(|pointer| pointer.starts_with("/bindings")));
    about.map(|place| place.message.as_str()).collect::<Vec<_>>().join("; ")
}

fn is_wrong(error: &Error) -> bool {
    is_mistake(error) && !matches!(error, Error::NotFound(_)) || matches!(error, Error::TooLarge(_) | Error::Refused(_) | Error::Sealed(_))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Place {
    cursor: String,
}

/// `GET /settings/secrets`
pub async fn show(
    auth: Authorized<permission::SecretsRead>,
    state: web::Data<State>,
    query: Query<Place>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    html(&page(&auth.known, &state, &request, NewForm::default(), query.0.cursor).await?)
}

/// `POST /settings/secrets`
pub async fn create(
    auth: Proved<permission::SecretsManage>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let of = if form.text("for") == "org" { Of::Org } else { Of::Workspace };
    let new = NewSecret {
        name: form.text("name").to_owned(),
        note: form.text("note").to_owned(),
        bindings: typed(&form),
        value: value(&form),
    };
    match secrets::create(&state.app, auth.actor(), of, new, Context::origin(&request)).await {
        Ok(info) => Ok(see_other(format!("{PATH}/{}?done=secret-made", info.id))),
        Err(error) if is_wrong(&error) => {
            let problem = Problem::from(error);
            let said = NewForm::wrong(&form, &problem);
            html_of(&problem, &page(&auth.known, &state, &request, said, String::new()).await?)
        }
        Err(error) => Err(error.into()),
    }
}

async fn page(known: &Known, state: &State, request: &HttpRequest, new: NewForm, cursor: String) -> Result<SecretsPage, Problem> {
    let (actor, now) = (&known.actor, state.app.clock.now());
    let first = cursor.is_empty();
    let workspace = secrets::list(&state.app, actor, Of::Workspace, String::new(), OF_WORKSPACE).await?;
    let org = secrets::list(&state.app, actor, Of::Org, cursor, PAGE_DEFAULT + 1).await?;
    let org = Page::cut(org, PAGE_DEFAULT, |info| info.name.clone());
    let (next, first) = page_links(PATH, &[], org.next.as_deref(), first);
    Ok(SecretsPage {
        shell: settings_shell(state, request, known, "Secrets", PATH),
        sealed: state.app.sealing.trouble().map(ToString::to_string),
        workspace: workspace.iter().map(|info| SecretRow::new(info, now)).collect(),
        org: org.items.iter().map(|info| SecretRow::new(info, now)).collect(),
        may_manage: may(actor, Permission::SecretsManage),
        is_station_admin: may(actor, Permission::StationManage),
        new,
        next,
        first,
    })
}

/// The secret that the address names, of the workspace or of the organization.
async fn find(state: &State, actor: &Actor, segments: &Segments) -> Result<(Of, SecretId), Problem> {
    let id: SecretId = segments.text("secret").parse().map_err(|_| Problem::not_found())?;
    match secrets::get(&state.app, actor, Of::Workspace, id).await {
        Ok(_) => Ok((Of::Workspace, id)),
        Err(Error::NotFound(_)) => Ok((Of::Org, id)),
        Err(error) => Err(error.into()),
    }
}

/// What the page of a secret has to say besides what is stored.
#[derive(Default)]
struct Said {
    value_error: String,
    bindings_error: String,
    error: Option<String>,
}

/// `GET /settings/secrets/{secret}`
pub async fn show_one(
    auth: Authorized<permission::SecretsRead>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (of, id) = find(&state, auth.actor(), &segments).await?;
    html(&page_of_one(&auth.known, &state, &request, (of, id), Said::default()).await?)
}

async fn page_of_one(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    (of, id): (Of, SecretId),
    said: Said,
) -> Result<SecretPage, Problem> {
    let (actor, now) = (&known.actor, state.app.clock.now());
    let (info, versions) = secrets::get(&state.app, actor, of, id).await?;
    let bindings = info
        .bindings
        .iter()
        .map(BindingFields::of)
        .chain(std::iter::once(BindingFields::default()));
    Ok(SecretPage {
        shell: settings_shell(state, request, known, format!("Secret {}", info.name), PATH),
        sealed: state.app.sealing.trouble().map(ToString::to_string),
        secret: SecretRow::new(&info, now),
        version: info.version,
        made: When::new(info.created_at, now),
        by: info.created_by_name.clone().unwrap_or_else(|| "somebody who left".to_owned()),
        bindings: bindings.collect(),
        note: info.note.clone(),
        versions: versions
            .into_iter()
            .map(|version| VersionRow::new(version, info.current, now))
            .collect(),
        may_manage: may(actor, Permission::SecretsManage),
        is_station_admin: may(actor, Permission::StationManage),
        value_error: said.value_error,
        bindings_error: said.bindings_error,
        error: said.error,
    })
}

/// The version of the row that the form was made from.
fn read_at(form: &Form) -> Option<u32> {
    form.text("version").parse().ok()
}

/// `POST /settings/secrets/{secret}`: its note, and who may send it where.
pub async fn change(
    auth: Proved<permission::SecretsManage>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (of, id) = find(&state, auth.actor(), &segments).await?;
    let change = Change {
        note: Some(form.text("note").to_owned()),
        bindings: Some(typed(&form)),
    };
    let done = secrets::change(&state.app, auth.actor(), of, id, change, read_at(&form), Context::origin(&request)).await;
    done_or(&auth.known, &state, &request, (of, id), done.map(drop), "saved").await
}

/// `POST /settings/secrets/{secret}/rotate`
pub async fn rotate(
    auth: Proved<permission::SecretsManage>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (of, id) = find(&state, auth.actor(), &segments).await?;
    let done = secrets::rotate(
        &state.app,
        auth.actor(),
        of,
        id,
        value(&form),
        read_at(&form),
        Context::origin(&request),
    )
    .await;
    done_or(&auth.known, &state, &request, (of, id), done.map(drop), "secret-rotated").await
}

/// `POST /settings/secrets/{secret}/versions/{version}/destroy`
pub async fn destroy(
    auth: Proved<permission::SecretsManage>,
    state: web::Data<State>,
    segments: Segments,
    _form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (of, id) = find(&state, auth.actor(), &segments).await?;
    let number = segments.text("version").parse().map_err(|_| Problem::not_found())?;
    let done = secrets::destroy(&state.app, auth.actor(), of, id, number, Context::origin(&request)).await;
    done_or(&auth.known, &state, &request, (of, id), done.map(drop), "secret-destroyed").await
}

/// `POST /settings/secrets/{secret}/remove`
pub async fn remove(
    auth: Proved<permission::SecretsManage>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (of, id) = find(&state, auth.actor(), &segments).await?;
    match secrets::delete(&state.app, auth.actor(), of, id, read_at(&form), Context::origin(&request)).await {
        Ok(()) => Ok(see_other(format!("{PATH}?done=secret-removed"))),
        error => done_or(&auth.known, &state, &request, (of, id), error, "secret-removed").await,
    }
}

async fn done_or(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    (of, id): (Of, SecretId),
    done: Result<(), Error>,
    word: &str,
) -> Result<HttpResponse, Problem> {
    match done {
        Ok(()) => Ok(see_other(format!("{PATH}/{id}?done={word}"))),
        Err(error) if is_wrong(&error) => {
            let problem = Problem::from(error);
            let said = Said {
                value_error: wrong_with(&problem, "/value"),
                bindings_error: [wrong_in(&problem), wrong_with(&problem, "/note")].join(" ").trim().to_owned(),
                error: problem.errors.is_empty().then(|| words_of(&problem)),
            };
            html_of(&problem, &page_of_one(known, state, request, (of, id), said).await?)
        }
        Err(error) => Err(error.into()),
    }
}
