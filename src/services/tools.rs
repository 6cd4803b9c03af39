//! The station's own tools: what each answers. Those that reach outside stand for another call and only put its answer into words here.

mod calculator;
mod calls;
mod html;
mod json_path;
mod json_query;
mod markdown;
mod search;

pub use calls::{of_response, result_of};

use serde_json::{Value, json};

use crate::domain::failure::{Failure, FailureCode};
use crate::domain::tool::{self, TOOL_RESULT_BYTES_MAX, Touches};

/// What a tool that touches nothing answers, as JSON. Bounded in input, output and steps, so that it ends soon; not for a thread that serves.
///
/// # Errors
/// There is no such tool, its arguments do not fit, or it cannot do what they want.
pub fn compute(name: &str, arguments: &Value) -> Result<String, Failure> {
    tool::check(name, arguments)?;
    let text = |field: &str| arguments.get(field).and_then(Value::as_str).unwrap_or_default();
    let answer = match name {
        "calculator" => calculator::answer(text("expression")),
        "html_to_text" => Ok(cut_text(html::to_text(text("html")))),
        "json_query" => json_query::answer(arguments.get("json").unwrap_or(&Value::Null), text("query")),
        "markdown_to_text" => Ok(cut_text(markdown::to_text(text("markdown")))),
        "text_search" => {
            let is_regex = arguments.get("regex").and_then(Value::as_bool).unwrap_or(false);
            search::answer(text("text"), text("pattern"), is_regex)
        }
        other => Err(format!("{other} is no tool that answers by itself")),
    };
    answer
        .map(|answer| answer.to_string())
        .map_err(|why| Failure::new(FailureCode::Invalid, why))
}

/// Computes beside the threads that serve, where the call is of a tool that touches nothing.
pub async fn computed(name: &str, arguments: &Value) -> Option<Result<String, Failure>> {
    if tool::find(name).is_some_and(|tool| tool.touches != Touches::Nothing) {
        return None;
    }
    let (name, arguments) = (name.to_owned(), arguments.clone());
    let computed = tokio::task::spawn_blocking(move || compute(&name, &arguments)).await;
    Some(computed.unwrap_or_else(|_| Err(Failure::new(FailureCode::Invalid, "the tool broke down over these arguments"))))
}

/// A text of at most `most` bytes, and whether it was longer.
fn cut(mut text: String, most: usize) -> (String, bool) {
    if text.len() <= most {
        return (text, false);
    }
    text.truncate(text.floor_char_boundary(most));
    (text, true)
}

fn cut_text(text: String) -> Value {
    match cut(text, TOOL_RESULT_BYTES_MAX) {
        (text, false) => json!({ "text": text }),
        (text, true) => json!({ "text": text, "truncated": true }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, arguments: Value) -> Result<Value, Failure> {
        compute(name, &arguments).map(|text| serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn each_tool_answers_in_json() {
        assert_eq!(said("calculator", json!({ "expression": "1/3 + 1/6" })).unwrap()["value"], "0.5");
        assert_eq!(
            said("html_to_text", json!({ "html": "<p>a &amp; b</p>" })).unwrap(),
            json!({ "text": "a & b" })
        );
        assert_eq!(
            said("markdown_to_text", json!({ "markdown": "# A\n\n*b*" })).unwrap(),
            json!({ "text": "A\n\nb" })
        );
        assert_eq!(
            said("json_query", json!({ "json": "{\"a\":[1,2]}", "query": "$.a[1]" })).unwrap()["values"],
            json!([2])
        );
        assert_eq!(
            said("text_search", json!({ "text": "x\nAb", "pattern": "ab" })).unwrap()["matches"][0]["line"],
            2
        );
    }

    #[test]
    fn what_a_tool_cannot_do_is_the_callers_failure() {
        for (name, arguments) in [
            ("calculator", json!({ "expression": "1/0" })),
            ("calculator", json!({ "expression": 1 })),
            ("json_query", json!({ "json": "{", "query": "$" })),
            ("json_query", json!({ "json": {}, "query": "a" })),
            ("text_search", json!({ "text": "a", "pattern": "(", "regex": true })),
            ("html_to_text", json!({ "html": ["a"] })),
            ("markdown_to_text", json!({})),
        ] {
            assert_eq!(said(name, arguments).unwrap_err().code, FailureCode::Invalid, "{name}");
        }
        assert_eq!(said("rm", json!({})).unwrap_err().code, FailureCode::NotFound);
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let long = said("html_to_text", json!({ "html": "é".repeat(60_000) })).unwrap();
        assert_eq!(long["truncated"], true);
        assert!(long["text"].as_str().unwrap().len() <= TOOL_RESULT_BYTES_MAX);
    }
}
