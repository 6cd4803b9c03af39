use proptest::prelude::*;

use super::super::tests::{Fixture, fixture};
use super::super::{Reader, Store};
use super::*;
use crate::domain::id::PrincipalId;
use crate::domain::origin::Origin;
use crate::domain::permission::Credential;
use crate::store::users::{self, NewUser};

const CHAIN: &str = "station";

async fn write(store: &Store, entry: Record, at: i64) {
    store.write(move |tx| record(tx, entry, Timestamp::from_ms(at))).await.unwrap();
}

fn verdict(reader: &Reader<'_>, checkpoint: Option<Checkpoint>) -> Result<Verdict, super::super::Error> {
    let mut walk = Walk::new(CHAIN, checkpoint);
    loop {
        if let Some(verdict) = walk.step(reader)? {
            return Ok(verdict);
        }
    }
}

async fn verify(store: &Store, checkpoint: Option<Checkpoint>) -> Verdict {
    store.read(move |reader| verdict(reader, checkpoint)).await.unwrap()
}

async fn checkpoint(store: &Store) -> Checkpoint {
    store.read(|reader| head(reader, CHAIN)).await.unwrap().unwrap()
}

/// Every row, the newest first.
async fn rows(store: &Store) -> Vec<Listed> {
    let all = |reader: &Reader<'_>| list(reader, CHAIN, &Filter::default(), None, 1_000);
    store.read(all).await.unwrap()
}

fn from(address: &str) -> Origin {
    Origin {
        address: address.parse().ok(),
        ..Origin::default()
    }
}

/// Somebody with a key to the file and without ours.
async fn tamper(f: &Fixture, sql: &'static str) {
    let free = "DROP TRIGGER IF EXISTS audit_log_keeps_rows; DROP TRIGGER IF EXISTS audit_log_keeps_values;
        DROP TRIGGER IF EXISTS audit_log_grows; DROP TRIGGER IF EXISTS audit_persons_keeps_rows;
        DROP TRIGGER IF EXISTS audit_persons_keeps_values;";
    f.store
        .write(move |tx| {
            Ok(tx
                .connection()
                .execute_batch(free)
                .and_then(|()| tx.connection().execute_batch(sql))?)
        })
        .await
        .unwrap();
}

async fn ana(store: &Store) -> PrincipalId {
    let id = PrincipalId::new(Timestamp::from_ms(1));
    store
        .write(move |tx| {
            let new = NewUser {
                email: "ana@example.com",
                name: "Ana",
                password_hash: "x",
            };
            users::insert(tx, id, &new, Timestamp::from_ms(1))
        })
        .await
        .unwrap();
    id
}

#[tokio::test]
async fn repeats_within_a_minute_are_one_row_and_the_chain_holds() {
    let store = fixture().store;
    for (action, at) in [("a", 0), ("a", 1_000), ("b", 2_000), ("a", 3_000), ("a", 70_000)] {
        write(&store, Record::new(CHAIN, action, "x"), at).await;
    }
    let counts: Vec<_> = rows(&store)
        .await
        .iter()
        .rev()
        .map(|row| (row.entry.action.clone(), row.entry.count))
        .collect();
    let expected = [("a", 2), ("b", 1), ("a", 1), ("a", 1)].map(|(action, count)| (action.to_owned(), count));
    assert_eq!(counts, expected);
    let found = verify(&store, None).await;
    assert_eq!((found.rows, found.broken), (4, None));
}

#[tokio::test]
async fn only_the_same_from_the_same_credential_and_address_is_a_repeat() {
    let store = fixture().store;
    let ana = ana(&store).await;
    let base = || Record::new(CHAIN, "a", "x").by(ana, Credential::Session).origin(from("10.0.0.1"));
    let different = [
        base(),
        base().origin(from("10.0.0.2")),
        base().credential_id(Some("ses_2".to_owned())),
        base().by(ana, Credential::ApiKey),
        base().outcome(Outcome::Denied),
        base().detail(serde_json::json!({ "after": 1 })),
        base().about(Subject::Email("bob@example.com".to_owned())),
    ];
    for (i, entry) in different.iter().enumerate() {
        write(&store, entry.clone(), i as i64).await;
    }
    assert_eq!(rows(&store).await.len(), different.len());
    // Another browser at the same place is the same.
    let mut again = from("10.0.0.1");
    again.user_agent = Some("another".to_owned());
    write(&store, base(), 10).await;
    write(&store, base().origin(again), 11).await;
    assert_eq!(rows(&store).await[0].entry.count, 2);
}

