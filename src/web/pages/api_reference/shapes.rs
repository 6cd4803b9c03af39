//! The shapes of bodies: JSON Schema as lines that people read.

use serde_json::{Map, Value};

/// How deep an example goes.
const EXAMPLE_DEPTH_MAX: u32 = 3;

/// A named shape.
pub struct Shape {
    pub name: String,
    pub about: String,
    pub fields: Vec<Field>,
    /// What it is where it has no fields.
    pub kind: String,
}

pub struct Field {
    pub name: String,
    /// In words, such as `list of RunBody`.
    pub kind: String,
    /// The named shape in it, where there is one.
    pub shape: String,
    pub required: bool,
    pub about: String,
}

pub fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

/// What `value` refers to, or itself.
pub fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(reference) = value.get("$ref").and_then(Value::as_str) else {
        return value;
    };
    let found = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
    found.unwrap_or(&Value::Null)
}

pub fn all(document: &Value) -> Vec<Shape> {
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
    schemas
        .into_iter()
        .flatten()
        .map(|(name, schema)| Shape {
            name: name.clone(),
            about: text(schema.get("description")).to_owned(),
            fields: fields_of(document, schema),
            kind: kind_of(schema),
        })
        .collect()
}

/// The named shape that a schema is, holds or is a list of; empty where there is none.
pub fn shape_of(schema: &Value) -> String {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return reference.rsplit('/').next().unwrap_or_default().to_owned();
    }
    let inner = schema
        .get("items")
        .or_else(|| alternatives(schema).iter().find(|one| one.get("$ref").is_some()));
    inner.map(shape_of).unwrap_or_default()
}

fn alternatives(schema: &Value) -> &[Value] {
    let of = |key| schema.get(key).and_then(Value::as_array);
    of("oneOf")
        .or_else(|| of("anyOf"))
        .or_else(|| of("allOf"))
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// A schema in a few words.
pub fn kind_of(schema: &Value) -> String {
    let named = schema.get("$ref").and_then(Value::as_str);
    if let Some(reference) = named {
        return reference.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<String> = values.iter().map(Value::to_string).collect();
        return values.join(" or ");
    }
    let is_null = |one: &&Value| one.get("type").and_then(Value::as_str) != Some("null");
    let one_of: Vec<String> = alternatives(schema).iter().filter(is_null).map(kind_of).collect();
    if !one_of.is_empty() {
        return one_of.join(" or ");
    }
    let types = match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect(),
        _ => Vec::new(),
    };
    match types.as_slice() {
        [] => "anything".to_owned(),
        ["array"] => format!("list of {}", schema.get("items").map_or_else(|| "anything".to_owned(), kind_of)),
        ["string"] if text(schema.get("format")) == "binary" => "bytes".to_owned(),
        many => many.join(" or "),
    }
}

/// The fields of an object, required ones first.
pub fn fields_of(document: &Value, schema: &Value) -> Vec<Field> {
    let schema = resolve(document, schema);
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let mut fields: Vec<Field> = properties
        .map(|(name, property)| Field {
            name: name.clone(),
            kind: kind_of(property),
            shape: shape_of(property),
            required: required.contains(&name.as_str()),
            about: text(property.get("description")).to_owned(),
        })
        .collect();
    fields.sort_by_key(|field| !field.required);
    fields
}

/// A body with the required fields only, as JSON on one line that a shell takes in single quotes.
pub fn example(document: &Value, schema: &Value) -> String {
    example_of(document, schema, 0).to_string().replace('\'', "’")
}

fn example_of(document: &Value, schema: &Value, depth: u32) -> Value {
    let schema = resolve(document, schema);
    if let Some(given) = schema.get("example").or_else(|| schema.get("default")) {
        return given.clone();
    }
    if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|values| values.first()) {
        return first.clone();
    }
    if let Some(first) = alternatives(schema).first().filter(|_| depth < EXAMPLE_DEPTH_MAX) {
        return example_of(document, first, depth + 1);
    }
    let kind = kind_of(schema);
    match kind.as_str() {
        "string" => Value::from("…"),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(Value::from(1)),
        "boolean" => Value::from(true),
        kind if kind.starts_with("list of") => {
            let item = schema.get("items").filter(|_| depth < EXAMPLE_DEPTH_MAX);
            Value::Array(item.map(|item| example_of(document, item, depth + 1)).into_iter().collect())
        }
        _ => {
            let mut object = Map::new();
            if depth < EXAMPLE_DEPTH_MAX {
                let properties = schema.get("properties").and_then(Value::as_object);
                for field in fields_of(document, schema).iter().filter(|field| field.required) {
                    let property = properties.and_then(|all| all.get(&field.name)).unwrap_or(&Value::Null);
                    object.insert(field.name.clone(), example_of(document, property, depth + 1));
                }
            }
            Value::Object(object)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_told_in_words() {
        for (schema, kind) in [
            (json!({"type": "string"}), "string"),
            (json!({"type": ["integer", "null"]}), "integer"),
            (
                json!({"type": "array", "items": {"$ref": "#/components/schemas/RunBody"}}),
                "list of RunBody",
            ),
            (
                json!({"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/UsageBody"}]}),
                "UsageBody",
            ),
            (json!({"type": "string", "enum": ["a", "b"]}), "\"a\" or \"b\""),
            (json!({}), "anything"),
        ] {
            assert_eq!(kind_of(&schema), kind);
        }
        assert_eq!(
            shape_of(&json!({"type": "array", "items": {"$ref": "#/components/schemas/RunBody"}})),
            "RunBody"
        );
    }

    #[test]
    fn an_example_has_what_is_required_and_ends_even_where_a_shape_holds_itself() {
        let document = json!({"components": {"schemas": {"Tree": {"type": "object", "required": ["name", "child"], "properties": {
            "name": {"type": "string"}, "more": {"type": "string"}, "child": {"$ref": "#/components/schemas/Tree"},
        }}}}});
        let made = example(&document, &json!({"$ref": "#/components/schemas/Tree"}));
        assert!(made.starts_with("{\"child\":{\"child\":") && !made.contains("more"), "{made}");
    }
}
