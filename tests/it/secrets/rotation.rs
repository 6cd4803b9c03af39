//! Replacing the master key, with the real program, killed on the way.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::SECRETS;
use crate::support::program::Place;

async fn fingerprint(place: &Place) -> String {
    let lines = place.run(&["doctor", "-o", "json"]).await.json();
    let found = lines.as_array().unwrap().iter().find(|line| line["what"] == "sealing").unwrap();
    found["detail"].as_str().unwrap().to_owned()
}

async fn with_secrets() -> (Place, String) {
    let place = Place::new();
    let key = place.init().await;
    let serving = place.serve().await;
    let http = serving.client(&key);
    for name in ["one", "two"] {
        http.post(SECRETS, &json!({ "name": name, "value": "a-value-of-bytes" }))
            .await
            .expect(201);
    }
    serving.kill().await;
    (place, key)
}

/// A rotation works on what is sealed: a new value can be sealed by the same data key.
async fn still_seals(place: &Place, key: &str) {
    let serving = place.serve().await;
    let http = serving.client(key);
    let items = http.get(SECRETS).await.expect(200).json();
    for item in items["items"].as_array().unwrap() {
        let id = item["id"].as_str().unwrap();
        let rotated = http
            .post(&format!("{SECRETS}/{id}/rotate"), &json!({ "value": "another-value-of-bytes" }))
            .await;
        rotated.expect(200);
    }
    serving.kill().await;
}

#[tokio::test]
async fn a_new_master_key_takes_the_place_of_the_old_one_which_is_kept() {
    let (place, key) = with_secrets().await;
    let data = place.path().join("agentstation-data");
    let old = std::fs::read_to_string(data.join("master.key")).unwrap();
    let given = place.write("new.key", format!("{}\n", STANDARD.encode([7_u8; 32])));
    std::fs::set_permissions(&given, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let done = place.run(&["key", "rotate-master", "--new-key-file", "new.key"]).await.expect(0);
    assert!(
        done.stdout.is_empty() && done.stderr.contains("the master key is replaced"),
        "{}",
        done.stderr
    );
    assert_eq!(
        std::fs::read_to_string(data.join("master.key")).unwrap(),
        std::fs::read_to_string(&given).unwrap()
    );
    let kept: Vec<_> = std::fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "old"))
        .collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(std::fs::read_to_string(&kept[0]).unwrap(), old);
    assert!(!data.join("master.key.new").exists());
    assert!(fingerprint(&place).await.contains("as it should"));
    still_seals(&place, &key).await;
    // The same key again is no replacement.
    let again = place.run(&["key", "rotate-master", "--new-key-file", "new.key"]).await.expect(1);
    assert!(again.stderr.contains("the one in use"), "{}", again.stderr);
    let audit = place.run(&["audit", "export", "--chain", "station"]).await.expect(0);
    assert!(audit.stdout.contains("master-key.rotate"), "{}", audit.stdout);
}

#[tokio::test]
async fn a_rotation_that_is_killed_anywhere_goes_on_at_the_next_try_or_start() {
    for (point, by_serving) in [
        ("before-intent:1", false),
        ("after-intent:1", true),
        ("in-commit:2", false),
        ("after-commit:2", true),
        ("after-result:1", true),
        ("after-result:2", false),
        ("after-effect:1", true),
        ("in-commit:4", false),
    ] {
        let (place, key) = with_secrets().await;
        place.run_dying(&["key", "rotate-master"], point).await;
        if by_serving && point != "before-intent:1" {
            let serving = place.serve().await;
            serving.until_logged("the master key is replaced").await;
            serving.kill().await;
        } else {
            // With no leave to begin anew: what was begun is finished.
            place.run(&["key", "rotate-master"]).await.expect(0);
        }
        let said = fingerprint(&place).await;
        assert!(said.contains("as it should"), "{point}: {said}");
        still_seals(&place, &key).await;
    }
}

#[tokio::test]
async fn where_the_key_comes_from_the_environment_it_says_what_to_set() {
    let place = Place::new().with("AGENTSTATION_MASTER_KEY", &STANDARD.encode([1_u8; 32]));
    let key = place.init().await;
    let serving = place.serve().await;
    serving
        .client(&key)
        .post(SECRETS, &json!({ "name": "one", "value": "a-value-of-bytes" }))
        .await
        .expect(201);
    let busy = place.run(&["key", "rotate-master"]).await.expect(1);
    assert!(busy.stderr.contains("stop it"), "{}", busy.stderr);
    serving.kill().await;
    let done = place.run(&["key", "rotate-master"]).await.expect(0);
    let waits = place.path().join("agentstation-data").join("master.key.new");
    assert!(
        done.stderr.contains("AGENTSTATION_MASTER_KEY") && done.stderr.contains("master.key.new"),
        "{}",
        done.stderr
    );
    let new = std::fs::read_to_string(&waits).unwrap();
    let said = fingerprint(&place).await;
    assert!(said.contains("needs the one with the fingerprint"), "{said}");
    let place = place.with("AGENTSTATION_MASTER_KEY", new.trim());
    std::fs::remove_file(&waits).unwrap();
    assert!(fingerprint(&place).await.contains("as it should"));
    still_seals(&place, &key).await;
}
