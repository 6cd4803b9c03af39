//! The hosts that each run contacted, with what it exchanged with them.

use rusqlite::named_params;

use super::{Error, Reader, Tx};
use crate::domain::contact::{Contact, HOSTS_PER_RUN_MAX, OTHER_HOSTS, RunHost};
use crate::domain::id::{OrgId, RunId};
use crate::domain::time::Timestamp;

pub(super) const COUNT: &str =
    "INSERT INTO run_hosts (run_id, org_id, host, requests, writes, sent_bytes, received_bytes, first_at, last_at)
    VALUES (:run, :org, :host, 1, :writes, :sent, :received, :now, :now)
    ON CONFLICT (run_id, host) DO UPDATE SET requests = requests + 1, writes = writes + excluded.writes,
    sent_bytes = sent_bytes + excluded.sent_bytes, received_bytes = received_bytes + excluded.received_bytes, last_at = excluded.last_at";
pub(super) const KNOWN: &str = "SELECT count(*), COALESCE(max(host = :host), 0) FROM run_hosts WHERE run_id = :run AND org_id = :org";
pub(super) const LIST: &str = "SELECT host, requests, writes, sent_bytes, received_bytes, first_at, last_at FROM run_hosts
    WHERE run_id = :run AND org_id = :org ORDER BY host";

/// Counts one request.
pub fn count(tx: &Tx<'_>, org: OrgId, run: RunId, contact: &Contact, now: Timestamp) -> Result<(), Error> {
    let known = named_params! { ":run": run, ":org": org, ":host": contact.host };
    let (hosts, is_known): (u32, bool) = tx.get(KNOWN, known, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let host = if is_known || hosts < HOSTS_PER_RUN_MAX {
        contact.host.as_str()
    } else {
        OTHER_HOSTS
    };
    let params = named_params! {
        ":run": run, ":org": org, ":host": host, ":writes": contact.is_write, ":sent": contact.sent_bytes as i64,
        ":received": contact.received_bytes as i64, ":now": now,
    };
    tx.execute(COUNT, params)?;
    Ok(())
}

/// The hosts of a run, by name.
pub fn list(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<Vec<RunHost>, Error> {
    reader.list(LIST, named_params! { ":run": run, ":org": org }, |row| {
        let number = |column: usize| row.get::<_, i64>(column).map(|number| number as u64);
        Ok(RunHost {
            host: row.get(0)?,
            requests: number(1)?,
            writes: number(2)?,
            sent_bytes: number(3)?,
            received_bytes: number(4)?,
            first_at: row.get(5)?,
            last_at: row.get(6)?,
        })
    })
}
