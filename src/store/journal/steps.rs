//! A run's entries as retries and new starts see them: which calls stand, and what was changed beyond the run.

use std::collections::BTreeMap;

use rusqlite::named_params;

use super::super::tx::Cells;
use super::super::{Error, Reader};
use crate::domain::failure::FailureCode;
use crate::domain::id::{OrgId, RunId};
use crate::domain::journal::Phase;
use crate::domain::supersede::Step;

// The kind of a tool's call is the tool.
const STEPS: &str = "SELECT j.seq, j.call, COALESCE(j.sub, 0), j.phase,
    CASE WHEN j.kind = 'tools.call' THEN COALESCE(json_extract(j.meta, '$.tool'), j.kind) ELSE j.kind END, j.class, CAST(json_extract(j.meta, '$.code') AS TEXT)
    FROM segments s JOIN journal j ON j.run_id = s.run_id AND j.seq >= s.first_seq
    WHERE s.run_id = :run AND s.segment = :segment AND s.org_id = :org AND j.segment = :segment AND j.lane = 'guest' AND j.call IS NOT NULL
    ORDER BY j.seq";

// A write that a person says has happened ends as a local one.
const WRITES: &str =
    "SELECT j.segment, j.call, COALESCE(j.sub, 0), j.phase, j.kind, j.meta, j.seq FROM runs r JOIN journal j ON j.run_id = r.id
    WHERE r.id = :run AND r.org_id = :org AND j.lane = 'guest' AND (j.class IN ('write-once', 'write-idempotent')
        OR (j.class = 'local' AND j.kind = 'http.send' AND j.phase = 'end')
        OR (j.class = 'local' AND j.kind IN ('memory.put', 'memory.delete', 'agents.start'))
        OR (j.class = 'local' AND j.kind = 'tools.call' AND j.phase <> 'start' AND json_extract(j.meta, '$.tool') IN ('memory_put', 'http_request')))
    ORDER BY j.seq LIMIT :limit";

#[cfg(test)]
pub(crate) const SQL: [&str; 2] = [STEPS, WRITES];

/// The guest's lane of a segment as retries see it, in order.
pub fn steps(reader: &Reader<'_>, org: OrgId, run: RunId, segment: u32) -> Result<Vec<Step>, Error> {
    reader.list(STEPS, named_params! { ":run": run, ":org": org, ":segment": segment }, |row| {
        let mut cells = Cells::of(row);
        Ok(Step {
            seq: cells.take::<i64>()? as u64,
            call: cells.take()?,
            sub: cells.take()?,
            phase: cells.take()?,
            kind: cells.take()?,
            class: cells.take()?,
            code: cells.take::<Option<String>>()?.and_then(|code| FailureCode::parse(&code)),
        })
    })
}

/// Something that a run changed beyond itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub seq: u64,
    pub kind: String,
    /// The method and address, or the key.
    pub what: String,
}

/// What a run has changed beyond itself, in order, from its first `limit` entries of that kind.
pub fn writes(reader: &Reader<'_>, org: OrgId, run: RunId, limit: u32) -> Result<Vec<Write>, Error> {
    let rows = reader.list(WRITES, named_params! { ":run": run, ":org": org, ":limit": limit }, |row| {
        let mut cells = Cells::of(row);
        let place: (u32, u32, u32) = (cells.take()?, cells.take()?, cells.take()?);
        let (phase, kind, meta): (Phase, String, String) = (cells.take()?, cells.take()?, cells.take()?);
        Ok((place, phase, kind, meta, cells.take::<i64>()? as u64))
    })?;
    let mut begun = BTreeMap::new();
    let mut writes = Vec::new();
    for (place, phase, kind, meta, seq) in rows {
        let meta: serde_json::Value = serde_json::from_str(&meta).unwrap_or_default();
        let text = |name: &str| meta.get(name).and_then(serde_json::Value::as_str);
        let kind = text("tool").map_or(kind, str::to_owned);
        let what = [text("method"), text("url"), text("key"), text("agent")]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ");
        if phase == Phase::Start {
            begun.insert(place, what);
        } else if meta.get("code").is_none() {
            let what = begun.remove(&place).filter(|begun| !begun.is_empty()).unwrap_or(what);
            writes.push(Write { seq, kind, what });
        }
    }
    Ok(writes)
}
