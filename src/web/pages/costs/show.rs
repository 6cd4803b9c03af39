//! The dashboard: every row filters it further, and runs lead to their pages.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::chart::{self, Chart};
use super::signed;
use crate::domain::budget;
use crate::domain::permission::{Actor, Permission};
use crate::domain::run::RunState;
use crate::domain::spending::{Dimension, Span};
use crate::services::costs::{self, DearRun, Filter, Format, Look, Part, Parts, Report, Sums};
use crate::services::users;
use crate::web::api::costs::file;
use crate::web::context::Context;
use crate::web::extract::paging::Query;
use crate::web::extract::{Authorized, may as permission};
use crate::web::pages::settings::budgets::{Banner, banners};
use crate::web::pages::view::{People, Shell, When};
use crate::web::pages::{filters, html, may, shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const PATH: &str = "/costs";
/// Zones that the page offers beside the one in use; any other can be written into the address.
pub const ZONES: [&str; 12] = [
    "UTC",
    "Europe/London",
    "Europe/Berlin",
    "Europe/Athens",
    "Asia/Kolkata",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Australia/Sydney",
    "America/Sao_Paulo",
    "America/New_York",
    "America/Chicago",
    "America/Los_Angeles",
];

#[derive(Template)]
#[template(path = "pages/costs/show.html")]
struct CostsPage {
    shell: Shell,
    /// Whether anything was ever used.
    ever: bool,
    may_budget: bool,
    scopes: Vec<Choice>,
    spans: Vec<Choice>,
    zones: Vec<ZoneChoice>,
    /// What the form of zones sends along.
    kept: Vec<(&'static str, String)>,
    picked: Vec<Picked>,
    tiles: Vec<Tile>,
    by: Vec<Choice>,
    chart: Chart,
    climb: Option<Chart>,
    tables: Vec<Table>,
    tokens: Vec<TokenKind>,
    kinds: Vec<KindRow>,
    runs: Vec<DearRow>,
    csv: String,
    json: String,
    estimated: u64,
    banners: Vec<Banner>,
}

struct Choice {
    href: String,
    word: &'static str,
    current: bool,
}

struct ZoneChoice {
    name: String,
    selected: bool,
}

/// A filter that is in force, and the address without it.
struct Picked {
    word: &'static str,
    name: String,
    without: String,
}

struct Tile {
    word: &'static str,
    value: String,
    note: String,
}

struct Table {
    id: &'static str,
    title: &'static str,
    column: &'static str,
    rows: Vec<TableRow>,
    others: Option<(usize, String)>,
}

struct TableRow {
    name: String,
    href: String,
    cost: String,
    /// Of the dearest, in thousandths.
    share: i64,
    percent: String,
    calls: u64,
    tokens: u64,
    estimated: bool,
}

struct TokenKind {
    word: &'static str,
    count: u64,
    share: u64,
    percent: String,
}

struct KindRow {
    word: &'static str,
    calls: u64,
    quantity: String,
    cost: String,
}

struct DearRow {
    id: String,
    agent: String,
    version: String,
    state: &'static str,
    started_by: String,
    created: When,
    cost_micros: u64,
    tree_micros: Option<u64>,
    tokens: u64,
}

/// The page's address.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    range: String,
    zone: String,
    scope: String,
    by: String,
    agent: String,
    principal: String,
    key: String,
    provider: String,
    model: String,
    format: String,
    /// What an action that led here has to say.
    done: String,
}

impl Asked {
    fn pairs(&self) -> [(&'static str, &str); 9] {
        [
            ("range", &self.range),
            ("zone", &self.zone),
            ("scope", &self.scope),
            ("by", &self.by),
            ("agent", &self.agent),
            ("principal", &self.principal),
            ("key", &self.key),
            ("provider", &self.provider),
            ("model", &self.model),
        ]
    }

    fn address(&self, path: &str, more: &[(&str, &str)]) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let own = self.pairs();
        for (name, value) in own.iter().chain(more).filter(|(_, value)| !value.is_empty()) {
            query.append_pair(name, value);
        }
        let query = query.finish();
        if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{query}")
        }
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> String {
        let mut changed = self.clone();
        change(&mut changed);
        changed.address(PATH, &[])
    }

    fn span(&self) -> Span {
        Span::parse(&self.range).unwrap_or(Span::Days30)
    }

    fn by(&self) -> Dimension {
        Dimension::parse(&self.by).unwrap_or(Dimension::Agent)
    }

    fn is_org(&self) -> bool {
        self.scope == "org"
    }

    fn filter(&self, actor: &Actor) -> Filter {
        Filter {
            workspace: (!self.is_org()).then_some(actor.workspace),
            agent: self.agent.clone(),
            principal: self.principal.clone(),
            key: self.key.clone(),
            provider: self.provider.clone(),
            model: self.model.clone(),
        }
    }

    /// The address with one more filter.
    fn narrowed(&self, dimension: Dimension, key: &str) -> String {
        self.with(|asked| match dimension {
            Dimension::Agent => key.clone_into(&mut asked.agent),
            Dimension::Principal => key.clone_into(&mut asked.principal),
            Dimension::Key => key.clone_into(&mut asked.key),
            Dimension::Model => {
                let (provider, model) = key.split_once('\n').unwrap_or(("", key));
                provider.clone_into(&mut asked.provider);
                model.clone_into(&mut asked.model);
            }
        })
    }
}

const fn span_word(span: Span) -> &'static str {
    match span {
        Span::Today => "Today",
        Span::Week => "7 days",
        Span::Days30 => "30 days",
        Span::Days90 => "90 days",
        Span::Month => "This month",
        Span::LastMonth => "Last month",
    }
}