#[tokio::test]
async fn rows_are_neither_changed_nor_deleted_nor_replaced() {
    let store = fixture().store;
    for (action, at) in [("a", 0), ("b", 1), ("c", 2)] {
        write(&store, Record::new(CHAIN, action, "x").origin(from("10.0.0.1")), at).await;
    }
    for sql in [
        "DELETE FROM audit_log WHERE seq = 2",
        "UPDATE audit_log SET target = 'y' WHERE seq = 3",
        "UPDATE audit_log SET count = 2 WHERE seq = 2",
        "UPDATE audit_log SET count = 5 WHERE seq = 3",
        "INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log WHERE seq = 2",
        "DELETE FROM audit_persons WHERE seq = 2",
        "UPDATE audit_persons SET fields = '{}' WHERE seq = 2",
    ] {
        let done = store.write(move |tx| tx.execute(sql, [])).await;
        assert!(done.is_err(), "{sql}");
    }
    assert_eq!(verify(&store, None).await.broken, None);
}

#[tokio::test]
async fn what_is_tampered_with_is_found_and_a_cut_end_only_with_a_checkpoint() {
    for (sql, without, with) in [
        (
            "UPDATE audit_log SET target = 'y' WHERE seq = 2",
            Some(Broken::Changed { seq: 2 }),
            Broken::Changed { seq: 2 },
        ),
        (
            "DELETE FROM audit_log WHERE seq = 2",
            Some(Broken::Missing { seq: 2 }),
            Broken::Missing { seq: 2 },
        ),
        (
            "UPDATE audit_persons SET fields = '{\"address\":\"10.9.9.9\"}' WHERE seq = 3",
            Some(Broken::Person { seq: 3 }),
            Broken::Person { seq: 3 },
        ),
        (
            "DELETE FROM audit_persons WHERE seq = 3",
            Some(Broken::Person { seq: 3 }),
            Broken::Person { seq: 3 },
        ),
        (
            "DELETE FROM audit_log WHERE seq = 4; DELETE FROM audit_persons WHERE seq = 4",
            None,
            Broken::Cut { seq: 4 },
        ),
        // Whoever has the key of the chain too writes it anew from a row on.
        ("DELETE FROM audit_log; DELETE FROM audit_persons", None, Broken::Cut { seq: 1 }),
    ] {
        let f = fixture();
        for (i, action) in ["a", "b", "c", "d"].into_iter().enumerate() {
            write(&f.store, Record::new(CHAIN, action, "x").origin(from("10.0.0.1")), i as i64).await;
        }
        let kept = checkpoint(&f.store).await;
        assert_eq!(verify(&f.store, Some(kept.clone())).await.broken, None);
        tamper(&f, sql).await;
        assert_eq!(verify(&f.store, None).await.broken, without, "{sql}");
        assert_eq!(verify(&f.store, Some(kept)).await.broken, Some(with), "{sql}");
    }
}

#[tokio::test]
async fn a_chain_written_anew_with_its_key_is_found_with_a_checkpoint() {
    let f = fixture();
    for (i, action) in ["a", "b", "c"].into_iter().enumerate() {
        write(&f.store, Record::new(CHAIN, action, "x"), i as i64).await;
    }
    let kept = checkpoint(&f.store).await;
    tamper(&f, "DELETE FROM audit_log WHERE seq > 1").await;
    for (i, action) in ["harmless", "c", "d"].into_iter().enumerate() {
        write(&f.store, Record::new(CHAIN, action, "x"), i as i64).await;
    }
    assert_eq!(verify(&f.store, None).await.broken, None);
    assert_eq!(verify(&f.store, Some(kept)).await.broken, Some(Broken::Rewritten { seq: 3 }));
}

