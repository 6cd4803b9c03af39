//! A request in Anthropic's words.

use serde_json::{Map, Value, json};

use crate::domain::chat::{ChatMessage, ChatRequest, ChatRole};
use crate::domain::failure::{Failure, FailureCode};

/// The tool whose arguments are the reply that fits a schema.
const REPLY_TOOL: &str = "station_reply";
/// Where a schema is of something else than an object, which arguments always are.
const WRAPPED: &str = "value";
/// Temperatures of others go to 2.
const TEMPERATURE_MAX: f64 = 1.0;

/// How the reply that fits a schema comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplyTool {
    pub name: String,
    /// The field of the arguments that is the reply; the arguments themselves where there is none.
    pub field: Option<&'static str>,
}

/// The tool that carries the reply, where a schema is given.
pub(super) fn reply_tool(request: &ChatRequest) -> Option<ReplyTool> {
    let schema = request.response_schema.as_deref()?;
    let mut name = REPLY_TOOL.to_owned();
    while request.tools.iter().any(|tool| tool.name == name) {
        name.push('_');
    }
    let is_object = serde_json::from_str::<Value>(schema).is_ok_and(|schema| schema.get("type") == Some(&Value::from("object")));
    Some(ReplyTool {
        name,
        field: (!is_object).then_some(WRAPPED),
    })
}

/// The request's JSON.
///
/// # Errors
/// A schema that is no JSON.
pub(super) fn request(request: &ChatRequest, model: &str, cap: u32) -> Result<Vec<u8>, Failure> {
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| _ = body.insert(name.to_owned(), value);
    set("model", model.into());
    set("max_tokens", cap.into());
    set("stream", true.into());
    let (system, messages) = conversation(request);
    set("messages", messages);
    if !system.is_empty() {
        set("system", system.into());
    }
    let mut tools = Vec::new();
    for tool in &request.tools {
        let schema = parse(&tool.parameters, || format!("the parameters of the tool {}", tool.name))?;
        tools.push(json!({ "name": tool.name, "description": tool.description, "input_schema": schema }));
    }
    let choice = request.tool_choice.as_deref();
    let named = |name: &str| json!({ "type": "tool", "name": name, "disable_parallel_tool_use": true });
    let mut tool_choice = match choice {
        None => None,
        Some(word @ ("auto" | "none")) => Some(json!({ "type": word })),
        Some("required") => Some(json!({ "type": "any" })),
        Some(name) => Some(json!({ "type": "tool", "name": name })),
    };
    if let (Some(reply), Some(schema)) = (reply_tool(request), &request.response_schema) {
        let schema = parse(schema, || "the response schema".to_owned())?;
        let description = "Replies to the user. Call it, once, with the whole reply.";
        tools.push(json!({ "name": reply.name, "description": description, "input_schema": wrapped(schema, reply.field) }));
        match choice {
            None | Some("auto" | "required") if !request.tools.is_empty() => tool_choice = Some(json!({ "type": "any" })),
            None | Some("auto" | "required" | "none") => tool_choice = Some(named(&reply.name)),
            Some(_) => {}
        }
    }
    if !tools.is_empty() {
        set("tools", tools.into());
        if let Some(choice) = tool_choice {
            set("tool_choice", choice);
        }
    }
    if let Some(temperature) = request.temperature {
        set("temperature", temperature.min(TEMPERATURE_MAX).into());
    }
    if !request.stop.is_empty() {
        set("stop_sequences", request.stop.clone().into());
    }
    Ok(Value::Object(body).to_string().into_bytes())
}

/// The schema of arguments with the reply in a field; what the schema refers to is moved along with its root.
fn wrapped(mut schema: Value, field: Option<&str>) -> Value {
    let Some(field) = field else { return schema };
    let mut outer = Map::new();
    for name in ["$defs", "definitions"] {
        if let Some(definitions) = schema.as_object_mut().and_then(|schema| schema.remove(name)) {
            outer.insert(name.to_owned(), definitions);
        }
    }
    outer.insert("type".to_owned(), "object".into());
    outer.insert("required".to_owned(), json!([field]));
    outer.insert("additionalProperties".to_owned(), false.into());
    outer.insert("properties".to_owned(), json!({ field: schema }));
    outer.into()
}

/// The system's words, and messages of user and assistant in turns: results of tools stand in the user's.
fn conversation(request: &ChatRequest) -> (String, Value) {
    let mut system = Vec::new();
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in &request.messages {
        let (role, blocks) = match message.role {
            ChatRole::System => {
                system.push(message.content.as_str());
                continue;
            }
            ChatRole::User => ("user", text(&message.content)),
            ChatRole::Assistant => ("assistant", assistant(message)),
            ChatRole::Tool => ("user", vec![result(message)]),
        };
        match turns.last_mut() {
            Some((last, all)) if *last == role => all.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    turns.retain(|(_, blocks)| !blocks.is_empty());
    let mut system = system.join("\n\n");
    if turns.is_empty() {
        // There must be a message.
        turns.push(("user", text(&std::mem::take(&mut system))));
    }
    let messages = turns.into_iter().map(|(role, content)| json!({ "role": role, "content": content }));
    (system, messages.collect())
}

/// Text without words is refused.
fn text(content: &str) -> Vec<Value> {
    if content.trim().is_empty() {
        return Vec::new();
    }
    vec![json!({ "type": "text", "text": content })]
}

fn assistant(message: &ChatMessage) -> Vec<Value> {
    // A last message of the assistant's may not end in space.
    let mut blocks = text(message.content.trim_end());
    for call in &message.tool_calls {
        let input = match serde_json::from_str(&call.arguments) {
            Ok(Value::Object(arguments)) => Value::Object(arguments),
            _ => json!({ "arguments": call.arguments }),
        };
        blocks.push(json!({ "type": "tool_use", "id": id(&call.id), "name": call.name, "input": input }));
    }
    blocks
}

fn result(message: &ChatMessage) -> Value {
    let to = id(message.tool_call_id.as_deref().unwrap_or_default());
    json!({ "type": "tool_result", "tool_use_id": to, "content": message.content })
}

/// An id in the letters that are allowed; others may have made it.
fn id(text: &str) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
            c
        } else {
            '_'
        }
    };
    let id: String = text.chars().map(allowed).collect();
    if id.is_empty() { "_".to_owned() } else { id }
}

fn parse(text: &str, what: impl Fn() -> String) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::new(FailureCode::Invalid, format!("{} cannot be read: {error}", what())))
}
