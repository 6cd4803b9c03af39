mod egress;

use proptest::prelude::*;

use super::super::call::HttpRequest;
use super::super::manifest::{AskFirst, HttpGrant};
use super::super::permission::Role;
use super::rules::{Artifact, Cost, Http, Names, Per};
use super::*;

fn send(method: &str, url: &str) -> Call {
    Call::HttpSend(HttpRequest {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: vec![],
        body: None,
        timeout_ms: None,
    })
}

fn granting(host: &str, methods: &[&str]) -> Capabilities {
    Capabilities {
        http: vec![HttpGrant {
            host: host.to_owned(),
            path: String::new(),
            methods: methods.iter().map(|&m| m.to_owned()).collect(),
            idempotency_header: None,
            approval: AskFirst::default(),
        }],
        ..Capabilities::default()
    }
}

fn rule(id: &str, effect: Effect, what: What) -> Rule {
    Rule {
        id: id.to_owned(),
        effect,
        what,
        approvers: None,
        note: String::new(),
    }
}

fn names(names: &[&str]) -> Names {
    Names {
        names: names.iter().map(|&name| name.to_owned()).collect(),
    }
}

fn http(host: &str, methods: &[&str]) -> What {
    What::Http(Http {
        hosts: vec![host.to_owned()],
        methods: names(methods).names,
        path_prefix: String::new(),
    })
}

fn policy(rules: Vec<Rule>) -> Arc<Policy> {
    Arc::new(Policy {
        version: 1,
        rules: Rules { rules },
    })
}

fn of_org(rules: Vec<Rule>) -> Policies {
    Policies {
        org: Some(policy(rules)),
        workspace: None,
    }
}

fn plain(granted: &Capabilities, call: &Call) -> Decision {
    decide(&Policies::default(), granted, call, &Facts::default())
}

fn under(policies: &Policies, granted: &Capabilities, call: &Call) -> Decision {
    decide(policies, granted, call, &Facts::default())
}

fn allowed(granted: &Capabilities, call: &Call) -> bool {
    matches!(plain(granted, call), Decision::Allow(_))
}

#[test]
fn nothing_is_granted_by_default() {
    let none = Capabilities::default();
    assert!(!allowed(&none, &send("GET", "https://example.com/")));
    assert!(!allowed(&none, &Call::MemoryGet { key: "a".to_owned() }));
    assert!(allowed(&none, &Call::ArtifactsList {}));
}

#[test]
fn a_host_grant_covers_its_host_methods_and_port_only() {
    let granted = granting("example.com", &["GET"]);
    assert!(allowed(&granted, &send("get", "https://Example.com/x")));
    for (method, url) in [
        ("POST", "https://example.com/"),
        ("GET", "https://example.com.evil.test/"),
        ("GET", "https://sub.example.com/"),
        ("GET", "https://example.com:8443/"),
        ("GET", "https://example.com@evil.test/"),
        ("GET", "nonsense"),
    ] {
        assert!(!allowed(&granted, &send(method, url)), "{method} {url}");
    }
}

#[test]
fn a_wildcard_covers_names_below_and_not_the_name_itself() {
    let granted = granting("*.example.com", &["GET"]);
    assert!(allowed(&granted, &send("GET", "https://a.b.example.com/")));
    assert!(!allowed(&granted, &send("GET", "https://example.com/")));
    assert!(!allowed(&granted, &send("GET", "https://badexample.com/")));
}

#[test]
fn a_host_that_names_its_key_header_takes_repeated_writes() {
    let mut granted = granting("example.com", &["POST"]);
    let call = send("POST", "https://example.com/pay");
    assert_eq!(effect_class(&granted, &call), EffectClass::WriteOnce);
    granted.http[0].idempotency_header = Some("Idempotency-Key".to_owned());
    assert_eq!(effect_class(&granted, &call), EffectClass::WriteIdempotent);
}

