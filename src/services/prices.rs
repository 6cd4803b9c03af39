//! Prices: the list that ships with the program, the station's and the organizations' own, and which of them holds.

mod shipped;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::json;

pub use self::shipped::{Shipped, list as shipped};
use super::access::require;
use super::audit::STATION;
pub use super::providers::Of;
use super::{App, Error, FieldError, audit};
use crate::domain::id::{OrgId, PriceId};
use crate::domain::money::Price;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::domain::price::{Listed, Source, Tariff, holding};
use crate::domain::time::Timestamp;
use crate::store::prices::{self as rows, Stored};
use crate::store::{self, Store};

const WHAT: &str = "the price";
/// Prices that an organization, or the station, can have set.
pub const PRICES_MAX: u32 = 1_000;
/// Of the name of a provider or a model, with `*` for any characters.
pub const PATTERN_BYTES_MAX: usize = 200;
pub const NOTE_BYTES_MAX: usize = 300;
/// Micro-dollars for a million tokens: a million dollars.
pub const PRICE_MICROS_MAX: u64 = 1_000_000_000_000;
/// Tiers of a tariff.
pub const TIERS_MAX: usize = 8;
/// Of input, where a tier begins: more than any model takes.
pub const TIER_TOKENS_MAX: u64 = 1_000_000_000;

/// The provider under which prices stand of what runs use beside models: as model `http`, `tool`, `fuel`, `storage` or `session`, with the
/// output price for a million of requests, calls, units of fuel, bytes or sessions.
pub const STATION_PROVIDER: &str = "station";

/// What everybody has set, as of the last change.
#[derive(Default)]
struct Snapshot {
    station: Vec<Listed>,
    orgs: HashMap<OrgId, Vec<Listed>>,
}

/// Prices in memory: reading one waits for nobody.
#[derive(Default)]
pub struct Prices {
    snapshot: RwLock<Arc<Snapshot>>,
    /// One reads anew at a time, so that what was read later stays.
    reading: tokio::sync::Mutex<()>,
}

impl Prices {
    /// Reads what is stored.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load(store: &Store) -> Result<Self, Error> {
        let prices = Self::default();
        prices.reload(store).await?;
        Ok(prices)
    }

    async fn reload(&self, store: &Store) -> Result<(), Error> {
        let _reading = self.reading.lock().await;
        let mut snapshot = Snapshot::default();
        for stored in store.read(rows::all).await? {
            let (source, lines) = match stored.org {
                None => (Source::Station, &mut snapshot.station),
                Some(org) => (Source::Organization, snapshot.orgs.entry(org).or_default()),
            };
            lines.push(Listed {
                source,
                provider: stored.provider,
                model: stored.model,
                from: stored.from,
                tariff: stored.tariff,
            });
        }
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
        Ok(())
    }

    /// The line that holds for an organization's call of a model: of its own, the station's and the shipped ones.
    pub fn line(&self, org: OrgId, preset: &str, provider_name: &str, model: &str, at: Timestamp) -> Option<Listed> {
        let snapshot = Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner));
        let own = snapshot.orgs.get(&org).into_iter().flatten();
        let lines = own.chain(&snapshot.station).chain(&shipped().lines);
        holding(lines, preset, provider_name, model, at).cloned()
    }

    /// What a model costs an organization; `None` where nobody has said.
    pub fn tariff(&self, org: OrgId, preset: &str, provider_name: &str, model: &str, at: Timestamp) -> Option<Tariff> {
        self.line(org, preset, provider_name, model, at).map(|line| line.tariff)
    }

    /// What `quantity` of something that is no model costs an organization, in micro-dollars; nothing where nobody has said. `kind` is the
    /// ledger's: `http`, `tool`, `fuel`, `storage`, `session`.
    pub fn of_use(&self, org: OrgId, kind: &str, quantity: u64, at: Timestamp) -> u64 {
        let snapshot = Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner));
        let own = snapshot.orgs.get(&org).into_iter().flatten();
        // Prices for any provider are about models.
        let lines = own.chain(&snapshot.station).filter(|line| line.provider == STATION_PROVIDER);
        holding(lines, STATION_PROVIDER, STATION_PROVIDER, kind, at).map_or(0, |line| {
            let cost = (u128::from(quantity) * u128::from(line.tariff.price.output_micros)).div_ceil(1_000_000);
            u64::try_from(cost).unwrap_or(u64::MAX).min(COST_MICROS_MAX)
        })
    }
}

/// The most that one line of the ledger can cost: a billion dollars.
const COST_MICROS_MAX: u64 = 1_000_000_000_000_000;

/// A price to be set.
#[derive(Clone, Debug)]
pub struct NewPrice {
    pub provider: String,
    pub model: String,
    /// From when on it holds; now where it is not given.
    pub from: Option<Timestamp>,
    pub tariff: Tariff,
    pub note: String,
}

/// What was set, by provider and model, the newest first.
///
/// # Errors
/// `Forbidden`.
pub async fn list(app: &App, actor: &Actor, of: Of) -> Result<Vec<Stored>, Error> {
    let owner = of.owner(actor, WHAT, false)?;
    Ok(app.store.read(move |reader| rows::list(reader, owner)).await?)
}

/// What the station has set, which holds for the actor's organization where it has set nothing.
///
/// # Errors
/// `Forbidden`.
pub async fn of_station(app: &App, actor: &Actor) -> Result<Vec<Stored>, Error> {
    require(actor, Permission::ModelsRead, actor.org, WHAT)?;
    Ok(app.store.read(|reader| rows::list(reader, None)).await?)
}

