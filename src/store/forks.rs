//! Forks: a new run that begins as a copy of a segment of another, up to one of its entries.

use rusqlite::named_params;

use super::journal::{payload_ref, payload_text};
use super::tx::Cells;
use super::{Error, Reader, Tx, artifacts, journal};
use crate::domain::call::{ArtifactInfo, CallResult, EffectClass, Reply};
use crate::domain::hex;
use crate::domain::id::{OrgId, PrincipalId, RunId, VersionId};
use crate::domain::journal::{NewEntry, Payload, Phase};
use crate::domain::run::Environment;
use crate::domain::time::Timestamp;

const PREFIX: &str = "SELECT j.seq, j.at, j.call, j.sub, j.phase, j.kind, j.class, j.request, j.request_ref, j.request_bytes,
    j.response, j.response_ref, j.response_bytes
    FROM segments s JOIN journal j ON j.run_id = s.run_id AND j.seq >= s.first_seq AND j.seq <= :seq
    WHERE s.run_id = :run AND s.segment = :segment AND s.org_id = :org AND j.segment = :segment AND j.lane = 'guest' ORDER BY j.seq";
const INSERT: &str = "INSERT INTO runs
    (id, org_id, workspace_id, environment, agent_id, version_id, agent_name, agent_version, state, trigger, started_by, input_hash, created_at,
     priority, retry, pinned, session, segment, forked_from, forked_seq, ask_writes, budget_micros, key_id)
    SELECT :id, org_id, workspace_id, :environment, agent_id, :version, agent_name, :agent_version, 'queued', 'fork', :by, input_hash, :now,
     priority, retry, pinned, session, :segment, id, :seq, :ask_writes, budget_micros, '' FROM runs WHERE id = :run AND org_id = :org";
const SEGMENT: &str = "INSERT INTO segments
    (run_id, org_id, segment, component_digest, script_digest, wit_version, engine, seed, event, state_hash, first_seq, started_at)
    SELECT :id, org_id, segment, component_digest, script_digest, wit_version, engine, seed, event, state_hash, :first, started_at
    FROM segments WHERE run_id = :run AND segment = :segment AND org_id = :org";
macro_rules! copied {
    ($seq:literal, $meta:literal, $response:literal, $condition:literal) => {
        concat!(
            "INSERT INTO journal
    (run_id, seq, at, lane, attempt, segment, call, sub, phase, kind, class, fingerprint, fuel, step, actor, audience, meta,
     request, request_ref, request_bytes, response, response_ref, response_bytes)
    SELECT :id, ",
            $seq,
            ", j.at, j.lane, 0, j.segment, j.call, j.sub, j.phase, j.kind, j.class, j.fingerprint, j.fuel, j.step, j.actor, j.audience, ",
            $meta,
            ", j.request, j.request_ref, j.request_bytes, ",
            $response,
            " FROM segments s JOIN journal j ON j.run_id = s.run_id AND j.seq >= s.first_seq AND ",
            $condition,
            " WHERE s.run_id = :run AND s.segment = :segment AND s.org_id = :org AND j.segment = :segment AND j.lane = 'guest'"
        )
    };
}
const COPY: &str = copied!(
    ":base + row_number() OVER (ORDER BY j.seq)",
    "j.meta",
    "j.response, j.response_ref, j.response_bytes",
    "j.seq <= :seq"
);
const COPY_EDITED: &str = copied!(":base", ":meta", ":response, :response_ref, :response_bytes", "j.seq = :seq");
const COUNTED: &str = "UPDATE runs SET next_seq = next_seq + :entries,
    calls = (SELECT count(*) FROM journal j WHERE j.run_id = :id AND j.call IS NOT NULL AND (j.phase <> 'end' OR j.kind = 'step')),
    journal_bytes = (SELECT sum(96 + length(j.kind) + j.request_bytes + j.response_bytes) FROM journal j WHERE j.run_id = :id)
    WHERE id = :id AND org_id = :org";
const PUT: &str = "SELECT j.seq, j.at, j.response, j.response_ref, j.response_bytes FROM runs r JOIN journal j ON j.run_id = r.id
    WHERE r.id = :run AND r.org_id = :org AND j.seq <= :seq AND j.lane = 'guest' AND j.kind = 'artifacts.put' ORDER BY j.seq";

#[cfg(test)]
pub(super) const SQL: [&str; 7] = [PREFIX, INSERT, SEGMENT, COPY, COPY_EDITED, COUNTED, PUT];

/// An entry that a fork would begin with.
#[derive(Clone, Debug)]
pub struct Before {
    pub seq: u64,
    pub at: Timestamp,
    pub call: Option<u32>,
    pub sub: Option<u32>,
    pub phase: Phase,
    pub kind: String,
    pub class: Option<EffectClass>,
    /// JSON.
    pub request: Option<String>,
    /// JSON.
    pub response: Option<String>,
}