#[test]
fn a_fork_asks_before_every_write_and_before_nothing_else() {
    let granted = Capabilities {
        http: vec![HttpGrant {
            host: "api.example.com".to_owned(),
            path: String::new(),
            methods: ["GET", "PUT", "POST"].map(str::to_owned).to_vec(),
            idempotency_header: None,
            approval: AskFirst::Never,
        }],
        ..Capabilities::default()
    };
    let decided = |call: &Call| ask_before_writes(plain(&granted, call), effect_class(&granted, call));
    for method in ["PUT", "POST"] {
        let call = send(method, "https://api.example.com/");
        assert_eq!(
            decided(&call),
            Decision::Ask("fork.ask-writes".into(), Approvers::default()),
            "{method}"
        );
    }
    assert!(matches!(decided(&send("GET", "https://api.example.com/")), Decision::Allow(_)));
    assert!(matches!(decided(&send("POST", "https://other.example.com/")), Decision::Deny(..)));
    let put = Call::MemoryPut {
        key: "a".to_owned(),
        value: "1".to_owned(),
        if_version: None,
    };
    let granted = Capabilities {
        memory: true,
        ..Capabilities::default()
    };
    let decided = ask_before_writes(plain(&granted, &put), effect_class(&granted, &put));
    assert!(matches!(decided, Decision::Allow(_)), "it stays in the fork's own view");
}

#[test]
fn an_allow_rule_lifts_the_default_question_and_an_ask_rule_overrides_the_manifest() {
    let mut granted = granting("shop.example", &["POST"]);
    let call = send("POST", "https://shop.example/orders");
    assert_eq!(*plain(&granted, &call).rule(), "default.ask-before-writes");
    let lifted = of_org(vec![rule("shop", Effect::Allow, http("shop.example", &[]))]);
    assert_eq!(under(&lifted, &granted, &call), Decision::Allow("org/shop".into()));
    granted.http[0].approval = AskFirst::Never;
    assert!(allowed(&granted, &call));
    let asks = of_org(vec![rule("ask", Effect::Ask, http("*.example", &["POST"]))]);
    assert_eq!(under(&asks, &granted, &call), Decision::Ask("org/ask".into(), Approvers::default()));
}

#[test]
fn no_rule_gives_what_the_manifest_does_not() {
    let all = of_org(vec![rule("all", Effect::Allow, http("*", &[]))]);
    let decided = under(&all, &granting("shop.example", &["GET"]), &send("GET", "https://other.example/"));
    assert_eq!(*decided.rule(), "manifest.http");
    assert_eq!(decided.effect(), Effect::Deny);
}

#[test]
fn a_workspace_can_only_be_stricter() {
    let granted = granting("shop.example", &["GET"]);
    let call = send("GET", "https://shop.example/");
    let both = |org: Effect, workspace: Effect| {
        let policies = Policies {
            org: Some(policy(vec![rule("a", org, http("*", &[]))])),
            workspace: Some(policy(vec![rule("b", workspace, http("*", &[]))])),
        };
        under(&policies, &granted, &call)
    };
    assert_eq!(*both(Effect::Deny, Effect::Allow).rule(), "org/a");
    assert_eq!(both(Effect::Ask, Effect::Allow).effect(), Effect::Ask);
    assert_eq!(*both(Effect::Allow, Effect::Deny).rule(), "workspace/b");
    assert_eq!(both(Effect::Allow, Effect::Ask).effect(), Effect::Ask);
}

#[test]
fn where_both_ask_whoever_satisfies_both_is_asked() {
    let asking = |min_role, count, self_approval| Approvers {
        min_role,
        count,
        self_approval,
    };
    let (many, admin) = (asking(Role::Operator, 3, true), asking(Role::Admin, 1, false));
    let both = Decision::Ask("org/a".into(), many).and(Decision::Ask("workspace/b".into(), admin));
    assert_eq!(both, Decision::Ask("org/a and workspace/b".into(), asking(Role::Admin, 3, false)));
    assert!(many.and(admin).cover(many) && many.and(admin).cover(admin));
    assert!(!many.cover(admin) && !admin.cover(many));
}

