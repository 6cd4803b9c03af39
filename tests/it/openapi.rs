//! The API's description, and what is served.

use std::collections::BTreeSet;
use std::fs;

use agentstation::web::{openapi, routes};
use serde_json::Value;

use crate::support::TestStation;

#[test]
fn the_copy_in_the_repository_is_the_description_of_this_code() {
    let made = openapi::document();
    let kept = fs::read_to_string("openapi.json").unwrap_or_default();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write("openapi.json", &made).unwrap();
        return;
    }
    assert!(
        made == kept,
        "openapi.json is stale; run this test with UPDATE_GOLDEN=1 and look at the difference"
    );
}

#[test]
fn it_describes_every_address_of_the_api_once_and_nothing_else() {
    let document: Value = serde_json::from_str(&openapi::document()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let table = routes::table();
    let paths: BTreeSet<&str> = table.iter().map(|line| line.path).collect();
    // What is also there without naming the workspace is described without it.
    let is_doubled = |path: &str| {
        path.strip_prefix("/api/v1/orgs/{org}/workspaces/{workspace}")
            .is_some_and(|rest| !rest.is_empty() && paths.contains(format!("/api/v1{rest}").as_str()))
    };
    let served: BTreeSet<String> = table
        .iter()
        .filter(|line| line.path.starts_with("/api/v1/") && !is_doubled(line.path) && !line.path.ends_with("openapi.json"))
        .map(|line| format!("{} {}", line.method, line.path.replace(":.+", "")))
        .collect();
    assert_eq!(described, served);
}

#[test]
fn the_description_of_an_entry_has_the_fields_of_an_entry() {
    use agentstation::domain::journal::{Entry, EntryView, Lane, PayloadRef, Phase};
    use agentstation::domain::time::Timestamp;
    let entry = Entry {
        seq: 1,
        at: Timestamp::from_ms(1),
        lane: Lane::Guest,
        attempt: 0,
        segment: 0,
        call: None,
        sub: None,
        phase: Phase::Point,
        kind: "log".to_owned(),
        class: None,
        fingerprint: None,
        fuel: None,
        step: None,
        actor: None,
        audience: 0,
        meta: "{}".to_owned(),
        request: PayloadRef::Inline("1".to_owned()),
        response: PayloadRef::Inline("2".to_owned()),
    };
    let shown = serde_json::to_value(EntryView::from(&entry)).unwrap();
    let document: Value = serde_json::from_str(&openapi::document()).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&document["components"]["schemas"]["Entry"]["properties"]), keys(&shown));
}

#[tokio::test]
async fn it_is_served_to_everyone() {
    let station = TestStation::start().await;
    let served = station.nobody().get("/api/v1/openapi.json").await.expect(200);
    assert_eq!(served.body, openapi::document());
}
