//! The database as a crash would have left it: copies of a finished run that end at some entry of its journal.
//!
//! A copy has an environment of its own, so that copies of one run share no memory. Everything that the run did in our own database up
//! to that entry is there, nothing after it is.

use std::collections::BTreeMap;
use std::path::Path;

use agentstation::domain::hex;
use agentstation::domain::id::{LedgerId, RunId};
use agentstation::domain::time::Timestamp;
use agentstation::store::DATABASE_FILE;
use rusqlite::{Connection, Params, ToSql, named_params};
use serde_json::Value;

use super::TestStation;

/// Key, value, version and time.
type Memory = BTreeMap<String, (String, i64, i64)>;

/// One entry of the guest's lane as replay must make it again; texts are hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub segment: i64,
    pub call: i64,
    pub sub: Option<i64>,
    pub phase: String,
    pub kind: String,
    pub fingerprint: String,
    pub fuel: i64,
}

/// What one journal entry did to the agent's memory.
struct Remembered {
    seq: u64,
    key: String,
    /// Nothing where the key was deleted.
    value: Option<(String, i64, i64)>,
}

struct Cut {
    seq: u64,
    segment: i64,
    attempt: i64,
}

/// A finished run, with what is needed to take it apart.
pub struct Recorded {
    run: String,
    before: Memory,
    remembered: Vec<Remembered>,
    cuts: Vec<Cut>,
    pub lines: Vec<Line>,
    pub after: Memory,
    pub artifacts: Vec<(String, String, String)>,
}

pub fn open(directory: &Path) -> Connection {
    let connection = Connection::open(directory.join(DATABASE_FILE)).unwrap();
    connection.pragma_update(None, "foreign_keys", "1").unwrap();
    connection
}

fn rows<T>(db: &Connection, sql: &str, params: impl Params, read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    db.prepare(sql)
        .unwrap()
        .query_map(params, read)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// What the agents of an environment remember.
pub fn memory(db: &Connection, environment: &str) -> Memory {
    rows(
        db,
        "SELECT key, value, version, updated_at FROM memory WHERE environment = ?1",
        [environment],
        |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?))),
    )
    .into_iter()
    .collect()
}

/// The guest's lane. An intent that was repeated after a crash counts once; anything else that is there twice panics.
pub fn lines(db: &Connection, run: &str) -> Vec<Line> {
    let sql = "SELECT segment, call, sub, phase, kind, lower(hex(fingerprint)), fuel FROM journal WHERE run_id = ?1 AND lane = 'guest'";
    let mut lines = rows(db, sql, [run], |row| {
        Ok(Line {
            segment: row.get(0)?,
            call: row.get(1)?,
            sub: row.get(2)?,
            phase: row.get(3)?,
            kind: row.get(4)?,
            fingerprint: row.get(5)?,
            fuel: row.get(6)?,
        })
    });
    lines.sort();
    for pair in lines.windows(2) {
        assert!(
            pair[0] != pair[1] || pair[0].phase == "start",
            "{run} did this twice: {:?}",
            pair[0]
        );
    }
    lines.dedup();
    lines
}

