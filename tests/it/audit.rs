//! The audit log: what gets into it, who reads it, that tampering is found, and that persons can be erased from it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use agentstation::domain::audit::ACTIONS;
use agentstation::domain::permission::{Permission, Role};
use agentstation::domain::time::{SimClock, Timestamp};
use agentstation::services::users;
use agentstation::web::extract::PROOF_LASTS;
use regex::Regex;
use serde_json::{Value, json};

use crate::support::agents::script;
use crate::support::journal;
use crate::support::program::Place;
use crate::support::{Browser, Http, OWNER_EMAIL, PASSWORD, TestStation};

const AUDIT: &str = "/api/v1/orgs/default/audit";
const STATION: &str = "/api/v1/station/audit";
const NOW: Timestamp = Timestamp::from_ms(1_763_700_000_000);

async fn items(http: &Http, path: &str) -> Vec<Value> {
    let answer = http.get(path).await.expect(200).json();
    answer["items"].as_array().unwrap().clone()
}

/// The rows of an action, the newest first.
async fn rows(http: &Http, action: &str) -> Vec<Value> {
    items(http, &format!("{AUDIT}?action={action}")).await
}

async fn key(station: &TestStation, email: &str) -> Http {
    use agentstation::domain::origin::Origin;
    use agentstation::services::keys::{self, NewKey};
    let actor = users::local_actor(&station.app, email, None).await.unwrap();
    let owner = agentstation::domain::permission::Actor {
        role: Role::Owner,
        ..actor
    };
    let new = NewKey {
        name: "test".to_owned(),
        scopes: None,
        lasts: keys::LASTS_DEFAULT,
    };
    let made = keys::create(&station.app, &owner, new, Origin::default()).await.unwrap();
    station.nobody().bearer(&made)
}

/// The owner with a key that may look after the station, too: that is only given by name.
async fn chief(station: &TestStation) -> Http {
    station.nobody().bearer(&station.scoped_key(Permission::ALL).await)
}

