//! What an entry says, for browsers without JavaScript. The timeline's own words are in `static/js/run/words.js`.

use serde_json::Value;

use crate::domain::journal::{EntryView, Phase};
use crate::web::pages::filters::dollars;

/// Of the summary, what tells one entry from another, in this order.
const TOLD: [&str; 12] = [
    "message", "result", "name", "tool", "url", "key", "model", "kind", "state", "reason", "code", "outcome",
];
const CHARS_MAX: usize = 300;

/// The entry as one line.
pub(super) fn line(entry: &EntryView) -> String {
    let meta: Value = serde_json::from_str(entry.meta.get()).unwrap_or_default();
    let phase = match entry.phase {
        Phase::Start => " begins",
        Phase::End => " ended",
        Phase::Point => "",
    };
    let told = TOLD.iter().filter_map(|key| meta.get(key)).filter_map(Value::as_str);
    let cost = meta.get("cost_micros").and_then(Value::as_u64).filter(|micros| *micros > 0);
    let mut text = std::iter::once(format!("{}{phase}", entry.kind))
        .chain(told.map(str::to_owned))
        .chain(cost.map(dollars))
        .collect::<Vec<_>>()
        .join(" · ");
    if text.chars().count() > CHARS_MAX {
        text = text.chars().take(CHARS_MAX).chain(['…']).collect();
    }
    text
}
