//! `/agents/{agent}`: what it is, what it may do, its versions, source and runs, in tabs.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use crate::domain::agent::{Agent, AgentVersion};
use crate::domain::hex;
use crate::domain::manifest::Capabilities;
use crate::domain::permission::{Actor, Permission};
use crate::domain::trifecta::{self, Trifecta};
use crate::services::{agents, policy, runs, users};
use crate::store::runs::Filter;
use crate::web::api::Segments;
use crate::web::extract::paging::{Page, Query};
use crate::web::extract::{Authorized, may as permission};
use crate::web::pages::view::{Capability, People, RunRow, Shell, When, capabilities, limit_words, pretty, run_row};
use crate::web::pages::{filters, html, may, page_links, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const ROWS: u32 = 50;
/// Characters of a digest that tell it apart.
const DIGEST_CHARS: usize = 19;
const TABS: [&str; 5] = ["summary", "versions", "manifest", "source", "runs"];

#[derive(Template)]
#[template(path = "pages/agents/show.html")]
struct AgentPage {
    shell: Shell,
    agent: AgentHead,
    tab: &'static str,
    version_count: u64,
    run_count: u64,
    may_write: bool,
    may_start: bool,
    capabilities: Vec<Capability>,
    verdicts: Vec<VerdictRow>,
    trifecta: Trifecta,
    limits: Vec<Limit>,
    /// Markdown.
    readme: Option<String>,
    versions: Vec<VersionRow>,
    manifest_text: String,
    source: Option<Source>,
    input_schema: Option<String>,
    runs: Vec<RunRow>,
    next: Option<String>,
    first: Option<String>,
}

struct AgentHead {
    name: String,
    summary: String,
    category: String,
    runtime: String,
    version: String,
    latest: bool,
    created_by: String,
    created: When,
    code_bytes: u64,
    digest: String,
}

/// What the policies say to a thing that it wants.
struct VerdictRow {
    what: String,
    words: String,
    effect: &'static str,
    rule: String,
}

struct Limit {
    name: String,
    value: String,
}

struct VersionRow {
    version: String,
    created_by: String,
    created: When,
    code_bytes: u64,
    digest: String,
    latest: bool,
}

struct Source {
    file: String,
    text: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    tab: String,
    version: String,
    cursor: String,
}

type Auth = Authorized<permission::AgentsRead>;

/// `GET /agents/{agent}`
pub async fn show(
    auth: Auth,
    state: web::Data<State>,
    segments: Segments,
    query: Query<Choice>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let choice = query.0;
    let tab = TABS.into_iter().find(|tab| *tab == choice.tab).unwrap_or("summary");
    let actor = auth.actor();
    let agent = agents::find(&state.app, actor, &segments.agent()).await?;
    let versions = agents::versions(&state.app, actor, agent.id).await?;
    let wanted = if choice.version.is_empty() {
        agent.latest_version.to_string()
    } else {
        choice.version.clone()
    };
    let shown = versions
        .iter()
        .find(|version| version.version.to_string() == wanted)
        .ok_or_else(Problem::not_found)?;
    let people = People(users::names(&state.app, actor.org).await?);
    let source = match tab {
        "source" => agents::source(&state.app, actor, shown.id).await?,
        _ => None,
    };
    let (runs, next, first) = if tab == "runs" && may(actor, Permission::RunsRead) {
        run_rows(&auth, &state, &agent, &choice.cursor, &people).await?
    } else {
        (Vec::new(), None, None)
    };
    let manifest = &shown.manifest;
    html(&AgentPage {
        shell: shell(&state, &request, &auth.known, agent.name.clone(), "agents"),
        agent: head(&agent, shown, &people, &state),
        tab,
        version_count: versions.len() as u64,
        run_count: runs::count(&state.app, actor, agent.id).await?,
        may_write: may(actor, Permission::AgentsWrite),
        may_start: may(actor, Permission::RunsStart),
        capabilities: capabilities(&manifest.capabilities),
        trifecta: trifecta::of(&manifest.capabilities),
        verdicts: verdicts(&state, actor, &manifest.capabilities).await?,
        limits: manifest
            .limits
            .fields()
            .into_iter()
            .map(|(name, value, ..)| limit(name, value))
            .collect(),
        readme: shown.readme.as_deref().map(|text| without_title(text, &agent.name).to_owned()),
        versions: versions.iter().map(|version| row(version, &agent, &people, &state)).collect(),
        manifest_text: shown.manifest_text.clone(),
        source: source.map(|source| Source {
            file: manifest.entry.clone(),
            text: source.to_string(),
        }),
        input_schema: shown.input_schema.as_deref().map(pretty),
        runs,
        next,
        first,
    })
}

async fn verdicts(state: &State, actor: &Actor, granted: &Capabilities) -> Result<Vec<VerdictRow>, Problem> {
    let said = policy::of_capabilities(&state.app, actor, granted).await?;
    Ok(said
        .iter()
        .map(|verdict| VerdictRow {
            what: verdict.what.clone(),
            words: verdict.in_words(),
            effect: verdict.decision.effect().as_str(),
            rule: verdict.decision.rule().to_string(),
        })
        .collect())
}

/// A README often begins with the name, which the page shows already.
fn without_title<'a>(readme: &'a str, name: &str) -> &'a str {
    let rest = readme.trim_start().strip_prefix("# ").and_then(|text| text.strip_prefix(name));
    rest.filter(|text| text.starts_with(['\n', '\r'])).unwrap_or(readme)
}