/// Name, type and digest of a run's artifacts.
pub fn artifacts(db: &Connection, run: &str) -> Vec<(String, String, String)> {
    let sql = "SELECT name, content_type, lower(hex(digest)) FROM artifacts WHERE run_id = ?1 ORDER BY name";
    rows(db, sql, [run], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
}

/// State, cost, reservation and whether it was a guess, of each try of each paid call.
pub fn ledger(db: &Connection, run: &str) -> Vec<(String, i64, i64, bool)> {
    let sql = "SELECT state, cost_micros, reserved_micros, estimated FROM ledger WHERE run_id = ?1 AND kind = 'model' ORDER BY segment, call, sub, try";
    rows(db, sql, [run], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
}

/// Fuel of a run's segments together.
pub fn fuel_of_segments(db: &Connection, run: &str) -> u64 {
    db.query_row("SELECT sum(fuel) FROM segments WHERE run_id = ?1", [run], |row| {
        row.get::<_, i64>(0)
    })
    .unwrap()
    .cast_unsigned()
}

impl Recorded {
    /// Takes a finished run of a station; `before` is what the agent remembered when it began.
    pub async fn take(station: &TestStation, run: RunId, before: Memory) -> Self {
        let db = open(station.directory());
        let mut remembered = Vec::new();
        for entry in station.entries(run).await {
            if !["memory.put", "memory.delete", "tools.call"].contains(&entry.kind.as_str()) {
                continue;
            }
            let whole = station.entry(run, entry.seq).await;
            let (mut request, mut response): (Value, Value) = (parse(whole.request.as_deref()), parse(whole.response.as_deref()));
            if entry.kind == "tools.call" {
                let result = response["ok"]["tool_result"]
                    .as_str()
                    .and_then(|text| serde_json::from_str::<Value>(text).ok());
                let (Some(result), true) = (result, request["name"] == "memory_put") else {
                    continue;
                };
                response["ok"]["memory_version"] = result["version"].clone();
                request = request["arguments"].take();
            }
            let value = match (&response["ok"]["memory_version"], &response["ok"]["memory_deleted"]) {
                (Value::Number(version), _) => Some((request["value"].as_str().unwrap().to_owned(), version.as_i64().unwrap(), entry.at)),
                (_, Value::Bool(true)) => None,
                _ => continue,
            };
            remembered.push(Remembered {
                seq: entry.seq,
                key: request["key"].as_str().unwrap().to_owned(),
                value,
            });
        }
        let run = run.to_string();
        Self {
            before,
            remembered,
            cuts: cuts(&db, &run),
            lines: lines(&db, &run),
            after: memory(&db, "production"),
            artifacts: artifacts(&db, &run),
            run,
        }
    }

    /// Where the run may have been interrupted: after each of its transactions. Of many, `most` at even distances.
    pub fn interruptions(&self, most: usize) -> Vec<usize> {
        let all = self.cuts.len();
        let step = all.div_ceil(most).max(1);
        let mut chosen: Vec<usize> = (0..all).step_by(step).collect();
        if chosen.last() != Some(&(all - 1)) {
            chosen.push(all - 1);
        }
        chosen
    }

    /// Makes a copy that a dead process has left at an interruption.
    pub fn copy(&self, db: &Connection, interruption: usize) -> Copy {
        let Cut { seq, segment, attempt } = self.cuts[interruption];
        let id = RunId::new(Timestamp::from_ms(1_700_000_000_000));
        let environment = format!("copy-{id}");
        let (new, seq_number) = (id.to_string(), seq.cast_signed());
        let params = named_params! {
            ":run": self.run, ":new": new, ":environment": environment, ":seq": seq_number, ":segment": segment, ":attempt": attempt,
        };
        let guest = "FROM journal j WHERE j.run_id = :run AND j.seq <= :seq AND j.lane = 'guest'";
        insert(
            db,
            "runs",
            "WHERE id = :run",
            &[
                ("id", ":new"),
                ("environment", ":environment"),
                ("state", "'running'"),
                ("reason", "NULL"),
                ("error", "NULL"),
                ("output_hash", "NULL"),
                ("next_seq", ":seq + 1"),
                (
                    "calls",
                    &format!("(SELECT count(*) {guest} AND (j.phase <> 'end' OR j.kind = 'step'))"),
                ),
                ("attempt", ":attempt"),
                ("segment", ":segment"),
                ("lease_node", "'a dead process'"),
                ("lease_until", "9000000000000000"),
                ("wake_at", "NULL"),
                (
                    "fuel",
                    "(SELECT coalesce(sum(fuel), 0) FROM segments WHERE run_id = :run AND segment < :segment)",
                ),
                ("finished_at", "NULL"),
            ],
            params,
        );
        insert(
            db,
            "segments",
            "WHERE run_id = :run AND segment <= :segment",
            &[
                ("run_id", ":new"),
                ("ended_at", "CASE segment WHEN :segment THEN NULL ELSE ended_at END"),
            ],
            params,
        );
        insert(db, "journal", "WHERE run_id = :run AND seq <= :seq", &[("run_id", ":new")], params);
        self.copy_memory(db, seq, &environment);
        self.copy_artifacts(db, seq, id);
        self.copy_ledger(db, seq, id);
        Copy {
            id,
            environment,
            interruption,
        }
    }

    fn copy_memory(&self, db: &Connection, seq: u64, environment: &str) {
        let mut memory = self.before.clone();
        for change in self.remembered.iter().filter(|change| change.seq <= seq) {
            match &change.value {
                Some(value) => _ = memory.insert(change.key.clone(), value.clone()),
                None => _ = memory.remove(&change.key),
            }
        }
        for (key, (value, version, updated_at)) in memory {
            let sql = "INSERT INTO memory (org_id, agent_id, environment, key, value, version, updated_at)
                SELECT org_id, agent_id, ?2, ?3, ?4, ?5, ?6 FROM runs WHERE id = ?1";
            db.execute(sql, (&self.run, environment, key, value, version, updated_at)).unwrap();
        }
    }

    fn copy_artifacts(&self, db: &Connection, seq: u64, id: RunId) {
        let sql = "SELECT seq, at, response FROM journal WHERE run_id = ?1 AND seq <= ?2 AND kind = 'artifacts.put' ORDER BY seq";
        let put = rows(db, sql, (&self.run, seq.cast_signed()), |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
        });
        for (seq, at, response) in put {
            let response: Value = serde_json::from_str(&response).unwrap();
            let info = &response["ok"]["artifact"];
            let Some(digest) = info["digest"]
                .as_str()
                .and_then(|digest| hex::decode(digest.strip_prefix("sha256:")?))
            else {
                continue;
            };
            let sql = "INSERT OR REPLACE INTO artifacts (run_id, org_id, name, content_type, bytes, digest, seq, created_at)
                SELECT id, org_id, ?2, ?3, ?4, ?5, ?6, ?7 FROM runs WHERE id = ?1";
            let params = (
                id.to_string(),
                info["name"].as_str(),
                info["content_type"].as_str(),
                info["bytes"].as_i64(),
                digest,
                seq,
                at,
            );
            db.execute(sql, params).unwrap();
        }
    }

    fn copy_ledger(&self, db: &Connection, seq: u64, id: RunId) {
        let at = |phase: &str| {
            format!(
                "EXISTS (SELECT 1 FROM journal j WHERE j.run_id = ledger.run_id AND j.seq <= {seq} AND j.lane = 'guest' AND j.phase = '{phase}'
                 AND j.segment = ledger.segment AND j.call = ledger.call AND coalesce(j.sub, 0) = ledger.sub)"
            )
        };
        let begun = rows(
            db,
            &format!("SELECT id, {} FROM ledger WHERE run_id = ?1 AND {}", at("end"), at("start")),
            [&self.run],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?)),
        );
        for (line, settled) in begun {
            let new_line = LedgerId::new(Timestamp::from_ms(1)).to_string();
            let open = [
                ("state", "'reserved'"),
                ("cost_micros", "0"),
                ("estimated", "0"),
                ("settled_at", "NULL"),
            ];
            let mut changed = vec![("id", ":line"), ("run_id", ":new")];
            if !settled {
                changed.extend(open);
            }
            insert(
                db,
                "ledger",
                "WHERE id = :old",
                &changed,
                named_params! { ":line": new_line, ":new": id.to_string(), ":old": line },
            );
        }
    }
}

