//! Money of calls: the most that each can cost, whether the budgets have that much, and what was reserved, spent and used.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::super::{App, models};
use super::begin::{Batch, Done};
use super::caller::Caller;
use super::summary::Spent;
use crate::domain::budget::{Fit, LineKind, OnExhausted, Standing};
use crate::domain::call::{Call, CallResult};
use crate::domain::failure::FailureCode;
use crate::domain::journal::NewEntry;
use crate::domain::money::{Charge, Charged, dollars};
use crate::domain::time::Timestamp;
use crate::runtime::ports::{PendingCall, Performed};
use crate::services::prices::STATION_PROVIDER;
use crate::store::budgets::{self, Over};
use crate::store::ledger::{self, Item, Payer, Settlement, TryKey};
use crate::store::{self, Scope, Tx};

/// How long a call in line waits for word of a settlement before it asks again all the same.
pub(super) const IN_LINE_RECHECK: Duration = Duration::from_secs(1);

/// What this process knows of money beside the database: when some of what was reserved came back, and when a budget begins anew that holds
/// runs.
pub struct Money {
    settled: watch::Sender<u64>,
    /// Milliseconds since 1970 UTC at which a window ends for which a run is held.
    begins_anew: AtomicI64,
    /// Up to when windows that began were looked at.
    looked: AtomicI64,
}

impl Default for Money {
    fn default() -> Self {
        Self {
            settled: watch::Sender::new(0),
            // What an earlier process held is looked at when this one begins.
            begins_anew: AtomicI64::new(0),
            looked: AtomicI64::new(-1),
        }
    }
}

impl Money {
    /// To be called after a commit that gave reserved money back, or raised a budget: who is in line asks again.
    pub fn came_back(&self) {
        self.settled.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// How often money came back so far.
    pub(super) fn count(&self) -> u64 {
        *self.settled.borrow()
    }

    /// Waits until money has come back since `count`.
    pub(super) async fn since(&self, count: u64) {
        let mut settled = self.settled.subscribe();
        // The sender lives as long as this.
        _ = settled.wait_for(|now| *now != count).await;
    }

    /// A run is held until this time at the latest.
    pub(in super::super) fn held_until(&self, at: Timestamp) {
        self.begins_anew.fetch_min(at.as_ms(), Ordering::Relaxed);
    }

    /// The next time at which held runs are to be looked at.
    pub fn next(&self) -> Option<Timestamp> {
        let at = self.begins_anew.load(Ordering::Relaxed);
        (at != i64::MAX).then(|| Timestamp::from_ms(at))
    }

    /// Up to when windows that began were looked at, from now on `now`; before 1970 where this process has not looked.
    pub(in super::super) fn look(&self, now: Timestamp) -> Timestamp {
        self.begins_anew.store(i64::MAX, Ordering::Relaxed);
        Timestamp::from_ms(self.looked.swap(now.as_ms(), Ordering::Relaxed))
    }
}

/// What a call is paid for as, and the most that it can cost.
#[derive(Clone, Debug)]
pub(super) struct Bill {
    pub item: Item,
    pub most_micros: u64,
}

/// Whether there is money for a call.
pub(super) enum Afford {
    /// There is, or it costs nothing.
    Yes,
    /// Once others have settled what they reserved.
    InLine,
    /// There is not, for this reason.
    No(String),
}

impl Caller {
    pub(super) fn payer(&self) -> Payer {
        Payer {
            org: self.org,
            workspace: self.workspace,
            environment: self.environment.clone(),
            run: self.run,
            agent: self.agent,
            principal: self.started_by,
            key: self.key.clone(),
        }
    }
}

pub(super) fn try_key(entry: &NewEntry, tries: u32) -> TryKey {
    TryKey {
        segment: entry.segment,
        call: entry.call.unwrap_or(0),
        sub: entry.sub.unwrap_or(0),
        tries,
    }
}

fn of_station(kind: LineKind, model: &str, quantity: u64) -> Item {
    Item {
        kind,
        provider: STATION_PROVIDER.to_owned(),
        provider_name: STATION_PROVIDER.to_owned(),
        model: model.to_owned(),
        quantity,
    }
}

fn host(url: &str) -> String {
    let host = url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.unwrap_or_default()
}

/// What a call is paid for as; `None` where it is not.
pub(super) fn bill(app: &App, scope: Scope, call: &Call, now: Timestamp) -> Option<Bill> {
    let item = match call {
        Call::ModelsChat(request) => {
            let chain = models::find(app, scope, &request.model).ok()?;
            let model = chain.first()?;
            return Some(Bill {
                item: Item {
                    kind: LineKind::Model,
                    provider: model.provider().to_owned(),
                    provider_name: model.provider_name().to_owned(),
                    model: model.provider_model.clone(),
                    quantity: 0,
                },
                most_micros: chain.worst_case_micros(request),
            });
        }
        Call::HttpSend(request) => of_station(LineKind::Http, &host(&request.url), 1),
        Call::ToolsCall { name, .. } => of_station(LineKind::Tool, name, 1),
        Call::MemoryPut { key, value, .. } => of_station(LineKind::Storage, "memory", (key.len() + value.len()) as u64),
        Call::ArtifactsPut(info) => of_station(LineKind::Storage, "artifact", info.bytes),
        _ => return None,
    };
    Some(Bill {
        most_micros: app.prices.of_use(scope.org, item.kind.as_str(), item.quantity, now),
        item,
    })
}

impl Batch<'_> {
    pub(super) fn bill(&self, call: &Call) -> Option<Bill> {
        bill(self.app, self.caller.scope(), call, self.now)
    }

