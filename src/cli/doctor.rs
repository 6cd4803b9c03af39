//! `doctor`: what stands in the way of a sound station, one line for each thing looked at.

use super::args::Output;
use super::{Exit, data, station};
use crate::config::Config;
use crate::domain::provider::Preset;
use crate::domain::time::{Clock as _, SystemClock};
use crate::runtime::Sandbox;
use crate::runtime::components::compiler_fingerprint;
use crate::services::security_check::{Finding, Verdict, findings};
use crate::store::providers::{self, Stored};
use crate::store::{self, Check, Store};
use crate::telemetry::text;

#[derive(Default)]
struct Report(Vec<Finding>);

impl Report {
    fn ok(&mut self, what: &'static str, detail: impl Into<String>) {
        self.0.push(Finding::ok(what, detail));
    }

    fn warning(&mut self, what: &'static str, detail: impl Into<String>, advice: &str) {
        self.0.push(Finding::warning(what, detail, advice));
    }

    fn problem(&mut self, what: &'static str, detail: impl Into<String>, advice: &str) {
        self.0.push(Finding::problem(what, detail, advice));
    }
}

pub async fn doctor(config: Config, output: Output) -> anyhow::Result<Exit> {
    let mut report = Report::default();
    match config.validate() {
        Ok(()) => report.ok("settings", "they fit each other"),
        Err(error) => report.problem("settings", error.to_string(), "Change what it names."),
    }
    sandbox(&mut report, config.runtime.slots);
    let store = opened(&mut report, &config).await;
    models(&mut report, &config, store.as_ref()).await;
    report.0.extend(findings(&config, store.as_ref(), SystemClock.now()).await);
    if let Some(store) = store {
        database(&mut report, store).await;
    }
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
                let advice = line.advice.as_ref().map(|advice| format!(". {advice}")).unwrap_or_default();
                let said = format!("{}{advice}", line.detail);
                data(&format!("{mark}  {:<19} {}", line.what, text::one_line(&said)))?;
            }
        }
    }
    Ok(if lines.iter().any(|line| line.verdict == Verdict::Problem) {
        Exit::Failure
    } else {
        Exit::Success
    })
}

fn sandbox(report: &mut Report, slots: u32) {
    match (Sandbox::new(slots), compiler_fingerprint()) {
        (Ok(sandbox), Ok(compiler)) => {
            let engine = sandbox.fingerprint();
            if engine == compiler {
                report.ok("engine", format!("{engine}, {slots} slots"));
            } else {
                report.problem(
                    "engine",
                    format!("{engine}, but the compiler is {compiler}"),
                    "Install one release of the program.",
                );
            }
        }
        (Err(error), _) | (_, Err(error)) => report.problem("engine", error.to_string(), "Look at the limits of memory of this machine."),
    }
}

/// Models of the settings, and the providers that people have added.
async fn models(report: &mut Report, config: &Config, store: Option<&Store>) {
    let configured = match crate::llm::Models::from_settings(&config.models) {
        Ok(models) => models.names().map(str::to_owned).collect::<Vec<_>>(),
        Err(error) => {
            report.problem("models", error.to_string(), "Change what it names.");
            return;
        }
    };
    let added = match store {
        None => Vec::new(),
        Some(store) => match store.read(providers::all).await {
            Ok(added) => added,
            Err(error) => {
                report.problem("models", error.to_string(), "Look at the database's own lines.");
                return;
            }
        },
    };
    let wants_key = |provider: &&Stored| provider.key.is_none() && Preset::of(&provider.preset).is_some_and(|preset| preset.wants_key);
    let without: Vec<&str> = added.iter().filter(wants_key).map(|provider| provider.name.as_str()).collect();
    if !without.is_empty() {
        let text = format!("without a key: {}", without.join(", "));
        report.warning("providers", text, "Give them their keys under Settings → Models.");
    }
    if configured.is_empty() && added.is_empty() {
        report.warning(
            "models",
            "none; agents that ask one fail",
            "Add a provider under Settings → Models, or a section [models.default] to the settings.",
        );
        return;
    }
    let mut parts = configured;
    if !added.is_empty() {
        parts.push(format!("{} providers under Settings → Models", added.len()));
    }
    report.ok("models", parts.join(", "));
}

/// The store, where there is one; beside a station that serves it, for reading.
async fn opened(report: &mut Report, config: &Config) -> Option<Store> {
    if !config.data.join(store::DATABASE_FILE).exists() {
        report.ok("database", "is made at the first start");
        return None;
    }
    match station::store_or_beside(config).await {
        Ok(store) => Some(store),
        Err(error) => {
            report.problem(
                "database",
                format!("{error:#}"),
                "Look into the chapter on backups in docs/operations.md.",
            );
            None
        }
    }
}

async fn database(report: &mut Report, store: Store) {
    if store.is_read_only() {
        let advice = "Stop the station to have the database looked through from end to end.";
        report.warning("integrity", "not looked at: a station is using the database", advice);
        return;
    }
    let broken = "Keep a copy of the data directory, then restore the last backup.";
    match store.integrity(Check::Full).await {
        Ok(problems) if problems.is_empty() => report.ok("integrity", format!("schema {}", store::SCHEMA_VERSION)),
        Ok(problems) => report.problem("integrity", problems.join("; "), broken),
        Err(error) => report.problem("integrity", error.to_string(), broken),
    }
    match store.pragmas().await {
        Ok(pragmas) => {
            let text: Vec<String> = pragmas.iter().map(|(name, value)| format!("{name}={value}")).collect();
            report.ok("pragmas", text.join(" "));
        }
        Err(error) => report.problem("pragmas", error.to_string(), broken),
    }
    match store.sizes().await {
        Ok(sizes) => report.ok(
            "size",
            format!(
                "{} KiB, log {} KiB, free within {} KiB",
                sizes.database_bytes >> 10,
                sizes.log_bytes >> 10,
                sizes.free_bytes >> 10
            ),
        ),
        Err(error) => report.problem("size", error.to_string(), broken),
    }
    if let Err(error) = store.close().await {
        report.problem("database", error.to_string(), broken);
    }
}
