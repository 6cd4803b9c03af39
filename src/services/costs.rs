//! What was spent: from every side for the dashboard, line by line for exports.

mod export;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::export::{Export, Format, begin_export};
use super::access::require;
use super::{App, Error};
use crate::domain::budget::{self, BudgetScope, Period};
use crate::domain::id::{OrgId, PrincipalId};
use crate::domain::permission::{Actor, Permission};
use crate::domain::spending::{Dimension, Range, Span};
use crate::domain::time::Timestamp;
use crate::store::dashboard::{self as rows, Scan};
pub use crate::store::dashboard::{Cube, DearRun, Filter, Group, Groups, Limit, Runs, Sums};
use crate::store::members;

const WHAT: &str = "what was spent";
/// Agents, models, people and keys that are named; the rest is summed up.
pub const NAMED_MAX: usize = 20;
/// Of the most expensive runs.
pub const DEAR_RUNS_MAX: usize = 10;

/// What somebody wants to see.
#[derive(Clone, Debug)]
pub struct Look {
    pub span: Span,
    /// A zone's name; empty for the organization's.
    pub zone: String,
    pub filter: Filter,
    /// What the chart is made of.
    pub by: Dimension,
}

/// Something that money was spent by or on.
#[derive(Clone, Debug)]
pub struct Part {
    /// As a filter takes it: an id; of a model the provider's name, a line break and its own.
    pub key: String,
    pub name: String,
    pub sums: Sums,
    /// Of what the chart is made of.
    pub parts: Vec<i64>,
}

/// Those that spent most, and what is left of the sum.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    pub named: Vec<Part>,
    /// How many others there are, and what they spent.
    pub others: Option<(usize, Sums)>,
}

/// What was spent in a range.
#[derive(Clone, Debug)]
pub struct Report {
    pub range: Range,
    /// The name of the zone by whose clock the range is cut.
    pub zone: String,
    pub total: Sums,
    pub parts: Vec<i64>,
    /// What the range before cost up to the same point, so that like is compared with like.
    pub before_micros: i64,
    pub agents: Parts,
    pub models: Parts,
    pub principals: Parts,
    pub keys: Parts,
    /// Requests, tools, fuel and storage: sums by kind.
    pub kinds: Vec<(String, Sums)>,
    pub runs: Runs,
    /// Whether the organization ever used anything.
    pub ever: bool,
    /// Of the budget whose limit belongs into the chart of parts.
    pub part_limit: Option<Limit>,
    /// Of the budget whose window is the range.
    pub range_limit: Option<Limit>,
}

impl Report {
    pub const fn by(&self, dimension: Dimension) -> &Parts {
        match dimension {
            Dimension::Agent => &self.agents,
            Dimension::Model => &self.models,
            Dimension::Principal => &self.principals,
            Dimension::Key => &self.keys,
        }
    }
}

/// The zone of this name, or the organization's budget's, or UTC.
async fn zone_of(app: &App, org: OrgId, name: &str) -> Result<(String, jiff::tz::TimeZone), Error> {
    let name = if name.is_empty() {
        let found = app.store.read(move |reader| rows::zone(reader, org)).await?;
        found.unwrap_or_else(|| "UTC".to_owned())
    } else {
        name.to_owned()
    };
    let unknown = || Error::field("/zone", format!("{name:?} is no time zone: write one such as Europe/Berlin"));
    let zone = budget::zone(&name).ok_or_else(unknown)?;
    Ok((name, zone))
}

/// The range that a look is over, and the name of its zone.
///
/// # Errors
/// `Forbidden`; `Invalid` where there is no such zone.
pub async fn range(app: &App, actor: &Actor, span: Span, zone: &str) -> Result<(Range, String), Error> {
    require(actor, Permission::CostsRead, actor.org, WHAT)?;
    let (name, zone) = zone_of(app, actor.org, zone).await?;
    let range = span.range(&zone, app.clock.now());
    Ok((
        range.ok_or_else(|| Error::Internal("the clock is out of every calendar".to_owned()))?,
        name,
    ))
}

