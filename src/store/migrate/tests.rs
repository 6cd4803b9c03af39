//! The migration runner, driven with steps of its own.

use std::collections::BTreeSet;

use super::*;

const FIRST: Schema<'_> = Schema {
    whole: "CREATE TABLE pets (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;",
    steps: &[],
};
const ADD_LEGS: &str = "ALTER TABLE pets ADD COLUMN legs INTEGER NOT NULL DEFAULT 4;";
const ADD_TOYS: &str = "CREATE TABLE toys (pet INTEGER NOT NULL REFERENCES pets (id) ON DELETE CASCADE) STRICT;
    CREATE INDEX toys_by_pet ON toys (pet);";
const THIRD: Schema<'_> = Schema {
    whole: "CREATE TABLE pets (id INTEGER PRIMARY KEY, name TEXT NOT NULL, legs INTEGER NOT NULL DEFAULT 4) STRICT;
        CREATE TABLE toys (pet INTEGER NOT NULL REFERENCES pets (id) ON DELETE CASCADE) STRICT;
        CREATE INDEX toys_by_pet ON toys (pet);",
    steps: &[ADD_LEGS, ADD_TOYS],
};
const NOW: Timestamp = Timestamp::from_ms(7);

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn open(&self) -> Connection {
        let connection = Connection::open(self.dir.path().join("test.db")).unwrap();
        connection.pragma_update(None, "foreign_keys", "1").unwrap();
        connection
    }

    fn bring_up(&self, connection: &mut Connection, schema: &Schema<'_>) -> Result<Outcome, Error> {
        bring_up(connection, schema, &self.dir.path().join("backups"), NOW)
    }

    fn backups(&self) -> usize {
        fs::read_dir(self.dir.path().join("backups")).map_or(0, Iterator::count)
    }
}

/// A schema without its spelling: every table's columns and keys, every index's columns.
fn shape(connection: &Connection) -> BTreeSet<String> {
    const SQL: &str = "
        SELECT 'column ' || t.name || ' ' || c.cid || ' ' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' ' || ifnull(c.dflt_value, '') || ' ' || c.pk
          FROM pragma_table_list t, pragma_table_xinfo(t.name) c WHERE t.name NOT LIKE 'sqlite%'
        UNION ALL
        SELECT 'table ' || name || ' ' || wr || ' ' || strict FROM pragma_table_list WHERE name NOT LIKE 'sqlite%'
        UNION ALL
        SELECT 'key ' || t.name || ' ' || f.\"from\" || ' ' || f.\"table\" || ' ' || ifnull(f.\"to\", '') || ' ' || f.on_delete
          FROM pragma_table_list t, pragma_foreign_key_list(t.name) f
        UNION ALL
        SELECT 'index ' || t.name || ' ' || l.name || ' ' || l.\"unique\" || ' ' || l.partial || ' ' || x.seqno || ' ' || ifnull(x.name, '') || ' ' || x.\"desc\"
          FROM pragma_table_list t, pragma_index_list(t.name) l, pragma_index_xinfo(l.name) x WHERE t.name NOT LIKE 'sqlite%'";
    let mut statement = connection.prepare(SQL).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn the_steps_sum_to_the_whole_schema() {
    for (old, new) in [
        (&FIRST, &THIRD),
        (
            &Schema {
                whole: CURRENT.whole,
                steps: &[],
            },
            &CURRENT,
        ),
    ] {
        let (stepped, fresh) = (Case::new(), Case::new());
        let (mut by_steps, mut at_once) = (stepped.open(), fresh.open());
        stepped.bring_up(&mut by_steps, old).unwrap();
        stepped.bring_up(&mut by_steps, new).unwrap();
        assert_eq!(fresh.bring_up(&mut at_once, new).unwrap(), Outcome::Made);
        assert!(!shape(&at_once).is_empty());
        assert_eq!(shape(&by_steps), shape(&at_once));
    }
}

#[test]
fn the_version_is_the_number_of_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let files = fs::read_dir(folder)
        .unwrap()
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|extension| extension == "sql")
        })
        .count();
    assert_eq!(CURRENT.steps.len(), files);
    assert_eq!(SCHEMA_VERSION, CURRENT.version());
}

#[test]
fn an_upgrade_keeps_the_rows_and_leaves_a_backup_of_before() {
    let case = Case::new();
    let mut connection = case.open();
    case.bring_up(&mut connection, &FIRST).unwrap();
    connection.execute("INSERT INTO pets (id, name) VALUES (1, 'Rex')", []).unwrap();
    let Outcome::Upgraded { from: 1, backup } = case.bring_up(&mut connection, &THIRD).unwrap() else {
        panic!("not upgraded")
    };
    let legs: u32 = connection
        .query_row("SELECT legs FROM pets WHERE name = 'Rex'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(legs, 4);
    let before = Connection::open(backup).unwrap();
    let (name, version): (String, u32) = before
        .query_row("SELECT name, (SELECT user_version FROM pragma_user_version) FROM pets", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!((name.as_str(), version), ("Rex", 1));
    assert_eq!(case.bring_up(&mut connection, &THIRD).unwrap(), Outcome::Current);
    assert_eq!(case.backups(), 1);
}

#[test]
fn a_failing_step_is_undone_and_those_before_it_stay() {
    let case = Case::new();
    let mut connection = case.open();
    case.bring_up(&mut connection, &FIRST).unwrap();
    let broken = Schema {
        whole: "",
        steps: &[ADD_LEGS, "CREATE TABLE half (x) STRICT; CREATE TABLE half (x) STRICT;"],
    };
    assert!(case.bring_up(&mut connection, &broken).is_err());
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 2);
    assert!(!shape(&connection).iter().any(|line| line.contains("half")));
    let keys_on: bool = connection.pragma_query_value(None, "foreign_keys", |row| row.get(0)).unwrap();
    assert!(keys_on);
    case.bring_up(&mut connection, &THIRD).unwrap();
}

#[test]
fn a_step_that_leaves_dangling_rows_is_undone() {
    let case = Case::new();
    let mut connection = case.open();
    case.bring_up(&mut connection, &FIRST).unwrap();
    let dangling = Schema {
        whole: "",
        steps: &["CREATE TABLE toys (pet INTEGER NOT NULL REFERENCES pets (id)) STRICT; INSERT INTO toys (pet) VALUES (9);"],
    };
    assert!(matches!(case.bring_up(&mut connection, &dangling), Err(Error::Corrupt(_))));
    assert!(!shape(&connection).iter().any(|line| line.contains("toys")));
}

#[test]
fn a_newer_file_is_refused_with_both_numbers() {
    let case = Case::new();
    let mut connection = case.open();
    case.bring_up(&mut connection, &THIRD).unwrap();
    let refused = case.bring_up(&mut connection, &FIRST);
    let Err(error @ Error::NewerSchema { file: 3, binary: 1 }) = refused else {
        panic!("{refused:?}")
    };
    assert!(error.to_string().contains('3') && error.to_string().contains('1'));
}

#[test]
fn somebody_elses_database_is_not_touched() {
    let case = Case::new();
    let mut connection = case.open();
    connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(matches!(case.bring_up(&mut connection, &FIRST), Err(Error::Corrupt(_))));
}
