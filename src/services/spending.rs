//! What was used and spent in a time, told apart by day, agent, model, starter, key or workspace.

use std::collections::BTreeMap;

use super::access::require;
use super::{App, Error};
use crate::domain::budget::{Period, zone};
use crate::domain::money::Usage;
use crate::domain::permission::{Actor, Permission};
use crate::domain::time::Timestamp;
use crate::store::spending::{self, Sum};

/// Sums that an answer has at most.
pub const SUMS_MAX: u32 = 10_000;
/// Quarters of an hour that are read for days: two years of five kinds.
const QUARTERS_MAX: u32 = 400_000;

/// By what sums are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Day,
    Agent,
    Model,
    Principal,
    Key,
    Workspace,
}

impl By {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "day" => Self::Day,
            "agent" => Self::Agent,
            "model" => Self::Model,
            "principal" => Self::Principal,
            "key" => Self::Key,
            "workspace" => Self::Workspace,
            _ => return None,
        })
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub from: Timestamp,
    /// Not included.
    pub to: Timestamp,
    pub by: By,
    /// By whose clock days begin.
    pub time_zone: String,
    /// Only of the workspace that the actor is in.
    pub only_workspace: bool,
}

/// Sums by key and kind. Times are cut to quarters of an hour. Of days the key is the date, such as `2026-11-21`.
///
/// # Errors
/// `Forbidden`; `Invalid` where the time or its zone is none.
pub async fn sums(app: &App, actor: &Actor, asked: Asked) -> Result<Vec<Sum>, Error> {
    require(actor, Permission::CostsRead, actor.org, "what was spent")?;
    if asked.from >= asked.to {
        return Err(Error::field("/to", "the end must come after the beginning"));
    }
    let Some(zone) = zone(&asked.time_zone) else {
        return Err(Error::field("/time_zone", "there is no such time zone; write one such as Europe/Berlin or UTC"));
    };
    let (by, limit) = match asked.by {
        By::Day => (spending::By::Quarter, QUARTERS_MAX),
        By::Agent => (spending::By::Agent, SUMS_MAX),
        By::Model => (spending::By::Model, SUMS_MAX),
        By::Principal => (spending::By::Principal, SUMS_MAX),
        By::Key => (spending::By::Key, SUMS_MAX),
        By::Workspace => (spending::By::Workspace, SUMS_MAX),
    };
    let whose = (actor.org, asked.only_workspace.then_some(actor.workspace));
    let time = (asked.from, asked.to);
    let found = app.store.read(move |reader| spending::sums(reader, whose, time, by, limit)).await?;
    if asked.by != By::Day {
        return Ok(found);
    }
    let mut days: BTreeMap<(i64, String), Sum> = BTreeMap::new();
    for sum in found {
        let at = Timestamp::from_ms(sum.key.parse().unwrap_or(0));
        let starts = Period::Day.window(&zone, at).starts;
        match days.entry((starts.as_ms(), sum.kind.clone())) {
            std::collections::btree_map::Entry::Vacant(place) => {
                let date = jiff::Timestamp::from_millisecond(at.as_ms()).map(|at| at.to_zoned(zone.clone()).date());
                place.insert(Sum {
                    key: date.map(|date| date.to_string()).unwrap_or_default(),
                    ..sum
                });
            }
            std::collections::btree_map::Entry::Occupied(mut day) => add(day.get_mut(), &sum),
        }
    }
    Ok(days.into_values().collect())
}

fn add(to: &mut Sum, sum: &Sum) {
    to.calls += sum.calls;
    to.estimated += sum.estimated;
    to.cost_micros = to.cost_micros.saturating_add(sum.cost_micros);
    to.usage = Usage::plus(to.usage, sum.usage);
    to.quantity = to.quantity.saturating_add(sum.quantity);
}
