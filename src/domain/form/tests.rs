use serde_json::json;

use super::super::manifest::{Finding, Manifest};
use super::*;

const GOOD: &str = r#"
name = "sorter"
version = "1.0.0"
summary = "Sorts tickets"
runtime = "javascript"
entry = "agent.js"
input = "input.schema.json"

[capabilities]
models = ["default"]
tools = ["calculator"]

[form]
instructions = """
You sort "tickets".
Use ${nothing} and `backticks`."""
turns = 5
cost-micros = 250000
"#;

fn made(text: &str) -> (Manifest, String) {
    let manifest = Manifest::parse(text).unwrap();
    let source = manifest.form.as_ref().unwrap().source(&manifest);
    (manifest, source)
}

#[test]
fn the_source_is_made_of_what_the_manifest_says() {
    let (_, source) = made(GOOD);
    assert!(source.starts_with("// Made from"), "{source}");
    for part in [
        "[\n  \"You sort \\\"tickets\\\".\",\n  \"Use ${nothing} and `backticks`.\",\n].join(\"\\n\")",
        "input: input.task,",
        "model: \"default\",",
        "tools: [\"calculator\"],",
        "maxTurns: 5,",
        "maxCostMicros: 250000,",
    ] {
        assert!(source.contains(part), "{part} in {source}");
    }
    assert!(by_hand(&source).starts_with("const INSTRUCTIONS"));
}

#[test]
fn several_fields_become_lines_of_the_question() {
    let fields = "fields = [{ name = \"who\", title = \"For whom\", kind = \"text\", required = true }, { name = \"loud\", title = \"Loud\", kind = \"yes-no\" }]\n";
    let (manifest, source) = made(&format!("{GOOD}{fields}"));
    assert!(
        source.contains("[\"who\", \"For whom\"],") && source.contains("input: task(input),"),
        "{source}"
    );
    let schema: Value = serde_json::from_str(&manifest.form.unwrap().input_schema()).unwrap();
    assert_eq!(schema["required"], json!(["who"]));
    assert_eq!(
        schema["properties"]["who"],
        json!({ "title": "For whom", "type": "string", "minLength": 1 })
    );
    assert_eq!(schema["properties"]["loud"]["type"], "boolean");
}

#[test]
fn what_cannot_be_is_said_with_its_place() {
    let wrong = |from: &str, to: &str| -> Vec<Finding> { Manifest::parse(&GOOD.replace(from, to)).expect_err("it is wrong") };
    for (from, to, said) in [
        ("turns = 5", "turns = 1", "form.turns must be between"),
        ("models = [\"default\"]\n", "", "needs a model"),
        (
            "cost-micros = 250000",
            "fields = [{ name = \"A b\", title = \"A\", kind = \"text\" }]",
            "is no name of a field",
        ),
        ("cost-micros = 250000", "fields = []", "must have 1 to"),
        (
            "cost-micros = 250000",
            "fields = [{ name = \"a\", title = \"A\", kind = \"text\" }, { name = \"a\", title = \"B\", kind = \"text\" }]",
            "is there twice",
        ),
        ("cost-micros = 250000", "colour = 1", "colour"),
    ] {
        let found = wrong(from, to);
        assert!(found[0].message.contains(said), "{found:?}");
    }
    assert!(wrong("turns = 5", "turns = 500")[0].line > 0);
}

#[test]
fn a_manifest_is_written_as_it_is_read() {
    let (manifest, _) = made(GOOD);
    let text = manifest.text();
    assert_eq!(Manifest::parse(&text).unwrap(), manifest, "{text}");
    assert!(
        !text.contains("fuel") && !text.contains("[limits]") && !text.contains("memory"),
        "{text}"
    );
}

#[test]
fn a_field_is_named_by_its_title() {
    for (title, name) in [("For whom?", "for_whom"), ("2nd Größe", "nd_gr_e"), ("…", "field")] {
        assert_eq!(field_name(title), name);
        assert!(is_field_name(name));
    }
}

#[test]
fn every_tool_of_the_station_is_offered_once() {
    let mut offered: Vec<&str> = OFFERED.iter().flat_map(|offer| offer.tools).copied().collect();
    let mut known: Vec<&str> = crate::domain::tool::TOOLS.iter().map(|tool| tool.name).collect();
    offered.sort_unstable();
    known.sort_unstable();
    assert_eq!(offered, known);
}
