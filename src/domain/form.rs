//! A form agent: instructions, a model, tools and limits, with no code of its own. The form's values stand in the manifest, under
//! `[form]` and where every agent has them (`capabilities`, `limits`); source and input schema are made from the manifest.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::failure::codes;
use super::manifest::Manifest;

/// Replies of the model in one run, where the form does not say.
pub const TURNS_DEFAULT: u32 = 12;
pub const TURNS_MAX: u32 = 200;
/// One reply for the tools, one for the answer.
pub const TURNS_MIN: u32 = 2;
pub const INSTRUCTIONS_BYTES_MAX: usize = 32 * 1024;
pub const FIELDS_MAX: usize = 20;
const FIELD_NAME_BYTES_MAX: usize = 32;
const FIELD_TITLE_BYTES_MAX: usize = 80;
/// The only input where the form names none.
const TASK: &str = "task";
/// What the source of every form agent begins with.
const MADE: &str = "// Made from this agent’s form: change it there. To go on by hand, choose “Turn into code” on the form.\n\n";

/// A tool that forms offer, and what it does in a person's words.
pub struct Offered {
    /// The tools that come with one choice.
    pub tools: &'static [&'static str],
    pub title: &'static str,
    pub words: &'static str,
}

/// What forms offer. The tools for memory come together.
pub const OFFERED: [Offered; 7] = [
    Offered {
        tools: &["http_request"],
        title: "Web requests",
        words: "Sends requests to the hosts listed below, and nowhere else.",
    },
    Offered {
        tools: &["html_to_text"],
        title: "HTML to text",
        words: "Reads a web page as a person would see it.",
    },
    Offered {
        tools: &["markdown_to_text"],
        title: "Markdown to text",
        words: "Takes the marks out of Markdown.",
    },
    Offered {
        tools: &["text_search"],
        title: "Search in text",
        words: "Finds passages in a long text.",
    },
    Offered {
        tools: &["json_query"],
        title: "Query JSON",
        words: "Picks values out of JSON.",
    },
    Offered {
        tools: &["calculator"],
        title: "Calculator",
        words: "Computes exactly, so that the model need not guess.",
    },
    Offered {
        tools: &["memory_get", "memory_put", "memory_search"],
        title: "Memory",
        words: "Remembers things from run to run.",
    },
];

codes! {
    /// What a field of the input takes.
    FieldKind {
        Text = "text",
        LongText = "long-text",
        Number = "number",
        YesNo = "yes-no",
    }
}

/// One field of the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// `a`–`z`, digits and `_`.
    pub name: String,
    pub title: String,
    pub kind: FieldKind,
    #[serde(default)]
    pub required: bool,
}

impl Field {
    fn task() -> Self {
        Self {
            name: TASK.to_owned(),
            title: "Task".to_owned(),
            kind: FieldKind::LongText,
            required: true,
        }
    }
}

/// The manifest's `[form]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Form {
    /// What the model is told first.
    pub instructions: String,
    /// Replies of the model in one run.
    #[serde(default = "Form::default_turns")]
    pub turns: u32,
    /// Tokens of one reply; the station's own cap where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u32>,
    /// Millionths of a dollar after which a run answers with what it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    #[serde(default = "Form::default_fields")]
    pub fields: Vec<Field>,
}

impl Form {
    const fn default_turns() -> u32 {
        TURNS_DEFAULT
    }

    /// One text, “Task”.
    pub fn default_fields() -> Vec<Field> {
        vec![Field::task()]
    }