    /// Whether the question's quota, the run's budget and those of the runs above it, and every budget that covers it have the most that a call
    /// can cost.
    ///
    /// # Errors
    /// [`store::Error::OverBudget`] where a budget is used up that holds runs: then nothing of the batch is to be done.
    pub(super) fn afford(&self, tx: &Tx<'_>, call: &Call) -> Done<Afford> {
        let wanted = self.bill(call).map_or(0, |bill| bill.most_micros);
        if wanted == 0 {
            return Ok(Afford::Yes);
        }
        let mut is_in_line = false;
        for fits in [self.quota_fits(tx, wanted)?, self.purses_fit(tx, wanted)?] {
            match fits {
                Afford::Yes => {}
                Afford::InLine => is_in_line = true,
                no @ Afford::No(_) => return Ok(no),
            }
        }
        let mut holds = None;
        for budget in budgets::covering(tx, &self.caller.payer())? {
            let standing = budgets::stands(tx, &budget, self.now)?;
            match (standing.fits(wanted), budget.on_exhausted) {
                (Fit::Fits, _) => {}
                (Fit::InLine, _) => is_in_line = true,
                (Fit::Exhausted, OnExhausted::Fail) => {
                    return Ok(Afford::No(format!(
                        "{}. Someone who may manage budgets can raise it",
                        used_up(&format!("the budget “{}”", budget.name), standing, wanted)
                    )));
                }
                (Fit::Exhausted, OnExhausted::Hold) => {
                    holds.get_or_insert(Over {
                        budget,
                        standing,
                        wanted_micros: wanted,
                    });
                }
            }
        }
        match holds {
            Some(over) => Err(store::Error::OverBudget(Box::new(over))),
            None if is_in_line => Ok(Afford::InLine),
            None => Ok(Afford::Yes),
        }
    }

    fn quota_fits(&self, tx: &Tx<'_>, wanted: u64) -> Done<Afford> {
        let Some(most) = self.caller.quota.and_then(|quota| quota.cost_micros) else {
            return Ok(Afford::Yes);
        };
        let (spent_micros, reserved_micros) = ledger::of_segment(tx, self.caller.org, self.caller.run, self.caller.segment)?;
        let standing = Standing {
            limit_micros: most,
            spent_micros,
            reserved_micros,
        };
        Ok(match standing.fits(wanted) {
            Fit::Fits => Afford::Yes,
            Fit::InLine => Afford::InLine,
            Fit::Exhausted => Afford::No(format!(
                "{}. Whoever asked may ask again with a larger quota",
                used_up("the question's quota of money", standing, wanted)
            )),
        })
    }

