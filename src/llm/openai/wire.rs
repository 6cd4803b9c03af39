//! A request in OpenAI's words.

use serde_json::{Map, Value, json};

use crate::domain::chat::{ChatMessage, ChatRequest, ChatRole};
use crate::domain::failure::{Failure, FailureCode};

/// The request's JSON.
///
/// # Errors
/// A schema that is no JSON.
pub(super) fn request(request: &ChatRequest, model: &str, cap: u32, old_cap_name: bool) -> Result<Vec<u8>, Failure> {
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| _ = body.insert(name.to_owned(), value);
    set("model", model.into());
    set("messages", request.messages.iter().map(message).collect());
    set("stream", true.into());
    set("stream_options", json!({ "include_usage": true }));
    set(if old_cap_name { "max_tokens" } else { "max_completion_tokens" }, cap.into());
    if !request.tools.is_empty() {
        let mut tools = Vec::new();
        for tool in &request.tools {
            let parameters = parse(&tool.parameters, || format!("the parameters of the tool {}", tool.name))?;
            tools.push(json!({
                "type": "function",
                "function": { "name": tool.name, "description": tool.description, "parameters": parameters },
            }));
        }
        set("tools", tools.into());
        match request.tool_choice.as_deref() {
            None => {}
            Some(choice @ ("auto" | "none" | "required")) => set("tool_choice", choice.into()),
            Some(name) => set("tool_choice", json!({ "type": "function", "function": { "name": name } })),
        }
    }
    if let Some(schema) = &request.response_schema {
        let schema = parse(schema, || "the response schema".to_owned())?;
        let strict = is_strict(&schema);
        set(
            "response_format",
            json!({ "type": "json_schema", "json_schema": { "name": "reply", "strict": strict, "schema": schema } }),
        );
    }
    if let Some(temperature) = request.temperature {
        set("temperature", temperature.into());
    }
    if !request.stop.is_empty() {
        set("stop", request.stop.clone().into());
    }
    Ok(Value::Object(body).to_string().into_bytes())
}

fn message(message: &ChatMessage) -> Value {
    let mut out = Map::new();
    out.insert("role".to_owned(), message.role.as_str().into());
    let only_calls = message.content.is_empty() && !message.tool_calls.is_empty();
    out.insert(
        "content".to_owned(),
        if only_calls { Value::Null } else { message.content.as_str().into() },
    );
    if !message.tool_calls.is_empty() {
        let calls = message
            .tool_calls
            .iter()
            .map(|call| json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": call.arguments } }));
        out.insert("tool_calls".to_owned(), calls.collect());
    }
    if let (ChatRole::Tool, Some(id)) = (message.role, &message.tool_call_id) {
        out.insert("tool_call_id".to_owned(), id.as_str().into());
    }
    Value::Object(out)
}

fn parse(text: &str, what: impl Fn() -> String) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::new(FailureCode::Invalid, format!("{} cannot be read: {error}", what())))
}

/// Whether the schema is of the kind that OpenAI can enforce: every object closed, every property required.
fn is_strict(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => {
            let closed = match object.get("properties") {
                Some(Value::Object(properties)) => {
                    let required = object.get("required").and_then(Value::as_array);
                    object.get("additionalProperties") == Some(&Value::Bool(false))
                        && required.is_some_and(|required| properties.keys().all(|name| required.iter().any(|other| other == name)))
                }
                _ => object.get("type") != Some(&Value::from("object")),
            };
            closed && object.values().all(is_strict)
        }
        Value::Array(items) => items.iter().all(is_strict),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_closed_schemas_are_strict() {
        let closed =
            json!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"], "additionalProperties": false });
        assert!(is_strict(&closed));
        let mut open = closed.clone();
        open["additionalProperties"] = true.into();
        assert!(!is_strict(&open));
        let mut optional = closed.clone();
        optional["required"] = json!([]);
        assert!(!is_strict(&optional));
        assert!(!is_strict(&json!({ "type": "array", "items": optional })));
        assert!(!is_strict(&json!({ "type": "object" })));
    }
}