fn limit(name: &str, value: u64) -> Limit {
    let (name, value) = limit_words(name, value);
    Limit { name, value }
}

fn digest(version: &AgentVersion) -> String {
    let mut text = format!("sha256:{}", hex::encode(&version.code_digest));
    text.truncate(DIGEST_CHARS);
    text
}

fn head(agent: &Agent, shown: &AgentVersion, people: &People, state: &State) -> AgentHead {
    AgentHead {
        name: agent.name.clone(),
        summary: shown.manifest.summary.clone(),
        category: shown.manifest.category.clone(),
        runtime: match shown.manifest.runtime {
            crate::domain::manifest::RuntimeKind::Javascript => "JavaScript".to_owned(),
            crate::domain::manifest::RuntimeKind::Component => "WebAssembly component".to_owned(),
        },
        version: shown.version.to_string(),
        latest: shown.id == agent.latest_version_id,
        created_by: people.name(shown.created_by),
        created: When::new(shown.created_at, state.app.clock.now()),
        code_bytes: shown.code_bytes,
        digest: digest(shown),
    }
}

fn row(version: &AgentVersion, agent: &Agent, people: &People, state: &State) -> VersionRow {
    VersionRow {
        version: version.version.to_string(),
        created_by: people.name(version.created_by),
        created: When::new(version.created_at, state.app.clock.now()),
        code_bytes: version.code_bytes,
        digest: digest(version),
        latest: version.id == agent.latest_version_id,
    }
}

async fn run_rows(
    auth: &Auth,
    state: &State,
    agent: &Agent,
    cursor: &str,
    people: &People,
) -> Result<(Vec<RunRow>, Option<String>, Option<String>), Problem> {
    let filter = Filter {
        agent: Some(agent.id),
        ..Filter::default()
    };
    let found = runs::list(&state.app, auth.actor(), filter, cursor.parse().ok(), ROWS + 1).await?;
    let page = Page::cut(found, ROWS, |run| run.id.to_string());
    let path = format!("/agents/{}", agent.name);
    let (next, first) = page_links(&path, &[("tab", "runs")], page.next.as_deref(), cursor.is_empty());
    let now = state.app.clock.now();
    Ok((page.items.iter().map(|run| run_row(run, people, now)).collect(), next, first))
}
