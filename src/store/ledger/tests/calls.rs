//! What calls do to money, in the store and in the model.

use std::time::Duration;

use super::super::*;
use super::model::{self, Kind, State};
use super::world::World;
use crate::domain::budget::{Fit, Standing};
use crate::store::budgets;

fn item(kind: Kind, quantity: u64) -> Item {
    let (kind, model) = match kind {
        Kind::Model => (LineKind::Model, "m"),
        Kind::Http => (LineKind::Http, "example.com"),
        Kind::Fuel => (LineKind::Fuel, "fuel"),
    };
    Item {
        kind,
        provider: "p".to_owned(),
        provider_name: "p".to_owned(),
        model: model.to_owned(),
        quantity,
    }
}

fn charge(cost: i64, estimated: bool, model: &str) -> Charge {
    let tokens = cost.unsigned_abs();
    Charge {
        provider: "p".to_owned(),
        provider_name: "p".to_owned(),
        model: model.to_owned(),
        usage: Usage {
            output_tokens: tokens,
            ..Usage::default()
        },
        cost_micros: tokens,
        estimated,
    }
}

pub fn key(line: &model::Line) -> TryKey {
    TryKey {
        segment: 0,
        call: line.call,
        sub: 0,
        tries: line.tries,
    }
}

impl World {
    pub async fn reserve(&mut self, run: usize, micros: u64, is_http: bool) {
        let run = run % self.model.runs.len();
        self.calls += 1;
        let kind = if is_http { Kind::Http } else { Kind::Model };
        let line = model::Line {
            run,
            call: self.calls,
            tries: 0,
            kind,
            state: State::Reserved,
            at: self.now(),
            reserved: i64::try_from(micros).unwrap(),
            cost: 0,
            corrected: 0,
            corrections: 0,
            tokens: 0,
            quantity: 0,
            estimated: false,
        };
        let expected = self.model.asked(run, line.reserved, line.at);
        let (payer, key, now) = (self.model.runs[run].payer.clone(), key(&line), line.at);
        let fits = self
            .write(move |tx| {
                let mut fits = Vec::new();
                for purse in purses(tx, payer.org, payer.run)? {
                    let standing = purse.budget_micros.map(|limit_micros| Standing {
                        limit_micros,
                        spent_micros: purse.spent_micros,
                        reserved_micros: purse.reserved_micros,
                    });
                    fits.extend(standing.map(|standing| standing.fits(micros)));
                }
                for budget in budgets::covering(tx, &payer)? {
                    fits.push(budgets::stands(tx, &budget, now)?.fits(micros));
                }
                if fits.iter().all(|fit| *fit == Fit::Fits) {
                    assert_eq!(reserve(tx, &payer, &key, &item(kind, 0), micros, now)?, 0);
                }
                Ok(fits)
            })
            .await;
        assert_eq!(fits, expected, "what the budgets say to a call of run {run} for {micros}");
        if fits.iter().all(|fit| *fit == Fit::Fits) {
            self.model.lines.push(line);
        }
    }

    /// Settles an open line with what each model takes; without any it is released.
    pub async fn settle(&mut self, at: usize, costs: &[(i64, bool, &str)]) {
        let line = self.model.lines[at].clone();
        let is_model = line.kind == Kind::Model;
        // One who is no model is paid once, and counts uses.
        let costs = if is_model { costs } else { &costs[..costs.len().min(1)] };
        let quantity = u64::from(!is_model);
        let charges: Vec<Charge> = costs
            .iter()
            .map(|&(cost, estimated, name)| Charge {
                usage: if is_model {
                    charge(cost, estimated, name).usage
                } else {
                    Usage::default()
                },
                model: if is_model { name.to_owned() } else { String::new() },
                ..charge(cost, estimated, name)
            })
            .collect();
        let settlement = (!charges.is_empty()).then_some(Settlement { charges, quantity });
        let (org, run, key, kind, now) = (
            self.org,
            self.model.payer(&line).run,
            key(&line),
            item(line.kind, 0).kind,
            self.now(),
        );
        let was_reserved = self
            .write(move |tx| {
                let first = settle(tx, (org, run), &key, kind, settlement.as_ref(), now)?;
                // Whoever comes second changes nothing.
                assert!(!settle(tx, (org, run), &key, kind, settlement.as_ref(), now)?);
                Ok(first)
            })
            .await;
        assert!(was_reserved);
        let settled = |line: &mut model::Line, cost: i64, estimated: bool| {
            line.state = State::Settled;
            line.cost = cost;
            line.estimated = estimated;
            line.tokens = if is_model { cost } else { 0 };
            line.quantity = i64::from(!is_model);
        };
        match costs {
            [] => self.model.lines[at].state = State::Released,
            [(cost, estimated, _), rest @ ..] => {
                settled(&mut self.model.lines[at], *cost, *estimated);
                for (tries, (cost, estimated, _)) in (line.tries + 1..).zip(rest) {
                    let mut beside = model::Line {
                        tries,
                        reserved: 0,
                        ..line.clone()
                    };
                    settled(&mut beside, *cost, *estimated);
                    self.model.lines.push(beside);
                }
            }
        }
    }

    /// Settles open lines at all that was reserved.
    pub fn lost(&mut self, which: impl Fn(&model::Line) -> bool) {
        for line in self
            .model
            .lines
            .iter_mut()
            .filter(|line| line.state == State::Reserved && which(line))
        {
            line.state = State::Settled;
            line.cost = line.reserved;
            line.estimated = true;
            line.quantity = i64::from(line.kind != Kind::Model);
        }
    }

    pub async fn note(&mut self, run: usize, micros: u64) {
        let run = run % self.model.runs.len();
        self.calls += 1;
        let cost = i64::try_from(micros).unwrap();
        let line = model::Line {
            run,
            call: self.calls,
            tries: 0,
            kind: Kind::Fuel,
            state: State::Settled,
            at: self.now(),
            reserved: 0,
            cost,
            corrected: 0,
            corrections: 0,
            tokens: 0,
            quantity: cost,
            estimated: false,
        };
        let (payer, key, now) = (self.model.runs[run].payer.clone(), key(&line), line.at);
        self.write(move |tx| note(tx, &payer, &key, &item(Kind::Fuel, micros), micros, now))
            .await;
        self.model.lines.push(line);
    }

    pub async fn reprice(&mut self, hours: u64, halves: u64) {
        let (org, now) = (self.org, self.now());
        let (from, halves) = (now.minus(Duration::from_hours(hours)), i64::try_from(halves).unwrap());
        let mut after = None;
        // Pages as small as there are, each in its own transaction.
        loop {
            let next = self
                .write(move |tx| {
                    let page = settled(tx, org, (from, now), after, 3)?;
                    for line in &page {
                        let cost = match line.item().kind {
                            LineKind::Model if line.estimated && line.usage == Usage::default() => continue,
                            LineKind::Model => line.usage.output_tokens as i64 * halves / 2,
                            _ => line.quantity as i64 * halves / 2,
                        };
                        if cost != line.cost_micros {
                            correct(tx, line, cost - line.cost_micros, now)?;
                        }
                    }
                    Ok(page.last().map(Settled::cursor))
                })
                .await;
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        for line in self
            .model
            .lines
            .iter_mut()
            .filter(|line| line.state == State::Settled && line.at >= from && line.at < now)
        {
            if let Some(cost) = line.priced(halves)
                && cost != line.spent()
            {
                line.corrected = cost - line.cost;
                line.corrections += 1;
            }
        }
    }
}
