use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tracing_subscriber::layer::SubscriberExt as _;

use super::line::{Format, Lines};
use super::text;
use crate::domain::time::{SimClock, Timestamp};

/// What is written while `log` runs.
fn written(format: Format, log: impl FnOnce()) -> String {
    let out = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&out);
    let clock = SimClock::at(Timestamp::from_ms(1_763_700_000_120));
    let lines = Lines::new(format, clock, move |line: &str| sink.lock().unwrap().push_str(line));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
    Arc::try_unwrap(out).unwrap().into_inner().unwrap()
}

#[test]
fn a_json_line_has_the_fields_of_its_spans_at_the_top() {
    let text = written(Format::Json, || {
        let request = tracing::info_span!("request", request_id = "req_1", org = "org_1", run_id = tracing::field::Empty);
        let _in_request = request.enter();
        request.record("run_id", "run_1");
        tracing::warn!(calls = 3, slow = true, "the run is \u{1b}[2Jslow\u{9b}\u{202e}");
    });
    assert_eq!(text.matches('\n').count(), 1);
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        line,
        json!({
            "time": "2025-11-21T04:40:00.120Z",
            "level": "warn",
            "message": "the run is \u{1b}[2Jslow\u{9b}\u{202e}",
            "target": "agentstation::telemetry::tests",
            "request_id": "req_1",
            "org": "org_1",
            "run_id": "run_1",
            "calls": 3,
            "slow": true,
        })
    );
    assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{text}");
}

#[test]
fn a_human_line_shows_no_control_characters_and_stays_one_line() {
    let text = written(Format::Human { colour: false }, || {
        tracing::info!(run_id = "run_1\nERROR forged", "hello \u{1b}[31mred\u{202e}");
    });
    assert_eq!(
        text,
        "2025-11-21T04:40:00.120Z INFO  hello \\u{1b}[31mred\\u{202e} run_id=run_1\\nERROR forged\n"
    );
}

#[test]
fn colour_is_there_only_when_asked_for() {
    let coloured = written(Format::Human { colour: true }, || tracing::error!("no"));
    assert!(coloured.contains("\u{1b}[31mERROR\u{1b}[0m"), "{coloured:?}");
}

#[test]
fn a_field_cannot_replace_the_lines_own() {
    let text = written(Format::Json, || tracing::info!(level = "none", "told"));
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["level"], "info");
}

#[test]
fn text_of_several_lines_keeps_its_breaks_only() {
    assert_eq!(text::lines("a\n\tb\u{7}"), "a\n\tb\\u{7}");
    assert_eq!(text::one_line("plain — text"), "plain — text");
}
