//! A newer program finds runs that an older one began: another engine, another JavaScript runtime, an interface that is gone.

use std::path::Path;

use agentstation::domain::id::RunId;
use agentstation::domain::wait::Verb;
use agentstation::store::approvals::Approval;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::agents::script;
use crate::support::{TestStation, journal};

const ASKER: &str = "export default async function run(input, station) {
  await station.memory.put('a', 1);
  const decision = await station.approvals.request({ action: 'Go on?', arguments: {}, reason: '' });
  const entry = await station.memory.getEntry('a');
  return [decision.verb, entry.version];
}";

/// A run that is parked, with its station stopped and its data altered by `alter`.
async fn parked(alter: impl FnOnce(&Path, RunId)) -> (TestStation, RunId, Approval) {
    let station = TestStation::start().await;
    let agent = station.publish(script("asker", "[capabilities]\nmemory = true\n", ASKER)).await;
    let id = station.begin(&agent, &json!({})).await;
    let asked = station.until_asked(id).await;
    let data = station.stop().await;
    alter(data.path(), id);
    (TestStation::builder().data(data).start().await, id, asked)
}

#[tokio::test]
async fn another_engine_goes_on_and_does_not_compare_fuel() {
    let (station, id, asked) = parked(|data, id| {
        let db = journal::open(data);
        db.execute("UPDATE segments SET engine = 'an older one' WHERE run_id = ?1", [id.to_string()])
            .unwrap();
        let counted = db.execute(
            "UPDATE journal SET fuel = fuel + 7 WHERE run_id = ?1 AND fuel IS NOT NULL",
            [id.to_string()],
        );
        assert!(counted.unwrap() > 0);
    })
    .await;
    station.decide(&asked, Verb::Approve, None).await;
    assert_eq!(station.end(id).await.succeeded(), json!(["approve", 1]));
}

/// The JavaScript runtime with a section that means nothing: as good as the other, under another digest.
fn older_runtime(data: &Path) -> [u8; 32] {
    let db = journal::open(data);
    let mut body: Vec<u8> = db
        .query_row("SELECT body FROM runtime_components LIMIT 1", [], |row| row.get(0))
        .unwrap();
    assert!(body.starts_with(b"\0asm"));
    // A custom section called “old”, without content.
    body.extend([0, 4, 3, b'o', b'l', b'd']);
    let digest: [u8; 32] = Sha256::digest(&body).into();
    db.execute(
        "INSERT INTO runtime_components (digest, name, body, created_at) VALUES (?1, 'javascript', ?2, 1)",
        (digest, body),
    )
    .unwrap();
    digest
}

#[tokio::test]
async fn a_segment_finishes_on_the_javascript_runtime_that_it_began_on() {
    let mut old = [0; 32];
    let (station, id, asked) = parked(|data, id| {
        old = older_runtime(data);
        let db = journal::open(data);
        db.execute("UPDATE segments SET component_digest = ?1 WHERE run_id = ?2", (old, id.to_string()))
            .unwrap();
    })
    .await;
    station.decide(&asked, Verb::Approve, None).await;
    assert_eq!(station.end(id).await.succeeded(), json!(["approve", 1]));
    let pinned: [u8; 32] = journal::open(station.directory())
        .query_row("SELECT component_digest FROM segments WHERE run_id = ?1", [id.to_string()], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(pinned, old);
}

#[tokio::test]
async fn an_interface_that_is_no_longer_there_ends_the_run_with_what_to_do() {
    let (station, id, asked) = parked(|data, id| {
        journal::open(data)
            .execute("UPDATE segments SET wit_version = '0.0.1' WHERE run_id = ?1", [id.to_string()])
            .unwrap();
    })
    .await;
    station.decide(&asked, Verb::Approve, None).await;
    let ended = station.end(id).await.because("version_drift");
    assert!(
        ended.message().contains("0.0.1") && ended.message().contains("upload"),
        "{}",
        ended.message()
    );
}