/// What was spent, from every side.
///
/// # Errors
/// `Forbidden`; `Invalid` where there is no such zone.
pub async fn report(app: &App, actor: &Actor, look: Look) -> Result<Report, Error> {
    let (range, zone) = range(app, actor, look.span, &look.zone).await?;
    let (org, now) = (actor.org, app.clock.now());
    let (starts, ends) = (range.starts(), range.ends());
    let bounds: Arc<[Timestamp]> = range.bounds.clone().into();
    let middle = bounds.get(bounds.len() / 2).copied().unwrap_or(ends);
    let scan = |from, to| Scan {
        org,
        filter: look.filter.clone(),
        from,
        to,
        bounds: Arc::clone(&bounds),
        charted: look.by,
    };
    // As far into the range before as this one has come.
    let so_far = i64::try_from(now.since(starts).as_millis()).unwrap_or(i64::MAX);
    let before_to = starts.min(Timestamp::from_ms(range.before.as_ms().saturating_add(so_far)));
    let (before, filter) = (range.before, look.filter.clone());
    let limits_of = limited(&look.filter, org);
    let earlier = scan(starts, middle);
    let first = app.store.read(move |reader| {
        let cube = rows::cube(reader, &earlier)?;
        let before_micros = rows::spent(reader, org, &earlier.filter, before, before_to)?;
        let limits = match &limits_of {
            Some((scope, target)) => rows::limits(reader, org, *scope, target, now)?,
            None => Vec::new(),
        };
        Ok((cube, before_micros, limits, rows::ever(reader, org)?))
    });
    let later = scan(middle, ends);
    let second = app.store.read(move |reader| {
        let cube = rows::cube(reader, &later)?;
        // A model is no run's: then runs are left out.
        let runs = if filter.model.is_empty() && filter.provider.is_empty() {
            rows::runs(reader, org, &filter, starts, ends, DEAR_RUNS_MAX)?
        } else {
            Runs::default()
        };
        Ok((cube, runs))
    });
    let ((mut cube, before_micros, limits, ever), (rest, runs)) = tokio::try_join!(first, second)?;
    cube.join(rest);
    let day_limit = |limit: &&Limit| limit.period == Period::Day && limit.zone == zone;
    let part_limit = if range.hourly {
        None
    } else {
        limits.iter().find(day_limit).cloned()
    };
    let whole = match look.span {
        Span::Today => Some(Period::Day),
        Span::Month => Some(Period::Month),
        _ => None,
    };
    let range_limit = limits
        .iter()
        .find(|limit| Some(limit.period) == whole && limit.zone == zone)
        .cloned();
    named(app, org, cube, look.by, range.parts()).await.map(|named| Report {
        zone,
        total: named.total,
        parts: named.parts,
        before_micros,
        agents: named.agents,
        models: named.models,
        principals: named.principals,
        keys: named.keys,
        kinds: named.kinds,
        runs,
        ever,
        part_limit,
        range_limit,
        range,
    })
}

/// Which budgets cover exactly what a filter lets through; none where no budget can.
fn limited(filter: &Filter, org: OrgId) -> Option<(BudgetScope, String)> {
    let Filter {
        workspace,
        agent,
        principal,
        key,
        provider,
        model,
    } = filter;
    _ = org;
    if !provider.is_empty() || !model.is_empty() {
        return None;
    }
    match (workspace, agent.as_str(), principal.as_str(), key.as_str()) {
        (None, "", "", "") => Some((BudgetScope::Org, String::new())),
        (Some(workspace), "", "", "") => Some((BudgetScope::Workspace, workspace.to_string())),
        // An agent belongs to one workspace.
        (_, agent, "", "") if !agent.is_empty() => Some((BudgetScope::Agent, agent.to_owned())),
        (None, "", principal, "") if !principal.is_empty() => Some((BudgetScope::Principal, principal.to_owned())),
        (None, "", "", key) if !key.is_empty() => Some((BudgetScope::Key, key.to_owned())),
        _ => None,
    }
}

/// A cube whose greatest groups have names.
struct Named {
    total: Sums,
    parts: Vec<i64>,
    agents: Parts,
    models: Parts,
    principals: Parts,
    keys: Parts,
    kinds: Vec<(String, Sums)>,
}

