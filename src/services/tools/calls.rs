//! The tools that stand for another call: that call's answer as the tool's.

use serde_json::{Map, Value, json};

use super::{cut, html};
use crate::domain::call::{Body, CallResult, HttpResponse, MemoryEntry, Reply};
use crate::domain::tool::TOOL_RESULT_BYTES_MAX;

/// Bytes of the headers that a request's answer keeps, and of one of them.
const HEADERS_BYTES_MAX: usize = 8 * 1024;
const HEADER_BYTES_MAX: usize = 1024;
/// Bytes of each value that a search of the memory shows.
const FOUND_BYTES_MAX: usize = 2 * 1024;

/// What a tool's call answers where the call that it stands for answered so.
pub fn result_of(arguments: &Value, result: CallResult) -> CallResult {
    let reply = match result {
        CallResult::Ok(reply) => reply,
        failed @ CallResult::Failed(_) => return failed,
    };
    let answer = match reply {
        Reply::Http(response) => of_response(arguments, &response),
        Reply::MemoryEntry(found) => of_entry(found),
        Reply::MemoryVersion(version) => json!({ "key": arguments.get("key"), "version": version }),
        Reply::MemoryPage(page) => {
            let entries: Vec<Value> = page.entries.into_iter().map(found).collect();
            json!({ "count": entries.len(), "entries": entries })
        }
        other => return CallResult::Ok(other),
    };
    CallResult::Ok(Reply::ToolResult(answer.to_string()))
}

fn of_entry(entry: Option<MemoryEntry>) -> Value {
    let Some(entry) = entry else { return json!({ "found": false }) };
    let (value, is_cut) = cut(entry.value, TOOL_RESULT_BYTES_MAX);
    let mut answer = json!({ "found": true, "key": entry.key, "value": value, "version": entry.version });
    mark_cut(&mut answer, is_cut);
    answer
}

fn found(entry: MemoryEntry) -> Value {
    let (value, is_cut) = cut(entry.value, FOUND_BYTES_MAX);
    let mut answer = json!({ "key": entry.key, "value": value, "version": entry.version });
    mark_cut(&mut answer, is_cut);
    answer
}

fn mark_cut(answer: &mut Value, is_cut: bool) {
    if is_cut && let Some(answer) = answer.as_object_mut() {
        answer.insert("truncated".to_owned(), json!(true));
    }
}

/// Status, headers and body of an answer; of HTML the text, where the arguments want that.
pub fn of_response(arguments: &Value, response: &HttpResponse) -> Value {
    let mut headers = Map::new();
    let mut bytes = 0;
    for header in &response.headers {
        bytes += header.name.len() + header.value.len();
        if bytes > HEADERS_BYTES_MAX {
            break;
        }
        let (value, _) = cut(header.value.clone(), HEADER_BYTES_MAX);
        match headers.get_mut(&header.name) {
            Some(Value::String(before)) => *before = format!("{before}, {value}"),
            _ => _ = headers.insert(header.name.clone(), json!(value)),
        }
    }
    let mut answer = json!({ "status": response.status, "url": response.url, "headers": headers });
    let content = match &response.body {
        Body::Text(text) => {
            let wants_text = arguments.get("as_text").and_then(Value::as_bool).unwrap_or(false);
            let kind = response
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("content-type"));
            let is_html = kind.is_some_and(|kind| kind.value.to_ascii_lowercase().contains("html"));
            let (text, is_cut) = if wants_text && is_html {
                cut(html::to_text(text), TOOL_RESULT_BYTES_MAX)
            } else {
                cut(text.clone(), TOOL_RESULT_BYTES_MAX)
            };
            mark_cut(&mut answer, is_cut);
            ("body", json!(text))
        }
        body @ Body::Base64(_) => ("binary_bytes", json!(body.to_bytes().map_or(0, |bytes| bytes.len()))),
    };
    if let Some(answer) = answer.as_object_mut() {
        answer.insert(content.0.to_owned(), content.1);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::call::HttpHeader;

    fn response(kind: &str, body: Body) -> HttpResponse {
        HttpResponse {
            status: 200,
            headers: vec![HttpHeader {
                name: "content-type".to_owned(),
                value: kind.to_owned(),
            }],
            body,
            url: "https://a.example/".to_owned(),
        }
    }

    #[test]
    fn an_answer_is_status_headers_and_as_much_of_the_body_as_fits() {
        let page = response("text/html; charset=utf-8", Body::Text("<h1>Hi</h1><script>x</script>".to_owned()));
        let source = of_response(&json!({}), &page);
        assert_eq!(
            (&source["status"], &source["body"]),
            (&json!(200), &json!("<h1>Hi</h1><script>x</script>"))
        );
        assert_eq!(of_response(&json!({ "as_text": true }), &page)["body"], "Hi");
        let long = of_response(
            &json!({}),
            &response("text/plain", Body::Text("x".repeat(TOOL_RESULT_BYTES_MAX + 1))),
        );
        assert_eq!(long["truncated"], true);
        let picture = of_response(&json!({}), &response("image/png", Body::from_bytes(vec![0xff; 10])));
        assert_eq!((&picture["binary_bytes"], picture.get("body")), (&json!(10), None));
    }

    #[test]
    fn a_failure_stays_one() {
        let failed = CallResult::Failed(crate::domain::failure::Failure::new(
            crate::domain::failure::FailureCode::Denied,
            "no",
        ));
        assert_eq!(result_of(&json!({}), failed.clone()), failed);
    }
}
