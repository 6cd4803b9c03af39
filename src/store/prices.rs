//! What models cost, as an organization or, without one, the station says.

use rusqlite::{Row, named_params};

use super::tx::Cells;
use super::{Error, Reader, Tx};
use crate::domain::id::{OrgId, PriceId, PrincipalId};
use crate::domain::price::Tariff;
use crate::domain::time::Timestamp;

macro_rules! select {
    () => {
        "SELECT r.id, r.org_id, r.provider, r.model, r.from_at, r.tariff, r.note, r.created_by, p.name, r.created_at
        FROM prices r LEFT JOIN principals p ON p.id = r.created_by "
    };
}
// Prices are as few as people write, and all are read once, at the start and after a change.
pub(super) const ALL: &str = concat!(select!(), "ORDER BY r.id");
pub(super) const LIST: &str = concat!(
    select!(),
    "WHERE COALESCE(r.org_id, '') = :org ORDER BY r.provider, r.model, r.from_at DESC"
);
pub(super) const GET: &str = concat!(select!(), "WHERE r.id = :price AND COALESCE(r.org_id, '') = :org");
pub(super) const COUNT: &str = "SELECT count(*) FROM prices WHERE COALESCE(org_id, '') = :org";
pub(super) const SAME: &str =
    "SELECT id FROM prices WHERE COALESCE(org_id, '') = :org AND provider = :provider AND model = :model AND from_at = :from";
pub(super) const INSERT: &str = "INSERT INTO prices (id, org_id, provider, model, from_at, tariff, note, created_by, created_at)
    VALUES (:id, :owner, :provider, :model, :from, :tariff, :note, :by, :now)";
pub(super) const REPLACE: &str = "UPDATE prices SET tariff = :tariff, note = :note, created_by = :by, created_at = :now WHERE id = :id";
pub(super) const REMOVE: &str = "DELETE FROM prices WHERE id = :price AND COALESCE(org_id, '') = :org";

#[cfg(test)]
pub(super) const SQL: [&str; 7] = [LIST, GET, COUNT, SAME, INSERT, REPLACE, REMOVE];

/// A price that somebody has set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub id: PriceId,
    /// `None`: the station's, for all organizations.
    pub org: Option<OrgId>,
    /// A provider's preset or name; `*` for any.
    pub provider: String,
    /// A model's name, in which `*` stands for any characters.
    pub model: String,
    pub from: Timestamp,
    pub tariff: Tariff,
    pub note: String,
    pub created_by: Option<PrincipalId>,
    pub created_by_name: Option<String>,
    pub created_at: Timestamp,
}

/// A price to be set.
#[derive(Clone, Debug)]
pub struct New {
    pub id: PriceId,
    pub provider: String,
    pub model: String,
    pub from: Timestamp,
    pub tariff: Tariff,
    pub note: String,
    pub by: PrincipalId,
}

struct Raw {
    stored: Stored,
    tariff: String,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let mut cells = Cells::of(row);
    let (id, org, provider, model, from) = (cells.take()?, cells.take()?, cells.take()?, cells.take()?, cells.take()?);
    let tariff = cells.take()?;
    Ok(Raw {
        stored: Stored {
            id,
            org,
            provider,
            model,
            from,
            tariff: Tariff::default(),
            note: cells.take()?,
            created_by: cells.take()?,
            created_by_name: cells.take()?,
            created_at: cells.take()?,
        },
        tariff,
    })
}

impl Raw {
    fn read(self) -> Result<Stored, Error> {
        let tariff = serde_json::from_str(&self.tariff).map_err(|error| Error::Corrupt(format!("price {}: {error}", self.stored.id)))?;
        Ok(Stored { tariff, ..self.stored })
    }
}

fn owner(org: Option<OrgId>) -> String {
    org.map(|org| org.to_string()).unwrap_or_default()
}

/// Every price of everybody.
pub fn all(reader: &Reader<'_>) -> Result<Vec<Stored>, Error> {
    reader.list(ALL, [], raw)?.into_iter().map(Raw::read).collect()
}

/// Those of an organization, or of the station, by provider and model, the newest first.
pub fn list(reader: &Reader<'_>, org: Option<OrgId>) -> Result<Vec<Stored>, Error> {
    let found = reader.list(LIST, named_params! { ":org": owner(org) }, raw)?;
    found.into_iter().map(Raw::read).collect()
}

/// # Errors
/// [`Error::NotFound`].
pub fn get(reader: &Reader<'_>, org: Option<OrgId>, price: PriceId) -> Result<Stored, Error> {
    reader.get(GET, named_params! { ":price": price, ":org": owner(org) }, raw)?.read()
}

pub fn count(reader: &Reader<'_>, org: Option<OrgId>) -> Result<u32, Error> {
    reader.get(COUNT, named_params! { ":org": owner(org) }, |row| row.get(0))
}

/// Sets a price; one for the same model from the same time on is replaced. Returns its id, and whether it is new.
pub fn set(tx: &Tx<'_>, org: Option<OrgId>, new: &New, now: Timestamp) -> Result<(PriceId, bool), Error> {
    let tariff = serde_json::to_string(&new.tariff).map_err(Error::internal)?;
    let same: Option<PriceId> = tx.find(
        SAME,
        named_params! { ":org": owner(org), ":provider": new.provider, ":model": new.model, ":from": new.from },
        |row| row.get(0),
    )?;
    if let Some(id) = same {
        tx.execute(
            REPLACE,
            named_params! { ":tariff": tariff, ":note": new.note, ":by": new.by, ":now": now, ":id": id },
        )?;
        return Ok((id, false));
    }
    tx.execute(
        INSERT,
        named_params! {
            ":id": new.id, ":owner": org, ":provider": new.provider, ":model": new.model, ":from": new.from, ":tariff": tariff,
            ":note": new.note, ":by": new.by, ":now": now,
        },
    )?;
    Ok((new.id, true))
}

/// Removes a price.
///
/// # Errors
/// [`Error::NotFound`].
pub fn remove(tx: &Tx<'_>, org: Option<OrgId>, price: PriceId) -> Result<(), Error> {
    match tx.execute(REMOVE, named_params! { ":price": price, ":org": owner(org) })? {
        0 => Err(Error::NotFound),
        _ => Ok(()),
    }
}
