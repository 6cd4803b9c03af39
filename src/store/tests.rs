//! The engine as its callers see it, and what holds for every table and query.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::domain::time::SimClock;

/// A store in a directory that goes away with it, at a simulated time.
pub(super) struct Fixture {
    pub store: Store,
    pub clock: Arc<SimClock>,
    pub dir: TempDir,
}

pub(super) fn fixture() -> Fixture {
    fixture_at(Timestamp::from_ms(1_763_700_000_000))
}

pub(super) fn fixture_at(now: Timestamp) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let clock = SimClock::at(now);
    let store = Store::open(
        Options {
            synchronous: Synchronous::Off,
            ..Options::new(dir.path())
        },
        clock.clone(),
    )
    .unwrap();
    Fixture { store, clock, dir }
}

impl Fixture {
    /// Closes the store and opens it again.
    async fn reopen(self) -> Self {
        self.store.close().await.unwrap();
        let store = Store::open(Options::new(self.dir.path()), self.clock.clone()).unwrap();
        Self { store, ..self }
    }
}

const PUT: &str = "INSERT INTO station (key, value) VALUES (?1, ?2)";
const KEYS: &str = "SELECT key FROM station WHERE key LIKE 't-%' ORDER BY key";

fn put(tx: &Tx<'_>, key: &str) -> Result<(), Error> {
    tx.execute(PUT, [key, ""]).map(drop)
}

async fn keys(store: &Store) -> Vec<String> {
    store.read(|reader| reader.list(KEYS, [], |row| row.get(0))).await.unwrap()
}

#[tokio::test]
async fn a_failing_or_panicking_write_undoes_only_itself() {
    let f = fixture();
    let first = f.store.enqueue(|tx| put(tx, "t-1")).await.unwrap();
    let fails = f
        .store
        .enqueue(|tx| {
            put(tx, "t-2")?;
            Err::<(), _>(Error::Fenced)
        })
        .await
        .unwrap();
    let panics = f
        .store
        .enqueue(|tx| -> Result<(), Error> {
            put(tx, "t-3")?;
            panic!("on purpose")
        })
        .await
        .unwrap();
    let last = f.store.enqueue(|tx| put(tx, "t-4")).await.unwrap();
    first.await.unwrap();
    assert!(matches!(fails.await, Err(Error::Fenced)));
    assert!(matches!(panics.await, Err(Error::Internal(_))));
    last.await.unwrap();
    assert_eq!(keys(&f.store).await, ["t-1", "t-4"]);
}