#[tokio::test]
async fn a_checkpoint_holds_while_its_row_is_repeated() {
    let store = fixture().store;
    write(&store, Record::new(CHAIN, "a", "x"), 0).await;
    let kept = checkpoint(&store).await;
    write(&store, Record::new(CHAIN, "a", "x"), 1).await;
    write(&store, Record::new(CHAIN, "b", "x"), 2).await;
    assert_eq!(verify(&store, Some(kept.clone())).await.broken, None);
    let more = Checkpoint { count: 9, ..kept };
    assert_eq!(verify(&store, Some(more)).await.broken, Some(Broken::Rewritten { seq: 1 }));
}

#[tokio::test]
async fn a_person_is_forgotten_and_the_chain_still_holds() {
    let store = fixture().store;
    let ana = ana(&store).await;
    write(
        &store,
        Record::new(CHAIN, "a", "x").by(ana, Credential::Session).origin(from("10.0.0.1")),
        0,
    )
    .await;
    write(
        &store,
        Record::new(CHAIN, "b", "x").about(Subject::Email("ana@example.com".to_owned())),
        1,
    )
    .await;
    write(
        &store,
        Record::new(CHAIN, "c", "x").about(Subject::Email("bob@example.com".to_owned())),
        2,
    )
    .await;
    let before = rows(&store).await;
    assert_eq!(before[2].actor.name.as_deref(), Some("Ana"));
    assert_eq!(before[1].subject.as_ref().unwrap().principal, Some(ana));
    let blanked = store.write(move |tx| blank(tx, ana, Some("bob@example.com"))).await.unwrap();
    assert_eq!(blanked, Blanked(3));
    let after = rows(&store).await;
    assert!(
        after
            .iter()
            .all(|row| row.subject.is_none() && row.actor.email.is_none() && row.actor.address.is_none())
    );
    assert_eq!(verify(&store, None).await.broken, None);
    let left: String = store
        .read(|reader| {
            reader.get("SELECT coalesce(group_concat(fields || email), '') FROM audit_persons", [], |row| {
                row.get(0)
            })
        })
        .await
        .unwrap();
    assert_eq!(left, "");
}

#[tokio::test]
async fn rows_are_found_by_each_filter_and_a_page_goes_on_where_the_last_ended() {
    let store = fixture().store;
    let ana = ana(&store).await;
    for i in 0..2_500_i64 {
        let entry = Record::new(CHAIN, if i % 2 == 0 { "a" } else { "b" }, &format!("t{i}"));
        let entry = if i % 5 == 0 { entry.by(ana, Credential::Session) } else { entry };
        let entry = if i % 100 == 0 { entry.origin(from("10.0.0.7")) } else { entry };
        drop(store.enqueue(move |tx| record(tx, entry, Timestamp::from_ms(i))).await.unwrap());
    }
    store.write(|_| Ok(())).await.unwrap();
    let count = async |filter: Filter| {
        let (mut after, mut seen) = (None, 0);
        loop {
            let search_for = Search {
                chain: CHAIN.to_owned(),
                filter: filter.clone(),
                after,
                limit: 300,
            };
            let found = store.read(move |reader| search(reader, &search_for)).await.unwrap();
            seen += found.rows.len();
            after = found.next;
            if after.is_none() {
                return seen;
            }
        }
    };
    assert_eq!(count(Filter::default()).await, 2_500);
    assert_eq!(
        count(Filter {
            actor: Some(ana),
            ..Filter::default()
        })
        .await,
        500
    );
    assert_eq!(
        count(Filter {
            action: Some("b".to_owned()),
            ..Filter::default()
        })
        .await,
        1_250
    );
    assert_eq!(
        count(Filter {
            target: Some("T24".to_owned()),
            ..Filter::default()
        })
        .await,
        111
    );
    assert_eq!(
        count(Filter {
            text: Some("ana@".to_owned()),
            ..Filter::default()
        })
        .await,
        500
    );
    assert_eq!(
        count(Filter {
            address: "10.0.0.0/24".parse().ok(),
            ..Filter::default()
        })
        .await,
        25
    );
    let (low, high) = (Some(Timestamp::from_ms(100)), Some(Timestamp::from_ms(200)));
    assert_eq!(
        count(Filter {
            from: low,
            to: high,
            ..Filter::default()
        })
        .await,
        100
    );
    assert_eq!(
        count(Filter {
            outcome: Some(Outcome::Denied),
            ..Filter::default()
        })
        .await,
        0
    );
    assert_eq!(store.read(chains).await.unwrap(), [CHAIN]);
    let found = verify(&store, None).await;
    assert_eq!((found.rows, found.broken), (2_500, None));
}