    fn purses_fit(&self, tx: &Tx<'_>, wanted: u64) -> Done<Afford> {
        let mut fit = Afford::Yes;
        for purse in ledger::purses(tx, self.caller.org, self.caller.run)? {
            let is_own = purse.run == self.caller.run;
            // What the agent's own manifest, or one above it, says of each run holds for this one.
            let own = is_own.then(|| self.rights.cost_limit()).flatten();
            let Some(limit_micros) = purse.budget_micros.into_iter().chain(own).min() else {
                continue;
            };
            let standing = Standing {
                limit_micros,
                spent_micros: purse.spent_micros,
                reserved_micros: purse.reserved_micros,
            };
            match standing.fits(wanted) {
                Fit::Fits => {}
                Fit::InLine => fit = Afford::InLine,
                Fit::Exhausted => {
                    let whose = if is_own {
                        "the run's budget".to_owned()
                    } else {
                        format!("the budget of “{}”, which stands above this run,", purse.agent_name)
                    };
                    return Ok(Afford::No(format!(
                        "{}. Start it with a larger budget_micros, or ask for less output",
                        used_up(&whose, standing, wanted)
                    )));
                }
            }
        }
        Ok(fit)
    }

    /// Reserves the most that a call can cost, which was found to be there. Returns how much that is, and under which try.
    pub(super) fn reserve(&self, tx: &Tx<'_>, pending: &PendingCall) -> Done<(u64, u32)> {
        let tries = pending.entry.attempt;
        let Some(bill) = self.bill(&pending.call).filter(pending_line) else {
            return Ok((0, tries));
        };
        let key = try_key(&pending.entry, tries);
        let tries = ledger::reserve(tx, &self.caller.payer(), &key, &bill.item, bill.most_micros, self.now)?;
        Ok((bill.most_micros, tries))
    }

    /// Settles what a crash left reserved for a call that is made again.
    pub(super) fn settle_lost(&self, tx: &Tx<'_>, pending: &PendingCall) -> Done<()> {
        let key = try_key(&pending.entry, pending.entry.attempt);
        ledger::settle_lost_tries(tx, self.caller.org, self.caller.run, &key, self.now)
    }

    /// Writes down what a call used whose effect is in our own database.
    pub(super) fn note_use(&self, tx: &Tx<'_>, pending: &PendingCall, result: &CallResult) -> Done<()> {
        let is_paid = matches!(result, CallResult::Ok(_))
            && matches!(
                pending.call,
                Call::MemoryPut { .. } | Call::ArtifactsPut(_) | Call::ToolsCall { .. }
            );
        let Some(bill) = is_paid.then(|| self.bill(&pending.call)).flatten() else {
            return Ok(());
        };
        let key = try_key(&pending.entry, pending.entry.attempt);
        ledger::note(tx, &self.caller.payer(), &key, &bill.item, bill.most_micros, self.now)
    }
}

/// Whether a line is written before the call: of model calls always, as they are what is looked at; of others where they cost something.
fn pending_line(bill: &Bill) -> bool {
    bill.item.kind == LineKind::Model || bill.most_micros > 0
}

fn used_up(what: &str, standing: Standing, wanted: u64) -> String {
    format!(
        "{what} of {} is used up: {} is spent, and the call can cost {}",
        dollars(standing.limit_micros),
        dollars(standing.spent_micros),
        dollars(wanted)
    )
}

/// What becomes of a call's line when it has ended.
pub(super) enum Due {
    Settle(LineKind, Settlement),
    /// It cost nothing and had no line before.
    Note(Item),
    Release(LineKind),
    Nothing,
}