/// The guest's entries of a segment up to one, in order, with whole payloads.
pub fn prefix(reader: &Reader<'_>, org: OrgId, run: RunId, segment: u32, seq: u64) -> Result<Vec<Before>, Error> {
    let params = named_params! { ":run": run, ":org": org, ":segment": segment, ":seq": seq as i64 };
    let rows = reader.list(PREFIX, params, |row| {
        let mut cells = Cells::of(row);
        let before = Before {
            seq: cells.take::<i64>()? as u64,
            at: cells.take()?,
            call: cells.take()?,
            sub: cells.take()?,
            phase: cells.take()?,
            kind: cells.take()?,
            class: cells.take()?,
            request: None,
            response: None,
        };
        let request = payload_ref(cells.take()?, cells.take()?, cells.take()?);
        Ok((before, request, payload_ref(cells.take()?, cells.take()?, cells.take()?)))
    })?;
    rows.into_iter()
        .map(|(before, request, response)| {
            // A conversation's messages say nothing of what is open.
            let request = match before.kind.as_str() {
                "models.chat" => None,
                _ => payload_text(reader, org, &request)?,
            };
            Ok(Before {
                request,
                response: payload_text(reader, org, &response)?,
                ..before
            })
        })
        .collect()
}

/// A fork that is to be queued.
#[derive(Clone, Debug)]
pub struct NewFork {
    pub id: RunId,
    pub from: RunId,
    pub segment: u32,
    /// The last entry that is copied.
    pub seq: u64,
    pub environment: Environment,
    pub version_id: VersionId,
    pub agent_version: String,
    pub started_by: PrincipalId,
    pub ask_writes: bool,
    /// The response that the last entry has instead of its own, and its summary.
    pub edited: Option<(CallResult, serde_json::Value)>,
    /// The numbers of the entries that are copied.
    pub copied: Vec<u64>,
    /// Its first entries, before the copies.
    pub first: Vec<NewEntry>,
}

/// Queues a fork with what it begins with. Returns its last entry.
///
/// # Errors
/// [`Error::NotFound`] where the run or its segment is gone, [`Error::Conflict`] where a file it wrote is.
pub fn insert(tx: &Tx<'_>, org: OrgId, new: &NewFork, now: Timestamp) -> Result<u64, Error> {
    let inserted = tx.execute(
        INSERT,
        named_params! {
            ":id": new.id, ":environment": new.environment, ":version": new.version_id, ":agent_version": new.agent_version,
            ":by": new.started_by, ":now": now, ":segment": new.segment, ":seq": new.seq as i64, ":ask_writes": new.ask_writes,
            ":run": new.from, ":org": org,
        },
    )?;
    let base = journal::append(tx, org, new.id, None, &new.first)?.last_seq;
    let segments = tx.execute(
        SEGMENT,
        named_params! { ":id": new.id, ":first": base as i64, ":run": new.from, ":segment": new.segment, ":org": org },
    )?;
    if inserted != 1 || segments != 1 {
        return Err(Error::NotFound);
    }
    copy_entries(tx, org, new, base)?;
    tx.execute(
        COUNTED,
        named_params! { ":entries": new.copied.len() as i64, ":id": new.id, ":org": org },
    )?;
    copy_artifacts(tx, org, new, base)?;
    Ok(base + new.copied.len() as u64)
}

fn copy_entries(tx: &Tx<'_>, org: OrgId, new: &NewFork, base: u64) -> Result<(), Error> {
    let whole = if new.edited.is_some() { new.seq.saturating_sub(1) } else { new.seq };
    tx.execute(
        COPY,
        named_params! {
            ":id": new.id, ":base": base as i64, ":seq": whole as i64, ":run": new.from, ":segment": new.segment, ":org": org,
        },
    )?;
    if let Some((response, meta)) = &new.edited {
        let payload = Payload::Json(response.to_json());
        let (response, response_ref, response_bytes) = journal::place(tx, org, Some(&payload))?;
        tx.execute(
            COPY_EDITED,
            named_params! {
                ":id": new.id, ":base": (base + new.copied.len() as u64) as i64, ":meta": journal::meta(meta), ":response": response,
                ":response_ref": response_ref, ":response_bytes": response_bytes, ":seq": new.seq as i64, ":run": new.from,
                ":segment": new.segment, ":org": org,
            },
        )?;
    }
    Ok(())
}

/// Names what the run had written by then as the fork's, too. The journal tells: the run itself may have replaced it since.
fn copy_artifacts(tx: &Tx<'_>, org: OrgId, new: &NewFork, base: u64) -> Result<(), Error> {
    let params = named_params! { ":run": new.from, ":org": org, ":seq": new.seq as i64 };
    let put = tx.list(PUT, params, |row| {
        let mut cells = Cells::of(row);
        let (seq, at) = (cells.take::<i64>()? as u64, cells.take::<Timestamp>()?);
        Ok((seq, at, payload_ref(cells.take()?, cells.take()?, cells.take()?)))
    })?;
    for (seq, at, response) in put {
        let text = payload_text(tx, org, &response)?.unwrap_or_default();
        let Ok(CallResult::Ok(Reply::Artifact(info))) = serde_json::from_str(&text) else {
            continue;
        };
        let digest = digest(&info)?;
        // Of an earlier segment: it came with the fork itself.
        let at_seq = new.copied.binary_search(&seq).map_or(1, |index| base + index as u64 + 1);
        artifacts::put(tx, org, new.id, &info, digest, at_seq, at).map_err(|error| match error {
            Error::Internal(_) => Error::Conflict(format!("the bytes of “{}”, which it wrote before, are gone", info.name)),
            other => other,
        })?;
    }
    Ok(())
}

fn digest(info: &ArtifactInfo) -> Result<[u8; 32], Error> {
    info.digest
        .strip_prefix("sha256:")
        .and_then(hex::decode)
        .ok_or_else(|| Error::Corrupt(format!("the digest of “{}” is none", info.name)))
}