#[tokio::test]
async fn queued_writes_keep_their_order_and_share_transactions() {
    let f = fixture();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    // Holds the writer until all are queued.
    let gate = f.store.enqueue(move |_| wait.recv().map_err(Error::internal)).await.unwrap();
    let mut pending = Vec::new();
    for i in 0..100 {
        pending.push(f.store.enqueue(move |tx| put(tx, &format!("t-{i:03}")).map(|()| i)).await.unwrap());
    }
    go.send(()).unwrap();
    gate.await.unwrap();
    for (i, write) in pending.into_iter().enumerate() {
        assert_eq!(write.await.unwrap(), i);
    }
    let stats = f.store.writer_stats();
    assert_eq!(stats.writes, 101);
    assert!(stats.batches <= 3, "{stats:?}");
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_still_happens() {
    let f = fixture();
    drop(f.store.enqueue(|tx| put(tx, "t-1")).await.unwrap());
    f.store.write(|_| Ok(())).await.unwrap();
    assert_eq!(keys(&f.store).await, ["t-1"]);
}

#[tokio::test]
async fn acknowledged_writes_survive_a_store_that_is_dropped_and_one_that_is_closed() {
    let f = fixture();
    f.store.write(|tx| put(tx, "t-1")).await.unwrap();
    let f = f.reopen().await;
    f.store.write(|tx| put(tx, "t-2")).await.unwrap();
    // As a crash leaves it: the log is not folded in, and only the two files are there.
    let copy = tempfile::tempdir().unwrap();
    for name in [DATABASE_FILE, "agentstation.db-wal"] {
        fs::copy(f.dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let after = Store::open(Options::new(copy.path()), f.clock.clone()).unwrap();
    assert_eq!(keys(&after).await, ["t-1", "t-2"]);
}

#[tokio::test]
async fn a_closed_store_refuses_writes_and_leaves_no_log() {
    let f = fixture();
    f.store.write(|tx| put(tx, "t-1")).await.unwrap();
    f.store.close().await.unwrap();
    assert!(matches!(f.store.write(|tx| put(tx, "t-2")).await, Err(Error::Busy)));
    let log = fs::metadata(f.dir.path().join("agentstation.db-wal")).map_or(0, |data| data.len());
    assert_eq!(log, 0);
}

#[tokio::test]
async fn a_data_directory_has_one_store_at_a_time() {
    let f = fixture();
    let second = Store::open(Options::new(f.dir.path()), f.clock.clone());
    let Err(error @ Error::Locked(_)) = second else {
        panic!("opened twice")
    };
    assert!(error.to_string().contains("another AgentStation is using"), "{error}");
    f.reopen().await;
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let f = fixture();
    let written = f
        .store
        .read(|reader| Ok(reader.connection().execute("DELETE FROM station", [])?))
        .await;
    assert!(written.is_err());
}

#[tokio::test]
async fn a_read_sees_one_snapshot() {
    let f = fixture();
    let (seen, see) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let reading = tokio::spawn({
        let store = f.store.clone();
        async move {
            store
                .read(move |reader| {
                    let before = reader.list(KEYS, [], |row| row.get::<_, String>(0))?;
                    seen.send(()).map_err(Error::internal)?;
                    wait.recv().map_err(Error::internal)?;
                    let after = reader.list(KEYS, [], |row| row.get::<_, String>(0))?;
                    Ok((before, after))
                })
                .await
        }
    });
    tokio::task::spawn_blocking(move || see.recv()).await.unwrap().unwrap();
    f.store.write(|tx| put(tx, "t-1")).await.unwrap();
    go.send(()).unwrap();
    let (before, after) = reading.await.unwrap().unwrap();
    assert_eq!(before, after);
    assert_eq!(keys(&f.store).await, ["t-1"]);
}

#[tokio::test]
async fn a_full_disk_fails_the_writes_in_hand_and_no_others() {
    let f = fixture();
    f.store.write(|tx| put(tx, "t-1")).await.unwrap();
    f.store
        .write(|tx| {
            let pages: u32 = tx.get("PRAGMA page_count", [], |row| row.get(0))?;
            Ok(tx
                .connection()
                .pragma_update_and_check(None, "max_page_count", pages + 2, |_| Ok(()))?)
        })
        .await
        .unwrap();
    let huge = f.store.write(|tx| tx.execute(PUT, ["t-2", &"x".repeat(100_000)]).map(drop)).await;
    assert!(matches!(huge, Err(Error::Full)), "{huge:?}");
    f.store.write(|tx| put(tx, "t-3")).await.unwrap();
    assert_eq!(keys(&f.store).await, ["t-1", "t-3"]);
}

#[tokio::test]
async fn settings_are_what_the_design_says() {
    let f = fixture().reopen().await;
    let found = f.store.pragmas().await.unwrap();
    for (name, value) in [
        ("journal_mode", "wal"),
        ("auto_vacuum", "2"),
        ("synchronous", "2"),
        ("foreign_keys", "1"),
        ("trusted_schema", "0"),
        ("user_version", "1"),
    ] {
        assert!(found.contains(&(name, value.to_owned())), "{name} is not {value}: {found:?}");
    }
    assert_eq!(f.store.integrity(Check::Quick).await.unwrap(), Vec::<String>::new());
    assert_eq!(f.store.integrity(Check::Full).await.unwrap(), Vec::<String>::new());
    assert!(f.store.sizes().await.unwrap().database_bytes > 0);
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    let store = Store::open(Options::new(&dir), SimClock::at(Timestamp::from_ms(0))).unwrap();
    store.write(|tx| put(tx, "t-1")).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for name in [DATABASE_FILE, "agentstation.db-wal", LOCK_FILE] {
        assert_eq!(mode(&dir.join(name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn the_log_is_folded_in_while_the_store_is_open() {
    let f = fixture();
    for i in 0..200 {
        f.store
            .write(move |tx| tx.execute(PUT, [format!("t-{i}"), "x".repeat(64 << 10)]).map(drop))
            .await
            .unwrap();
    }
    // 200 × 64 KiB went through the log; that the database file itself has most of it shows that somebody folded.
    let database = f.dir.path().join(DATABASE_FILE);
    let folded = tokio::time::timeout(Duration::from_secs(20), async {
        while fs::metadata(&database).unwrap().len() < 8 << 20 {
            f.store.write(|_| Ok(())).await.unwrap();
        }
    });
    folded.await.expect("the checkpointer does nothing");
}

/// Every statement that runs for a request or for a run's step.
#[expect(clippy::too_many_lines, reason = "it is a list")]
fn statements() -> Vec<&'static str> {
    let mut all = vec![
        agents::FIND,
        agents::FIND_BY_NAME,
        agents::LIST,
        agents::GET_VERSION,
        agents::FIND_VERSION,
        agents::OF_CODE,
        agents::VERSIONS,
        agents::GRANTED,
        agents::RECENT,
        agents::UPDATE,
        artifacts::FIND,
        artifacts::LIST,
        run_hosts::KNOWN,
        run_hosts::LIST,
        blobs::FIND,
        blobs::CHUNKS,
        approvals::QUEUE,
        conversation::AFTER,
        conversation::BEFORE,
        waits::AWAITED_OF_RUN,
        idempotency::FIND,
        idempotency::FINISH,
        idempotency::RELEASE,
        idempotency::PRUNE,
        journal::ALLOCATE,
        journal::PAGE,
        journal::GET,
        journal::RECORDED,
        journal::MADE,
        links::CONSUME,
        links::HOLDS,
        links::FIND,
        links::MADE_SINCE,
        links::DELETE_OF,
        links::PRUNE,
        memory::GET,
        memory::DELETE,
        memory::COUNT,
        memory::LIST,
        memory::SEARCH,
        overview::LIVE,
        overview::ENDED,
        payloads::FIND,
        runs::STATE,
        runs::CANCEL_NOW,
        runs::CANCEL_LATER,
        runs::FINISH,
        runs::ADVANCE,
        runs::PARK,
        runs::REQUEUE,
        runtime_components::EXISTS,
        runtime_components::FIND,
        segments::FIND,
        segments::LIST,
        segments::FINISH,
        sessions::FIND,
        sessions::TOUCH,
        sessions::DELETE,
        sessions::CHOOSE,
        sessions::DELETE_OTHERS,
        sessions::DELETE_OF,
        sessions::DELETE_ONE,
        sessions::LIST,
        sessions::RENEW,
        sessions::PROVE,
        sessions::FACTOR,
        sessions::PRUNE_OLD,
        sessions::PRUNE_IDLE,
        users::FIND,
        users::FIND_BY_EMAIL,
        users::SET_PASSWORD,
        users::SET_NAME,
        users::SET_EMAIL,
        users::STANDINGS,
        users::IS_STATION_ADMIN,
    ];
    all.extend(journal::STEPS_SQL);
    all.extend(runs::HOLDS_SQL);
    all.extend(runs::RETRY_SQL);
    all.extend(runs::QUEUE_SQL);
    all.extend(runs::END_SQL);
    all.extend(runs::FAMILY_SQL);
    all.extend([
        approvals::GET,
        approvals::LIST,
        approvals::OF_RUN,
        approvals::PENDING,
        approvals::VOTE,
        approvals::DECIDE,
        approvals::WITHDRAW,
    ]);
    all.extend([
        approvals::GRANT,
        approvals::GRANTS,
        approvals::USE_GRANT,
        approvals::VOTES,
        policy::HEAD,
        policy::NEWEST,
        policy::GET,
        policy::BEFORE,
        policy::ROLES,
        policy::INSERT,
        agents::LATEST,
        journal::REPLIES,
        segments::ASK,
        segments::ABANDON,
    ]);
    all.extend([
        messages::NUMBER,
        messages::INSERT,
        messages::WAITING,
        messages::NEXT,
        messages::NEXT_PLAIN,
        messages::TAKE,
        messages::ASKED,
    ]);
    all.extend([
        messages::WAKE,
        waits::OPEN,
        waits::FIND,
        waits::CLOSE,
        waits::COUNT,
        waits::OPEN_OF_RUN,
        waits::CLEAR,
        waits::NOT_AWAITED,
    ]);
    all.extend([
        waits::AWAITED,
        waits::NEXT_SIGNAL,
        waits::COMPLETE,
        waits::WAKE,
        waits::FOR_MESSAGE,
        waits::ON_TARGET,
        waits::DUE,
    ]);
    all.extend([
        waits::NEXT_DUE,
        runs::PARK_INSIDE,
        runs::BEGAN,
        runs::WOKEN,
        runs::ENTANGLE,
        runs::MARK_SESSION,
        runs::BACK_TO_MESSAGE,
    ]);
    all.extend(members::SQL);
    all.extend(invitations::SQL);
    all.extend(keys::SQL);
    all.extend(orgs::SQL);
    all.extend(workspaces::SQL);
    all.extend(providers::SQL);
    all.extend(aliases::SQL);
    all.extend(usage::SQL);
    all.extend(ledger::SQL);
    all.extend(budgets::SQL);
    all.extend(spending::SQL);
    all.extend(prices::SQL);
    all.extend(purge::SQL);
    all.extend(forks::SQL);
    all.extend(totp::SQL);
    all.extend(passkeys::SQL);
    all.extend(runs::READ_SQL);
    all.extend(audit::SQL);
    all.extend(persons::SQL);
    all.extend(persons::FORGET);
    all.extend(persons::PARTS.map(|(_, sql)| sql));
    all.extend(security_check::SQL);
    all.extend(notifications::SQL);
    all.extend(channels::SQL);
    all.extend(dashboard::SQL);
    all.extend(data_keys::SQL);
    all.extend(secrets::SQL);
    all.push(sessions::SIGNED_IN);
    all
}

/// Indexes of a few rows, however many the table has: they may be read from end to end.
const NARROW: &[&str] = &[
    "runs_held",
    "runs_leased",
    "members_in_charge",
    "users_never_signed_in",
    "api_keys_open",
    "principals_station_admins",
    "workspaces_to_purge",
];

#[tokio::test]
async fn no_statement_reads_a_whole_table() {
    let store = fixture().store;
    let mut reads = Vec::new();
    for sql in statements() {
        let plan = store
            .read(move |reader| {
                let mut statement = reader.connection().prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
                let unbound = statement.raw_query();
                Ok(unbound.mapped(|row| row.get::<_, String>(3)).collect::<Result<Vec<_>, _>>()?)
            })
            .await
            .unwrap();
        let scans: Vec<_> = plan
            .iter()
            .filter(|step| {
                step.starts_with("SCAN")
                    && !NARROW.iter().any(|index| step.contains(index))
                    && !step.contains("(subquery")
                    && *step != "SCAN CONSTANT ROW"
                    // A recursion's own rows.
                    && *step != "SCAN chain"
                    && *step != "SCAN waiting"
            })
            .collect();
        // A session of years has a few messages that wait among all it ever had.
        let all_messages = sql.contains("taken = 0") && !plan.iter().any(|step| step.contains("messages_waiting"));
        if all_messages || !scans.is_empty() {
            reads.push(format!("{plan:?} in {sql}"));
        }
    }
    assert!(reads.is_empty(), "{}", reads.join("\n"));
}

#[tokio::test]
async fn every_table_is_strict_and_every_foreign_key_has_an_index() {
    let store = fixture().store;
    let tables: Vec<(String, String)> = store
        .read(|reader| {
            reader.list(
                "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
        })
        .await
        .unwrap();
    assert!(tables.len() > 15);
    for (table, sql) in tables {
        assert!(sql.contains("STRICT"), "{table} is not STRICT");
        let missing: Vec<String> = store
            .read(move |reader| {
                let connection = reader.connection();
                let keys: Vec<(i64, i64, String)> = connection
                    .prepare("SELECT id, seq, \"from\" FROM pragma_foreign_key_list(?1) ORDER BY id, seq")?
                    .query_map([&table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                    .collect::<Result<_, _>>()?;
                let mut indexes: Vec<Vec<String>> = Vec::new();
                let names: Vec<String> = connection
                    .prepare("SELECT name FROM pragma_index_list(?1)")?
                    .query_map([&table], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
                for name in names {
                    let columns = connection
                        .prepare("SELECT name FROM pragma_index_info(?1) ORDER BY seqno")?
                        .query_map([name], |row| Ok(row.get::<_, Option<String>>(0)?.unwrap_or_default()))?
                        .collect::<Result<_, _>>()?;
                    indexes.push(columns);
                }
                let mut by_key = std::collections::BTreeMap::<i64, Vec<String>>::new();
                for (id, _, column) in keys {
                    by_key.entry(id).or_default().push(column);
                }
                let covered = |columns: &Vec<String>| {
                    indexes.iter().any(|index| {
                        let mut head: Vec<_> = index.iter().take(columns.len()).cloned().collect();
                        let mut wanted = columns.clone();
                        head.sort();
                        wanted.sort();
                        head == wanted
                    })
                };
                Ok(by_key
                    .values()
                    .filter(|columns| !covered(columns))
                    .map(|columns| format!("{table} {columns:?}"))
                    .collect())
            })
            .await
            .unwrap();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