/// What a call that has ended came to: its line, and what the journal says of it. `reserved_micros` was reserved for it. A call that was given
/// up is settled at that, which is all that is known.
pub(super) fn due(
    app: &App,
    scope: Scope,
    call: &Call,
    reserved_micros: u64,
    performed: &Performed,
    now: Timestamp,
) -> (Due, Option<Spent>) {
    let kind = match call {
        Call::ModelsChat(_) => LineKind::Model,
        Call::HttpSend(_) => LineKind::Http,
        Call::ToolsCall { .. } => LineKind::Tool,
        _ => return (Due::Nothing, None),
    };
    let is_model = kind == LineKind::Model;
    let full = |estimated| Charge {
        cost_micros: reserved_micros,
        estimated,
        ..Charge::default()
    };
    let mut charges = match &performed.charged {
        Charged::Known(charges) => charges.clone(),
        Charged::Unknown => vec![full(true)],
        // A request costs what it costs, however it was answered; what was never sent costs nothing.
        Charged::Nothing if !is_model && was_sent(&performed.result) => vec![full(false)],
        Charged::Nothing => vec![Charge::default()],
    };
    Charge::guess_within(&mut charges, reserved_micros);
    let charge = Charge::sum(&charges);
    let spent = is_model.then(|| Spent {
        charge: charge.clone(),
        first_token_ms: performed.first_token_ms,
    });
    let due = if !is_model && reserved_micros == 0 {
        bill(app, scope, call, now).map_or(Due::Nothing, |bill| Due::Note(bill.item))
    } else if performed.charged == Charged::Nothing && charge.cost_micros == 0 {
        Due::Release(kind)
    } else {
        let quantity = u64::from(!is_model);
        Due::Settle(kind, Settlement { charges, quantity })
    };
    (due, spent)
}

/// Does what is due.
pub(super) fn settle(tx: &Tx<'_>, caller: &Caller, key: &TryKey, due: Due, now: Timestamp) -> Done<()> {
    let whose = (caller.org, caller.run);
    match due {
        Due::Settle(kind, settlement) => ledger::settle(tx, whose, key, kind, Some(&settlement), now).map(drop),
        Due::Release(kind) => ledger::settle(tx, whose, key, kind, None, now).map(drop),
        Due::Note(item) => ledger::note(tx, &caller.payer(), key, &item, 0, now),
        Due::Nothing => Ok(()),
    }
}

/// Whether a request may have gone out.
fn was_sent(result: &CallResult) -> bool {
    match result {
        CallResult::Ok(_) => true,
        CallResult::Failed(failure) => matches!(
            failure.code,
            FailureCode::Timeout | FailureCode::Cancelled | FailureCode::Unavailable
        ),
    }
}

/// Writes down the fuel of a segment that has ended. It cannot be known before, so no budget refuses it: where it has a price, a budget can be
/// passed by that of one segment.
pub(super) fn note_fuel(tx: &Tx<'_>, app: &App, payer: &Payer, at: (u32, u32), fuel: u64, now: Timestamp) -> Done<()> {
    note_whole(tx, app, payer, of_station(LineKind::Fuel, "fuel", fuel), at, now)
}

/// Writes down that a conversation was opened.
pub(in super::super) fn note_session(tx: &Tx<'_>, app: &App, payer: &Payer, segment: u32, now: Timestamp) -> Done<()> {
    note_whole(tx, app, payer, of_station(LineKind::Session, "session", 1), (segment, 0), now)
}

fn note_whole(tx: &Tx<'_>, app: &App, payer: &Payer, item: Item, (segment, tries): (u32, u32), now: Timestamp) -> Done<()> {
    if item.quantity == 0 {
        return Ok(());
    }
    let cost = app.prices.of_use(payer.org, item.kind.as_str(), item.quantity, now);
    let key = TryKey {
        segment,
        call: 0,
        sub: 0,
        tries,
    };
    ledger::note(tx, payer, &key, &item, cost, now)
}