#[test]
fn each_thing_that_a_call_touches_is_decided_on_its_own() {
    let mut granted = granting("shop.example", &["POST"]);
    granted.secrets.push("token".to_owned());
    let request = HttpRequest {
        method: "POST".to_owned(),
        url: "https://shop.example/".to_owned(),
        headers: vec![super::super::call::HttpHeader {
            name: "authorization".to_owned(),
            value: "Bearer {{secret:token}}".to_owned(),
        }],
        body: None,
        timeout_ms: None,
    };
    let call = Call::HttpSend(request);
    let policies = of_org(vec![
        rule("shop", Effect::Allow, http("shop.example", &[])),
        rule("no-tokens", Effect::Deny, What::Secret(names(&["tok*"]))),
    ]);
    assert_eq!(*under(&policies, &granted, &call).rule(), "org/no-tokens");
    // Leave to send the secret is no leave to write.
    let secret_only = of_org(vec![rule("token", Effect::Allow, What::Secret(names(&["token"])))]);
    assert_eq!(*under(&secret_only, &granted, &call).rule(), "default.ask-before-writes");
    granted.secrets.clear();
    assert_eq!(*under(&policies, &granted, &call).rule(), "manifest.secrets");
}

#[test]
fn what_a_call_and_its_run_cost_is_weighed() {
    let granted = Capabilities {
        models: vec!["default".to_owned()],
        ..Capabilities::default()
    };
    let call = Call::of_action(
        "models.chat",
        &serde_json::json!({"model": "default", "messages": [], "show": "none"}),
    )
    .unwrap();
    let cost = |over_micros, per| What::Cost(Cost { over_micros, per });
    let policies = of_org(vec![
        rule("any-model", Effect::Allow, What::Model(names(&["*"]))),
        rule("dear-call", Effect::Ask, cost(100, Per::Call)),
        rule("dear-run", Effect::Deny, cost(1_000, Per::Run)),
    ]);
    assert!(policies.weigh_runs());
    let decided = |call_micros, run_micros| {
        let facts = Facts {
            call_micros,
            run_micros,
            ..Facts::default()
        };
        decide(&policies, &granted, &call, &facts).rule().to_string()
    };
    assert_eq!(decided(100, 0), "org/any-model");
    assert_eq!(decided(101, 0), "org/dear-call");
    assert_eq!(decided(100, 900), "org/any-model");
    assert_eq!(decided(101, 900), "org/dear-run");
}

#[test]
fn sizes_of_artifacts_are_weighed() {
    let put = |bytes| {
        Call::ArtifactsPut(super::super::call::ArtifactInfo {
            name: "a".to_owned(),
            content_type: "text/plain".to_owned(),
            bytes,
            digest: String::new(),
        })
    };
    let policies = of_org(vec![rule("big", Effect::Deny, What::Artifact(Artifact { over_bytes: 10 }))]);
    let none = Capabilities::default();
    assert_eq!(under(&policies, &none, &put(10)).effect(), Effect::Allow);
    assert_eq!(*under(&policies, &none, &put(11)).rule(), "org/big");
}

#[test]
fn rules_read_as_sentences() {
    let two_admins = Rule {
        approvers: Some(Approvers {
            min_role: Role::Admin,
            count: 2,
            self_approval: false,
        }),
        ..rule("a", Effect::Ask, http("*.bank.example", &["POST"]))
    };
    assert_eq!(
        two_admins.in_words(),
        "Ask 2 admins before POST to *.bank.example, not counting who started the run"
    );
    for (rule, words) in [
        (
            rule("a", Effect::Deny, What::Model(names(&["a", "b"]))),
            "Deny using the models “a” or “b”",
        ),
        (
            rule(
                "a",
                Effect::Ask,
                What::Cost(Cost {
                    over_micros: 1_250_000,
                    per: Per::Run,
                }),
            ),
            "Ask an operator before a model call that can bring its run above $1.25",
        ),
        (
            rule("a", Effect::Deny, What::Artifact(Artifact { over_bytes: 5 << 20 })),
            "Deny storing an artifact of more than 5 MB",
        ),
        (rule("a", Effect::Allow, http("*", &[])), "Allow any request to any host"),
    ] {
        assert_eq!(rule.in_words(), words);
    }
}

