//! The pages of models, without a script.

use super::*;

#[tokio::test]
async fn a_provider_is_added_tested_and_removed_on_its_page() {
    let station = station().await;
    let server = ModelServer::start(|_, turn| {
        if turn == 0 {
            answer("401 Unauthorized", "", "{}")
        } else {
            models(&["tiny", "large"])
        }
    })
    .await;
    let mut browser = station.browser().await;
    let page = browser.get("/settings/models").await.expect(200);
    assert!(page.body.contains("No provider yet"), "{}", page.body);
    let page = browser.get("/settings/models/providers/new").await.expect(200);
    assert!(page.body.contains("OpenRouter") && page.body.contains("preset=ollama"));
    let page = browser.get("/settings/models/providers/new?preset=mistral").await.expect(200);
    assert!(page.body.contains("https://api.mistral.ai/v1"));
    let limits = [
        ("connect_ms", "5000"),
        ("first_token_ms", "90000"),
        ("idle_ms", "90000"),
        ("call_ms", "300000"),
        ("concurrency", "16"),
        ("tokens_per_minute", "0"),
        ("max_output_tokens", "4096"),
    ];
    let url = server.url("/v1");
    let fields = |name: &'static str, base_url: &'static str| {
        [
            &[("preset", "mistral"), ("name", name), ("base_url", base_url), ("key", KEY)],
            &limits[..],
        ]
        .concat()
    };
    let url: &'static str = Box::leak(url.into_boxed_str());
    let wrong = browser
        .submit("/settings/models/providers/new?preset=mistral", &fields("No Name", "ftp://x"))
        .await
        .expect(422);
    assert!(wrong.body.contains("begins with a letter") && wrong.body.contains("no web address") && !wrong.body.contains(KEY));
    let made = browser
        .submit("/settings/models/providers/new", &fields("mine", url))
        .await
        .expect(303);
    let path = made.header("location").split('?').next().unwrap().to_owned();
    let page = browser.get(&path).await.expect(200);
    assert!(page.body.contains("A key is kept") && !page.body.contains(KEY));
    let failed = browser.submit(&format!("{path}/test"), &[]).await.expect(200);
    assert!(failed.body.contains("does not take the key"), "{}", failed.body);
    browser.submit(&format!("{path}/test"), &[]).await.expect(303);
    let page = browser.get(&path).await.expect(200);
    assert!(page.body.contains("large, tiny"));
    browser.submit(&format!("{path}/remove"), &[]).await.expect(303);
    browser.get(&path).await.expect(404);
    station.stop().await;
}

#[tokio::test]
async fn a_chain_is_put_in_order_without_a_script() {
    let station = station().await;
    let http = station.owner();
    for name in ["one", "two"] {
        http.post(PROVIDERS, &json!({ "name": name, "preset": "scripted" }))
            .await
            .expect(201);
    }
    let mut browser = station.browser().await;
    let path = "/settings/models/aliases/fast";
    let page = browser.get(path).await.expect(200);
    assert!(page.body.contains("datalist"));
    let more = browser
        .submit(path, &[("version", "0"), ("provider", "one"), ("model", "scripted"), ("do", "add")])
        .await
        .expect(200);
    assert_eq!(more.body.matches("name=\"model\"").count(), 2);
    let both = [
        ("version", "0"),
        ("provider", "one"),
        ("model", "scripted"),
        ("provider", "two"),
        ("model", "scripted"),
    ];
    browser.submit(path, &[&both[..], &[("do", "up:1")]].concat()).await.expect(200);
    http.get(&format!("{ALIASES}/fast")).await.expect(404);
    let turned = [
        ("version", "0"),
        ("provider", "two"),
        ("model", "scripted"),
        ("provider", "one"),
        ("model", "scripted"),
        ("do", "save"),
    ];
    browser.submit(path, &turned).await.expect(303);
    let stored = http.get(&format!("{ALIASES}/fast")).await.expect(200).json();
    assert_eq!(
        (&stored["chain"][0]["provider"], &stored["chain"][1]["provider"]),
        (&json!("two"), &json!("one"))
    );
    let stale = browser.submit(path, &turned).await.expect(409);
    assert!(stale.body.contains("changed in between"));
    let empty = browser
        .submit(path, &[("version", "1"), ("provider", "one"), ("model", ""), ("do", "save")])
        .await
        .expect(422);
    assert!(empty.body.contains("name of the model"));
    browser.submit(path, &[("do", "remove")]).await.expect(303);
    http.get(&format!("{ALIASES}/fast")).await.expect(404);
    let page = browser.get("/settings/models").await.expect(200);
    assert!(page.body.contains("not set"));
    station.stop().await;
}
