//! Reads an agent from disk: a folder with its manifest, or a bare `.js` or `.wasm`.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::say;
use crate::domain::limits::CODE_BYTES_MAX;
use crate::domain::manifest::{MANIFEST_FILE, Manifest, RuntimeKind, is_name, name_like};
use crate::services::agents::Upload;

/// Reads a file of at most the largest upload's size.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    file.take(CODE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(read(path)?).with_context(|| format!("{} is no UTF-8 text", path.display()))
}

fn read_where_there(path: &Path) -> anyhow::Result<Option<String>> {
    if path.is_file() { read_text(path).map(Some) } else { Ok(None) }
}

/// The agent at `path`.
pub fn agent(path: &Path) -> anyhow::Result<Upload> {
    if path.is_dir() { folder(path) } else { bare(path) }
}

/// The agents that `upload`, read from `path`, may start, and those that they may start in turn: each from the folder of its name
/// beside it. A name without a folder is left out, and told.
pub fn children(path: &Path, upload: &Upload) -> anyhow::Result<Vec<Upload>> {
    let place = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
    let Some(beside) = place.parent() else { return Ok(Vec::new()) };
    let Ok(own) = Manifest::parse(&upload.manifest) else {
        return Ok(Vec::new());
    };
    let mut known = vec![own.name];
    let mut wanted = own.capabilities.agents;
    let mut found = Vec::new();
    while let Some(name) = wanted.pop() {
        if known.contains(&name) {
            continue;
        }
        let folder = beside.join(&name);
        if is_name(&name) && folder.join(MANIFEST_FILE).is_file() {
            let child = self::folder(&folder)?;
            if let Ok(manifest) = Manifest::parse(&child.manifest) {
                wanted.extend(manifest.capabilities.agents);
            }
            found.push(child);
        } else {
            say(&format!(
                "the agent may start “{name}”, but there is no agent in {}; starting it will fail",
                folder.display()
            ));
        }
        known.push(name);
    }
    Ok(found)
}

fn folder(path: &Path) -> anyhow::Result<Upload> {
    let manifest_path = path.join(MANIFEST_FILE);
    if !manifest_path.is_file() {
        bail!(
            "{} has no {MANIFEST_FILE}; name a folder that has one, or a .js or .wasm file",
            path.display()
        );
    }
    let manifest = read_text(&manifest_path)?;
    // What is wrong with the manifest is reported with its place by the check that follows.
    let parsed = Manifest::parse(&manifest).ok();
    let code = parsed
        .as_ref()
        .map_or_else(|| Ok(Vec::new()), |parsed| read(&path.join(&parsed.entry)))?;
    let input_schema = match parsed.as_ref().and_then(|parsed| parsed.input.as_ref()) {
        Some(file) => read_where_there(&path.join(file))?,
        None => None,
    };
    Ok(Upload {
        manifest,
        code,
        input_schema,
        readme: read_where_there(&path.join("README.md"))?,
        sample_input: read_where_there(&path.join("sample.json"))?,
    })
}

fn bare(path: &Path) -> anyhow::Result<Upload> {
    let runtime = match path.extension().and_then(|extension| extension.to_str()) {
        Some("js") => RuntimeKind::Javascript,
        Some("wasm") => RuntimeKind::Component,
        _ => bail!(
            "{} is neither a folder with an {MANIFEST_FILE} nor a .js or .wasm file",
            path.display()
        ),
    };
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let suffix = if runtime == RuntimeKind::Javascript { "js" } else { "wasm" };
    let name = name_like(stem);
    let manifest = Manifest::bare(&name, runtime, &format!("{name}.{suffix}"));
    let manifest = toml::to_string(&manifest).context("the default manifest cannot be written")?;
    Ok(Upload {
        manifest,
        code: read(path)?,
        ..Upload::default()
    })
}