#[test]
fn every_action_that_the_sources_write_has_words() {
    let known: BTreeSet<&str> = ACTIONS.iter().map(|action| action.code).collect();
    let nouns: BTreeSet<&str> = known.iter().filter_map(|code| code.split_once('.')).map(|(noun, _)| noun).collect();
    let call = Regex::new(r#"(?:audit::of|\.record|Record::new|of)\(\s*[^;"]*?"([a-z-]+\.[a-z-]+)""#).unwrap();
    let literal = Regex::new(r#""([a-z]+(?:-[a-z]+)*)\.([a-z]+(?:-[a-z]+)*)""#).unwrap();
    let (mut written, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    let mut folders = vec!["src/services".to_owned(), "src/cli".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path().to_string_lossy().into_owned();
            if Path::new(&path).is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            if !text.contains("audit") {
                continue;
            }
            let literals = literal.captures_iter(&text).filter(|found| nouns.contains(&found[1]));
            let endings = ["toml", "js", "json", "wasm", "key", "db", "html"];
            let literals = literals.filter(|found| !endings.contains(&&found[2]));
            let codes = literals.map(|found| format!("{}.{}", &found[1], &found[2]));
            for code in codes.chain(call.captures_iter(&text).map(|found| found[1].to_owned())) {
                if !known.contains(code.as_str()) {
                    unknown.insert(format!("{path}: {code}"));
                }
                written.insert(code);
            }
        }
    }
    assert!(unknown.is_empty(), "not in domain/audit.rs: {unknown:?}");
    assert!(written.len() > 20, "the scan finds nothing: {written:?}");
}

#[tokio::test]
async fn a_failed_sign_in_is_told_to_the_organization_of_the_account_and_else_to_the_station() {
    let station = TestStation::start().await;
    let mut browser = Browser::new(station.address);
    for email in [OWNER_EMAIL, "nobody@example.com"] {
        browser.get("/sign-in").await.expect(200);
        let fields = [("email", email), ("password", "wrong horse battery"), ("next", "/")];
        browser.submit("/sign-in", &fields).await.expect(401);
    }
    let owner = chief(&station).await;
    let of_org = items(&owner, &format!("{AUDIT}?action=session.sign-in&outcome=failed")).await;
    assert_eq!(of_org.len(), 1);
    assert_eq!(of_org[0]["subject"]["email"], OWNER_EMAIL);
    assert_eq!(of_org[0]["actor"], json!({}));
    assert_eq!(of_org[0]["address"], "127.0.0.1");
    let of_station = items(&owner, &format!("{STATION}?action=session.sign-in")).await;
    assert_eq!(of_station.len(), 1);
    let text = of_station[0].to_string();
    assert!(!text.contains("nobody@example.com") && !text.contains("wrong horse"), "{text}");
    assert_eq!(of_station[0]["target"].as_str().unwrap().len(), 16);
}

#[tokio::test]
async fn a_sign_in_says_who_from_where_with_what() {
    let station = TestStation::start().await;
    let _browser = station.browser().await;
    let found = rows(&chief(&station).await, "session.sign-in").await;
    let row = &found[0];
    assert_eq!(
        (row["actor"]["name"].as_str(), row["actor"]["email"].as_str()),
        (Some("Ana"), Some(OWNER_EMAIL))
    );
    assert_eq!(row["credential"], "session");
    assert!(row["credential_id"].as_str().unwrap().starts_with("ses_"));
    assert!(row["request_id"].as_str().unwrap().starts_with("req_"));
    assert_eq!(row["words"], "Signed in");
}

#[tokio::test]
async fn refusals_say_why_and_on_which_route() {
    let clock = SimClock::at(NOW);
    let station = TestStation::builder().clock(clock.clone()).start().await;
    let viewer = key(&station, &station.user(Role::Viewer).await).await;
    viewer.get(AUDIT).await.expect(403);
    viewer.get(AUDIT).await.expect(403);
    let scoped = station.nobody().bearer(&station.scoped_key(&[Permission::AuditRead]).await);
    scoped.get("/api/v1/runs").await.expect(403);
    viewer.get("/api/v1/orgs/nowhere/audit").await.expect(404);
    let mut browser = station.browser().await;
    clock.advance(PROOF_LASTS);
    browser
        .submit("/settings/invitations", &[("email", "bob@example.com"), ("role", "viewer")])
        .await;
    let owner = chief(&station).await;
    let found = rows(&owner, "access.denied").await;
    let shown: Vec<_> = found
        .iter()
        .map(|row| {
            (
                row["detail"]["why"].as_str().unwrap(),
                row["target"].as_str().unwrap(),
                row["count"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [("proof", "members:manage", 1), ("scope", "runs:read", 1), ("role", "audit:read", 2)]
    );
    assert_eq!(found[2]["detail"]["route"], "GET /api/v1/orgs/{org}/audit");
    let foreign = items(&owner, &format!("{STATION}?action=access.denied")).await;
    assert_eq!(foreign[0]["detail"]["why"], "foreign");
    assert!(foreign[0]["actor"]["id"].as_str().unwrap().starts_with("prn_"));
}

#[tokio::test]
async fn what_is_done_is_written_with_the_key_it_was_done_with() {
    let station = TestStation::start().await;
    let agent = station
        .publish(script("adder", "", "export default (input) => input.a + input.b;"))
        .await;
    let owner = chief(&station).await;
    let run = station.begin(&agent, &json!({ "a": 1, "b": 2 })).await;
    station.end(run).await;
    station
        .owner()
        .post(&format!("/api/v1/runs/{run}/verify"), &json!({}))
        .await
        .expect(200);
    let verified = &rows(&owner, "run.verify").await[0];
    assert_eq!(verified["target"], run.to_string());
    assert_eq!(verified["credential"], "api_key");
    assert!(station.key.contains(verified["credential_id"].as_str().unwrap()));
    let published = &rows(&owner, "agent.publish").await[0];
    assert_eq!(published["target"], "adder@1.0.0");
    assert_eq!(published["detail"]["code"].as_str().unwrap().len(), 64);
    assert_eq!(rows(&owner, "key.create").await.len(), 2);
    assert_eq!(items(&owner, &format!("{STATION}?action=station.set-up")).await.len(), 1);
}

#[tokio::test]
async fn rows_are_filtered_searched_and_paged() {
    let station = TestStation::start().await;
    let _browser = station.browser().await;
    for role in [Role::Admin, Role::Builder, Role::Viewer] {
        station.user(role).await;
    }
    let owner = chief(&station).await;
    let count = async |query: &str| items(&owner, &format!("{AUDIT}?{query}")).await.len();
    assert_eq!(count("action=user.create").await, 3);
    assert_eq!(count("q=builder@example.com").await, 1);
    assert_eq!(count("q=USER.CREATE").await, 3);
    assert_eq!(count("outcome=denied").await, 0);
    assert_eq!(count("address=127.0.0.0/8&action=session.sign-in").await, 1);
    assert_eq!(count("address=10.0.0.1").await, 0);
    assert_eq!(count("to=1000").await, 0);
    let me = station.actor().await.principal;
    let all = items(&owner, AUDIT).await;
    assert_eq!(
        count(&format!("actor={me}&from=1")).await,
        all.iter().filter(|row| row["actor"]["id"] == me.to_string()).count()
    );
    let (mut cursor, mut seen) = (String::new(), Vec::new());
    loop {
        let page = owner.get(&format!("{AUDIT}?limit=2{cursor}")).await.expect(200).json();
        seen.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, all);
    for wrong in ["actor=ana", "outcome=maybe", "address=here", "cursor=x", "limit=0", "nonsense=1"] {
        let status = owner.get(&format!("{AUDIT}?{wrong}")).await.status;
        assert!(status == 422 || status == 400, "{wrong}: {status}");
    }
}

#[tokio::test]
async fn the_stations_chain_is_for_station_admins_and_an_organizations_for_its_own() {
    let station = TestStation::start().await;
    let admin = key(&station, &station.user(Role::Admin).await).await;
    admin.get(AUDIT).await.expect(200);
    for path in [STATION, "/api/v1/station/audit/export", "/api/v1/station/audit/verify"] {
        admin.get(path).await.expect(403);
        chief(&station).await.get(path).await.expect(200);
    }
    admin.get("/api/v1/orgs/another/audit").await.expect(404);
}

#[tokio::test]
async fn an_export_has_every_row_is_itself_a_row_and_gives_no_formula_to_a_spreadsheet() {
    let station = TestStation::start().await;
    let evil = users::NewUser {
        email: "eve@example.com".to_owned(),
        name: "=HYPERLINK(\"http://evil\")".to_owned(),
        password: PASSWORD.to_owned(),
    };
    let owner = chief(&station).await;
    users::create(
        &station.app,
        &station.actor().await,
        evil,
        Role::Admin,
        agentstation::domain::origin::Origin::default(),
    )
    .await
    .unwrap();
    let mut browser = Browser::sign_in(station.address, "eve@example.com", PASSWORD).await;
    let csv = browser.get("/settings/audit/export?format=csv").await.expect(200);
    assert!(csv.header("content-disposition").contains("audit.csv"));
    let mut reader = csv::Reader::from_reader(csv.body.as_bytes());
    let records: Vec<_> = reader.records().map(Result::unwrap).collect();
    let formula = |cell: &str| cell.starts_with(['=', '+', '-', '@']);
    assert!(records.iter().flatten().all(|cell| !formula(cell)));
    assert!(records.iter().any(|record| record[4].starts_with("'=HYPERLINK")), "{}", csv.body);
    let jsonl = owner.get(&format!("{AUDIT}/export?format=jsonl")).await.expect(200);
    let lines: Vec<Value> = jsonl.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["action"], "audit.export");
    assert_eq!(lines[0]["seq"], lines.len());
    assert_eq!(lines.len(), records.len() + 1);
    let only = owner.get(&format!("{AUDIT}/export?action=user.create")).await.expect(200);
    assert_eq!(only.body.lines().count(), 1);
    assert_eq!(rows(&owner, "audit.export").await.len(), 3);
}

#[tokio::test]
async fn a_checkpoint_from_the_api_holds_later_and_one_of_another_log_is_refused() {
    let station = TestStation::start().await;
    let owner = chief(&station).await;
    let verified = owner.get(&format!("{AUDIT}/verify")).await.expect(200).json();
    assert_eq!(
        (verified["intact"].as_bool(), verified["against_checkpoint"].as_bool()),
        (Some(true), Some(false))
    );
    let head = verified["head"].clone();
    station.user(Role::Viewer).await;
    let again = owner
        .post(&format!("{AUDIT}/verify"), &json!({ "checkpoint": head }))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (again["intact"].as_bool(), again["against_checkpoint"].as_bool()),
        (Some(true), Some(true))
    );
    assert!(again["rows"].as_u64() > verified["rows"].as_u64());
    let other = owner.post("/api/v1/station/audit/verify", &json!({ "checkpoint": head })).await;
    assert_eq!(other.expect(409).problem(), "conflict");
    let mut wrong = head;
    wrong["hash"] = json!("0".repeat(64));
    let found = owner
        .post(&format!("{AUDIT}/verify"), &json!({ "checkpoint": wrong }))
        .await
        .expect(200)
        .json();
    assert_eq!(found["intact"], false);
    assert!(found["broken"].as_str().unwrap().contains("rewritten"));
}

/// Somebody at the file, while no station uses it.
fn tamper(place: &Place, sql: &str) {
    let db = journal::open(&place.path().join("agentstation-data"));
    db.execute_batch("DROP TRIGGER audit_log_keeps_rows; DROP TRIGGER audit_log_keeps_values; DROP TRIGGER audit_log_grows; DROP TRIGGER audit_persons_keeps_rows; DROP TRIGGER audit_persons_keeps_values;")
        .unwrap();
    db.execute_batch(sql).unwrap();
}

/// A station with some rows, stopped, and a checkpoint of it in `kept.jsonl`.
async fn stopped() -> Place {
    let place = Place::new();
    let key = place.init().await;
    let serving = place.serve().await;
    serving.client(&key).get("/api/v1/orgs/nowhere/runs").await.expect(404);
    let new = json!({ "name": "another" });
    serving.client(&key).post("/api/v1/orgs/default/keys", &new).await;
    serving.terminate().await;
    let kept = place.run(&["audit", "checkpoint"]).await.expect(0);
    assert_eq!(kept.stdout.lines().count(), 2, "{}", kept.stdout);
    place.write("kept.jsonl", &kept.stdout);
    place
}

#[tokio::test]
async fn the_command_line_finds_what_was_tampered_with() {
    for (sql, seen_without) in [
        ("UPDATE audit_log SET actor = NULL WHERE chain <> 'station' AND seq = 2", true),
        ("DELETE FROM audit_log WHERE chain <> 'station' AND seq = 1", true),
        (
            "UPDATE audit_persons SET fields = replace(fields, 'ana', 'eve') WHERE chain <> 'station'",
            true,
        ),
        (
            "DELETE FROM audit_log WHERE chain = 'station' AND seq = (SELECT max(seq) FROM audit_log WHERE chain = 'station');
          DELETE FROM audit_persons WHERE chain = 'station' AND seq > (SELECT max(seq) FROM audit_log WHERE chain = 'station')",
            false,
        ),
        ("DELETE FROM audit_log; DELETE FROM audit_persons", false),
    ] {
        let place = stopped().await;
        place.run(&["audit", "verify", "--checkpoint", "kept.jsonl"]).await.expect(0);
        tamper(&place, sql);
        let without = place
            .run(&["audit", "verify", "-o", "json"])
            .await
            .expect(i32::from(seen_without))
            .json();
        assert_eq!(without["intact"], !seen_without, "{sql}");
        let with = place.run(&["audit", "verify", "--checkpoint", "kept.jsonl"]).await.expect(1);
        assert!(with.stdout.contains("BROKEN"), "{sql}: {}", with.stdout);
    }
}

#[tokio::test]
async fn a_log_written_anew_with_its_own_key_is_found_with_a_checkpoint() {
    let place = stopped().await;
    tamper(&place, "DELETE FROM audit_log; DELETE FROM audit_persons");
    // The station writes on with the same key, and makes as many rows.
    for i in 0..4 {
        place
            .run(&["key", "create", "--user", OWNER_EMAIL, "--name", &i.to_string()])
            .await
            .expect(0);
    }
    place.run(&["audit", "verify", "--chain", "default"]).await.expect(0);
    let found = place
        .run(&["audit", "verify", "--chain", "default", "--checkpoint", "kept.jsonl"])
        .await
        .expect(1);
    assert!(found.stdout.contains("rewritten"), "{}", found.stdout);
}

#[tokio::test]
async fn the_command_line_works_beside_a_serving_station_and_says_what_it_cannot_do() {
    let place = Place::new();
    place.run(&["audit", "verify"]).await.expect(2);
    let key = place.init().await;
    let serving = place.serve().await;
    let verified = place.run(&["audit", "verify", "-o", "json"]).await.expect(0).json();
    assert_eq!(verified["intact"], true);
    let exported = place.run(&["audit", "export", "--format", "csv"]).await.expect(0);
    assert!(
        exported.stdout.starts_with("chain,seq,at,") && exported.stderr.contains("not noted"),
        "{}",
        exported.stderr
    );
    place.run(&["audit", "verify", "--chain", "nowhere"]).await.expect(2);
    place.run(&["audit", "verify", "--checkpoint", "missing.json"]).await.expect(2);
    place.write("nonsense.json", "{}");
    place.run(&["audit", "verify", "--checkpoint", "nonsense.json"]).await.expect(2);
    serving.client(&key).get(AUDIT).await.expect(200);
    assert!(serving.log().contains("audit checkpoint"), "{}", serving.log());
    serving.terminate().await;
    let exported = place.run(&["audit", "export"]).await.expect(0);
    assert!(exported.stdout.lines().next().unwrap().contains("audit.export"));
}

/// Everything in the database that is text, in one.
fn all_texts(dir: &Path) -> String {
    let db = journal::open(dir);
    let mut tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let names: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut all = String::new();
    for name in names {
        let mut statement = db.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for i in 0..columns {
                if let Ok(text) = row.get::<_, String>(i) {
                    all.extend([&name, ": ", &text, "\n"]);
                }
            }
        }
    }
    all
}

fn rows_of_person(station: &TestStation, table: &str, person: &str) -> u32 {
    let sql = format!("SELECT count(*) FROM {table} WHERE principal_id = ?1");
    journal::open(station.directory())
        .query_row(&sql, [person], |row| row.get(0))
        .unwrap()
}

/// Gives somebody one of everything with which one signs in, and returns who it is.
fn give_proofs(station: &TestStation, email: &str) -> String {
    let db = rusqlite::Connection::open(station.directory().join(agentstation::store::DATABASE_FILE)).unwrap();
    let person: String = db
        .query_row("SELECT principal_id FROM users WHERE email = ?1", [email], |row| row.get(0))
        .unwrap();
    for sql in [
        "INSERT INTO totp (principal_id, secret, created_at, confirmed_at) VALUES (?1, x'00', 1, 1)",
        "INSERT INTO recovery_codes (principal_id, code_hash) VALUES (?1, x'00')",
        "INSERT INTO passkeys (id, principal_id, name, credential_id, credential, created_at) VALUES ('pky_1', ?1, 'phone', x'00', '{}', 1)",
        "INSERT INTO one_time_links (token_hash, purpose, principal_id, created_at, expires_at) VALUES (x'00', 'reset', ?1, 1, 9999999999999)",
    ] {
        db.execute(sql, [&person]).unwrap();
    }
    person
}

#[tokio::test]
async fn an_erased_person_is_gone_and_the_log_still_verifies() {
    let station = TestStation::start().await;
    let sleeper = script(
        "sleeper",
        "",
        "export default async function run(input, station) { await station.clock.sleep(3600000); }",
    );
    station.publish(sleeper).await;
    let evelyn = users::NewUser {
        email: "evelyn@example.com".to_owned(),
        name: "Evelyn Unmistakable".to_owned(),
        password: PASSWORD.to_owned(),
    };
    let origin = agentstation::domain::origin::Origin::default();
    users::create(&station.app, &station.actor().await, evelyn, Role::Operator, origin)
        .await
        .unwrap();
    let mut browser = Browser::sign_in(station.address, "evelyn@example.com", PASSWORD).await;
    let programs = key(&station, "evelyn@example.com").await;
    let started = programs
        .post("/api/v1/runs", &json!({ "agent": "sleeper", "input": {} }))
        .await
        .expect(202)
        .json();
    programs.get(AUDIT).await.expect(403);

    browser.get("/account/data").await.expect(200);
    let file = browser.submit("/account/data/export", &[]).await.expect(200).json();
    assert_eq!(file["profile"][0]["email"], "evelyn@example.com");
    assert_eq!(file["runs_started"][0]["id"], started["id"]);
    assert_eq!(file["memberships"][0]["role"], "operator");
    assert!(
        file["audit_log"]
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["action"] == "session.sign-in")
    );
    let text = file.to_string();
    assert!(
        !text.contains("argon2") && !text.contains("_hash") && !text.contains(OWNER_EMAIL),
        "{text}"
    );

    let proofs = ["sessions", "api_keys", "totp", "recovery_codes", "passkeys", "one_time_links"];
    let evelyn = give_proofs(&station, "evelyn@example.com");
    for table in proofs {
        assert_ne!(rows_of_person(&station, table, &evelyn), 0, "{table}");
    }

    browser.get("/account/data").await.expect(200);
    let refused = browser.submit("/account/data/erase", &[("confirm", "evelyn")]).await.expect(422);
    assert!(refused.body.contains("Type the e-mail address of the account."));
    browser
        .submit("/account/data/erase", &[("confirm", "Evelyn@example.com")])
        .await
        .expect(303);

    for table in proofs.into_iter().chain(["users", "members"]) {
        assert_eq!(rows_of_person(&station, table, &evelyn), 0, "{table}");
    }
    programs.get("/api/v1/runs").await.expect(401);
    let again = Browser::new(station.address).http().get("/account/data").await.status;
    assert!(again.is_redirection() || again == 401, "{again}");
    let owner = chief(&station).await;
    let run = owner
        .get(&format!("/api/v1/runs/{}", started["id"].as_str().unwrap()))
        .await
        .expect(200)
        .json();
    assert_eq!(run["holds"], json!(["principal_removed"]), "{run}");
    for path in [AUDIT, STATION] {
        assert_eq!(owner.get(&format!("{path}/verify")).await.expect(200).json()["intact"], true);
    }
    let denied = &rows(&owner, "access.denied").await[0];
    assert_eq!(denied["actor"]["name"], "Erased person");
    let left = all_texts(station.directory());
    for word in ["Evelyn", "evelyn"] {
        // The journals of runs keep who did what in them.
        let lines: Vec<_> = left
            .lines()
            .filter(|line| line.contains(word) && !line.starts_with("journal: "))
            .collect();
        assert!(lines.is_empty(), "{lines:?}");
    }
}

#[tokio::test]
async fn the_last_owner_is_not_erased_and_only_a_station_admin_erases_others() {
    let station = TestStation::start().await;
    let viewer_email = station.user(Role::Viewer).await;
    let admin = key(&station, &station.user(Role::Admin).await).await;
    let viewer = users::local_actor(&station.app, &viewer_email, None).await.unwrap().principal;
    let path = format!("/api/v1/station/persons/{viewer}");
    let body = json!({ "confirm": viewer_email });
    admin.get(&format!("{path}/data")).await.expect(403);
    admin.post(&format!("{path}/erase"), &body).await.expect(403);
    let mut browser = station.browser().await;
    browser.get("/account/data").await.expect(200);
    let refused = browser.submit("/account/data/erase", &[("confirm", OWNER_EMAIL)]).await.expect(409);
    assert!(refused.body.contains("nobody else"), "{}", refused.body);
    let owner = chief(&station).await;
    let data = owner.get(&format!("{path}/data")).await.expect(200).json();
    assert_eq!(data["profile"][0]["email"], viewer_email);
    owner
        .post(&format!("{path}/erase"), &json!({ "confirm": OWNER_EMAIL }))
        .await
        .expect(422);
    let erased = owner.post(&format!("{path}/erase"), &body).await.expect(200).json();
    assert_eq!(erased["memberships"], 1);
    owner.post(&format!("{path}/erase"), &body).await.expect(404);
    let noted = items(&owner, &format!("{STATION}?q=person.")).await;
    let actions: Vec<_> = noted.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["person.erase", "person.export"]);
}

