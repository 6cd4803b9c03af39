//! `text_search`: the lines of a text that hold a pattern.

use std::time::{Duration, Instant};

use regex::{Regex, RegexBuilder};
use serde_json::{Value, json};

use super::cut;
use crate::domain::tool::{TOOL_RESULT_BYTES_MAX, TOOL_ROWS_MAX};

/// Bytes of a compiled pattern: what it can cost at each character.
const COMPILED_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a line that are looked at, and that are shown.
const LINE_BYTES_MAX: usize = 16 * 1024;
const SHOWN_BYTES_MAX: usize = 500;
/// Time that a search may take.
const TIME_MAX: Duration = Duration::from_secs(2);

pub(super) fn answer(text: &str, pattern: &str, is_regex: bool) -> Result<Value, String> {
    let pattern = if is_regex { pattern.to_owned() } else { regex::escape(pattern) };
    let pattern: Regex = RegexBuilder::new(&pattern)
        .case_insensitive(!is_regex)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|error| format!("the pattern cannot be used: {error}"))?;
    let until = Instant::now() + TIME_MAX;
    let (mut matches, mut count, mut bytes) = (Vec::new(), 0_u64, 0);
    for (number, line) in (1_u64..).zip(text.lines()) {
        if Instant::now() > until {
            return Err(format!(
                "the search took longer than {} s; use a simpler pattern",
                TIME_MAX.as_secs()
            ));
        }
        let end = line.floor_char_boundary(LINE_BYTES_MAX);
        if !pattern.is_match(line.get(..end).unwrap_or_default()) {
            continue;
        }
        count += 1;
        let (shown, _) = cut(line.to_owned(), SHOWN_BYTES_MAX);
        bytes += shown.len();
        if matches.len() < TOOL_ROWS_MAX && bytes <= TOOL_RESULT_BYTES_MAX {
            matches.push(json!({ "line": number, "text": shown }));
        }
    }
    let is_cut = count > matches.len() as u64;
    Ok(json!({ "count": count, "matches": matches, "truncated": is_cut }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_words_and_by_patterns() {
        let text = "Alpha\nbeta (1)\nalphabet\n";
        let found = answer(text, "ALPHA", false).unwrap();
        assert_eq!(
            found,
            json!({ "count": 2, "matches": [{"line": 1, "text": "Alpha"}, {"line": 3, "text": "alphabet"}], "truncated": false })
        );
        assert_eq!(answer(text, "(1)", false).unwrap()["count"], 1);
        assert_eq!(answer(text, "^[a-z]+$", true).unwrap()["matches"][0]["line"], 3);
        assert_eq!(answer("", "x", false).unwrap()["count"], 0);
    }

    #[test]
    fn what_is_found_is_bounded_and_a_pattern_that_explodes_is_refused() {
        let many = answer(&"x\n".repeat(1_000), "x", false).unwrap();
        assert_eq!((&many["count"], &many["truncated"]), (&json!(1_000), &json!(true)));
        assert_eq!(many["matches"].as_array().unwrap().len(), TOOL_ROWS_MAX);
        assert!(answer("a", "(a{100}){100}{100}", true).is_err());
        assert!(answer("a", "[", true).is_err());
        let began = Instant::now();
        answer(&"a".repeat(256 * 1024), "(a|a?)+$x", true).unwrap();
        assert!(began.elapsed() < TIME_MAX * 4);
    }
}
