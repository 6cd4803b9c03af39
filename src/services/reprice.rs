//! Pricing anew what was spent: corrections beside the lines, never a change of them.

use serde_json::json;

use super::access::require;
use super::{App, Error, audit};
use crate::domain::budget::LineKind;
use crate::domain::id::OrgId;
use crate::domain::money::Usage;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::domain::time::Timestamp;
use crate::store::ledger::{self, Settled};
use crate::store;

/// Lines that are looked at in one transaction.
const PAGE: u32 = 200;

/// What is to be priced anew.
#[derive(Clone, Debug)]
pub struct Reprice {
    /// Calls that were begun in this time, the end not included.
    pub from: Timestamp,
    pub to: Timestamp,
    /// Only of this provider, by preset or name.
    pub provider: Option<String>,
    /// Only of this model.
    pub model: Option<String>,
    /// Only say what would change.
    pub dry_run: bool,
}

/// What pricing anew came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repriced {
    /// Lines that were looked at.
    pub lines: u64,
    /// Lines that cost something else now.
    pub corrected: u64,
    /// Lines that keep their cost, because nobody says what the model costs, or how much was used of it.
    pub unpriced: u64,
    /// What the lines cost together, before and after, in micro-dollars.
    pub before_micros: i64,
    pub after_micros: i64,
}

impl Reprice {
    fn wants(&self, settled: &Settled) -> bool {
        let item = settled.item();
        self.provider
            .as_ref()
            .is_none_or(|provider| *provider == item.provider || *provider == item.provider_name)
            && self.model.as_ref().is_none_or(|model| *model == item.model)
    }
}

/// What a line costs by the prices of now; `None` where that is not known.
fn cost(app: &App, org: OrgId, settled: &Settled) -> Option<i64> {
    let item = settled.item();
    let micros = if item.kind == LineKind::Model {
        // A call whose answer was lost cost what was reserved for it: nobody knows what it used.
        if settled.usage == Usage::default() && settled.estimated {
            return None;
        }
        let tariff = app.prices.tariff(org, &item.provider, &item.provider_name, &item.model, settled.at())?;
        tariff.cost_micros(settled.usage)
    } else {
        app.prices.of_use(org, item.kind.as_str(), settled.quantity, settled.at())
    };
    i64::try_from(micros).ok()
}

/// Prices anew what was spent in a time. Done again it changes nothing more; broken off, it is begun again and goes on.
///
/// # Errors
/// `Forbidden`; `Invalid` where the time is none.
pub async fn reprice(app: &App, actor: &Actor, what: Reprice, origin: Origin) -> Result<Repriced, Error> {
    require(actor, Permission::ModelsManage, actor.org, "the prices")?;
    require(actor, Permission::CostsRead, actor.org, "the prices")?;
    if what.from >= what.to || what.from.as_ms() < 0 {
        return Err(Error::field("/to", "the end must come after the beginning"));
    }
    let told = json!({
        "from": what.from.as_ms(), "to": what.to.as_ms(), "provider": what.provider, "model": what.model,
    });
    if !what.dry_run {
        record(app, actor, &origin, json!({ "begun": told })).await?;
    }
    let (org, mut after, mut sum) = (actor.org, None, Repriced::default());
    loop {
        let (reading, wanted, now) = (app.clone(), what.clone(), app.clock.now());
        let from = after;
        // In one transaction: what is read is what is corrected.
        let page = move |reader: &store::Reader<'_>| {
            let lines = ledger::settled(reader, org, (wanted.from, wanted.to), from, PAGE)?;
            let next = (lines.len() == PAGE as usize).then(|| lines.last().map(Settled::cursor)).flatten();
            let priced: Vec<(Settled, Option<i64>)> = lines
                .into_iter()
                .filter(|line| wanted.wants(line))
                .map(|line| {
                    let cost = cost(&reading, org, &line);
                    (line, cost)
                })
                .collect();
            Ok::<_, store::Error>((next, priced))
        };
        let (next, priced) = if what.dry_run {
            app.store.read(page).await?
        } else {
            let written = app.store.write(move |tx| {
                let (next, priced) = page(tx)?;
                for (line, cost) in &priced {
                    if let Some(cost) = cost.filter(|&cost| cost != line.cost_micros) {
                        ledger::correct(tx, line, cost.saturating_sub(line.cost_micros), now)?;
                    }
                }
                Ok((next, priced))
            });
            written.await?
        };
        for (line, cost) in &priced {
            sum.lines += 1;
            sum.unpriced += u64::from(cost.is_none());
            sum.corrected += u64::from(cost.is_some_and(|cost| cost != line.cost_micros));
            sum.before_micros = sum.before_micros.saturating_add(line.cost_micros);
            sum.after_micros = sum.after_micros.saturating_add(cost.unwrap_or(line.cost_micros));
        }
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    if !what.dry_run {
        let came_to = json!({
            "lines": sum.lines, "corrected": sum.corrected, "before_micros": sum.before_micros, "after_micros": sum.after_micros,
        });
        record(app, actor, &origin, json!({ "done": told, "came_to": came_to })).await?;
        app.money.came_back();
    }
    Ok(sum)
}

async fn record(app: &App, actor: &Actor, origin: &Origin, detail: serde_json::Value) -> Result<(), Error> {
    let record = audit::of(actor, "price.reprice", &actor.org.to_string(), origin.clone()).detail(detail);
    let now = app.clock.now();
    Ok(app.store.write(move |tx| store::audit::record(tx, record, now)).await?)
}
