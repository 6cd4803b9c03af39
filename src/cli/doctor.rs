//! `doctor`: what stands in the way of a sound station, one line for each thing looked at.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::Serialize;

use super::args::Output;
use super::{Exit, data, station};
use crate::config::Config;
use crate::crypto::seal::MasterKey;
use crate::runtime::Sandbox;
use crate::runtime::components::compiler_fingerprint;
use crate::store::{self, Check};

/// Less free space than this stops runs before the disk is full.
const FREE_BYTES_WANTED: u64 = 256 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Problem,
}

#[derive(Serialize)]
struct Line {
    verdict: Verdict,
    what: &'static str,
    detail: String,
}

#[derive(Default)]
struct Report(Vec<Line>);

impl Report {
    fn add(&mut self, verdict: Verdict, what: &'static str, detail: impl Into<String>) {
        self.0.push(Line {
            verdict,
            what,
            detail: detail.into(),
        });
    }

    fn check(&mut self, good: bool, otherwise: Verdict, what: &'static str, detail: impl Into<String>) {
        self.add(if good { Verdict::Ok } else { otherwise }, what, detail);
    }
}

pub async fn doctor(config: Config, output: Output) -> anyhow::Result<Exit> {
    let mut report = Report::default();
    match config.validate() {
        Ok(()) => report.add(Verdict::Ok, "settings", "they fit each other"),
        Err(error) => report.add(Verdict::Problem, "settings", error.to_string()),
    }
    directory(&mut report, &config.data);
    sandbox(&mut report, config.runtime.slots);
    models(&mut report, &config);
    master_key(&mut report, &config);
    let cache = config.cache_dir();
    permissions(&mut report, "code cache", &cache);
    database(&mut report, &config).await;
    let Report(lines) = report;
    match output {
        Output::Json => data(&serde_json::to_string_pretty(&lines)?)?,
        Output::Text => {
            for line in &lines {
                let mark = match line.verdict {
                    Verdict::Ok => "ok     ",
                    Verdict::Warning => "warning",
                    Verdict::Problem => "PROBLEM",
                };
                data(&format!("{mark}  {:<14} {}", line.what, line.detail))?;
            }
        }
    }
    Ok(if lines.iter().any(|line| line.verdict == Verdict::Problem) {
        Exit::Failure
    } else {
        Exit::Success
    })
}

fn directory(report: &mut Report, path: &Path) {
    if !path.exists() {
        report.add(
            Verdict::Ok,
            "data directory",
            format!("{} is made at the first start", path.display()),
        );
        return;
    }
    permissions(report, "data directory", path);
    match rustix::fs::statvfs(path) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            report.check(
                free >= FREE_BYTES_WANTED,
                Verdict::Problem,
                "disk",
                format!("{} MiB free", free >> 20),
            );
        }
        Err(error) => report.add(Verdict::Problem, "disk", format!("the free space cannot be read: {error}")),
    }
}

fn permissions(report: &mut Report, what: &'static str, path: &Path) {
    match std::fs::metadata(path) {
        Ok(metadata) => {
            let mode = metadata.mode() & 0o777;
            let private = mode.trailing_zeros() >= 6;
            let advice = if private {
                String::new()
            } else {
                format!("; others can look into it: chmod 700 {}", path.display())
            };
            report.check(
                private,
                Verdict::Warning,
                what,
                format!("{} has mode {mode:o}{advice}", path.display()),
            );
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            report.add(Verdict::Ok, what, format!("{} is made when it is needed", path.display()));
        }
        Err(error) => report.add(Verdict::Problem, what, format!("{}: {error}", path.display())),
    }
}

