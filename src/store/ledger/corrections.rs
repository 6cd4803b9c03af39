//! Corrections: what a new price makes of lines that were settled before. A line itself never changes.

use rusqlite::named_params;

use super::{Delta, Item, Line, TryKey, add, insert, line};
use crate::domain::budget::LineKind;
use crate::domain::id::{LedgerId, OrgId};
use crate::domain::money::Usage;
use crate::domain::time::Timestamp;
use crate::store::{Error, Reader, Tx, spending};

// In the order of time; a line and what corrects it count together.
pub(in crate::store) const TO_REPRICE: &str = "SELECT l.id, l.run_id, l.workspace_id, l.environment, l.agent_id, l.principal_id, l.key_id, l.segment, l.call, l.sub, l.try, l.kind,
    l.provider, l.provider_name, l.model, l.reserved_micros, l.created_at, l.input_tokens, l.cache_read_tokens, l.cache_write_tokens,
    l.output_tokens, l.quantity, l.estimated, l.cost_micros + COALESCE((SELECT sum(c.cost_micros) FROM ledger c WHERE c.corrects = l.id), 0)
    FROM ledger l INDEXED BY ledger_by_time WHERE l.org_id = :org AND (l.created_at, l.id) > (:after_at, :after_id) AND l.created_at >= :from AND l.created_at < :to
    AND l.state = 'settled' AND l.kind <> 'correction' ORDER BY l.created_at, l.id LIMIT :limit";

/// A settled line that may be priced anew.
#[derive(Clone, Debug)]
pub struct Settled {
    line: Line,
    pub usage: Usage,
    pub quantity: u64,
    pub estimated: bool,
    /// With what corrected it before.
    pub cost_micros: i64,
}

impl Settled {
    pub const fn item(&self) -> &Item {
        &self.line.item
    }

    pub const fn at(&self) -> Timestamp {
        self.line.at
    }

    /// Where the next page begins.
    pub const fn cursor(&self) -> (Timestamp, LedgerId) {
        (self.line.at, self.line.id)
    }
}

/// Settled lines of a time, in order, after a cursor.
pub fn settled(
    reader: &Reader<'_>,
    org: OrgId,
    (from, to): (Timestamp, Timestamp),
    after: Option<(Timestamp, LedgerId)>,
    limit: u32,
) -> Result<Vec<Settled>, Error> {
    let (after_at, after_id) = after.map_or_else(|| (Timestamp::from_ms(-1), String::new()), |(at, id)| (at, id.to_string()));
    reader.list(
        TO_REPRICE,
        named_params! { ":org": org, ":from": from, ":to": to, ":after_at": after_at, ":after_id": after_id, ":limit": limit },
        |row| {
            let line = line(org, row)?;
            Ok(Settled {
                line,
                usage: Usage {
                    input_tokens: row.get::<_, i64>(17)? as u64,
                    cache_read_tokens: row.get::<_, i64>(18)? as u64,
                    cache_write_tokens: row.get::<_, i64>(19)? as u64,
                    output_tokens: row.get::<_, i64>(20)? as u64,
                },
                quantity: row.get::<_, i64>(21)? as u64,
                estimated: row.get(22)?,
                cost_micros: row.get(23)?,
            })
        },
    )
}

/// Corrects a settled line by so much.
pub fn correct(tx: &Tx<'_>, settled: &Settled, by_micros: i64, now: Timestamp) -> Result<(), Error> {
    let Line { id, payer, item, at, .. } = &settled.line;
    let correction = Item {
        kind: LineKind::Correction,
        quantity: 0,
        ..item.clone()
    };
    let key = TryKey {
        segment: 0,
        call: 0,
        sub: 0,
        tries: 0,
    };
    insert(
        tx,
        payer,
        &key,
        &correction,
        (Some(*id), "settled"),
        (0, by_micros),
        (*at, Some(now)),
    )?;
    let booked = spending::Booked {
        cost_micros: by_micros,
        ..spending::Booked::default()
    };
    // It stands with what it corrects.
    spending::add(tx, payer, item, *at, &booked)?;
    let delta = Delta {
        spent: by_micros,
        reserved: 0,
    };
    add(tx, payer, *at, Usage::default(), delta, now)
}
