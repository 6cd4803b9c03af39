//! `json_query`: the values that a JSONPath finds, as many as fit.

use serde_json::{Value, json};

use super::json_path::Path;
use crate::domain::tool::{TOOL_RESULT_BYTES_MAX, TOOL_ROWS_MAX, TOOL_TEXT_BYTES_MAX};

pub(super) fn answer(document: &Value, query: &str) -> Result<Value, String> {
    let parsed;
    let document = match document {
        Value::String(text) if text.len() > TOOL_TEXT_BYTES_MAX => {
            return Err(format!("/json: it has {} bytes, a query takes {TOOL_TEXT_BYTES_MAX}", text.len()));
        }
        Value::String(text) => {
            parsed = serde_json::from_str::<Value>(text).map_err(|error| format!("/json: this text is no JSON: {error}"))?;
            &parsed
        }
        value => value,
    };
    let path = Path::parse(query).map_err(|why| format!("/query: {why}"))?;
    let found = path.find(document)?;
    let (mut values, mut bytes) = (Vec::new(), 0);
    for value in &found {
        bytes += value.to_string().len();
        if values.len() == TOOL_ROWS_MAX || bytes > TOOL_RESULT_BYTES_MAX {
            break;
        }
        values.push((*value).clone());
    }
    let is_cut = values.len() < found.len();
    Ok(json!({ "count": found.len(), "values": values, "truncated": is_cut }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_values_are_both_asked() {
        let all = json!({ "count": 2, "values": [1, 2], "truncated": false });
        assert_eq!(answer(&json!("[1,2]"), "$[*]").unwrap(), all);
        assert_eq!(answer(&json!([1, 2]), "$[*]").unwrap(), all);
        assert!(answer(&json!("nonsense"), "$").unwrap_err().contains("/json"));
        assert!(answer(&json!({}), "$[").unwrap_err().contains("/query"));
    }

    #[test]
    fn what_is_found_is_cut_at_a_bound() {
        let many: Vec<u32> = (0..1_000).collect();
        let found = answer(&json!(many), "$[*]").unwrap();
        assert_eq!((&found["count"], &found["truncated"]), (&json!(1_000), &json!(true)));
        assert_eq!(found["values"].as_array().unwrap().len(), TOOL_ROWS_MAX);
        let large = json!(["x".repeat(TOOL_RESULT_BYTES_MAX), 1]);
        assert_eq!(answer(&large, "$[*]").unwrap()["values"], json!([]));
    }
}