#[tokio::test]
async fn the_page_shows_filters_verifies_and_offers_a_checkpoint() {
    let station = TestStation::start().await;
    station.user(Role::Viewer).await;
    let mut browser = station.browser().await;
    let page = browser.get("/settings/audit").await.expect(200).body;
    assert!(page.contains("Made a user") && page.contains("Signed in") && page.contains("/station/audit"));
    let filtered = browser.get("/settings/audit?action=user.create").await.expect(200).body;
    assert_eq!(filtered.matches("data-seq=").count(), 1);
    let none = browser.get("/settings/audit?target=no-such-thing").await.expect(200).body;
    assert!(none.contains("No row matches"));
    let wrong = browser.get("/settings/audit?address=here").await.expect(200).body;
    assert!(wrong.contains("write an address"));
    let verified = browser.get("/settings/audit?verify=1").await.expect(200).body;
    assert!(verified.contains("rows intact") && verified.contains("&quot;hash&quot;") || verified.contains("&#34;hash&#34;"));
    let of_station = browser.get("/station/audit").await.expect(200).body;
    assert!(of_station.contains("Set the station up"));
    let mut viewer = Browser::sign_in(station.address, "viewer@example.com", PASSWORD).await;
    viewer.get("/settings/audit").await.expect(403);
    viewer.get("/station/audit").await.expect(403);
}