/// One price.
///
/// # Errors
/// `Forbidden`, `NotFound`.
pub async fn get(app: &App, actor: &Actor, of: Of, price: PriceId) -> Result<Stored, Error> {
    let owner = of.owner(actor, WHAT, false)?;
    app.store.read(move |reader| rows::get(reader, owner, price)).await.map_err(named)
}

fn named(error: store::Error) -> Error {
    match error {
        store::Error::NotFound => Error::NotFound(WHAT),
        other => other.into(),
    }
}

/// What is wrong with a price, as fields.
pub fn problems(provider: &str, model: &str, tariff: &Tariff) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    let mut say = |pointer: &str, message: String| {
        wrong.push(FieldError {
            pointer: pointer.to_owned(),
            message,
        });
    };
    for (pointer, text) in [("/provider", provider), ("/model", model)] {
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            say(
                pointer,
                format!("write 1 to {PATTERN_BYTES_MAX} bytes without spaces; in a model's name * stands for any characters"),
            );
        }
    }
    if provider.contains('*') && provider != "*" {
        say(
            "/provider",
            "write a preset such as openai, the name of a provider, or * alone for any".to_owned(),
        );
    }
    let prices = std::iter::once(&tariff.price).chain(tariff.tiers.iter().map(|tier| &tier.price));
    let too_high = |price: &Price| {
        let most = price
            .input_micros
            .max(price.cache_read_micros)
            .max(price.cache_write_micros)
            .max(price.output_micros);
        most > PRICE_MICROS_MAX
    };
    if prices.into_iter().any(too_high) {
        say(
            "",
            format!("a price is at most {PRICE_MICROS_MAX} micro-dollars for a million tokens"),
        );
    }
    if tariff.tiers.len() > TIERS_MAX {
        say("/tiers", format!("a tariff has at most {TIERS_MAX} tiers"));
    }
    if tariff.tiers.iter().any(|tier| tier.over_input_tokens > TIER_TOKENS_MAX) {
        say("/tiers", format!("a tier begins at no more than {TIER_TOKENS_MAX} tokens"));
    }
    if !tariff
        .tiers
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if a.over_input_tokens < b.over_input_tokens))
    {
        say("/tiers", "tiers go from few to many tokens, each number once".to_owned());
    }
    wrong
}

/// Sets a price; one for the same model from the same time on is replaced. What was charged before stays, until it is priced anew. Returns
/// whether it is new.
///
/// # Errors
/// `Forbidden`; `Invalid` with the fields; `TooLarge` where there are too many.
pub async fn set(app: &App, actor: &Actor, of: Of, new: NewPrice, origin: Origin) -> Result<(Stored, bool), Error> {
    let owner = of.owner(actor, WHAT, true)?;
    let (provider, model, note) = (
        new.provider.trim().to_owned(),
        new.model.trim().to_owned(),
        new.note.trim().to_owned(),
    );
    let mut wrong = problems(&provider, &model, &new.tariff);
    if note.len() > NOTE_BYTES_MAX || note.chars().any(char::is_control) {
        wrong.push(FieldError {
            pointer: "/note".to_owned(),
            message: format!("a note is one line of at most {NOTE_BYTES_MAX} bytes"),
        });
    }
    if new.from.is_some_and(|from| from.as_ms() < 0) {
        wrong.push(FieldError {
            pointer: "/from".to_owned(),
            message: "write milliseconds since 1970 UTC".to_owned(),
        });
    }
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let now = app.clock.now();
    let row = rows::New {
        id: PriceId::new(now),
        provider,
        model,
        from: new.from.unwrap_or(now),
        tariff: new.tariff,
        note,
        by: actor.principal,
    };
    let actor = actor.clone();
    let set = app.store.write(move |tx| {
        let (id, is_new) = rows::set(tx, owner, &row, now)?;
        if is_new && rows::count(tx, owner)? > PRICES_MAX {
            return Err(store::Error::Limit(format!(
                "at most {PRICES_MAX} prices can be set; remove some that no longer hold"
            )));
        }
        let detail = json!({ "provider": row.provider, "model": row.model, "from": row.from.as_ms(), "tariff": row.tariff });
        store::audit::record(tx, record(&actor, owner, "price.set", id, origin.clone()).detail(detail), now)?;
        Ok((rows::get(tx, owner, id)?, is_new))
    });
    let set = set.await?;
    app.prices.reload(&app.store).await?;
    Ok(set)
}

/// Removes a price: what held before it, or the shipped list, holds again. What was charged stays.
///
/// # Errors
/// `Forbidden`, `NotFound`.
pub async fn remove(app: &App, actor: &Actor, of: Of, price: PriceId, origin: Origin) -> Result<(), Error> {
    let owner = of.owner(actor, WHAT, true)?;
    let (actor, now) = (actor.clone(), app.clock.now());
    let removed = app.store.write(move |tx| {
        let before = rows::get(tx, owner, price)?;
        rows::remove(tx, owner, price)?;
        let detail = json!({ "provider": before.provider, "model": before.model, "from": before.from.as_ms(), "tariff": before.tariff });
        store::audit::record(tx, record(&actor, owner, "price.remove", price, origin.clone()).detail(detail), now)
    });
    removed.await.map_err(named)?;
    app.prices.reload(&app.store).await
}

fn record(actor: &Actor, owner: Option<OrgId>, action: &'static str, price: PriceId, origin: Origin) -> store::audit::Record {
    let record = audit::of(actor, action, &price.to_string(), origin);
    if owner.is_none() { record.in_chain(STATION) } else { record }
}