#[test]
fn what_is_ill_made_is_named_by_its_place() {
    let bad = Rules {
        rules: vec![
            rule("ok", Effect::Deny, http("*", &[])),
            Rule {
                approvers: Some(Approvers {
                    min_role: Role::Viewer,
                    count: 11,
                    self_approval: true,
                }),
                ..rule("ok", Effect::Ask, What::Model(names(&["", "a b"])))
            },
            rule(
                "Not so",
                Effect::Allow,
                What::Http(Http {
                    hosts: vec!["https://x.example".to_owned()],
                    methods: vec!["FETCH".to_owned()],
                    path_prefix: "pay".to_owned(),
                }),
            ),
            Rule {
                approvers: Some(Approvers::default()),
                ..rule("c", Effect::Deny, What::Tool(names(&[])))
            },
        ],
    };
    let found: Vec<String> = bad.check().into_iter().map(|wrong| wrong.pointer).collect();
    assert_eq!(
        found,
        [
            "/rules/1/approvers/min_role",
            "/rules/1/approvers/count",
            "/rules/1/what/model/names/0",
            "/rules/1/what/model/names/1",
            "/rules/1/id",
            "/rules/2/id",
            "/rules/2/what/http/hosts/0",
            "/rules/2/what/http/methods/0",
            "/rules/2/what/http/path_prefix",
            "/rules/3/approvers",
            "/rules/3/what/tool/names",
        ]
    );
    let unknown = serde_json::from_str::<Rules>(r#"{"rules": [], "extra": 1}"#);
    assert!(unknown.is_err());
    let inside = r#"{"rules": [{"id": "a", "effect": "deny", "what": {"model": {"names": ["a"], "extra": 1}}}]}"#;
    assert!(serde_json::from_str::<Rules>(inside).is_err());
}

#[test]
fn a_difference_keeps_what_stayed_and_names_what_moved() {
    let (a, b, c) = (
        rule("a", Effect::Allow, http("*", &[])),
        rule("b", Effect::Ask, http("*", &[])),
        rule("c", Effect::Deny, http("*", &[])),
    );
    let (was, now) = ([a.clone(), b.clone()], [b.clone(), c.clone()]);
    assert_eq!(difference(&was, &now), [Changed::Gone(&a), Changed::Same(&b), Changed::New(&c)]);
    assert_eq!(difference(&[], &[]), []);
}

#[test]
fn a_manifest_is_told_what_holds_for_each_thing_it_wants() {
    let granted = Capabilities {
        models: vec!["default".to_owned()],
        ..granting("*.shop.example", &["GET", "POST"])
    };
    let policies = of_org(vec![
        rule("no-model", Effect::Deny, What::Model(names(&["*"]))),
        rule("pay", Effect::Deny, http("pay.shop.example", &["POST"])),
        rule("shops", Effect::Allow, http("*.shop.example", &["GET"])),
    ]);
    let said: Vec<String> = of_capabilities(&policies, &granted)
        .iter()
        .map(|verdict| format!("{}: {} ({})", verdict.what, verdict.in_words(), verdict.decision.rule()))
        .collect();
    assert_eq!(
        said,
        [
            "model “default”: denied (org/no-model)",
            "GET to *.shop.example: allowed (org/shops)",
            "POST to *.shop.example: asks a person (default.ask-before-writes)",
            "of these, POST to pay.shop.example: denied (org/pay)",
        ]
    );
}

// ---- properties ----------------------------------------------------------------------------------------------------

fn any_effect() -> impl Strategy<Value = Effect> {
    prop_oneof![Just(Effect::Allow), Just(Effect::Ask), Just(Effect::Deny)]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let host = prop_oneof![Just("*"), Just("a.example"), Just("*.example"), Just("b.example")];
    let methods = prop_oneof![Just(vec![]), Just(vec!["GET"]), Just(vec!["POST", "DELETE"])];
    (any_effect(), host, methods, "[a-z]{1,6}").prop_map(|(effect, host, methods, id)| rule(&id, effect, http(host, &methods)))
}

fn any_rules() -> impl Strategy<Value = Vec<Rule>> {
    proptest::collection::vec(any_rule(), 0..6)
}

fn any_call() -> impl Strategy<Value = Call> {
    let host = prop_oneof![Just("a.example"), Just("b.example"), Just("c.test")];
    let method = prop_oneof![Just("GET"), Just("POST"), Just("DELETE"), Just("PUT")];
    (method, host).prop_map(|(method, host)| send(method, &format!("https://{host}/x")))
}

fn grants_all() -> Capabilities {
    let methods = ["GET", "POST", "PUT", "DELETE"];
    let mut granted = granting("*.example", &methods);
    granted.http.extend(granting("c.test", &methods).http);
    granted
}

fn rank(effect: Effect) -> u8 {
    match effect {
        Effect::Allow => 0,
        Effect::Ask => 1,
        Effect::Deny => 2,
    }
}

proptest! {
    #[test]
    fn of_two_policies_the_stricter_holds(org in any_rules(), workspace in any_rules(), call in any_call()) {
        let granted = grants_all();
        let both = Policies { org: Some(policy(org)), workspace: Some(policy(workspace)) };
        let only = |org: bool| Policies {
            org: both.org.clone().filter(|_| org),
            workspace: both.workspace.clone().filter(|_| !org),
        };
        let says = |policies: &Policies| match &call {
            Call::HttpSend(request) => policies.say(&Thing::Http { url: &url::Url::parse(&request.url).unwrap(), method: &request.method }),
            _ => None,
        };
        let strictest = [says(&only(true)), says(&only(false))].into_iter().flatten().map(|said| rank(said.effect())).max();
        let expected = strictest.unwrap_or_else(|| rank(plain(&granted, &call).effect()));
        prop_assert_eq!(rank(under(&both, &granted, &call).effect()), expected);
    }

    #[test]
    fn a_deny_rule_more_never_allows_more(org in any_rules(), mut more in any_rule(), at in 0..6_usize, call in any_call()) {
        let granted = grants_all();
        let before = rank(under(&of_org(org.clone()), &granted, &call).effect());
        let mut denying = org;
        more.effect = Effect::Deny;
        denying.insert(at.min(denying.len()), more);
        prop_assert!(rank(under(&of_org(denying), &granted, &call).effect()) >= before);
    }

    #[test]
    fn what_no_rule_is_about_is_as_without_rules(org in any_rules(), workspace in any_rules()) {
        let granted = grants_all();
        let (put, sleep) = (Call::ArtifactsList {}, Call::ClockSleep { ms: 1 });
        let policies = Policies { org: Some(policy(org)), workspace: Some(policy(workspace)) };
        for call in [put, sleep] {
            prop_assert_eq!(under(&policies, &granted, &call), plain(&granted, &call));
        }
    }

    #[test]
    fn the_first_rule_about_a_thing_decides(org in any_rules(), effect in any_effect(), call in any_call()) {
        let mut first = vec![rule("first", effect, http("*", &[]))];
        first.extend(org);
        let decided = under(&of_org(first), &grants_all(), &call);
        prop_assert_eq!(decided.effect(), effect);
        prop_assert_eq!(decided.rule().as_ref(), "org/first");
    }

    #[test]
    fn rules_come_back_from_json_as_they_were(rules in any_rules()) {
        let rules = Rules { rules };
        let json = serde_json::to_string(&rules).unwrap();
        prop_assert_eq!(serde_json::from_str::<Rules>(&json).unwrap(), rules);
    }
}
