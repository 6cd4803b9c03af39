//! The example agents and the scripted model's answers that are built into the program.

use rust_embed::RustEmbed;

use crate::domain::manifest::{MANIFEST_FILE, Manifest};
use crate::services::agents::Upload;

#[derive(RustEmbed)]
#[folder = "examples"]
#[include = "agents/*/*.toml"]
#[include = "agents/*/*.js"]
#[include = "agents/*/*.json"]
#[include = "agents/*/*.md"]
#[include = "agents/*/*.wasm"]
#[include = "scripted.toml"]
#[exclude = "agents/*/Cargo.toml"]
struct Examples;

fn text(path: &str) -> Option<String> {
    Examples::get(path).and_then(|file| String::from_utf8(file.data.into_owned()).ok())
}

/// The rules of the scripted model.
pub fn scripted_rules() -> String {
    text("scripted.toml").unwrap_or_default()
}

/// The example agents by the name of their folder.
pub fn agents() -> Vec<(String, Upload)> {
    let suffix = format!("/{MANIFEST_FILE}");
    let names = Examples::iter().filter_map(|path| Some(path.strip_prefix("agents/")?.strip_suffix(&suffix)?.to_owned()));
    let mut agents: Vec<(String, Upload)> = names.filter_map(|name| agent(&name).map(|upload| (name, upload))).collect();
    agents.sort_by(|a, b| a.0.cmp(&b.0));
    agents
}

fn agent(name: &str) -> Option<Upload> {
    let file = |file: &str| format!("agents/{name}/{file}");
    let manifest_text = text(&file(MANIFEST_FILE))?;
    let manifest = Manifest::parse(&manifest_text).ok()?;
    Some(Upload {
        code: Examples::get(&file(&manifest.entry))?.data.into_owned(),
        input_schema: manifest.input.as_deref().and_then(|schema| text(&file(schema))),
        readme: text(&file("README.md")),
        sample_input: text(&file("sample.json")),
        manifest: manifest_text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_folder_is_an_agent() {
        let folders = std::fs::read_dir("examples/agents").unwrap().count();
        assert_eq!(agents().len(), folders);
    }
}
