//! Runs that try their best to give secrets away, and everywhere a secret could then be found.

use std::path::Path;

use agentstation::services::runs;
use agentstation::store::runs::Filter;
use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use super::{HEADER, SECRET, SECRETS, allow_writes, binding, echo, escaped, files_have_none, grants, has_none, set, station};
use crate::support::agents::script;
use crate::support::program::Place;
use crate::support::{TestStation, manifest};

const WORKSPACE: &str = "/api/v1/orgs/default/workspaces/default";
const PROVIDER_KEY: &str = "sk-or-v1-1f2e3d4c5b6a79880f1e2d3c";

const LEAK: &str = "export default async function run(input, station) {
  const all = [];
  for (const path of ['/echo', '/redirect', '/away', '/binary', '/error']) {
    let said;
    try {
      said = await station.http.send({ method: path === '/echo' ? 'PUT' : 'GET', url: input.base + path,
        headers: [['X-Key', '{{secret:header}}'], ['Content-Type', 'application/json']],
        body: path === '/echo' ? '{\"key\":\"{{secret:api.key}}\"}' : undefined });
    } catch (error) { said = { message: error.message }; }
    const text = JSON.stringify(said);
    all.push(text);
    station.timeline.log('info', text.slice(0, 4000));
    station.timeline.emit('seen', { text: text.slice(0, 4000) });
    await station.memory.put('seen' + path, text);
    await station.artifacts.put('seen' + path.slice(1) + '.txt', text);
    await station.step(text.slice(0, 100), async () => {});
  }
  if (input.fail) throw new Error(all.join(' '));
  return { all };
}";

#[tokio::test]
async fn planted_secrets_are_found_nowhere_after_runs_that_try_to_leak_them() {
    let (address, mut asked) = echo().await;
    let station = station().await;
    let http = station.owner();
    set(&http, SECRETS, "api.key", SECRET, binding(&address)).await;
    set(&http, SECRETS, "header", HEADER, binding(&address)).await;
    let agent = station
        .publish(script("leaky", &grants(&address, "\"api.key\", \"header\""), LEAK))
        .await;
    let mut pages = Vec::new();
    for fail in [false, true] {
        let id = station
            .begin(&agent, &json!({ "base": format!("http://{address}"), "fail": fail }))
            .await;
        let ended = station.end(id).await;
        assert_eq!(ended.output.is_some(), !fail, "{:?}", ended.error);
        pages.push(format!("{:?} {:?} {:?}", ended.output, ended.error, ended.run));
        pages.push(format!("{:?}", ended.entries));
        for path in [
            "",
            "/events?limit=500",
            "/artifacts",
            "/artifacts/seenecho.txt",
            "/artifacts/seenbinary.txt",
        ] {
            pages.push(http.get(&format!("/api/v1/runs/{id}{path}")).await.expect(200).body);
        }
        for entry in &ended.entries {
            pages.push(http.get(&format!("/api/v1/runs/{id}/events/{}", entry.seq)).await.expect(200).body);
        }
        let mut browser = station.browser().await;
        pages.push(browser.get(&format!("/runs/{id}")).await.expect(200).body);
        pages.push(browser.get("/settings/secrets").await.expect(200).body);
    }
    pages.push(http.get(SECRETS).await.expect(200).body);
    let first = asked.recv().await.unwrap();
    assert!(first.contains(HEADER) && first.contains(&escaped(SECRET)), "it was sent: {first}");
    let all = pages.join("\n");
    assert!(all.contains("[secret header]") && all.contains("[secret api.key]"));
    has_none("what people and programs read", all.as_bytes(), &[SECRET, HEADER]);
    files_have_none(station.directory(), &[SECRET, HEADER]).await;
    let data = station.stop().await;
    files_have_none(data.path(), &[SECRET, HEADER]).await;
    // Verifying a run needs no secret, even where the key is gone.
    std::fs::remove_file(data.path().join("master.key")).unwrap();
    let station = TestStation::builder().data(data).start().await;
    assert!(station.app.sealing.trouble().is_some());
    let actor = station.actor().await;
    for run in runs::list(&station.app, &actor, Filter::default(), None, 10).await.unwrap() {
        let verified = station
            .owner()
            .post(&format!("/api/v1/runs/{}/verify", run.id), &json!({}))
            .await
            .expect(200)
            .json();
        assert!(verified["result"].as_str().unwrap().starts_with("identical"), "{verified}");
    }
    station.stop().await;
}

/// How a copy of the data is made while the station runs.
fn backup(data: &Path, to: &Path) {
    let from = Connection::open_with_flags(data.join("agentstation.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut to = Connection::open(to).unwrap();
    let backup = rusqlite::backup::Backup::new(&from, &mut to).unwrap();
    backup.run_to_completion(1_000, std::time::Duration::ZERO, None).unwrap();
}

#[tokio::test]
async fn planted_secrets_are_in_no_log_however_much_is_logged_and_in_no_backup() {
    let (address, mut asked) = echo().await;
    let place = Place::new()
        .with("AGENTSTATION_LOG_LEVEL", "trace")
        .with("AGENTSTATION_OUTBOUND_OPEN_CIDRS", "127.0.0.0/8");
    let key = place.init().await;
    let serving = place.serve().await;
    let http = serving.client(&key);
    allow_writes(&http).await;
    set(&http, SECRETS, "api.key", SECRET, binding(&address)).await;
    set(&http, SECRETS, "header", HEADER, binding(&address)).await;
    // A provider's key is a secret too; this one shows the key in what it answers.
    let provider = json!({ "name": "shows", "preset": "other", "base_url": format!("http://{address}/v1"), "key": PROVIDER_KEY });
    let provider = http.post("/api/v1/orgs/default/providers", &provider).await.expect(201).json();
    let test = format!("/api/v1/orgs/default/providers/{}/test", provider["id"].as_str().unwrap());
    let tested = http.post(&test, &json!({})).await.expect(200);
    let manifest = manifest("leaky", "1.0.0") + &grants(&address, "\"api.key\", \"header\"");
    let fields: [(&str, &[u8]); 2] = [("manifest", manifest.as_bytes()), ("code", LEAK.as_bytes())];
    http.upload(&format!("{WORKSPACE}/agents"), &fields).await.expect(201);
    let mut told = vec![tested.body];
    for fail in [false, true] {
        let input = json!({ "base": format!("http://{address}"), "fail": fail });
        let start = json!({ "agent": "leaky", "input": input });
        let ended = http.post(&format!("{WORKSPACE}/runs?wait=60"), &start).await.json();
        assert_eq!(ended["state"], if fail { "failed" } else { "succeeded" }, "{ended}");
        told.push(ended.to_string());
    }
    let provider_asked = asked.recv().await.unwrap();
    assert!(provider_asked.contains(PROVIDER_KEY), "{provider_asked}");
    assert!(asked.recv().await.unwrap().contains(HEADER));
    let secrets = [SECRET, HEADER, PROVIDER_KEY];
    has_none("what programs read", told.join("\n").as_bytes(), &secrets);
    let data = place.path().join("agentstation-data");
    let copy = place.path().join("copy.db");
    backup(&data, &copy);
    has_none("the backup", &std::fs::read(copy).unwrap(), &secrets);
    files_have_none(&data, &secrets).await;
    let log = serving.log();
    assert!(log.contains(r#""level":"trace""#), "it logs much");
    has_none("the log", log.as_bytes(), &secrets);
    serving.kill().await;
    files_have_none(&data, &secrets).await;
}