fn any_record() -> impl Strategy<Value = (u8, u8, bool, bool, u8)> {
    (0..3_u8, 0..3_u8, any::<bool>(), any::<bool>(), 0..70_u8)
}

/// Each column of the log and of the persons, changed.
const CHANGES: &[&str] = &[
    "UPDATE audit_log SET at = at + 1 WHERE seq = ?1",
    "UPDATE audit_log SET actor = 'prn_x' WHERE seq = ?1",
    "UPDATE audit_log SET credential = 'local' WHERE seq = ?1",
    "UPDATE audit_log SET credential_id = 'x' WHERE seq = ?1",
    "UPDATE audit_log SET action = action || 'x' WHERE seq = ?1",
    "UPDATE audit_log SET target = target || 'x' WHERE seq = ?1",
    "UPDATE audit_log SET outcome = 'failed' WHERE seq = ?1",
    "UPDATE audit_log SET count = count + 1 WHERE seq = ?1",
    "UPDATE audit_log SET request_id = 'x' WHERE seq = ?1",
    "UPDATE audit_log SET detail = detail || ' ' WHERE seq = ?1",
    "UPDATE audit_log SET person = x'00000000000000000000000000000000000000000000000000000000000000ff' WHERE seq = ?1",
    "UPDATE audit_log SET hash = x'00000000000000000000000000000000000000000000000000000000000000ff' WHERE seq = ?1",
    "UPDATE audit_log SET seq = seq + 1000 WHERE seq = ?1",
    "UPDATE audit_persons SET fields = fields || ' ' WHERE seq = ?1",
    "UPDATE audit_persons SET salt = randomblob(32) WHERE seq = ?1",
    "UPDATE audit_persons SET digest = randomblob(32) WHERE seq = ?1",
    "UPDATE audit_persons SET principal_id = 'prn_01kaj5q3y0e8wavk8q3n4x5y6z' WHERE seq = ?1",
    "UPDATE audit_persons SET part = 'subject' WHERE seq = ?1",
    "INSERT OR IGNORE INTO audit_persons (chain, seq, part, digest) VALUES ('station', ?1, 'subject', randomblob(32))",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_records_verify_and_any_one_change_to_a_row_is_found(
        records in proptest::collection::vec(any_record(), 1..12), which in any::<prop::sample::Index>(), change in 0..CHANGES.len(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let f = fixture();
            let mut at = 0;
            for (action, target, denied, placed, seconds) in records {
                at += i64::from(seconds) * 1_000;
                let action = ["a", "b", "c"][usize::from(action)];
                let entry = Record::new(CHAIN, action, &target.to_string());
                let entry = if denied { entry.outcome(Outcome::Denied) } else { entry };
                write(&f.store, if placed { entry.origin(from("10.0.0.1")) } else { entry }, at).await;
            }
            let whole = verify(&f.store, None).await;
            assert_eq!(whole.broken, None);
            let kept = checkpoint(&f.store).await;
            let seq = which.index(usize::try_from(whole.rows).unwrap()) as i64 + 1;
            tamper(&f, "").await;
            let changed = f.store.write(move |tx| tx.execute(CHANGES[change], [seq])).await.unwrap();
            let found = verify(&f.store, Some(kept)).await;
            assert_eq!(found.broken.is_some(), changed > 0, "{} at {seq}: {found:?}", CHANGES[change]);
        });
    }
}
