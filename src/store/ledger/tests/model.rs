//! What money is, in the simplest way: a list of lines, added up anew each time.

use jiff::tz::TimeZone;

use super::super::Payer;
use crate::domain::budget::{BudgetScope, Fit, Period};
use crate::domain::id::BudgetId;
use crate::domain::time::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Reserved,
    Settled,
    Released,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Model,
    Http,
    Fuel,
}

#[derive(Clone, Debug)]
pub struct Line {
    pub run: usize,
    /// The number of its call in the run, and the try of that.
    pub call: u32,
    pub tries: u32,
    pub kind: Kind,
    pub state: State,
    pub at: Timestamp,
    pub reserved: i64,
    /// As it was settled, and what corrections made of it.
    pub cost: i64,
    pub corrected: i64,
    pub corrections: usize,
    pub tokens: i64,
    pub quantity: i64,
    pub estimated: bool,
}

impl Line {
    pub const fn spent(&self) -> i64 {
        match self.state {
            State::Settled => self.cost + self.corrected,
            _ => 0,
        }
    }

    pub const fn held(&self) -> i64 {
        match self.state {
            State::Reserved => self.reserved,
            _ => 0,
        }
    }

    /// What it costs at so many halves of the first price; `None` where nobody knows.
    pub const fn priced(&self, halves: i64) -> Option<i64> {
        match self.kind {
            Kind::Model if self.estimated && self.tokens == 0 => None,
            Kind::Model => Some(self.tokens * halves / 2),
            Kind::Http | Kind::Fuel => Some(self.quantity * halves / 2),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Budget {
    pub id: BudgetId,
    pub scope: BudgetScope,
    pub target: String,
    pub limit: i64,
    pub raise: (i64, Option<Timestamp>),
    pub period: Period,
    pub zone: &'static str,
}

impl Budget {
    pub fn covers(&self, payer: &Payer) -> bool {
        match self.scope {
            BudgetScope::Org => true,
            BudgetScope::Workspace => self.target == payer.workspace.to_string(),
            BudgetScope::Agent => self.target == payer.agent.to_string(),
            BudgetScope::Principal => self.target == payer.principal.to_string(),
            BudgetScope::Key => self.target == payer.key,
        }
    }

    pub fn limit_at(&self, now: Timestamp) -> i64 {
        match self.raise {
            (raise, Some(until)) if now < until => self.limit + raise,
            _ => self.limit,
        }
    }

    /// Whether two times are of the same day, week or month by the clock of the zone.
    pub fn together(&self, one: Timestamp, other: Timestamp) -> bool {
        let zone = TimeZone::get(self.zone).unwrap();
        let date = |at: Timestamp| {
            let at = jiff::Timestamp::from_millisecond(at.as_ms()).unwrap();
            at.to_zoned(zone.clone()).date()
        };
        let (one, other) = (date(one), date(other));
        match self.period {
            Period::Once => true,
            Period::Day => one == other,
            Period::Week => {
                let week = |date: jiff::civil::Date| (date.iso_week_date().year(), date.iso_week_date().week());
                week(one) == week(other)
            }
            Period::Month => (one.year(), one.month()) == (other.year(), other.month()),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Run {
    pub payer: Payer,
    pub parent: Option<usize>,
    pub budget: Option<i64>,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub runs: Vec<Run>,
    pub lines: Vec<Line>,
    pub budgets: Vec<Budget>,
}

/// What is spent, and what is reserved.
pub type Sums = (i64, i64);

impl Model {
    pub fn sum(&self, wanted: impl Fn(&Line) -> bool) -> Sums {
        let lines = self.lines.iter().filter(|line| wanted(line));
        lines.fold((0, 0), |(spent, held), line| (spent + line.spent(), held + line.held()))
    }

    pub fn payer(&self, line: &Line) -> &Payer {
        &self.runs[line.run].payer
    }

    pub fn of_budget(&self, budget: &Budget, at: Timestamp) -> Sums {
        self.sum(|line| budget.covers(self.payer(line)) && budget.together(line.at, at))
    }

    /// How far a budget is passed.
    pub fn excess(&self, budget: &Budget, now: Timestamp) -> i64 {
        let (spent, held) = self.of_budget(budget, now);
        (spent + held - budget.limit_at(now)).max(0)
    }

    fn is_below(&self, run: usize, top: usize) -> bool {
        run == top || self.runs[run].parent.is_some_and(|parent| self.is_below(parent, top))
    }

    /// Of a run and those below it.
    pub fn of_tree(&self, top: usize) -> Sums {
        self.sum(|line| self.is_below(line.run, top))
    }

    /// How far a run has passed its budget.
    pub fn run_excess(&self, run: usize) -> i64 {
        let (spent, held) = self.of_tree(run);
        self.runs[run].budget.map_or(0, |limit| (spent + held - limit).max(0))
    }

    /// What each budget says to a call of a run: of the runs from it upwards, then of those that cover it in the order in which they were made.
    pub fn asked(&self, run: usize, wanted: i64, now: Timestamp) -> Vec<Fit> {
        let mut fits = Vec::new();
        let mut at = Some(run);
        while let Some(run) = at {
            if let Some(limit) = self.runs[run].budget {
                fits.push(fit(limit, self.of_tree(run), wanted));
            }
            at = self.runs[run].parent;
        }
        let payer = &self.runs[run].payer;
        let mut covering: Vec<&Budget> = self.budgets.iter().filter(|budget| budget.covers(payer)).collect();
        covering.sort_by_key(|budget| budget.id.to_string());
        let all = covering.iter();
        fits.extend(all.map(|budget| fit(budget.limit_at(now), self.of_budget(budget, now), wanted)));
        fits
    }
}

fn fit(limit: i64, (spent, held): Sums, wanted: i64) -> Fit {
    if spent + held + wanted <= limit {
        Fit::Fits
    } else if spent + wanted <= limit {
        Fit::InLine
    } else {
        Fit::Exhausted
    }
}
