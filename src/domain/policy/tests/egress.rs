//! What may leave: paths, tools, and agents in which all three of the trifecta meet.

use super::*;

#[test]
fn where_all_three_meet_a_write_asks_whatever_the_manifest_says_and_a_rule_lifts_it() {
    let all_three = Capabilities {
        memory: true,
        ..granting("shop.example", &["GET", "PUT", "POST", "DELETE"])
    };
    let mut never = all_three.clone();
    never.http[0].approval = AskFirst::Never;
    let mut keyed = all_three.clone();
    keyed.http[0].idempotency_header = Some("Idempotency-Key".to_owned());
    let asks = Decision::Ask("default.trifecta".into(), Approvers::default());
    for granted in [&never, &keyed] {
        for method in ["PUT", "POST"] {
            assert_eq!(plain(granted, &send(method, "https://shop.example/a")), asks, "{method}");
        }
        assert!(matches!(plain(granted, &send("GET", "https://shop.example/a")), Decision::Allow(_)));
    }
    assert_eq!(plain(&never, &send("DELETE", "https://shop.example/a")), asks);
    let tool = |method: &str| Call::ToolsCall {
        name: "http_request".to_owned(),
        arguments: serde_json::json!({ "method": method, "url": "https://shop.example/a" }),
    };
    never.tools = vec!["http_request".to_owned()];
    assert_eq!(plain(&never, &tool("PUT")), asks);
    assert!(matches!(plain(&never, &tool("GET")), Decision::Allow(_)));
    let policies = of_org(vec![rule("shop", Effect::Allow, http("shop.example", &["PUT"]))]);
    let held = |call: &Call| decide(&policies, &never, call, &Facts::default());
    assert_eq!(*held(&send("PUT", "https://shop.example/a")).rule(), "org/shop");
    assert!(matches!(held(&tool("PUT")), Decision::Allow(_)));
    assert_eq!(held(&send("POST", "https://shop.example/a")), asks, "the rule is about PUT only");
    let shown = of_capabilities(&Policies::default(), &never);
    let put = shown.iter().find(|verdict| verdict.what.starts_with("PUT")).unwrap();
    assert_eq!(put.decision, asks, "the agent's page says so too");
}

#[test]
fn a_granted_path_bounds_requests_and_gives_its_key_to_them_only() {
    let mut granted = granting("api.example", &["GET", "POST"]);
    granted.http[0].path = "/v1".to_owned();
    granted.http[0].idempotency_header = Some("Idempotency-Key".to_owned());
    for path in ["/v1", "/v1/items", "/v1/%61"] {
        assert!(
            matches!(
                plain(&granted, &send("GET", &format!("https://api.example{path}"))),
                Decision::Allow(_)
            ),
            "{path}"
        );
    }
    for path in [
        "/",
        "/v10",
        "/admin",
        "/v1/../admin",
        "/v1/%2e%2e/admin",
        "/v1/..%2fadmin",
        "/v1/%252e%252e/admin",
        "//v1",
    ] {
        let Decision::Deny(rule, why) = plain(&granted, &send("GET", &format!("https://api.example{path}"))) else {
            panic!("{path} is granted")
        };
        assert!(rule == "manifest.http" && why.contains("/v1"), "{path}: {why}");
    }
    let mut two = granted.clone();
    two.http.push(HttpGrant {
        path: "/hook".to_owned(),
        idempotency_header: None,
        ..granted.http[0].clone()
    });
    assert_eq!(
        effect_class(&two, &send("POST", "https://api.example/v1/a")),
        EffectClass::WriteIdempotent
    );
    assert_eq!(
        effect_class(&two, &send("POST", "https://api.example/hook")),
        EffectClass::WriteOnce
    );
}

#[test]
fn a_tool_is_decided_as_itself_and_as_the_call_it_stands_for() {
    let call = |name: &str, arguments: serde_json::Value| Call::ToolsCall {
        name: name.to_owned(),
        arguments,
    };
    let get = call("http_request", serde_json::json!({ "url": "https://api.example/a" }));
    let mut granted = granting("api.example", &["GET", "POST"]);
    assert_eq!(*plain(&granted, &get).rule(), "manifest.tools");
    granted.tools = vec!["http_request".to_owned(), "memory_put".to_owned(), "calculator".to_owned()];
    assert!(matches!(plain(&granted, &get), Decision::Allow(_)));
    let elsewhere = call("http_request", serde_json::json!({ "url": "https://other.example/a" }));
    assert_eq!(*plain(&granted, &elsewhere).rule(), "manifest.http");
    let put = call("memory_put", serde_json::json!({ "key": "a", "value": "b" }));
    assert_eq!(*plain(&granted, &put).rule(), "manifest.memory");
    let post = call(
        "http_request",
        serde_json::json!({ "method": "POST", "url": "https://api.example/a" }),
    );
    assert_eq!(*plain(&granted, &post).rule(), "default.ask-before-writes");
    let secret = call(
        "http_request",
        serde_json::json!({ "url": "https://api.example/a", "headers": { "authorization": "{{secret:token}}" } }),
    );
    assert_eq!(*plain(&granted, &secret).rule(), "manifest.secrets");
    let sum = call("calculator", serde_json::json!({ "expression": "1" }));
    assert!(matches!(plain(&granted, &sum), Decision::Allow(_)));
    granted.ask = vec!["calculator".to_owned()];
    assert_eq!(plain(&granted, &sum), Decision::Ask("manifest.ask".into(), Approvers::default()));
    let allowing = of_org(vec![rule(
        "sums",
        Effect::Allow,
        What::Tool(Names {
            names: vec!["*".to_owned()],
        }),
    )]);
    assert_eq!(
        *decide(&allowing, &granted, &sum, &Facts::default()).rule(),
        "manifest.ask",
        "a rule does not undo what the author asks for"
    );
    let denying = of_org(vec![rule(
        "none",
        Effect::Deny,
        What::Tool(Names {
            names: vec!["http_*".to_owned()],
        }),
    )]);
    assert_eq!(*decide(&denying, &granted, &get, &Facts::default()).rule(), "org/none");
}