/// Whether the key can be read at all; the database says below which one is expected.
fn master_key(report: &mut Report, config: &Config) {
    let source = config.master_key();
    match source.read().map(|bytes| bytes.map(|bytes| MasterKey::new(&bytes))) {
        Ok(Some(Ok(key))) => report.add(
            Verdict::Ok,
            "master key",
            format!("{} with the fingerprint {}", source.in_words(), key.fingerprint()),
        ),
        Ok(None) => report.add(
            Verdict::Ok,
            "master key",
            format!("{} is made at the first start", source.in_words()),
        ),
        Ok(Some(Err(error))) => report.add(Verdict::Problem, "master key", error.to_string()),
        Err(error) => report.add(Verdict::Problem, "master key", error.to_string()),
    }
}

/// Whether the key is the one that sealed what is in the database.
async fn sealing(report: &mut Report, config: &Config, store: &store::Store) {
    let expected = match store.read(store::station::master_key).await {
        Ok(expected) => expected,
        Err(error) => return report.add(Verdict::Problem, "master key", error.to_string()),
    };
    let Some(expected) = expected else { return };
    let found = config.master_key().read().ok().flatten();
    let found = found.and_then(|bytes| Some(MasterKey::new(&bytes).ok()?.fingerprint()));
    if found.as_ref() != Some(&expected) {
        report.add(
            Verdict::Problem,
            "master key",
            format!(
                "what is sealed needs the key with the fingerprint {expected}: put it into {}",
                config.master_key().in_words()
            ),
        );
    }
}

fn sandbox(report: &mut Report, slots: u32) {
    match (Sandbox::new(slots), compiler_fingerprint()) {
        (Ok(sandbox), Ok(compiler)) => {
            let engine = sandbox.fingerprint();
            report.check(engine == compiler, Verdict::Problem, "engine", format!("{engine}, {slots} slots"));
        }
        (Err(error), _) | (_, Err(error)) => report.add(Verdict::Problem, "engine", error.to_string()),
    }
}

fn models(report: &mut Report, config: &Config) {
    match crate::llm::Models::from_settings(&config.models) {
        Ok(models) => {
            let names: Vec<&str> = models.names().collect();
            let detail = if names.is_empty() {
                "none configured; agents that ask one fail".to_owned()
            } else {
                names.join(", ")
            };
            report.check(!names.is_empty(), Verdict::Warning, "models", detail);
        }
        Err(error) => report.add(Verdict::Problem, "models", error.to_string()),
    }
}

async fn database(report: &mut Report, config: &Config) {
    if !config.data.join(store::DATABASE_FILE).exists() {
        report.add(Verdict::Ok, "database", "is made at the first start");
        return;
    }
    let store = match station::store(config) {
        Ok(store) => store,
        Err(error) => {
            let locked = error
                .downcast_ref::<store::Error>()
                .is_some_and(|error| matches!(error, store::Error::Locked(_)));
            let verdict = if locked { Verdict::Warning } else { Verdict::Problem };
            report.add(verdict, "database", format!("{error:#}"));
            return;
        }
    };
    sealing(report, config, &store).await;
    match store.integrity(Check::Full).await {
        Ok(problems) if problems.is_empty() => report.add(Verdict::Ok, "integrity", format!("schema {}", store::SCHEMA_VERSION)),
        Ok(problems) => report.add(Verdict::Problem, "integrity", problems.join("; ")),
        Err(error) => report.add(Verdict::Problem, "integrity", error.to_string()),
    }
    match store.pragmas().await {
        Ok(pragmas) => {
            let text: Vec<String> = pragmas.iter().map(|(name, value)| format!("{name}={value}")).collect();
            report.add(Verdict::Ok, "pragmas", text.join(" "));
        }
        Err(error) => report.add(Verdict::Problem, "pragmas", error.to_string()),
    }
    match store.sizes().await {
        Ok(sizes) => report.add(
            Verdict::Ok,
            "size",
            format!(
                "{} KiB, log {} KiB, free within {} KiB",
                sizes.database_bytes >> 10,
                sizes.log_bytes >> 10,
                sizes.free_bytes >> 10
            ),
        ),
        Err(error) => report.add(Verdict::Problem, "size", error.to_string()),
    }
    if let Err(error) = store.close().await {
        report.add(Verdict::Problem, "database", error.to_string());
    }
}