const fn dimension_word(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Agent => "Agent",
        Dimension::Model => "Model",
        Dimension::Principal => "Person or service",
        Dimension::Key => "API key",
    }
}

/// `GET /costs`
pub async fn show(
    auth: Authorized<permission::CostsRead>,
    state: web::Data<State>,
    query: Query<Asked>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (actor, asked) = (auth.actor(), query.0);
    let look = Look {
        span: asked.span(),
        zone: asked.zone.clone(),
        filter: asked.filter(actor),
        by: asked.by(),
    };
    let report = costs::report(&state.app, actor, look).await?;
    let people = People(users::names(&state.app, actor.org).await?);
    let now = state.app.clock.now();
    let zone = budget::zone(&report.zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let charted = report.by(asked.by());
    let word = dimension_word(asked.by());
    html(&CostsPage {
        shell: shell(&state, &request, &auth.known, "Costs", "costs"),
        ever: report.ever,
        may_budget: may(actor, Permission::BudgetsManage),
        scopes: vec![
            Choice {
                href: asked.with(|asked| asked.scope.clear()),
                word: "This workspace",
                current: !asked.is_org(),
            },
            Choice {
                href: asked.with(|asked| "org".clone_into(&mut asked.scope)),
                word: "Whole organization",
                current: asked.is_org(),
            },
        ],
        spans: Span::ALL
            .iter()
            .map(|span| Choice {
                href: asked.with(|asked| span.as_str().clone_into(&mut asked.range)),
                word: span_word(*span),
                current: *span == asked.span(),
            })
            .collect(),
        zones: zones(&report.zone),
        kept: asked
            .pairs()
            .into_iter()
            .filter(|(name, value)| *name != "zone" && !value.is_empty())
            .map(|(name, value)| (name, value.to_owned()))
            .collect(),
        picked: picked(&state, actor, &asked).await?,
        tiles: tiles(&report, asked.span()),
        by: Dimension::ALL
            .iter()
            .map(|dimension| Choice {
                href: asked.with(|asked| dimension.as_str().clone_into(&mut asked.by)),
                word: dimension_word(*dimension),
                current: *dimension == asked.by(),
            })
            .collect(),
        chart: chart::bars(
            &report.range,
            &zone,
            &report.parts,
            &charted.named,
            &word.to_lowercase(),
            report.part_limit.as_ref(),
        ),
        climb: report
            .range_limit
            .as_ref()
            .map(|limit| chart::climb(&report.range, &zone, &report.parts, limit, now)),
        tables: Dimension::ALL
            .iter()
            .map(|dimension| table(*dimension, report.by(*dimension), report.total.cost_micros, &asked))
            .collect(),
        tokens: tokens(&report.total),
        kinds: report.kinds.iter().map(|(kind, sums)| kind_row(kind, sums)).collect(),
        runs: report.runs.dearest.iter().map(|run| dear_row(run, &people, now)).collect(),
        csv: asked.address("/costs/export", &[("format", "csv")]),
        json: asked.address("/costs/export", &[("format", "json")]),
        estimated: report.total.estimated,
        banners: banners(&state, actor).await?,
    })
}

/// `GET /costs/export`: the ledger's lines of what the page shows.
pub async fn export(
    auth: Authorized<permission::CostsRead>,
    state: web::Data<State>,
    query: Query<Asked>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (actor, asked) = (auth.actor(), query.0);
    let format = Format::parse(&asked.format).ok_or_else(|| Problem::invalid("/format", "it is csv or json"))?;
    let (range, _) = costs::range(&state.app, actor, asked.span(), &asked.zone).await?;
    let times = (range.starts(), range.ends());
    file(&state, actor, asked.filter(actor), times, format, Context::origin(&request)).await
}

fn zones(current: &str) -> Vec<ZoneChoice> {
    let mut names: Vec<String> = ZONES.iter().map(|name| (*name).to_owned()).collect();
    if !names.iter().any(|name| name == current) {
        names.insert(0, current.to_owned());
    }
    let choice = |name: String| ZoneChoice {
        selected: name == current,
        name,
    };
    names.into_iter().map(choice).collect()
}

async fn picked(state: &State, actor: &Actor, asked: &Asked) -> Result<Vec<Picked>, Problem> {
    let mut picked = Vec::new();
    for (dimension, id) in [
        (Dimension::Agent, &asked.agent),
        (Dimension::Principal, &asked.principal),
        (Dimension::Key, &asked.key),
        (Dimension::Model, &asked.model),
    ] {
        if !id.is_empty() {
            let name = costs::name_of(&state.app, actor, dimension, id).await?;
            picked.push(Picked {
                word: dimension_word(dimension),
                name: name.unwrap_or_else(|| id.clone()),
                without: asked.narrowed(dimension, ""),
            });
        }
    }
    Ok(picked)
}

fn tiles(report: &Report, span: Span) -> Vec<Tile> {
    let total = &report.total;
    let tile = |word, value, note: String| Tile { word, value, note };
    let change = match (report.before_micros, total.cost_micros) {
        (0, 0) => "as before".to_owned(),
        (0, _) => "nothing was spent then".to_owned(),
        (before, now) => {
            let percent = (now - before) as f64 / before as f64 * 100.0;
            format!("{}{percent:.0} %", if percent >= 0.0 { "+" } else { "" }).replace('-', "−")
        }
    };
    let mut tiles = vec![
        tile(
            "Spent",
            signed(total.cost_micros),
            if total.estimated > 0 {
                format!("{} calls estimated", filters::with_commas(total.estimated))
            } else {
                String::new()
            },
        ),
        tile(
            match span {
                Span::Today => "By this time yesterday",
                Span::Month | Span::LastMonth => "The month before",
                _ => "As many days before",
            },
            signed(report.before_micros),
            change,
        ),
        tile("Model calls", filters::with_commas(total.calls), String::new()),
    ];
    if report.runs.succeeded > 0 {
        let each = total.cost_micros / i64::try_from(report.runs.succeeded).unwrap_or(i64::MAX).max(1);
        let note = format!("{} succeeded", filters::with_commas(report.runs.succeeded));
        tiles.push(tile("Per successful run", signed(each), note));
    }
    let input = total.input_tokens + total.cache_read_tokens + total.cache_write_tokens;
    if let Some(percent) = (total.cache_read_tokens * 100).checked_div(input) {
        tiles.push(tile("Input from cache", format!("{percent} %"), String::new()));
    }
    tiles
}

fn table(dimension: Dimension, parts: &Parts, total: i64, asked: &Asked) -> Table {
    let most = parts.named.first().map_or(1, |part| part.sums.cost_micros).max(1);
    let row = |part: &Part| TableRow {
        href: asked.narrowed(dimension, &part.key),
        cost: signed(part.sums.cost_micros),
        share: (part.sums.cost_micros.max(0).saturating_mul(1000)) / most,
        percent: percent(part.sums.cost_micros, total),
        calls: part.sums.calls,
        tokens: part.sums.input_tokens + part.sums.cache_read_tokens + part.sums.cache_write_tokens + part.sums.output_tokens,
        estimated: part.sums.estimated > 0,
        // Lines without a key cannot be asked for alone.
        name: part.name.clone(),
    };
    let (id, title) = match dimension {
        Dimension::Agent => ("by-agent", "By agent"),
        Dimension::Model => ("by-model", "By model"),
        Dimension::Principal => ("by-person", "By who started the run"),
        Dimension::Key => ("by-key", "By API key"),
    };
    let linked = |part: &Part| {
        let mut row = row(part);
        if part.key.trim().is_empty() {
            row.href.clear();
        }
        row
    };
    Table {
        id,
        title,
        column: dimension_word(dimension),
        rows: parts.named.iter().map(linked).collect(),
        others: parts.others.map(|(count, sums)| (count, signed(sums.cost_micros))),
    }
}

fn percent(part: i64, total: i64) -> String {
    match part.saturating_mul(100).checked_div(total) {
        Some(percent) if total > 0 && part >= 0 => format!("{percent} %"),
        _ => String::new(),
    }
}

fn tokens(total: &Sums) -> Vec<TokenKind> {
    let all = total.input_tokens + total.cache_read_tokens + total.cache_write_tokens + total.output_tokens;
    let kind = |word, count: u64| TokenKind {
        word,
        count,
        share: (count * 1000).checked_div(all).unwrap_or_default(),
        percent: (count * 100)
            .checked_div(all)
            .map(|percent| format!("{percent} %"))
            .unwrap_or_default(),
    };
    vec![
        kind("Input, not cached", total.input_tokens),
        kind("Input read from cache", total.cache_read_tokens),
        kind("Input written to cache", total.cache_write_tokens),
        kind("Output", total.output_tokens),
    ]
}

fn kind_row(kind: &str, sums: &Sums) -> KindRow {
    let (word, quantity) = match kind {
        "http" => ("HTTP requests", String::new()),
        "tool" => ("Tool calls", String::new()),
        "fuel" => ("Fuel", format!("{} units", filters::with_commas(sums.quantity))),
        "storage" => ("Storage", filters::size(sums.quantity)),
        "session" => ("Sessions", String::new()),
        _ => ("Other", filters::with_commas(sums.quantity)),
    };
    KindRow {
        word,
        calls: sums.calls,
        quantity,
        cost: signed(sums.cost_micros),
    }
}

fn dear_row(run: &DearRun, people: &People, now: crate::domain::time::Timestamp) -> DearRow {
    let state = match run.state {
        RunState::Queued | RunState::Waiting if run.held => "paused",
        state => state.as_str(),
    };
    DearRow {
        id: run.id.to_string(),
        agent: run.agent.clone(),
        version: run.version.clone(),
        state,
        started_by: people.name(run.started_by),
        created: When::new(run.created_at, now),
        cost_micros: run.cost_micros,
        tree_micros: Some(run.tree_micros).filter(|tree| *tree > run.cost_micros),
        tokens: run.tokens,
    }
}