async fn named(app: &App, org: OrgId, cube: Cube, by: Dimension, parts: usize) -> Result<Named, Error> {
    let read = app.store.read(move |reader| {
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        let people: BTreeMap<PrincipalId, String> = members::names(reader, org)?.into_iter().collect();
        let agent = |id: &str| {
            let found = id.parse().ok().map(|id| rows::agent_name(reader, org, id)).transpose()?;
            Ok(found.flatten().unwrap_or_else(|| "an agent that is gone".to_owned()))
        };
        let person = |id: &str| {
            let found = id.parse().ok().and_then(|id: PrincipalId| people.get(&id).cloned());
            Ok(found.unwrap_or_else(|| "somebody who left".to_owned()))
        };
        let key = |id: &str| {
            if id.is_empty() {
                return Ok("without a key".to_owned());
            }
            Ok(rows::key_name(reader, org, id)?.unwrap_or_else(|| id.to_owned()))
        };
        let model = |key: &str| {
            let (provider, model) = key.split_once('\n').unwrap_or(("", key));
            Ok(match (provider, model) {
                ("", "") => "other".to_owned(),
                ("", model) => model.to_owned(),
                (provider, model) => format!("{model} · {provider}"),
            })
        };
        let of = |dimension: Dimension, name: &dyn Fn(&str) -> Result<String, crate::store::Error>| {
            parts_of(cube.groups(dimension), (dimension == by).then_some(parts), text, name)
        };
        let mut kinds: Vec<_> = cube.kinds.iter().map(|(kind, group)| (text(kind), group.sums)).collect();
        kinds.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Named {
            total: cube.total,
            parts: cube.parts.clone(),
            agents: of(Dimension::Agent, &agent)?,
            models: of(Dimension::Model, &model)?,
            principals: of(Dimension::Principal, &person)?,
            keys: of(Dimension::Key, &key)?,
            kinds,
        })
    });
    Ok(read.await?)
}

fn parts_of(
    groups: &Groups,
    charted: Option<usize>,
    text: impl Fn(&[u8]) -> String,
    name: &dyn Fn(&str) -> Result<String, crate::store::Error>,
) -> Result<Parts, crate::store::Error> {
    let mut sorted: Vec<(&Vec<u8>, &Group)> = groups.iter().collect();
    sorted.sort_by_key(|(key, group)| (Reverse(group.sums.cost_micros), Reverse(group.sums.calls), *key));
    let mut found = Parts::default();
    for (key, group) in sorted.iter().take(NAMED_MAX) {
        let key = text(key);
        let mut parts = group.parts.clone();
        if let Some(len) = charted {
            parts.resize(len, 0);
        }
        found.named.push(Part {
            name: name(&key)?,
            key,
            sums: group.sums,
            parts,
        });
    }
    let others = sorted.iter().skip(NAMED_MAX);
    if others.len() > 0 {
        let count = others.len();
        let mut sums = Sums::default();
        others.for_each(|(_, group)| sums.add(&group.sums));
        found.others = Some((count, sums));
    }
    Ok(found)
}

/// The name of what a filter names, where it is the organization's.
///
/// # Errors
/// `Forbidden`.
pub async fn name_of(app: &App, actor: &Actor, dimension: Dimension, id: &str) -> Result<Option<String>, Error> {
    require(actor, Permission::CostsRead, actor.org, WHAT)?;
    let (org, id) = (actor.org, id.to_owned());
    let read = app.store.read(move |reader| match dimension {
        Dimension::Agent => id.parse().ok().map_or(Ok(None), |id| rows::agent_name(reader, org, id)),
        Dimension::Key => rows::key_name(reader, org, &id),
        Dimension::Principal => {
            let names = members::names(reader, org)?;
            Ok(id
                .parse()
                .ok()
                .and_then(|id: PrincipalId| names.into_iter().find(|(known, _)| *known == id).map(|(_, name)| name)))
        }
        Dimension::Model => Ok(Some(id)),
    });
    Ok(read.await?)
}
