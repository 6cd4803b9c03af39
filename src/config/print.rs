//! `serve --print-config`: the effective settings as TOML that can be read back, each with its source.

use std::fmt::Write as _;

use serde::Serialize as _;
use toml::{Table, Value};

use super::settings::{ApiKey, Model};
use super::{Config, Source};

pub(super) fn print(config: &Config) -> String {
    let table = Table::try_from(&config.settings).unwrap_or_default();
    let mut out = String::new();
    for (name, value) in table.iter().filter(|(_, value)| !value.is_table()) {
        line(&mut out, name, value, &config.source(name));
    }
    for (section, values) in &table {
        match values {
            Value::Table(models) if section == "models" => {
                for (name, _) in models {
                    if let Some(model) = config.models.get(name) {
                        print_model(&mut out, name, model, &config.source(&format!("models.{name}")));
                    }
                }
            }
            Value::Table(values) => {
                _ = writeln!(out, "\n[{section}]");
                for (name, value) in values {
                    line(&mut out, name, value, &config.source(&format!("{section}.{name}")));
                }
            }
            _ => {}
        }
    }
    out
}

fn line(out: &mut String, name: &str, value: &Value, source: &Source) {
    // Writing to a String cannot fail.
    _ = writeln!(out, "{name} = {} # {}", inline(value), in_words(source));
}

fn print_model(out: &mut String, name: &str, model: &Model, source: &Source) {
    _ = writeln!(out, "\n[models.{}] # {}", inline(&Value::String(name.to_owned())), in_words(source));
    for (name, value) in Table::try_from(model).unwrap_or_default() {
        _ = writeln!(out, "{name} = {}", inline(&value));
    }
    match model.api_key {
        ApiKey::None => {}
        ApiKey::Set(_) => out.push_str("# api key: (set)\n"),
        ApiKey::Missing(_) => out.push_str("# api key: (not set)\n"),
    }
}

/// A value on one line, tables included.
fn inline(value: &Value) -> String {
    let mut text = String::new();
    match value.serialize(toml::ser::ValueSerializer::new(&mut text)) {
        Ok(_) => text,
        Err(_) => value.to_string(),
    }
}

fn in_words(source: &Source) -> String {
    match source {
        Source::Default => "default".to_owned(),
        Source::File(path) => path.display().to_string(),
        Source::Environment(name) => (*name).to_owned(),
        Source::Flag(flag) => (*flag).to_owned(),
    }
}
