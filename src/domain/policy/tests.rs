use super::super::call::HttpRequest;
use super::super::manifest::{AskFirst, HttpGrant};
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
            methods: methods.iter().map(|&m| m.to_owned()).collect(),
            idempotency_header: None,
            approval: AskFirst::default(),
        }],
        ..Capabilities::default()
    }
}

fn allowed(granted: &Capabilities, call: &Call) -> bool {
    matches!(decide(granted, call), Decision::Allow(_))
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
            methods: ["GET", "PUT", "POST"].map(str::to_owned).to_vec(),
            idempotency_header: None,
            approval: AskFirst::Never,
        }],
        memory: true,
        ..Capabilities::default()
    };
    let decided = |call: &Call| ask_before_writes(decide(&granted, call), effect_class(&granted, call));
    for method in ["PUT", "POST"] {
        let call = send(method, "https://api.example.com/");
        assert_eq!(decided(&call), Decision::Ask("fork.ask-writes"), "{method}");
    }
    assert!(matches!(decided(&send("GET", "https://api.example.com/")), Decision::Allow(_)));
    assert!(matches!(decided(&send("POST", "https://other.example.com/")), Decision::Deny(..)));
    let put = Call::MemoryPut {
        key: "a".to_owned(),
        value: "1".to_owned(),
        if_version: None,
    };
    assert!(matches!(decided(&put), Decision::Allow(_)), "it stays in the fork's own view");
}
