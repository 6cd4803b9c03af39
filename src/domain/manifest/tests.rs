use super::*;

const GOOD: &str = r#"
name = "page-watch"
version = "1.2.0"
summary = "Tells you when a page changes"
runtime = "javascript"
entry = "agent.js"
"#;

fn findings(text: &str) -> Vec<Finding> {
    Manifest::parse(text).expect_err("it is wrong")
}

#[test]
fn five_lines_are_enough() {
    let manifest = Manifest::parse(GOOD).unwrap();
    assert_eq!(manifest.limits, AgentLimits::default());
    assert_eq!(manifest.capabilities, Capabilities::default());
    assert_eq!(manifest.state_format, 1);
}

#[test]
fn an_unknown_key_is_refused_at_its_line() {
    let found = findings(&format!("{GOOD}colour = \"red\"\n"));
    assert_eq!(found[0].line, 7);
    assert!(found[0].message.contains("colour"), "{}", found[0].message);
}

#[test]
fn every_wrong_value_is_reported_with_its_place() {
    let found = findings(&GOOD.replace("page-watch", "Page Watch").replace("agent.js", "../agent.js"));
    let places: Vec<_> = found.iter().map(|f| f.line).collect();
    assert_eq!(places, [2, 6]);
    assert!(found[0].message.contains("page-watch"), "suggests a name: {}", found[0].message);
}

#[test]
fn a_limit_beyond_the_ceiling_is_refused() {
    let found = findings(&format!("{GOOD}[limits]\nmemory_bytes = 1\n"));
    assert_eq!(found[0].line, 8);
}

#[test]
fn a_url_is_no_host() {
    let found = findings(&format!("{GOOD}[capabilities]\nhttp = [{{ host = \"https://example.com\" }}]\n"));
    assert!(found[0].message.contains("without https://"), "{}", found[0].message);
}

#[test]
fn suggested_names_are_names() {
    for text in ["Page Watch!", "", "9 lives", "--", "Ünïcode", &"x".repeat(200)] {
        assert!(is_name(&name_like(text)), "{text:?} -> {:?}", name_like(text));
    }
}
