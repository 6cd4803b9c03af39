//! The rules of the source tree that no compiler keeps: layers, who may name what, files that say what they own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each layer and those it may name.
const LAYERS: [(&str, &[&str]); 11] = [
    ("domain", &[]),
    ("config", &["domain"]),
    ("telemetry", &["domain", "config"]),
    ("crypto", &["domain"]),
    ("store", &["domain", "config", "telemetry", "crypto"]),
    ("net", &["domain", "config", "telemetry", "crypto"]),
    ("llm", &["domain", "config", "telemetry", "crypto", "net"]),
    ("runtime", &["domain", "config", "telemetry", "crypto"]),
    (
        "services",
        &["domain", "config", "telemetry", "crypto", "store", "net", "llm", "runtime"],
    ),
    ("web", &["domain", "config", "telemetry", "crypto", "store", "runtime", "services"]),
    (
        "cli",
        &[
            "domain",
            "config",
            "telemetry",
            "crypto",
            "store",
            "net",
            "llm",
            "runtime",
            "services",
            "web",
        ],
    ),
];

/// A crate and the layers that may name it.
const CRATES: [(&str, &[&str]); 18] = [
    ("rusqlite", &["store"]),
    ("r2d2", &["store"]),
    ("r2d2_sqlite", &["store"]),
    ("wasmtime", &["runtime"]),
    ("wasmparser", &["runtime"]),
    ("wit_component", &["runtime"]),
    ("actix_web", &["web"]),
    ("actix_ws", &["web"]),
    ("actix_multipart", &["web"]),
    ("askama", &["web"]),
    ("reqwest", &["net"]),
    ("lettre", &["net"]),
    ("webauthn_rs", &["crypto"]),
    ("totp_rs", &["crypto"]),
    ("qrcode", &["crypto"]),
    ("rustls", &["net"]),
    ("argon2", &["crypto"]),
    ("clap", &["cli"]),
];

/// Lines of a source file. A longer one holds two subjects.
const LINES_MAX: usize = 600;

fn files(root: &str, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(root)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(suffix) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn layer_of(path: &Path) -> Option<String> {
    let first = path.strip_prefix("src").ok()?.components().next()?;
    let name = first.as_os_str().to_string_lossy();
    let name = name.strip_suffix(".rs").unwrap_or(&name);
    LAYERS.iter().any(|(layer, _)| *layer == name).then(|| name.to_owned())
}

fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line.trim()))
        .filter(|(_, line)| !line.starts_with("//"))
}

#[test]
fn a_layer_names_only_layers_to_its_left() {
    let allowed: BTreeMap<&str, &[&str]> = LAYERS.into_iter().collect();
    let mut broken = Vec::new();
    for path in files("src", ".rs") {
        let Some(layer) = layer_of(&path) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in code_lines(&text) {
            for (other, _) in LAYERS {
                let names = line.contains(&format!("crate::{other}::")) || line.contains(&format!("use crate::{other};"));
                if names && other != layer && !allowed[layer.as_str()].contains(&other) {
                    broken.push(format!("{}:{number}: {layer} names {other}", path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_library_is_named_only_by_the_layer_that_owns_it() {
    let mut broken = Vec::new();
    for path in files("src", ".rs") {
        let Some(layer) = layer_of(&path) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in code_lines(&text) {
            for (name, owners) in CRATES {
                if line.contains(&format!("{name}::")) && !owners.contains(&layer.as_str()) {
                    broken.push(format!("{}:{number}: {layer} names {name}", path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_file_says_what_it_owns_and_keeps_to_one_subject() {
    let mut broken = Vec::new();
    for path in files("src", ".rs")
        .into_iter()
        .chain(files("tests", ".rs"))
        .chain(files("benches", ".rs"))
    {
        let text = fs::read_to_string(&path).unwrap();
        let is_test = path.ends_with("tests.rs");
        if !text.starts_with("//!") && !is_test {
            broken.push(format!("{}: does not begin with //!", path.display()));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            broken.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_module_is_called_by_what_it_is_not() {
    let vague = ["utils", "util", "helpers", "helper", "common", "manager", "misc", "mod"];
    let broken: Vec<_> = files("src", ".rs")
        .into_iter()
        .filter(|path| path.file_stem().is_some_and(|stem| vague.iter().any(|name| stem == *name)))
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn pages_have_no_inline_script_style_or_handler() {
    let mut broken = Vec::new();
    for path in files("templates", ".html") {
        let text = fs::read_to_string(&path).unwrap();
        for (i, line) in text.lines().enumerate() {
            let inline_script = line.contains("<script") && !line.contains("src=");
            let handler = ["onclick=", "onload=", "onsubmit=", "onchange=", "onerror="]
                .iter()
                .any(|name| line.contains(name));
            if inline_script
                || handler
                || line.contains(" style=")
                || line.contains("<style")
                || line.contains("|safe") && !line.contains("markdown")
            {
                broken.push(format!("{}:{}: {}", path.display(), i + 1, line.trim()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