/// A run that a dead process has left.
pub struct Copy {
    pub id: RunId,
    pub environment: String,
    pub interruption: usize,
}

fn parse(text: Option<&serde_json::value::RawValue>) -> Value {
    text.map_or(Value::Null, |text| serde_json::from_str(text.get()).unwrap())
}

/// Copies rows of a table with some columns changed.
fn insert(db: &Connection, table: &str, condition: &str, changed: &[(&str, &str)], params: &[(&str, &dyn ToSql)]) {
    let columns = rows(db, &format!("SELECT name FROM pragma_table_info('{table}')"), [], |row| {
        row.get::<_, String>(0)
    });
    let values: Vec<&str> = columns
        .iter()
        .map(|column| {
            changed
                .iter()
                .find(|(name, _)| name == column)
                .map_or(column.as_str(), |(_, value)| value)
        })
        .collect();
    let sql = format!(
        "INSERT INTO {table} ({}) SELECT {} FROM {table} {condition}",
        columns.join(", "),
        values.join(", ")
    );
    let used: Vec<(&str, &dyn ToSql)> = params.iter().filter(|(name, _)| sql.contains(name)).copied().collect();
    db.execute(&sql, used.as_slice()).unwrap();
}

/// The last entry of each transaction that left the run unfinished, with the segment and attempt it left it in.
fn cuts(db: &Connection, run: &str) -> Vec<Cut> {
    type Row = (u64, String, String, i64, i64, Option<i64>, Option<i64>, String);
    let sql = "SELECT seq, lane, kind, segment, attempt, call, sub, phase FROM journal WHERE run_id = ?1 ORDER BY seq";
    let entries: Vec<Row> = rows(db, sql, [run], |row| {
        Ok((
            row.get::<_, i64>(0)?.cast_unsigned(),
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
            row.get(6)?,
            row.get(7)?,
        ))
    });
    let begun = entries.iter().position(|entry| entry.2 == "segment.started").unwrap();
    let mut cuts = Vec::new();
    for (at, pair) in entries.windows(2).enumerate().skip(begun) {
        let [this, next] = pair else { continue };
        // The calls of one `calls.all` begin together; a segment ends when the next begins.
        let together = this.1 == "guest"
            && this.5.is_some()
            && this.3 == next.3
            && this.5 == next.5
            && next.6.is_some()
            && this.7 != "end"
            && next.7 != "end";
        if together || this.2 == "segment.ended" {
            continue;
        }
        let segment = entries[..=at]
            .iter()
            .filter(|entry| entry.2 == "segment.started")
            .map(|entry| entry.3)
            .max()
            .unwrap();
        cuts.push(Cut {
            seq: this.0,
            segment,
            attempt: this.4,
        });
    }
    cuts
}
