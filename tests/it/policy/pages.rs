//! Setting policies: the addresses of the API, and the pages with forms only.

use agentstation::domain::permission::Role;
use agentstation::services::policy::Of;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Bench, any_post, asking, rule};
use crate::support::{Browser, PASSWORD, TestStation};

#[tokio::test]
async fn two_editors_do_not_overwrite_each_other() {
    let station = TestStation::start().await;
    let (org, workspace) = (station.actor().await.org, station.actor().await.workspace);
    let owner = station.owner();
    for base in [
        format!("/api/v1/orgs/{org}/policy"),
        format!("/api/v1/orgs/{org}/workspaces/{workspace}/policy"),
    ] {
        let put = |etag: &str, rules: Value| {
            let client = if etag.is_empty() {
                owner.clone()
            } else {
                owner.with("if-match", etag)
            };
            let (base, body) = (base.clone(), json!({ "rules": rules, "note": "Why" }).to_string().into_bytes());
            async move { client.send(Method::PUT, &base, Some("application/json"), body).await }
        };
        let none = owner.get(&base).await.expect(200);
        assert_eq!((none.json()["version"].clone(), none.header("etag")), (json!(0), "\"0\""));
        let rules = json!([rule("no-posts", "deny", any_post())]);
        let first = put("\"0\"", rules.clone()).await.expect(200);
        assert_eq!((first.json()["version"].clone(), first.header("etag")), (json!(1), "\"1\""));
        assert_eq!(first.json()["words"], json!(["Deny POST to any host"]));
        let late = put("\"0\"", json!([])).await.expect(409);
        assert!(late.body.contains("version 1"), "{}", late.body);
        put("\"1\"", rules).await.expect(409);
        put("nonsense", json!([])).await.expect(409);
        put("\"1\"", json!([])).await.expect(200);
        let bad = put("", json!([rule("Bad name", "deny", json!({ "model": { "names": [] } }))]))
            .await
            .expect(422);
        let places: Vec<_> = bad.json()["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|place| place["pointer"].clone())
            .collect();
        assert_eq!(places, ["/rules/0/id", "/rules/0/what/model/names"]);
        let versions = owner.get(&format!("{base}/versions?limit=1")).await.expect(200).json();
        assert_eq!((&versions["items"][0]["version"], &versions["next"]), (&json!(2), &json!("2")));
        let older = owner.get(&format!("{base}/versions?cursor=2")).await.expect(200).json();
        assert_eq!(older["items"][0]["note"], "Why");
        owner.get(&format!("{base}/versions/1")).await.expect(200);
        owner.get(&format!("{base}/versions/9")).await.expect(404);
        owner.get(&format!("{base}/versions/0")).await.expect(404);
    }
}

#[tokio::test]
async fn a_check_says_what_would_be_decided_and_by_which_rule() {
    let bench = Bench::start().await;
    let actor = bench.station.actor().await;
    let of_org = format!("/api/v1/orgs/{}/policy/check", actor.org);
    let of_workspace = format!("/api/v1/orgs/{}/workspaces/{}/policy/check", actor.org, actor.workspace);
    bench
        .set(
            Of::Org,
            json!([asking("two", any_post(), json!({ "count": 2, "min_role": "admin" }))]),
        )
        .await;
    bench.set(Of::Workspace, json!([rule("no-posts", "deny", any_post())])).await;
    let owner = bench.station.owner();
    let post = json!({ "what": "http", "method": "POST", "url": "https://shop.example/" });
    let org = owner.post(&of_org, &post).await.expect(200).json();
    assert_eq!(
        (&org["effect"], &org["rule"], &org["asks"]),
        (&json!("ask"), &json!("org/two"), &json!("2 admins"))
    );
    let both = owner.post(&of_workspace, &post).await.expect(200).json();
    assert_eq!((&both["effect"], &both["rule"]), (&json!("deny"), &json!("workspace/no-posts")));
    assert_eq!(both["policy"], "org 1, workspace 1, default-2");
    let mut tried = post.clone();
    tried["rules"] = json!([]);
    let draft = owner.post(&of_org, &tried).await.expect(200).json();
    assert_eq!(draft["rule"], "default.ask-before-writes");
    for bad in [
        json!({ "what": "odd" }),
        json!({ "what": "http", "method": "POST", "url": "nowhere" }),
    ] {
        owner.post(&of_org, &bad).await.expect(422);
    }
}

#[tokio::test]
async fn an_agent_is_shown_with_what_the_policy_says_to_it() {
    let bench = Bench::start().await;
    bench
        .set(Of::Org, json!([rule("no-model", "deny", json!({ "model": { "names": ["*"] } }))]))
        .await;
    let shown = bench.station.owner().get("/api/v1/agents/doer").await.expect(200).json();
    let model = shown["policy"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["what"] == "model “default”")
        .unwrap();
    assert_eq!((&model["effect"], &model["rule"]), (&json!("deny"), &json!("org/no-model")));
    let page = bench.station.browser().await.get("/agents/doer").await.expect(200);
    assert!(
        page.body.contains("What the policy says to it") && page.body.contains("org/no-model"),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn a_rule_is_drafted_shown_stored_and_restored_with_forms_only() {
    let station = TestStation::start().await;
    let mut browser = station.browser().await;
    let page = browser.get("/settings/policy").await.expect(200);
    assert!(
        page.body.contains("There are none.") && page.body.contains("What holds by default"),
        "{}",
        page.body
    );
    let draft = |fields: &[(&'static str, &str)], rules: &str, base: &str| -> Vec<(String, String)> {
        let mut all = vec![("of", "org"), ("base", base), ("rules", rules)];
        all.extend_from_slice(fields);
        all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    async fn post(browser: &mut Browser, path: &str, fields: Vec<(String, String)>) -> crate::support::http::Answer {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        browser.submit(path, &fields).await
    }
    let empty = r#"{"rules":[]}"#;
    let editor = post(&mut browser, "/settings/policy/draft", draft(&[("do", "add:http")], empty, "0"))
        .await
        .expect(200);
    assert!(
        editor.body.contains("name=\"hosts\"") && editor.body.contains("value=\"http-rule\""),
        "{}",
        editor.body
    );
    let typed = [
        ("do", "put"),
        ("kind", "http"),
        ("id", "bank"),
        ("effect", "ask"),
        ("hosts", "*.bank.example"),
        ("methods", "POST"),
        ("count", "2"),
        ("min_role", "admin"),
        ("rule_note", "Money"),
    ];
    let mut wrong = typed;
    wrong[4] = ("hosts", "https://bank");
    let refused = post(&mut browser, "/settings/policy/draft", draft(&wrong, empty, "0"))
        .await
        .expect(422);
    assert!(
        refused.body.contains("is no host") && refused.body.contains("https://bank"),
        "{}",
        refused.body
    );
    let shown = post(&mut browser, "/settings/policy/draft", draft(&typed, empty, "0"))
        .await
        .expect(200);
    assert!(shown.body.contains("Not stored yet"), "{}", shown.body);
    assert!(
        shown
            .body
            .contains("class=\"come\">bank: Ask 2 admins before POST to *.bank.example, not counting who started the run (Money)"),
        "{}",
        shown.body
    );
    assert!(
        shown.body.contains("Only 1 member may decide this"),
        "nobody would be left waiting unwarned"
    );
    let rules = crate::support::http::between(&shown.body, "name=\"rules\" value=\"", "\"")
        .unwrap()
        .replace("&#34;", "\"");
    assert_eq!(
        browser.get("/settings/policy").await.body.matches("po-rule\"").count(),
        0,
        "nothing holds before it is stored"
    );

    let stored = post(&mut browser, "/settings/policy", draft(&[("note", "First")], &rules, "0"))
        .await
        .expect(303);
    assert_eq!(stored.header("location"), "/settings/policy?of=org&done=policy-stored");
    let late = post(&mut browser, "/settings/policy", draft(&[], empty, "0")).await.expect(409);
    assert!(
        late.body.contains("Ana has stored version 1") && late.body.contains("class=\"gone\">bank"),
        "{}",
        late.body
    );
    let tried = browser
        .get("/settings/policy?what=http&method=POST&url=https://a.bank.example/")
        .await
        .expect(200);
    assert!(
        tried.body.contains("It would wait for 2 admins") && tried.body.contains("org/bank"),
        "{}",
        tried.body
    );

    let gone = post(&mut browser, "/settings/policy/draft", draft(&[("do", "remove:0")], &rules, "1"))
        .await
        .expect(200);
    assert!(gone.body.contains("class=\"gone\">bank"), "{}", gone.body);
    post(&mut browser, "/settings/policy", draft(&[], empty, "1")).await.expect(303);
    let versions = browser.get("/settings/policy/versions?of=org&a=1&b=2").await.expect(200);
    assert!(
        versions.body.contains("class=\"gone\">bank") && versions.body.contains("First"),
        "{}",
        versions.body
    );
    let restored = post(&mut browser, "/settings/policy/draft", draft(&[("do", "restore:1")], empty, "2"))
        .await
        .expect(200);
    assert!(restored.body.contains("class=\"come\">bank"), "{}", restored.body);

    let email = station.user(Role::Viewer).await;
    let mut viewer = Browser::sign_in(station.address, &email, PASSWORD).await;
    let page = viewer.get("/settings/policy").await.expect(200);
    assert!(!page.body.contains("name=\"do\""), "{}", page.body);
    post(&mut viewer, "/settings/policy", draft(&[], empty, "2")).await.expect(403);
}