    /// What is wrong, each with the key it is about.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.instructions.trim().is_empty() || self.instructions.len() > INSTRUCTIONS_BYTES_MAX {
            found.push((
                "instructions",
                format!("form.instructions must be text of at most {INSTRUCTIONS_BYTES_MAX} bytes: say what the agent is to do"),
            ));
        }
        if !(TURNS_MIN..=TURNS_MAX).contains(&self.turns) {
            found.push((
                "turns",
                format!("form.turns must be between {TURNS_MIN} and {TURNS_MAX}, not {}", self.turns),
            ));
        }
        if self.output_tokens == Some(0) {
            found.push(("output-tokens", "form.output-tokens must be 1 or more".to_owned()));
        }
        if self.cost_micros == Some(0) {
            found.push(("cost-micros", "form.cost-micros must be 1 or more".to_owned()));
        }
        if self.fields.is_empty() || self.fields.len() > FIELDS_MAX {
            found.push(("fields", format!("form.fields must have 1 to {FIELDS_MAX} fields")));
        }
        for (i, field) in self.fields.iter().enumerate() {
            if !is_field_name(&field.name) {
                found.push((
                    "fields",
                    format!(
                        "form.fields: “{}” is no name of a field: use at most {FIELD_NAME_BYTES_MAX} of a–z, 0–9 and “_”, beginning with a letter",
                        field.name
                    ),
                ));
            }
            if field.title.trim().is_empty() || field.title.len() > FIELD_TITLE_BYTES_MAX || field.title.contains(char::is_control) {
                found.push((
                    "fields",
                    format!(
                        "form.fields: the title of “{}” must be one line of at most {FIELD_TITLE_BYTES_MAX} bytes",
                        field.name
                    ),
                ));
            }
            if self.fields.iter().take(i).any(|before| before.name == field.name) {
                found.push(("fields", format!("form.fields: “{}” is there twice", field.name)));
            }
        }
        found
    }

    /// JSON Schema of the input, its fields in the order of the form.
    pub fn input_schema(&self) -> String {
        let property = |field: &Field| {
            let least = u32::from(field.required);
            let more = match field.kind {
                FieldKind::Text => format!("\"type\": \"string\", \"minLength\": {least}"),
                FieldKind::LongText => format!("\"type\": \"string\", \"format\": \"textarea\", \"minLength\": {least}"),
                FieldKind::Number => "\"type\": \"number\"".to_owned(),
                FieldKind::YesNo => "\"type\": \"boolean\", \"default\": false".to_owned(),
            };
            format!("    {}: {{ \"title\": {}, {more} }}", quoted(&field.name), quoted(&field.title))
        };
        let properties: Vec<String> = self.fields.iter().map(property).collect();
        let required: Vec<String> = self
            .fields
            .iter()
            .filter(|field| field.required)
            .map(|field| quoted(&field.name))
            .collect();
        format!(
            "{{\n  \"type\": \"object\",\n  \"required\": [{}],\n  \"additionalProperties\": false,\n  \"properties\": {{\n{}\n  }}\n}}\n",
            required.join(", "),
            properties.join(",\n")
        )
    }

    /// The agent's source. `manifest` is the one that this form is in.
    pub fn source(&self, manifest: &Manifest) -> String {
        let granted = &manifest.capabilities;
        let mut source = MADE.to_owned();
        source.push_str("const INSTRUCTIONS = ");
        source.push_str(&lines(&self.instructions));
        source.push_str(";\n\n");
        if !granted.secrets.is_empty() {
            let told = format!(
                "\n\nWhere a request needs a secret, write {{{{secret:NAME}}}} into the value of a header or into the body; the station puts the value in. Names: {}.",
                granted.secrets.join(", ")
            );
            _ = writeln!(
                source,
                "// It knows the names of secrets, and never a value.\nconst SECRETS = {};\n",
                quoted(&told)
            );
        }
        let input = if let [
            Field {
                name,
                kind: FieldKind::Text | FieldKind::LongText,
                required: true,
                ..
            },
        ] = self.fields.as_slice()
        {
            format!("input.{name}")
        } else {
            source.push_str("// Name and title of each field of the input.\nconst FIELDS = [\n");
            for field in &self.fields {
                _ = writeln!(source, "  [{}, {}],", quoted(&field.name), quoted(&field.title));
            }
            source.push_str("];\n\n");
            source.push_str(
                "function task(input) {\n  const given = FIELDS.filter(([name]) => input[name] !== undefined && input[name] !== \"\");\n  \
                 return given.map(([name, title]) => `${title}: ${input[name]}`).join(\"\\n\") || \"Begin.\";\n}\n\n",
            );
            "task(input)".to_owned()
        };
        let model = granted.models.first().map_or("default", String::as_str);
        let tools: Vec<String> = granted.tools.iter().map(|tool| quoted(tool)).collect();
        source.push_str("export default async function run(input, station) {\n  const result = await station.models.runTools({\n");
        _ = writeln!(
            source,
            "    instructions: INSTRUCTIONS{},\n    input: {input},\n    model: {},",
            if granted.secrets.is_empty() { "" } else { " + SECRETS" },
            quoted(model)
        );
        _ = writeln!(source, "    tools: [{}],\n    maxTurns: {},", tools.join(", "), self.turns);
        if let Some(micros) = self.cost_micros {
            _ = writeln!(source, "    maxCostMicros: {micros},");
        }
        if let Some(tokens) = self.output_tokens {
            _ = writeln!(source, "    maxOutputTokens: {tokens},");
        }
        source.push_str(
            "  });\n  return { answer: result.output, stopped: result.stopped, turns: result.turns, toolCalls: result.toolCalls, costMicros: result.costMicros };\n}\n",
        );
        source
    }
}

/// The same source without the line that says where it is from: its author goes on by hand.
pub fn by_hand(source: &str) -> &str {
    source.strip_prefix(MADE).unwrap_or(source)
}

/// A text as JavaScript, a line a line.
fn lines(text: &str) -> String {
    let mut lines = text.lines().map(quoted);
    match (lines.next(), lines.next()) {
        (None, _) => "\"\"".to_owned(),
        (Some(only), None) => only,
        (Some(first), Some(second)) => {
            let all: Vec<String> = [first, second]
                .into_iter()
                .chain(lines)
                .map(|line| format!("  {line},\n"))
                .collect();
            format!("[\n{}].join(\"\\n\")", all.concat())
        }
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn is_field_name(name: &str) -> bool {
    name.len() <= FIELD_NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// A name for a field with this title.
pub fn field_name(title: &str) -> String {
    let mut name = String::new();
    for c in title.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_lowercase() || (c.is_ascii_digit() && !name.is_empty()) {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
        if name.len() == FIELD_NAME_BYTES_MAX {
            break;
        }
    }
    let name = name.trim_end_matches('_');
    if name.is_empty() { "field".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests;
