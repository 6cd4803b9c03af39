//! What people are told of a budget: each step of it once in a window, and once that runs wait for it.

use rusqlite::named_params;

use super::{Budget, Over, kept, standing, stands};
use crate::domain::budget::{ALERTS_PERCENT, OnExhausted, Standing, zone};
use crate::domain::money::dollars;
use crate::domain::notification::Tone;
use crate::domain::permission::Role;
use crate::domain::time::Timestamp;
use crate::store::{Error, Tx, notifications};

pub(in crate::store) const ALERTED: &str = "UPDATE budget_windows SET alerted = :percent WHERE budget_id = :budget AND starts_at = :starts";

fn reached(standing: Standing) -> u32 {
    let reached = ALERTS_PERCENT.iter().copied().rfind(|&percent| standing.percent() >= percent);
    reached.unwrap_or(0)
}

fn keep(tx: &Tx<'_>, budget: &Budget, starts: Timestamp, percent: u32) -> Result<(), Error> {
    let params = named_params! { ":percent": percent, ":budget": budget.id, ":starts": starts };
    tx.execute(ALERTED, params).map(drop)
}

/// Tells people where the window that begins at `starts` has come to a step that they were not told of.
pub(in crate::store) fn after_spending(
    tx: &Tx<'_>,
    budget: &Budget,
    starts: Timestamp,
    (spent, alerted): (i64, u32),
    now: Timestamp,
) -> Result<(), Error> {
    let standing = standing(budget, (spent, 0), now);
    let percent = reached(standing);
    if percent > alerted {
        keep(tx, budget, starts, percent)?;
        tell_spent(tx, budget, standing, percent, now)?;
    }
    Ok(())
}

/// To be called when a budget was made or changed: what was spent before may be a step of it already, and of a larger limit the steps are yet
/// to come.
pub fn after_change(tx: &Tx<'_>, budget: &Budget, now: Timestamp) -> Result<(), Error> {
    let (standing, window) = (stands(tx, budget, now)?, budget.window(now));
    let alerted = kept(tx, budget, window)?.map_or(0, |(_, alerted)| alerted);
    let percent = reached(standing);
    if percent != alerted {
        keep(tx, budget, window.starts, percent)?;
    }
    if percent > alerted {
        tell_spent(tx, budget, standing, percent, now)?;
    }
    Ok(())
}

/// Tells people that runs wait for a budget, of which there may be something left: too little for the next call.
pub fn after_hold(tx: &Tx<'_>, budget: &Budget, over: &Over, now: Timestamp) -> Result<(), Error> {
    let (standing, window) = (stands(tx, budget, now)?, budget.window(now));
    if kept(tx, budget, window)?.is_some_and(|(_, alerted)| alerted >= 100) {
        return Ok(());
    }
    keep(tx, budget, window.starts, 100)?;
    let body = format!(
        "{} of {} is spent, and the next call can cost {}.{}{}",
        dollars(standing.spent_micros),
        dollars(standing.limit_micros),
        dollars(over.wanted_micros),
        effect(budget),
        begins_anew(budget, now)
    );
    tell(
        tx,
        budget,
        Tone::Fail,
        format!("Runs wait for the budget “{}”", budget.name),
        body,
        now,
    )
}

fn tell_spent(tx: &Tx<'_>, budget: &Budget, standing: Standing, percent: u32, now: Timestamp) -> Result<(), Error> {
    let is_used_up = percent >= 100;
    let title = if is_used_up {
        format!("The budget “{}” is used up", budget.name)
    } else {
        format!("The budget “{}” is at {percent} %", budget.name)
    };
    let body = format!(
        "{} of {} is spent.{}{}",
        dollars(standing.spent_micros),
        dollars(standing.limit_micros),
        if is_used_up { effect(budget) } else { "" },
        begins_anew(budget, now)
    );
    let tone = if is_used_up { Tone::Fail } else { Tone::Wait };
    tell(tx, budget, tone, title, body, now)
}

/// In the station, and through its channels.
fn tell(tx: &Tx<'_>, budget: &Budget, tone: Tone, title: String, body: String, now: Timestamp) -> Result<(), Error> {
    let new = notifications::New {
        org: budget.org,
        min_role: Role::Operator,
        tone,
        title,
        body,
        link: "/settings/budgets".to_owned(),
    };
    notifications::add(tx, &new, now).map(drop)
}

const fn effect(budget: &Budget) -> &'static str {
    match budget.on_exhausted {
        OnExhausted::Hold => " Runs whose next call costs something wait until there is money again.",
        OnExhausted::Fail => " Calls that cost something fail until there is money again.",
    }
}

/// ` It begins anew on 2026-12-01 at 00:00 (Europe/Berlin).`
fn begins_anew(budget: &Budget, now: Timestamp) -> String {
    let Some(ends) = budget.window(now).ends else {
        return String::new();
    };
    let zone = zone(&budget.time_zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let civil = jiff::Timestamp::from_millisecond(ends.as_ms()).map(|at| at.to_zoned(zone).datetime());
    let at = civil.map_or_else(
        |_| ends.to_string(),
        |civil| format!("{} ({})", civil.strftime("on %Y-%m-%d at %H:%M"), budget.time_zone),
    );
    format!(" It begins anew {at}.")
}
