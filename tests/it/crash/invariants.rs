//! What is true of the database at every moment, dead or alive.

use std::path::Path;

use agentstation::store::DATABASE_FILE;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

/// Each finds rows that must not be there, as text.
const NEVER: [(&str, &str); 13] = [
    (
        "a run that waits for time knows when",
        "SELECT id FROM runs WHERE state = 'waiting' AND wake_on IN ('timer', 'retry') AND wake_at IS NULL",
    ),
    (
        "a session that waits for a message has none",
        "SELECT r.id FROM runs r JOIN messages m ON m.run_id = r.id AND m.taken = 0 WHERE r.state = 'waiting' AND r.wake_on = 'message'",
    ),
    (
        "a run that waits within a segment waits for something that can still come",
        "SELECT r.id FROM runs r WHERE r.state = 'waiting' AND r.wake_on IS NULL AND r.wake_at IS NULL AND NOT EXISTS (
            SELECT 1 FROM waits w WHERE w.run_id = r.id AND w.awaited = 1 AND w.signal IS NULL AND w.segment = r.segment AND (
                w.due_at IS NOT NULL
                OR w.kind = 'message'
                OR w.kind = 'approval' AND EXISTS (SELECT 1 FROM approvals a WHERE a.id = w.target AND a.state = 'pending')
                OR w.kind = 'child' AND EXISTS (SELECT 1 FROM runs c WHERE c.id = w.target AND c.finished_at IS NULL)
                OR w.kind = 'ask' AND EXISTS (SELECT 1 FROM runs c WHERE c.id = w.target AND c.finished_at IS NULL AND (
                    EXISTS (SELECT 1 FROM messages m WHERE m.run_id = c.id AND m.taken = 0 AND instr(m.ask, r.id) > 0)
                    OR EXISTS (SELECT 1 FROM segments s WHERE s.run_id = c.id AND s.segment = c.segment AND instr(s.ask, r.id) > 0)))))",
    ),
    (
        "a run whose wait was completed goes on",
        "SELECT r.id FROM runs r JOIN waits w ON w.run_id = r.id WHERE r.state = 'waiting' AND w.awaited = 1 AND w.signal IS NOT NULL",
    ),
    (
        "a call that waits for a message has none",
        "SELECT w.run_id FROM waits w JOIN messages m ON m.run_id = w.run_id AND m.taken = 0 AND m.ask IS NULL
            WHERE w.kind = 'message' AND w.signal IS NULL",
    ),
    (
        "what waits for a decision that was made has heard of it",
        "SELECT w.run_id FROM waits w LEFT JOIN approvals a ON a.id = w.target
            WHERE w.kind = 'approval' AND w.signal IS NULL AND a.state IS NOT 'pending'",
    ),
    (
        "what waits for a child that has ended has heard of it",
        "SELECT w.run_id FROM waits w LEFT JOIN runs c ON c.id = w.target
            WHERE w.kind IN ('child', 'ask') AND w.signal IS NULL AND (c.id IS NULL OR c.finished_at IS NOT NULL)",
    ),
    (
        "a run that has ended waits for nothing",
        "SELECT r.id FROM runs r WHERE r.finished_at IS NOT NULL AND (
            EXISTS (SELECT 1 FROM waits w WHERE w.run_id = r.id)
            OR EXISTS (SELECT 1 FROM approvals a WHERE a.org_id = r.org_id AND a.run_id = r.id AND a.state = 'pending')
            OR r.wake_on IS NOT NULL OR r.wake_at IS NOT NULL OR r.lease_node IS NOT NULL)",
    ),
    (
        "a run has an end exactly when its state says so",
        "SELECT id FROM runs WHERE (finished_at IS NOT NULL) <> (state IN ('succeeded', 'failed', 'cancelled'))
            OR (SELECT count(*) FROM journal j WHERE j.run_id = runs.id AND j.kind = 'run.finished') <> (finished_at IS NOT NULL)",
    ),
    (
        "a run costs what its settled lines say",
        "SELECT id FROM runs WHERE cost_micros <>
            (SELECT COALESCE(sum(cost_micros), 0) FROM ledger l WHERE l.org_id = runs.org_id AND l.run_id = runs.id AND l.state = 'settled')",
    ),
    (
        "nothing is reserved after the end",
        "SELECT r.id FROM runs r JOIN ledger l ON l.org_id = r.org_id AND l.run_id = r.id AND l.state = 'reserved' WHERE r.finished_at IS NOT NULL",
    ),
    (
        "a call has one result, and one more for each retry that took it back",
        "SELECT run_id || ' ' || segment || '/' || call FROM journal j WHERE lane = 'guest' AND phase <> 'start' AND kind <> 'run.retried'
            GROUP BY run_id, segment, call, sub HAVING count(*) > 1 + (SELECT count(*) FROM journal m
                WHERE m.run_id = j.run_id AND m.segment = j.segment AND m.kind = 'run.retried' AND m.call <= j.call)",
    ),
    (
        "a run's entries have no gap",
        "SELECT r.id FROM runs r WHERE r.next_seq - 1 <> (SELECT count(*) FROM journal j WHERE j.run_id = r.id)
            OR r.next_seq - 1 <> (SELECT max(seq) FROM journal j WHERE j.run_id = r.id)",
    ),
];

/// The database of a station that has been killed, as the next start finds it: a copy, so that looking at it recovers nothing.
pub fn of_dead(data: &Path) -> Connection {
    let copy = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("{DATABASE_FILE}{suffix}");
        if data.join(&name).exists() {
            std::fs::copy(data.join(&name), copy.path().join(&name)).unwrap();
        }
    }
    let connection = Connection::open(copy.path().join(DATABASE_FILE)).unwrap();
    // Its files stay open after they have lost their names.
    connection.query_row("SELECT count(*) FROM runs", [], |_| Ok(())).unwrap();
    connection
}

/// The database of a station that serves.
pub fn of_living(data: &Path) -> Connection {
    let connection = Connection::open_with_flags(data.join(DATABASE_FILE), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    connection
}

/// Checks everything that is always true, in one snapshot.
pub fn check(db: &mut Connection) {
    let snapshot = db.transaction().unwrap();
    let whole: String = snapshot.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    let foreign: Option<String> = snapshot
        .query_row("PRAGMA foreign_key_check", [], |row| row.get(0))
        .optional()
        .unwrap();
    assert_eq!(foreign, None);
    for (rule, sql) in NEVER {
        let broken: Vec<String> = snapshot
            .prepare(sql)
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert!(broken.is_empty(), "{rule}: {}", told(&snapshot, &broken));
    }
}

/// What is known of runs that break a rule.
fn told(db: &Connection, broken: &[String]) -> String {
    let about = "SELECT agent_name || ' ' || state || ' segment ' || segment || ' wake_on ' || COALESCE(wake_on, '-') || ' waits ' ||
        COALESCE((SELECT group_concat(w.kind || ':' || COALESCE(w.target, '-') || ':' || w.awaited || ':' || COALESCE(w.signal, '-'))
            FROM waits w WHERE w.run_id = runs.id), 'none') || ' journal ' ||
        (SELECT group_concat(kind || '.' || phase, ' ') FROM (SELECT kind, phase FROM journal WHERE run_id = runs.id ORDER BY seq DESC LIMIT 12))
        FROM runs WHERE id = ?1";
    let each = broken.iter().map(|id| {
        let run = id.split(' ').next().unwrap_or_default();
        let what: Option<String> = db.query_row(about, [run], |row| row.get(0)).optional().unwrap();
        format!("{id}: {}", what.unwrap_or_default())
    });
    each.collect::<Vec<_>>().join("\n")
}
